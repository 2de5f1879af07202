"""Cleaning masks: parts, holes, openings and closings by hand, at the border, in mm, and their invariants."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medlearn.postprocess import closing, fill_holes, largest_component, opening


def picture(text):
    return np.array([[c == "#" for c in line] for line in text.split()])


def test_largest_component_by_hand():
    mask = picture("""
        ##..#
        #..##
        ..###""")
    assert (largest_component(mask) == (mask & (np.arange(5) > 1))).all()


def test_corners_join_parts_only_with_full_connectivity():
    mask = picture("""
        ##..
        ..#.
        ...#""")
    assert largest_component(mask).sum() == 2
    assert largest_component(mask, connectivity=2).sum() == 4


def test_edges_of_voxels_in_three_dimensions():
    mask = np.zeros((2, 2, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[0, 0, 1] = True  # the second shares an edge with the first: two axes at once
    assert [int(largest_component(mask, connectivity=c).sum()) for c in (1, 2, 3)] == [2, 3, 3]


def test_of_equal_parts_the_first_stays():
    assert largest_component([[1, 0, 1]]).tolist() == [[True, False, False]]


def test_empty_masks_stay_empty_and_are_copies():
    empty = np.zeros((3, 4), bool)
    cleaned = [
        largest_component(empty),
        fill_holes(empty),
        opening(empty, radius_mm=1, spacing=(1, 1)),
        closing(empty, radius_mm=1, spacing=(1, 1)),
    ]
    for result in cleaned:
        assert result.dtype == bool
        assert result.shape == empty.shape
        assert not result.any()
        assert not np.shares_memory(result, empty)


def test_holes_open_to_a_corner_are_closed_by_faces():
    mask = picture("""
        .##.
        #..#
        .##.""")
    assert (fill_holes(mask) == (mask | picture(".... .##. ...."))).all()


def test_a_bay_at_the_border_is_no_hole():
    bay = picture("""
        ###
        #.#
        #.#""")
    assert (fill_holes(bay) == bay).all()


def test_a_tunnel_is_a_hole_in_every_slice_but_not_in_the_volume():
    tunnel = np.ones((4, 3, 3), bool)
    tunnel[:, 1, 1] = False
    assert (fill_holes(tunnel) == tunnel).all()
    assert fill_holes(tunnel, axis=0).all()
    assert (fill_holes(tunnel, axis=1) == tunnel).all()  # across y it is a band from border to border
    cavity = np.ones((3, 3, 3), bool)
    cavity[1, 1, 1] = False
    assert fill_holes(cavity).all()


def test_slices_are_filled_one_by_one():
    volume = np.zeros((2, 5, 5), bool)
    volume[0, 1:4, 1:4] = True
    volume[0, 2, 2] = False
    volume[1, 1:4, 1:3] = True
    expected = volume.copy()
    expected[0, 2, 2] = True
    assert (fill_holes(volume, axis=0) == expected).all()
    turned = fill_holes(np.moveaxis(volume, 0, 2), axis=2)
    assert (turned == np.moveaxis(expected, 0, 2)).all()


def test_opening_removes_a_bridge_and_closing_a_crack():
    bridge = picture("""
        ###...###
        #########
        ###...###""")
    opened = opening(bridge, radius_mm=1, spacing=(1, 1))
    assert (bridge & ~opened).sum() == 1  # the ends of the bridge lie in balls around its abutments
    assert not opened[1, 4]
    crack = ~picture("""
        .........
        ....#....
        .........""")
    assert closing(crack, radius_mm=1, spacing=(1, 1)).all()


def test_the_ball_is_measured_in_mm():
    disk = np.zeros((5, 7, 7), bool)
    y, x = np.ogrid[-3:4, -3:4]
    disk[2] = y**2 + x**2 <= 4
    assert disk.sum() == 13
    assert (opening(disk, radius_mm=2, spacing=(3, 1, 1)) == disk).all()  # slices 3 mm apart: the ball is this disk
    assert not opening(disk, radius_mm=2, spacing=(2, 1, 1)).any()  # 2 mm apart: it reaches into the next slices


def test_a_voxel_exactly_one_radius_away_belongs_to_the_ball():
    row = np.zeros((1, 9), bool)
    row[0, 1], row[0, 7] = True, True  # 6 × 0.1 = 2 × 0.3, but 3 × 0.1 > 0.3 in floating point
    assert 3 * 0.1 > 0.3
    assert closing(row, radius_mm=0.3, spacing=(1, 0.1))[0, 1:8].all()


def test_a_radius_below_the_spacing_changes_nothing():
    mask = np.random.default_rng(0).random((4, 6, 6)) < 0.5
    for clean in (opening, closing):
        assert (clean(mask, radius_mm=0.9, spacing=(1, 1, 1)) == mask).all()


@pytest.mark.parametrize("clean", [opening, closing])
@pytest.mark.parametrize("n_rows", [1, 4, 5, 6])
def test_the_border_changes_nothing(clean, n_rows):
    """A mask that the border cuts off stays, and a gap between a mask and the border is not filled."""
    cut_off = np.zeros((6, 8), bool)
    cut_off[:n_rows] = True
    for mask in (cut_off, cut_off[::-1], cut_off.T):
        assert (clean(mask, radius_mm=3, spacing=(1, 1)) == mask).all()


masks = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(bool, shape),
        st.tuples(*[st.sampled_from((0.5, 0.625, 1.0, 3.6))] * len(shape)),
        st.sampled_from((0.7, 1.0, 1.3, 2.5)),
    )
)


@settings(max_examples=60, deadline=None)
@given(masks)
def test_opening_and_closing_are_those_of_the_definition(case):
    mask, spacing, radius = case
    reach = [math.floor(radius / s) for s in spacing]
    offsets = np.meshgrid(*[np.arange(-n, n + 1) * s for n, s in zip(reach, spacing, strict=True)], indexing="ij")
    ball = np.sqrt(sum(o**2 for o in offsets)) <= radius + 1e-9

    def closed_in_empty_space(mask):
        room = [(2 * n + 1,) * 2 for n in reach]
        large = np.pad(mask, room)
        dilated = ndimage.binary_dilation(large, ball)
        return ndimage.binary_erosion(dilated, ball)[tuple(slice(a, -b) for a, b in room)]

    assert (closing(mask, radius_mm=radius, spacing=spacing) == closed_in_empty_space(mask)).all()
    assert (opening(mask, radius_mm=radius, spacing=spacing) == ~closed_in_empty_space(~mask)).all()


@settings(max_examples=60, deadline=None)
@given(masks)
def test_invariants(case):
    mask, spacing, radius = case
    arguments = {"radius_mm": radius, "spacing": spacing}
    opened, closed = opening(mask, **arguments), closing(mask, **arguments)
    assert not (opened & ~mask).any()
    assert not (mask & ~closed).any()
    assert (opening(opened, **arguments) == opened).all()
    assert (closing(closed, **arguments) == closed).all()
    assert (closing(~mask, **arguments) == ~opened).all()  # the one is the other on the background
    filled, largest = fill_holes(mask), largest_component(mask)
    assert not (mask & ~filled).any()
    assert (fill_holes(filled) == filled).all()
    assert not (largest & ~mask).any()
    assert (largest_component(largest) == largest).all()
    by_slice = np.stack([fill_holes(s) for s in mask]) if mask.ndim == 3 else None
    assert by_slice is None or (fill_holes(mask, axis=0) == by_slice).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_zeros_and_ones_of_any_type_are_masks(dtype):
    mask = picture("### #.# ###")
    assert fill_holes(mask.astype(dtype)).all()


@pytest.mark.parametrize("array", [[[0, 2]], [[0.5, 1]], [[math.nan, 1]], [["a", "b"]]])
def test_anything_but_a_mask_is_refused_with_advice(array):
    with pytest.raises(ValueError, match=r"mask must be boolean.*mask >= 0\.5.*mask == 2"):
        largest_component(array)


def test_other_mistakes_are_named():
    mask = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match=r"2 axes \(y, x\) or 3 \(z, y, x\); got shape \(3,\)"):
        fill_holes(mask[0])
    with pytest.raises(ValueError, match="connectivity must be one of 1, 2; got 3"):
        largest_component(mask, connectivity=3)
    with pytest.raises(ValueError, match="axis must be one of 0, 1; got 2"):
        fill_holes(mask, axis=2)
    with pytest.raises(ValueError, match="radius_mm must be a positive number of mm"):
        opening(mask, radius_mm=0, spacing=(1, 1))
    with pytest.raises(ValueError, match="spacing must be 2 positive numbers of mm"):
        closing(mask, radius_mm=1, spacing=(1, 1, 1))
