"""Our pixels against OpenCV's, which must be equal, and scikit-image's, which must be near."""

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
import skimage.data
import skimage.exposure
from hypothesis import given, settings
from hypothesis import strategies as st

from medlearn.contrast import clahe, convert_clip_limit, equalize_histogram

SHAPES = [(1, 1), (1, 7), (5, 3), (16, 16), (17, 16), (40, 40), (41, 40), (33, 70), (64, 96)]
TILES = [(1, 1), (2, 3), (8, 8), (16, 5), (16, 16)]
LIMITS = [0, 0.05, 1, 2, 3.7, 40]


def images(shape, dtype):
    """Noise, a constant, two values, and a ramp over part of the range."""
    rng = np.random.default_rng(sum(shape))
    largest = np.iinfo(dtype).max
    yield rng.integers(0, largest + 1, shape).astype(dtype)
    yield np.full(shape, 100, dtype)
    yield (rng.random(shape) > 0.7).astype(dtype) * largest
    yield np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype(dtype)


def with_opencv(image, clip_limit, tiles):
    return cv2.createCLAHE(clip_limit, tiles[::-1]).apply(image)


@pytest.mark.parametrize("tiles", TILES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_uint8_pixels_are_opencvs(shape, tiles):
    for clip_limit in LIMITS:
        for image in images(shape, np.uint8):
            expected = with_opencv(image, clip_limit, tiles)
            for engine in ("numpy", "opencv", "auto"):
                result = clahe(image, clip_limit=clip_limit, tiles=tiles, engine=engine)
                np.testing.assert_array_equal(result, expected, f"{clip_limit=}, {engine=}")


@pytest.mark.parametrize("tiles", [(1, 1), (2, 3), (5, 4)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_uint16_pixels_are_opencvs(shape, tiles):
    for clip_limit in (0, 2, 40, 3000):
        for image in images(shape, np.uint16):
            expected = with_opencv(image, clip_limit, tiles)
            for engine in ("numpy", "opencv", "auto"):
                result = clahe(image, clip_limit=clip_limit, tiles=tiles, engine=engine)
                np.testing.assert_array_equal(result, expected, f"{clip_limit=}, {engine=}")


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 16), st.integers(1, 16)),
    st.floats(0, 100),
    st.integers(0, 2**32 - 1),
)
def test_any_setting(shape, tiles, clip_limit, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, rng.integers(1, 257), shape, dtype=np.uint8)
    expected = with_opencv(image, clip_limit, tiles)
    np.testing.assert_array_equal(clahe(image, clip_limit=clip_limit, tiles=tiles, engine="numpy"), expected)


def test_a_large_picture():
    camera = skimage.data.camera()
    for tiles in ((8, 8), (7, 9)):
        np.testing.assert_array_equal(clahe(camera, tiles=tiles, engine="numpy"), with_opencv(camera, 2.0, tiles))


@pytest.mark.parametrize("largest", [10, 4095, 65535])
def test_large_tiles_in_sixteen_bits(largest):
    """More pixels in a tile than bins: every bin then gets an equal share of the excess."""
    image = np.random.default_rng(largest).integers(0, largest + 1, (300, 310), dtype=np.uint16)
    image[:250] //= 50
    for clip_limit in (0, 1, 2.5, 40):
        expected = with_opencv(image, clip_limit, (1, 1))
        np.testing.assert_array_equal(clahe(image, clip_limit=clip_limit, tiles=(1, 1), engine="numpy"), expected)


def test_global_pixels_are_opencvs():
    for shape in SHAPES:
        for image in images(shape, np.uint8):
            np.testing.assert_array_equal(equalize_histogram(image), cv2.equalizeHist(image))


@pytest.mark.parametrize("limit", [0.01, 0.02, 0.05])
def test_near_scikit_image_with_a_converted_limit(limit):
    """Below about twice the mean bin the two part (by 24 gray levels at 0.005), so no lower limit is tested."""
    camera = skimage.data.camera()  # 512 × 512: tiles of 64 × 64
    expected = 255 * skimage.exposure.equalize_adapthist(camera, kernel_size=64, clip_limit=limit)
    converted = convert_clip_limit(limit, source="scikit-image", target="OpenCV", tile_size=(64, 64))
    difference = clahe(camera, clip_limit=converted).astype(float) - expected
    assert np.abs(difference).mean() < 5
    unconverted = clahe(camera, clip_limit=limit).astype(float) - expected
    assert np.abs(unconverted).mean() > 10


def test_real_slices(real_data):
    volume = sitk.GetArrayFromImage(sitk.ReadImage(real_data / "promise12" / "Case00.mhd"))
    low, high = int(volume.min()), int(volume.max())
    gray = np.rint((volume - float(low)) / (high - low) * 65535).astype(np.uint16)
    expected = np.stack([with_opencv(image, 4.0, (4, 4)) for image in gray]) / 65535 * (high - low) + low
    for engine in ("numpy", "auto"):
        result = clahe(volume, clip_limit=4.0, tiles=(4, 4), n_bins=65536, engine=engine)
        np.testing.assert_array_equal(result, np.rint(expected))
        assert result.dtype == volume.dtype
