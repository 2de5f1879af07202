import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from blobs import blob_case

import medlearn as ml
from medlearn.datasets.layouts import choose_labels
from medlearn.volume import Volume


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


def test_an_image_with_nan_is_a_bad_case(folder):
    image = ml.load(folder / "Case04.mha")
    spoilt = image.map(lambda array: np.where(np.indices(array.shape).sum(0) == 9, np.nan, array.astype(np.float32)))
    ml.save(spoilt, folder / "Case04.mha")
    assert ml.cases(folder).problems() == {"Case04": "its image holds values that are not finite (NaN)"}
    assert ml.cases(folder).check(skip_bad=True).ids == ("Case00", "Case01", "Case02", "Case03")


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


def test_names_that_all_end_in_0000(tmp_path):
    for name in ("a", "b_0001"):
        ml.save(blob_case(0).image, tmp_path / f"{name}_0000.nii.gz")
    assert ml.cases(tmp_path).ids == ("a", "b_0001")
    ml.save(blob_case(0).mask, tmp_path / "a_segmentation.nii.gz")
    assert ml.cases(tmp_path)[0].mask is not None
    ml.save(blob_case(0).image, tmp_path / "c_0001.nii.gz")
    assert ml.cases(tmp_path).ids == ("a_0000", "b_0001_0000", "c_0001")


# dataset.json ---------------------------------------------------------------------------------------------------------


def save_channels(channels, path):
    """Several volumes as one 4-D NIfTI, as the Decathlon has them."""
    ml.save(replace(channels[0], array=np.stack([c.array for c in channels]), axes="tzyx"), path)


def write_json(folder, **about):
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")


@pytest.fixture
def decathlon(tmp_path):
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (tmp_path / name).mkdir()
    for seed in range(3):
        case = blob_case(seed)
        adc = case.image.map(np.negative)
        save_channels([case.image, adc], tmp_path / "imagesTr" / f"prostate_{seed:02d}.nii.gz")
        ml.save(case.mask.map(np.multiply, 2), tmp_path / "labelsTr" / f"prostate_{seed:02d}.nii.gz")
    (tmp_path / "imagesTr" / "._prostate_00.nii.gz").write_bytes(b"what a Mac leaves behind")
    (tmp_path / "labelsTr" / "._prostate_00.nii.gz").write_bytes(b"what a Mac leaves behind")
    pairs = [{"image": "./imagesTr/prostate_00.nii.gz", "label": "../../etc/passwd"}]  # the folders count, not the list
    labels = {"0": "background", "1": "PZ", "2": "TZ"}
    write_json(tmp_path, modality={"0": "T2", "1": "ADC"}, labels=labels, training=pairs)
    return tmp_path


def test_decathlon(decathlon):
    with pytest.warns(UserWarning, match=r"0 = T2, 1 = ADC\); only T2 is used") as warned:
        cases = ml.cases(decathlon)
    assert warned[0].filename == __file__
    assert cases.ids == ("prostate_00", "prostate_01", "prostate_02")
    assert cases.labels == {"PZ": [1], "TZ": [2]}
    case, wanted = cases[1], blob_case(1)
    assert case.image.axes == "zyx"
    assert case.image.meta["channel"] == "T2"
    np.testing.assert_array_equal(case.image.array, wanted.image.array)
    np.testing.assert_array_equal(case.mask.array, 2 * wanted.mask.array)
    for channel in (1, "ADC"):
        np.testing.assert_array_equal(ml.cases(decathlon, channel=channel)[1].image.array, -wanted.image.array)
    gland = ml.cases(decathlon, channel=0, labels={"gland": [1, 2]}).check()
    np.testing.assert_array_equal(gland[1].mask.array, wanted.mask.array)
    for channel in (2, -1, "DWI", 1.0):
        with pytest.raises(ValueError, match="no channel"):
            ml.cases(decathlon, channel=channel)


def test_decathlon_with_numbers_of_four_digits_is_not_nnunet(tmp_path):
    for name, volume in (("imagesTr", blob_case(0).image), ("labelsTr", blob_case(0).mask)):
        (tmp_path / name).mkdir()
        ml.save(volume, tmp_path / name / "case_0007.nii.gz")
    write_json(tmp_path, labels={"0": "background", "1": "gland"})
    assert ml.cases(tmp_path).check().ids == ("case_0007",)


def test_decathlon_whose_json_and_images_disagree(decathlon):
    ml.save(blob_case(0).image, decathlon / "imagesTr" / "prostate_00.nii.gz")
    (decathlon / "labelsTr" / "prostate_01.nii.gz").unlink()
    problems = ml.cases(decathlon, channel="ADC").problems()
    assert "has 1 channel(s), but dataset.json lists 2" in problems["prostate_00"]
    assert problems["prostate_01"] == "it has no mask (labelsTr/prostate_01.nii.gz)"
    assert len(problems) == 2


@pytest.fixture(params=["new", "old"])
def nnunet(request, tmp_path):
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    for seed in range(2):
        case = blob_case(seed)
        ml.save(case.image, tmp_path / "imagesTr" / f"P_{seed:03d}_0000.nii.gz")
        ml.save(case.image.map(np.negative), tmp_path / "imagesTr" / f"P_{seed:03d}_0001.nii.gz")
        ml.save(case.mask, tmp_path / "labelsTr" / f"P_{seed:03d}.nii.gz")
    if request.param == "new":
        channels = {"0": "T2", "1": "ADC"}
        write_json(tmp_path, channel_names=channels, labels={"background": 0, "gland": 1}, file_ending=".nii.gz")
    else:
        write_json(tmp_path, modality={"0": "T2", "1": "ADC"}, labels={"0": "background", "1": "gland"})
    return tmp_path


def test_nnunet(nnunet):
    with pytest.warns(UserWarning, match="only T2 is used"):
        cases = ml.cases(nnunet)
    assert cases.ids == ("P_000", "P_001")
    assert cases.labels == {"gland": [1]}
    np.testing.assert_array_equal(cases[1].image.array, blob_case(1).image.array)
    np.testing.assert_array_equal(cases[1].mask.array, blob_case(1).mask.array)
    adc = ml.cases(nnunet, channel="ADC")
    np.testing.assert_array_equal(adc[1].image.array, -blob_case(1).image.array)
    (nnunet / "imagesTr" / "P_001_0001.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match="lacks P_001_0001"):
        ml.cases(nnunet, channel=1)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"background": 0, "whole": [1, 2], "core": 2}, "overlap"),
        ({"a": "b"}, "whole numbers"),
        ({"a": 1.5}, "whole numbers"),
        ({"a": -1}, "whole numbers"),
        ([1, 2], "whole numbers"),
    ],
)
def test_labels_of_a_json_that_cannot_be_used(nnunet, labels, reason):
    write_json(nnunet, channel_names={"0": "T2", "1": "ADC"}, labels=labels)
    with pytest.raises(ValueError, match=reason):
        ml.cases(nnunet, channel=0)
    assert ml.cases(nnunet, channel=0, labels={"gland": [1]}).check().labels == {"gland": [1]}


def test_regions_and_the_label_to_ignore(nnunet):
    write_json(nnunet, channel_names={"0": "T2", "1": "ADC"}, labels={"background": 0, "both": [1, 2], "ignore": 3})
    with pytest.warns(UserWarning, match="ignore"):
        assert ml.cases(nnunet, channel=0).labels == {"both": [1, 2]}


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\0"])
def test_a_dataset_json_that_is_none(decathlon, text):
    (decathlon / "dataset.json").write_text(text)
    with pytest.raises(ml.FileFormatError, match=r"dataset\.json"):
        ml.cases(decathlon)


def test_channel_is_refused_where_it_means_nothing(folder):
    with pytest.raises(ValueError, match=r"channel is for data sets with a dataset\.json"):
        ml.cases(folder, channel=1)


# images/ and masks/ ---------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(2):
        colors = rng.integers(0, 256, (8, 9, 3 + number), np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(colors, isVector=True), tmp_path / "images" / f"{number}.png")
        mask = 255 * (rng.random((8, 9)) > 0.5).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(mask), tmp_path / "masks" / f"{number}.png")
    return tmp_path


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(path))


def test_pictures_become_gray_and_white_becomes_a_label(pictures):
    cases = ml.cases(pictures).check()
    assert cases.ids == ("0", "1")
    assert cases.labels == {"foreground": [1]}
    for case in cases:
        colors = read(pictures / "images" / f"{case.id}.png")[..., :3].astype(float)
        gray = 0.299 * colors[..., 0] + 0.587 * colors[..., 1] + 0.114 * colors[..., 2]
        assert case.image.axes == "yx"
        assert case.image.array.dtype == np.uint8
        assert np.abs(case.image.array - gray).max() <= 0.5 + 1e-9
        np.testing.assert_array_equal(case.mask.array, read(pictures / "masks" / f"{case.id}.png") == 255)
    white = ml.cases(pictures, labels={"cell": [255]})[0]
    np.testing.assert_array_equal(white.mask.array, cases[0].mask.array)


def test_masks_of_gray_values_and_of_colors(pictures):
    labels = np.arange(72, dtype=np.uint8).reshape(8, 9)
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([labels] * 3, -1), isVector=True), pictures / "masks" / "0.png")
    np.testing.assert_array_equal(ml.cases(pictures)[0].mask.array, labels)
    colors = np.stack([labels, labels, labels + 1], -1)
    sitk.WriteImage(sitk.GetImageFromArray(colors, isVector=True), pictures / "masks" / "0.png")
    (pictures / "masks" / "1.png").unlink()
    sitk.WriteImage(sitk.GetImageFromArray(labels), pictures / "masks" / "1.jpg")
    problems = ml.cases(pictures).problems()
    assert "marks labels by colors" in problems["0"]
    assert "JPEG" in problems["1"]
    (pictures / "masks" / "1.jpg").unlink()
    assert ml.cases(pictures).problems()["1"] == "it has no mask (masks/1.*)"


def test_volumes_in_images_and_masks(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    case = blob_case(0)
    ml.save(case.image, tmp_path / "images" / "a.nii.gz")
    ml.save(case.mask, tmp_path / "masks" / "a.mha")
    assert ml.cases(tmp_path).check()[0].image.shape == case.image.shape
    (tmp_path / "masks" / "a.mha").rename(tmp_path / "masks" / "b.mha")
    with pytest.raises(ValueError, match="there is a, but b"):
        ml.cases(tmp_path)


def test_gray_of_sixteen_bits_and_of_floats(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    colors = np.array([[[65535, 0, 0], [0, 65535, 0], [65535, 65535, 65535]]])
    for dtype, name in ((np.uint16, "a"), (np.float32, "b")):
        volume = Volume(array=colors.astype(dtype), spacing=(1, 1), axes="yxc")
        ml.save(volume, tmp_path / "images" / f"{name}.nrrd")
        ml.save(Volume(array=np.ones((1, 3), np.uint8), spacing=(1, 1), axes="yx"), tmp_path / "masks" / f"{name}.nrrd")
    whole, real = (case.image.array for case in ml.cases(tmp_path))
    assert whole.tolist() == [[19595, 38469, 65535]]
    np.testing.assert_allclose(real, [[0.299 * 65535, 0.587 * 65535, 65535]], rtol=1e-6)


def test_real_pictures(real_data, tmp_path):
    for kind, name in (("image", "images"), ("labels", "masks")):
        (tmp_path / name).mkdir()
        for path in (real_data / "nuclei").glob(f"*_{kind}.png"):
            (tmp_path / name / f"{path.name[:2]}.png").symlink_to(path)
    cases = ml.cases(tmp_path)
    assert len(cases) == 25
    assert cases.problems() == {}
    assert {case.image.axes for case in cases} == {"yx"}
    assert all(case.mask.array.max() > 1 for case in cases)  # every nucleus has its own number
