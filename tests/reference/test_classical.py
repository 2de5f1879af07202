"""Thresholds and region growing against SimpleITK, scikit-image and OpenCV, on random volumes and on real scans."""

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from skimage.filters import threshold_multiotsu, threshold_otsu
from skimage.segmentation import flood

from medlearn.classical import confidence_grow, leak_curve, multi_otsu, otsu_threshold, region_grow

DTYPES = ["uint8", "int16", "uint16", "int32", "float32", "float64"]


def blurred_noise(seed, ndim, dtype):
    """Smooth noise around 100, 25 strong, negative values where the type has them."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(14, 40, 36)[-ndim:]), rng.choice([0.7, 1.5]))
    image = 100 + 25 * noise / noise.std() - (90 if np.dtype(dtype).kind != "u" else 0)
    return np.clip(image, 0 if np.dtype(dtype).kind == "u" else -1000, 255).astype(dtype)


def connected_threshold(image, seeds, lower, upper, full=False):
    connect = sitk.ConnectedThresholdImageFilter.FullConnectivity if full else 0
    grown = sitk.ConnectedThreshold(
        sitk.GetImageFromArray(image), xyz(seeds), lower=float(lower), upper=float(upper), connectivity=connect
    )
    return sitk.GetArrayFromImage(grown).astype(bool)


def xyz(seeds):
    return [tuple(int(i) for i in reversed(seed)) for seed in seeds]


@pytest.mark.parametrize("full", [False, True], ids=["faces", "full"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(4))
def test_region_grow_is_connected_threshold(seed, dtype, full):
    ndim = 2 + seed % 2
    image = blurred_noise(seed, ndim, dtype)
    rng = np.random.default_rng(seed)
    for share in (0.45, 0.6, 0.8):  # around the percolation threshold: ragged regions with many branches
        lower, upper = np.quantile(image, [0.05, 0.05 + share]).astype(dtype)
        inside = np.argwhere((image >= lower) & (image <= upper))
        seeds = inside[rng.integers(0, len(inside), 1 + seed)].tolist()
        region = region_grow(image, seeds, lower=lower, upper=upper, connectivity=ndim if full else 1)
        np.testing.assert_array_equal(region, connected_threshold(image, seeds, lower, upper, full))
        assert region.any()


@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_tolerance_is_that_of_skimage_flood(connectivity):
    image = blurred_noise(1, 3, "int16")
    for tolerance in (3, 12, 20):
        expected = flood(image, (7, 20, 18), connectivity=connectivity, tolerance=tolerance)
        region = region_grow(image, (7, 20, 18), tolerance=tolerance, connectivity=connectivity)
        np.testing.assert_array_equal(region, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(6))
def test_confidence_grow_is_confidence_connected(seed, dtype):
    image = blurred_noise(seed, 2 + seed % 2, dtype)
    rng = np.random.default_rng(seed)
    for k, n_iterations, radius in ((4.5, 4, 1), (1.5, 0, 2), (2.5, 3, 1), (2.0, 7, 3)):
        seeds = np.unique(rng.integers(0, image.shape, (1 + seed % 3, image.ndim)), axis=0).tolist()
        if seed == 5:
            seeds[0] = [0] * image.ndim  # in the corner, where the box leaves the image
        region = confidence_grow(image, seeds, k=k, n_iterations=n_iterations, radius=radius)
        grown = sitk.ConfidenceConnected(
            sitk.GetImageFromArray(image),
            xyz(seeds),
            numberOfIterations=n_iterations,
            multiplier=k,
            initialNeighborhoodRadius=radius,
        )
        if region.sum() > 1:  # of a single voxel ITK takes the standard deviation, which is none
            np.testing.assert_array_equal(region, sitk.GetArrayFromImage(grown).astype(bool))
    assert region.any()


@pytest.mark.parametrize("case", ["Case00", "Case13", "Case27"])
def test_on_real_scans(real_data, case):
    folder = real_data / "promise12"
    itk = sitk.ReadImage(str(folder / f"{case}.mhd"))
    image = sitk.GetArrayFromImage(itk)
    gland = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{case}_segmentation.mhd"))) > 0
    seed = tuple(int(i) for i in np.argwhere(gland).mean(axis=0).round())
    tolerances = np.linspace(0, 2 * image[gland].std(), 9).astype(int)
    sizes = []
    for tolerance in tolerances:
        lower, upper = int(image[seed]) - tolerance, int(image[seed]) + tolerance
        for full in (False, True):
            region = region_grow(image, seed, tolerance=tolerance, connectivity=3 if full else 1)
            np.testing.assert_array_equal(region, connected_threshold(image, [seed], lower, upper, full))
        sizes.append(region.sum())
    assert leak_curve(image, seed, tolerances, connectivity=3).tolist() == sizes
    for k in (1.0, 2.5):
        grown = sitk.GetArrayFromImage(sitk.ConfidenceConnected(itk, xyz([seed]), multiplier=k))
        np.testing.assert_array_equal(confidence_grow(image, seed, k=k), grown.astype(bool))
    assert otsu_threshold(image) == threshold_otsu(image)
    few = np.clip(image // 8, -500, 500)
    theirs = threshold_multiotsu(few, 3)  # sums in single precision, and on one of the scans two gray values off
    np.testing.assert_allclose(multi_otsu(few, 3), theirs, atol=2)
    assert within_classes(few, multi_otsu(few, 3)) <= within_classes(few, theirs)


def within_classes(image, thresholds):
    classes = np.digitize(image, thresholds, right=True)
    return sum(image[classes == c].var() * (classes == c).mean() for c in range(len(thresholds) + 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
def test_otsu_is_that_of_skimage(seed, dtype):
    image = blurred_noise(seed, 2, dtype)
    # Of floats scikit-image returns the middle of a bin, we the upper edge; an integer is a bin of its own.
    half_a_bin = np.ptp(image) / 512 if np.dtype(dtype).kind == "f" else 0
    assert otsu_threshold(image) == pytest.approx(threshold_otsu(image) + half_a_bin, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_otsu_is_that_of_opencv(seed):
    image = blurred_noise(seed, 2, "uint8")
    value, foreground = cv2.threshold(image, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    assert otsu_threshold(image) == value
    np.testing.assert_array_equal(image > otsu_threshold(image), foreground.astype(bool))


@pytest.mark.parametrize("seed", range(3))
def test_otsu_is_that_of_simpleitk(seed):
    """A bin for each gray value. ITK marks what is *not* above the threshold, and rounds a bin's edge, 91.6, to 92."""
    image = blurred_noise(seed, 2, "uint8")
    n_bins = int(np.ptp(image)) + 1
    below = sitk.OtsuThreshold(sitk.GetImageFromArray(image), 1, 0, n_bins)
    largest_below = image[sitk.GetArrayFromImage(below) == 1].max()
    assert otsu_threshold(image) <= largest_below <= otsu_threshold(image) + 1


@pytest.mark.parametrize("n_classes", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_multi_otsu_is_that_of_skimage(dtype, n_classes):
    image = blurred_noise(n_classes, 2, dtype)
    assert multi_otsu(image, n_classes).tolist() == threshold_multiotsu(image, n_classes).tolist()


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_multi_otsu_is_that_of_simpleitk(n_classes):
    image = blurred_noise(1, 2, "uint8")
    n_bins = int(np.ptp(image)) + 1
    labels = sitk.OtsuMultipleThresholds(sitk.GetImageFromArray(image), n_classes - 1, 0, n_bins)
    ours = np.digitize(image, multi_otsu(image, n_classes), right=True)
    np.testing.assert_array_equal(ours, sitk.GetArrayFromImage(labels))
