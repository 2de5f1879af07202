"""Chapter 12b: the recipe of rank 8 in PROMISE12, made small, and what each of its parts is worth.

The recipe is the preset ``promise12-improved`` with fewer levels, fewer steps and a higher learning rate, so that a
training takes seconds. Then one thing at a time is changed: number of patients, augmentation, contrast, denoising,
loss, width, pixel size, draws per epoch. A seed decides training patients, first weights and draws; the held-out
patients are the same for all. An effect is the difference in Dice to the recipe with the same seed and the same
held-out patient; its interval comes from drawing patients and seeds again (bootstrap over both).

    python book/experiments/12b_ablation.py --quick | --full                on phantoms
    python book/experiments/12b_ablation.py --data FOLDER [--out FILE]      a part of it on real cases, five folds
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from experiment import RESULTS, circumstances, conduct, write

import medlearn as ml
from medlearn.train.config import PRESETS

PRESET = PRESETS["promise12-improved"]["train"]
SHAPE, SPACING = (8, 72, 72), (9.0, 2.0, 2.0)  # of a phantom, (z, y, x), mm
N_TRAINING, N_HELD_OUT = 24, 16
FIRST_HELD_OUT, FIRST_TRAINING = 1000, 100  # numbers of phantoms
ELASTIC = PRESET["augment"]
AFFINE = replace(ELASTIC, elastic_mm=0.0)  # affine motions and gray values
N_STEPS, BATCH = 150, 16
RECIPE = {
    "patients": N_TRAINING,
    "width": 8,
    "epochs": 10,
    "draws": N_STEPS // 10 * BATCH,  # per epoch
    "spacing": 3.0,  # mm in the plane
    "augment": ELASTIC,
    **{key: PRESET[key] for key in ("loss", "clahe_clip_limit", "curvature_flow")},
}
VARIANTS = {  # name: what differs from the recipe, and the variant it is compared with
    "recipe": ({}, None),
    "3 patients": ({"patients": 3}, "recipe"),
    "6 patients": ({"patients": 6}, "recipe"),
    "12 patients": ({"patients": 12}, "recipe"),
    "affine, not elastic": ({"augment": AFFINE}, "recipe"),
    "no augmentation": ({"augment": None}, "recipe"),
    "6 patients, no augmentation": ({"patients": 6, "augment": None}, "6 patients"),
    "no CLAHE": ({"clahe_clip_limit": None}, "recipe"),
    "no denoising": ({"curvature_flow": None}, "recipe"),
    "Dice + cross-entropy": ({"loss": "dice_ce"}, "recipe"),
    "cross-entropy": ({"loss": "cross_entropy"}, "recipe"),
    "half the width": ({"width": 4}, "recipe"),
    "twice the width": ({"width": 16}, "recipe"),
    "pixels of 2 mm": ({"spacing": 2.0}, "recipe"),
    "pixels of 6 mm": ({"spacing": 6.0}, "recipe"),
    "three times the steps": ({"draws": 3 * RECIPE["draws"]}, "recipe"),
    "three times, 6 patients": ({"draws": 3 * RECIPE["draws"], "patients": 6}, "three times the steps"),
    "three times, no augmentation": ({"draws": 3 * RECIPE["draws"], "augment": None}, "three times the steps"),
    "a third of the draws, equal epochs": ({"draws": RECIPE["draws"] // 3}, "recipe"),
    "a third of the draws, equal steps": ({"draws": RECIPE["draws"] // 3, "epochs": 30}, "recipe"),
}
REAL_VARIANTS = ("recipe", "no augmentation", "no CLAHE", "no denoising", "Dice + cross-entropy")


def train(cases: Sequence, settings: dict, *, seed: int, n_levels: int, learning_rate: float = 8e-3) -> tuple:
    """Train a network as `settings` say; returns it with its pre-processing."""
    torch.manual_seed(seed)
    model = ml.UNet(widths=tuple(settings["width"] * 2**level for level in range(n_levels)), dropout=0.5)
    config = ml.TrainConfig(
        epochs=settings["epochs"],
        samples_per_epoch=settings["draws"],
        batch_size=BATCH,
        optimizer=PRESET["optimizer"],
        weight_decay=PRESET["weight_decay"],
        learning_rate=learning_rate,
        spacing=(settings["spacing"],) * 2,
        validations=1,
        precision="fp32",
        seed=seed,
        **{key: settings[key] for key in ("loss", "augment", "clahe_clip_limit", "curvature_flow")},
    )
    with tempfile.TemporaryDirectory() as folder:
        run = ml.fit(model, cases, config=config, out=Path(folder) / "run", progress=False)
        return run.model, run.preprocess


def dice_of(model, preprocess, cases: Sequence) -> list[float]:
    """Dice of every case, on its own grid, at a threshold of one half."""
    found = []
    for case in cases:
        probabilities = ml.predict(model, case.image, preprocess=preprocess).array
        found.append(round(ml.dice(probabilities >= 0.5, case.mask.array > 0), 4))
    return found


def effect(variant: Sequence, reference: Sequence, n_resamples: int = 10_000) -> dict:
    """Difference of two variants, (seeds, patients) each, with a 95 % interval by drawing seeds and patients again."""
    difference = np.array(variant) - np.array(reference)
    n_seeds, n_cases = difference.shape
    rng = np.random.default_rng(0)
    seeds = rng.integers(n_seeds, size=(n_resamples, n_seeds))
    cases = rng.integers(n_cases, size=(n_resamples, n_cases))
    means = difference[seeds[:, :, None], cases[:, None, :]].mean((1, 2))
    low, high = np.percentile(means, [2.5, 97.5])
    of_seeds = difference.mean(1)
    one_sign = len(set(np.sign(of_seeds))) == 1
    return {
        "difference": round(float(difference.mean()), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "of_seeds": np.round(of_seeds, 4).tolist(),
        "beyond_noise": bool(one_sign and low * high > 0),
    }


def effects(dice: dict) -> dict:
    """The effect of every variant that is compared with another one."""
    pairs = {name: VARIANTS[name][1] for name in dice if VARIANTS[name][1] in dice}
    return {name: effect(dice[name], dice[reference]) for name, reference in pairs.items()}


def experiment(quick: bool) -> dict:
    """Every variant with every seed on phantoms."""
    seeds, n_held_out, common = [0, 1, 2], N_HELD_OUT, {}
    names = tuple(VARIANTS)
    if quick:
        seeds, n_held_out, common = [0], 2, {"patients": 2, "draws": 2 * BATCH, "epochs": 1}
        names = ("recipe", "no augmentation")

    def phantoms(first: int, n: int) -> list:
        return [ml.phantom.prostate(k, shape=SHAPE, spacing=SPACING) for k in range(first, first + n)]

    held_out = phantoms(FIRST_HELD_OUT, n_held_out)
    pools = {seed: phantoms(FIRST_TRAINING + N_TRAINING * seed, 2 if quick else N_TRAINING) for seed in seeds}
    dice, seconds = {}, {}
    for name in names:
        settings = RECIPE | VARIANTS[name][0] | common
        dice[name], seconds[name] = [], []
        for seed in seeds:
            started = time.perf_counter()
            trained = train(pools[seed][: settings["patients"]], settings, seed=seed, n_levels=4)
            seconds[name].append(round(time.perf_counter() - started, 1))
            dice[name].append(dice_of(*trained, held_out))
        print(f"{name:36}", *(f"{np.mean(row):.3f}" for row in dice[name]), f"{seconds[name]} s", flush=True)
    return {
        "seeds": seeds,
        "patients": {"training": len(pools[seeds[0]]), "held_out": n_held_out},
        "grid": {"shape": SHAPE, "spacing": SPACING},
        "steps": N_STEPS if not quick else 2,
        "batch_size": BATCH,
        "means": {name: round(float(np.mean(rows)), 3) for name, rows in dice.items()},
        "effects": effects(dice),
        "seconds": seconds,
        "dice": dice,
    }


def sizes_for(image: ml.Volume) -> dict:
    """Pixel size and augmentation for cases whose true size may be lost: shares of an assumed field of 200 mm."""
    pixel = image.spacing[-1]
    share = image.shape[-1] * pixel / 200
    millimeters = {key: share * getattr(ELASTIC, key) for key in ("elastic_mm", "elastic_grid_mm", "translation_mm")}
    return {"spacing": 2 * pixel, "augment": replace(ELASTIC, **millimeters)}


def real(folder: Path, *, n_steps: int = N_STEPS, seed: int = 0) -> dict:
    """Some of the variants on real cases, each case held out once in five folds."""
    cases = ml.cases(folder)
    settings_of_all = {"epochs": 1, "draws": n_steps * BATCH, **sizes_for(cases[0].image)}
    dice, seconds = {}, {}
    for name in REAL_VARIANTS:
        settings = RECIPE | settings_of_all | VARIANTS[name][0]
        found, started = {}, time.perf_counter()
        for fold in range(5):
            held_out = [case for k, case in enumerate(cases) if k % 5 == fold]
            training = [case for k, case in enumerate(cases) if k % 5 != fold]
            trained = train(training, settings, seed=seed + fold, n_levels=5, learning_rate=4e-3)
            found |= dict(zip((case.id for case in held_out), dice_of(*trained, held_out), strict=True))
        dice[name] = [[found[name_of_case] for name_of_case in sorted(found)]]
        seconds[name] = round(time.perf_counter() - started, 1)
        print(f"{name:36} {np.mean(dice[name]):.3f}, worst {np.min(dice[name]):.3f}, {seconds[name]} s", flush=True)
    return {
        "experiment": Path(__file__).stem,
        "size": "real",
        **circumstances(),
        "seeds": [seed + fold for fold in range(5)],
        "cases": len(cases),
        "steps": n_steps,
        "spacing": settings_of_all["spacing"],
        "means": {name: round(float(np.mean(rows)), 3) for name, rows in dice.items()},
        "effects": effects(dice),
        "seconds": seconds,
        "dice": dice,
    }


def main(argv=None) -> dict:
    """Run the experiment; on real cases where a folder is named."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", type=Path)
    own, rest = parser.parse_known_args(argv)
    if own.data is None:
        record = conduct(__file__, experiment, rest)
    else:
        parser.add_argument("--out", type=Path, default=RESULTS / "12b_ablation_real.json")
        record = real(own.data)
        write(record, parser.parse_args(argv).out)
    for name, found in record["effects"].items():
        low, high = found["interval"]
        verdict = "beyond the noise" if found["beyond_noise"] else "within the noise"
        print(f"{name:36} {found['difference']:+.3f} ({low:+.3f} to {high:+.3f}), {verdict}")
    return record


if __name__ == "__main__":
    main()
