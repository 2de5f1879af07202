"""Metrics: answers worked by hand on a few voxels, empty masks, borders, invariants."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medlearn.errors import GridMismatchError
from medlearn.metrics import (
    CaseMetrics,
    average_boundary_distance,
    dice,
    evaluate,
    hausdorff95,
    relative_volume_difference,
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
    """Chapter 10's probe: the prediction misses half the gland and adds an island; the definitions differ by 0.5 mm."""
    target, pred = np.zeros((2, 12, 40, 40), bool)
    target[3:9, 10:30, 10:30] = True
    pred[3:7, 16:28, 19:35] = True
    pred[10, 14:17, 1:4] = True
    spacing = (3.6, 0.5, 0.8)
    assert hausdorff95(pred, target, spacing=spacing) == pytest.approx(9.12, abs=0.005)
    assert hausdorff95(pred, target, spacing=spacing, definition="pooled") == pytest.approx(8.65, abs=0.005)
    directed = [np.percentile(d, 95) for d in surface_distances(pred, target, spacing)]
    assert directed == pytest.approx([4.0, 9.12], abs=0.005)


@pytest.mark.parametrize("definition", ["max", "pooled"])
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
    with pytest.raises(ValueError, match="'max', 'pooled'"):
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


@settings(max_examples=60, deadline=None)
@given(masks)
def test_invariants(case):
    pred, target, spacing = case

    def measures(p, t, mm=spacing):
        distances = [hausdorff95(p, t, spacing=mm, definition=d) for d in ("max", "pooled")]
        return [dice(p, t), *distances, average_boundary_distance(p, t, spacing=mm)]

    expected = measures(pred, target)
    assert measures(target, pred) == pytest.approx(expected, nan_ok=True)  # symmetric
    assert measures(np.flip(pred), np.flip(target)) == pytest.approx(expected, nan_ok=True)
    assert measures(np.pad(pred, 2), np.pad(target, 2)) == pytest.approx(expected, nan_ok=True)
    assert measures(pred.T, target.T, spacing[::-1]) == pytest.approx(expected, nan_ok=True)
    doubled = measures(pred, target, [2 * s for s in spacing])
    assert doubled[1:] == pytest.approx([2 * e for e in expected[1:]], nan_ok=True)  # distances scale with the spacing
    if pred.any():
        assert measures(pred, pred) == [1, 0, 0, 0]


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
    )
    json.dumps(asdict(metrics))  # plain floats, not NumPy's


def test_evaluate_pictures_have_no_volume():
    picture = Volume(array=np.eye(4, dtype=bool), spacing=(1.0, 1.0), axes="yx")
    metrics = evaluate(picture, picture)
    assert (metrics.dice, metrics.hausdorff95) == (1, 0)
    assert math.isnan(metrics.pred_volume_ml)
    assert math.isnan(metrics.target_volume_ml)


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
