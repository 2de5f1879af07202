from dataclasses import replace

import numpy as np
import pytest
from blobs import blob_case

import medlearn as ml
from medlearn.datasets.layouts import choose_labels


@pytest.fixture
def folder(tmp_path):
    """Five cases in the layout of PROMISE12, in three formats, and things that are no case."""
    for seed, extension in enumerate([".mhd", ".mhd", ".nrrd", ".nii.gz", ".mha"]):
        case = blob_case(seed)
        ml.save(case.image, tmp_path / f"Case{seed:02d}{extension}")
        ml.save(case.mask, tmp_path / f"Case{seed:02d}_segmentation{extension}")
    (tmp_path / "._Case00.mhd").write_bytes(b"what a Mac leaves behind")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "more").mkdir()
    return tmp_path


def test_a_folder_becomes_cases_in_order(folder):
    cases = ml.cases(folder)
    assert cases.ids == ("Case00", "Case01", "Case02", "Case03", "Case04")
    for seed, case in enumerate(cases):
        np.testing.assert_array_equal(case.image.array, blob_case(seed).image.array)
        np.testing.assert_array_equal(case.mask.array, blob_case(seed).mask.array)
    assert cases.suffixes["Case03"] == ".nii.gz"
    assert cases[-1].id == "Case04"
    assert cases[1:3].ids == ("Case01", "Case02")
    assert cases.select(["Case03", "Case00"]).ids == ("Case00", "Case03")
    assert cases.without(["Case03"]).ids == ("Case00", "Case01", "Case02", "Case04")
    with pytest.raises(KeyError, match="Case99"):
        cases.select(["Case99"])


def test_nothing_is_read_before_it_is_asked_for(folder):
    (folder / "Case02.nrrd").write_bytes(b"broken")
    cases = ml.cases(folder)
    assert cases[1].id == "Case01"
    with pytest.raises(ml.FileFormatError, match=r"Case02\.nrrd"):
        cases[2]


def test_every_bad_case_is_named_with_its_reason(folder):
    (folder / "Case00_segmentation.mhd").unlink()
    raw = folder / "Case01.raw"
    raw.write_bytes(raw.read_bytes()[:-100])
    mask = ml.load(folder / "Case02_segmentation.nrrd")
    ml.save(replace(mask, spacing=(3, 1, 1.2)), folder / "Case02_segmentation.nrrd")
    mask = ml.load(folder / "Case03_segmentation.nii.gz")
    ml.save(mask.map(np.zeros_like), folder / "Case03_segmentation.nii.gz")
    with pytest.raises(ml.BadCasesError) as error:
        ml.cases(folder).check()
    problems = error.value.problems
    assert list(problems) == ["Case00", "Case01", "Case02", "Case03"]
    assert "no mask (Case00_segmentation.mhd)" in problems["Case00"]
    assert "Case01.raw" in problems["Case01"]
    assert "same grid" in problems["Case02"]
    assert "holds no label" in problems["Case03"]
    assert all(case in str(error.value) for case in problems)
    good = ml.cases(folder).check(skip_bad=True)
    assert good.ids == ("Case04",)
    assert good.labels == {"foreground": [1]}


def test_skipping_every_case_is_an_error(folder):
    for path in folder.glob("*_segmentation.*"):
        path.unlink()
    with pytest.raises(ml.BadCasesError, match=r"5 case\(s\)"):
        ml.cases(folder).check(skip_bad=True)
    assert [case.mask for case in ml.cases(folder)] == [None] * 5  # fine for prediction


def test_labels_are_chosen_and_merged(tmp_path):
    case = blob_case(0)
    values = case.mask.map(lambda m: m * (1 + np.indices(m.shape)[2] % 3))  # 1, 2, 3 in turn
    ml.save(case.image, tmp_path / "a.mha")
    ml.save(values, tmp_path / "a_segmentation.mha")
    everything = ml.cases(tmp_path).check()
    assert everything.labels == {"label1": [1], "label2": [2], "label3": [3]}
    np.testing.assert_array_equal(everything[0].mask.array, values.array)
    gland = ml.cases(tmp_path, labels={"gland": [1, 3]}).check()
    np.testing.assert_array_equal(gland[0].mask.array, np.isin(values.array, (1, 3)))
    two = ml.cases(tmp_path, labels={"b": [3], "a": [1]}).check()[0].mask.array
    np.testing.assert_array_equal(two, (values.array == 3) + 2 * (values.array == 1))
    with pytest.raises(ml.BadCasesError, match=r"tumor = 7"):
        ml.cases(tmp_path, labels={"tumor": [7]}).check()


def test_masks_with_one_value_other_than_one_are_a_label_too(tmp_path):
    case = blob_case(0)
    ml.save(case.image, tmp_path / "a.mha")
    ml.save(case.mask.map(np.multiply, 255), tmp_path / "a_segmentation.mha")
    checked = ml.cases(tmp_path).check()
    assert checked.labels == {"label255": [255]}
    assert set(np.unique(checked[0].mask.array)) == {0, 1}


def test_choose_labels():
    mask = np.array([0, 1, 2, 3, 300], np.uint16)
    assert choose_labels(mask, {"a": [300, 1], "b": [2]}).tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("labels", [{}, {"a": []}, {"a": [0]}, {"a": [1], "b": [1]}, {"a": [1.5]}])
def test_labels_that_make_no_sense(labels, tmp_path):
    with pytest.raises(ValueError, match="labels must map"):
        ml.cases(tmp_path, labels=labels)


def test_folders_that_hold_no_cases(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        ml.cases(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no image"):
        ml.cases(tmp_path)
    ml.save(blob_case(0).image, tmp_path / "a.mha")
    ml.save(blob_case(0).image, tmp_path / "a.nrrd")
    with pytest.raises(ValueError, match=r"a\.mha and a\.nrrd"):
        ml.cases(tmp_path)


def test_the_phantom_is_a_data_set():
    cases = ml.cases("phantom:2")
    assert cases.ids == ("phantom-0000", "phantom-0001")
    assert len(ml.cases("phantom")) == 40
    assert cases.labels == {"gland": [1]}
    np.testing.assert_array_equal(cases[1].image.array, ml.phantom.prostate(1).image.array)
    with pytest.raises(ValueError, match="at least one"):
        ml.cases("phantom:0")


def test_real_cases(real_data):
    cases = ml.cases(real_data / "promise12").check()
    assert len(cases) == 35
    assert cases.labels == {"foreground": [1]}
    assert cases[7].image.shape == cases[7].mask.shape == (32, 128, 128)
