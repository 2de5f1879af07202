"""The table of chapter 13: what knows only the place, what knows rules, what learned from voxels, and the U-Net.

Everything that has to be chosen or learned comes from training cases; test cases are measured once. The network was
trained on phantoms below 60 on a finer grid; the others learn here from some of the same phantoms. On real cases, which
take part where a folder is given (``--real FOLDER``, or the environment variable MEDLEARN_TEST_DATA) and only with
``--full``, five folds take turns, and the network, which has seen nothing but phantoms, stays out.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from experiment import conduct
from scipy import ndimage

import medlearn as ml
from medlearn import classical, promise12, statistics

ladder = import_module("05_ladder")  # the rungs that chapter 5 climbs

N_FOLDS = 5
GRID = {"shape": (24, 128, 128), "spacing": (3.6, 1.25, 1.25)}
COARSE = {"shape": (16, 64, 64), "spacing": (5.4, 2.5, 2.5)}
TOLERANCES = np.linspace(0.05, 1, 20)  # in robust ranges of the image's gray values
THRESHOLDS = np.linspace(0.2, 0.9, 15)
PARTS = ("whole", "base", "mid", "apex")

Method = Callable[[ml.Volume], np.ndarray]


def otsu(train: Sequence[ml.Case]) -> Method:
    """The bright side of Otsu's threshold; nothing to learn."""
    return lambda image: image.array > classical.otsu_threshold(image.array)


def growing(train: Sequence[ml.Case]) -> Method:
    """Grow from the place where glands of the training cases lie, with the tolerance that was best for them."""
    seed = np.mean([ladder.center_of(_mask(case)) for case in train], axis=0).round().astype(int)

    def grow(image, tolerance):
        return classical.region_grow(image.array, seed, tolerance=tolerance * np.ptp(_robust_range(image)))

    scores = [np.mean([ml.dice(grow(case.image, t), _mask(case)) for case in train]) for t in TOLERANCES]
    return lambda image: grow(image, TOLERANCES[np.argmax(scores)])


def mean_shape(train: Sequence[ml.Case]) -> Method:
    """Where at least 40 % of the training glands lie. The image is not looked at."""
    shape = np.mean([_mask(case) for case in train], axis=0) >= 0.4
    return lambda image: shape


def voxel_mlp(train: Sequence[ml.Case]) -> Method:
    """Two hidden layers on ten features of a voxel, place among them; the threshold that was best in training."""
    rows = [features(case.image) for case in train]
    x, t = _draw_voxels(rows, [_mask(case) for case in train])
    mean, std = x.mean(0), x.std(0)
    model = _fit((x - mean) / std, t)

    def probabilities(x):
        with torch.inference_mode():
            logits = model(torch.from_numpy((x - mean) / std))[..., 0]
        return logits.sigmoid().numpy()

    found = [(probabilities(x), _mask(case)) for x, case in zip(rows, train, strict=True)]
    scores = [np.mean([ml.dice(p >= threshold, mask) for p, mask in found]) for threshold in THRESHOLDS]
    best = THRESHOLDS[np.argmax(scores)]
    return lambda image: probabilities(features(image)) >= best


def network(train: Sequence[ml.Case]) -> Method:
    """The network that comes with the library; it was trained before."""
    model, preprocess = ml.pretrained("prostate-phantom")
    return lambda image: ml.to_labels(ml.predict(model, image, preprocess=preprocess), threshold=0.5).array > 0


METHODS = {
    "rule: Otsu, the bright side": otsu,
    "rule: growing, tolerance from training": growing,
    "place alone: mean shape": mean_shape,
    "voxel MLP": voxel_mlp,
    "U-Net": network,
}


def features(image: ml.Volume) -> np.ndarray:
    """Ten features of every voxel, seven of its look and three of its place, as in chapter 8a: (z, y, x, 10)."""
    low, high = _robust_range(image)
    gray = (image.array.astype(np.float32) - np.median(image.array)) / (high - low)
    blurs = [ndimage.gaussian_filter(gray, np.divide((0, mm, mm), image.spacing)) for mm in (2.5, 5, 10)]
    edges = [np.hypot(ndimage.sobel(blur, 1), ndimage.sobel(blur, 2)) for blur in blurs[:2]]
    mean, mean_square = (ndimage.uniform_filter(g, (1, 5, 5)) for g in (gray, gray**2))
    spread = np.sqrt(np.maximum(mean_square - mean**2, 0))
    centimeters = [(np.arange(n) - (n - 1) / 2) * mm / 10 for n, mm in zip(gray.shape, image.spacing, strict=True)]
    place = np.meshgrid(*centimeters, indexing="ij")
    return np.stack([gray, *blurs, *edges, spread, *place], axis=-1).astype(np.float32)


def _draw_voxels(rows: Sequence[np.ndarray], masks: Sequence[np.ndarray], n: int = 2000):
    """Features and truth of `n` voxels of the gland and `n` others from each case."""
    rng = np.random.default_rng(0)
    chosen = [
        (x[where][drawn], inside)
        for x, mask in zip(rows, masks, strict=True)
        for where, inside in ((mask, 1.0), (~mask, 0.0))
        for drawn in [rng.integers(np.count_nonzero(where), size=n)]
    ]
    return np.concatenate([x for x, _ in chosen]), np.repeat(np.float32([t for _, t in chosen]), n)


def _fit(x: np.ndarray, t: np.ndarray, *, n_steps: int = 2000, batch: int = 512) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn.Linear(x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU()
    model = torch.nn.Sequential(*layers, torch.nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    x, t = torch.from_numpy(x), torch.from_numpy(t)
    for _ in range(n_steps):
        drawn = torch.randint(len(x), (batch,))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x[drawn])[:, 0], t[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def _robust_range(image: ml.Volume) -> np.ndarray:
    return np.percentile(image.array, [5, 95])


def _mask(case: ml.Case) -> np.ndarray:
    return case.mask.array > 0


def measure(method: Method, cases: Sequence[ml.Case]) -> dict[str, dict]:
    """Dice of the whole and of the parts, and HD95 of the whole, of every case."""
    found = {}
    for case in cases:
        pred, target = case.image.map(lambda _, image=case.image: method(image)), case.mask.map(lambda a: a > 0)
        parts = promise12.evaluate(pred, target)
        found[case.id] = {part: parts[part].dice for part in PARTS} | {"hausdorff95": parts["whole"].hausdorff95}
    return found


def table(found: Mapping[str, Mapping[str, dict]]) -> dict:
    """Means with 95 % bootstrap intervals over the cases, each method against the one before it, and all numbers."""
    names = list(found)
    dice = {name: {case: values["whole"] for case, values in found[name].items()} for name in names}
    return {
        "methods": {name: _summary(list(found[name].values())) for name in names},
        "steps": {b: _step(dice[b], dice[a]) for a, b in pairwise(names)},
        "dice": {name: _rounded(dice[name].values()) for name in names},
        "hausdorff95_mm": {name: _rounded(v["hausdorff95"] for v in found[name].values()) for name in names},
    }


def _summary(values: Sequence[dict]) -> dict:
    dice = [v["whole"] for v in values]
    return {
        "mean_dice": {part: _rounded([np.mean([v[part] for v in values])])[0] for part in PARTS},
        "interval": _rounded(statistics.bootstrap_interval(dice)),
        "worst_dice": _rounded([min(dice)])[0],
        "median_hausdorff95_mm": _rounded([np.median([v["hausdorff95"] for v in values])])[0],
        "failed": sum(d == 0 for d in dice),
    }


def _step(dice: Mapping[str, float], before: Mapping[str, float]) -> dict:
    found = statistics.paired_comparison(dice, before)
    difference, low, high = _rounded([found.mean_difference, found.low, found.high])
    return {
        "difference": difference,
        "interval": [low, high],
        "better_in": found.n_greater,
        "p": float(f"{found.p_value:.2g}"),
    }


def _rounded(values) -> list[float | None]:
    """Four digits; None for infinity, which JSON does not know."""
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def on_phantoms(quick: bool) -> dict:
    """Learn from phantoms that the network was trained on as well, test on others."""
    train, test = (range(6), range(60, 66)) if quick else (range(24), range(60, 84))
    grid = COARSE if quick else GRID
    train_cases, test_cases = ([ml.phantom.prostate(seed, **grid) for seed in seeds] for seeds in (train, test))
    found = {name: measure(learn(train_cases), test_cases) for name, learn in METHODS.items()}
    return {"training_seeds": list(train), "seeds": list(test), **grid, **table(found)}


def on_real_cases(folder: Path) -> dict:
    """Five folds of the cases of a folder, which must share one shape; the shipped network does not take part."""
    cases = list(ml.datasets.cases(folder))
    methods = {name: learn for name, learn in METHODS.items() if learn is not network}
    found = {name: {} for name in methods}
    for fold in range(N_FOLDS):
        train = [case for k, case in enumerate(cases) if k % N_FOLDS != fold]
        for name, learn in methods.items():
            found[name] |= measure(learn(train), cases[fold::N_FOLDS])
    return {"cases": len(cases), "folds": N_FOLDS, **table(found)}


def experiment(quick: bool, real: Path | None) -> dict:
    """Phantoms, and at full size real cases where there are any."""
    phantoms = on_phantoms(quick)
    return {
        "seeds": phantoms["seeds"],
        "phantoms": phantoms,
        "real": on_real_cases(real) if real and not quick else None,
    }


def main(argv=None) -> dict:
    """Run the experiment; print mean Dice, its interval and the worst case of every method."""
    parser = argparse.ArgumentParser(add_help=False)
    data = os.environ.get("MEDLEARN_TEST_DATA")
    parser.add_argument("--real", type=Path, default=Path(data) / "promise12" if data else None)
    arguments, others = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    record = conduct(__file__, lambda quick: experiment(quick, arguments.real), others)
    for kind in ("phantoms", "real"):
        rows = record[kind]["methods"] if record[kind] else {}
        print(kind, json.dumps(rows, indent=1), sep="\n")
    return record


if __name__ == "__main__":
    main()
