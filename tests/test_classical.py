"""Thresholds and region growing: small pictures by hand, the course's probes, every dtype, invariants, mistakes."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medlearn.classical import (
    between_class_variance,
    confidence_grow,
    gray_histogram,
    leak_curve,
    multi_otsu,
    otsu_threshold,
    region_grow,
    region_grow_steps,
    threshold,
)

DTYPES = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.uint64, np.float16, np.float32, np.float64]

# ---------------------------------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_bounds_belong_to_the_interval(dtype):
    image = np.array([[10, 11, 12, 13, 14]], dtype)
    assert threshold(image, lower=11, upper=13).tolist() == [[False, True, True, True, False]]
    assert threshold(image, lower=13).sum() == 2
    assert threshold(image, upper=10).sum() == 1
    assert threshold(image, lower=10.5, upper=11.5).sum() == 1  # fractions are not cut off
    assert not threshold(image, lower=10.2, upper=10.8).any()


def test_bounds_outside_the_range_of_the_type():
    image = np.array([0, 255], np.uint8)
    assert threshold(image, lower=-5, upper=300).all()
    assert not threshold(image, lower=256).any()
    assert not threshold(image, upper=-1).any()
    assert threshold(image, lower=-math.inf, upper=math.inf).all()
    assert threshold(np.float32([1, np.inf]), lower=1e300).tolist() == [False, True]


def test_large_integers_are_not_rounded():
    image = np.array([2**53, 2**53 + 1, 2**64 - 1], np.uint64)
    assert threshold(image, lower=2**53 + 1).tolist() == [False, True, True]
    assert threshold(image, upper=2**64 - 2).tolist() == [True, True, False]


def test_a_float_bound_has_the_precision_of_the_image():
    assert threshold(np.float32([0.1]), lower=0.1, upper=0.1).all()  # although np.float32(0.1) > 0.1


def test_nan_is_in_no_interval():
    image = np.array([[1, math.nan, 3]])
    assert threshold(image, lower=0).tolist() == [[True, False, True]]
    assert threshold(image, upper=9).tolist() == [[True, False, True]]


def test_a_boolean_image_counts_as_0_and_1():
    mask = np.array([[True, False, True]])
    assert (threshold(mask, lower=1) == mask).all()
    assert region_grow(mask, (0, 0), lower=1).sum() == 1


def test_byte_order_and_layout_do_not_matter():
    image = np.arange(24).reshape(2, 3, 4).astype(">i2")
    expected = region_grow(image.astype(int), (0, 0, 0), upper=13)
    assert expected.sum() == 14
    assert (region_grow(image, (0, 0, 0), upper=13) == expected).all()
    assert (region_grow(image.T, (0, 0, 0), upper=13) == expected.T).all()
    assert (region_grow(image[:, ::-1, ::-1], (0, 2, 3), upper=13) == expected[:, ::-1, ::-1]).all()


def peaks(n_low, n_high, low=80, high=170, std=12):
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(low, std, n_low), rng.normal(high, std, n_high)])
    return np.clip(values, 0, 255).astype(np.uint8)


def test_otsu_on_the_probe_of_the_course():
    image = peaks(9000, 1000)
    assert otsu_threshold(image) == 124
    assert between_class_variance(np.bincount(image, minlength=256)).argmax() == 124


def test_otsu_splits_variance_and_not_anatomy():
    """The same two peaks; only the share of the brighter one changes, and the threshold leaves the valley."""
    assert 120 <= otsu_threshold(peaks(95_000, 5_000, 100, 160, 10)) <= 135
    assert otsu_threshold(peaks(98_000, 2_000, 100, 160, 10)) < 110


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_threshold_belongs_to_the_lower_class(dtype):
    image = np.array([[10, 11, 12, 90, 91, 92]], dtype)
    t = otsu_threshold(image)
    assert (image > t).tolist() == [[False] * 3 + [True] * 3]
    if np.issubdtype(dtype, np.integer):
        assert t == 12  # the smallest of the equally good thresholds 12…89
        assert multi_otsu(image, 2).tolist() == [12]
    assert (np.digitize(image, multi_otsu(image, 2), right=True) == [0, 0, 0, 1, 1, 1]).all()


def test_between_class_variance_by_hand():
    # 3 at 0, 1 at 2: after bin 0 and bin 1 the shares are 3/4 and 1/4, the means 0 and 2
    assert between_class_variance([3, 0, 1]) == pytest.approx([0.75, 0.75, 0])
    assert between_class_variance([0, 0, 5, 0]).tolist() == [0, 0, 0, 0]


def test_histogram_of_integers_has_a_bin_for_each_value():
    counts, values = gray_histogram(np.array([[-2, 1, 1]], np.int8))
    assert counts.tolist() == [1, 0, 0, 2]
    assert values.tolist() == [-2, -1, 0, 1]
    top = 2**64 - 1
    counts, values = gray_histogram(np.array([top, top - 2], np.uint64))
    assert counts.tolist() == [1, 0, 1]
    assert [int(v) for v in values] == [top - 2, top - 1, top]


@pytest.mark.parametrize("image", [np.array([0, 2**40]), np.linspace(0, 1, 1000), np.float32([0, 1, np.nan, np.inf])])
def test_other_histograms_have_256_bins(image):
    counts, values = gray_histogram(image)
    assert len(counts) == len(values) == 256
    assert counts.sum() == np.isfinite(image).sum()
    assert values[-1] == image[np.isfinite(image)].max()


def exhaustive_multi_otsu(image, n_classes):
    """The best of all cuts between the values that occur, by the variance within the classes."""
    levels = np.unique(image)[:-1]

    def within(cuts):
        classes = np.digitize(image, cuts, right=True)
        return sum(((image[classes == c] - image[classes == c].mean()) ** 2).sum() for c in range(n_classes))

    return min(combinations(levels, n_classes - 1), key=within), within


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.int16, st.integers(8, 30), elements=st.integers(-9, 9)), st.integers(2, 4))
def test_multi_otsu_finds_the_best_cuts_there_are(image, n_classes):
    if len(np.unique(image)) < n_classes:
        with pytest.raises(ValueError, match=f"at least {n_classes} different gray values"):
            multi_otsu(image, n_classes)
        return
    best, within = exhaustive_multi_otsu(image, n_classes)
    assert within(multi_otsu(image, n_classes)) == pytest.approx(within(best))
    assert np.isin(multi_otsu(image, n_classes), image).all()


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.uint8, st.integers(2, 40)))
def test_otsu_is_as_good_as_multi_otsu_of_two_classes(image):
    if len(np.unique(image)) < 2:
        return
    variance = between_class_variance(np.bincount(image))  # equally good cuts exist, and rounding chooses between them
    assert variance[int(multi_otsu(image, 2)[0])] == pytest.approx(variance[int(otsu_threshold(image))])


# ------------------------------------------------------------------------------------------------------ region growing


def ramp_with_an_island():
    image = np.tile(np.arange(128) * 2, (32, 1)).astype(np.uint8)
    image[2:4, 100:104] = 64
    return image


def test_the_probe_of_the_course():
    """Not 4088 (difference to the neighbor), 360 (the island), 192 (wrap-around) or 288 (limit left out)."""
    image = ramp_with_an_island()
    region = region_grow(image, (16, 32), tolerance=10)
    assert region.sum() == 352
    assert (region == region_grow(image, (16, 32), lower=54, upper=74)).all()


def test_corners_are_crossed_only_with_full_connectivity():
    image = np.eye(4, dtype=np.uint8)
    assert region_grow(image, (0, 0), tolerance=0).sum() == 1
    assert (region_grow(image, (0, 0), tolerance=0, connectivity=2) == image).all()


def test_connectivity_in_three_dimensions():
    image = np.zeros((3, 3, 3))
    image[1, 1, 1] = image[1, 1, 2] = image[0, 0, 1] = image[2, 2, 0] = 1  # self, face, edge, corner
    sizes = [int(region_grow(image, (1, 1, 1), lower=1, connectivity=c).sum()) for c in (1, 2, 3)]
    assert sizes == [2, 3, 4]


def test_a_region_returns_through_rows_that_it_has_left():
    rows = ["#######", "......#", "#####.#", "#...#.#", "#.###.#", "#.....#", "#######"]
    spiral = np.array([[c == "#" for c in row] for row in rows])
    assert (region_grow(spiral, (4, 2), lower=1) == spiral).all()
    assert (region_grow(spiral, (0, 3), lower=1) == spiral).all()


def test_several_seeds_with_an_interval_and_with_a_tolerance():
    image = np.array([[0, 1, 2, 3, 4, 9, 4]])
    assert region_grow(image, [(0, 0), (0, 6)], upper=4).tolist() == [[True] * 5 + [False, True]]
    both = region_grow(image, [(0, 0), (0, 3)], tolerance=2)  # 0…2 and 1…5
    assert both.tolist() == [[True] * 5 + [False] * 2]
    # The second region crosses what the first has already taken:
    crossing = np.array([[5, 0, 3, 0, 6]])
    assert region_grow(crossing, [(0, 1), (0, 2)], tolerance=3).all()


def test_uint64_and_int64_at_their_ends():
    top = 2**64 - 1
    image = np.array([[top, top - 1, top - 3, 0]], np.uint64)
    assert region_grow(image, (0, 0), tolerance=1).sum() == 2
    assert region_grow(image, (0, 0), tolerance=10).sum() == 3
    image = np.array([[-(2**63), 2**63 - 1]], np.int64)
    assert region_grow(image, (0, 0), tolerance=1).sum() == 1
    assert region_grow(image, (0, 0), tolerance=np.uint8(200)).sum() == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_grows_the_same_region(dtype):
    image = np.random.default_rng(0).integers(0, 100, (6, 9, 10))
    expected = region_grow(image, (3, 4, 5), tolerance=35)
    assert 20 < expected.sum() < image.size
    assert (region_grow(image.astype(dtype), (3, 4, 5), tolerance=35) == expected).all()


def test_nan_stops_a_region():
    image = np.array([[1, 1, math.nan, 1]])
    assert region_grow(image, (0, 0), lower=0).sum() == 2
    assert region_grow(image, (0, 0), tolerance=math.inf).sum() == 2
    assert leak_curve(image, (0, 0), [0, 5, math.inf]).tolist() == [2, 2, 2]
    assert confidence_grow(np.where(np.isnan(image), image, [[1, 2, 3, 4]]), (0, 0), k=9).sum() == 2


growing = st.sampled_from((np.uint8, np.int16, np.float32)).flatmap(
    lambda dtype: hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7).flatmap(
        lambda shape: st.tuples(
            hnp.arrays(dtype, shape, elements=st.integers(0, 9)),
            st.lists(st.tuples(*[st.integers(0, n - 1) for n in shape]), min_size=1, max_size=3),
            st.integers(0, 5),
            st.integers(1, len(shape)),
        )
    )
)


def by_labelling(image, seed, tolerance, connectivity):
    near = np.abs(image.astype(int) - int(image[seed])) <= tolerance
    labels, _ = ndimage.label(near, ndimage.generate_binary_structure(image.ndim, connectivity))
    return labels == labels[seed]


@settings(max_examples=150, deadline=None)
@given(growing)
def test_a_region_is_the_union_of_the_components_of_its_seeds(case):
    image, seeds, tolerance, connectivity = case
    parts = [by_labelling(image, seed, tolerance, connectivity) for seed in seeds]
    region = region_grow(image, seeds, tolerance=tolerance, connectivity=connectivity)
    assert (region == np.any(parts, axis=0)).all()
    curve = leak_curve(image, seeds[0], [9, tolerance, 0], connectivity=connectivity)
    assert curve.tolist() == [by_labelling(image, seeds[0], t, connectivity).sum() for t in (9, tolerance, 0)]


@settings(max_examples=100, deadline=None)
@given(growing)
def test_wavefronts_partition_the_region_and_touch(case):
    image, seeds, tolerance, connectivity = case
    arguments = {"tolerance": tolerance, "connectivity": connectivity}
    fronts = list(region_grow_steps(image, seeds, **arguments))
    assert {tuple(index) for index in np.argwhere(fronts[0]).tolist()} == set(seeds)
    assert (np.sum(fronts, axis=0, dtype=int) == region_grow(image, seeds, **arguments)).all()  # disjoint, and complete
    structure = ndimage.generate_binary_structure(image.ndim, connectivity)
    if len(set(seeds)) == 1:
        for before, front in pairwise(fronts):
            assert front.any()
            assert not (front & ~ndimage.binary_dilation(before, structure)).any()


def test_wavefronts_of_two_seeds_by_hand():
    image = np.array([[0, 0, 0, 0, 0, 9, 0]])
    fronts = [np.flatnonzero(f).tolist() for f in region_grow_steps(image, [(0, 0), (0, 3)], upper=1)]
    assert fronts == [[0, 3], [1, 2, 4]]
    image = np.array([[0, 1, 2, 3]])  # two intervals: 0…1 and 1…3
    fronts = [np.flatnonzero(f).tolist() for f in region_grow_steps(image, [(0, 0), (0, 2)], tolerance=1)]
    assert fronts == [[0, 2], [1, 3]]


@settings(max_examples=60, deadline=None)
@given(growing)
def test_regions_follow_flips_and_grow_with_the_tolerance(case):
    image, seeds, tolerance, connectivity = case
    arguments = {"tolerance": tolerance, "connectivity": connectivity}
    region = region_grow(image, seeds, **arguments)
    flipped = [tuple(n - 1 - i for n, i in zip(image.shape, seed, strict=True)) for seed in seeds]
    assert (region_grow(np.flip(image), flipped, **arguments) == np.flip(region)).all()
    assert (region_grow(image.T, [s[::-1] for s in seeds], **arguments) == region.T).all()
    assert not (region & ~region_grow(image, seeds, tolerance=tolerance + 1, connectivity=connectivity)).any()
    assert not (region & ~region_grow(image, seeds, tolerance=tolerance, connectivity=image.ndim)).any()


def test_leak_curve_jumps_where_the_region_leaks():
    image = np.full((40, 40), 50.0)
    image[10:30, 10:30] = 100  # a square of 400 pixels behind a wall that is one pixel thick, with a gap of 80
    image[9, 9:31] = image[30, 9:31] = image[9:31, 9] = image[9:31, 30] = 0
    image[9, 20] = 80
    sizes = leak_curve(image, (20, 20), np.arange(101))
    assert sizes[0] == sizes[19] == 400
    assert sizes[20] == sizes[49] == 401
    assert sizes[50] == image.size - (4 * 21 - 1)  # through the gap into everything but the wall, of 84 pixels
    assert sizes[100] == image.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_leak_curve_equals_growing_for_floats(dtype):
    image = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(12, 16, 16)), 1.5).astype(dtype)
    tolerances = np.linspace(0, 0.4, 23)
    expected = [region_grow(image, (6, 8, 8), tolerance=t, connectivity=2).sum() for t in tolerances]
    assert len(set(expected)) > 10
    assert leak_curve(image, (6, 8, 8), tolerances, connectivity=2).tolist() == expected


def test_confidence_grow_learns_its_interval():
    rng = np.random.default_rng(0)
    image = rng.normal(50, 3, (40, 40))
    disk = (np.indices(image.shape) - 20) ** 2
    disk = disk.sum(axis=0) <= 12**2
    image[disk] += 60
    region = confidence_grow(image, (20, 20), k=4)
    assert (region == disk).mean() > 0.99
    assert confidence_grow(image, (20, 20), k=0, n_iterations=0)[20, 20]  # the seed always belongs to the interval
    constant = np.full((4, 5), 7, np.uint8)
    assert confidence_grow(constant, (0, 0)).all()


def test_a_single_voxel_remains_itself():
    image = np.array([[9, 0, 9], [0, 5, 0], [9, 0, 9]], np.uint8)
    assert confidence_grow(image, (1, 1), k=0.1).sum() == 1


# ------------------------------------------------------------------------------------------------------------ mistakes

IMAGE = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("grow", [region_grow, region_grow_steps])
def test_a_seed_that_cannot_grow_is_named_at_once(grow):
    with pytest.raises(ValueError, match=r"seed \(2, 0, 0\) lies outside the image.*\(z, y, x\) is \(2, 3, 4\)"):
        grow(IMAGE, [(0, 0, 0), (2, 0, 0)], upper=9)
    with pytest.raises(ValueError, match=r"seed \(0, -1, 0\) lies outside"):
        grow(IMAGE, (0, -1, 0), tolerance=3)
    with pytest.raises(ValueError, match=r"seed \(1, 0, 0\) has the gray value 12, outside the interval 0 to 9"):
        grow(IMAGE, [(0, 0, 0), (1, 0, 0)], lower=0, upper=9)
    with pytest.raises(ValueError, match=r"gray value 0, outside the interval given, which holds no value"):
        grow(IMAGE, (0, 0, 0), lower=0.2, upper=0.8)
    with pytest.raises(ValueError, match="gray value nan"):
        grow(np.full((2, 2), math.nan), (0, 0), lower=0)
    with pytest.raises(ValueError, match=r"seed \(0, 0\) has the gray value nan, from which no difference"):
        grow(np.full((2, 2), math.nan), (0, 0), tolerance=1)


@pytest.mark.parametrize("seeds", [(0, 0), [], [[]], [(0, 0, 0), (0, 0)], 5, [[(0, 0, 0)]]])
def test_seeds_must_be_indices_of_the_image(seeds):
    with pytest.raises(ValueError, match=r"seeds must be one index \(z, y, x\) or a sequence of them"):
        region_grow(IMAGE, seeds, upper=9)


@pytest.mark.parametrize("seeds", [(0.0, 1.0, 1.0), (True, False, True), ("a", "b", "c")])
def test_seeds_must_be_whole_numbers(seeds):
    with pytest.raises(TypeError, match="whole numbers"):
        region_grow(IMAGE, seeds, upper=9)


def test_the_interval_must_be_given_once():
    with pytest.raises(ValueError, match="lower, upper or both"):
        threshold(IMAGE)
    with pytest.raises(ValueError, match=r"lower, upper or both.*tolerance"):
        region_grow(IMAGE, (0, 0, 0))
    with pytest.raises(ValueError, match="either tolerance, or lower and upper"):
        region_grow(IMAGE, (0, 0, 0), upper=9, tolerance=1)
    with pytest.raises(ValueError, match=r"lower must not be above upper.*lower 3, upper 2"):
        threshold(IMAGE, lower=3, upper=2)
    with pytest.raises(ValueError, match="neither may be NaN"):
        threshold(IMAGE, lower=math.nan)
    with pytest.raises(TypeError, match="upper must be a number; got '9'"):
        threshold(IMAGE, upper="9")
    with pytest.raises(ValueError, match=r"tolerance must be .* 0 or more; got -1"):
        region_grow(IMAGE, (0, 0, 0), tolerance=-1)
    with pytest.raises(ValueError, match="tolerance must be"):
        leak_curve(IMAGE, (0, 0, 0), [1, math.nan])


def test_other_mistakes_are_named():
    with pytest.raises(TypeError, match=r"real numbers; got ndarray with dtype complex128.*volume\.array"):
        region_grow(IMAGE * 1j, (0, 0, 0), upper=9)
    with pytest.raises(ValueError, match=r"2 axes \(y, x\) or 3 \(z, y, x\); got shape \(24,\)"):
        region_grow(IMAGE.ravel(), (0,), upper=9)
    with pytest.raises(ValueError, match="connectivity must be one of 1, 2, 3; got 6"):
        region_grow(IMAGE, (0, 0, 0), upper=9, connectivity=6)
    with pytest.raises(ValueError, match="connectivity must be one of 1, 2; got 3"):
        leak_curve(IMAGE[0], (0, 0), [1], connectivity=3)
    with pytest.raises(ValueError, match="seed must be one index; got 2"):
        leak_curve(IMAGE[0], [(0, 0), (0, 1)], [1])
    with pytest.raises(ValueError, match="tolerances must hold at least one"):
        leak_curve(IMAGE[0], (0, 0), [])
    for name, value in (("k", -1), ("k", math.nan), ("n_iterations", -1), ("radius", 0)):
        with pytest.raises(ValueError, match=f"{name} must be [01] or more; got {value}"):
            confidence_grow(IMAGE, (0, 0, 0), **{name: value})
    with pytest.raises(ValueError, match="n_classes must be 2 or more; got 1"):
        multi_otsu(IMAGE, 1)
    with pytest.raises(ValueError, match="at least 2 different gray values for 2 classes; it holds 1"):
        otsu_threshold(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="at least one finite gray value"):
        otsu_threshold(np.full((3, 3), math.nan))
    with pytest.raises(ValueError, match="row of counts"):
        between_class_variance([[1, 2]])
