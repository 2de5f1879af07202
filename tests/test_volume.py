import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medlearn import Case, GridMismatchError, Volume
from medlearn.volume import from_sitk, to_sitk

TILTED = Rotation.from_euler("xz", [20, 10], degrees=True).as_matrix()


def make(shape=(4, 5, 6), **keywords):
    keywords = {"spacing": (3.6, 0.5, 0.6), "origin": (-10, 20, 30), "direction": TILTED, **keywords}
    return Volume(array=np.arange(np.prod(shape), dtype=np.int16).reshape(shape), **keywords)


def test_world_point_of_an_oblique_scan_worked_out_by_hand():
    # index (x, y, z) = (5, 3, 2) times spacing (.6, .5, 3.6) is (3, 1.5, 7.2); turned and moved to the origin
    expected = np.array([-10, 20, 30]) + TILTED @ [3.0, 1.5, 7.2]
    np.testing.assert_allclose(make().to_world((2, 3, 5)), expected)
    np.testing.assert_allclose(expected, [-6.863, 19.484, 37.279], atol=1e-3)


def test_first_voxel_lies_at_the_origin_and_axes_run_along_the_columns():
    volume = make()
    np.testing.assert_allclose(volume.to_world((0, 0, 0)), volume.origin)
    np.testing.assert_allclose(volume.to_world((1, 0, 0)) - volume.origin, 3.6 * TILTED[:, 2])
    np.testing.assert_allclose(volume.to_world((0, 0, 1)) - volume.origin, 0.6 * TILTED[:, 0])


vectors = st.tuples(*[st.floats(-500, 500)] * 3)


@given(vectors, vectors, st.tuples(*[st.floats(0.1, 10)] * 3), st.integers(0, 10**6))
def test_index_and_world_are_inverse(index, origin, spacing, seed):
    direction = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    volume = make(origin=origin, spacing=spacing, direction=direction)
    np.testing.assert_allclose(volume.to_index(volume.to_world(index)), index, atol=1e-6)
    np.testing.assert_allclose(volume.affine @ [*index, 1], [*volume.to_world(index), 1], atol=1e-9)


def test_many_points_at_once_and_pictures():
    assert make().to_world(np.zeros((7, 2, 3))).shape == (7, 2, 3)
    picture = Volume(array=np.zeros((4, 5)), spacing=(0.5, 0.25), axes="yx")
    np.testing.assert_allclose(picture.to_world((2, 4)), [1, 1, 0])
    np.testing.assert_allclose(picture.to_index((1, 1, 0)), [2, 4])


def test_array_is_native_and_contiguous():
    volume = Volume(array=np.zeros((6, 5, 4), ">i2").T, spacing=(1, 1, 1))
    assert volume.array.dtype == np.int16
    assert volume.array.dtype.isnative
    assert volume.array.flags.c_contiguous


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": "xyz"}, "axes must be"),
        ({"axes": "yx"}, "name 2 dimensions"),
        ({"spacing": (1, 1)}, "3 positive numbers"),
        ({"spacing": (0, 1, 1)}, "3 positive numbers"),
        ({"spacing": (np.nan, 1, 1)}, "3 positive numbers"),
        ({"origin": (np.inf, 0, 0)}, "origin must be"),
        ({"direction": np.ones((3, 3))}, "orthonormal"),
        ({"direction": np.eye(2)}, "3×3"),
        ({"array": np.zeros((0, 2, 2))}, "no voxels"),
        ({"array": np.zeros((1, 2, 2), complex)}, "dtype complex128"),
        ({"array": np.array([[["a"]]])}, "dtype"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(make(), **changes)


def test_wrong_number_of_coordinates():
    with pytest.raises(ValueError, match=r"\(z, y, x\)"):
        make().to_world((1, 2))
    with pytest.raises(ValueError, match="3 coordinates"):
        make().to_index((1, 2))


def test_map_keeps_the_geometry_and_refuses_to_change_the_shape():
    doubled = make().map(np.multiply, 2)
    assert doubled.array[0, 0, 1] == 2
    assert doubled.grid_distance(make()) == 0
    with pytest.raises(ValueError, match="transpose changed the shape"):
        make().map(np.transpose)


def test_components_and_time_are_named():
    volume = Volume(array=np.zeros((2, 4, 5, 6, 3)), spacing=(1, 1, 1), axes="tzyxc")
    assert volume.spatial_shape == (4, 5, 6)
    assert Volume(array=np.zeros((4, 5, 3)), spacing=(2, 3), axes="yxc").voxel_volume == 6


def test_volume_can_be_pickled_and_is_frozen():
    volume = replace(make(), meta={"modality": "MR"})
    copy = pickle.loads(pickle.dumps(volume))
    assert dict(copy.meta) == {"modality": "MR"}
    assert copy.grid_distance(volume) == 0
    with pytest.raises(AttributeError):
        volume.spacing = (1, 1, 1)
    with pytest.raises(ValueError, match="read-only"):
        volume.direction[0, 0] = 2
    assert "4×5×6" in repr(volume)


def test_same_grid_tolerance():
    volume = make()
    moved = [replace(volume, origin=(-10 + d, 20, 30)) for d in (0.0, 0.05, 0.11)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume.check_same_grid(moved[0])
    with pytest.warns(UserWarning, match=r"differ by 0\.05 mm"):
        volume.check_same_grid(moved[1], "image and mask")
    with pytest.raises(GridMismatchError, match="resample_like") as error:
        volume.check_same_grid(moved[2], "image and mask")
    assert "-10" in str(error.value)  # both geometries are shown
    assert "-9.89" in str(error.value)


def test_another_shape_is_never_the_same_grid():
    assert make().grid_distance(make((4, 5, 7))) == np.inf


def test_case_turns_masks_into_labels():
    image = make()
    for array in (np.ones(image.shape, bool), np.ones(image.shape), np.ones(image.shape, np.int64)):
        mask = Case("a", image, replace(image, array=array)).mask
        assert mask.array.dtype == np.uint8
        assert mask.array.all()
    many = Case("a", image, replace(image, array=np.full(image.shape, 300))).mask
    assert many.array.dtype == np.uint16
    assert Case("a", image).mask is None


@pytest.mark.parametrize(("value", "message"), [(0.5, "whole numbers"), (-1, "from 0 up"), (np.nan, "whole numbers")])
def test_case_refuses_what_is_no_mask(value, message):
    image = make()
    with pytest.raises(ValueError, match=message):
        Case("a", image, replace(image, array=np.full(image.shape, value)))


def test_case_refuses_a_mask_on_another_grid():
    image = make()
    with pytest.raises(GridMismatchError, match="case a"):
        Case("a", image, replace(image, origin=(0, 0, 0)))


@pytest.mark.parametrize(
    ("shape", "axes", "spacing"),
    [
        ((5, 6), "yx", (2, 3)),
        ((4, 5, 6), "zyx", (3, 2, 1)),
        ((4, 5, 6, 3), "zyxc", (3, 2, 1)),
        ((2, 4, 5, 6), "tzyx", (3, 2, 1)),
    ],
)
def test_through_simpleitk_and_back(shape, axes, spacing):
    direction = np.eye(3) if axes == "yx" else TILTED
    origin = (1, 2, 0) if axes == "yx" else (1, 2, 3)
    volume = make(shape, axes=axes, spacing=spacing, direction=direction, origin=origin)
    back = from_sitk(to_sitk(volume))
    np.testing.assert_array_equal(back.array, volume.array)
    assert (back.axes, back.spacing) == (volume.axes, volume.spacing)
    np.testing.assert_allclose(back.affine, volume.affine)


def test_simpleitk_agrees_about_world_coordinates():
    volume = make()
    np.testing.assert_allclose(to_sitk(volume).TransformIndexToPhysicalPoint((5, 3, 2)), volume.to_world((2, 3, 5)))
