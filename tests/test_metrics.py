"""Metrics: answers worked by hand on a few voxels, empty masks, borders, invariants."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medlearn.errors import GridMismatchError
from medlearn.metrics import (
    CaseMetrics,
    _element_distances,
    accuracy,
    average_boundary_distance,
    average_precision,
    dice,
    evaluate,
    evaluate_labels,
    hausdorff,
    hausdorff95,
    jaccard,
    panoptic_quality,
    precision,
    relative_volume_difference,
    sensitivity,
    specificity,
    surface_dice,
    surface_distances,
)
from medlearn.volume import Volume

EMPTY = np.zeros((3, 4, 5), bool)
FULL = ~EMPTY


def voxels(shape, *indices):
    mask = np.zeros(shape, bool)
    for index in indices:
        mask[index] = True
    return mask


def test_dice_by_hand():
    pred = voxels((2, 3), (0, 0), (0, 1), (1, 1))
    target = voxels((2, 3), (0, 1), (1, 2))
    assert dice(pred, target) == pytest.approx(2 * 1 / (3 + 2))


def test_shares_by_hand():
    pred = voxels((2, 5), (0, 0), (0, 1), (1, 1))
    target = voxels((2, 5), (0, 1), (1, 1), (1, 2), (1, 3))  # TP 2, FP 1, FN 2, TN 5
    assert jaccard(pred, target) == pytest.approx(2 / 5)
    assert sensitivity(pred, target) == pytest.approx(2 / 4)
    assert specificity(pred, target) == pytest.approx(5 / 6)
    assert precision(pred, target) == pytest.approx(2 / 3)
    assert accuracy(pred, target) == pytest.approx(7 / 10)


@pytest.mark.parametrize(
    ("measure", "empty_full", "full_empty", "empty_empty", "full_full"),
    [
        (jaccard, 0, 0, math.nan, 1),
        (sensitivity, 0, math.nan, math.nan, 1),
        (specificity, math.nan, 0, 1, math.nan),
        (precision, math.nan, 0, math.nan, 1),
        (accuracy, 0, 0, 1, 1),
    ],
)
def test_shares_of_empty_and_full_masks(measure, empty_full, full_empty, empty_empty, full_full):
    got = [measure(p, t) for p, t in ((EMPTY, FULL), (FULL, EMPTY), (EMPTY, EMPTY), (FULL, FULL))]
    assert got == pytest.approx([empty_full, full_empty, empty_empty, full_full], nan_ok=True)


def test_relative_volume_difference_is_signed_and_relative_to_the_target():
    small, large = voxels((5,), 0, 1), voxels((5,), 1, 2, 3, 4)
    assert relative_volume_difference(small, large) == -0.5
    assert relative_volume_difference(large, small) == 1.0


@pytest.mark.parametrize(
    ("axis", "millimeters"),
    [(0, 3.0), (1, 0.5), (2, 0.8)],
)
def test_distance_of_two_voxels_follows_the_spacing_of_its_axis(axis, millimeters):
    shifted = [1, 1, 1]
    shifted[axis] += 1
    pred, target = voxels((4, 4, 4), (1, 1, 1)), voxels((4, 4, 4), tuple(shifted))
    spacing = (3.0, 0.5, 0.8)
    assert hausdorff95(pred, target, spacing=spacing) == pytest.approx(millimeters)
    assert average_boundary_distance(pred, target, spacing=spacing) == pytest.approx(millimeters)


def test_diagonal_distance_of_two_pixels():
    pred, target = voxels((5, 5), (0, 0)), voxels((5, 5), (2, 4))
    assert hausdorff95(pred, target, spacing=(1.5, 1)) == pytest.approx(5.0)  # 3-4-5 triangle: 2 × 1.5 mm, 4 × 1 mm


def test_surface_is_made_of_face_neighbors_and_the_border_counts():
    block = np.ones((3, 3), bool)
    to_center, from_center = surface_distances(block, voxels((3, 3), (1, 1)), (1, 1))
    # 8 of the 9 pixels are surface although the block fills the array; the center pixel is inside.
    assert sorted(to_center) == pytest.approx([1] * 4 + [math.sqrt(2)] * 4)
    assert from_center == pytest.approx([1])


def test_a_mask_seen_only_across_a_corner_is_not_eroded():
    plus = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
    assert len(surface_distances(plus, plus, (1, 1))[0]) == 4  # the center has four face neighbors inside: no surface


def test_average_boundary_distance_pools_both_surfaces():
    pred, target = voxels((1, 6), (0, 0)), voxels((1, 6), (0, 0), (0, 1), (0, 2), (0, 3))
    # pred → target: 0; target → pred: 0, 2, 4, 6 mm. Pooled 12 / 5; the mean of the two means would be 1.5.
    assert average_boundary_distance(pred, target, spacing=(1, 2)) == pytest.approx(12 / 5)


def test_definitions_of_hausdorff95_by_hand():
    pred, target = voxels((1, 11), (0, 0)), voxels((1, 11), (0, 0), (0, 10))
    # pred → target: 0; target → pred: 0, 10, whose percentile lies at 0.95 of the way. Of 0 0 10 it lies at 1.9 of 2.
    assert hausdorff95(pred, target, spacing=(1, 1)) == pytest.approx(9.5)
    assert hausdorff95(pred, target, spacing=(1, 1), definition="pooled") == pytest.approx(9)


def test_definitions_of_hausdorff95_on_a_bad_island():
    """The prediction misses half the gland and adds an island; the definitions differ by 0.5 mm."""
    target, pred = np.zeros((2, 12, 40, 40), bool)
    target[3:9, 10:30, 10:30] = True
    pred[3:7, 16:28, 19:35] = True
    pred[10, 14:17, 1:4] = True
    spacing = (3.6, 0.5, 0.8)
    assert hausdorff95(pred, target, spacing=spacing) == pytest.approx(9.12, abs=0.005)
    assert hausdorff95(pred, target, spacing=spacing, definition="pooled") == pytest.approx(8.65, abs=0.005)
    directed = [np.percentile(d, 95) for d in surface_distances(pred, target, spacing)]
    assert directed == pytest.approx([4.0, 9.12], abs=0.005)


def test_three_definitions_on_a_sphere_with_an_island():
    """Dice 0.982 and a Hausdorff distance of 17 mm; HD95 is 0, 12.57 or 12.0 mm: which one has to be said."""
    z, y, x = np.ogrid[:36, :36, :56]
    sphere = (z - 18) ** 2 + (y - 18) ** 2 + (x - 18) ** 2 <= 15**2
    island = (z - 18) ** 2 + (y - 18) ** 2 + (x - 45) ** 2 <= 5**2
    pred, spacing = sphere | island, (1, 1, 1)
    assert dice(pred, sphere) == pytest.approx(0.982, abs=5e-4)
    assert hausdorff(pred, sphere, spacing=spacing) == 17
    assert hausdorff95(pred, sphere, spacing=spacing, definition="pooled") == 0
    assert hausdorff95(pred, sphere, spacing=spacing) == pytest.approx(12.57, abs=0.005)
    assert hausdorff95(pred, sphere, spacing=spacing, definition="surface_area") == 12


def test_percentiles_by_hand():
    line, longer = voxels((1, 6), (0, 0)), voxels((1, 6), (0, 0), (0, 1), (0, 2), (0, 3), (0, 4))
    # distances 0 1 2 3 4 mm; the other way only 0
    measured = [hausdorff(longer, line, spacing=(1, 1), percentile=p) for p in (0, 50, 75, 90, 100)]
    assert measured == pytest.approx([0, 2, 3, 3.6, 4])


@pytest.mark.parametrize("percentile", [-1, 100.5, math.nan])
def test_percentile_must_be_one(percentile):
    with pytest.raises(ValueError, match="percentile must be a number from 0 to 100"):
        hausdorff(FULL, FULL, spacing=(1, 1, 1), percentile=percentile)


def test_area_of_surfaces_by_hand():
    """The surface of one voxel is cut at the middle of its edges to the neighbors: an octahedron, or in 2-D a rhomb."""
    assert sum(area_of(voxels((1, 1, 1), (0, 0, 0)), (1.0, 1.0, 1.0))) == pytest.approx(8 * math.sqrt(3) / 8)
    assert sum(area_of(voxels((1, 1), (0, 0)), (3.0, 4.0))) == pytest.approx(4 * 2.5)
    slab = area_of(np.ones((1, 30, 40), bool), (3.0, 1.0, 2.0))
    faces = 2 * 29 * 39 * (1 * 2)  # above and below; the edges are beveled, the corners cut off from half to half
    bevels = 4 * 39 * 2 * math.hypot(3, 1) / 2 + 4 * 29 * 1 * math.hypot(3, 2) / 2
    corners = 8 * math.hypot(1.5 * 0.5, 0.5 * 1, 1 * 1.5) / 2  # triangles with legs of 1.5, 0.5 and 1 mm
    assert sum(slab) == pytest.approx(faces + bevels + corners)
    line = area_of(np.ones((1, 5), bool), (3.0, 2.0))
    # each long side: 4 straight pieces of 2 mm; at each end two cut corners of half a diagonal
    assert sum(line) == pytest.approx(2 * 4 * 2 + 4 * math.sqrt(13) / 2)


def area_of(mask, spacing):
    return _element_distances(mask, mask, spacing)[1][0]


def test_area_definition_by_hand():
    """A bar of 40 pixels against one of 10: its contour has 39 straight pieces above and below, and cut corners."""
    pred, target = np.ones((1, 40), bool), voxels((1, 40), *[(0, k) for k in range(10)])
    spacing = (1.0, 1.0)
    # Pieces lie between columns: from column 10 on they are 1, 2, … mm away from the last pieces of the target. The
    # total is 78 mm of straight pieces and 4 corners of √½: 80.83; 5 % of it, 4.04 mm, are the corners at the end
    # (1.41, at 30 mm) and one pair and a part of the next: 29 mm and 28 mm away.
    assert hausdorff(pred, target, spacing=spacing, definition="surface_area") == 30
    assert hausdorff95(pred, target, spacing=spacing, definition="surface_area") == 28
    # within 2 mm: everything but what lies 3 to 30 mm away; of the target's own 20.83 mm everything
    far = 2 * 27 + 2 * math.sqrt(0.5)
    own, other = 78 + 4 * math.sqrt(0.5), 18 + 4 * math.sqrt(0.5)
    share = surface_dice(pred, target, spacing=spacing, tolerance_mm=2, definition="surface_area")
    assert share == pytest.approx((own + other - far) / (own + other))


def test_surface_dice_by_hand():
    pred, target = voxels((1, 6), *[(0, k) for k in range(5)]), voxels((1, 6), (0, 0))
    # distances 0 2 4 6 8 mm and 0 mm
    measured = [surface_dice(pred, target, spacing=(1, 2), tolerance_mm=t) for t in (0, 1.9, 2, 8)]
    assert measured == pytest.approx([2 / 6, 2 / 6, 3 / 6, 1])


@pytest.mark.parametrize("definition", ["voxels", "surface_area"])
def test_surface_dice_of_empty_masks(definition):
    arguments = {"spacing": (1, 1, 1), "tolerance_mm": 1, "definition": definition}
    assert surface_dice(EMPTY, FULL, **arguments) == surface_dice(FULL, EMPTY, **arguments) == 0
    assert math.isnan(surface_dice(EMPTY, EMPTY, **arguments))
    assert surface_dice(FULL, FULL, **arguments) == 1


@pytest.mark.parametrize("tolerance", [-1, math.inf, math.nan])
def test_tolerance_must_be_a_length(tolerance):
    with pytest.raises(ValueError, match="tolerance_mm must be 0 or a positive number of mm"):
        surface_dice(FULL, FULL, spacing=(1, 1, 1), tolerance_mm=tolerance)


def test_surfaces_have_at_most_three_axes():
    with pytest.raises(ValueError, match="at most 3 axes"):
        hausdorff(FULL[None], FULL[None], spacing=(1, 1, 1, 1))
    with pytest.raises(ValueError, match="2 or 3 axes"):
        hausdorff([1, 0], [0, 1], spacing=(1,), definition="surface_area")


@pytest.mark.parametrize("definition", ["max", "pooled", "surface_area"])
def test_empty_masks(definition):
    arguments = {"spacing": (1, 1, 1), "definition": definition}
    assert hausdorff95(EMPTY, FULL, **arguments) == math.inf
    assert hausdorff95(FULL, EMPTY, **arguments) == math.inf
    assert math.isnan(hausdorff95(EMPTY, EMPTY, **arguments))


def test_empty_masks_in_the_other_measures():
    spacing = (1, 1, 1)
    assert dice(EMPTY, FULL) == dice(FULL, EMPTY) == 0
    assert average_boundary_distance(EMPTY, FULL, spacing=spacing) == math.inf
    assert average_boundary_distance(FULL, EMPTY, spacing=spacing) == math.inf
    assert relative_volume_difference(EMPTY, FULL) == -1
    assert relative_volume_difference(FULL, EMPTY) == math.inf
    assert math.isnan(dice(EMPTY, EMPTY))
    assert math.isnan(average_boundary_distance(EMPTY, EMPTY, spacing=spacing))
    assert math.isnan(relative_volume_difference(EMPTY, EMPTY))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_masks_of_any_numeric_type_are_equal(dtype):
    pred, target = voxels((2, 3), (0, 0), (0, 1)), voxels((2, 3), (0, 1))
    assert dice(pred.astype(dtype), target.astype(dtype)) == pytest.approx(2 / 3)
    assert hausdorff95(pred.astype(dtype), target.astype(dtype), spacing=(1, 1)) == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        ([0.2, 0.9], "float64 values such as 0.2"),
        ([0, 2], "int64 values such as 2"),
        ([0.0, math.nan], "values such as nan"),
        ([-1, 1], "values such as -1"),
    ],
)
def test_anything_but_a_mask_is_refused_with_advice(array, shown):
    with pytest.raises(ValueError, match=shown) as error:
        dice([0, 1], np.array(array))
    assert "target >= 0.5" in str(error.value)
    assert "target == 2" in str(error.value)


def test_words_are_no_mask():
    with pytest.raises(ValueError, match="pred must be a mask"):
        dice(np.array(["a", "b"]), [0, 1])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"pred \(2, 3\) and target \(3, 2\)"):
        dice(np.ones((2, 3), bool), np.ones((3, 2), bool))


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 1, 1), (1, 0, 1), (1, -1, 1), (1, math.nan, 1), 1.0])
def test_spacing_must_fit(spacing):
    with pytest.raises(ValueError, match=r"3 positive numbers of mm \(z, y, x\)"):
        hausdorff95(FULL, FULL, spacing=spacing)


def test_unknown_definition():
    with pytest.raises(ValueError, match="'max', 'pooled', 'surface_area'"):
        hausdorff95(FULL, FULL, spacing=(1, 1, 1), definition="mean")


masks = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(bool, shape),
        hnp.arrays(bool, shape),
        st.tuples(*[st.sampled_from((0.5, 0.625, 1.0, 3.6))] * len(shape)),
    )
)


def brute_force(source, destination, spacing):
    """Distances between surfaces from their definition, voxel by voxel."""

    def surface(mask):
        padded = np.pad(mask, 1)
        return [
            index
            for index in np.argwhere(mask)
            if not all(
                padded[tuple(index + 1 + step * np.eye(mask.ndim, dtype=int)[axis])]
                for axis in range(mask.ndim)
                for step in (-1, 1)
            )
        ]

    others = surface(destination)
    return [min((np.linalg.norm((p - q) * spacing) for q in others), default=math.inf) for p in surface(source)]


@settings(max_examples=60, deadline=None)
@given(masks)
def test_distances_are_those_of_the_definition(case):
    pred, target, spacing = case
    forward, backward = surface_distances(pred, target, spacing)
    assert forward == pytest.approx(brute_force(pred, target, spacing))
    assert backward == pytest.approx(brute_force(target, pred, spacing))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.6, 0.5, 0.8), (0.3, 2.0, 0.7)])
def test_far_and_scattered_masks_agree_with_a_distance_transform(spacing):
    """Nothing near, in any direction: the search has to go all the way."""
    rng = np.random.default_rng(0)
    pred, target = rng.random((2, 20, 30, 40)) < 0.002
    pred[:12], target[:, 9:] = False, False
    for found, source, other in zip(
        surface_distances(pred, target, spacing), (pred, target), (target, pred), strict=True
    ):
        expected = ndimage.distance_transform_edt(~other, sampling=spacing)[source]
        assert len(found) > 5
        assert found == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(masks)
def test_invariants(case):
    pred, target, spacing = case

    def measures(p, t, mm=spacing):
        distances = [hausdorff95(p, t, spacing=mm, definition=d) for d in ("max", "pooled", "surface_area")]
        return [dice(p, t), *distances, average_boundary_distance(p, t, spacing=mm)]

    expected = measures(pred, target)
    assert measures(target, pred) == pytest.approx(expected, nan_ok=True)  # symmetric
    assert measures(np.flip(pred), np.flip(target)) == pytest.approx(expected, nan_ok=True)
    assert measures(np.pad(pred, 2), np.pad(target, 2)) == pytest.approx(expected, nan_ok=True)
    assert measures(pred.T, target.T, spacing[::-1]) == pytest.approx(expected, nan_ok=True)
    doubled = measures(pred, target, [2 * s for s in spacing])
    assert doubled[1:] == pytest.approx([2 * e for e in expected[1:]], nan_ok=True)  # distances scale with the spacing
    if pred.any():
        assert measures(pred, pred) == [1, 0, 0, 0, 0]


def volume(array, **kwargs):
    return Volume(array=np.asarray(array), spacing=kwargs.pop("spacing", (2.0, 5.0, 10.0)), **kwargs)


def test_evaluate_uses_the_geometry():
    pred, target = voxels((4, 4, 4), (1, 1, 1), (1, 2, 1)), voxels((4, 4, 4), (1, 1, 1))
    metrics = evaluate(volume(pred), volume(target.astype(np.uint8)))
    assert metrics == CaseMetrics(
        dice=pytest.approx(2 / 3),
        hausdorff95=pytest.approx(0.95 * 5),
        average_boundary_distance=pytest.approx(5 / 3),
        relative_volume_difference=1.0,
        pred_volume_ml=pytest.approx(0.2),  # 2 voxels of 100 mm³
        target_volume_ml=pytest.approx(0.1),
        jaccard=pytest.approx(1 / 2),
        sensitivity=1,
        specificity=pytest.approx(62 / 63),
        precision=pytest.approx(1 / 2),
        accuracy=pytest.approx(63 / 64),
        hausdorff=pytest.approx(5),
        surface_dice=pytest.approx(2 / 3),
    )
    assert evaluate(volume(pred), volume(target), tolerance_mm=5).surface_dice == 1
    json.dumps(asdict(metrics))  # plain floats, not NumPy's


def test_evaluate_pictures_have_no_volume():
    picture = Volume(array=np.eye(4, dtype=bool), spacing=(1.0, 1.0), axes="yx")
    metrics = evaluate(picture, picture)
    assert (metrics.dice, metrics.hausdorff95) == (1, 0)
    assert math.isnan(metrics.pred_volume_ml)
    assert math.isnan(metrics.target_volume_ml)


@settings(max_examples=30, deadline=None)
@given(masks)
def test_evaluate_is_what_the_functions_say(case):
    pred, target, spacing = case
    axes = "zyx"[-pred.ndim :]
    found = evaluate(*(Volume(array=mask, spacing=spacing, axes=axes) for mask in (pred, target)), tolerance_mm=0.7)
    overlap = [dice, jaccard, sensitivity, specificity, precision, accuracy, relative_volume_difference]
    expected = {measure.__name__: measure(pred, target) for measure in overlap}
    for measure in (hausdorff95, hausdorff, average_boundary_distance):
        expected[measure.__name__] = measure(pred, target, spacing=spacing)
    expected["surface_dice"] = surface_dice(pred, target, spacing=spacing, tolerance_mm=0.7)
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, nan_ok=True)


def test_evaluate_labels_one_by_one():
    target = volume(np.array([[[0, 1, 1, 3]]], np.uint8))
    pred = volume(np.array([[[0, 1, 2, 2]]], np.int16))
    found = evaluate_labels(pred, target)
    assert list(found) == [1, 2, 3]
    assert found[1] == evaluate(pred.map(lambda a: a == 1), target.map(lambda a: a == 1))
    assert [metrics.dice for metrics in found.values()] == pytest.approx([2 / 3, 0, 0])
    assert found[3].hausdorff95 == math.inf
    assert evaluate_labels(volume(EMPTY.astype(int)), volume(EMPTY.astype(int))) == {}
    with pytest.raises(ValueError, match="pred must hold integer labels; got dtype float32"):
        evaluate_labels(volume(EMPTY.astype(np.float32)), volume(EMPTY))


OBJECTS = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 0]], bool)


def test_average_precision_by_hand():
    wrong = [0, 0, 0, 0, 0, 0, 0, 1]
    masks = np.array([OBJECTS[1], wrong, OBJECTS[0]], bool)
    # in the order of the scores: right, wrong, right; precision 1 up to recall 1/2, then 2/3
    assert average_precision([masks], [[0.9, 0.8, 0.7]], [OBJECTS]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([masks], [[0.7, 0.9, 0.8]], [OBJECTS]) == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_an_object_is_found_once():
    masks = OBJECTS[[0, 0, 0]]
    assert average_precision([masks], [[0.9, 0.8, 0.7]], [OBJECTS]) == pytest.approx(0.5)


def test_scores_are_compared_across_images():
    images = [OBJECTS[:1], ~OBJECTS[:1]]  # right in the first image, wrong in the second
    targets = [OBJECTS[:1], OBJECTS[:1]]
    assert average_precision(images, [[0.9], [0.1]], targets) == pytest.approx(1 / 2)
    assert average_precision(images, [[0.1], [0.9]], targets) == pytest.approx(1 / 4)


def test_the_threshold_is_inclusive():
    half = np.array([[1, 1, 0, 0, 0, 0, 0, 0]], bool)  # IoU 2/4 with the first object
    assert average_precision([half], [[1.0]], [OBJECTS[:1]]) == 1
    assert average_precision([half], [[1.0]], [OBJECTS[:1]], iou_threshold=0.51) == 0


def test_average_precision_without_objects():
    none = np.zeros((0, 8), bool)
    assert average_precision([none], [[]], [OBJECTS]) == 0
    assert average_precision([OBJECTS], [[1, 1]], [none]) == 0
    assert math.isnan(average_precision([none], [[]], [none]))
    assert math.isnan(average_precision([], [], []))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([OBJECTS], [[1, 1]], []), "one entry for each image; got 1, 1 and 0"),
        (([OBJECTS], [[1]], [OBJECTS]), "one number for each of 2 masks"),
        (([OBJECTS], [[1, 1]], [OBJECTS[:, :5]]), r"\(2, 8\) and \(2, 5\)"),
    ],
)
def test_average_precision_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        average_precision(*arguments)


def test_iou_threshold_must_be_a_share():
    with pytest.raises(ValueError, match="iou_threshold must be above 0"):
        average_precision([], [], [], iou_threshold=0)


def test_panoptic_quality_by_hand():
    target = np.array([[5, 5, 5, 5, 0, 2, 2, 9]])
    pred = np.array([[1, 1, 1, 0, 0, 4, 0, 0]])
    found = panoptic_quality(pred, target)  # 1 ↔ 5 with IoU 3/4; 4 and 2 overlap by 1/2, which is not above it
    assert (found.true_positives, found.false_positives, found.false_negatives) == (1, 1, 2)
    assert (found.sq, found.rq) == pytest.approx((3 / 4, 1 / 2.5))
    assert found.pq == pytest.approx(3 / 4 / 2.5)
    assert panoptic_quality(target, target).pq == 1


def test_panoptic_quality_of_empty_maps():
    empty = np.zeros((2, 3), int)
    for pred, target in ((empty, empty + 1), (empty + 1, empty)):
        found = panoptic_quality(pred, target)
        assert (found.pq, found.rq) == (0, 0)
        assert math.isnan(found.sq)
    assert math.isnan(panoptic_quality(empty, empty).pq)
    with pytest.raises(ValueError, match="pred_labels must hold integer labels"):
        panoptic_quality(empty.astype(float), empty)
    with pytest.raises(ValueError, match="one shape"):
        panoptic_quality(empty, empty.T)


def test_evaluate_refuses_other_grids():
    with pytest.raises(GridMismatchError, match="prediction and reference"):
        evaluate(volume(FULL), volume(FULL, spacing=(2.0, 5.0, 9.0)))
    with pytest.raises(GridMismatchError):
        evaluate(volume(FULL), volume(FULL[1:]))


def test_evaluate_refuses_several_labels_and_extra_axes():
    labels = volume(FULL.astype(np.uint8) * 2)
    with pytest.raises(ValueError, match="labels == 2"):
        evaluate(labels, volume(FULL))
    assert evaluate(labels.map(lambda a: a == 2), volume(FULL)).dice == 1
    series = volume(FULL[None], axes="tzyx")
    with pytest.raises(ValueError, match="target must be one mask"):
        evaluate(volume(FULL), series)
