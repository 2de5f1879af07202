"""What a GPU makes of it: slices per second of the presets, how busy they keep the device, and Dice over time.

Three parts, each a table in Markdown for ``GPU.md``:

* the presets for slices and for volumes on a synthetic set of native resolution, 50 cases of 24×320×320 voxels: slices
  per second, the share of what a large bf16 matrix product reaches on the same device, and of the time that no kernel
  runs;
* the same set trained for some minutes with each preset, a fifth held out;
* with DATA, the folds of a real set: Dice at the end, and seconds until it first passes 0.88.

    python benchmarks/gpu.py [DATA] --out FOLDER [--minutes 1] [--folds 5] [--cases 50] [--steps 100] [--device cuda]
"""

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from same_budget import train_ours

import medlearn as ml
from medlearn.nn import build
from medlearn.train.config import PRESETS
from medlearn.train.cross_validation import fold_ids
from medlearn.train.data import Validation, crop_size, fit_preprocess, load_cases
from medlearn.train.loop import Training, draw_samples
from medlearn.train.objective import segmentation_objective
from medlearn.train.precision import choose_arithmetic

SHAPE, SPACING = (24, 320, 320), (3.6, 0.61, 0.61)
THROUGHPUT = ("unet2d", "unet3d")
GOAL = 0.88


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="folder of real cases")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()

    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    with ProcessPoolExecutor() as pool:
        synthetic = list(pool.map(phantom, range(options.cases)))
    peak = matrix_peak(device)
    print(f"{time.strftime('%Y-%m-%d')}, {name}, torch {torch.__version__}; bf16 product {peak / 1e12:.1f} TFLOP/s\n")
    row("preset", "batch", "precision", "slices per second", "share of the product", "no kernel runs", head=True)
    for preset in THROUGHPUT:
        row(preset, *throughput(preset, synthetic, device, options.steps, peak))

    print(f"\n{options.minutes:g} min on {len(synthetic)} synthetic cases, a fifth of them held out\n")
    row("preset", "steps", "Dice (lowest)", head=True)
    for preset in THROUGHPUT:
        training = [case for i, case in enumerate(synthetic) if i % 5]
        result = train_ours(preset, training, synthetic[::5], options, options.out / preset)
        row(preset, result["steps"], dice(result))

    if options.data:
        print(f"\n{options.minutes:g} min a fold on {options.data}\n")
        row("fold", "steps", "Dice (lowest)", f"seconds to {GOAL}", head=True)
        cases = ml.cases(options.data)
        for fold in range(options.folds):
            ids = fold_ids(cases.ids, fold, options.folds)
            folder = options.out / f"fold{fold}"
            result = train_ours("unet2d-organ", cases.without(ids), cases.select(ids), options, folder)
            curve = zip(result["seconds"], result["val_dice"], strict=True)
            passed = next((f"{seconds:.0f}" for seconds, value in curve if value >= GOAL), "not reached")
            row(fold, result["steps"], dice(result), passed)


def row(*cells, head: bool = False) -> None:
    """Print a row of a table in Markdown."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)
    if head:
        print("|" + "---|" * len(cells), flush=True)


def dice(result: dict) -> str:
    """Mean and lowest Dice of the held-out cases."""
    values = result["dice"].values()
    return f"{statistics.mean(values):.3f} ({min(values):.3f})"


def phantom(seed: int) -> ml.Case:
    """A synthetic case of native resolution."""
    return ml.phantom.prostate(seed, shape=SHAPE, spacing=SPACING)


def matrix_peak(device: torch.device, n: int = 8192) -> float:
    """Floating-point operations per second of a large product of bf16 matrices."""
    n = n if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / median_seconds(lambda: a @ b, device, 10)


def median_seconds(function, device: torch.device, repeats: int) -> float:
    """Median time of a call, after three to warm up."""
    times = []
    for _ in range(3 + repeats):
        synchronize(device)
        started = time.perf_counter()
        function()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def throughput(name: str, cases: list[ml.Case], device: torch.device, steps: int, peak: float) -> tuple:
    """Cells of a row: the training step of `medlearn.fit` with this preset, augmentation and all, without its loop."""
    preset = PRESETS[name]
    config = ml.TrainConfig(**preset["train"], epochs=1)
    torch.manual_seed(0)
    model = build({**preset["model"], "in_channels": config.n_channels, "out_channels": 1}).to(device)
    recipe = fit_preprocess(model, cases, config, ("foreground",))
    sampler = load_cases(cases, recipe, config, device, crop=crop_size(model, config, recipe))
    example, _ = draw_samples(sampler, config, torch.rand(config.batch_size, sampler.n_draw))
    arithmetic = choose_arithmetic(model, example, "auto")
    objective = partial(segmentation_objective, dice_batch=config.dice_batch)
    training = Training(model, sampler, recipe, Validation((), recipe), config, objective, *arithmetic)
    work = 3 * 2 * ml.summary(model, tuple(example.shape)).multiply_adds  # the backward pass costs two forward passes

    for _ in range(10):  # compiling, and the choice of algorithms
        training.one_step(0.5)
    synchronize(device)
    started = time.perf_counter()
    for _ in range(steps):
        training.one_step(0.5)
    synchronize(device)
    seconds = (time.perf_counter() - started) / steps
    slices = config.batch_size * (example.shape[2] if recipe.patch else 1)
    idle = f"{100 * (1 - busy_seconds(training, device, 20) / seconds):.0f} %" if device.type == "cuda" else "–"
    batch, share = "×".join(map(str, example.shape)), f"{100 * work / seconds / peak:.0f} %"
    return batch, arithmetic[0], f"{slices / seconds:.0f}", share, idle


def busy_seconds(training: Training, device: torch.device, steps: int) -> float:
    """Seconds per step in which kernels run, added up."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(steps):
            training.one_step(0.5)
        synchronize(device)
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / steps


if __name__ == "__main__":
    main()
