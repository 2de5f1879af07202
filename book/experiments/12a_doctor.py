"""Chapter 12a: the training doctor. What cases, learning rate, width and augmentation do to the two curves.

Two parts. The *grid* is what the widget `medlearn.widgets.TrainingDoctor` shows: a small U-Net for every setting of
its sliders, with a learning rate that stays as it is. The *runs* are the six patients of the exercise: one healthy
training and five that went wrong, each with two seeds. The seed decides the patients, the first weights and the draws.

The full run also writes what an installed course needs, without a book beside it:
``medlearn/widgets/training_doctor.json`` and ``medlearn/check/chapter12a.json``.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from experiment import conduct
from scipy import ndimage

import medlearn as ml

SHAPE, SPACING = (8, 32, 32), (9.0, 4.5, 4.5)
N_CASES, RATES, WIDTHS = (1, 2, 5, 10, 20), (1e-4, 1e-3, 1e-2, 1e-1, 1.0), (4, 8)
BATCH, N_HELD_OUT, N_MEASURED = 8, 6, 5  # slices a step; patients held out; patients whose training Dice is measured
RECIPE = ml.Augment(elastic_mm=3.0, flip=0.0)
LIBRARY = Path(ml.__file__).parent
CURVES = ("training", "held_out", "loss")  # Dice in evaluation mode, twice; mean loss of the steps in between


class Patients:
    """Phantoms, of each its slices: images (8, 1, H, W), normalized, and labels (8, H, W)."""

    def __init__(self, numbers, *, outlined: bool = False):
        cases = [ml.phantom.prostate(int(n), shape=SHAPE, spacing=SPACING) for n in numbers]
        images = [ml.normalize(case.image.array) for case in cases]
        masks = [case.mask.array > 0 for case in cases]
        if outlined:  # somebody saved the picture with the contour drawn into it
            rims = [mask & ~np.stack([ndimage.binary_erosion(s) for s in mask]) for mask in masks]
            images = [np.where(rim, 6.0, image) for image, rim in zip(images, rims, strict=True)]
        self.images = torch.tensor(np.stack(images))[:, :, None].float()
        self.labels = torch.tensor(np.stack(masks)).byte()

    def __len__(self):
        return len(self.images)

    def part(self, chosen: slice) -> "Patients":
        """Some of them."""
        other = object.__new__(Patients)
        other.images, other.labels = self.images[chosen], self.labels[chosen]
        return other


def naive_loss(logits, labels):
    """Dice plus what chapter 10b warns of, in half precision: the sigmoid first, its logarithm afterward."""
    p, g = logits[:, 0].sigmoid().half().float(), labels.float()
    return ml.dice_loss(logits, labels) - (g * p.log() + (1 - g) * (1 - p).log()).mean()


@torch.no_grad()
def measure(model, patients: Patients) -> tuple[float, float]:
    """Mean Dice over patients, and mean cross-entropy over pixels, in evaluation mode."""
    model.eval()
    logits = model(patients.images.flatten(0, 1))[:, 0]
    labels = patients.labels.flatten(0, 1)
    loss = F.binary_cross_entropy_with_logits(logits, labels.float()).item()
    preds = (logits > 0).unflatten(0, patients.labels.shape[:2])
    dice = [ml.dice(p.numpy(), g.numpy() > 0) for p, g in zip(preds, patients.labels, strict=True)]
    model.train()
    return float(np.mean(dice)), loss


def train(
    training: Patients, held_out: Patients, *, seed, width, rate, n_rounds, augment=None, dropout=0.0, loss=None,
    falling=False, n_steps=16,
) -> dict[str, list]:  # fmt: skip
    """Train with AdamW, at a constant rate or one that falls to 0; measure after every round of `n_steps`."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = ml.UNet(widths=(width, 2 * width, 4 * width), dropout=dropout).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    images, labels = training.images.flatten(0, 1), training.labels.flatten(0, 1)
    loss_of = loss or ml.dice_ce_loss
    curves = {name: [] for name in ("running", *CURVES, "held_out_loss")}
    for number in range(n_rounds):
        optimizer.param_groups[0]["lr"] = rate * (0.5 + 0.5 * np.cos(np.pi * number / n_rounds) if falling else 1)
        losses, overlap, total = [], 0, 0
        for _ in range(n_steps):
            chosen = torch.randint(len(images), (BATCH,), generator=generator)
            x, y = images[chosen], labels[chosen]
            if augment is not None:
                random = torch.rand(BATCH, augment.n_random(SHAPE[1:], SPACING[1:]), generator=generator)
                x, y = augment(x, y, random, SPACING[1:])
            logits = model(x)
            value = loss_of(logits, y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
            pred = logits.detach()[:, 0] > 0
            overlap, total = overlap + int((pred & (y > 0)).sum()), total + int(pred.sum() + y.sum())
        held_out_dice, held_out_loss = measure(model, held_out)
        new = {
            "running": 2 * overlap / max(total, 1),
            "training": measure(model, training.part(slice(N_MEASURED)))[0],
            "held_out": held_out_dice,
            "loss": float(np.mean(losses)),
            "held_out_loss": held_out_loss,
        }
        for name, number in new.items():
            curves[name].append(round(number, 3) if np.isfinite(number) else None)
    return curves


def draw(seed: int, n_training: int, **options) -> tuple[Patients, Patients]:
    """Training and held-out patients of a seed; those held out do not depend on how many are trained on."""
    numbers = np.random.default_rng(seed).permutation(60)
    return Patients(numbers[N_HELD_OUT:][:n_training], **options), Patients(numbers[:N_HELD_OUT], **options)


def grid(quick: bool, seeds: list[int]) -> dict:
    """Curves of every setting: lists nested as seed, cases, rate, width, augmentation."""
    axes = {"seed": seeds, "cases": N_CASES, "rate": RATES, "width": WIDTHS, "augmentation": (False, True)}
    rounds = range(16, 129, 16)
    if quick:
        axes |= {"cases": (1, 2), "rate": (1e-2,), "width": (4,)}
        rounds = range(16, 33, 16)
    found = {name: [] for name in CURVES}
    for seed in seeds:
        everybody, held_out = draw(seed, max(axes["cases"]))
        for n in axes["cases"]:
            for rate in axes["rate"]:
                for width in axes["width"]:
                    for augmented in axes["augmentation"]:
                        curves = train(
                            everybody.part(slice(n)), held_out, seed=seed, width=width, rate=rate,
                            n_rounds=len(rounds), augment=RECIPE if augmented else None,
                        )  # fmt: skip
                        for name in CURVES:
                            found[name].append(curves[name])
    shape = [len(values) for values in axes.values()]
    return {
        "axes": {name: list(values) for name, values in axes.items()},
        "steps": list(rounds),
        "curves": {name: np.array(values, object).reshape(*shape, -1).tolist() for name, values in found.items()},
    }


#: Six trainings: how many patients, and what was chosen. In the order of the table in the chapter.
RUNS = {
    "healthy": {"n": 20, "rate": 1e-2, "augment": RECIPE, "dropout": 0.3},
    "rate too low": {"n": 20, "rate": 1e-6},
    "rate too high": {"n": 20, "rate": 0.3, "falling": False},
    "too few patients": {"n": 2, "rate": 1e-2},
    "not a number": {"n": 20, "rate": 2e-3, "loss": naive_loss},
    "leak": {"n": 20, "rate": 1e-2, "outlined": True},
}


def runs(quick: bool, seeds: list[int]) -> dict:
    """The six runs with every seed: Dice while training, of training patients, of held-out patients; both losses."""
    found = {}
    for name, settings in RUNS.items():
        settings = {"outlined": False, "falling": True, "width": 8, **settings}
        outlined, n = settings.pop("outlined"), settings.pop("n")
        found[name] = [
            train(*draw(seed, 2 if quick else n, outlined=outlined), seed=seed, n_rounds=2 if quick else 20, **settings)
            for seed in seeds
        ]
    return found


def experiment(quick: bool) -> dict:
    """Both parts."""
    seeds = [0] if quick else [0, 1]
    return {"seeds": seeds, "grid": grid(quick, seeds), "runs": runs(quick, seeds)}


def shipped(record: dict) -> dict[str, dict]:
    """What an installed course gets of a record, by file: the grid in thousandths, and the curves of the six runs."""

    def thousandths(values):
        return [thousandths(v) if isinstance(v, list) else None if v is None else round(1000 * v) for v in values]

    curves = {name: thousandths(values) for name, values in record["grid"]["curves"].items()}
    told = ("running", "training", "held_out")
    return {
        "widgets/training_doctor.json": {**record["grid"], "curves": curves},
        "check/chapter12a.json": {
            cause: [{name: run[name] for name in told} for run in found] for cause, found in record["runs"].items()
        },
    }


def main(argv=None) -> dict:
    """Run the experiment; print how each of the six runs ended."""
    record = conduct(__file__, experiment, argv)
    if record["size"] == "full":
        for name, part in shipped(record).items():
            (LIBRARY / name).write_text(json.dumps(part, separators=(",", ":")) + "\n", encoding="utf-8")
    for name, found in record["runs"].items():
        print(f"{name:18s}", *(f"{key} {found[0][key][-1]}" for key in ("running", "training", "held_out")))
    return record


if __name__ == "__main__":
    main()
