"""CLAHE and its steps: answers worked by hand, a direct implementation for volumes, types, and what is refused."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medlearn import Volume
from medlearn.contrast import (
    PARAMETERS,
    adaptive_equalize,
    clahe,
    clip_count,
    clip_histogram,
    convert_clip_limit,
    equalize_histogram,
    interpolate_mappings,
    tile_histograms,
    tile_mappings,
    tile_size,
)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (3, 30, 41), dtype=np.uint8)


# The steps


@pytest.mark.parametrize(
    ("shape", "tiles", "expected"),
    [
        ((40, 80), (8, 8), (5, 10)),
        ((41, 80), (8, 8), (6, 11)),  # OpenCV's rule: the axis that divides is filled up, too
        ((3, 3), (8, 8), (1, 1)),
        ((12, 20, 20), (3, 4, 5), (4, 5, 4)),
    ],
)
def test_tile_size(shape, tiles, expected):
    assert tile_size(shape, tiles) == expected


def test_histograms_of_an_image_that_divides():
    image = np.repeat(np.arange(4, dtype=np.uint8), 3).reshape(2, 6)  # rows 000111, 222333
    histograms = tile_histograms(image, (2, 2), n_bins=256)
    assert histograms.shape == (2, 2, 256)
    np.testing.assert_array_equal(np.argwhere(histograms), [[0, 0, 0], [0, 1, 1], [1, 0, 2], [1, 1, 3]])
    assert histograms.max() == histograms[0, 0, 0] == 3


def test_histograms_count_the_mirrored_pixels():
    row = np.uint8([10, 20, 30])  # two tiles of two pixels; the mirror at the end shows 20 again
    histograms = tile_histograms(row, (2,))
    assert histograms[0, 10] == histograms[0, 20] == histograms[1, 30] == histograms[1, 20] == 1
    assert histograms.sum() == 4


def test_fewer_bins_than_gray_values():
    histograms = tile_histograms(np.uint8([[0, 31, 32, 255]]), (1, 1), n_bins=8)
    np.testing.assert_array_equal(histograms[0, 0], [2, 1, 0, 0, 0, 0, 0, 1])


def test_clipping_shares_out_the_excess():
    np.testing.assert_array_equal(clip_histogram([100, 3, 0, 7, 50, 0, 0, 0], 20), [34, 17, 14, 21, 34, 14, 13, 13])
    both = clip_histogram([[9, 0, 0, 0], [1, 1, 1, 1]], 2)  # an excess of 7: one each, and 3 to the first three bins
    np.testing.assert_array_equal(both, [[4, 2, 2, 1], [1, 1, 1, 1]])


@given(
    hnp.arrays(np.int64, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=st.integers(0, 1000)),
    st.integers(1, 300),
)
def test_clipping_keeps_every_count(histograms, limit):
    before = histograms.copy()
    clipped = clip_histogram(histograms, limit)
    np.testing.assert_array_equal(histograms, before)
    np.testing.assert_array_equal(clipped.sum(-1), histograms.sum(-1))
    gained = clipped - np.minimum(histograms, limit)
    assert (np.ptp(gained, axis=-1) <= 1).all()  # equal shares


@given(st.floats(0.001, 100), st.integers(1, 100), st.integers(1, 100), st.sampled_from([8, 256, 65536]))
def test_clip_count_is_at_least_one(clip_limit, rows, columns, n_bins):
    count = clip_count(clip_limit, (rows, columns), n_bins)
    assert count == max(1, math.floor(clip_limit * rows * columns / n_bins))


def test_mappings():
    np.testing.assert_array_equal(
        tile_mappings([34, 17, 14, 21, 34, 14, 13, 13]), [54, 81, 104, 137, 191, 214, 234, 255]
    )
    assert tile_mappings([1, 1], np.uint16).tolist() == [32768, 65535]  # 32767.5 to the even number
    np.testing.assert_array_equal(tile_mappings([[1, 0], [0, 2]]), [[255, 255], [0, 255]])


def test_interpolation_is_exact_at_centers_and_clamped_at_the_ends():
    mappings = np.zeros((3, 256), np.uint8)
    mappings[:, 7] = 10, 50, 90
    row = np.full(24, 7, np.uint8)
    result = interpolate_mappings(row, mappings)
    np.testing.assert_array_equal(result[[0, 3, 4, 11, 12, 20, 23]], [10, 10, 10, 45, 50, 90, 90])
    assert (np.diff(result.astype(int)) >= 0).all()


# The whole


def test_clahe_is_its_four_steps(noise):
    image = noise[0]
    for tiles, n_bins in itertools.product([(1, 1), (3, 4), (7, 2)], [64, 256]):
        count = clip_count(3.0, tile_size(image.shape, tiles), n_bins)
        clipped = clip_histogram(tile_histograms(image, tiles, n_bins), count)
        expected = interpolate_mappings(image, tile_mappings(clipped, np.uint8))
        np.testing.assert_array_equal(clahe(image, clip_limit=3.0, tiles=tiles, n_bins=n_bins), expected)


@pytest.mark.parametrize("tiles", [(3, 4), (2, 3, 4)])
def test_sixteen_bits_are_the_four_steps_too(noise, tiles):
    """The shortcut that leaves out gray values that do not occur must not be seen."""
    image = noise.astype(np.uint16)[0 if len(tiles) == 2 else ...] * 257
    for clip_limit in (2, 100, 5000):
        count = clip_count(clip_limit, tile_size(image.shape, tiles), 65536)
        clipped = clip_histogram(tile_histograms(image, tiles), count)
        expected = interpolate_mappings(image, tile_mappings(clipped, np.uint16))
        np.testing.assert_array_equal(clahe(image, clip_limit=clip_limit, tiles=tiles, engine="numpy"), expected)


def slow_clahe(volume, clip_limit, tiles):
    """CLAHE of a uint8 volume, voxel by voxel, in float64, written from the definition; without rounding at the end."""
    size = [-(-n // k) for n, k in zip(volume.shape, tiles, strict=True)]
    if any(n % k for n, k in zip(volume.shape, tiles, strict=True)):
        size = [n // k + 1 for n, k in zip(volume.shape, tiles, strict=True)]
    mappings = {}
    for tile in np.ndindex(*tiles):
        counts = [0] * 256
        for offset in np.ndindex(*size):
            index = [t * s + o for t, s, o in zip(tile, size, offset, strict=True)]
            index = [i if i < n else 2 * (n - 1) - i for i, n in zip(index, volume.shape, strict=True)]
            counts[volume[tuple(index)]] += 1
        if clip_limit:
            count = max(1, int(clip_limit * math.prod(size) / 256))
            excess = sum(max(0, n - count) for n in counts)
            counts = [min(n, count) + excess // 256 for n in counts]
            rest = excess % 256
            for k in range(rest):
                counts[k * (256 // rest)] += 1
        mappings[tile] = [round(255 * sum(counts[: v + 1]) / math.prod(size)) for v in range(256)]
    result = np.empty(volume.shape)
    for voxel in np.ndindex(*volume.shape):
        total = 0.0
        for corner in itertools.product((0, 1), repeat=volume.ndim):
            weight, tile = 1.0, []
            for i, s, k, upper in zip(voxel, size, tiles, corner, strict=True):
                position = i / s - 0.5
                low = math.floor(position)
                weight *= position - low if upper else 1 - (position - low)
                tile.append(min(max(low + upper, 0), k - 1))
            total += weight * mappings[tuple(tile)][volume[voxel]]
        result[voxel] = total
    return result


@pytest.mark.parametrize("tiles", [(2, 2, 2), (3, 2, 4), (1, 3, 1)])
@pytest.mark.parametrize("clip_limit", [0, 1.5, 8])
@pytest.mark.parametrize("shape", [(6, 8, 12), (7, 9, 10)])
def test_boxes_in_a_volume_against_the_definition(shape, clip_limit, tiles):
    rng = np.random.default_rng(1)
    volume = np.clip(rng.normal(100, 30, shape) + np.arange(shape[-1]) * 5, 0, 255).astype(np.uint8)
    expected = slow_clahe(volume, clip_limit, tiles)
    assert len(np.unique(np.rint(expected))) > 20
    np.testing.assert_allclose(clahe(volume, clip_limit=clip_limit, tiles=tiles), expected, rtol=0, atol=0.501)


@pytest.mark.parametrize("engine", ["numpy", "opencv"])
def test_leading_axes_are_looped_over(noise, engine):
    stack = clahe(noise, tiles=(3, 4), engine=engine)
    np.testing.assert_array_equal(stack, [clahe(image, tiles=(3, 4), engine=engine) for image in noise])
    np.testing.assert_array_equal(clahe(noise[None], tiles=(3, 4), engine=engine)[0], stack)


def test_one_slice_in_boxes_is_the_slice(noise):
    image = noise[:1, :, :40]  # every axis divides: nothing is filled up
    np.testing.assert_array_equal(clahe(image, tiles=(1, 3, 4)), clahe(image, tiles=(3, 4)))


def test_symmetric_under_transposition():
    image = np.random.default_rng(2).integers(0, 256, (24, 30), dtype=np.uint8)
    np.testing.assert_allclose(  # float32 sums in another order may round to the other side
        clahe(image, tiles=(4, 5)).astype(int), clahe(image.T, tiles=(5, 4)).T.astype(int), atol=1
    )


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.sampled_from([0, 0.5, 2, 40]))
def test_one_tile_keeps_the_order_of_gray_values(image, clip_limit):
    equalized = clahe(image, clip_limit=clip_limit, tiles=(1, 1))
    by_value = equalized.ravel()[np.argsort(image, axis=None)].astype(int)
    assert (np.diff(by_value) >= 0).all()


def test_equal_gray_values_part_where_their_surroundings_differ():
    ramp = np.tile(np.linspace(30, 220, 256), (256, 1))
    for first in (40, 190):
        ramp[108:148, first : first + 24] = 120
    equalized = clahe(ramp.astype(np.uint8), clip_limit=4)
    left, right = equalized[120:136, 44:60].mean(), equalized[120:136, 194:210].mean()
    assert left > right + 50


def test_a_limit_holds_noise_down():
    flat = np.random.default_rng(0).normal(128, 5, (256, 256)).round().astype(np.uint8)
    spread = [clahe(flat, clip_limit=limit).std() for limit in (1, 2, 4, 40)]
    assert spread == sorted(spread)
    assert spread[1] == pytest.approx(13.9, abs=0.3)
    assert adaptive_equalize(flat).std() == pytest.approx(spread[-1], abs=1)
    np.testing.assert_array_equal(adaptive_equalize(flat), clahe(flat, clip_limit=0))


# Types


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.int64, np.float32, np.float64, ">i2"])
def test_other_types_go_through_uint16(dtype):
    image = np.random.default_rng(3).integers(-100, 101, (32, 32)).clip(0 if np.dtype(dtype).kind == "u" else -100)
    image = image.astype(dtype)
    low, high = float(image.min()), float(image.max())
    through = np.rint((image.astype(float) - low) / (high - low) * 65535).astype(np.uint16)
    expected = clahe(through, tiles=(2, 2), n_bins=256) / 65535 * (high - low) + low
    result = clahe(image, tiles=(2, 2))
    assert result.dtype == image.dtype
    assert low <= result.min() < result.max() == high
    np.testing.assert_allclose(result, expected if image.dtype.kind == "f" else np.rint(expected), rtol=1e-6, atol=1e-5)


def test_a_value_range_clips():
    image = np.random.default_rng(4).normal(40, 100, (2, 40, 40)).astype(np.float32)
    result = clahe(image, value_range=(0, 100), tiles=(2, 2))
    np.testing.assert_array_equal(result, clahe(image.clip(0, 100), tiles=(2, 2)))
    assert result.min() >= 0
    assert result.max() == 100
    equalized = equalize_histogram(image, value_range=(0, 100))
    np.testing.assert_array_equal(equalized, equalize_histogram(image.clip(0, 100)))


@pytest.mark.parametrize("value", [-7, 0, 1000])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_constant_image_stays(dtype, value):
    image = np.full((2, 9, 10), value, dtype)
    for result in (clahe(image), clahe(image, tiles=(1, 2, 2)), equalize_histogram(image)):
        np.testing.assert_array_equal(result, image)
        assert result.dtype == dtype
        assert not np.shares_memory(result, image)


def test_256_bins_give_a_limit_its_meaning_in_16_bits():
    """With 65536 bins nothing of continuous noise exceeds the limit; with 256 the limit works as in 8 bits."""
    noise = np.random.default_rng(5).normal(0, 0.02, (256, 256))
    noise[0, :2] = -0.5, 0.5
    eight = clahe(np.rint((noise + 0.5) * 255).astype(np.uint8)).std() / 255
    assert clahe(noise).std() == pytest.approx(eight, rel=0.05)
    assert clahe(noise, n_bins=65536).std() > 4 * eight


def test_the_input_is_not_changed(noise):
    for image in (noise, noise.astype(np.float32), noise.astype(np.uint16)):
        before = image.copy()
        for result in (clahe(image), clahe(image, engine="numpy"), equalize_histogram(image)):
            assert not np.shares_memory(result, image)
        np.testing.assert_array_equal(image, before)


def test_arrays_that_are_not_contiguous(noise):
    view = noise.transpose(1, 2, 0)[::2, ::-1]
    for engine in ("numpy", "opencv"):
        np.testing.assert_array_equal(
            clahe(view, tiles=(2, 1), engine=engine), clahe(view.copy(), tiles=(2, 1), engine=engine)
        )


def test_lifted_to_a_volume(noise):
    volume = Volume(array=noise, spacing=(3, 0.5, 0.5))
    np.testing.assert_array_equal(volume.map(clahe).array, clahe(noise))


# Global equalization


def test_equalize_by_hand():
    assert equalize_histogram(np.uint8([5, 5, 6, 7])).tolist() == [0, 0, 128, 255]
    assert equalize_histogram(np.uint16([5, 5, 6, 7])).tolist() == [0, 0, 32768, 65535]
    assert equalize_histogram(np.array([-1.0, 0, 9])).tolist() == pytest.approx([-1, 4, 9], abs=1e-3)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=6)))
def test_equalizing_keeps_the_order(image):
    equalized = equalize_histogram(image)
    assert (np.diff(equalized.ravel()[np.argsort(image, axis=None)].astype(int)) >= 0).all()
    if np.ptp(image):
        assert equalized.min() == 0
        assert equalized.max() == 255


# Conventions


def test_converted_limits_by_hand():
    size = {"tile_size": (40, 40)}  # 1600 pixels; the mean bin holds 6.25, in MATLAB 7
    assert convert_clip_limit(0.05, source="scikit-image", target="OpenCV", **size) == pytest.approx(12.8)
    assert convert_clip_limit(2, source="OpenCV", target="scikit-image", **size) == pytest.approx(2 / 256)
    matlab = convert_clip_limit(0.01, source="MATLAB", target="OpenCV", **size)
    assert matlab == pytest.approx((7 + 0.01 * 1593) / 6.25)
    assert convert_clip_limit(0.5, source="OpenCV", target="MATLAB", **size) == 0
    assert convert_clip_limit(1, source="MATLAB", target="scikit-image", **size) == 1


@given(st.floats(2, 100), st.permutations(list(PARAMETERS)), st.sampled_from([(40, 40), (64, 32), (8, 40, 40)]))
def test_converting_and_back(value, libraries, size):
    there = convert_clip_limit(value, source="OpenCV", target=libraries[0], tile_size=size)
    on = convert_clip_limit(there, source=libraries[0], target=libraries[1], tile_size=size)
    back = convert_clip_limit(on, source=libraries[1], target="OpenCV", tile_size=size)
    assert back == pytest.approx(value)


def test_the_table_has_the_same_rows_for_every_library():
    rows = {tuple(settings) for settings in PARAMETERS.values()}
    assert len(rows) == 1


# What is refused


@pytest.mark.parametrize(
    ("image", "arguments", "error", "message"),
    [
        (np.zeros((8, 8), bool), {}, TypeError, "bool"),
        (np.zeros((8, 8), complex), {}, TypeError, "complex"),
        (Volume(array=np.zeros((1, 8, 8)), spacing=(1, 1, 1)), {}, TypeError, "volume.map"),
        (np.zeros((0, 8, 8)), {}, ValueError, r"\(0, 8, 8\)"),
        (np.array([[0, np.nan]]), {}, ValueError, "NaN"),
        (np.array([[0, np.inf]]), {"value_range": (0, 1)}, ValueError, "NaN or infinite"),
        (np.zeros(8), {}, ValueError, "tiles"),
        (np.zeros((8, 8)), {"tiles": (0, 8)}, ValueError, "tiles"),
        (np.zeros((8, 8)), {"tiles": (1.5, 8)}, ValueError, "tiles"),
        (np.zeros((8, 8)), {"tiles": ()}, ValueError, "tiles"),
        (np.zeros((8, 8)), {"clip_limit": -1}, ValueError, "clip_limit"),
        (np.zeros((8, 8)), {"clip_limit": np.nan}, ValueError, "clip_limit"),
        (np.zeros((8, 8)), {"engine": "cuda"}, ValueError, "engine"),
        (np.zeros((8, 8)), {"value_range": (1, 1)}, ValueError, "value_range"),
        (np.zeros((8, 8)), {"value_range": (0, np.inf)}, ValueError, "value_range"),
        (np.zeros((8, 8), np.uint8), {"value_range": (0, 100)}, ValueError, "Leave it out"),
        (np.zeros((8, 8), np.int8), {"value_range": (0, 1000)}, ValueError, "int8"),
        (np.zeros((8, 8), np.uint8), {"n_bins": 257}, ValueError, "256"),
        (np.zeros((8, 8)), {"n_bins": 0}, ValueError, "n_bins"),
        (np.zeros((8, 8)), {"n_bins": 256, "engine": "opencv"}, ValueError, "n_bins=256"),
        (np.zeros((8, 8, 8)), {"tiles": (2, 2, 2), "engine": "opencv"}, ValueError, "two tiled axes"),
    ],
    ids=str,
)
def test_refused(image, arguments, error, message):
    with pytest.raises(error, match=message):
        clahe(image, **arguments)


def test_limits_that_are_none():
    for value, source in [(0, "OpenCV"), (-1, "scikit-image"), (1.5, "MATLAB"), (1, "ITK")]:
        with pytest.raises(ValueError, match="limit" if source != "ITK" else "source"):
            convert_clip_limit(value, source=source, target="OpenCV", tile_size=(8, 8))
