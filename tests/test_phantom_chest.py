"""The built-in chests: the same on every machine, as varied as real ones, with labels that fit the image."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from medlearn.phantom import CHEST_TISSUES, Nodule, chest, chest_anatomy, chest_nodule_map, chest_nodules

COARSE = {"shape": (32, 64, 64), "spacing": (10.0, 6.0, 6.0)}  # the default field of view in few voxels
SEEDS = range(8)
CROWDED = 37  # a patient with nodules of every kind and place
LABEL = {name: tissue.label for name, tissue in CHEST_TISSUES.items()}


@pytest.fixture(scope="module")
def anatomies():
    return [chest_anatomy(seed, **COARSE) for seed in SEEDS]


@pytest.fixture(scope="module")
def crowded():
    """One patient on the default grid: case, label map of the tissues, label map of the nodules."""
    return chest(CROWDED), chest_anatomy(CROWDED).array, chest_nodule_map(CROWDED)


@pytest.fixture(scope="module")
def all_nodules():
    return [chest_nodules(seed) for seed in range(40)]


def place(anatomy, *names):
    """Mean world position LPS (x, y, z) of tissues."""
    return anatomy.to_world(np.argwhere(np.isin(anatomy.array, [LABEL[name] for name in names]))).mean(axis=0)


def test_a_seed_is_a_patient():
    first, again, other = (chest(seed, **COARSE) for seed in (3, 3, 4))
    assert (first.id, other.id) == ("chest-0003", "chest-0004")
    np.testing.assert_array_equal(first.image.array, again.image.array)
    np.testing.assert_array_equal(first.mask.array, again.mask.array)
    assert first.image.grid_distance(again.image) == 0
    assert (first.image.array != other.image.array).mean() > 0.5


HASH = """
import hashlib
from medlearn.phantom import chest_anatomy
for seed in (2, 26):
    print(hashlib.sha256(chest_anatomy(seed, shape=(32, 64, 64), spacing=(10.0, 6.0, 6.0)).array).hexdigest())
"""


def test_labels_do_not_depend_on_the_processor():
    here = [hashlib.sha256(chest_anatomy(seed, **COARSE).array).hexdigest() for seed in (2, 26)]
    features = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])  # the vector units that NumPy uses
    result = subprocess.run(
        [sys.executable, "-c", HASH],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(features)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == here


def test_default_grid_and_types(crowded):
    case = crowded[0]
    assert case.id == "chest-0037"
    assert case.image.shape == case.mask.shape == (64, 256, 256)
    assert case.image.spacing == case.mask.spacing == (5.0, 1.5, 1.5)
    assert case.image.grid_distance(case.mask) == 0
    assert (case.image.array.dtype, case.mask.array.dtype) == (np.int16, np.uint8)
    assert case.image.axes == case.mask.axes == "zyx"
    assert case.image.meta["modality"] == "CT"


def test_table_of_tissues_and_labels(anatomies):
    labels = [tissue.label for tissue in CHEST_TISSUES.values()]
    assert len(set(labels)) == len(labels)
    assert LABEL["air"] == 0
    assert all(tissue.name == name for name, tissue in CHEST_TISSUES.items())
    found = set(np.unique([anatomy.array for anatomy in anatomies]).tolist())
    assert found == set(labels)


@pytest.mark.parametrize("seed", [1, 6])
def test_image_mask_and_maps_belong_together(seed):
    case, anatomy, numbers = (make(seed, **COARSE) for make in (chest, chest_anatomy, chest_nodule_map))
    assert case.image.grid_distance(anatomy) == case.image.grid_distance(numbers) == 0
    nodule = np.isin(anatomy.array, [LABEL["solid_nodule"], LABEL["ground_glass"]])
    np.testing.assert_array_equal(case.mask.array > 0, nodule)
    np.testing.assert_array_equal(numbers.array > 0, nodule)
    assert set(np.unique(numbers.array)) <= {0, *(nodule.number for nodule in chest_nodules(seed))}


@pytest.mark.parametrize(
    ("name", "low", "high", "core"),
    [
        ("air", -1010, -980, 1),
        ("lung", -900, -790, 1),
        ("fat", -125, -80, 1),
        ("muscle", 25, 75, 1),
        ("heart_blood", 20, 60, 1),
        ("aorta", 20, 60, 1),
        ("liver", 25, 90, 1),
        ("marrow", 100, 330, 1),
        ("cortical_bone", 300, 1000, 0),  # thinner than a voxel: mixed with its neighbors
    ],
)
def test_hounsfield_units_are_those_of_the_tissue(crowded, name, low, high, core):
    case, anatomy, _ = crowded
    inside = anatomy == LABEL[name]
    if core:  # away from partial volume, in the slice
        inside = ndimage.binary_erosion(inside, np.ones((1, 3, 3)))
    assert low < np.median(case.image.array[inside]) < high


def test_lungs_are_as_large_as_those_of_adults(anatomies):
    inner = [LABEL[name] for name in ("lung", "pulmonary_vessel", "airway", "airway_wall")]
    liters = [np.isin(a.array, inner).sum() * a.voxel_volume / 1e6 for a in anatomies]
    assert min(liters) > 2
    assert max(liters) < 8
    assert np.std(liters) > 0.3


def test_organs_lie_where_they_belong(anatomies):
    for anatomy in anatomies:
        spine = place(anatomy, "spinal_canal")
        assert place(anatomy, "heart_muscle", "heart_blood")[0] > spine[0] + 10  # x grows to the patient's left
        assert place(anatomy, "liver")[0] < spine[0] - 20
        assert place(anatomy, "spleen")[0] > spine[0] + 40
        assert place(anatomy, "stomach_gas")[1] < place(anatomy, "stomach")[1]  # y grows to the back; gas rises
        assert place(anatomy, "heart_muscle")[1] < place(anatomy, "esophagus")[1] < spine[1]
        assert place(anatomy, "liver")[2] < place(anatomy, "heart_muscle")[2] < place(anatomy, "airway")[2]


def test_there_are_two_lungs(crowded):
    pieces, n = ndimage.label(crowded[1] == LABEL["lung"])
    sizes = np.sort(np.bincount(pieces.ravel(), minlength=n + 1)[1:])[::-1]
    assert sizes[1] > 0.6 * sizes[0]
    assert sizes[2:].sum() < 0.02 * sizes[0]


def test_a_threshold_and_the_largest_dark_pieces_find_the_lungs(crowded):
    """The rule of every textbook works: below −400 HU, not touching the border of the slices."""
    case, anatomy, _ = crowded
    inner = np.isin(anatomy, [LABEL[name] for name in ("lung", "airway", "stomach_gas", "ground_glass")])
    pieces, _ = ndimage.label(case.image.array < -400)
    outside = np.unique(np.concatenate([pieces[:, 0].ravel(), pieces[:, -1].ravel()]))
    found = ~np.isin(pieces, [0, *outside])
    assert 2 * (found & inner).sum() / (found.sum() + inner.sum()) > 0.93


def test_lungs_are_denser_at_the_back(crowded):
    image, lung = crowded[0].image.array, ndimage.binary_erosion(crowded[1] == LABEL["lung"])
    rows = np.where(lung)[1]
    front, back = np.percentile(rows, (25, 75))
    assert np.median(image[lung][rows > back]) > np.median(image[lung][rows < front]) + 15


def test_noise_is_stronger_in_the_shoulders(crowded):
    image = crowded[0].image.array.astype(float)
    muscle = ndimage.binary_erosion(crowded[1] == LABEL["muscle"], np.ones((1, 3, 3)))
    rough = image - ndimage.median_filter(image, (1, 3, 3))

    def std(slices):
        return np.std(rough[slices][muscle[slices]])

    assert std(slice(56, 64)) > 1.15 * std(slice(20, 40))


def test_nodules_of_every_kind_and_place_occur(all_nodules):
    kinds = Counter((nodule.kind, nodule.place) for nodules in all_nodules for nodule in nodules)
    assert {kind for kind, _ in kinds} == {"solid", "part-solid", "ground-glass"}
    assert {place for _, place in kinds} == {"isolated", "juxtapleural", "vascular"}
    counts = Counter(len(nodules) for nodules in all_nodules)
    assert 3 <= counts[0] <= 20
    assert max(counts) in (3, 4)
    for nodules in all_nodules:
        assert [nodule.number for nodule in nodules] == list(range(1, len(nodules) + 1))
        assert all(isinstance(nodule, Nodule) and 5 <= nodule.diameter_mm <= 30 for nodule in nodules)


def test_nodules_lie_in_the_lung_and_have_their_size(crowded):
    _, anatomy, numbers = crowded
    lung = np.isin(anatomy, [LABEL[name] for name in ("lung", "pulmonary_vessel", "airway", "airway_wall")])
    for nodule in chest_nodules(CROWDED):
        inside = numbers.array == nodule.number
        center = numbers.to_world(np.argwhere(inside)).mean(axis=0)
        assert np.linalg.norm(center - nodule.center_mm) < 0.25 * nodule.diameter_mm + 2
        ball = np.pi / 6 * nodule.diameter_mm**3
        share = inside.sum() * numbers.voxel_volume / ball
        assert (0.4 if nodule.place == "juxtapleural" else 0.7) < share < 1.5
        around = ndimage.binary_dilation(inside, iterations=2) & ~ndimage.binary_dilation(inside)
        assert lung[around].mean() > (0.3 if nodule.place == "juxtapleural" else 0.8)
        assert ndimage.label(inside, np.ones((3, 3, 3)))[1] == 1
        if nodule.place == "juxtapleural":
            assert not lung[ndimage.binary_dilation(inside, np.ones((1, 3, 3)), iterations=2) & ~inside].all()


def test_kinds_differ_in_the_image(crowded):
    case, anatomy, numbers = crowded
    image = case.image.array
    for nodule in chest_nodules(CROWDED):
        inside = numbers.array == nodule.number
        tissues = set(np.unique(anatomy[inside]).tolist())
        solid, glass = LABEL["solid_nodule"], LABEL["ground_glass"]
        assert tissues == {"solid": {solid}, "ground-glass": {glass}, "part-solid": {solid, glass}}[nodule.kind]
        if nodule.kind == "ground-glass":
            assert -750 < np.median(image[inside]) < -400
        elif nodule.kind == "solid":
            assert np.percentile(image[inside], 90) > -100


def test_another_grid_looks_at_the_same_patient():
    fine, coarse = chest_anatomy(5, shape=(32, 128, 128), spacing=(10.0, 3.0, 3.0)), chest_anatomy(5, **COARSE)
    for name in ("lung", "heart_muscle", "liver", "marrow"):
        volumes = [(a.array == LABEL[name]).sum() * a.voxel_volume for a in (fine, coarse)]
        assert volumes[0] == pytest.approx(volumes[1], rel=0.12)
        np.testing.assert_allclose(place(fine, name), place(coarse, name), atol=2.5)


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 64, 64), (5, 65, 47), (40, 16, 200)])
def test_odd_shapes(shape):
    case = chest(1, shape=shape, spacing=(5.0, 6.0, 2.0))
    assert case.image.shape == case.mask.shape == shape
    assert case.image.array.max() > 0


def test_a_small_field_of_view_in_the_lung_is_painted():
    assert chest(0, shape=(4, 16, 16), spacing=(1.0, 1.0, 1.0)).image.shape == (4, 16, 16)


@pytest.mark.parametrize("make", [chest, chest_anatomy, chest_nodule_map, chest_nodules])
@pytest.mark.parametrize("seed", [-1, 1.5, "7", True, None])
def test_bad_seed(make, seed):
    with pytest.raises(ValueError, match="seed must be a whole number from 0 up"):
        make(seed)


@pytest.mark.parametrize("shape", [(24, 256), (0, 64, 64), (24, 8, 64), (24.0, 64, 64), 5, "abc"])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match=r"shape must be three whole numbers of voxels \(z, y, x\)"):
        chest(shape=shape)


@pytest.mark.parametrize("spacing", [(3.6, 0.6), (3.6, 0, 0.6), (3.6, -1, 1), (np.nan, 1, 1), (np.inf, 1, 1), 2.0])
def test_bad_spacing(spacing):
    with pytest.raises(ValueError, match="spacing"):
        chest_nodule_map(0, spacing=spacing)
