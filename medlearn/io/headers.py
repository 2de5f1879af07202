"""What a header promises about its voxels, checked before ITK is asked to read them.

ITK believes headers. It allocates whatever they claim, follows the path they name to any place on the disk, and
returns an image of wrong voxels, without a word, from a truncated NIfTI, GIPL, BMP or JPEG file. So each function here
reads the few fields that matter, as the definition of the format has them, and returns a `Header`, but no voxels.
"""

import gzip
import math
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import FileFormatError

_MAX_HEADER = 1 << 20  # bytes; longer text headers are no headers
MAX_DEFLATE_RATIO = 1032  # deflate cannot do better: 258 bytes from 2 bits


@dataclass(frozen=True, slots=True)
class Header:
    """Where the voxels of an image lie, and how many bytes they must have.

    Attributes
    ----------
    data_file : Path
        File that holds the voxels: the image file itself, or one beside it.
    offset : int
        Bytes before the first voxel, after decompression if the whole file is compressed.
    n_bytes : int
        Bytes of all voxels after decompression; a lower bound where they are written as text.
    compressed_from : int or None
        Where in `data_file` a zlib or gzip stream begins; None if the voxels are not compressed.
    facts : mapping
        Fields worth showing that identify nobody.
    """

    data_file: Path
    offset: int = 0
    n_bytes: int = 0
    compressed_from: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def check_size(path: Path, header: Header) -> None:
    """Raise `FileFormatError` if the data file is too small for what the header promises. Reads nothing."""
    found, expected = header.data_file.stat().st_size, header.offset + header.n_bytes
    where = "" if header.data_file == path else f" in {header.data_file.name}"
    if header.compressed_from is None and found < expected:
        raise FileFormatError(
            f"{path} is truncated: its header promises {expected:,} bytes{where}, but there are {found:,}. "
            "Copy or download it again, or correct the header."
        )
    if header.compressed_from is not None and found * MAX_DEFLATE_RATIO < expected:
        raise FileFormatError(
            f"{path}: its header promises {expected:,} bytes, but the {found:,} compressed bytes{where} "
            "cannot hold that many. The header is wrong, or the file is truncated."
        )


def check_stream(path: Path, header: Header) -> None:
    """Raise `FileFormatError` if compressed voxels are truncated or damaged.

    This decompresses them once more: 40 ms for a prostate of 32×320×320 voxels. ITK returns wrong voxels, and no error,
    from a damaged .nii.gz, .gipl.gz or .zraw file.
    """
    if header.compressed_from is None:
        return
    expected = header.offset + header.n_bytes
    try:
        found, complete = _inflate(header.data_file, header.compressed_from, enough=expected)
    except zlib.error as error:
        raise FileFormatError(
            f"{path} is damaged: its compressed voxels cannot be read ({error}). Copy or download it again."
        ) from None
    if found < expected or not complete:
        raise FileFormatError(
            f"{path} is truncated: its header promises {expected:,} bytes after decompression, but there are {found:,}"
            f"{'' if complete else ' and no checksum at the end'}. Copy or download it again."
        )


def _inflate(path: Path, start: int, enough: int) -> tuple[int, bool]:
    """Count the bytes of a stream and verify its checksums. Stops soon after `enough`: a bomb does not go off."""
    size = 0
    inflate = zlib.decompressobj(wbits=47)  # zlib or gzip, whichever the first bytes say
    with path.open("rb") as file:
        file.seek(start)
        while size <= enough and (chunk := file.read(1 << 16)):  # at most 66 MB a turn
            size += len(inflate.decompress(chunk))
            while inflate.eof and inflate.unused_data.startswith(b"\x1f\x8b"):  # gzip files may have several members
                rest, inflate = inflate.unused_data, zlib.decompressobj(wbits=47)
                size += len(inflate.decompress(rest))
            if len(inflate.unused_data) > 1:
                break
    return size, inflate.eof or size > enough


# MetaImage ------------------------------------------------------------------------------------------------------------

_META_BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG": 4,
    "MET_ULONG": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
_META_FACTS = (
    "ElementType",
    "BinaryData",
    "BinaryDataByteOrderMSB",
    "CompressedData",
    "AnatomicalOrientation",
    "Modality",
)


def metaimage(path: Path) -> Header:
    """Read the header of a .mhd or .mha file: lines ``key = value``, the last of them ``ElementDataFile``."""
    fields, end = _meta_fields(path)
    sizes = _sizes(path, "DimSize", fields.get("DimSize", ""), fields.get("NDims"))
    _spacings(path, "ElementSpacing", fields.get("ElementSpacing", "").split())
    kind = fields.get("ElementType", "")
    if kind not in _META_BYTES:
        _refuse(path, f"ElementType must be one of {', '.join(_META_BYTES)}; got {kind!r}")
    n_values = math.prod(sizes) * _integer(path, "ElementNumberOfChannels", fields.get("ElementNumberOfChannels", "1"))
    name, header_size = fields["ElementDataFile"], _integer(path, "HeaderSize", fields.get("HeaderSize", "0"))
    local = name == "LOCAL"
    offset = end if local else max(header_size, 0)  # −1: the voxels stand at the end of the file
    as_text = fields.get("BinaryData", "True").lower().startswith("f")
    compressed = fields.get("CompressedData", "False").lower().startswith("t")
    return Header(
        data_file=path if local else _beside(path, "ElementDataFile", name),
        offset=0 if compressed else offset,
        n_bytes=n_values if as_text else n_values * _META_BYTES[kind],
        compressed_from=offset if compressed else None,
        facts={key: fields[key] for key in _META_FACTS if key in fields},
    )


def _meta_fields(path: Path) -> tuple[dict[str, str], int]:
    fields = {}
    with path.open("rb") as file:
        while file.tell() < _MAX_HEADER and (line := file.readline(_MAX_HEADER)):
            match = re.fullmatch(r"\s*([^=:]+?)\s*[=:]\s*(.*?)\s*", line.decode("utf-8", "surrogateescape"))
            if not match:
                break
            fields[match[1]] = match[2]
            if match[1] == "ElementDataFile":
                return fields, file.tell()
    _refuse(path, f"it is not a MetaImage header that ends in ElementDataFile; it is {looks_like(path)}")


# NRRD -----------------------------------------------------------------------------------------------------------------

_NRRD_BYTES = {
    1: "signed char, int8, int8_t, uchar, unsigned char, uint8, uint8_t",
    2: "short, short int, signed short, signed short int, int16, int16_t, "
    "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    4: "int, signed int, int32, int32_t, uint, unsigned int, uint32, uint32_t, float",
    8: "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t, "
    "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t, double",
}
_NRRD_BYTES = {name: size for size, names in _NRRD_BYTES.items() for name in names.split(", ")}
_NRRD_FACTS = ("type", "encoding", "endian", "space", "kinds", "measurement frame")


def nrrd(path: Path) -> Header:
    """Read the header of a .nrrd or .nhdr file: lines ``field: value`` up to an empty one, or to the end."""
    fields, end = _nrrd_fields(path)
    sizes = _sizes(path, "sizes", fields.get("sizes", ""), fields.get("dimension"))
    kind, encoding = fields.get("type", ""), fields.get("encoding", "").lower()
    if kind not in _NRRD_BYTES:
        _refuse(path, f"its voxels must be numbers of a type that NRRD names; got type {kind!r}")
    if encoding not in ("raw", "gzip", "gz", "ascii", "text", "txt"):
        _refuse(path, f"encoding must be raw, gzip or ascii; got {encoding!r}. Other software can convert it")
    _spacings(
        path, "spacings", [s for s in fields.get("spacings", "").split() if s.lower() != "nan"]
    )  # nan: no spacing
    name = fields.get("data file") or fields.get("datafile")
    start = 0 if name else end
    skip = max(_integer(path, "byte skip", fields.get("byte skip") or fields.get("byteskip") or "0"), 0)
    compressed = encoding.startswith("gz")
    n_values = math.prod(sizes)
    return Header(
        data_file=_beside(path, "data file", name) if name else path,
        offset=skip if compressed else start + skip,
        n_bytes=n_values * _NRRD_BYTES[kind] if compressed or encoding == "raw" else n_values,
        compressed_from=start if compressed else None,
        facts={key: fields[key] for key in _NRRD_FACTS if key in fields},
    )


def _nrrd_fields(path: Path) -> tuple[dict[str, str], int]:
    fields = {}
    with path.open("rb") as file:
        if not file.readline(16).startswith(b"NRRD00"):
            _refuse(path, f"it is not NRRD; it is {looks_like(path)}")
        while file.tell() < _MAX_HEADER and (line := file.readline(_MAX_HEADER)).strip():
            name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
            if not value.startswith("="):  # ``key:=value`` is free text, often with names in it
                fields[name.strip().lower()] = value.strip()
        return fields, file.tell()


# NIfTI ----------------------------------------------------------------------------------------------------------------

_NIFTI_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8, 2304: 4}
_NIFTI_HEADER = np.dtype(
    {
        "names": ("dim", "datatype", "pixdim", "vox_offset", "scl", "units", "codes", "sform", "magic"),
        "offsets": (40, 70, 76, 108, 112, 123, 252, 280, 344),
        "formats": ("8i2", "i2", "8f4", "f4", "2f4", "u1", "2i2", "(3,4)f4", "S2"),
        "itemsize": 348,
    }
)
_NIFTI_UNITS = {0: "unknown", 1: "m", 2: "mm", 3: "µm"}


def nifti(path: Path) -> Header:
    """Read the header of a NIfTI-1 or Analyze 7.5 file (.nii, .nii.gz, .hdr with its .img)."""
    compressed = path.name.lower().endswith(".gz")
    head = _nifti_fields(path, _head(path, 348, compressed))
    version = {b"n+": f"NIfTI-{1 if head.itemsize == 348 else 2}", b"ni": "NIfTI-1 pair"}.get(
        head["magic"], "Analyze 7.5"
    )
    single = path.suffix.lower() != ".hdr"
    if single != (head["magic"] == b"n+"):
        _refuse(
            path, f"its header is that of {version}, which does not fit the name: .nii holds header and voxels in one"
        )
    ndim, *sizes = head["dim"].tolist()
    if not 1 <= ndim <= 7 or min(sizes[:ndim]) < 1:
        _refuse(path, f"dim must be 1 to 7 and then that many sizes of 1 or more; got {(ndim, *sizes)}")
    datatype, offset = int(head["datatype"]), float(head["vox_offset"])
    if datatype not in _NIFTI_BYTES:
        _refuse(path, f"datatype must be one of {', '.join(map(str, _NIFTI_BYTES))}; got {datatype}")
    smallest = 352 if single else 0  # the header and 4 bytes of flags
    if not smallest <= offset < 2**62:
        _refuse(path, f"vox_offset must be {smallest} or more; got {offset:g}")
    spacing = head["pixdim"][1 : 1 + min(ndim, 3)].astype(float)
    _spacings(path, "pixdim", spacing)
    facts = {"version": version, "datatype": datatype}
    if version != "Analyze 7.5":
        qform_code, sform_code = head["codes"].tolist()
        _check_sform(path, spacing, qform_code, sform_code, head["sform"])
        slope, intercept = head["scl"].tolist()
        facts |= {"scl_slope": slope, "scl_inter": intercept, "qform_code": qform_code, "sform_code": sform_code}
        facts["units"] = _NIFTI_UNITS.get(int(head["units"]) & 7, "unknown")
    return Header(
        data_file=path if single else _beside(path, "its name", path.with_suffix(".img").name),
        offset=int(offset),
        n_bytes=math.prod(sizes[:ndim]) * _NIFTI_BYTES[datatype],
        compressed_from=0 if compressed else None,
        facts=facts,
    )


def _nifti_fields(path: Path, head: bytes) -> np.void:
    if len(head) == 348:
        for order in "<>":
            length = struct.unpack_from(order + "i", head)[0]
            if length == 348:
                return np.frombuffer(head, _NIFTI_HEADER.newbyteorder(order))[0]
            if length == 540:
                _refuse(path, "it is NIfTI-2, which SimpleITK does not read; nibabel can convert it to NIfTI-1")
    _refuse(path, f"it is not NIfTI or Analyze; it is {looks_like(path)}")


def _check_sform(path: Path, spacing: np.ndarray, qform_code: int, sform_code: int, sform: np.ndarray) -> None:
    """ITK drops a shear, or scales that contradict pixdim, and goes on with the qform; there must be one then."""
    if sform_code > 0 and not np.isfinite(sform).all():
        _refuse(path, f"sform must hold finite numbers; got\n{sform}")
    if sform_code <= 0 or qform_code > 0 or len(spacing) < 3:
        return
    columns = sform[:, :3] / spacing
    if not np.allclose(columns.T @ columns, np.eye(3), atol=1e-3):
        _refuse(
            path,
            "its sform is sheared or contradicts pixdim, and there is no qform to use instead; got sform\n"
            f"{sform}\nand pixdim {spacing}. Resample it to a grid with orthogonal axes",
        )


# GIPL -----------------------------------------------------------------------------------------------------------------

_GIPL_BYTES = {1: 1, 7: 1, 8: 1, 15: 2, 16: 2, 31: 4, 32: 4, 64: 4, 65: 8}


def gipl(path: Path) -> Header:
    """Read the 256 bytes, big-endian, before the voxels of a .gipl or .gipl.gz file."""
    compressed = path.name.endswith(".gz")  # to ITK a name in capitals is that of an uncompressed file
    head = _head(path, 256, compressed)
    if len(head) < 256 or struct.unpack_from(">I", head, 252)[0] not in (0xEFFFE9B0, 0x2AE389B8):
        _refuse(path, f"it is not GIPL; it is {looks_like(path)}")
    sizes, kind = struct.unpack_from(">4H", head, 0), struct.unpack_from(">H", head, 8)[0]
    if kind not in _GIPL_BYTES:
        _refuse(path, f"image type must be one of {', '.join(map(str, _GIPL_BYTES))}; got {kind}")
    _spacings(path, "pixel dimensions", struct.unpack_from(">3f", head, 10))
    return Header(
        data_file=path,
        offset=256,
        n_bytes=math.prod(max(s, 1) for s in sizes) * _GIPL_BYTES[kind],
        compressed_from=0 if compressed else None,
        facts={"image type": kind},
    )


# Pictures -------------------------------------------------------------------------------------------------------------

_PICTURES = {
    ".png": (b"\x89PNG",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".tif": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ".tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ".bmp": (b"BM",),
}


def picture(path: Path) -> Header:
    """Check the first bytes of a picture, and the ends of JPEG and BMP: ITK fills missing rows with gray or noise."""
    suffix, head = path.suffix.lower(), _head(path, 16, compressed=False)
    if not head.startswith(_PICTURES[suffix]):
        _refuse(path, f"it is not what its name says; it is {looks_like(path)}")
    if suffix == ".bmp" and len(head) >= 6:
        return Header(data_file=path, n_bytes=struct.unpack_from("<I", head, 2)[0])
    if suffix in (".jpg", ".jpeg"):
        data = path.read_bytes()
        if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):  # end of image, start of scan
            raise FileFormatError(f"{path} is truncated: the JPEG stream does not end. Copy or download it again.")
    if suffix in (".tif", ".tiff"):
        _check_tiff_pages(path)
    return Header(data_file=path)


def _check_tiff_pages(path: Path) -> None:
    """Follow the chain of pages to its end: ITK would follow one that bites its own tail for ever."""
    data = path.read_bytes()
    order, big = "<>"[data[0] == ord("M")], b"+" in data[:4]  # BigTIFF: 64-bit offsets
    count, entry, link, first = ("Q", 20, "Q", 8) if big else ("H", 12, "I", 4)
    seen = set()
    try:
        (page,) = struct.unpack_from(order + link, data, first)
        while page:
            (n_tags,) = struct.unpack_from(order + count, data, page)
            if page in seen or n_tags == 0:
                _refuse(path, "the list of its pages is broken")
            seen.add(page)
            (page,) = struct.unpack_from(order + link, data, page + struct.calcsize(count) + n_tags * entry)
    except (struct.error, OverflowError):
        raise FileFormatError(f"{path} is truncated: a page is missing. Copy or download it again.") from None


# What they share ------------------------------------------------------------------------------------------------------


def _refuse(path: Path, reason: str) -> NoReturn:
    raise FileFormatError(f"{path} cannot be read: {reason}.")


def _head(path: Path, n: int, compressed: bool) -> bytes:
    opener: Callable = gzip.open if compressed else open
    try:
        with opener(path, "rb") as file:
            return file.read(n)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        _refuse(path, f"its name says gzip, but it is {looks_like(path)}, or damaged")


def _beside(path: Path, what: str, name: str) -> Path:
    """The data file that a header names. A header may come from anywhere: it must not choose what is read."""
    parts = re.split(r"[\\/]", name)
    if ".." in parts or parts[0] == "" or re.match("[A-Za-z]:", name) or "\0" in name:
        _refuse(
            path, f"{what} must name a file in its own folder; got {name!r}. Put the file there and correct the header"
        )
    if "%" in name or name.split(maxsplit=1)[0] in ("LIST", "SKIPLIST"):
        _refuse(path, f"{what} must name one file; got {name!r}, a list of several. Other software can convert it")
    data_file = path.parent / name
    if not data_file.is_file():
        raise FileNotFoundError(f"{path} keeps its voxels in {name}, which is not in the folder {data_file.parent}")
    return data_file


def _sizes(path: Path, what: str, text: str, n: str | None) -> list[int]:
    sizes = [_integer(path, what, word) for word in text.split()]
    if not sizes or min(sizes) < 1 or (n is not None and len(sizes) != _integer(path, "number of dimensions", n)):
        _refuse(path, f"{what} must be {n} whole numbers of 1 or more; got {text!r}")
    return sizes


def _integer(path: Path, what: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        _refuse(path, f"{what} must be a whole number; got {text!r}")


def _spacings(path: Path, what: str, values) -> None:
    try:
        fine = all(0 < float(v) < math.inf for v in values)
    except ValueError:
        fine = False
    if not fine:
        _refuse(path, f"{what} must be positive numbers of mm; got {' '.join(map(str, values))}")


_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"BM": "a BMP picture",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip archive",
    b"NRRD00": "NRRD",
    b"ObjectType": "MetaImage",
    b"\x5c\x01\0\0": "NIfTI or Analyze",
    b"<?xml": "an XML file",
    b"<!DOCTYPE": "a web page, perhaps a failed download",
    b"<html": "a web page, perhaps a failed download",
    b"version https://git-lfs": "a Git LFS pointer; `git lfs pull` fetches the file itself",
}


def looks_like(path: Path) -> str:
    """What the first bytes of a file say it is, in words for a message."""
    with path.open("rb") as file:
        head = file.read(132)
    if not head:
        return "empty"
    if head[128:] == b"DICM":
        return "a DICOM file"
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    return f"something that begins with {head[:16]!r}"
