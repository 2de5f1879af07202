from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medlearn import Volume
from medlearn.geometry import crop, crop_or_pad, orient, pad, resample, resample_like


def oblique(seed=0, shape=(5, 6, 7), spacing=(3.0, 0.5, 0.7)):
    rng = np.random.default_rng(seed)
    return Volume(
        array=rng.integers(-1000, 1000, shape).astype(np.int16),
        spacing=spacing,
        origin=rng.uniform(-100, 100, 3),
        direction=Rotation.random(rng=rng).as_matrix(),
    )


def linear_ramp(volume):
    """Fill a volume with a linear function of world coordinates, which linear interpolation must reproduce."""
    index = np.stack(np.indices(volume.shape), -1)
    return replace(volume, array=volume.to_world(index) @ [1.0, -2.0, 3.0])


def inside(volume, margin=1):
    return (slice(margin, -margin),) * len(volume.spacing)


def test_resample_reproduces_a_linear_function_of_world_coordinates():
    volume = linear_ramp(oblique(shape=(8, 12, 14)))
    for spacing in [(3, 0.25, 0.35), (2, 0.9, 0.8), (3, 0.5, 0.7)]:
        result = resample(volume, spacing, interpolation="linear")
        box = inside(result, 2)
        np.testing.assert_allclose(result.array[box], linear_ramp(result).array[box], atol=1e-9)


def test_resample_keeps_center_and_field_of_view():
    volume = oblique(shape=(4, 20, 30))
    result = resample(volume, (3.0, 1.0, 0.35), interpolation="nearest")
    assert result.shape == (4, 10, 60)
    middle = [v.to_world((np.array(v.shape) - 1) / 2) for v in (volume, result)]
    np.testing.assert_allclose(*middle)
    assert result.array.dtype == np.int16


def test_linear_resampling_rounds_integers():
    volume = Volume(array=np.array([[[0, 1]]], np.int16), spacing=(1, 1, 1))
    result = resample(volume, (1, 1, 0.5), interpolation="linear")  # 0, .25, .75, 1
    assert result.array.ravel().tolist() == [0, 0, 1, 1]


def test_nearest_never_invents_labels():
    labels = oblique().map(lambda a: (a > 500) * 2 + (a < -500))
    assert set(np.unique(resample(labels, (1, 0.3, 0.4), interpolation="nearest").array)) <= {0, 1, 2}


def test_resample_like_goes_by_world_coordinates():
    volume = oblique()
    turned = orient(volume, "RAI")
    back = resample_like(turned, volume, interpolation="nearest")
    np.testing.assert_array_equal(back.array, volume.array)
    moved = replace(volume, origin=volume.to_world((0, 0, 1)))  # one voxel along x
    result = resample_like(volume, moved, interpolation="nearest", outside=-7)
    np.testing.assert_array_equal(result.array[:, :, :-1], volume.array[:, :, 1:])
    assert (result.array[:, :, -1] == -7).all()


def test_booleans_time_and_components_are_resampled_too():
    volume = oblique()
    mask = volume.map(lambda a: a > 0)
    assert resample(mask, (3, 0.25, 0.35), interpolation="nearest").array.dtype == bool
    colors = replace(volume, array=np.stack([volume.array, -volume.array], -1), axes="zyxc")
    both = resample(colors, (3, 0.9, 0.9), interpolation="linear").array
    np.testing.assert_array_equal(both[..., 0], -both[..., 1])
    movie = replace(volume, array=np.stack([volume.array, volume.array + 1]), axes="tzyx")
    frames = resample(movie, (3, 0.9, 0.9), interpolation="nearest")
    assert frames.axes == "tzyx"
    np.testing.assert_array_equal(frames.array[0] + 1, frames.array[1])


def test_pictures_are_resampled_in_the_plane():
    picture = Volume(array=np.arange(12.0).reshape(3, 4), spacing=(2, 2), axes="yx")
    assert resample(picture, (1, 1), interpolation="linear").shape == (6, 8)


def test_crop_and_pad_keep_world_coordinates():
    volume = oblique()
    cut = crop(volume, (1, 2, 3), (2, 3, 4))
    np.testing.assert_array_equal(cut.array, volume.array[1:3, 2:5, 3:7])
    np.testing.assert_allclose(cut.to_world((0, 0, 0)), volume.to_world((1, 2, 3)))
    padded = pad(cut, (1, 2, 3), (2, 1, 0), value=-5)
    assert padded.shape == volume.shape
    np.testing.assert_allclose(padded.affine, volume.affine)
    assert (padded.array[0] == -5).all()


@given(st.tuples(*[st.integers(1, 12)] * 3), st.integers(0, 100))
def test_crop_or_pad_centers_and_keeps_every_shared_voxel(shape, seed):
    volume = oblique(seed)
    result = crop_or_pad(volume, shape, value=-9999)
    assert result.shape == shape
    for index in np.ndindex(shape):
        source = np.rint(volume.to_index(result.to_world(index))).astype(int)
        known = ((source >= 0) & (source < volume.shape)).all()
        assert result.array[index] == (volume.array[tuple(source)] if known else -9999)
    shift = volume.to_index(result.to_world((np.array(shape) - 1) / 2)) - (np.array(volume.shape) - 1) / 2
    assert (np.abs(shift) <= 0.5 + 1e-9).all()


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SLP", "PIR", "AIL"])
def test_orient_moves_no_voxel_in_the_world_and_agrees_with_itk(axes):
    for seed in range(10):
        volume = oblique(seed)
        result = orient(volume, axes)
        for index in [(0, 0, 0), (4, 5, 6), (1, 2, 3)]:
            new = np.rint(result.to_index(volume.to_world(index))).astype(int)
            assert result.array[tuple(new)] == volume.array[index]
            np.testing.assert_allclose(result.to_world(new), volume.to_world(index))
    scan = replace(oblique(), direction=Rotation.from_euler("xyz", [10, -8, 170], degrees=True).as_matrix())
    theirs = sitk.DICOMOrient(_as_itk(scan), axes)
    ours = orient(scan, axes)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs), ours.array)
    np.testing.assert_allclose(theirs.GetOrigin(), ours.origin)


def _as_itk(volume):
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction.ravel())
    return image


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: resample(v, (1, 1), interpolation="linear"), "3 positive numbers"),
        (lambda v: resample(v, (1, 1, -1), interpolation="linear"), "3 positive numbers"),
        (lambda v: resample(v, (1, 1, 1), interpolation="cubic"), "'linear', 'nearest'"),
        (lambda v: crop(v, (0, 0, 0), (9, 1, 1)), "does not lie in a volume"),
        (lambda v: crop(v, (0, 0), (1, 1)), "3 whole numbers"),
        (lambda v: crop(v, (0.5, 0, 0), (1, 1, 1)), "3 whole numbers"),
        (lambda v: pad(v, (-1, 0, 0), (0, 0, 0)), "not be negative"),
        (lambda v: orient(v, "LRS"), "such as 'LPS'"),
        (lambda v: orient(v, "XYZ"), "such as 'LPS'"),
        (lambda v: orient(Volume(array=np.zeros((2, 2)), spacing=(1, 1), axes="yx")), "axes zyx"),
        (
            lambda v: resample_like(
                v, Volume(array=np.zeros((2, 2)), spacing=(1, 1), axes="yx"), interpolation="linear"
            ),
            "nothing to align",
        ),
    ],
)
def test_wrong_arguments_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call(oblique())
