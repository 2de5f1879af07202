"""Algorithms without learning, against the libraries a user would pick: region growing, CLAHE, curvature flow.

Every case makes its own data, checks that both sides give the same answer, and measures them in turns.

    python benchmarks/classical.py [CASE ...] [--rounds 15]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import SimpleITK as sitk
import skimage.exposure
import skimage.segmentation
from scipy import ndimage

from medlearn import classical, denoise
from medlearn.contrast import clahe


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all without one")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if unknown := sorted(set(options.cases) - set(CASES)):
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    print(f"SimpleITK {sitk.Version.VersionString()}, {sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()} threads")
    for name in options.cases or CASES:
        CASES[name](options.rounds)


def in_turns(rounds, *works):
    """Median milliseconds of each; they take turns, to meet the same disturbances; a first round is not counted."""
    times = [[seconds(work) for work in works] for _ in range(rounds + 1)][1:]
    return [1000 * statistics.median(column) for column in zip(*times, strict=True)]


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def region_growing(rounds):
    """A body of millions of voxels and a ball of some ten thousand in it; ITK with and without copying arrays."""
    z, y, x = np.ogrid[:100, :256, :256]
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(100, 256, 256)), 1.5)
    body = (y - 128) ** 2 + (x - 128) ** 2 < 115**2
    ball = (z - 50) ** 2 + (y - 128) ** 2 + (x - 128) ** 2 < 20**2
    image = (1000 * body + 2000 * ball + 100 * noise / noise.std()).astype(np.int16)
    itk_image = sitk.GetImageFromArray(image)
    for name, lower, upper, connectivity in (
        ("large region, faces", 500, 4000, 1),
        ("large region, full", 500, 4000, 3),
        ("large ragged region, faces", 1000, 4000, 1),
        ("small region, faces", 2500, 3500, 1),
        ("small region, full", 2500, 3500, 3),
    ):
        interval = {"lower": lower, "upper": upper}

        def grow(interval=interval, connectivity=connectivity):
            return classical.region_grow(image, (50, 128, 128), **interval, connectivity=connectivity)

        def grow_itk(source=itk_image, interval=interval, full=connectivity == 3):
            return sitk.ConnectedThreshold(source, [(128, 128, 50)], **interval, connectivity=int(full))

        def array_to_array(grow_itk=grow_itk):
            return sitk.GetArrayFromImage(grow_itk(sitk.GetImageFromArray(image)))

        np.testing.assert_array_equal(grow(), array_to_array().astype(bool))
        ours, theirs, with_arrays = in_turns(rounds, grow, grow_itk, array_to_array)
        print(f"region growing, {name}: {np.count_nonzero(grow()):,} of {image.size:,} voxels (ms)")
        print(
            f"  medlearn {ours:.2f} · SimpleITK {theirs:.2f} · ratio {theirs / ours:.1f}"
            f" · SimpleITK from array to array {with_arrays:.2f} · ratio {with_arrays / ours:.1f}"
        )
    others = (
        lambda: classical.region_grow(image, (50, 128, 128), lower=500, upper=4000),
        lambda: skimage.segmentation.flood((image >= 500) & (image <= 4000), (50, 128, 128), connectivity=1),
        lambda: label_and_choose((image >= 500) & (image <= 4000), (50, 128, 128)),
    )
    ours, flood, label = in_turns(max(rounds // 3, 3), *others)
    print(f"  large region, faces: medlearn {ours:.0f} · skimage flood {flood:.0f} · scipy label {label:.0f}")


def label_and_choose(mask, seed):
    labels, _ = ndimage.label(mask)
    return labels == labels[seed]


def leak_curve(rounds):
    """256 tolerances on one slice in one pass, against growing once for each."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(512, 512)), 3)
    image, tolerances = (2000 * noise).astype(np.int16), np.arange(256)
    one_by_one = lambda: [classical.region_grow(image, (256, 256), tolerance=t).sum() for t in tolerances]  # noqa: E731
    at_once = lambda: classical.leak_curve(image, (256, 256), tolerances)  # noqa: E731
    np.testing.assert_array_equal(at_once(), one_by_one())
    ours, growing = in_turns(rounds, at_once, one_by_one)
    print("leak curve, 256 tolerances on 512² (ms)")
    print(f"  medlearn leak_curve {ours:.1f} · region_grow for each {growing:.0f}")


def curvature_flow(rounds):
    """Five steps on a noisy volume with the voxels of a prostate scan."""
    spacing = (3.6, 0.625, 0.625)
    volume = np.random.default_rng(0).normal(500, 100, (24, 320, 320)).astype(np.float32)
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing(spacing[::-1])
    works = [lambda: denoise.curvature_flow(volume, spacing=spacing), lambda: sitk.CurvatureFlow(image, 0.05, 5)]
    np.testing.assert_allclose(works[0](), sitk.GetArrayFromImage(works[1]()), atol=1e-6 * np.ptp(volume))
    ours, theirs = in_turns(rounds, *works)
    print(f"curvature flow, 5 steps on {'×'.join(map(str, volume.shape))} (ms)")
    print(f"  medlearn {ours:.0f} · SimpleITK {theirs:.0f} · ratio {theirs / ours:.1f}")


def clahe_of_a_stack(rounds):
    """CLAHE slice by slice, in 8 bits and in 16 bits of which 12 are used, as scanners do."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(24, 320, 320)), (0, 4, 4))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    opencv = cv2.createCLAHE(2.0, (8, 8))
    for dtype, largest in ((np.uint8, 255), (np.uint16, 4095)):
        stack = np.rint(largest * smooth).astype(dtype)
        works = {
            "medlearn": lambda stack=stack: clahe(stack),
            "medlearn, engine='numpy'": lambda stack=stack: clahe(stack, engine="numpy"),
            "OpenCV": lambda stack=stack: np.stack([opencv.apply(image) for image in stack]),
            "scikit-image": lambda stack=stack: [
                skimage.exposure.equalize_adapthist(image, kernel_size=40, clip_limit=2 / 256) for image in stack
            ],
        }
        expected = works["OpenCV"]()
        np.testing.assert_array_equal(works["medlearn"](), expected)
        np.testing.assert_array_equal(works["medlearn, engine='numpy'"](), expected)
        times = dict(zip(works, in_turns(rounds, *works.values()), strict=True))
        print(f"clahe of 24 slices of 320², {np.dtype(dtype)} 0…{largest}, OpenCV {cv2.getNumThreads()} threads (ms)")
        print("  " + " · ".join(f"{name} {time:.1f}" for name, time in times.items()))
        for name in list(works)[:2]:
            ratios = (f"{times[other] / times[name]:.2f} {other}" for other in ("OpenCV", "scikit-image"))
            print(f"  {name}: times as fast as {', '.join(ratios)}")


CASES: dict[str, Callable[[int], None]] = {  # name → function of the number of rounds, which prints its result
    "region_growing": region_growing,
    "leak_curve": leak_curve,
    "clahe_of_a_stack": clahe_of_a_stack,
    "curvature_flow": curvature_flow,
}

if __name__ == "__main__":
    main()
