"""HD95, boundary distance and surface Dice of a pair of masks: `medlearn.evaluate`, MONAI and surface-distance.

Each library is used as its documentation shows: ours and surface-distance (DeepMind) compute the distances once for all
three measures, MONAI once for each. `evaluate` returns its other measures too; that is in the time. Before anything is
timed, the results of the first two are compared. surface-distance takes part where it can be imported; it measures
another surface, so its figures differ.

    python benchmarks/metrics.py [--rounds 7]
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch

import medlearn as ml
from medlearn.metrics import evaluate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI's own deprecations, when it is imported
    import monai
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

try:
    import surface_distance
except ImportError:
    surface_distance = None

TOLERANCE_MM = 1.0
PAIRS = {  # shape, spacing in mm, radius in mm: about a prostate, about a liver
    "32×320×320": ((32, 320, 320), (3.6, 0.625, 0.625), 30.0),
    "128×512×512": ((128, 512, 512), (2.5, 0.8, 0.8), 110.0),
}


def main():
    warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of itself
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"MONAI {monai.__version__}, {torch.get_num_threads()} threads, medians of {options.rounds} rounds (ms)")
    if surface_distance is None:
        print("surface-distance is not installed: not compared")
    for name, (shape, spacing, radius) in PAIRS.items():
        pred, target = (
            ml.Volume(array=mask, spacing=spacing) for mask in (blob(shape, spacing, radius, s) for s in (1, 2))
        )
        ours, theirs = with_medlearn(pred, target), with_monai(pred, target)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
        libraries = {"medlearn": with_medlearn, "MONAI": with_monai}
        if surface_distance is not None:
            libraries["surface-distance"] = with_surface_distance
        times = in_turns(libraries.values(), pred, target, options.rounds)
        print(f"{name}, Dice {ml.dice(pred.array, target.array):.3f}, HD95 {ours[0]:.2f} mm")
        for library, ms in zip(libraries, times, strict=True):
            print(f"  {library} {ms:.1f}" + (f" · ratio {ms / times[0]:.1f}" if library != "medlearn" else ""))


def blob(shape, spacing, radius, seed):
    """A ball in the middle whose surface is bent by a few smooth waves, another set for each seed."""
    rng = np.random.default_rng(seed)
    mm = [(np.arange(n) - n / 2) * h for n, h in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*mm, indexing="ij", sparse=True)
    waves = sum(np.sin(rng.uniform(1, 3) * np.pi * axis / radius + rng.uniform(0, 6)) for axis in (z, y, x))
    return z**2 + y**2 + x**2 < (radius * (1 + 0.05 * waves)) ** 2


def with_medlearn(pred, target):
    metrics = evaluate(pred, target, tolerance_mm=TOLERANCE_MM)
    return metrics.hausdorff95, metrics.average_boundary_distance, metrics.surface_dice


def with_monai(pred, target):
    masks = [torch.from_numpy(volume.array)[None, None] for volume in (pred, target)]
    arguments = {"include_background": True, "spacing": target.spacing}
    return (
        compute_hausdorff_distance(*masks, percentile=95, **arguments).item(),
        compute_average_surface_distance(*masks, symmetric=True, **arguments).item(),
        compute_surface_dice(*masks, class_thresholds=[TOLERANCE_MM], **arguments).item(),
    )


def with_surface_distance(pred, target):
    distances = surface_distance.compute_surface_distances(target.array, pred.array, target.spacing)
    return (
        surface_distance.compute_robust_hausdorff(distances, 95),
        surface_distance.compute_average_surface_distance(distances),
        surface_distance.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM),
    )


def in_turns(works, pred, target, rounds):
    """Median milliseconds of each; they take turns, so that all meet the same disturbances."""
    times = [[seconds(work, pred, target) for work in works] for _ in range(rounds + 1)][1:]
    return [1000 * statistics.median(column) for column in zip(*times, strict=True)]


def seconds(work, pred, target):
    start = time.perf_counter()
    work(pred, target)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
