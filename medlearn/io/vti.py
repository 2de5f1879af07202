"""VTK image data (.vti): XML around blocks of voxels, as ParaView and VTK write it.

Read here with the standard library and NumPy, because the vtk package would cost 140 MB for this one format. The file
may come from anywhere: every size is compared with the bytes that are there before memory is asked for.

VTK does not say which way its x, y and z point in the patient. They are taken for LPS, as ITK and Slicer write them.
"""

import base64
import importlib
import lzma
import math
import os
import re
import tempfile
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from ..errors import FileFormatError, LossyFormatError
from ..volume import Volume
from .headers import MAX_DEFLATE_RATIO, looks_like

if TYPE_CHECKING:
    from .itk import Description

_MAX_XML = 1 << 20  # bytes before <AppendedData>; longer ones are no headers
_BLOCK = 1 << 20  # bytes of voxels that `save_vti` compresses at a time
_LITTLE = np.dtype("<u8")

_TYPES = {
    "Int8": np.dtype("i1"),
    "UInt8": np.dtype("u1"),
    "Int16": np.dtype("i2"),
    "UInt16": np.dtype("u2"),
    "Int32": np.dtype("i4"),
    "UInt32": np.dtype("u4"),
    "Int64": np.dtype("i8"),
    "UInt64": np.dtype("u8"),
    "Float32": np.dtype("f4"),
    "Float64": np.dtype("f8"),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_STORED = {np.dtype(bool): np.dtype("u1"), np.dtype("f2"): np.dtype("f4")}  # types that VTK lacks
_ORDERS = {"LittleEndian": "<", "BigEndian": ">"}
_WORDS = {"UInt32": np.dtype("u4"), "UInt64": np.dtype("u8")}


class _Layout(NamedTuple):
    """What the XML says: where the voxels are and how they are written."""

    shape: tuple[int, ...]  # (z, y, x), or (z, y, x, components)
    spacing: tuple[float, ...]
    origin: np.ndarray
    direction: np.ndarray
    dtype: np.dtype
    order: str
    word: np.dtype
    compressor: str
    array: ET.Element
    encoding: str  # ascii, base64 or raw
    data: bytes | memoryview

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def load_vti(path: str | os.PathLike, *, array: str | None = None) -> Volume:
    """Read VTK image data with its geometry.

    Parameters
    ----------
    path : path
        A .vti file: ascii, base64 or raw, inline or appended, uncompressed or with VTK's zlib, LZMA or LZ4 blocks (LZ4
        needs the package lz4), in either byte order.
    array : str, optional
        Name of the point data array to read. Without it the array that the file marks as active scalars is read, or
        the only one.

    Returns
    -------
    Volume
        Axes ``zyx``, with ``c`` behind where the array has several components. A two-dimensional image has one slice.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is truncated, damaged or no .vti file, if it stores values per cell instead of per point, if it is
        in several pieces, or if it holds several arrays and none is chosen.

    References
    ----------
    VTK file formats, XML: https://docs.vtk.org/en/latest/vtk_file_formats/vtkxml_file_format.html
    """
    path = Path(path)
    layout = _read_layout(path, array)
    try:
        voxels = _DECODERS[layout.encoding](path, layout)
    except FileFormatError:
        raise
    except ImportError:
        _refuse(path, "its voxels are compressed with LZ4, which needs the package lz4: pip install lz4")
    except (zlib.error, lzma.LZMAError, ValueError, OverflowError) as error:  # base64 raises a ValueError
        raise FileFormatError(
            f"{path} is damaged: its voxels cannot be read ({error}). Copy or download it again."
        ) from None
    return _volume(path, layout, voxels.reshape(layout.shape))


def describe_vti(path: str | os.PathLike, *, array: str | None = None) -> "Description":
    """Read the header of VTK image data; parameters and errors as `load_vti`, but the voxels stay undecoded."""
    from .itk import Description

    path = Path(path)
    layout = _read_layout(path, array)
    one_voxel = np.zeros((1, 1, 1, *layout.shape[3:]), layout.dtype)
    volume = _volume(path, layout, one_voxel)  # checks the geometry
    encoding = f"{layout.array.get('format')}, {layout.encoding}"
    return Description(
        path=path,
        format="VTK image data",
        shape=layout.shape,
        axes=volume.axes,
        spacing=volume.spacing,
        origin=volume.origin,
        direction=volume.direction,
        dtype=layout.dtype,
        compressed=bool(layout.compressor) and layout.encoding != "ascii",
        file_size=path.stat().st_size,
        header={"array": layout.array.get("Name", ""), "encoding": encoding, "compressor": layout.compressor or "none"},
    )


def save_vti(volume: Volume, path: str | os.PathLike) -> Path:
    """Write VTK image data: zlib blocks, appended raw, little-endian. VTK 9 reads the direction, older versions do not.

    Parameters
    ----------
    volume : Volume
        Axes ``zyx`` or ``zyxc``. Boolean voxels are stored as uint8, float16 as float32; `volume.meta` is not stored.
    path : path
        The file is written under a temporary name and takes its place when it is complete.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    LossyFormatError
        If the volume has a time axis, or is a picture (``yx``): both would come back as something else.
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    if volume.axes not in ("zyx", "zyxc"):
        raise LossyFormatError(
            f"{path} was not written, because VTK image data cannot hold axes {volume.axes!r}: it has zyx, or zyxc. "
            "NRRD (.nrrd) and MetaImage (.mha) keep more."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    dtype = _STORED.get(volume.array.dtype, volume.array.dtype)
    blocks = _compress(volume.array.astype(dtype.newbyteorder("<"), copy=False))
    with tempfile.TemporaryDirectory(prefix=".medlearn-", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        with draft.open("wb") as file:
            file.write(_xml(volume, dtype).encode())
            file.writelines(blocks)
            file.write(b"\n  </AppendedData>\n</VTKFile>\n")
        draft.replace(path)
    return path


# Header ---------------------------------------------------------------------------------------------------------------


class _WithoutDoctype(ET.TreeBuilder):
    """Builds the tree, and refuses the declarations that let a few bytes of XML expand into gigabytes."""

    def doctype(self, name, pubid, system):
        raise FileFormatError("it declares XML entities, which no .vti file needs")


def _read_layout(path: Path, wanted: str | None) -> _Layout:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    root, encoding, data = _parse(path)
    if root.tag != "VTKFile" or root.get("type") != "ImageData":
        _refuse(path, f"it must be a VTKFile of type ImageData; got {root.tag} of type {root.get('type')}")
    image = root.find("ImageData")
    pieces = [] if image is None else image.findall("Piece")
    if len(pieces) != 1:
        _refuse(path, f"its image must be in one piece; got {len(pieces)}. ParaView can merge them")
    extent = _numbers(path, image, "WholeExtent", 6, int)
    if _numbers(path, pieces[0], "Extent", 6, int) != extent:
        _refuse(path, "its piece covers only a part of the whole image")
    first, last = np.array(extent[::2]), np.array(extent[1::2])
    if (last < first).any():
        _refuse(path, f"WholeExtent must be first and last index along x, y and z; got {extent}")
    array = _choose(path, pieces[0], wanted)
    components = _whole(path, array, "NumberOfComponents", "1")
    spacing = _numbers(path, image, "Spacing", 3, float, "1 1 1")
    direction = np.reshape(_numbers(path, image, "Direction", 9, float, "1 0 0 0 1 0 0 0 1"), (3, 3))
    offset = direction @ (first * spacing)  # the origin belongs to index 0, which need not be in the image
    sizes = tuple(int(n) for n in (last - first + 1)[::-1])
    encoding, data = _where(path, array, encoding, data)
    layout = _Layout(
        shape=sizes + (components,) * (components > 1),
        spacing=spacing[::-1],
        origin=np.add(_numbers(path, image, "Origin", 3, float, "0 0 0"), offset),
        direction=direction,
        dtype=_one_of(path, array.get("type"), "type of the voxels", _TYPES),
        order=_one_of(path, root.get("byte_order", "LittleEndian"), "byte_order", _ORDERS),
        word=_one_of(path, root.get("header_type", "UInt32"), "header_type", _WORDS),
        compressor=root.get("compressor", ""),
        array=array,
        encoding=encoding,
        data=data,
    )
    _check_size(path, layout)
    return layout


def _parse(path: Path) -> tuple[ET.Element, str, memoryview]:
    """The XML without the appended data, the encoding of the appended data, and these."""
    content = path.read_bytes()
    xml, encoding, data = content, "", memoryview(b"")
    if tag := re.compile(rb"<AppendedData\s[^>]{0,200}>\s*_").search(content, 0, _MAX_XML):  # what follows is no XML
        xml, data = content[: tag.start()] + b"</VTKFile>", memoryview(content)[tag.end() :]
        match = re.search(rb"""encoding\s*=\s*["'](\w+)["']""", tag[0])
        encoding = match[1].decode() if match else ""
    parser = ET.XMLParser(target=_WithoutDoctype())
    try:
        parser.feed(xml)
        return parser.close(), encoding, data
    except ET.ParseError as error:
        kind = looks_like(path)
        known = "" if kind.startswith("something") or kind == "an XML file" else f"; it is {kind}"
        _refuse(path, f"it is no complete XML ({error}){known}")
    except FileFormatError as error:
        _refuse(path, str(error))


def _choose(path: Path, piece: ET.Element, wanted: str | None) -> ET.Element:
    points = piece.find("PointData")
    arrays = [] if points is None else points.findall("DataArray")
    names = [array.get("Name", "") for array in arrays]
    listed = ", ".join(map(repr, names))
    if not arrays:
        cells = piece.find("CellData")
        if cells is not None and len(cells):
            _refuse(path, "it stores values per cell, not per point. ParaView's filter Cell Data to Point Data helps")
        _refuse(path, "it holds no array of point data")
    if wanted is None:
        wanted = points.get("Scalars") if points.get("Scalars") in names else None
    if wanted is None and len(arrays) > 1:
        _refuse(path, f"it holds several arrays and marks none as active: {listed}. Choose one: load_vti(path, array=)")
    if wanted is not None and names.count(wanted) != 1:
        _refuse(path, f"it must hold one array named {wanted!r}; it has {listed}")
    return arrays[0] if wanted is None else arrays[names.index(wanted)]


def _where(path: Path, array: ET.Element, appended: str, data: memoryview) -> tuple[str, bytes | memoryview]:
    """Encoding of the voxels, and the bytes or characters from their beginning on."""
    form = _one_of(path, array.get("format"), "format", {name: name for name in ("ascii", "binary", "appended")})
    if form != "appended":
        text = (array.text or "").encode("ascii", "replace")
        return ("ascii", text) if form == "ascii" else ("base64", b"".join(text.split()))
    if not appended:
        _refuse(path, "its voxels should follow in AppendedData, which is not there: the file is truncated")
    offset = _whole(path, array, "offset", "-1", smallest=0)
    if _one_of(path, appended, "encoding", {"raw": True, "base64": False}):
        return appended, data[offset:]
    text = bytes(data).partition(b"<")[0]
    return appended, b"".join(text.split())[offset:]


def _check_size(path: Path, layout: _Layout) -> None:
    """Refuse a header that promises more voxels than the bytes of the file can hold."""
    there = len(layout.data)
    if layout.encoding == "ascii":
        most = (there + 1) // 2 * layout.dtype.itemsize  # a digit and a space a value
    elif layout.compressor:
        most = there * _one_of(path, layout.compressor, "compressor", _MAX_RATIO)
    else:
        most = there
    if most < layout.n_bytes:
        raise FileFormatError(
            f"{path} is truncated: its header promises {layout.n_bytes:,} bytes of voxels, "
            f"which the {there:,} that follow cannot hold. Copy or download it again."
        )


def _volume(path: Path, layout: _Layout, voxels: np.ndarray) -> Volume:
    try:
        return Volume(
            array=voxels,
            spacing=layout.spacing,
            origin=tuple(layout.origin),
            direction=layout.direction,
            axes="zyxc" if len(layout.shape) > 3 else "zyx",
        )
    except ValueError as error:
        raise FileFormatError(f"{path} is no valid VTK image data: {error}") from None


# Voxels ---------------------------------------------------------------------------------------------------------------


def _ascii(path: Path, layout: _Layout) -> np.ndarray:
    words = layout.data.split()
    if len(words) != math.prod(layout.shape):
        _wrong_size(path, math.prod(layout.shape), len(words), "numbers")
    if max(map(len, words)) > 32:  # NumPy would give every number the room of the longest
        _refuse(path, "one of its numbers has more than 32 digits")
    return np.array(words, dtype="S").astype(layout.dtype)


def _binary(path: Path, layout: _Layout) -> np.ndarray:
    raw = _inflated(path, layout) if layout.compressor else _plain(path, layout)
    return np.frombuffer(raw, layout.dtype.newbyteorder(layout.order))


def _plain(path: Path, layout: _Layout) -> bytes:
    """Uncompressed: the number of bytes, then the bytes."""
    size = layout.word.itemsize
    head, end = _take(path, layout, 0, size)
    (n_bytes,) = _words(layout, head)
    if n_bytes != layout.n_bytes:
        _wrong_size(path, layout.n_bytes, n_bytes)
    if layout.encoding == "raw" or b"=" in bytes(layout.data[:end]):  # some writers encode the number by itself
        return _take(path, layout, end, layout.n_bytes)[0]
    return _take(path, layout, 0, size + layout.n_bytes)[0][size:]


def _inflated(path: Path, layout: _Layout) -> bytes:
    """Compressed: number of blocks, bytes of a block and of a shorter last one, compressed bytes of each, then they."""
    size = layout.word.itemsize
    n_blocks, n_block, n_last = _words(layout, _take(path, layout, 0, 3 * size)[0])
    if n_blocks < 1 or n_blocks * n_block - (n_block - n_last if n_last else 0) != layout.n_bytes:
        _refuse(path, f"its {layout.n_bytes:,} bytes of voxels do not fit {n_blocks:,} blocks of {n_block:,} bytes")
    head, start = _take(path, layout, 0, (3 + n_blocks) * size)
    sizes = _words(layout, head)[3:]
    data, _ = _take(path, layout, start, sum(sizes))
    inflate, voxels, end = _INFLATE[layout.compressor], bytearray(), 0
    for number, n_compressed in enumerate(sizes, start=1):
        expected = n_last if n_last and number == n_blocks else n_block
        block = inflate(data[end : end + n_compressed], expected)
        if len(block) != expected:
            _wrong_size(path, expected, len(block))
        voxels += block
        end += n_compressed
    return bytes(voxels)


def _take(path: Path, layout: _Layout, start: int, n: int) -> tuple[bytes, int]:
    """The `n` bytes that begin at `start` (counted in characters if they are base64), and where they end."""
    end = start + (n if layout.encoding == "raw" else -(-n // 3) * 4)
    if end > len(layout.data):
        _wrong_size(path, end, len(layout.data))
    data = bytes(layout.data[start:end])
    return (data if layout.encoding == "raw" else base64.b64decode(data, validate=True)[:n]), end


def _words(layout: _Layout, data: bytes) -> list[int]:
    return np.frombuffer(data, layout.word.newbyteorder(layout.order)).tolist()


def _zlib(data: bytes, n: int) -> bytes:
    return zlib.decompressobj().decompress(data, n + 1)  # one more byte shows a block that is too long


def _lzma(data: bytes, n: int) -> bytes:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28).decompress(data, n + 1)


def _lz4(data: bytes, n: int) -> bytes:
    block = importlib.import_module("lz4.block")
    try:
        return block.decompress(data, uncompressed_size=n)
    except block.LZ4BlockError as error:
        raise ValueError(str(error)) from None


_DECODERS: dict[str, Callable[[Path, _Layout], np.ndarray]] = {"ascii": _ascii, "base64": _binary, "raw": _binary}
_INFLATE = {"vtkZLibDataCompressor": _zlib, "vtkLZMADataCompressor": _lzma, "vtkLZ4DataCompressor": _lz4}
_MAX_RATIO = {  # bytes of voxels from one byte of the file; deflate and LZ4 cannot do better, LZMA hardly
    "vtkZLibDataCompressor": MAX_DEFLATE_RATIO,
    "vtkLZMADataCompressor": 8192,
    "vtkLZ4DataCompressor": 255,
}


def _compress(array: np.ndarray) -> list[bytes]:
    """The voxels as VTK stores them: a header of words, then zlib blocks."""
    data = memoryview(array).cast("B")
    blocks = [zlib.compress(data[start : start + _BLOCK], 6) for start in range(0, len(data), _BLOCK)]
    head = np.array([len(blocks), _BLOCK, len(data) % _BLOCK, *map(len, blocks)], _LITTLE)
    return [head.tobytes(), *blocks]


def _xml(volume: Volume, dtype: np.dtype) -> str:
    extent = " ".join(f"0 {n - 1}" for n in volume.spatial_shape[::-1])
    components = volume.shape[3] if "c" in volume.axes else 1
    return f"""<?xml version="1.0"?>
<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64" \
compressor="vtkZLibDataCompressor">
  <ImageData WholeExtent="{extent}" Origin="{_text(volume.origin)}" Spacing="{_text(volume.spacing[::-1])}" \
Direction="{_text(volume.direction.ravel())}">
    <Piece Extent="{extent}">
      <PointData Scalars="voxels">
        <DataArray type="{_NAMES[dtype]}" Name="voxels" NumberOfComponents="{components}" format="appended" offset="0"/>
      </PointData>
    </Piece>
  </ImageData>
  <AppendedData encoding="raw">
   _"""


# What they share ------------------------------------------------------------------------------------------------------


def _text(values) -> str:
    return " ".join(repr(float(value)) for value in values)  # repr keeps every bit


def _numbers(path: Path, element: ET.Element, name: str, n: int, kind: type, default: str = "") -> tuple:
    text = element.get(name, default)
    try:
        values = tuple(kind(word) for word in text.split())
    except ValueError:
        values = ()
    if len(values) != n or not all(-(2**31) <= value < 2**31 for value in values):
        _refuse(path, f"{name} must be {n} {'whole ' if kind is int else ''}numbers; got {text!r}")
    return values


def _whole(path: Path, element: ET.Element, name: str, default: str, smallest: int = 1) -> int:
    text = element.get(name, default)
    if not text.strip().isdecimal() or len(text) > 15 or int(text) < smallest:
        _refuse(path, f"{name} must be a whole number of {smallest} or more; got {text!r}")
    return int(text)


def _one_of(path: Path, value: str | None, what: str, choices: dict):
    if value not in choices:
        _refuse(path, f"{what} must be one of {', '.join(choices)}; got {value!r}")
    return choices[value]


def _wrong_size(path: Path, expected: int, found: int, unit: str = "bytes") -> NoReturn:
    raise FileFormatError(
        f"{path} is truncated or damaged: {expected:,} {unit} of voxels are expected, but there are {found:,}. "
        "Copy or download it again."
    )


def _refuse(path: Path, reason: str) -> NoReturn:
    raise FileFormatError(f"{path} cannot be read: {reason}.")
