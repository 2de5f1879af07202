"""Find DICOM files in a folder or a zip archive, and read of each what geometry and sorting need, never the pixels."""

import math
import os
import re
import shutil
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import FileFormatError
from .headers import MAX_DEFLATE_RATIO, looks_like

if TYPE_CHECKING:
    import pydicom

IMPLICIT = "1.2.840.10008.1.2"
NATIVE = {IMPLICIT: "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.2": ">"}  # not compressed, and their byte order
_SIZES = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LARGE = 1 << 28  # bytes; what a header promises below this is harmless
_MAX_DATASET = 1 << 31  # bytes of a deflated data set once inflated; elsewhere its length field could not say more

_HEAD = 1 << 15  # bytes read at once: nearly all headers fit
# What `read_header` reads. Everything else is skipped, which makes it several times faster.
_KEYWORDS = """
    SOPClassUID SOPInstanceUID SeriesInstanceUID Modality SeriesDescription ImageType Manufacturer ManufacturerModelName
    AcquisitionDate AcquisitionTime AcquisitionDateTime ContentTime InstanceNumber AcquisitionNumber
    ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing
    SliceThickness SpacingBetweenSlices GridFrameOffsetVector SequenceOfUltrasoundRegions
    TemporalPositionIdentifier TemporalPositionIndex TriggerTime FrameReferenceTime FrameTime CineRate
    BodyPartExamined EchoTime RepetitionTime InversionTime FlipAngle MagneticFieldStrength SequenceName ProtocolName
    KVP ConvolutionKernel PatientPosition Units DoseUnits DiffusionBValue BurnedInAnnotation
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated BitsStored
    HighBit PixelRepresentation RescaleSlope RescaleIntercept RescaleType DoseGridScaling ModalityLUTSequence
    RedPaletteColorLookupTableDescriptor SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence SegmentSequence
"""

# Value representations that mean the same whatever else the file says, and hold no sequence.
_PLAIN = {
    *("AE", "AS", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US")
}
_SHORT_LENGTH = {vr.encode() for vr in _PLAIN} | {b"AT", b"PN"}  # in explicit encoding, 2 bytes give the length
_LONG_LENGTH = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}  # 4 bytes
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_CLASS, _TRANSFER_SYNTAX, _CHARACTER_SET = 0x00020002, 0x00020010, 0x00080005

# Vendors kept the b-value in elements of their own before the standard had one: creator, tag of the creator, tag.
_PRIVATE_B_VALUES = (
    ("SIEMENS MR HEADER", 0x00190010, 0x0019100C),
    ("GEMS_PARM_01", 0x00430010, 0x00431039),
    ("Philips Imaging DD 001", 0x20010010, 0x20011003),
)


class Source(NamedTuple):
    """A file to read, and the name that messages give it: inside a zip archive the two differ."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """The header of one file.

    Attributes
    ----------
    source : Source
    facts : mapping
        Keyword to value, of the elements of `_KEYWORDS` that the file holds and that are not empty. A plain dictionary,
        because a look-up in a data set of pydicom takes many times longer.
    pixels_at : int
        Where in the file the element with the pixels begins.
    transfer_syntax : str
        UID of the encoding.
    file_size : int
        Bytes.
    """

    source: Source
    facts: Mapping[str, Any]
    pixels_at: int
    transfer_syntax: str
    file_size: int

    @property
    def n_frames(self) -> int:
        """Number of images in the file."""
        return max(int(self.facts.get("NumberOfFrames", 1)), 1)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image plane: a file, or one frame of a file that holds many.

    Attributes
    ----------
    header : Header
        Of the file.
    index : int
        Number of the frame in the file, from 0.
    facts : mapping
        Keyword to value: the frame's own elements first, then those that all frames share, then those of the file.
    """

    header: Header
    index: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def get(self, keyword: str, default: Any = None) -> Any:
        """Value of an element; `default` where it is absent or empty."""
        value = self.facts.get(keyword)
        return self.header.facts.get(keyword, default) if value is None else value

    @property
    def name(self) -> str:
        """For messages: the file and, where it holds several, the frame."""
        several = f", frame {self.index + 1}" if self.header.n_frames > 1 else ""
        return f"{self.header.source.name}{several}"


@contextmanager
def dicom_files(path: Path) -> Iterator[list[Source]]:
    """The DICOM files in a folder and its subfolders, in a zip archive, or the one file itself."""
    if path.is_dir():
        found = sorted(os.path.join(root, name) for root, _, names in os.walk(path) for name in names)
        start = len(os.path.join(path, ""))
        yield [Source(Path(p), p[start:]) for p in found if os.path.isfile(p) and is_dicom_file(p)]
    elif zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="medlearn-") as folder:
            yield _unzip(path, Path(folder))
    else:
        yield [Source(path, str(path))]


def is_dicom_file(path: str | Path) -> bool:
    """Whether the first bytes are those of DICOM: ``DICM`` after 128 bytes, or an element of group 2 or 8 at once."""
    with open(path, "rb", buffering=0) as file:
        return is_dicom_head(file.read(132))


def is_dicom_head(head: bytes) -> bool:
    """As `is_dicom_file`, for the first 132 bytes."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 132:
        return False
    little, big = struct.unpack_from("<HH", head), struct.unpack_from(">HH", head)
    return any(group in (2, 8) and element <= 0x20 for group, element in (little, big))


def _unzip(path: Path, folder: Path) -> list[Source]:
    """Extract the DICOM files under names of our own: no name in an archive decides where anything is written."""
    sources, room = [], shutil.disk_usage(folder).free
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                with archive.open(member) as packed:
                    head = packed.read(132)
                    if not is_dicom_head(head):
                        continue
                    room -= member.file_size
                    if room < 0 or member.file_size > MAX_DEFLATE_RATIO * max(member.compress_size, 1):
                        raise FileFormatError(
                            f"{path}: {member.filename} would unpack to {member.file_size:,} bytes, which is more than "
                            "its compressed bytes can hold or than there is room for. Unpack the archive yourself."
                        )
                    file = folder / f"{len(sources):06d}.dcm"
                    with file.open("wb") as unpacked:
                        unpacked.write(head)
                        shutil.copyfileobj(packed, unpacked)  # zipfile stops at the size that the archive promises
                sources.append(Source(file, member.filename))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise FileFormatError(f"{path} is a zip archive that cannot be unpacked: {error}.") from None
    return sources


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Read what the file holds, as pydicom finds it: it comments on small faults that do not matter here."""
    from pydicom import config

    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def read_header(source: Source) -> Header:
    """Read the elements that matter, up to the pixels.

    Raises
    ------
    FileFormatError
        If the file is no DICOM, or damaged before its pixels.
    """
    with source.path.open("rb") as file, quiet_pydicom():
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD)
        if not is_dicom_head(head[:132]):
            raise FileFormatError(f"{source.name} is no DICOM file; it is {looks_like(source.path)}.")
        if _DEFLATED in head[:1024]:
            _check_deflated(source, file)
        try:
            facts, pixels_at, syntax, named = _read_usual(head) or _read_with_pydicom(file)
            sizes = {word: int(facts.get(word, 1)) for word in _SIZES}
            promised = math.prod(sizes.values()) * int(facts.get("BitsAllocated", 8)) // 8
        except Exception as error:  # pydicom raises whatever the damaged bytes lead to
            raise FileFormatError(
                f"{source.name} is a damaged DICOM file: its header cannot be read ({type(error).__name__}: {error}). "
                "Copy or download it again."
            ) from None
    header = Header(source, facts, pixels_at, syntax, size)
    if not named and "Rows" not in facts:
        raise FileFormatError(f"{source.name} is a damaged DICOM file: it does not say what it holds. Copy it again.")
    if promised > max(_LARGE, size * MAX_DEFLATE_RATIO):
        raise FileFormatError(
            f"{source.name}: its header promises {promised:,} bytes of pixels "
            f"({', '.join(f'{word} {n}' for word, n in sizes.items())}), "
            f"which a file of {size:,} bytes cannot hold. The header is wrong."
        )
    return header


def _read_usual(head: bytes) -> tuple[dict[str, Any], int, str, bool] | None:
    """What `_read_with_pydicom` returns, five times as fast; None where the file is not of the usual kind.

    The usual file is little-endian, has no sequence that matters and no element of undefined length before its pixels.
    """
    elements = _scan(head)
    if elements is None:
        return None
    found, pixels_at, syntax = elements
    encoding = _python_encoding(found.get(_CHARACTER_SET, ("CS", b""))[1])
    facts = {}
    for tag, (vr, value) in found.items():
        try:
            keyword, converted = _convert(tag, vr, value, True, encoding)
        except Exception:  # a value that makes no sense is as good as absent
            continue
        if converted is not None and tag >> 16 != 2:
            facts[keyword] = converted
    if (number := b_value({}, facts)) is not None:
        facts["DiffusionBValue"] = number
    return facts, pixels_at, syntax, "SOPClassUID" in facts or _CLASS in found


def _scan(head: bytes) -> tuple[dict[int, tuple[str, bytes]], int, str] | None:
    """VR and bytes of the wanted elements, where the pixels begin, and the transfer syntax (PS3.5, section 7.1)."""
    wanted, private = _wanted()
    found, at, syntax, explicit = {}, 132, None, True
    if head[128:132] != b"DICM":
        return None
    try:
        while True:
            group, number = struct.unpack_from("<HH", head, at)
            tag = group << 16 | number
            if group != 2 and syntax is None:  # the file's own group is always explicit, the rest as it says
                syntax = found[_TRANSFER_SYNTAX][1].rstrip(b"\0 ").decode("ascii")
                explicit = syntax != IMPLICIT
                if NATIVE.get(syntax) == ">" or syntax == _DEFLATED.decode():
                    return None
            if tag in _PIXELS:
                return found, at, syntax
            vr = head[at + 4 : at + 6] if explicit else wanted.get(tag, b"UN")
            if not explicit:
                length, start = struct.unpack_from("<I", head, at + 4)[0], at + 8
            elif vr in _SHORT_LENGTH:
                length, start = struct.unpack_from("<H", head, at + 6)[0], at + 8
            elif vr in _LONG_LENGTH:
                length, start = struct.unpack_from("<I", head, at + 8)[0], at + 12
            else:
                return None
            at = start + length
            if length == 0xFFFFFFFF or tag in private:
                return None
            if tag in wanted and length:
                if vr.decode() not in _PLAIN:
                    return None
                found[tag] = vr.decode(), head[start:at]
    except (struct.error, KeyError, UnicodeDecodeError):  # longer than `head`, or damaged
        return None


@cache
def _wanted() -> tuple[dict[int, bytes], set[int]]:
    """Tag to VR of the standard elements to read, and the tags of private ones that need a closer look."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tags = [_CLASS, _TRANSFER_SYNTAX, _CHARACTER_SET, *map(tag_for_keyword, _KEYWORDS.split())]
    return {tag: dictionary_VR(tag).encode() for tag in tags}, {tag for *_, tag in _PRIVATE_B_VALUES}


@lru_cache
def _python_encoding(character_set: bytes) -> tuple[str, ...]:
    from pydicom.charset import convert_encodings

    return tuple(convert_encodings(character_set.decode("ascii", "replace").strip("\0 ").split("\\")))


def _read_with_pydicom(file) -> tuple[dict[str, Any], int, str, bool]:
    """Facts, where the pixels begin, transfer syntax, and whether the file says what kind of object it holds."""
    from pydicom import dcmread

    file.seek(0)
    dataset = dcmread(file, stop_before_pixels=True, force=True, specific_tags=_tags())
    facts = _facts(dataset)
    named = "SOPClassUID" in facts or bool(dataset.file_meta.get("MediaStorageSOPClassUID"))
    return facts, file.tell(), transfer_syntax(dataset), named


def _facts(dataset: "pydicom.Dataset") -> dict[str, Any]:
    """Keyword to value of the elements that hold something, and the b-value wherever the vendor put it."""
    facts, encoding = {}, _encoding(dataset)
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        try:  # converting raises where a value makes no sense: then it is as good as absent
            if getattr(raw, "VR", None) in _PLAIN and type(raw.value) is bytes:
                keyword, value = _convert(tag, raw.VR, raw.value, raw.is_little_endian, encoding)
            else:
                element = dataset[tag]
                keyword, value = element.keyword, None if element.is_empty else element.value
        except Exception:
            continue
        if keyword and value is not None:
            facts[keyword] = value
    if (number := b_value(dataset, facts)) is not None:
        facts["DiffusionBValue"] = number
    return facts


@lru_cache(maxsize=4096)
def _convert(tag: int, vr: str, value: bytes, little_endian: bool, encoding) -> tuple[str, Any]:
    """Keyword and value, None if empty, of an element as it stands in the file.

    Nearly all elements are the same in all files of a series. Converting each once makes listing half as long.
    """
    from pydicom.dataelem import RawDataElement, convert_raw_data_element

    raw = RawDataElement(tag, vr, len(value), value, 0, False, little_endian)
    element = convert_raw_data_element(raw, encoding=list(encoding))
    return element.keyword, None if element.is_empty else element.value


def _encoding(dataset: "pydicom.Dataset") -> tuple[str, ...]:
    encoding = dataset.original_character_set
    return (encoding,) if isinstance(encoding, str) else tuple(encoding)


@cache
def _tags() -> list[int]:
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    numbers = [tag_for_keyword(word) for word in _KEYWORDS.split()]
    numbers += [tag for _, *pair in _PRIVATE_B_VALUES for tag in pair]
    return [Tag(number) for number in numbers]


def transfer_syntax(dataset: "pydicom.Dataset") -> str:
    named = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if named:
        return str(named)
    implicit, little = dataset.original_encoding
    return "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def _check_deflated(source: Source, file) -> None:
    """Inflate a deflated data set once, in pieces: a small file may claim to hold more than fits into memory."""
    file.seek(0)
    data = file.read()
    start = 144 + struct.unpack_from("<I", data, 140)[0] if len(data) > 144 else len(data)
    inflate, size = zlib.decompressobj(wbits=-15), 0
    try:
        rest = data[start:]
        while rest and size <= _MAX_DATASET:
            size += len(inflate.decompress(rest, 1 << 24))
            rest = inflate.unconsumed_tail
    except zlib.error as error:
        raise FileFormatError(f"{source.name} is damaged: its deflated data cannot be read ({error}).") from None
    if size > _MAX_DATASET or not inflate.eof:
        reason = f"holds more than {_MAX_DATASET:,} bytes" if size > _MAX_DATASET else "is truncated"
        raise FileFormatError(f"{source.name} cannot be read: its deflated data set {reason}.")


def frames_of(header: Header) -> list[Frame]:
    """The image planes of a file; none where it holds no pixels."""
    known = header.facts
    if not known.get("Rows") or not known.get("Columns"):
        if str(getattr(known.get("SOPClassUID"), "name", "")).endswith("Image Storage"):
            raise FileFormatError(f"{header.source.name} is truncated: it ends before its pixels. Copy it again.")
        return []
    _check_complete(header)
    shared = known.get("SharedFunctionalGroupsSequence")
    own = known.get("PerFrameFunctionalGroupsSequence", ())
    if own and len(own) != header.n_frames:
        raise FileFormatError(
            f"{header.source.name}: its header announces {header.n_frames} frames, but describes {len(own)}. "
            "Copy or download it again."
        )
    common = _flatten(shared[0]) if shared else {}
    offsets = known.get("GridFrameOffsetVector")
    frames = []
    for index in range(header.n_frames):
        facts = common | _flatten(own[index]) if own else dict(common)
        if offsets is not None and header.n_frames > 1:
            facts["ImagePositionPatient"] = _offset_position(known, list(offsets), index)
        frames.append(Frame(header, index, facts))
    return frames


def _check_complete(header: Header) -> None:
    """Refuse a file that ends before its pixels do; of compressed ones, only that they are there is known."""
    known = header.facts
    if header.transfer_syntax == _DEFLATED.decode():
        return
    needed, found = 0, header.file_size - header.pixels_at - (8 if header.transfer_syntax == IMPLICIT else 12)
    if header.transfer_syntax in NATIVE and known.get("PhotometricInterpretation") != "YBR_FULL_422":
        values = header.n_frames * known["Rows"] * known["Columns"] * int(known.get("SamplesPerPixel", 1))
        needed = values * int(known.get("BitsAllocated", 8)) // 8
    if found < needed or found < 0:
        raise FileFormatError(
            f"{header.source.name} is truncated: its header promises {needed:,} bytes of pixels, but there are "
            f"{max(found, 0):,}. Copy or download it again."
        )


def _flatten(groups: "pydicom.Dataset") -> dict[str, Any]:
    """Functional groups hold each fact in a sequence of its own: bring all of them to one level."""
    facts = {}
    for group in groups:
        if group.VR == "SQ" and group.value:
            facts |= _facts(group.value[0])
    return facts


def _offset_position(known: Mapping[str, Any], offsets: list, index: int) -> list[float] | None:
    """Position of a plane of an RT dose: all share one position and are shifted along the normal."""
    from ._dicom_geometry import normal

    first, orientation = known.get("ImagePositionPatient"), known.get("ImageOrientationPatient")
    if first is None or orientation is None or index >= len(offsets):
        return None
    shift = float(offsets[index]) - float(offsets[0])
    return [float(p) + shift * n for p, n in zip(first, normal(orientation), strict=True)]


def b_value(dataset: "pydicom.Dataset", facts: Mapping[str, Any]) -> float | None:
    """b-value in s/mm²: from the standard's element, from those of the vendors, or from the sequence's name.

    `facts` are the standard elements of `dataset` that are converted already: looking them up there takes no time.
    """
    if not {"ADC", "FA"}.isdisjoint(facts.get("ImageType") or ()):  # computed from several b-values: it has none
        return None
    if (value := facts.get("DiffusionBValue")) is not None:
        return float(value)
    for creator, creator_tag, tag in _PRIVATE_B_VALUES:
        if tag in dataset and str(dataset[creator_tag].value if creator_tag in dataset else "").strip() == creator:
            return _private_number(dataset[tag].value)
    match = re.search(r"(?:^|_)b(\d+)t?(?:#\d+)?$", str(facts.get("SequenceName") or ""))  # *ep_b800t, ep_b1000#12
    return float(match[1]) if match else None


def _private_number(value: Any) -> float | None:
    if isinstance(value, bytes):
        if len(value) == 4 and not value.strip().isdigit():
            return struct.unpack("<f", value)[0]
        value = value.decode("ascii", "replace").strip("\0 ").split("\\")[0]
    elif not isinstance(value, (str, int, float)):
        value = value[0]
    try:
        return float(value) % 1_000_000_000  # GE adds 10⁹ where several directions were averaged
    except ValueError:
        return None
