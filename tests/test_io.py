"""Image files: round trips in every format that is written, refusals of what would be lost, and hostile files."""

import gzip
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medlearn.errors import FileFormatError, LossyFormatError
from medlearn.io import describe, load, save, stem, suffix
from medlearn.volume import Volume

FULL_GEOMETRY = (".mhd", ".mha", ".nrrd", ".nhdr", ".nii", ".nii.gz", ".hdr")
GIPL = (".gipl", ".gipl.gz")
OBLIQUE = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
DTYPES = tuple(np.dtype(t) for t in ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
GIPL_DTYPES = tuple(np.dtype(t) for t in ["u1", "i1", "u2", "i2", "f4", "f8"])


def ramp(shape=(4, 5, 6), dtype=np.int16, axes="zyx", **geometry):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    geometry.setdefault("spacing", (3.5, 0.5, 0.25)[-len(axes.strip("tc")) :])
    return Volume(array=array, axes=axes, **geometry)


def assert_same(found, expected):
    assert found.axes == expected.axes
    assert found.array.dtype == expected.array.dtype
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_allclose(found.spacing, expected.spacing, rtol=1e-6)
    np.testing.assert_allclose(found.origin, expected.origin, rtol=0, atol=1e-3 * min(expected.spacing))
    np.testing.assert_allclose(found.direction, expected.direction, rtol=0, atol=1e-6)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


# Round trips ----------------------------------------------------------------------------------------------------------

coordinates = st.floats(-999, 999, allow_subnormal=False)


@st.composite
def volumes(draw, *, ndim, dtypes, rotated):
    shape = draw(st.lists(st.integers(1, 5), min_size=ndim, max_size=ndim))
    dtype = draw(st.sampled_from(dtypes))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, size=(*shape, dtype.itemsize), dtype=np.uint8).view(dtype)[..., 0]
    direction = np.eye(3)
    if rotated:
        turn = draw(st.sampled_from((np.eye(3), np.diag([-1.0, -1, 1]), np.diag([1.0, -1, 1]))))  # 180°, mirrored
        vector = draw(st.tuples(*[st.floats(-3, 3, allow_subnormal=False)] * 3))
        plane = (0, 0, vector[2]) if ndim == 2 else vector
        direction = turn @ Rotation.from_rotvec(plane).as_matrix()
    return Volume(
        array=np.nan_to_num(array) if dtype.kind == "f" else array,
        spacing=draw(st.lists(st.floats(0.25, 20), min_size=ndim, max_size=ndim)),
        origin=[draw(coordinates) for _ in range(ndim)] + [0] * (3 - ndim),
        direction=direction,
        axes="zyx"[-ndim:],
    )


@pytest.mark.parametrize("extension", FULL_GEOMETRY)
@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_round_trip(tmp_path_factory, extension, ndim, data):
    volume = data.draw(volumes(ndim=ndim, dtypes=DTYPES, rotated=True))
    path = tmp_path_factory.mktemp("round") / f"image{extension}"
    assert save(volume, path) == path
    assert_same(load(path), volume)


@pytest.mark.parametrize("extension", GIPL)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_round_trip_gipl_without_direction(tmp_path_factory, extension, data):
    volume = data.draw(volumes(ndim=3, dtypes=GIPL_DTYPES, rotated=False))
    path = save(volume, tmp_path_factory.mktemp("round") / f"image{extension}")
    assert_same(load(path), volume)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_round_trip_vti(tmp_path_factory, data):
    volume = data.draw(volumes(ndim=3, dtypes=DTYPES, rotated=True))
    assert_same(load(save(volume, tmp_path_factory.mktemp("round") / "image.vti")), volume)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_round_trip_dicom_or_a_refusal(tmp_path_factory, data):
    volume = data.draw(volumes(ndim=3, dtypes=(np.dtype("u2"), np.dtype("i2")), rotated=True))
    folder = tmp_path_factory.mktemp("round") / "series"
    if np.linalg.det(volume.direction) < 0:  # DICOM has no left-handed grids: z follows from row × column
        with pytest.raises(LossyFormatError):
            save(volume, f"{folder}/")
        return
    found = load(save(volume, f"{folder}/"))
    np.testing.assert_array_equal(found.array, volume.array)
    assert found.array.dtype == volume.array.dtype
    assert found.grid_distance(volume) < 1e-4  # voxels: DICOM writes numbers in 16 characters


@pytest.mark.parametrize("extension", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("shape", "axes"), [((5, 7), "yx"), ((5, 7, 3), "yxc"), ((1, 1), "yx")])
def test_round_trip_pictures(tmp_path, extension, dtype, shape, axes):
    picture = ramp(shape, dtype, axes, spacing=(1, 1))
    assert_same(load(save(picture, tmp_path / f"picture{extension}")), picture)


@pytest.mark.parametrize("extension", [".mha", ".mhd", ".nrrd", ".nhdr", ".nii.gz", ".hdr"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 3, 4, 5), "tzyx"),
        ((3, 4, 5, 3), "zyxc"),
        ((3, 4, 5, 2), "zyxc"),
        ((2, 3, 4, 5, 2), "tzyxc"),
        ((4, 5, 3), "yxc"),
    ],
)
def test_round_trip_time_and_components(tmp_path, extension, shape, axes):
    volume = ramp(shape, axes=axes)
    assert_same(load(save(volume, tmp_path / f"image{extension}")), volume)


@pytest.mark.parametrize("extension", [*FULL_GEOMETRY, *GIPL])
@pytest.mark.parametrize(("given_dtype", "stored"), [(bool, np.uint8), (np.float16, np.float32)])
def test_bool_and_float16_are_stored_in_the_next_type(tmp_path, extension, given_dtype, stored):
    volume = Volume(array=np.array([[[0, 1], [1, 1]]], given_dtype), spacing=(1, 1, 1))
    found = load(save(volume, tmp_path / f"image{extension}"))
    assert found.array.dtype == stored
    np.testing.assert_array_equal(found.array, volume.array)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.mhd", ["a.mhd", "a.raw"]),
        ("a.nhdr", ["a.nhdr", "a.raw.gz"]),
        ("a.hdr", ["a.hdr", "a.img"]),
        ("a.img", ["a.hdr", "a.img"]),
        ("a.nii.gz", ["a.nii.gz"]),
        ("v1.2 用户 名.mhd", ["v1.2 用户 名.mhd", "v1.2 用户 名.raw"]),
    ],
)
def test_files_written_and_found_again(tmp_path, name, expected):
    folder = tmp_path / "用户 名"
    folder.mkdir()
    volume = ramp(direction=OBLIQUE)
    save(volume, str(folder / name))
    assert names(folder) == sorted(expected)
    moved = folder.rename(tmp_path / "moved")  # a header that named a folder would not survive this
    assert_same(load(moved / name), volume)


@pytest.mark.parametrize("extension", [".nii.gz", ".gipl.gz", ".nrrd", ".nhdr"])
def test_these_are_compressed(tmp_path, extension):
    volume = Volume(array=np.zeros((20, 30, 40), np.int16), spacing=(1, 1, 1))
    description = describe(save(volume, tmp_path / f"image{extension}"))
    assert description.compressed
    assert description.file_size < 3000


def test_overwrite_replaces_header_and_voxels(tmp_path):
    path = save(ramp((9, 9, 9)), tmp_path / "a.mhd")
    volume = ramp((2, 3, 4), np.float32, direction=OBLIQUE)
    save(volume, path)
    assert_same(load(path), volume)
    assert names(tmp_path) == ["a.mhd", "a.raw"]


def test_nifti_written_here_means_the_same_to_nibabel(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = ramp(direction=OBLIQUE, origin=(-10, 20, 30.5))
    image = nibabel.load(save(volume, tmp_path / "a.nii.gz"))
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine[:, [2, 1, 0, 3]]  # NIfTI is RAS with (x, y, z) indices
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, volume.array)


# What would be lost ---------------------------------------------------------------------------------------------------

PICTURE = ramp((5, 7), np.uint8, "yx", spacing=(1, 1))


@pytest.mark.parametrize(
    ("volume", "extension", "lost"),
    [
        (ramp(direction=OBLIQUE), ".gipl", "direction"),
        (ramp(direction=np.diag([-1, -1, 1])), ".gipl.gz", "direction"),
        (ramp(dtype=np.int32), ".gipl", "int32"),
        (ramp(dtype=np.int64), ".gipl", "int64"),
        (ramp((4, 5), axes="yx"), ".gipl", "axes: yx"),
        (ramp((4, 5, 6, 3), axes="zyxc"), ".gipl", "axes: zyxc"),
        (ramp((1, 4, 5, 6), axes="tzyx"), ".nii.gz", "axes: tzyx"),
        (ramp((4, 5, 6), axes="tyx"), ".nrrd", "axes: tyx"),
        (ramp(dtype=np.uint8), ".png", "axes: zyx"),
        (ramp((1, 5, 6), np.uint8), ".png", "axes: zyx"),
        (ramp((5, 7), np.float32, "yx", spacing=(1, 1)), ".png", "float32"),
        (ramp((5, 7), np.int16, "yx", spacing=(1, 1)), ".png", "int16"),
        (ramp((5, 7, 2), np.uint8, "yxc", spacing=(1, 1)), ".png", "yxc"),
        (ramp((5, 7), np.uint8, "yx", spacing=(1, 1), origin=(3, 0, 0)), ".png", "origin"),
        (ramp((5, 7), np.float64, "yx", spacing=(1, 1)), ".tif", "float64"),
        (ramp(dtype=np.uint8), ".tif", "spacing"),
        (PICTURE, ".jpg", "compression changes the pixels"),
        (PICTURE, ".jpeg", "compression changes the pixels"),
        (PICTURE, ".bmp", "gray values into colors"),
    ],
)
def test_losses_are_refused_by_name_and_nothing_is_written(tmp_path, capfd, volume, extension, lost):
    with pytest.raises(LossyFormatError, match=lost) as error:
        save(volume, tmp_path / f"image{extension}")
    assert f"image{extension}" in str(error.value)
    assert ".nrrd" in str(error.value)
    assert names(tmp_path) == []
    assert capfd.readouterr().err == ""


def test_a_refused_overwrite_leaves_the_old_file(tmp_path):
    path = save(ramp(), tmp_path / "a.gipl")
    before = path.read_bytes()
    with pytest.raises(LossyFormatError):
        save(ramp(direction=OBLIQUE), path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.gipl"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(self, image):
        Path(self.GetFileName()).write_bytes(b"half a fi")
        raise KeyboardInterrupt

    monkeypatch.setattr(sitk.ImageFileWriter, "Execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(ramp(), tmp_path / "a.nrrd")
    assert names(tmp_path) == []


def test_a_file_cut_short_by_a_full_disk_is_noticed(tmp_path, monkeypatch):
    execute = sitk.ImageFileWriter.Execute

    def cut(self, image):
        execute(self, image)
        raw = Path(self.GetFileName()).with_suffix(".raw")
        raw.write_bytes(raw.read_bytes()[:-1])

    monkeypatch.setattr(sitk.ImageFileWriter, "Execute", cut)
    with pytest.raises(LossyFormatError, match="truncated"):
        save(ramp(), tmp_path / "a.mhd")
    assert names(tmp_path) == []


def test_save_refuses_places_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save(ramp(), tmp_path / "nowhere" / "a.nrrd")
    with pytest.raises(FileFormatError, match=r"extension must be one of .*\.nii\.gz"):
        save(ramp(), tmp_path / "a.xyz")
    (tmp_path / "a.nrrd").mkdir()
    with pytest.raises(IsADirectoryError):
        save(ramp(), tmp_path / "a.nrrd")
    assert names(tmp_path) == ["a.nrrd"]


# Descriptions and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", FULL_GEOMETRY)
def test_describe_promises_what_load_delivers(tmp_path, extension):
    path = save(ramp(direction=OBLIQUE, origin=(1, 2, 3)), tmp_path / f"a{extension}")
    description, volume = describe(path), load(path)
    assert (description.shape, description.axes, description.dtype) == (volume.shape, volume.axes, volume.array.dtype)
    assert (description.spacing, description.origin) == (volume.spacing, volume.origin)
    np.testing.assert_array_equal(description.direction, volume.direction)
    assert description.file_size == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_description_as_a_table(tmp_path):
    text = str(describe(save(ramp(), tmp_path / "a.mhd")))
    assert "shape" in text
    assert "4 × 5 × 6 (z, y, x)" in text
    assert "3.5 × 0.5 × 0.25 mm (z, y, x)" in text
    assert "MetaImage, not compressed" in text
    columns = {line.index(line.split("  ")[-1].strip()) for line in text.splitlines() if line.count("  ")}
    assert len(columns) == 1  # aligned


def test_descriptions_do_not_show_free_text(tmp_path):
    image = sitk.Image([2, 2, 2], sitk.sitkUInt8)
    image.SetMetaData("PatientName", "Doe^Jane")
    for path in (tmp_path / "a.mha", tmp_path / "a.nrrd"):
        sitk.WriteImage(image, path)
        assert b"Doe^Jane" in path.read_bytes()
        assert "Jane" not in str(describe(path))
        assert not load(path).meta


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Case00_segmentation.mhd", ("Case00_segmentation", ".mhd")),
        ("a.b.nii.gz", ("a.b", ".nii.gz")),
        ("a.b.nii", ("a.b", ".nii")),
        ("X.GIPL.GZ", ("X", ".gipl.gz")),
        ("scan.dcm", ("scan", ".dcm")),
        ("notes.tar.gz", ("notes.tar.gz", ".gz")),
        ("1.2.840", ("1.2.840", ".840")),
        (".nii.gz", (".nii.gz", ".gz")),
        ("README", ("README", "")),
    ],
)
def test_stem_and_suffix(name, parts):
    assert (stem(Path("folder") / name), suffix(name)) == parts


def test_importing_io_does_not_import_simpleitk():
    code = "import medlearn.io, sys; sys.exit('SimpleITK' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Hostile files --------------------------------------------------------------------------------------------------------


def assert_refused(path, *words, capfd=None, functions=(describe, load), error=FileFormatError):
    for function in functions:
        with pytest.raises(error) as caught:
            function(path)
        message = str(caught.value)
        assert path.name in message
        for word in words:
            assert word in message
        assert "ITK ERROR" not in message
        assert "0x" not in message
    if capfd:
        printed = capfd.readouterr()
        assert (printed.out, printed.err) == ("", "")


@pytest.mark.parametrize("extension", [*FULL_GEOMETRY, *GIPL, ".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("content", [b"", b"hello, this is text\n" * 60, b"\0" * 2000, b"<html>404</html>"])
def test_mislabelled(tmp_path, capfd, extension, content):
    path = tmp_path / f"a{extension}"
    path.write_bytes(content)
    assert_refused(path, capfd=capfd)
    if not content:
        assert_refused(path, "empty")
    if content.startswith(b"<html>"):
        assert_refused(path, "a web page")


@pytest.mark.parametrize("extension", [*FULL_GEOMETRY, *GIPL, ".jpg"])
def test_a_picture_under_another_name(tmp_path, capfd, extension):
    path = save(PICTURE, tmp_path / "a.png").rename(tmp_path / f"b{extension}")
    assert_refused(path, "a PNG picture", capfd=capfd)


def test_gzip_under_the_wrong_name(tmp_path, capfd):
    plain = save(ramp(), tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(plain)
    assert_refused(tmp_path / "b.nii.gz", "its name says gzip", "NIfTI", capfd=capfd)
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain))
    assert_refused(tmp_path / "c.nii", "a gzip file", capfd=capfd)


@pytest.mark.parametrize("name", ["a.dcm", "a.vti", "a.xyz", "a"])
def test_formats_not_known(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 40)
    assert_refused(tmp_path / name)
    if name in ("a", "a.xyz"):
        assert_refused(tmp_path / name, "DICOM")


def test_folders_and_missing_files(tmp_path):
    assert_refused(tmp_path, "folder")
    assert_refused(tmp_path / "nothing.mhd", error=FileNotFoundError)
    (tmp_path / "folder.mhd").mkdir()
    assert_refused(tmp_path / "folder.mhd", error=FileNotFoundError)


def test_short_raw_file_names_both_counts(tmp_path, capfd):
    path = save(ramp(), tmp_path / "a.mhd")
    raw = tmp_path / "a.raw"
    raw.write_bytes(raw.read_bytes()[:100])
    assert_refused(path, "truncated", "240 bytes in a.raw", "there are 100", capfd=capfd)


def test_missing_raw_file(tmp_path, capfd):
    for name, data in (("a.mhd", "a.raw"), ("b.nhdr", "b.raw.gz")):
        path = save(ramp(), tmp_path / name)
        (tmp_path / data).unlink()
        assert_refused(path, data, error=FileNotFoundError, capfd=capfd)
    save(ramp(), tmp_path / "c.hdr")
    (tmp_path / "c.img").unlink()
    assert_refused(tmp_path / "c.hdr", "c.img", error=FileNotFoundError, capfd=capfd)


@pytest.mark.parametrize("extension", [".mha", ".nii", ".gipl", ".hdr", ".png", ".tif"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated(tmp_path, capfd, extension, kept):
    picture = extension in (".png", ".tif")
    volume = ramp((40, 50), np.uint16, "yx", spacing=(1, 1)) if picture else ramp((10, 20, 30))
    path = save(volume, tmp_path / f"a{extension}")
    data = tmp_path / "a.img" if extension == ".hdr" else path
    data.write_bytes(data.read_bytes()[: int(kept * data.stat().st_size)])
    assert_refused(path, functions=[load], capfd=None if picture else capfd)


def noise(path, extension):
    """A compressed image of 48,000 bytes in one data file; returns header and data file."""
    volume = ramp((20, 30, 40)).map(lambda a: np.random.default_rng(0).integers(0, 500, a.shape, np.int16))
    if extension == ".zraw":
        from medlearn.volume import to_sitk

        sitk.WriteImage(to_sitk(volume), path / "a.mhd", useCompression=True)
        return path / "a.mhd", path / "a.zraw"
    header = save(volume, path / f"a{extension}")
    return header, path / "a.raw.gz" if extension == ".nhdr" else header


COMPRESSED = (".nii.gz", ".gipl.gz", ".nrrd", ".nhdr", ".zraw")


@pytest.mark.parametrize("extension", COMPRESSED)
@pytest.mark.parametrize("missing", [0.9, 0.5, 6])
def test_truncated_compressed(tmp_path, capfd, extension, missing):
    header, data = noise(tmp_path, extension)
    load(header)
    content = data.read_bytes()
    data.write_bytes(content[: -missing if missing == 6 else int(len(content) * (1 - missing))])
    assert_refused(header, functions=[load], capfd=capfd)


@pytest.mark.parametrize("extension", COMPRESSED)
@pytest.mark.parametrize("where", [0.5, 0.99])
def test_damaged_compressed(tmp_path, capfd, extension, where):
    header, data = noise(tmp_path, extension)
    content = bytearray(data.read_bytes())
    content[int(len(content) * where)] ^= 0x55
    data.write_bytes(content)
    assert_refused(header, functions=[load], capfd=capfd)


def test_gzip_with_several_members_is_whole(tmp_path):
    volume = ramp((10, 20, 30))
    plain = save(volume, tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(b"".join(gzip.compress(plain[i : i + 1000]) for i in range(0, len(plain), 1000)))
    assert_same(load(path), volume)


def test_truncated_jpeg_and_bmp(tmp_path, capfd):
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8))
    for name in ("a.jpg", "a.bmp"):
        path = tmp_path / name
        sitk.WriteImage(image, path)
        load(path)
        path.write_bytes(path.read_bytes()[:-1500])
        assert_refused(path, "truncated", capfd=capfd)


META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    "TransformMatrix = {matrix}\nOffset = 0 0 0\nElementSpacing = {spacing}\nDimSize = {size}\n"
    "ElementType = {kind}\nElementDataFile = {data}\n"
)


def meta(folder, *, matrix="1 0 0 0 1 0 0 0 1", spacing="1 1 1", size="6 5 4", kind="MET_SHORT", data="a.raw"):
    folder.joinpath("a.raw").write_bytes(bytes(240))
    path = folder / "a.mhd"
    path.write_text(META.format(matrix=matrix, spacing=spacing, size=size, kind=kind, data=data))
    return path


def test_the_hand_written_header_is_fine_as_it_is(tmp_path):
    assert load(meta(tmp_path)).shape == (4, 5, 6)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": "100000 100000 100000"}, ["truncated", "2,000,000,000,000,000 bytes", "there are 240"]),
        ({"size": "-6 5 4"}, ["DimSize", "-6 5 4"]),
        ({"size": "0 5 4"}, ["DimSize"]),
        ({"size": "6 5"}, ["DimSize"]),
        ({"size": "a b c"}, ["DimSize", "'a'"]),
        ({"spacing": "nan 1 1"}, ["ElementSpacing", "nan"]),
        ({"spacing": "0 1 1"}, ["ElementSpacing"]),
        ({"spacing": "-1 1 1"}, ["ElementSpacing"]),
        ({"spacing": "wide 1 1"}, ["ElementSpacing"]),
        ({"kind": "MET_STRING"}, ["ElementType", "MET_STRING"]),
        ({"matrix": "1 .5 0 0 1 0 0 0 1"}, ["orthonormal"]),
        ({"matrix": "2 0 0 0 2 0 0 0 2"}, ["orthonormal"]),
        ({"matrix": "0 0 0 0 0 0 0 0 0"}, ["direction"]),
        ({"data": "../secret.raw"}, ["in its own folder", "../secret.raw"]),
        ({"data": "sub/../../secret.raw"}, ["in its own folder"]),
        ({"data": "..\\secret.raw"}, ["in its own folder"]),
        ({"data": "C:\\secret.raw"}, ["in its own folder"]),
        ({"data": "a%s%n.raw 1 4 1"}, ["one file"]),
        ({"data": "LIST\na.raw"}, ["one file"]),
    ],
)
def test_hostile_metaimage(tmp_path, capfd, fields, words):
    (tmp_path / "secret.raw").write_bytes(bytes(240))
    folder = tmp_path / "folder"
    folder.mkdir()
    assert_refused(meta(folder, **fields), *words, capfd=capfd)


def test_absolute_paths_are_not_followed(tmp_path, capfd):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(240))
    folder = tmp_path / "folder"
    folder.mkdir()
    assert_refused(meta(folder, data=str(secret)), "in its own folder", capfd=capfd)
    assert_refused(nrrd(folder, data=str(secret)), "in its own folder", capfd=capfd)


def test_data_in_a_subfolder_is_fine(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "b.raw").write_bytes(bytes(240))
    assert load(meta(tmp_path, data="raw/b.raw")).shape == (4, 5, 6)


NRRD = (
    "NRRD0004\ntype: {kind}\ndimension: 3\nspace: left-posterior-superior\nsizes: {size}\n"
    "space directions: {directions}\nkinds: domain domain domain\nendian: little\n"
    "encoding: {encoding}\nspace origin: (0,0,0)\n"
)


def nrrd(folder, *, size="6 5 4", directions="(1,0,0) (0,1,0) (0,0,1)", encoding="raw", kind="short", data=None):
    path = folder / ("a.nhdr" if data else "a.nrrd")
    text = NRRD.format(size=size, directions=directions, encoding=encoding, kind=kind)
    path.write_bytes((text + (f"data file: {data}\n" if data else "\n")).encode() + (b"" if data else bytes(240)))
    return path


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": "100000 100000 100000"}, ["truncated"]),
        ({"size": "100000 100000 100000", "encoding": "gzip"}, ["cannot hold that many"]),
        ({"size": "6 5 0"}, ["sizes"]),
        ({"directions": "(nan,0,0) (0,1,0) (0,0,1)"}, []),
        ({"directions": "(0,0,0) (0,1,0) (0,0,1)"}, []),
        ({"directions": "(1,.5,0) (0,1,0) (0,0,1)"}, ["orthonormal"]),
        ({"encoding": "bzip2"}, ["encoding", "bzip2"]),
        ({"kind": "block"}, ["block"]),
        ({"data": "../secret.raw"}, ["in its own folder"]),
        ({"data": "a%03d.raw 1 4 1"}, ["one file"]),
    ],
)
def test_hostile_nrrd(tmp_path, capfd, fields, words):
    (tmp_path / "secret.raw").write_bytes(bytes(240))
    folder = tmp_path / "folder"
    folder.mkdir()
    assert_refused(nrrd(folder, **fields), *words, capfd=capfd)


def test_the_hand_written_nrrd_is_fine_as_it_is(tmp_path):
    assert load(nrrd(tmp_path)).shape == (4, 5, 6)


def patched(path, offset, letters, *values):
    data = bytearray(path.read_bytes())
    struct.pack_into(letters, data, offset, *values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("offset", "letters", "values", "words"),
    [
        (42, "<3h", (32767, 32767, 32767), ["truncated", "there are 592"]),
        (42, "<h", (-3,), ["dim"]),
        (40, "<h", (9,), ["dim"]),
        (70, "<h", (77,), ["datatype", "77"]),
        (80, "<f", (float("nan"),), ["pixdim", "nan"]),
        (80, "<f", (0.0,), ["pixdim"]),
        (80, "<f", (-1.0,), ["pixdim"]),
        (108, "<f", (1e6,), ["truncated"]),
        (108, "<f", (0.0,), ["vox_offset"]),
        (108, "<f", (float("nan"),), ["vox_offset"]),
        (280, "<f", (float("nan"),), ["sform"]),
        (344, "4s", (b"ni1\0",), ["does not fit the name"]),
    ],
)
def test_hostile_nifti(tmp_path, capfd, offset, letters, values, words):
    path = save(ramp(), tmp_path / "a.nii")
    assert_refused(patched(path, offset, letters, *values), *words, capfd=capfd)


@pytest.mark.parametrize(("offset", "value"), [(284, 0.5), (280, -2.0)])
def test_nifti_with_shear_or_contradicting_scales(tmp_path, capfd, offset, value):
    path = save(ramp(), tmp_path / "a.nii")
    patched(path, offset, "<f", value)
    assert load(path).spacing == (3.5, 0.5, 0.25)  # the qform is still there
    assert_refused(patched(path, 252, "<h", 0), "sform", capfd=capfd)


def test_compressed_nifti_that_claims_too_much(tmp_path, capfd):
    path = save(ramp(), tmp_path / "a.nii")
    patched(path, 42, "<3h", 32767, 32767, 32767)
    bomb = tmp_path / "b.nii.gz"
    bomb.write_bytes(gzip.compress(path.read_bytes()))
    assert_refused(bomb, "cannot hold that many", capfd=capfd)


@pytest.mark.parametrize(
    ("offset", "letters", "value", "words"),
    [
        (0, ">H", 65535, ["truncated"]),
        (8, ">H", 99, ["image type"]),
        (10, ">f", float("nan"), ["pixel dimensions"]),
        (10, ">f", 0.0, ["pixel dimensions"]),
        (252, ">I", 1, ["not GIPL"]),
    ],
)
def test_hostile_gipl(tmp_path, capfd, offset, letters, value, words):
    path = save(ramp(), tmp_path / "a.gipl")
    assert_refused(patched(path, offset, letters, value), *words, capfd=capfd)


def test_png_that_claims_too_much(tmp_path, capfd):
    path = save(PICTURE, tmp_path / "a.png")
    patched(path, 16, ">II", 1_000_000, 1_000_000)
    data = path.read_bytes()
    patched(path, 29, ">I", zlib.crc32(data[12:29]))  # the checksum is right, so the decoder believes it
    assert_refused(path, "cannot hold", capfd=capfd)


def test_analyze_is_read_without_a_direction(tmp_path, capfd):
    nibabel = pytest.importorskip("nibabel")
    array = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
    nibabel.AnalyzeImage(array, np.diag([-2, 3, 4, 1])).to_filename(tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        volume = load(tmp_path / name)
        assert volume.spacing == (4, 3, 2)
        np.testing.assert_array_equal(volume.array, array.T)
        np.testing.assert_array_equal(volume.direction, np.eye(3))
    assert capfd.readouterr().err == ""


def test_nifti_2_is_refused_by_name(tmp_path, capfd):
    nibabel = pytest.importorskip("nibabel")
    nibabel.Nifti2Image(np.zeros((6, 5, 4), np.int16), np.eye(4)).to_filename(tmp_path / "a.nii")
    assert_refused(tmp_path / "a.nii", "NIfTI-2", "nibabel", capfd=capfd)


def test_big_endian_nifti(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    array = np.arange(120, dtype=">i2").reshape(6, 5, 4)
    header = nibabel.Nifti1Header(endianness=">")
    nibabel.Nifti1Image(array, np.diag([2.0, 3, 4, 1]), header).to_filename(tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == struct.pack(">i", 348)
    volume = load(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, array.T)
    assert volume.spacing == (4, 3, 2)


def test_tiff_whose_pages_go_round_in_a_circle(tmp_path, capfd):
    path = save(PICTURE, tmp_path / "a.tif")
    data = path.read_bytes()
    (first,) = struct.unpack_from("<I", data, 4)
    (n_tags,) = struct.unpack_from("<H", data, first)
    link = first + 2 + 12 * n_tags
    assert struct.unpack_from("<I", data, link) == (0,)
    assert_refused(patched(path, link, "<I", first), "pages", capfd=capfd)
    assert_refused(patched(path, link, "<I", len(data) + 99), "truncated", capfd=capfd)
    path.write_bytes(data + bytes(2) + struct.pack("<I", len(data)))  # a page without tags that comes after itself
    assert_refused(patched(path, link, "<I", len(data)), "pages", capfd=capfd)


@pytest.mark.parametrize("extension", [".NII.GZ", ".GIPL", ".MHA", ".NRRD", ".Png"])
def test_extensions_in_capitals(tmp_path, extension):
    volume = PICTURE if extension == ".Png" else ramp()
    path = save(volume, tmp_path / f"a{extension.lower()}").rename(tmp_path / f"b{extension}")
    assert_same(load(path), volume)
