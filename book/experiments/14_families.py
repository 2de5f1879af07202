"""Chapter 14: four families of networks on the same prostates, at equal steps and at equal time.

A U-Net that sees one slice, a U-Net and a V-Net that see volumes, and DeepLabV3+, which sees one slice. All learn with
one recipe; every step shows them the same number of voxels. Once all take equally many steps, once all have equally
many seconds. Measured on held-out patients: the Dice of the whole gland, of its base and its apex, where slices show
least; and what each network costs.

    python book/experiments/14_families.py --quick | --full      on phantoms
    python book/experiments/14_families.py --data FOLDER [--fold 0] [--minutes 10] [--seed 0]   on real cases
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from experiment import circumstances, conduct

import medlearn as ml

SHAPE, SPACING = (12, 48, 48), (7.2, 3.2, 3.2)  # thick slices, as in the clinic, but a small image
N_TRAINING, N_HELD_OUT = 12, 8
FAMILIES = ("U-Net 2-D", "U-Net 3-D", "V-Net", "DeepLabV3+")
COMMON = {"learning_rate": 2e-3, "dice_batch": False, "validations": 1}
SMALL = {  # for the phantoms: a step sees two volumes, or 24 slices
    "slices": {"batch_size": 24},
    "volumes": {"batch_size": 2, "patch": SHAPE},
}
LARGE = {  # for cases of some 30 × 128 × 128 voxels: a step sees 18 slices' worth of voxels
    "slices": {"batch_size": 18},
    "volumes": {"batch_size": 2, "patch": (16, 96, 96)},
}


def small(family: str) -> torch.nn.Module:
    """An untrained network for the phantoms; the slices are about twice as thick as a pixel is wide."""
    if family == "U-Net 2-D":
        return ml.UNet(widths=(8, 16, 32, 64))
    if family == "U-Net 3-D":
        strides, kernels = ((1, 2, 2), 2, 2), ((1, 3, 3), 3, 3, 3)
        return ml.UNet(ndim=3, widths=(8, 16, 32, 64), norm="instance", strides=strides, kernels=kernels)
    if family == "V-Net":
        return ml.VNet(widths=(4, 8, 16), norm="instance")
    return ml.DeepLabV3Plus(widths=(16, 16, 32, 64), channels=32, output_stride=8, rates=(1, 2, 3))


def large(family: str) -> torch.nn.Module:
    """An untrained network for real cases."""
    if family == "U-Net 2-D":
        return ml.UNet(widths=(16, 32, 64, 128, 256))
    if family == "U-Net 3-D":
        strides, kernels = ((1, 2, 2), (1, 2, 2), 2, 2), ((1, 3, 3), (1, 3, 3), 3, 3, 3)
        return ml.UNet(ndim=3, widths=(16, 32, 64, 128, 256), norm="instance", strides=strides, kernels=kernels)
    if family == "V-Net":
        return ml.VNet(widths=(8, 16, 32, 64), norm="instance")
    return ml.DeepLabV3Plus(widths=(32, 64, 128, 256), channels=128, output_stride=8, rates=(2, 4, 6))


def settings(model: torch.nn.Module, sizes: dict, *, steps: int = 0, seconds: float = 0, **others) -> ml.TrainConfig:
    """The common recipe, with the batch that slices or volumes want, for so many steps or seconds."""
    size = sizes["volumes" if model.config["ndim"] == 3 else "slices"]
    budget = {"minutes": seconds / 60} if seconds else {"epochs": 1, "samples_per_epoch": steps * size["batch_size"]}
    return ml.TrainConfig(**COMMON, **size, **budget, **others)


def costs(model: torch.nn.Module, sizes: dict) -> dict:
    """Parameters; work and memory of one step, for slices of the phantom's size."""
    config = settings(model, sizes, steps=1)
    shape = (config.batch_size, 1, *(config.patch or SHAPE[1:]))
    summary = ml.summary(model, shape)
    return {
        "parameters": summary.parameters,
        "step_multiply_adds": summary.multiply_adds,
        "step_memory_mib": round(summary.memory_bytes / 2**20, 1),
    }


def train_and_measure(model: torch.nn.Module, training, held_out, config: ml.TrainConfig) -> dict:
    """Train, predict the held-out cases, and measure: Dice of the parts (means over cases), steps, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        run = ml.fit(model, training, config=config, out=Path(folder) / "run", progress=False)
        model, preprocess, last = run.model, run.preprocess, run.history.iloc[-1]
    parts, times = [], []
    for case in held_out:
        started = time.perf_counter()
        probabilities = ml.predict(model, case.image, preprocess=preprocess)
        times.append(1000 * (time.perf_counter() - started))
        parts.append(ml.promise12.evaluate(ml.to_labels(probabilities), case.mask))
    means = {name: float(np.mean([part[name].dice for part in parts])) for name in ("whole", "base", "mid", "apex")}
    return {
        **{name: round(mean, 4) for name, mean in means.items()},
        "worst": round(min(part["whole"].dice for part in parts), 4),
        "steps": int(last["step"]),
        "seconds": round(float(last["seconds"]), 1),
        "predict_ms": round(float(np.median(times)), 1),
    }


def compare(training, held_out, *, seeds, budgets: dict) -> dict:
    """Every family under every budget with every seed."""
    results = {}
    for family in FAMILIES:
        results[family] = costs(small(family), SMALL)
        for name, budget in budgets.items():
            rows = []
            for seed in seeds:
                torch.manual_seed(seed)
                model = small(family)
                config = settings(model, SMALL, precision="fp32", seed=seed, **budget)
                rows.append(train_and_measure(model, training, held_out, config))
            results[family][name] = {key: [row[key] for row in rows] for key in rows[0]}
            print(f"{family:12}{name:13}", *(f"{key} {np.mean(v):.3g}" for key, v in results[family][name].items()))
    return results


def experiment(quick: bool) -> dict:
    """Train on some phantoms, measure on others."""
    n_training, n_held_out, seeds = (2, 1, [0]) if quick else (N_TRAINING, N_HELD_OUT, [0, 1, 2])
    budgets = {"equal_steps": {"steps": 2 if quick else 120}, "equal_time": {"seconds": 0.6 if quick else 8}}
    cases = [ml.phantom.prostate(n, shape=SHAPE, spacing=SPACING) for n in range(n_training + n_held_out)]
    families = compare(cases[:n_training], cases[n_training:], seeds=seeds, budgets=budgets)
    return {
        "seeds": seeds,
        "budgets": budgets,
        "patients": {"training": n_training, "held_out": n_held_out},
        "grid": {"shape": SHAPE, "spacing": SPACING},
        "families": families,
    }


def real(folder: Path, *, fold: int, minutes: float, seed: int) -> dict:
    """Train on four fifths of the real cases for so many minutes a family, measure on the others."""
    cases = ml.cases(folder)
    held_out = [case for i, case in enumerate(cases) if i % 5 == fold]
    training = [case for i, case in enumerate(cases) if i % 5 != fold]
    results = {}
    for family in FAMILIES:
        torch.manual_seed(seed)
        model = large(family)
        row = costs(model, LARGE)
        row |= train_and_measure(model, training, held_out, settings(model, LARGE, seconds=60 * minutes, seed=seed))
        results[family] = row
        print(f"{family:12}", *(f"{key} {value}" for key, value in row.items()), flush=True)
    patients = {"training": len(training), "held_out": len(held_out)}
    return {**circumstances(), "seeds": [seed], "minutes": minutes, "fold": fold, "patients": patients} | {
        "families": results
    }


def main(argv=None) -> dict:
    """Run the experiment; on real cases where a folder is named."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    own, rest = parser.parse_known_args(argv)
    if own.data is None:
        return conduct(__file__, experiment, rest)
    record = real(own.data, fold=own.fold, minutes=own.minutes, seed=own.seed)
    print(json.dumps(record))
    return record


if __name__ == "__main__":
    main()
