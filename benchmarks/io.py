"""Reading DICOM: `medlearn.load` against SimpleITK's own series reader, and `medlearn.dicom.list_series` of many files.

The files are made in a temporary folder. Both readers are measured in turns, after one run that is not counted, so the
files come from the operating system's cache: what is compared is the work, not the disk. SimpleITK's reader also has to
find the series first, as a user has to.

    python benchmarks/io.py [--slices 200] [--size 256] [--files 1000] [--rounds 7]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

import medlearn as ml
from medlearn.io import dicom


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--files", type=int, default=1000, help="for list_series, in series of 50")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(
        f"pydicom {pydicom.__version__}, SimpleITK {sitk.Version.VersionString()}, medians of {options.rounds} rounds"
    )
    with tempfile.TemporaryDirectory() as temporary:
        series = make_series(Path(temporary) / "series", options.slices, options.size)
        np.testing.assert_array_equal(ml.load(series).array, read_with_itk(series))
        ours, theirs = in_turns(lambda: ml.load(series), lambda: read_with_itk(series), options.rounds)
        print(f"{options.slices} slices of {options.size}², one series (ms)")
        print(f"  medlearn.load {ours:.0f} · SimpleITK {theirs:.0f} · ratio {theirs / ours:.2f}")
        tree = Path(temporary) / "tree"
        tree.mkdir()
        for k in range(options.files // 50):
            make_series(tree / f"{k:03d}", 50, 64)
        listing = lambda: dicom.list_series(tree)  # noqa: E731
        assert listing()["n_slices"].sum() == options.files // 50 * 50
        print(f"list_series of {options.files // 50 * 50} files (s)")
        print(f"  {statistics.median(seconds(listing) for _ in range(options.rounds)):.2f}")


def make_series(folder, n_slices, size):
    """Noise: its values do not matter here, because nothing is compressed."""
    array = np.random.default_rng(0).integers(0, 4096, (n_slices, size, size), dtype=np.int16)
    return dicom.save_series(ml.Volume(array=array, spacing=(1.5, 0.7, 0.7), meta={"modality": "MR"}), folder)


def read_with_itk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute())


def in_turns(first, second, rounds):
    """Median milliseconds of both; they take turns, so that both meet the same disturbances."""
    times = [(seconds(first), seconds(second)) for _ in range(rounds + 1)][1:]
    return [1000 * statistics.median(column) for column in zip(*times, strict=True)]


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
