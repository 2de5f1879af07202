"""The same minutes for ours and for a MONAI baseline, on the same folds: Dice of the held-out cases over time.

MONAI is used as its tutorials do: ``BasicUNet`` with as many parameters, ``CacheDataset`` with dictionary transforms
per sample, ``DiceCELoss``, AdamW, a cosine schedule over the budget. It gets our pre-processed slices, so that size and
normalization are the same, and the same flips when it predicts. Both are measured case by case on the native grid, and
the time of these measurements belongs to the budget. Nothing else should run on the machine.

    python benchmarks/same_budget.py DATA --out FOLDER [--minutes 10] [--folds 5] [--only-fold 0]
        [--presets spine unet2d-organ ...] [--baseline fp32 bf16] [--device auto]

"spine" is what the preset unet2d was before crops and the height of a slice: whole slices with their neighbors.

Every finished training is kept in FOLDER and not repeated; the table is printed from what is there.
"""

import argparse
import itertools
import json
import statistics
import time
import warnings
from pathlib import Path

import monai
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)

import medlearn as ml
from medlearn.inference import autocast, choose_device, predict_slices, to_labels
from medlearn.nn import build
from medlearn.train.config import PRESETS
from medlearn.train.cross_validation import fold_ids

RECIPES = PRESETS | {"spine": {**PRESETS["unet2d"], "train": {"adjacent_slices": 1}}}
VALIDATIONS = {"ours": 10, "theirs": 2}  # of the baseline only the last counts; it trains the longer for that
BATCH = 16
AUGMENT = ml.Augment()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of cases, or phantom:N")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only-fold", type=int)
    parser.add_argument("--presets", nargs="*", default=["spine", "unet2d-organ"], help="spine, or of medlearn train")
    parser.add_argument("--baseline", nargs="*", default=["fp32"], metavar="PRECISION", help="of MONAI: fp32, bf16")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")

    cases = ml.cases(options.data)
    folds = range(options.folds) if options.only_fold is None else [options.only_fold]
    trainings = dict.fromkeys(options.presets, train_ours)
    trainings |= {f"monai-{precision}": train_monai for precision in options.baseline}
    for fold, (name, train) in itertools.product(folds, trainings.items()):
        folder = options.out / name / f"fold{fold}"
        if not (folder / "result.json").exists():
            held_out = fold_ids(cases.ids, fold, options.folds)
            result = train(name, cases.without(held_out), cases.select(held_out), options, folder)
            (folder / "result.json").write_text(json.dumps(result, indent=1))
            print(f"{name} fold {fold}: Dice {statistics.mean(result['dice'].values()):.3f}", flush=True)
    report(options.out, list(trainings), folds)


def train_ours(name, train, held_out, options, folder):
    preset = RECIPES[name]
    settings = {"validations": VALIDATIONS["ours"], "minutes": options.minutes, "device": options.device}
    config = ml.TrainConfig(**{**preset["train"], **settings})
    torch.manual_seed(config.seed)
    model = build({**preset["model"], "in_channels": config.n_channels, "out_channels": 1})
    run = ml.fit(model, train, held_out=held_out, config=config, out=folder, resume="auto", progress=False)
    curve = run.history.dropna(subset="val_dice")
    dice = {}
    for case in held_out:
        probabilities = ml.predict(run, case.image, device=options.device)
        dice[case.id] = case_dice(probabilities, case, **run.postprocess)
    return {
        "dice": dice,
        "seconds": curve.seconds.tolist(),
        "val_dice": curve.val_dice.tolist(),
        "steps": int(run.history.step.iloc[-1]),
    }


def train_monai(name, train, held_out, options, folder):
    folder.mkdir(parents=True, exist_ok=True)
    device, precision = choose_device(options.device), name.removeprefix("monai-")
    recipe = ml.Preprocess.fit(case.image for case in train)
    torch.manual_seed(0)
    # 240 instead of 256 channels at the bottom: then it has as many parameters as the preset unet2d
    model = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=(16, 32, 64, 128, 240, 16)).to(device)
    loss_function = DiceCELoss(sigmoid=True, batch=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches, started = monai_batches(train, recipe), time.monotonic()
    seconds, scores, steps, validation = [], [], 0, 0.0

    while True:
        used = (time.monotonic() - started + 1.2 * validation) / (60 * options.minutes)
        if used >= min((len(scores) + 1) / VALIDATIONS["theirs"], 1):
            begun = time.monotonic()
            dice = {case.id: case_dice(monai_predict(model, recipe, case, precision), case) for case in held_out}
            validation = time.monotonic() - begun
            seconds.append(time.monotonic() - started)
            scores.append(statistics.mean(dice.values()))
            if used >= 1:
                return {"dice": dice, "seconds": seconds, "val_dice": scores, "steps": steps}
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 + np.cos(np.pi * min(used, 1))) / 2
        batch = next(batches)
        images, labels = batch["image"].as_tensor().to(device), batch["label"].as_tensor().to(device)
        model.train()
        with autocast(device, precision):
            logits = model(images)
        loss = loss_function(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        steps += 1


def monai_batches(cases, recipe):
    """Batches without end, from slices with a channel axis, augmented one by one as `AUGMENT` does."""
    items = [
        {"image": torch.from_numpy(image[None]), "label": torch.from_numpy(label[None]).float()}
        for case in cases
        for image, label in zip(recipe.image(case.image), recipe.mask(case.mask), strict=True)
    ]
    both, a = ["image", "label"], AUGMENT
    transforms = Compose(
        [
            RandFlipd(both, prob=a.flip, spatial_axis=1),
            RandAffined(
                both,
                prob=1.0,
                rotate_range=np.deg2rad(a.rotation_deg),
                translate_range=[a.translation_mm / s for s in recipe.spacing],
                scale_range=(a.scale, a.scale),
                shear_range=(a.shear, 0.0),
                mode=("bilinear", "nearest"),
                padding_mode=("border", "zeros"),
            ),
            RandAdjustContrastd("image", prob=1.0, gamma=(1 / (1 + a.gamma), 1 + a.gamma)),
            RandScaleIntensityd("image", prob=1.0, factors=a.contrast),
            RandShiftIntensityd("image", prob=1.0, offsets=a.brightness),
            RandBiasFieldd("image", prob=1.0, degree=3, coeff_range=(0.0, a.bias / 3)),
        ]
    )
    dataset = CacheDataset(items, transform=transforms, progress=False)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def monai_predict(model, recipe, case, precision):
    probabilities = predict_slices(model.eval(), recipe.image(case.image), flip=True, precision=precision)
    return recipe.restore(probabilities, case.image)


def case_dice(probabilities, case, **postprocess):
    return ml.dice(to_labels(probabilities, **postprocess).array == 1, case.mask.array == 1)


def report(out, names, folds):
    """Print mean Dice over all held-out cases, and when ours first passed each baseline's last value."""
    results = {}
    for name, fold in itertools.product(names, folds):
        results[name, fold] = json.loads((out / name / f"fold{fold}" / "result.json").read_text())
    print(f"\nMONAI {monai.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':16} {'Dice':>6} {'median':>7} {'lowest':>7} {'steps':>7}  per fold")
    for name in names:
        per_fold = [list(results[name, fold]["dice"].values()) for fold in folds]
        dice = list(itertools.chain.from_iterable(per_fold))
        steps = statistics.mean(results[name, fold]["steps"] for fold in folds)
        means = " ".join(f"{statistics.mean(f):.3f}" for f in per_fold)
        print(f"{name:16} {np.mean(dice):6.4f} {np.median(dice):7.3f} {min(dice):7.3f} {steps:7.0f}  {means}")
    for ours, theirs in itertools.product(names, names):
        if theirs.startswith("monai") and not ours.startswith("monai"):
            shares = [passing_share(results[ours, fold], results[theirs, fold]) for fold in folds]
            print(f"{ours} passes the last Dice of {theirs} after these shares of the time: ", end="")
            print(" ".join(f"{share:.2f}" for share in shares), f" mean {statistics.mean(shares):.2f}")


def passing_share(ours, theirs):
    """Share of the time after which our curve first reaches the last point of theirs; infinite where it never does."""
    reached = [s for s, dice in zip(ours["seconds"], ours["val_dice"], strict=True) if dice >= theirs["val_dice"][-1]]
    return min(reached, default=float("inf")) / theirs["seconds"][-1]


if __name__ == "__main__":
    main()
