"""The built-in patients: the same on every machine, as varied as real ones, with labels that fit the image."""

import subprocess
import sys

import numpy as np
import pytest

from medlearn.phantom import GLAND, TISSUES, prostate, prostate_anatomy

COARSE = {"shape": (24, 64, 64), "spacing": (3.6, 2.5, 2.5)}  # the default field of view in a sixteenth of the voxels


@pytest.fixture(scope="module")
def coarse():
    return [prostate(seed, **COARSE) for seed in range(40)]


def test_a_seed_is_a_patient():
    first, again, other = (prostate(seed, **COARSE) for seed in (3, 3, 4))
    assert (first.id, other.id) == ("phantom-0003", "phantom-0004")
    np.testing.assert_array_equal(first.image.array, again.image.array)
    np.testing.assert_array_equal(first.mask.array, again.mask.array)
    assert first.image.grid_distance(again.image) == 0
    assert (first.mask.array != other.mask.array).any()
    assert (first.image.array != other.image.array).mean() > 0.5


def test_default_grid_and_types():
    case = prostate(7)
    assert case.id == "phantom-0007"
    assert case.image.shape == case.mask.shape == (24, 256, 256)
    assert case.image.spacing == case.mask.spacing == (3.6, 0.625, 0.625)
    assert case.image.grid_distance(case.mask) == 0
    assert (case.image.array.dtype, case.mask.array.dtype) == (np.int16, np.uint8)
    assert np.unique(case.mask.array).tolist() == [0, 1]
    assert case.image.axes == case.mask.axes == "zyx"


def test_mask_is_the_gland_of_the_label_map():
    case, anatomy = prostate(2, **COARSE), prostate_anatomy(2, **COARSE)
    assert anatomy.grid_distance(case.image) == 0
    np.testing.assert_array_equal(np.isin(anatomy.array, [TISSUES[name].label for name in GLAND]), case.mask.array)


def test_labels_are_distinct_and_every_tissue_occurs():
    labels = [tissue.label for tissue in TISSUES.values()]
    assert len(set(labels)) == len(labels)
    assert TISSUES["air"].label == 0
    wide = {"shape": (30, 96, 96), "spacing": (4.0, 4.0, 4.0)}  # skin lies outside most small fields of view
    found = np.unique(np.concatenate([prostate_anatomy(seed, **wide).array.ravel() for seed in range(8)]))
    missing = [name for name, tissue in TISSUES.items() if tissue.label not in found]
    assert missing == []


def test_volumes_are_those_of_patients(coarse):
    volumes = [case.mask.array.sum() * case.mask.voxel_volume / 1000 for case in coarse]
    assert min(volumes) >= 15
    assert max(volumes) <= 300
    assert max(volumes) > 80  # hyperplasia is not left out
    assert 30 <= np.median(volumes) <= 60


def test_place_and_number_of_slices_vary(coarse):
    middles = np.array([np.argwhere(case.mask.array).mean(axis=0) for case in coarse]) * COARSE["spacing"]
    assert (middles.std(axis=0) > 2).all()
    assert (middles.std(axis=0) < 15).all()
    n_slices = [case.mask.array.any(axis=(1, 2)).sum() for case in coarse]
    assert max(n_slices) - min(n_slices) >= 6
    assert max(n_slices) < 24


@pytest.mark.parametrize("seed", range(6))
def test_gland_is_one_piece_and_tapers_to_both_ends(seed):
    from scipy import ndimage

    mask = prostate(seed, **COARSE).mask.array
    assert ndimage.label(mask, np.ones((3, 3, 3)))[1] == 1
    areas = mask.sum(axis=(1, 2))
    areas = areas[areas > 0]
    assert max(areas[0], areas[-1]) < 0.75 * areas.max()


@pytest.mark.parametrize("seed", range(6))
def test_organs_lie_where_they_belong(seed):
    anatomy = prostate_anatomy(seed, **COARSE)

    def place(*names):
        inside = np.isin(anatomy.array, [TISSUES[name].label for name in names])
        return anatomy.to_world(np.argwhere(inside)).mean(axis=0)  # LPS (x, y, z)

    gland = place(*GLAND)
    assert place("pubic_bone")[1] < gland[1] < place("rectal_wall")[1]  # y grows to the back
    assert place("urine")[2] > gland[2] > place("urethral_sphincter")[2]  # z grows to the head
    assert place("seminal_vesicle")[2] > gland[2]
    assert place("anterior_stroma")[1] < place("transition_zone")[1] < place("peripheral_zone")[1]


def test_gray_scales_are_as_wild_as_real_ones(coarse):
    images = [case.image.array for case in coarse]
    assert any(image.min() < 0 for image in images)
    assert any(image.max() > 5000 for image in images)
    assert any(image.max() < 600 for image in images)


def test_some_patients_are_scanned_in_tilted_slices(coarse):
    tilted = [not np.allclose(case.image.direction, np.eye(3)) for case in coarse]
    assert 4 <= sum(tilted) <= 20
    for case in coarse:
        assert np.linalg.det(case.image.direction) == pytest.approx(1)


def test_another_grid_looks_at_the_same_patient():
    fine, coarse = prostate(5, shape=(24, 128, 128), spacing=(3.6, 1.25, 1.25)), prostate(5, **COARSE)
    volumes = [case.mask.array.sum() * case.mask.voxel_volume for case in (fine, coarse)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.05)
    middles = [case.mask.to_world(np.argwhere(case.mask.array)).mean(axis=0) for case in (fine, coarse)]
    np.testing.assert_allclose(*middles, atol=0.6)


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 64, 64), (5, 65, 47), (40, 16, 200)])
def test_odd_shapes(shape):
    case = prostate(0, shape=shape, spacing=(3.6, 2.5, 2.5))
    assert case.image.shape == case.mask.shape == shape


def test_zones_differ_in_the_image_as_they_should(coarse):
    names = ("muscle", "anterior_stroma", "transition_zone", "peripheral_zone", "capsule")
    means = []
    for seed, case in enumerate(coarse):
        anatomy = prostate_anatomy(seed, **COARSE).array
        means.append([case.image.array[anatomy == TISSUES[name].label].mean() for name in names])
    muscle, stroma, transition, peripheral, capsule = np.array(means).T
    assert np.mean(transition > stroma) > 0.9
    assert np.mean(peripheral > transition) > 0.75  # inflammation darkens the peripheral zone of some
    assert np.mean(peripheral > capsule) > 0.9
    assert np.mean(transition > muscle) > 0.75  # muscle close to an endorectal coil is bright


@pytest.mark.parametrize("seed", [-1, 1.5, "7", True, None])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match="seed must be a whole number from 0 up"):
        prostate(seed)


@pytest.mark.parametrize("shape", [(24, 256), (0, 64, 64), (24, 8, 64), (24.0, 64, 64), 5, "abc"])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match=r"shape must be three whole numbers of voxels \(z, y, x\)"):
        prostate(shape=shape)


@pytest.mark.parametrize(
    "spacing", [(3.6, 0.6), (3.6, 0, 0.6), (3.6, -1, 1), (np.nan, 1, 1), (np.inf, 1, 1), 2.0, "abc"]
)
def test_bad_spacing(spacing):
    with pytest.raises(ValueError, match="spacing"):
        prostate_anatomy(0, spacing=spacing)


def test_import_is_light():
    code = "import sys, medlearn.phantom; print([m for m in ('torch', 'scipy', 'matplotlib') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
