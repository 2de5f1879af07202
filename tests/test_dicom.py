"""DICOM: real studies, what cannot be one volume, encodings, hostile files, writing, de-identification."""

import hashlib
import json
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation

from medlearn.errors import FileFormatError, GridMismatchError, LossyFormatError
from medlearn.io import _dicom_header, describe, dicom, load, save
from medlearn.io.dicom import NotOneVolumeError
from medlearn.volume import Case, Volume

MR, CT, US, ENHANCED_MR = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("4", "2", "3.1", "4.1"))
SYNTAX = {"implicit": "1.2.840.10008.1.2", "explicit": "1.2.840.10008.1.2.1", "big": "1.2.840.10008.1.2.2"}
OBLIQUE = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()


def shipped(name):
    """A file that comes with pydicom itself; nothing is downloaded."""
    path = get_testdata_file(name, download=False)
    assert path, f"this pydicom does not ship {name}"
    return path


def slice_dataset(pixels, *, z=0.0, number=1, series="2.25.77", direction=None, **elements):
    """One MR slice at height z mm along the normal."""
    direction = np.eye(3) if direction is None else direction
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = MR, generate_uid(prefix=None), series
    ds.Modality, ds.SeriesDescription, ds.InstanceNumber = "MR", "made by a test", number
    ds.ImagePositionPatient = [float(f"{v:.9g}") for v in np.array([10.0, 20, 30]) + z * direction[:, 2]]
    ds.ImageOrientationPatient = [float(f"{v:.9g}") for v in direction[:, :2].T.ravel()]
    ds.PixelSpacing, ds.SliceThickness = [0.5, 0.25], 9.0  # the thickness is not the distance
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    ds._pixels = pixels
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def write(ds, path, syntax="explicit", **options):
    order = ">" if syntax == "big" else "<"
    pixels = ds.__dict__.pop("_pixels")
    data = np.ascontiguousarray(pixels.astype(order + pixels.dtype.str[1:])).tobytes()
    ds.add_new(0x7FE00010, "OW" if pixels.dtype.itemsize > 1 else "OB", data + b"\0" * (len(data) % 2))
    ds.file_meta.TransferSyntaxUID = SYNTAX[syntax]
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True, **options)
    return path


def pixels_of(k, dtype=np.uint16, shape=(4, 6)):
    return (np.arange(np.prod(shape)).reshape(shape) + 100 * k).astype(dtype)


def write_series(folder, heights, **elements):
    """A series with a slice at each height, in files whose names say nothing about the order."""
    names = np.random.default_rng(0).permutation(len(heights))
    for k, z in enumerate(heights):
        own = {word: value[k] if isinstance(value, list) else value for word, value in elements.items()}
        write(slice_dataset(pixels_of(k), z=z, number=k + 1, **own), folder / f"file{names[k]:03d}")
    return folder


def refused(path, *words, error=NotOneVolumeError):
    with pytest.raises(error) as caught:
        load(path)
    for word in (str(path), *words):
        assert word in str(caught.value)
    return caught.value


def problems(path):
    (row,) = dicom.list_series(path).itertuples()
    return row.problems


# The real study -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(real_data):
    return real_data / "prostatex-0000"


@pytest.fixture(scope="module")
def t2(study):
    return load(study / "t2_transverse")


@pytest.mark.parametrize("name", ["t2_transverse", "t2_sagittal", "adc"])
def test_real_series_equal_those_of_itk(study, name):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(study / name)))
    theirs, ours = reader.Execute(), load(study / name)
    assert ours.axes == "zyx"
    np.testing.assert_array_equal(ours.array, sitk.GetArrayFromImage(theirs))
    np.testing.assert_allclose(ours.spacing[::-1], theirs.GetSpacing(), rtol=1e-7)
    np.testing.assert_allclose(ours.origin, theirs.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(ours.direction.ravel(), theirs.GetDirection(), atol=1e-6)


def test_real_series_is_oblique_and_described(study, t2):
    assert t2.shape == (19, 384, 384)
    np.testing.assert_allclose(t2.spacing, (3, 0.5, 0.5), rtol=1e-6)
    assert abs(t2.direction[1, 1]) < 0.95
    found = describe(study / "t2_transverse")
    assert (found.format, found.compressed, found.dtype) == ("DICOM", False, t2.array.dtype)
    assert (found.shape, found.axes, found.spacing, found.origin) == (t2.shape, t2.axes, t2.spacing, t2.origin)
    assert found.file_size == sum(f.stat().st_size for f in (study / "t2_transverse").iterdir())
    assert t2.meta["echo_time_ms"] == 104
    assert "ProstateX-0000" not in str(dict(t2.meta)) + str(found.header)


def test_real_masks_lie_on_the_grid(study, t2):
    with pytest.warns(UserWarning, match="differ by"):
        Case("0000", t2, load(study / "whole_gland_on_t2_transverse.nii.gz"))
    zones = load(study / "zones_on_t2_transverse.nii.gz")
    assert set(np.unique(Case("0000", t2, zones).mask.array)) == {0, 1, 2}
    shifted = Volume(
        array=zones.array, spacing=zones.spacing, origin=zones.to_world((0, 0, 1)), direction=zones.direction
    )
    with pytest.raises(GridMismatchError):
        Case("0000", t2, shifted)


def test_real_b_values_are_explained_and_split(study):
    folder = study / "dwi_3_b_values"
    refused(folder, "3 b-values (50, 400, 800 s/mm²)", "57 images at 19 positions", 'by="b_value"')
    parts = dicom.split(folder)
    assert list(parts) == [50, 400, 800]
    adc = load(study / "adc")
    for b, part in parts.items():
        assert part.shape == (19, 128, 84)
        assert part.meta["b_value"] == b
        part.check_same_grid(adc)
    means = [part.array.mean() for part in parts.values()]
    assert means[0] > means[1] > means[2]  # diffusion weakens the signal
    assert "b_value" not in adc.meta
    together = dicom.stack(parts)
    assert (together.axes, together.shape, together.meta["t"]) == ("tzyx", (3, 19, 128, 84), (50, 400, 800))


def test_b_values_are_found_in_the_name_of_the_sequence_alone(study, tmp_path):
    for k, file in enumerate(sorted((study / "dwi_3_b_values").iterdir())):
        ds = dcmread(file)
        ds.remove_private_tags()
        ds.save_as(tmp_path / f"{k}.dcm")
    assert list(dicom.split(tmp_path)) == [50, 400, 800]


def test_real_study_is_listed_and_must_be_chosen_from(study):
    table = dicom.list_series(study)
    assert list(table) == ["uid", "modality", "description", "n_slices", "shape", "spacing", "problems"]
    rows = table.set_index("description")
    assert rows.loc["t2_tse_tra", "shape"] == (19, 384, 384)
    assert rows.loc["t2_tse_tra", "spacing"] == (3.0, 0.5, 0.5)
    assert rows["n_slices"].sum() == 4 * 19 + 2 * 19
    assert (rows["problems"] != "").sum() == 1
    assert "b-values" in rows.loc["ep2d_diff_tra_DYNDIST", "problems"]
    refused(study, "4 series", "series_uid", *table["uid"], "t2_tse_sag", error=FileFormatError)
    uid = rows.loc["t2_tse_sag", "uid"]
    assert load(study, series_uid=uid).meta["series_description"] == "t2_tse_sag"
    assert describe(study, series_uid=uid).shape == (19, 320, 320)
    with pytest.raises(ValueError, match="series_uid must be one of"):
        load(study, series_uid="1.2.3")


def test_nine_encodings_hold_the_same_pixels(real_data):
    expected = json.loads((real_data / "formats" / "expected.json").read_text())
    files = sorted((real_data / "formats" / "dicom_one_slice_many_syntaxes").iterdir())
    assert len(files) == 9
    for file in files:
        facts, volume = expected[f"dicom_one_slice_many_syntaxes/{file.name}"], load(file)
        assert volume.array.dtype == facts["dtype"] == "uint16"
        assert hashlib.sha256(volume.array.tobytes()).hexdigest() == facts["sha256"]
        assert volume.spacing[-2:] == tuple(facts["pixel_spacing_row_col_mm"])


# Sorting and refusing -------------------------------------------------------------------------------------------------


def test_slices_are_sorted_by_position_and_not_by_number_or_name(tmp_path):
    heights = [6.0, 0.0, 3.0, 9.0]
    volume = load(write_series(tmp_path, heights, direction=OBLIQUE))
    np.testing.assert_array_equal(volume.array, [pixels_of(k) for k in np.argsort(heights)])
    np.testing.assert_allclose(volume.spacing, (3, 0.5, 0.25), rtol=1e-6)
    np.testing.assert_allclose(volume.direction, OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(volume.to_world((3, 0, 0)), [10, 20, 30] + 9 * OBLIQUE[:, 2], atol=1e-6)
    assert (volume.axes, volume.array.dtype) == ("zyx", np.uint16)


@pytest.mark.parametrize(
    ("heights", "words"),
    [
        ([0, 3, 6, 12, 15], "1 missing slice (6 mm between"),
        ([0, 3, 6, 15, 18, 24], "3 missing slices"),
        ([0, 3, 6, 9.5, 12], "uneven spacing: 2.5 to 3.5 mm"),
        ([0, 1, 3, 6, 10], "uneven spacing"),
    ],
)
def test_gaps_are_refused(tmp_path, heights, words):
    write_series(tmp_path, heights)
    refused(tmp_path, words)
    assert words in problems(tmp_path)


def test_small_rounding_of_positions_is_no_gap(tmp_path):
    volume = load(write_series(tmp_path, [0, 3.01, 5.99, 9]))
    assert volume.spacing[0] == pytest.approx(3)


def test_duplicated_positions_are_refused(tmp_path):
    write_series(tmp_path, [0, 3, 3, 6])
    refused(tmp_path, "duplicated positions", "4 images at 3 positions", "file")


def test_the_same_image_twice_is_named(tmp_path):
    write_series(tmp_path, [0, 3, 6])
    (tmp_path / "copy").write_bytes((tmp_path / "file000").read_bytes())
    refused(tmp_path, "the same image twice", "copy", "file000")


def test_two_orientations_are_split(tmp_path):
    turned = [np.eye(3)] * 2 + [np.eye(3)[:, [1, 2, 0]]] * 3
    write_series(tmp_path, [0, 3, 0, 3, 6], direction=turned)
    assert refused(tmp_path, "2 orientations", 'by="orientation"').by == "orientation"
    assert sorted(v.shape[0] for v in dicom.split(tmp_path, by="orientation").values()) == [2, 3]


def test_two_sizes_are_refused(tmp_path):
    write_series(tmp_path, [0, 3])
    write(slice_dataset(pixels_of(0, shape=(5, 6)), z=6), tmp_path / "larger")
    refused(tmp_path, "2 different image sizes (4×6×1, 5×6×1)")


@pytest.mark.parametrize(
    ("by", "elements", "keys"),
    [
        ("time", {"TemporalPositionIdentifier": [1, 1, 1, 2, 2, 2]}, [1, 2]),
        ("time", {"TriggerTime": [0, 0, 0, 12.5, 12.5, 12.5]}, [0, 12.5]),
        ("time", {"AcquisitionTime": ["101010", "101011", "101012", "101013", "101014", "101015"]}, [0, 1]),
        ("echo_time", {"EchoTime": [2.5, 2.5, 2.5, 5, 5, 5]}, [2.5, 5]),
        ("acquisition", {"AcquisitionNumber": [1, 1, 1, 2, 2, 2]}, [1, 2]),
        ("b_value", {"DiffusionBValue": [0.0, 0.0, 0.0, 1000.0, 1000.0, 1000.0]}, [0, 1000]),
        ("b_value", {"SequenceName": ["ep_b0"] * 3 + ["ep_b1000#1"] * 3}, [0, 1000]),
    ],
)
def test_what_shares_a_place_is_explained_and_split(tmp_path, by, elements, keys):
    write_series(tmp_path, [0, 3, 6] * 2, **elements)
    assert refused(tmp_path, f'by="{by}"', "6 images at 3 positions").by == by
    parts = dicom.split(tmp_path, by=by)
    assert list(parts) == keys
    for k, volume in enumerate(parts.values()):
        np.testing.assert_array_equal(volume.array, [pixels_of(3 * k + i) for i in range(3)])
    assert dicom.stack(parts).axes == "tzyx"


@pytest.mark.parametrize(
    ("creator", "tag", "vr", "values"),
    [
        ("GEMS_PARM_01", 0x00431039, "IS", [[1000000050, 8, 0, 0], [1000000800, 8, 0, 0]]),
        ("Philips Imaging DD 001", 0x20011003, "FL", [50.0, 800.0]),
        ("SIEMENS MR HEADER", 0x0019100C, "IS", ["50", "800"]),
    ],
)
@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_b_values_in_private_elements(tmp_path, creator, tag, vr, values, syntax):
    for k in range(4):
        ds = slice_dataset(pixels_of(k), z=3 * (k % 2))
        ds.add_new(tag & 0xFFFF0000 | 0x10, "LO", creator)
        ds.add_new(tag, vr, values[k // 2])
        write(ds, tmp_path / f"{k}", syntax)
    assert list(dicom.split(tmp_path)) == [50, 800]


def test_splitting_by_the_wrong_thing_says_what_is_right(tmp_path):
    write_series(tmp_path, [0, 3] * 4, EchoTime=[1, 1, 1, 1, 2, 2, 2, 2], TriggerTime=[0, 0, 5, 5] * 2)
    with pytest.raises(NotOneVolumeError, match=r"even with echo_time 1, .* Split by 'time' instead"):
        dicom.split(tmp_path, by="echo_time")
    with pytest.raises(ValueError, match="by must be one of"):
        dicom.split(tmp_path, by="color")


def test_sheared_stacks_are_refused(tmp_path):
    for k in range(3):
        ds = slice_dataset(pixels_of(k), z=3 * k)
        ds.ImagePositionPatient = [10, 20 + k, 30 + 3 * k]
        write(ds, tmp_path / f"{k}.dcm")
    refused(tmp_path, "shifted sideways by up to 2 mm", "gantry")


def test_a_single_slice_stays_a_volume(tmp_path):
    volume = load(write(slice_dataset(pixels_of(0)), tmp_path / "one"))
    assert (volume.axes, volume.shape, volume.spacing) == ("zyx", (1, 4, 6), (9, 0.5, 0.25))


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [(1, -1024, np.int32), (2, 0, np.uint32), (0.5, 10, np.float32), (1, 0, np.uint16)],
)
def test_rescaling(tmp_path, slope, intercept, dtype):
    pixels = np.array([[0, 1], [4095, 65535]], np.uint16)
    path = write(slice_dataset(pixels, RescaleSlope=slope, RescaleIntercept=intercept), tmp_path / "a.dcm")
    assert describe(path).dtype == load(path).array.dtype == dtype
    np.testing.assert_array_equal(load(path).array[0], pixels.astype(float) * slope + intercept)


def test_twelve_bits_of_ct_fit_into_int16(tmp_path):
    pixels = np.array([[0, 4095]], np.uint16)
    path = write(
        slice_dataset(pixels, RescaleSlope=1, RescaleIntercept=-1024, BitsStored=12, HighBit=11), tmp_path / "a"
    )
    assert load(path).array.tolist() == [[[-1024, 3071]]]
    assert load(path).array.dtype == np.int16


def test_each_slice_has_its_own_rescaling(tmp_path):
    write_series(tmp_path, [0, 3], RescaleSlope=[1.5, 2.5], RescaleIntercept=0)
    np.testing.assert_array_equal(load(tmp_path).array, [pixels_of(0) * 1.5, pixels_of(1) * 2.5])


@pytest.mark.parametrize("syntax", SYNTAX)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_types_and_byte_orders(tmp_path, syntax, dtype):
    pixels = (np.arange(24).reshape(4, 6) * 9 - (100 if np.dtype(dtype).kind == "i" else 0)).astype(dtype)
    path = write(slice_dataset(pixels), tmp_path / "a.dcm", syntax)
    assert load(path).array.dtype == dtype
    np.testing.assert_array_equal(load(path).array[0], pixels)


def test_bits_that_are_not_in_use_do_not_count(tmp_path):
    unsigned = slice_dataset(np.array([[0xF123, 0x0FFF]], np.uint16), BitsStored=12, HighBit=11)
    assert load(write(unsigned, tmp_path / "u")).array.tolist() == [[[0x123, 0xFFF]]]
    signed = slice_dataset(np.array([[0x0FFF, 0x0001]], np.int16), BitsStored=12, HighBit=11)
    assert load(write(signed, tmp_path / "s")).array.tolist() == [[[-1, 1]]]


# Many frames, colors, clips -------------------------------------------------------------------------------------------


def enhanced(n=4, spacing=2.5, **per_frame):
    """An enhanced MR object whose frames lie in reverse order."""
    pixels = np.stack([pixels_of(k) for k in range(n)])
    ds = slice_dataset(pixels[0], SOPClassUID=ENHANCED_MR, NumberOfFrames=n)
    for word in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del ds[word]

    def group(sequence, **elements):
        inner, outer = Dataset(), Dataset()
        for word, value in elements.items():
            setattr(inner, word, value)
        setattr(outer, sequence, [inner])
        return outer

    shared = group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.update(group("PixelMeasuresSequence", PixelSpacing=[0.5, 0.25], SliceThickness=1))
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = []
    places = per_frame.get("places", range(n))
    for k, place in enumerate(places):
        own = group("PlanePositionSequence", ImagePositionPatient=[10, 20, 30 - spacing * place])
        own.update(group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=k))
        if "b_values" in per_frame:
            own.update(group("MRDiffusionSequence", DiffusionBValue=float(per_frame["b_values"][k])))
        ds.PerFrameFunctionalGroupsSequence.append(own)
    ds._pixels = pixels
    return ds


def test_enhanced_objects_are_sorted_and_rescaled_by_frame(tmp_path):
    volume = load(write(enhanced(), tmp_path / "enhanced"))
    np.testing.assert_array_equal(volume.array, [2 * pixels_of(k) + k for k in (3, 2, 1, 0)])
    assert (volume.axes, volume.spacing, volume.origin) == ("zyx", (2.5, 0.5, 0.25), (10, 20, 22.5))


def test_enhanced_objects_with_two_b_values(tmp_path):
    path = write(enhanced(places=[0, 1, 0, 1], b_values=[0, 0, 500, 500]), tmp_path / "enhanced.dcm")
    refused(path, "2 b-values (0, 500 s/mm²)", "4 images at 2 positions")
    assert [v.array[0, 0, 0] for v in dicom.split(path).values()] == [2 * 100 + 1, 2 * 300 + 3]


def test_enhanced_object_that_lacks_the_description_of_a_frame(tmp_path):
    ds = enhanced()
    del ds.PerFrameFunctionalGroupsSequence[-1]
    refused(write(ds, tmp_path / "a.dcm"), "announces 4 frames, but describes 3", error=FileFormatError)


def test_rt_dose_is_a_volume_in_gray():
    volume, ds = load(shipped("rtdose.dcm")), dcmread(shipped("rtdose.dcm"))
    assert volume.axes == "zyx"
    assert volume.spacing[0] == pytest.approx(float(ds.GridFrameOffsetVector[1]) - float(ds.GridFrameOffsetVector[0]))
    np.testing.assert_allclose(volume.array, ds.pixel_array * float(ds.DoseGridScaling), rtol=1e-6)


def clip(shape, **elements):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ds = slice_dataset(pixels[0] if "NumberOfFrames" in elements else pixels, Modality="US", SOPClassUID=US, **elements)
    for word in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del ds[word]
    if shape[-1] == 3:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds._pixels = pixels
    return ds, pixels


@pytest.mark.parametrize(
    ("shape", "axes"), [((7, 8), "yx"), ((7, 8, 3), "yxc"), ((5, 7, 8), "tyx"), ((5, 7, 8, 3), "tyxc")]
)
def test_pictures_and_clips_have_explicit_axes(tmp_path, shape, axes):
    ds, pixels = clip(shape, **({"NumberOfFrames": 5, "FrameTime": 33.3} if axes[0] == "t" else {}))
    path = write(ds, tmp_path / "clip.dcm")
    volume = load(path)
    assert (volume.axes, describe(path).axes, describe(path).shape) == (axes, axes, shape)
    np.testing.assert_array_equal(volume.array, pixels)
    assert "1 mm is assumed" in volume.meta["spacing"]


def test_spacing_of_ultrasound_regions(tmp_path):
    ds, _ = clip((7, 8))
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03  # cm
    ds.SequenceOfUltrasoundRegions = [region]
    volume = load(write(ds, tmp_path / "us.dcm"))
    assert volume.spacing == pytest.approx((0.3, 0.2))
    assert "spacing" not in volume.meta


def test_color_slices_with_positions(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    ds = slice_dataset(pixels, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    volume = load(write(ds, tmp_path / "a.dcm"))
    assert volume.axes == "zyxc"
    np.testing.assert_array_equal(volume.array[0], pixels)


def test_pictures_in_one_series_are_loaded_one_by_one(tmp_path):
    for k in range(2):
        write(clip((7, 8))[0], tmp_path / f"{k}.dcm")
    refused(tmp_path, "2 pictures without positions", "one by one")
    assert load(tmp_path / "0.dcm").axes == "yx"


def test_frames_of_ct_without_positions_are_no_clip(tmp_path):
    ds, _ = clip((5, 7, 8), NumberOfFrames=5)
    ds.Modality = "CT"
    refused(write(ds, tmp_path / "a.dcm"), "5 frames whose positions the file does not give")


# pydicom's own files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    """MR_small MR_small_RLE MR_small_bigendian MR_small_implicit MR_small_jp2klossless MR_small_jpeg_ls_lossless
    MR_small_padded""".split(),  # noqa: SIM905
)
def test_one_slice_in_many_encodings(name):
    expected = dcmread(shipped("MR_small.dcm")).pixel_array
    volume = load(shipped(f"{name}.dcm"))
    np.testing.assert_array_equal(volume.array[0], expected)
    assert volume.array.dtype == expected.dtype


@pytest.mark.parametrize("name", ["CT_small.dcm", "image_dfl.dcm", "JPEG-lossy.dcm", "examples_jpeg2k.dcm"])
def test_agrees_with_itk(name):
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(shipped(name))
    theirs = sitk.GetArrayFromImage(reader.Execute())
    ours = load(shipped(name)).array
    np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"])
def test_colors_come_as_rgb(name):
    volume = load(shipped(name))
    assert (volume.axes, volume.shape, volume.array.dtype) == ("yxc", (100, 100, 3), np.uint8)
    np.testing.assert_allclose(volume.array[5, 50], (255, 0, 0), atol=3)  # the top of the picture is red


def test_usual_headers_are_read_as_pydicom_reads_them():
    """The quick way through a header and the thorough one agree on every file of pydicom's that the quick one takes."""
    taken = 0
    for path in sorted(Path(get_testdata_file("CT_small.dcm")).parent.rglob("*")):
        if not (path.is_file() and _dicom_header.is_dicom_file(path)):
            continue
        with path.open("rb") as file, _dicom_header.quiet_pydicom():
            quick = _dicom_header._read_usual(file.read(_dicom_header._HEAD))
            if quick is not None:
                taken += 1
                thorough = _dicom_header._read_with_pydicom(file)
                assert {k: repr(v) for k, v in quick[0].items()} == {k: repr(v) for k, v in thorough[0].items()}, path
                assert quick[1:] == thorough[1:], path
    assert taken >= 30


def test_near_lossless_jpeg_ls_in_color():
    np.testing.assert_allclose(load(shipped("SC_rgb_jls_lossy_line.dcm")).array[5, 50], (255, 0, 0), atol=12)


def test_palette_becomes_rgb():
    volume = load(shipped("examples_palette.dcm"))
    assert (volume.axes, volume.shape) == ("yxc", (350, 800, 3))
    assert describe(shipped("examples_palette.dcm")).dtype == volume.array.dtype


def test_clip_of_a_real_ultrasound():
    assert load(shipped("examples_ybr_color.dcm")).axes == "tyxc"


def test_objects_without_pixels_are_said_to_have_none():
    refused(shipped("rtplan.dcm"), "none with pixels", error=FileFormatError)


# Files that are not what they should be -------------------------------------------------------------------------------


def test_no_preamble(tmp_path):
    path = write(slice_dataset(pixels_of(0)), tmp_path / "a.dcm", "implicit")
    path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(load(path).array[0], pixels_of(0))
    np.testing.assert_array_equal(load(path.rename(tmp_path / "IM0001")).array[0], pixels_of(0))


@pytest.mark.parametrize("content", [b"", b"text, no image", b"\x89PNG" + bytes(500), bytes(4000)])
def test_what_is_no_dicom(tmp_path, content):
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    refused(path.parent, "folder that holds no DICOM", error=FileFormatError)
    with pytest.raises(FileFormatError, match=r"a\.dcm is no DICOM file"):
        load(path)


def test_other_files_in_a_folder_do_not_matter(tmp_path):
    write_series(tmp_path / "deep" / "er", [0, 3, 6])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "._1-01.dcm").write_bytes(b"\0\5\x16\7" + bytes(200))
    assert load(tmp_path).shape == (3, 4, 6)


@pytest.mark.parametrize("syntax", SYNTAX)
def test_truncated_at_every_place(tmp_path, syntax):
    whole = write(slice_dataset(pixels_of(0)), tmp_path / "whole", syntax).read_bytes()
    for n in range(0, len(whole) - 1, 7):
        path = tmp_path / "part.dcm"
        path.write_bytes(whole[:n])
        with pytest.raises(FileFormatError, match=r"part\.dcm"):
            load(path)


def test_truncated_file_of_a_series_is_named(tmp_path):
    write_series(tmp_path, [0, 3, 6])
    path = tmp_path / "file001"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FileFormatError, match=r"file001 is truncated: .* 48 bytes .* 38"):
        load(tmp_path)


@pytest.mark.parametrize(
    "name", ["MR_truncated.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"]
)
def test_truncated_pixels_of_every_kind(tmp_path, name):
    path = tmp_path / "cut.dcm"
    data = Path(shipped(name)).read_bytes()
    path.write_bytes(data if "truncated" in name else data[: len(data) * 3 // 4])
    with pytest.raises(FileFormatError, match=r"cut\.dcm"):
        load(path)


@pytest.mark.parametrize(
    "lie", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 2**31 - 1}, {"Rows": 5}, {"BitsAllocated": 13}]
)
def test_headers_that_promise_too_much(tmp_path, lie):
    ds = slice_dataset(pixels_of(0))
    for word, value in lie.items():
        setattr(ds, word, value)
    path = write(ds, tmp_path / "a.dcm")
    with pytest.raises(FileFormatError, match=r"a\.dcm"):
        load(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(dicom.list_series(path)) == 1


def test_deflated_bomb(tmp_path):
    whole = write(slice_dataset(pixels_of(0)), tmp_path / "a").read_bytes()
    start = 144 + struct.unpack_from("<I", whole, 140)[0]
    meta = whole[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    meta = meta[:140] + struct.pack("<I", len(meta) - 144) + meta[144:]
    at = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = meta[: at - 2] + struct.pack("<H", 22) + meta[at:]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    good = squeeze.compress(whole[start:]) + squeeze.flush()
    (tmp_path / "good.dcm").write_bytes(meta + good)
    np.testing.assert_array_equal(load(tmp_path / "good.dcm").array[0], pixels_of(0))
    (tmp_path / "cut.dcm").write_bytes(meta + good[:-9])
    with pytest.raises(FileFormatError, match="truncated"):
        load(tmp_path / "cut.dcm")


def test_unreadable_file_is_a_problem_in_the_list(tmp_path):
    write_series(tmp_path, [0, 3, 6])
    (tmp_path / "broken").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    table = dicom.list_series(tmp_path)
    assert table["problems"].str.contains("broken").any()
    with pytest.raises(FileFormatError, match="broken"):
        load(tmp_path)


def test_missing_and_misplaced(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.dcm")
    with pytest.raises(FileNotFoundError):
        dicom.list_series(tmp_path / "nothing")
    picture = save(Volume(array=np.zeros((3, 4), np.uint8), spacing=(1, 1), axes="yx"), tmp_path / "a.png")
    with pytest.raises(ValueError, match="series_uid chooses"):
        load(picture, series_uid="1.2")


def test_importing_costs_nothing():
    code = "import sys, medlearn.io; print({'pydicom', 'pandas', 'SimpleITK', 'highdicom'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# Archives -------------------------------------------------------------------------------------------------------------


def zipped(path, folder, names=str):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, names(file.name))
        archive.writestr("readme.txt", "not an image")
    return path


def test_zip_archives(tmp_path):
    folder = write_series(tmp_path / "in", [0, 3, 6])
    volume = load(zipped(tmp_path / "series.zip", folder))
    np.testing.assert_array_equal(volume.array, load(folder).array)
    assert dicom.list_series(tmp_path / "series.zip").loc[0, "shape"] == (3, 4, 6)


def test_names_in_an_archive_decide_nothing(tmp_path):
    folder = write_series(tmp_path / "in", [0, 3, 6])
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    load(zipped(inside / "evil.zip", folder, lambda name: f"../../{name}"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "in"]
    assert [p.name for p in inside.iterdir()] == ["evil.zip"]


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_archives(tmp_path, damage):
    path = zipped(tmp_path / "series.zip", write_series(tmp_path / "in", [0, 3, 6]))
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    else:
        data[100:140] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=r"series\.zip"):
        load(path)


# Writing --------------------------------------------------------------------------------------------------------------


def volume_of(shape=(3, 4, 5), dtype=np.int16, axes="zyx", **options):
    array = (np.arange(np.prod(shape)).reshape(shape) % 200).astype(dtype)
    options.setdefault("direction", OBLIQUE)
    return Volume(array=array, spacing=(3.3, 0.7, 0.45), origin=(-12.25, 3.5, 700), axes=axes, **options)


@pytest.mark.parametrize("modality", ["MR", "CT", "OT"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_series_round_trip(tmp_path, modality, dtype):
    volume = volume_of(dtype=dtype, meta={"modality": modality, "series_description": "T2"})
    assert dicom.save_series(volume, tmp_path / "series") == tmp_path / "series"
    found = load(tmp_path / "series")
    np.testing.assert_array_equal(found.array, volume.array)
    assert (found.array.dtype, found.axes) == (volume.array.dtype, "zyx")
    assert found.grid_distance(volume) < 1e-6
    assert (found.meta["modality"], found.meta["series_description"]) == (modality, "T2")
    assert [p.name for p in tmp_path.iterdir()] == ["series"]
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(reader.Execute()), volume.array)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8])
def test_small_types_are_stored_in_16_bits(tmp_path, dtype):
    volume = volume_of(dtype=np.int8).map(lambda a: a.astype(dtype))
    found = load(save(volume, f"{tmp_path}/series/"))
    np.testing.assert_array_equal(found.array, volume.array)
    assert found.array.dtype == (np.int16 if dtype is np.int8 else np.uint16)


def test_time_points_round_trip(tmp_path):
    volume = volume_of((2, 3, 4, 5), axes="tzyx", meta={"modality": "MR"})
    dicom.save_series(volume, tmp_path / "series")
    refused(tmp_path / "series", "2 time points (1, 2)")
    found = dicom.stack(dicom.split(tmp_path / "series", by="time"))
    np.testing.assert_array_equal(found.array, volume.array)
    assert found.axes == "tzyx"


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (volume_of(dtype=np.float32), "whole numbers of up to 16 bits; got float32"),
        (volume_of(dtype=np.int32), "got int32"),
        (volume_of((3, 4, 5, 3), axes="zyxc"), "got zyxc"),
        (volume_of(direction=np.diag([1.0, 1, -1])), "against row × column"),
    ],
)
def test_what_dicom_would_lose_is_refused(tmp_path, volume, reason):
    with pytest.raises(LossyFormatError, match=reason):
        dicom.save_series(volume, tmp_path / "series")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "series").mkdir()
    dicom.save_series(volume_of(), tmp_path / "series")
    before = {p.name: p.read_bytes() for p in (tmp_path / "series").iterdir()}
    with pytest.raises(FileExistsError):
        dicom.save_series(volume_of(), tmp_path / "series")
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "series").iterdir()}
    with pytest.raises(FileNotFoundError):
        dicom.save_series(volume_of(), tmp_path / "no" / "series")
    with pytest.raises(FileFormatError, match="save_series"):
        save(volume_of(), tmp_path / "a.dcm")


def test_segmentation_round_trip(tmp_path):
    pytest.importorskip("highdicom")
    image = volume_of((5, 8, 9), meta={"modality": "MR"})
    dicom.save_series(image, tmp_path / "series")
    labels = np.zeros(image.shape, np.uint8)
    labels[1:4, 2:5, 3:7], labels[2, 5:7, 2:4] = 1, 2
    mask = Volume(array=labels, spacing=image.spacing, origin=image.origin, direction=image.direction)
    path = tmp_path / "seg.dcm"
    assert dicom.save_seg(mask, tmp_path / "series", path, label={1: "Prostate", 2: "Something odd"}) == path
    parts = dicom.split(path, by="segment")
    assert list(parts) == [1, 2]
    for number, part in parts.items():
        np.testing.assert_array_equal(part.array, labels == number)
        assert part.grid_distance(image) < 1e-4
    ds = dcmread(path)
    assert [s.SegmentLabel for s in ds.SegmentSequence] == ["Prostate", "Something odd"]
    assert ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "SCT"
    sources = {dcmread(p).SOPInstanceUID for p in (tmp_path / "series").iterdir()}
    assert {i.ReferencedSOPInstanceUID for i in ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence} == sources
    one = Volume(array=labels == 1, spacing=image.spacing, origin=image.origin, direction=image.direction)
    np.testing.assert_array_equal(
        load(dicom.save_seg(one, tmp_path / "series", path, label="Prostate")).array, one.array
    )
    with pytest.raises(ValueError, match="label must name"):
        dicom.save_seg(mask, tmp_path / "series", path, label="Prostate")
    moved = Volume(array=labels, spacing=image.spacing, direction=image.direction)
    with pytest.raises(GridMismatchError):
        dicom.save_seg(moved, tmp_path / "series", path, label="Prostate")


def test_segmentation_without_highdicom(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ImportError, match="needs highdicom"):
        dicom.save_seg(volume_of(), tmp_path, tmp_path / "seg.dcm", label="Prostate")


# De-identification ----------------------------------------------------------------------------------------------------

SECRETS = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-4711-X",
    "PatientBirthDate": "19610203",
    "OtherPatientIDs": "OTHER-ID-9",
    "AccessionNumber": "ACC-31415",
    "InstitutionName": "St. Elsewhere",
    "ReferringPhysicianName": "Strange^Stephen",
    "OperatorsName": "Oper^Ator",
    "StudyDate": "20190817",
    "AcquisitionDateTime": "20190817101112",
    "StudyDescription": "Jane's study",
    "SeriesDescription": "Doe T2",
    "PatientComments": "lives in Elm Street",
    "ImageComments": "neighbour of Oper",
    "DeviceSerialNumber": "SN-8888",
    "StationName": "STATION-77",
    "StudyID": "STUDY-55",
    "RequestAttributesSequence": None,
}


@pytest.fixture
def patient(tmp_path):
    """Two series of one study, full of identifiers, in files with the patient's name."""
    folder, study, frame = tmp_path / "Doe_Jane", generate_uid(prefix=None), generate_uid(prefix=None)
    first = None
    for series in range(2):
        uid = generate_uid(prefix=None)
        for k in range(3):
            ds = slice_dataset(pixels_of(k), z=3 * k, series=uid, StudyInstanceUID=study, FrameOfReferenceUID=frame)
            for word, value in SECRETS.items():
                if value:
                    setattr(ds, word, value)
            item, nested = Dataset(), Dataset()
            item.ScheduledProcedureStepDescription, item.RequestedProcedureID = "nested Doe", "REQ-9"
            nested.ReferencedSOPClassUID, nested.ReferencedSOPInstanceUID = MR, first or ds.SOPInstanceUID
            first = first or ds.SOPInstanceUID
            ds.RequestAttributesSequence, ds.ReferencedImageSequence = [item], [nested]
            ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "800")
            ds.private_block(0x0019, "SIEMENS MR HEADER").add_new(0x10, "LO", "PRIVATE-DOE")
            ds.file_meta.SourceApplicationEntityTitle = "AE-OF-DOE"
            ds.preamble = b"PREAMBLE-DOE".ljust(128, b"\0")
            write(ds, folder / f"series{series}" / f"Doe_Jane_{k}.dcm")
    return folder


def hidden_in(folder, words):
    data = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    names = " ".join(str(p.relative_to(folder)) for p in folder.rglob("*"))
    return [word for word in words if word.encode() in data or word in names]


def original_words(folder):
    words = {value for value in SECRETS.values() if value} | {"Doe", "Jane", "REQ-9", "PRIVATE-DOE", "AE-OF-DOE"}
    for file in folder.rglob("*.dcm"):
        for element in dcmread(file).iterall():
            if element.VR == "UI" and not str(element.value).startswith("1.2.840.10008."):
                words.add(str(element.value))
    return words


def test_nothing_of_the_patient_is_left(patient, tmp_path):
    before = {p: p.read_bytes() for p in patient.rglob("*") if p.is_file()}
    words = original_words(patient)
    assert len(hidden_in(patient, words)) == len(words) > 20
    report = dicom.deidentify(patient, tmp_path / "clean")
    assert hidden_in(tmp_path / "clean", words) == []
    assert before == {p: p.read_bytes() for p in patient.rglob("*") if p.is_file()}
    assert (report.n_files, report.n_series, report.n_patients) == (6, 2, 1)
    assert report.actions["removed"]["InstitutionName"] + report.actions["replaced"]["InstitutionName"] == 6
    assert report.actions["removed"]["private elements"] == 18
    assert not any(word in str(report) for word in words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Doe_Jane", "clean"]


def test_the_images_stay_what_they_were(patient, tmp_path):
    dicom.deidentify(patient, tmp_path / "clean")
    table = dicom.list_series(tmp_path / "clean")
    assert list(table["n_slices"]) == [3, 3]
    assert (table["problems"] == "").all()
    before = load(patient / "series0")
    after = load(tmp_path / "clean" / "series-01")
    np.testing.assert_array_equal(after.array, before.array)
    assert after.geometry == before.geometry
    assert after.meta["b_value"] == before.meta["b_value"] == 800  # though its private element is gone


def test_uids_are_consistent_and_the_record_is_there(patient, tmp_path):
    dicom.deidentify(patient, tmp_path / "clean")
    clean = [dcmread(p) for p in sorted((tmp_path / "clean").rglob("*.dcm"))]
    assert len({ds.StudyInstanceUID for ds in clean}) == len({ds.FrameOfReferenceUID for ds in clean}) == 1
    assert len({ds.SeriesInstanceUID for ds in clean}) == 2
    assert len({ds.SOPInstanceUID for ds in clean}) == 6
    assert {ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID for ds in clean} == {clean[0].SOPInstanceUID}
    assert len({ds.PatientID for ds in clean}) == 1
    for ds in clean:
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert (ds.PatientIdentityRemoved, ds.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
        assert "PS3.15" in ds.DeidentificationMethod
        assert [c.CodeValue for c in ds.DeidentificationMethodCodeSequence] == ["113100"]


def test_keeping_dates_shifts_them(patient, tmp_path):
    report = dicom.deidentify(patient, tmp_path / "clean", keep=["dates", "PatientSex", "SeriesDescription"])
    clean = [dcmread(p) for p in (tmp_path / "clean").rglob("*.dcm")]
    (date,) = {ds.StudyDate for ds in clean}
    assert "20090101" < date < "20180818"
    assert {ds.AcquisitionDateTime for ds in clean} == {date + "101112"}
    assert {ds.PatientBirthDate for ds in clean} == {""}
    assert {ds.SeriesDescription for ds in clean} == {"Doe T2"}
    assert report.actions["kept"]["SeriesDescription"] == 6
    assert [c.CodeValue for c in clean[0].DeidentificationMethodCodeSequence] == ["113100", "113107"]


def test_burned_in_text_is_warned_of(tmp_path):
    write(clip((7, 8))[0], tmp_path / "in" / "us.dcm")
    with pytest.warns(UserWarning, match="text may be burned into images of modality US"):
        report = dicom.deidentify(tmp_path / "in", tmp_path / "clean")
    assert len(report.warnings) == 1


def test_what_is_no_image_is_left_out(tmp_path, patient):
    (patient / "plan.dcm").write_bytes(Path(shipped("rtplan.dcm")).read_bytes())
    report = dicom.deidentify(patient, tmp_path / "clean")
    assert report.left_out == {"plan.dcm": "no image (RTPLAN)"}


@pytest.mark.filterwarnings("ignore:text may be burned")
@pytest.mark.parametrize("name", ["MR_small_bigendian", "MR_small_jpeg_ls_lossless", "MR_small_implicit", "image_dfl"])
def test_every_encoding_can_be_deidentified(tmp_path, name):
    report = dicom.deidentify(shipped(f"{name}.dcm"), tmp_path / "clean")
    assert report.n_files == 1
    np.testing.assert_array_equal(load(tmp_path / "clean").array, load(shipped(f"{name}.dcm")).array)


def test_the_real_study_can_be_deidentified(study, tmp_path):
    report = dicom.deidentify(study / "dwi_3_b_values", tmp_path / "clean")
    assert report.n_files == 57
    assert hidden_in(tmp_path / "clean", ["ProstateX-0000", "2037145102504919", "1.3.6.1.4.1.14519", "20110707"]) == []
    assert list(dicom.split(tmp_path / "clean")) == [50, 400, 800]


def test_places_that_are_refused(patient, tmp_path):
    for dst in (patient, patient / "inside", tmp_path):
        with pytest.raises((ValueError, FileExistsError)):
            dicom.deidentify(patient, dst)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(FileExistsError):
        dicom.deidentify(patient, tmp_path / "full")
    with pytest.raises(ValueError, match="keywords of DICOM"):
        dicom.deidentify(patient, tmp_path / "clean", keep=["PatientNose"])
    with pytest.raises(ValueError, match="a collection"):
        dicom.deidentify(patient, tmp_path / "clean", keep="PatientSex")
    assert not (tmp_path / "clean").exists()


def test_a_damaged_file_stops_everything(patient, tmp_path):
    (patient / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    with pytest.raises(FileFormatError, match=r"broken\.dcm"):
        dicom.deidentify(patient, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()
