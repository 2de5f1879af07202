"""VTK image data: every encoding, compared with files built by hand and with VTK's own reader and writer."""

import base64
import json
import lzma
import tracemalloc
import zlib
from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medlearn.errors import FileFormatError, LossyFormatError
from medlearn.io.vti import describe_vti, load_vti, save_vti
from medlearn.volume import Volume

OBLIQUE = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
TYPES = {
    "Int8": "i1",
    "UInt8": "u1",
    "Int16": "i2",
    "UInt16": "u2",
    "Int32": "i4",
    "UInt32": "u4",
    "Int64": "i8",
    "UInt64": "u8",
    "Float32": "f4",
    "Float64": "f8",
}
NAMES = {np.dtype(code): name for name, code in TYPES.items()}


def ramp(shape=(3, 4, 5), dtype="i2"):
    return (np.arange(np.prod(shape)).reshape(shape) % 100).astype(dtype)


def encode(array, *, order="<", word="u4", encoding="base64", compress=None, block=64, split=False):
    """The bytes of a data array as the format has them."""
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    word = np.dtype(word).newbyteorder(order)
    if compress is None:
        parts = [np.array([len(data)], word).tobytes(), data]
        parts = parts if split else [b"".join(parts)]
    else:
        blocks = [compress(data[i : i + block]) for i in range(0, len(data), block)]
        head = np.array([len(blocks), block, len(data) % block, *map(len, blocks)], word)
        parts = [head.tobytes(), b"".join(blocks)]
    return b"".join(base64.b64encode(part) if encoding == "base64" else part for part in parts)


def document(array, *, body=b"", appended=b"", attributes="", image='Origin="0 0 0" Spacing="1 1 1"', **changes):
    """A .vti file around the encoded voxels of `array` (zyx or zyxc)."""
    z, y, x, *components = array.shape
    fields = {
        "byte_order": "LittleEndian",
        "type": NAMES[array.dtype],
        "extent": f"0 {x - 1} 0 {y - 1} 0 {z - 1}",
        "format": "binary",
        "points": "",
        "components": components[0] if components else 1,
    } | changes
    return (
        f'<?xml version="1.0"?>\n<VTKFile type="ImageData" version="1.0" byte_order="{fields["byte_order"]}" '
        f"{attributes}>\n"
        f'<ImageData WholeExtent="{fields["extent"]}" {image}><Piece Extent="{fields["extent"]}">'
        f'<PointData {fields["points"]}><DataArray type="{fields["type"]}" Name="a" format="{fields["format"]}" '
        f'NumberOfComponents="{fields["components"]}" offset="0">\n'
    ).encode() + (body + b"\n</DataArray></PointData></Piece></ImageData>" + appended + b"\n</VTKFile>\n")


@pytest.fixture
def written(tmp_path):
    def write(content):
        (tmp_path / "image.vti").write_bytes(content)
        return tmp_path / "image.vti"

    return write


def assert_holds(path, array):
    volume = load_vti(path)
    assert volume.axes == ("zyxc" if array.ndim == 4 else "zyx")
    assert volume.array.dtype == array.dtype
    np.testing.assert_array_equal(volume.array, array)
    assert describe_vti(path).shape == array.shape


# Encodings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5, 3)])
def test_ascii(written, code, shape):
    array = ramp(shape, code)
    text = "\n".join(map(str, array.ravel())).encode()
    assert_holds(written(document(array, body=text, format="ascii")), array)


COMPRESSORS = {"": None, "vtkZLibDataCompressor": zlib.compress, "vtkLZMADataCompressor": lzma.compress}


@pytest.mark.parametrize(("compressor", "compress"), COMPRESSORS.items(), ids=["plain", "zlib", "lzma"])
@pytest.mark.parametrize("where", ["inline", "appended base64", "appended raw"])
def test_binary(written, where, compressor, compress):
    for order, word, code in product("<>", ("u4", "u8"), ("u1", "i2", "f8")):
        array = ramp((3, 4, 5, 2), code)
        encoding = "raw" if where.endswith("raw") else "base64"
        data = encode(array, order=order, word=word, encoding=encoding, compress=compress)
        attributes = f'header_type="{"UInt32" if word == "u4" else "UInt64"}"'
        attributes += f' compressor="{compressor}"' * bool(compressor)
        byte_order = "LittleEndian" if order == "<" else "BigEndian"
        if where == "inline":
            content = document(array, body=data, attributes=attributes, byte_order=byte_order)
        else:
            tail = f'<AppendedData encoding="{encoding}">\n  _'.encode() + data + b"\n </AppendedData>"
            content = document(array, appended=tail, attributes=attributes, byte_order=byte_order, format="appended")
        assert_holds(written(content), array)


def test_some_writers_encode_the_number_of_bytes_by_itself(written):
    array = ramp()
    assert_holds(written(document(array, body=encode(array, split=True))), array)


@pytest.mark.parametrize("block", [64, 60, 120, 1000])  # 120 bytes of voxels: with and without a shorter last block
def test_blocks_of_any_size(written, block):
    array = ramp()
    data = encode(array, compress=zlib.compress, block=block)
    assert_holds(written(document(array, body=data, attributes='compressor="vtkZLibDataCompressor"')), array)


def test_lz4(written, monkeypatch):
    block = pytest.importorskip("lz4.block", reason="lz4 is not installed")
    array = ramp()
    data = encode(array, compress=lambda data: block.compress(data, store_size=False))
    path = written(document(array, body=data, attributes='compressor="vtkLZ4DataCompressor"'))
    assert_holds(path, array)


def test_without_lz4_the_message_says_what_to_install(written, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lz4.block", None)
    data = encode(ramp(), compress=lambda data: data)
    path = written(document(ramp(), body=data, attributes='compressor="vtkLZ4DataCompressor"'))
    with pytest.raises(FileFormatError, match=r"image\.vti.*pip install lz4"):
        load_vti(path)


# Geometry -------------------------------------------------------------------------------------------------------------


def test_geometry_with_an_extent_that_does_not_begin_at_zero(written):
    array = ramp((3, 4, 5))
    direction = " ".join(map(repr, OBLIQUE.ravel().tolist()))
    image = f'Origin="10 20 30" Spacing="0.5 0.75 3" Direction="{direction}"'
    path = written(document(array, body=encode(array), image=image, extent="2 6 -1 2 4 6"))
    volume = load_vti(path)
    assert volume.spacing == (3, 0.75, 0.5)
    np.testing.assert_array_equal(volume.direction, OBLIQUE)
    # VTK: point = origin + direction · (spacing · index), and the first voxel has the index (2, −1, 4)
    np.testing.assert_allclose(volume.origin, [10, 20, 30] + OBLIQUE @ [1, -0.75, 12])
    np.testing.assert_allclose(volume.to_world((0, 0, 0)), volume.origin)


@pytest.mark.parametrize("code", [*TYPES.values(), "?", "f2"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 2, 3, 3), (1, 1, 1)])
def test_round_trip(tmp_path, code, shape):
    volume = Volume(
        array=ramp(shape, code),
        spacing=(3.1, 0.7, 0.1),
        origin=(-1 / 3, 20.5, 1e3),
        direction=OBLIQUE,
        axes="zyxc"[: len(shape)],
    )
    assert save_vti(volume, tmp_path / "a.vti") == tmp_path / "a.vti"
    found = load_vti(tmp_path / "a.vti")
    np.testing.assert_array_equal(found.array, volume.array)
    assert found.array.dtype == {"?": np.uint8, "f2": np.float32}.get(code, np.dtype(code))
    assert (found.spacing, found.origin, found.axes) == (volume.spacing, volume.origin, volume.axes)
    np.testing.assert_array_equal(found.direction, volume.direction)
    assert [path.name for path in tmp_path.iterdir()] == ["a.vti"]


def test_a_volume_of_several_blocks(tmp_path):
    array = np.random.default_rng(0).integers(0, 1000, (9, 300, 500), np.int16)
    save_vti(Volume(array=array, spacing=(1, 1, 1)), tmp_path / "a.vti")
    np.testing.assert_array_equal(load_vti(tmp_path / "a.vti").array, array)
    description = describe_vti(tmp_path / "a.vti")
    assert (description.dtype, description.compressed, description.header["array"]) == (np.int16, True, "voxels")
    assert "9 × 300 × 500" in str(description)


@pytest.mark.parametrize("axes", ["tzyx", "yx", "yxc"])
def test_what_would_be_lost_is_refused(tmp_path, axes):
    n = len(axes.strip("tc"))
    volume = Volume(array=np.zeros((2,) * len(axes)), spacing=(1,) * n, axes=axes)
    with pytest.raises(LossyFormatError, match=axes):
        save_vti(volume, tmp_path / "a.vti")
    assert list(tmp_path.iterdir()) == []


def test_save_into_nowhere(tmp_path):
    volume = Volume(array=ramp(), spacing=(1, 1, 1))
    with pytest.raises(FileNotFoundError, match="no folder"):
        save_vti(volume, tmp_path / "nowhere" / "a.vti")
    with pytest.raises(IsADirectoryError):
        save_vti(volume, tmp_path)


# Which array ----------------------------------------------------------------------------------------------------------


def two_arrays(points=""):
    first, second = ramp(), ramp() + 1
    extra = b'</DataArray><DataArray type="Int16" Name="b" format="binary">' + encode(second)
    return document(first, body=encode(first) + extra, points=points)


def test_several_arrays(written):
    with pytest.raises(FileFormatError, match="'a', 'b'"):
        load_vti(written(two_arrays()))
    np.testing.assert_array_equal(load_vti(written(two_arrays()), array="b").array, ramp() + 1)
    np.testing.assert_array_equal(load_vti(written(two_arrays('Scalars="b"'))).array, ramp() + 1)
    with pytest.raises(FileFormatError, match="named 'c'; it has 'a', 'b'"):
        load_vti(written(two_arrays()), array="c")


def test_values_per_cell_are_refused(written):
    content = document(ramp(), body=encode(ramp())).replace(b"PointData", b"CellData")
    with pytest.raises(FileFormatError, match="per cell"):
        load_vti(written(content))


# Hostile files --------------------------------------------------------------------------------------------------------

FINE = document(ramp(), body=encode(ramp()))
ZLIB = document(ramp(), body=encode(ramp(), compress=zlib.compress), attributes='compressor="vtkZLibDataCompressor"')
ENTITIES = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
HUGE = "0 99999 0 99999 0 99999"

REFUSED = {
    "entities": (FINE.replace(b"<VTKFile", ENTITIES + b"<VTKFile", 1), "entities"),
    "other type": (FINE.replace(b'"ImageData"', b'"PolyData"'), "of type PolyData"),
    "no piece": (FINE.replace(b"Piece", b"Slice"), "one piece; got 0"),
    "part of the whole": (FINE.replace(b'Piece Extent="0 4', b'Piece Extent="1 4'), "only a part"),
    "extent of words": (FINE.replace(b"0 4 0 3", b"0 x 0 3"), "WholeExtent must be 6 whole numbers"),
    "extent backwards": (FINE.replace(b"0 4 0 3", b"4 0 0 3"), "first and last index"),
    "negative spacing": (FINE.replace(b'"1 1 1"', b'"1 -1 1"'), "spacing must be"),
    "infinite origin": (FINE.replace(b'"0 0 0"', b'"0 inf 0"'), "Origin must be 3 numbers"),
    "sheared": (FINE.replace(b'g="1 1 1"', b'g="1 1 1" Direction="1 1 0 0 1 0 0 0 1"'), "orthonormal"),
    "type": (FINE.replace(b"Int16", b"String"), "type of the voxels must be one of"),
    "byte order": (FINE.replace(b"LittleEndian", b"MiddleEndian"), "byte_order must be one of"),
    "compressor": (ZLIB.replace(b"vtkZLib", b"vtkZip"), "compressor must be one of"),
    "components": (FINE.replace(b'Components="1"', b'Components="-1"'), "NumberOfComponents must be"),
    "many components": (FINE.replace(b'Components="1"', b'Components="99999999"'), "cannot hold"),
    "huge": (FINE.replace(b"0 4 0 3 0 2", HUGE.encode()), "cannot hold"),
    "huge, zlib": (ZLIB.replace(b"0 4 0 3 0 2", HUGE.encode()), "cannot hold"),
    "huge, ascii": (document(ramp(), body=b"1 2 3", format="ascii", extent=HUGE), "cannot hold"),
    "too few numbers": (document(ramp(), body=b"1 " * 61, format="ascii"), "60 numbers of voxels"),
    "long number": (document(ramp(), body=b"1 " * 59 + b"1" * 99, format="ascii"), "more than 32 digits"),
    "words": (document(ramp(), body=b"one " * 60, format="ascii"), "damaged"),
    "number out of range": (document(ramp(), body=b"1 " * 59 + b"99999", format="ascii"), "damaged"),
    "no base64": (document(ramp(), body=b"!" * 200), "damaged"),
    "other length": (
        document(ramp(), body=encode(ramp((3, 4, 6)))),
        "120 bytes of voxels are expected, but there are 144",
    ),
    "other blocks": (ZLIB.replace(b"0 4 0 3 0 2", b"0 4 0 3 0 1"), "do not fit"),
    "flipped bit": (ZLIB.replace(encode(ramp(), compress=zlib.compress)[-20:-16], b"AAAA"), "damaged"),
    "block too long": (
        document(
            ramp(),
            body=encode(ramp(), compress=lambda data: zlib.compress(data + bytes(10**6))),
            attributes='compressor="vtkZLibDataCompressor"',
        ),
        "damaged",
    ),
    "nothing appended": (document(ramp(), format="appended"), "AppendedData, which is not there"),
    "appended elsewhere": (
        document(ramp(), format="appended", appended=b'<AppendedData encoding="hex">_00</AppendedData>'),
        "encoding must be one of",
    ),
    "web page": (b"<!DOCTYPE html><title>Please log in", "entities|web page"),
    "empty": (b"", "empty"),
    "binary": (bytes(range(256)), "no complete XML"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_hostile_and_damaged_files(written, content, reason):
    path = written(content)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=reason) as error:
            load_vti(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "image.vti" in str(error.value)
    assert peak < 20_000_000


@pytest.mark.parametrize("content", [FINE, ZLIB], ids=["plain", "zlib"])
def test_truncated_anywhere(written, content):
    for n in range(0, content.rindex(b"</DataArray>"), 7):
        with pytest.raises(FileFormatError):
            load_vti(written(content[:n]))


def test_truncated_appended_data(tmp_path):
    save_vti(Volume(array=np.random.default_rng(0).normal(size=(5, 20, 20)), spacing=(1, 1, 1)), tmp_path / "a.vti")
    content = (tmp_path / "a.vti").read_bytes()
    for n in range(0, len(content) - 50, 997):
        (tmp_path / "b.vti").write_bytes(content[:n])
        with pytest.raises(FileFormatError):
            load_vti(tmp_path / "b.vti")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.vti"):
        load_vti(tmp_path / "a.vti")


# Real files, and VTK itself -------------------------------------------------------------------------------------------


def test_real_files(real_data):
    expected = json.loads((real_data / "formats" / "expected.json").read_text())
    names = [name for name in expected if name.endswith(".vti")]
    assert len(names) == 4
    for name in names:
        facts, volume = expected[name], load_vti(real_data / "formats" / name)
        assert list(volume.shape) == facts["shape_zyx"]
        assert volume.array.dtype == facts["dtype"]
        assert (volume.array.min(), volume.array.max()) == (facts["min"], facts["max"])
        assert volume.array.sum(dtype=np.float64) == pytest.approx(facts["sum"], rel=1e-12)
        assert list(volume.spacing) == facts["spacing_zyx_mm"]
        assert list(volume.origin) == facts["origin_xyz"]
        assert describe_vti(real_data / "formats" / name).header["array"] == facts["array_name"]


def test_vtk_reads_what_is_written(tmp_path):
    vtk = pytest.importorskip("vtk", reason="vtk is not installed")
    from vtk.util.numpy_support import vtk_to_numpy

    for code, shape in product(TYPES.values(), [(3, 4, 5), (3, 4, 5, 3)]):
        array = ramp(shape, code)
        volume = Volume(
            array=array, spacing=(3, 0.7, 0.1), origin=(1, 2, 3), direction=OBLIQUE, axes="zyxc"[: len(shape)]
        )
        reader = vtk.vtkXMLImageDataReader()
        reader.SetFileName(str(save_vti(volume, tmp_path / "a.vti")))
        reader.Update()
        image = reader.GetOutput()
        found = vtk_to_numpy(image.GetPointData().GetScalars())
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found.reshape(shape), array)
        point = image.GetPhysicalToIndexMatrix()  # shows that VTK has understood the direction, too
        matrix = np.array([[point.GetElement(i, j) for j in range(4)] for i in range(4)])
        world = volume.to_world((2, 3, 4))
        np.testing.assert_allclose((matrix @ [*world, 1])[:3], [4, 3, 2], atol=1e-9)


def test_what_vtk_writes_is_read(tmp_path):
    vtk = pytest.importorskip("vtk", reason="vtk is not installed")
    from vtk.util.numpy_support import numpy_to_vtk

    array = ramp((7, 40, 50, 2), "f4")
    image = vtk.vtkImageData()
    image.SetExtent(2, 51, -3, 36, 0, 6)
    image.SetOrigin(1, 2, 3)
    image.SetSpacing(0.5, 0.6, 3)
    image.SetDirectionMatrix(OBLIQUE.ravel())
    values = numpy_to_vtk(array.reshape(-1, 2))
    values.SetName("values")
    image.GetPointData().SetScalars(values)
    writer = vtk.vtkXMLImageDataWriter()
    writer.SetInputData(image)
    writer.SetFileName(str(tmp_path / "a.vti"))
    compressors = [writer.SetCompressorTypeToNone, writer.SetCompressorTypeToZLib, writer.SetCompressorTypeToLZMA]
    modes = [writer.SetDataModeToAscii, writer.SetDataModeToBinary, writer.SetDataModeToAppended]
    orders, words = [writer.SetByteOrderToLittleEndian, writer.SetByteOrderToBigEndian], [32, 64]
    for compressor, mode, order, word, encode_appended in product(compressors, modes, orders, words, [False, True]):
        compressor(), mode(), order(), writer.SetHeaderType(word), writer.SetEncodeAppendedData(encode_appended)
        assert writer.Write()
        volume = load_vti(tmp_path / "a.vti")
        np.testing.assert_array_equal(volume.array, array)
        np.testing.assert_allclose(volume.direction, OBLIQUE)
        for voxel, index in (((0, 0, 0), (2, -3, 0)), ((6, 39, 49), (51, 36, 6))):
            point = [0.0] * 3
            image.TransformIndexToPhysicalPoint(index, point)
            np.testing.assert_allclose(volume.to_world(voxel), point)
