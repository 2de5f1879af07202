"""Decode the pixels of DICOM files, in every usual transfer syntax, and bring them to the units of the modality.

Pixels that are not compressed are read straight from the file. pydicom decodes what it can, and SimpleITK (GDCM) the
rest: it gets a bare copy of the pixels, because it would apply the rescaling in its own way.
"""

import math
import re
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileFormatError
from ._dicom_header import IMPLICIT, NATIVE, Frame, Header, quiet_pydicom

if TYPE_CHECKING:
    import pydicom

_UNCOMPRESSED = (*NATIVE, "1.2.840.10008.1.2.1.99")  # deflated: the pixels in it are as they are
_PIXEL_DATA = (0x7FE0, 0x0010)
_PIXEL_WORDS = """
    Rows Columns SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames BitsAllocated BitsStored
    HighBit PixelRepresentation PixelData
"""


def is_compressed(header: Header) -> bool:
    """Whether the pixels are."""
    return header.transfer_syntax not in _UNCOMPRESSED


def voxel_dtype(frames: Sequence[Frame]) -> np.dtype:
    """Type of the voxels after rescaling, from the headers alone.

    Whole-numbered rescaling keeps whole numbers, in the smallest type that holds all that the header allows; anything
    else gives float32.
    """
    kinds = {(stored_dtype(f), f.get("BitsStored"), *_rescale(f)) for f in frames}
    return np.result_type(*(_rescaled_dtype(*kind) for kind in kinds))


def read_pixels(frames: Sequence[Frame]) -> np.ndarray:
    """Pixels of each frame, rescaled: (frames, rows, columns) or (frames, rows, columns, 3)."""
    dtype = voxel_dtype(frames)
    array, files = None, {}
    for k, frame in enumerate(frames):
        files.setdefault(frame.header.source, []).append((k, frame))
    for members in files.values():
        pixels = _decode(members[0][1].header)
        for k, frame in members:
            plane = _rescaled(pixels[frame.index], frame, dtype)
            if array is None:  # only now is it known that the header was not lying about the size
                array = np.empty((len(frames), *plane.shape), dtype)
            array[k] = plane
    return array


def stored_dtype(frame: Frame) -> np.dtype:
    """Type of the pixels as they are stored."""
    bits = int(frame.get("BitsAllocated", 16))
    if bits == 1:
        return np.dtype(np.uint8)
    if frame.get("PhotometricInterpretation") == "PALETTE COLOR":
        return np.dtype(
            np.uint8 if frame.get("RedPaletteColorLookupTableDescriptor", (0, 0, 16))[2] == 8 else np.uint16
        )
    if bits not in (8, 16, 32):
        raise FileFormatError(f"{frame.name}: Bits Allocated must be 1, 8, 16 or 32; got {bits}.")
    return np.dtype(f"{'i' if frame.get('PixelRepresentation', 0) else 'u'}{bits // 8}")


def _rescale(frame: Frame) -> tuple[float, float]:
    slope = frame.get("RescaleSlope", frame.get("DoseGridScaling", 1.0))
    return float(slope), float(frame.get("RescaleIntercept", 0.0))


def _rescaled_dtype(stored: np.dtype, bits_stored: Any, slope: float, intercept: float) -> np.dtype:
    if (slope, intercept) == (1.0, 0.0):
        return stored
    if not (slope.is_integer() and intercept.is_integer()):
        return np.dtype(np.float32)
    bits = int(bits_stored or 8 * stored.itemsize)
    lowest, highest = (0, 2**bits - 1) if stored.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    ends = sorted(int(slope) * value + int(intercept) for value in (lowest, highest))
    whole = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
    fitting = [t for t in whole if np.iinfo(t).min <= ends[0] and ends[1] <= np.iinfo(t).max]
    return np.dtype(fitting[0] if fitting else np.float32)


def _rescaled(pixels: np.ndarray, frame: Frame, dtype: np.dtype) -> np.ndarray:
    if frame.get("ModalityLUTSequence"):
        from pydicom import dcmread
        from pydicom.pixels import apply_modality_lut

        return apply_modality_lut(pixels, dcmread(frame.header.source.path, stop_before_pixels=True, force=True))
    slope, intercept = _rescale(frame)
    if (slope, intercept) == (1.0, 0.0):
        return pixels
    if dtype.kind == "f":
        return pixels * np.float32(slope) + np.float32(intercept)
    return pixels.astype(dtype) * dtype.type(slope) + dtype.type(intercept)


def _decode(header: Header) -> np.ndarray:
    """All frames of a file: (frames, rows, columns) or (frames, rows, columns, 3)."""
    plain = (
        header.transfer_syntax in NATIVE
        and header.facts.get("SamplesPerPixel", 1) == 1
        and header.facts.get("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2", None)
        and header.facts.get("BitsAllocated") in (8, 16, 32)
    )
    shape = (header.n_frames, int(header.facts["Rows"]), int(header.facts["Columns"]))
    pixels = _read_native(header, shape) if plain else None
    pixels = _decode_with_pydicom(header) if pixels is None else pixels
    color = (3,) if pixels.ndim > 2 and pixels.shape[-1] == 3 and pixels.size == 3 * math.prod(shape) else ()
    if pixels.size != math.prod(shape + color):
        raise FileFormatError(f"{header.source.name}: {pixels.shape} pixels were decoded, but {shape} are promised.")
    return pixels.reshape(shape + color)


def _read_native(header: Header, shape: tuple[int, ...]) -> np.ndarray | None:
    """Read pixels that are neither compressed nor colored; None where they are not whole numbers (float pixel data)."""
    order = NATIVE[header.transfer_syntax]
    dtype = stored_dtype(Frame(header, 0)).newbyteorder(order)
    with header.source.path.open("rb") as file:
        file.seek(header.pixels_at)
        head = file.read(12)
        if len(head) < 12:
            raise FileFormatError(f"{header.source.name} is truncated: it ends before its pixels.")
        if struct.unpack_from(order + "HH", head) != _PIXEL_DATA:
            return None
        implicit = header.transfer_syntax == IMPLICIT
        length = struct.unpack_from(order + "I", head, 4 if implicit else 8)[0]
        needed = math.prod(shape) * dtype.itemsize
        start = header.pixels_at + (8 if implicit else 12)
        found = min(length, header.file_size - start)
        if found < needed:
            raise FileFormatError(
                f"{header.source.name} is truncated: its header promises {needed:,} bytes of pixels, but there are "
                f"{max(found, 0):,}. Copy or download it again."
            )
        file.seek(start)
        pixels = np.fromfile(file, dtype, math.prod(shape))
    pixels = pixels.astype(dtype.newbyteorder("="), copy=False).reshape(shape)
    return _drop_unused_bits(pixels, header)


def _drop_unused_bits(pixels: np.ndarray, header: Header) -> np.ndarray:
    """Clear the bits above the highest one in use: old files keep overlays there, and signs are not always extended."""
    allocated = 8 * pixels.dtype.itemsize
    stored = int(header.facts.get("BitsStored", allocated))
    high = int(header.facts.get("HighBit", stored - 1))
    if stored >= allocated or not stored - 1 <= high < allocated:
        return pixels
    above, below = allocated - 1 - high, high + 1 - stored
    return (pixels << above) >> (above + below)


def _decode_with_pydicom(header: Header) -> np.ndarray:
    from pydicom import dcmread
    from pydicom.pixels import apply_color_lut

    with quiet_pydicom():
        try:
            dataset = dcmread(header.source.path, force=True)
            dataset.ensure_file_meta()
            dataset.file_meta.TransferSyntaxUID = header.transfer_syntax
            try:
                pixels = dataset.pixel_array  # YBR becomes RGB
            except (RuntimeError, NotImplementedError, ImportError):
                pixels = _decode_with_itk(dataset)
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                pixels = apply_color_lut(pixels, dataset)
        except Exception as error:  # decoders raise whatever the damaged bytes lead to
            raise FileFormatError(
                f"{header.source.name}: its pixels cannot be decoded ({type(error).__name__}: {_first_line(error)}). "
                "The file is truncated or damaged, or its compression is not supported; copy it again, or decompress "
                "it with other software."
            ) from None
    return pixels


def _decode_with_itk(dataset: "pydicom.Dataset") -> np.ndarray:
    """Decode with GDCM a file that holds the pixels and nothing else."""
    import SimpleITK as sitk
    from pydicom import Dataset

    bare = Dataset()
    for word in _PIXEL_WORDS.split():
        if word in dataset:
            bare[word] = dataset[word]
    bare.SOPClassUID, bare.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "2.25.1"  # secondary capture
    bare.file_meta = dataset.file_meta
    with tempfile.TemporaryDirectory(prefix="medlearn-") as folder:
        path = Path(folder) / "pixels.dcm"
        bare.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        return sitk.GetArrayFromImage(reader.Execute())


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"\(0x[0-9a-f]+\)", "", lines[-1]) if lines else "no reason given"  # addresses help nobody
