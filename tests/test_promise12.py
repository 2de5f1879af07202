"""Thirds, score and submission of PROMISE12, with answers worked out by hand."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medlearn import promise12
from medlearn.io import load, save
from medlearn.metrics import evaluate as evaluate_whole
from medlearn.volume import Volume

SPACING = (3.0, 1.0, 1.0)


def mask(shape=(12, 16, 16), z=(2, 11), direction=None):
    array = np.zeros(shape, np.uint8)
    array[z[0] : z[1], 4:12, 4:12] = 1
    return Volume(array=array, spacing=SPACING, direction=np.eye(3) if direction is None else direction)


def test_thirds_of_the_gland_not_of_the_image():
    parts = promise12.thirds(mask())  # slices 2 … 10: three each, the ends go on
    assert parts == {"apex": slice(0, 5), "mid": slice(5, 8), "base": slice(8, 12)}


def test_apex_is_caudal_whatever_the_index():
    flipped = mask(direction=np.diag([1.0, -1, -1]))  # index z runs from the head to the feet
    assert promise12.thirds(flipped)["base"] == slice(0, 5)


@pytest.mark.parametrize(
    ("n", "sizes"), [(3, (1, 1, 1)), (4, (1, 2, 1)), (5, (2, 1, 2)), (7, (2, 3, 2)), (8, (3, 2, 3))]
)
def test_thirds_of_any_number_of_slices(n, sizes):
    parts = promise12.thirds(mask((n, 16, 16), (0, n)))
    assert tuple(parts[name].stop - parts[name].start for name in ("apex", "mid", "base")) == sizes


def test_errors_of_the_apex_are_found_in_the_apex():
    target, pred = mask(), mask()
    pred.array.flags.writeable = True
    changed = pred.array.copy()
    changed[2, 4:12, 4:8] = 0  # half of the lowest slice is missed: 32 of 3 × 64 voxels
    found = promise12.evaluate(replace(pred, array=changed), target)
    assert found["base"].dice == found["mid"].dice == 1
    assert found["apex"].dice == pytest.approx(2 * 160 / (160 + 192))
    assert found["apex"].relative_volume_difference == pytest.approx(-32 / 192)
    assert found["whole"] == evaluate_whole(replace(pred, array=changed), target)
    assert sum(found[p].target_volume_ml for p in ("base", "mid", "apex")) == pytest.approx(
        found["whole"].target_volume_ml
    )


def test_what_is_predicted_beyond_the_gland_belongs_to_the_ends():
    found = promise12.evaluate(mask(z=(0, 12)), mask())
    assert found["mid"].dice == 1
    assert found["apex"].relative_volume_difference == pytest.approx(2 / 3)
    assert found["base"].relative_volume_difference == pytest.approx(1 / 3)


def shifted(z=0, x=0):
    return mask().map(lambda array: np.roll(array, (z, x), axis=(0, 2)))


def test_the_cut_between_two_thirds_is_no_surface():
    """A box shifted by 2 mm along x: in the middle third each outline has 28 pixels.

    The 8 of one side are 2 mm from the other box's side; of the opposite side the inner ones are 1, 2, 2, 2, 2 and 1 mm
    from the nearest side of the other; the two outermost pixels of the long sides add 1 mm each: 16 + 10 + 2 over 28.
    """
    found = promise12.evaluate(shifted(x=2), mask())
    assert found["mid"].average_boundary_distance == pytest.approx(1)
    assert found["mid"].hausdorff95 == found["mid"].hausdorff == pytest.approx(2)
    assert found["mid"].dice == found["apex"].dice == pytest.approx(6 / 8)


def test_a_box_shifted_towards_the_head():
    """By one slice of 3 mm. Apex, slices to 4: the reference's lowest face has 64 voxels 3 mm from the other's.

    The prediction's lowest face lies inside the reference: its rim of 28 voxels on the surface, then 20 voxels at 1 mm,
    12 at 2 and 4 at 3. Above lie rims at distance 0: two of the reference and one of the prediction.
    """
    found = promise12.evaluate(shifted(z=1), mask())
    assert found["apex"].average_boundary_distance == pytest.approx((64 * 3 + 20 + 24 + 12) / (120 + 92))
    assert found["apex"].hausdorff95 == pytest.approx(3)
    assert found["mid"].average_boundary_distance == found["mid"].hausdorff == 0


def test_a_part_without_prediction_has_the_distances_of_its_reference():
    found = promise12.evaluate(mask(z=(5, 11)), mask())  # the apex is missing: slices 2, 3 and 4
    assert found["apex"].dice == 0
    assert found["apex"].hausdorff == pytest.approx(9)  # from slice 2 to slice 5
    nothing = promise12.evaluate(mask(z=(0, 0)), mask())
    assert all(nothing[part].hausdorff95 == np.inf for part in ("whole", "base", "mid", "apex"))


@pytest.mark.parametrize(
    "target",
    [mask(z=(4, 6)), mask(z=(4, 4)), mask(direction=Rotation.from_euler("x", 90, degrees=True).as_matrix())],
)
def test_thirds_that_make_no_sense(target):
    with pytest.raises(ValueError, match=r"at least 3 slices|axial"):
        promise12.thirds(target)


OBSERVER = {
    part: {
        "dice": 0.8,
        "hausdorff95": 4.0,
        "average_boundary_distance": 2.0,
        "relative_volume_difference": 0.1,
    }
    for part in promise12.SCORED_PARTS
}


def case(**values):
    """The measures of a perfect segmentation, some of them replaced."""
    return replace(evaluate_whole(mask(), mask()), **values)


def test_score_of_perfection_of_the_observer_and_of_failure():
    same = dict.fromkeys(("whole", "base", "mid", "apex"), case())
    assert promise12.score(same, OBSERVER) == 100
    observer = dict.fromkeys(same, case(**OBSERVER["whole"]))
    assert promise12.score(observer, OBSERVER) == pytest.approx(85)
    signed = dict.fromkeys(same, case(**OBSERVER["whole"] | {"relative_volume_difference": -0.1}))
    assert promise12.score(signed, OBSERVER) == pytest.approx(85)
    lost = dict.fromkeys(
        same,
        case(
            dice=0.0,
            hausdorff95=np.inf,
            average_boundary_distance=np.inf,
            relative_volume_difference=-1.0,
        ),
    )
    assert promise12.score(lost, OBSERVER) == pytest.approx(3 * 25 / 12)  # Dice 0 is five observers away: 100 - 75


def test_score_by_hand():
    """Whole gland: Dice 0.9 gives 92.5, HD95 8 mm 70; all else perfect: (10 · 100 + 92.5 + 70) / 12."""
    parts = dict.fromkeys(("whole", "base", "mid", "apex"), case()) | {"whole": case(dice=0.9, hausdorff95=8.0)}
    assert promise12.score(parts, OBSERVER) == pytest.approx(1162.5 / 12)


@pytest.mark.parametrize(
    "observer", [{}, OBSERVER | {"apex": {}}, OBSERVER | {"base": OBSERVER["base"] | {"dice": 1.0}}]
)
def test_score_needs_the_observer(observer):
    parts = dict.fromkeys(("whole", "base", "mid", "apex"), case())
    with pytest.raises(ValueError, match="second observer"):
        promise12.score(parts, observer)


@pytest.fixture
def predicted(tmp_path):
    oblique = mask(direction=Rotation.from_euler("xyz", [10, 5, 3], degrees=True).as_matrix())
    return {name: save(oblique, tmp_path / f"{name}{ext}") for name, ext in (("Case00", ".nii.gz"), ("Case01", ".mha"))}


def test_submission_holds_masks_on_their_own_grids(predicted, tmp_path):
    out = promise12.submission(predicted, tmp_path / "submit.zip", expected=["Case00", "Case01"])
    with zipfile.ZipFile(out) as archive:
        assert sorted(archive.namelist()) == [f"Case0{k}_segmentation.{ext}" for k in (0, 1) for ext in ("mhd", "raw")]
        archive.extractall(tmp_path / "unpacked")
    for case_id, path in predicted.items():
        written, original = load(tmp_path / "unpacked" / f"{case_id}_segmentation.mhd"), load(path)
        np.testing.assert_array_equal(written.array, original.array)
        assert written.grid_distance(original) < 1e-3
    with pytest.raises(FileExistsError, match=r"submit\.zip"):
        promise12.submission(predicted, out)


def test_submission_refuses_what_the_challenge_would(predicted, tmp_path):
    out = tmp_path / "submit.zip"
    with pytest.raises(ValueError, match="no prediction: Case07"):
        promise12.submission(predicted, out, expected=["Case07"])
    with pytest.raises(ValueError, match="got patient3"):
        promise12.submission({"patient3": predicted["Case00"]}, out)
    with pytest.raises(ValueError, match=r"\.zip"):
        promise12.submission(predicted, tmp_path / "submit.tar")
    for value in (0, 2):
        bad = save(mask().map(lambda array, v=value: array * v), tmp_path / f"bad{value}.mha")
        with pytest.raises(ValueError, match="0 and 1 that is not empty"):
            promise12.submission({"Case00": bad}, out)
    assert not list(tmp_path.glob("*submit*"))
