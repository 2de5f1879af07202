"""Real files of every format against what independent readers (pynrrd, nibabel, NumPy on the bytes) found in them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from medlearn.io import describe, load, stem, suffix

DATA = os.environ.get("MEDLEARN_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="MEDLEARN_TEST_DATA names no folder with real files")
FORMATS = Path(DATA or ".") / "formats"
NOT_YET = (".vti", ".dcm")
EXPECTED = {}
if DATA:
    everything = json.loads((FORMATS / "expected.json").read_text())
    EXPECTED = {name: facts for name, facts in everything.items() if suffix(name) not in NOT_YET}
RAS = np.diag([-1, -1, 1, 1])


def expected_affine(facts):
    """From index (z, y, x, 1) to LPS (x, y, z, 1), as far as the reader gave a direction."""
    if "affine_ras" in facts:
        return (RAS @ facts["affine_ras"])[:, [2, 1, 0, 3]]
    affine = np.eye(4)
    if "space_directions" in facts:
        assert facts["space"] == "left-posterior-superior"
        affine[:3, :3] = np.transpose(facts["space_directions"])[:, ::-1]
        affine[:3, 3] = facts["space_origin"]
        return affine
    affine[:3, :3] = np.eye(3)[::-1] * facts["spacing_zyx_mm"]  # MetaImage and GIPL: the identity
    affine[:3, 3] = facts.get("origin_xyz", (0, 0, 0))
    return affine


@pytest.mark.parametrize("name", EXPECTED or ["(no data)"])
def test_agrees_with_an_independent_reader(name):
    facts, volume = EXPECTED[name], load(FORMATS / name)
    assert volume.axes == "zyx"
    assert list(volume.shape) == facts["shape_zyx"]
    np.testing.assert_allclose(volume.spacing, facts["spacing_zyx_mm"], rtol=1e-6)
    np.testing.assert_allclose(volume.affine, expected_affine(facts), atol=1e-4)
    # Rescaled NIfTI comes as float32 from ITK and as float64 from nibabel; everything else must be the same exactly.
    rescaled = "affine_ras" in facts
    relative = 1e-6 if rescaled else 0
    assert volume.array.dtype == (np.float32 if rescaled else facts["dtype"])
    assert float(volume.array.min()) == pytest.approx(facts["min"], rel=relative)
    assert float(volume.array.max()) == pytest.approx(facts["max"], rel=relative)
    assert volume.array.sum(dtype=np.float64) == pytest.approx(facts["sum"], rel=relative)


@pytest.mark.parametrize("name", EXPECTED or ["(no data)"])
def test_description_agrees_with_the_image(name):
    description, volume = describe(FORMATS / name), load(FORMATS / name)
    assert (description.shape, description.axes, description.dtype) == (volume.shape, volume.axes, volume.array.dtype)
    assert (description.spacing, description.origin) == (volume.spacing, volume.origin)
    np.testing.assert_array_equal(description.direction, volume.direction)
    assert description.file_size > 0
    assert str(volume.shape[0]) in str(description)


def test_one_brain_in_many_orientations_is_one_brain():
    """The voxels around one world point have the same value in every axis order."""
    brains = [load(path) for path in sorted((FORMATS / "nifti_one_brain_many_orientations").glob("*.nii.gz"))]
    assert len(brains) == 8
    index = np.argwhere(brains[0].array > 60)[::200]
    points, values = brains[0].to_world(index), brains[0].array[tuple(index.T)]
    assert len(points) > 50
    for brain in brains[1:]:
        found = brain.to_index(points)
        nearest = np.rint(found).astype(int)
        np.testing.assert_allclose(found, nearest, atol=1e-3)
        np.testing.assert_array_equal(brain.array[tuple(nearest.T)], values)


def test_promise12_cases_load():
    """All headers; the voxels of one case."""
    headers = sorted((Path(DATA) / "promise12").glob("*.mhd"))
    assert len(headers) == 70
    assert len({stem(path) for path in headers}) == 70
    for path in headers:
        assert describe(path).shape == (32, 128, 128)
    image, mask = load(headers[0]), load(headers[1])
    image.check_same_grid(mask)
    assert image.array.dtype == np.int16
    assert set(np.unique(mask.array)) == {0, 1}
