"""Augmentation of batches with labels: `medlearn.Augment` against the per-sample transforms of MONAI and TorchIO.

Affine and elastic, 16 slices of 128×128 and 2 volumes of 24×128×128, image linear and label nearest. All take turns in
one run; what is printed are medians and ratios of medians. A library that is not installed is left out, and said so.

    python benchmarks/augment.py [--rounds 15]
"""

import argparse
import os
import statistics
import time
import warnings
from importlib.util import find_spec

import numpy as np
import torch

from medlearn.augment import Augment

OURS = Augment(elastic_mm=2.0, contrast=0, brightness=0, gamma=0, bias=0)
SPACING = (3.6, 0.6, 0.6)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {options.rounds} rounds (ms)")
    for n, shape in ((16, (128, 128)), (2, (24, 128, 128))):
        rng = np.random.default_rng(0)
        images = torch.from_numpy(rng.normal(size=(n, 1, *shape)).astype(np.float32))
        labels = torch.from_numpy(rng.integers(0, 2, (n, *shape)).astype(np.uint8))
        rivals = {"medlearn": ours(images, labels)}
        for name, make in (("monai", monai_transforms), ("torchio", torchio_transforms)):
            if find_spec(name) is None:
                print(f"{name} is not installed: left out")
            elif (rival := make(images, labels)) is not None:
                rivals[name] = rival
        medians = in_turns(rivals, options.rounds)
        print(f"{n} × {'×'.join(map(str, shape))}, load {os.getloadavg()[0]:.1f}")
        for name, median in medians.items():
            print(f"  {name:9} {median:8.1f}   {median / medians['medlearn']:.1f} × ours")


def ours(images, labels):
    spacing = SPACING[-(images.ndim - 2) :]
    n_random = OURS.n_random(images.shape[2:], spacing)
    return lambda: OURS(images, labels, torch.rand(len(images), n_random), spacing)


def monai_transforms(images, labels):
    from monai import transforms

    keys = {"keys": ("image", "label"), "prob": 1.0, "mode": ("bilinear", "nearest")}
    affine = {"rotate_range": 0.26, "shear_range": 0.1, "translate_range": 13, "scale_range": 0.2}
    if images.ndim == 4:
        change = transforms.Rand2DElasticd(spacing=(40, 40), magnitude_range=(2, 4), **affine, **keys)
    else:
        change = transforms.Rand3DElasticd(sigma_range=(5, 7), magnitude_range=(50, 150), **affine, **keys)
    samples = [{"image": i, "label": k[None]} for i, k in zip(images, labels, strict=True)]
    return lambda: [change(sample) for sample in samples]


def torchio_transforms(images, labels):
    if images.ndim == 4:
        return None  # made for volumes
    import torchio as tio

    change = tio.Compose(
        [
            tio.RandomAffine(scales=0.2, degrees=15, translation=8),
            tio.RandomElasticDeformation(num_control_points=7, max_displacement=5),
        ]
    )
    subjects = [
        tio.Subject(image=tio.ScalarImage(tensor=i), label=tio.LabelMap(tensor=k[None]))
        for i, k in zip(images, labels, strict=True)
    ]
    return lambda: [change(subject) for subject in subjects]


def in_turns(rivals, rounds):
    times = {name: [] for name in rivals}
    for k in range(rounds + 1):
        for name, work in rivals.items():
            start = time.perf_counter()
            work()
            if k:  # the first round warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(t) for name, t in times.items()}


if __name__ == "__main__":
    main()
