"""Image files of every format that SimpleITK reads and that this course meets.

`load` and `save` move a whole `Volume`; `describe` reads the header only. A file that is truncated, mislabelled or worse
ends in one sentence that says so, never in a wrong image: `headers` checks what a header promises before ITK believes it.
SimpleITK is imported when it is first needed.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import FileFormatError, LossyFormatError
from ..volume import Volume, from_sitk, to_sitk
from . import headers

if TYPE_CHECKING:
    import SimpleITK as sitk


class Format(NamedTuple):
    """What has to be known of a file format.

    `reader` is ITK's class, named so that a file is read as what its name says or not at all. `header` checks what the
    header promises. Formats with `lossy` set can be read only; the text says why.
    """

    name: str
    reader: str
    header: Callable[[Path], headers.Header]
    compress: bool = False
    lossy: str = ""


_JPEG = Format("JPEG", "JPEGImageIO", headers.picture, lossy="its compression changes the pixels")
_TIFF = Format("TIFF", "TIFFImageIO", headers.picture)
_ANALYZE = Format("NIfTI pair or Analyze", "NiftiImageIO", headers.nifti)

FORMATS = {
    ".mhd": Format("MetaImage", "MetaImageIO", headers.metaimage),
    ".mha": Format("MetaImage", "MetaImageIO", headers.metaimage),
    ".nrrd": Format("NRRD", "NrrdImageIO", headers.nrrd, compress=True),
    ".nhdr": Format("NRRD", "NrrdImageIO", headers.nrrd, compress=True),
    ".nii": Format("NIfTI", "NiftiImageIO", headers.nifti),
    ".nii.gz": Format("NIfTI", "NiftiImageIO", headers.nifti, compress=True),
    ".gipl": Format("GIPL", "GiplImageIO", headers.gipl),
    ".gipl.gz": Format("GIPL", "GiplImageIO", headers.gipl, compress=True),
    ".hdr": _ANALYZE,
    ".img": _ANALYZE,
    ".png": Format("PNG", "PNGImageIO", headers.picture, compress=True),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", "BMPImageIO", headers.picture, lossy="it turns gray values into colors"),
}
_NOT_YET = {".dcm": "DICOM", ".vti": "VTK image data"}


def suffix(path: str | os.PathLike) -> str:
    """File name extension in lower case, double ones in one piece.

    Examples
    --------
    >>> suffix("scans/Case00.NII.GZ"), suffix("Case00.mhd"), suffix("1.2.840.txt")
    ('.nii.gz', '.mhd', '.txt')
    """
    name = Path(path).name.lower()
    known = [s for s in (*FORMATS, *_NOT_YET) if name.endswith(s) and name != s]
    return max(known, key=len, default=Path(name).suffix)


def stem(path: str | os.PathLike) -> str:
    """File name without folder and without the extension of a known image format, double ones included.

    Examples
    --------
    >>> stem("scans/Case00_segmentation.nii.gz"), stem("v1.2_scan.mhd"), stem("1.2.840")
    ('Case00_segmentation', 'v1.2_scan', '1.2.840')
    """
    name = Path(path).name
    ending = suffix(name)
    return name[: -len(ending)] if ending in FORMATS or ending in _NOT_YET else name


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """What a file says about its image, without the voxels. ``print`` shows it as a table.

    Attributes
    ----------
    path : Path
    format : str
        Name of the format.
    shape : tuple of int
        Shape that the array will have; the axes are named by `axes`.
    axes : str
        As `Volume.axes`.
    spacing : tuple of float
        mm, (z, y, x) or (y, x).
    origin : tuple of 3 floats
        mm, world LPS (x, y, z).
    direction : (3, 3) array
        Columns are the world directions of the x, y and z index axes.
    dtype : numpy.dtype
        Type that the voxels will have; after rescaling, where the format has it.
    compressed : bool or None
        None where the file does not say.
    file_size : int
        Bytes of all files that make up the image.
    header : mapping
        Other fields of the header, none that could identify a person.
    """

    path: Path
    format: str
    shape: tuple[int, ...]
    axes: str
    spacing: tuple[float, ...]
    origin: tuple[float, float, float]
    direction: np.ndarray
    dtype: np.dtype
    compressed: bool | None
    file_size: int
    header: Mapping[str, Any]

    def __str__(self):
        rows = {
            "file": f"{self.path} ({self.file_size:,} bytes)",
            "format": self.format + {True: ", compressed", False: ", not compressed", None: ""}[self.compressed],
            "shape": f"{_join(self.shape, ' × ')} ({', '.join(self.axes)})",
            "voxels": f"{self.dtype}",
            "spacing": f"{_join(self.spacing, ' × ')} mm ({', '.join(self.axes.strip('tc'))})",
            "origin": f"{_join(self.origin)} mm (x, y, z; LPS)",
            **{
                f"direction {axis}": f"{_join(column)} (x, y, z; LPS)"
                for axis, column in zip("xyz", self.direction.T, strict=True)
            },
            **self.header,
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def load(path: str | os.PathLike) -> Volume:
    """Read an image with its geometry.

    Parameters
    ----------
    path : path
        MetaImage (.mhd, .mha), NRRD (.nrrd, .nhdr), NIfTI (.nii, .nii.gz), GIPL (.gipl, .gipl.gz), NIfTI pair or
        Analyze (.hdr, .img), or a picture (.png, .jpg, .tif, .bmp).

    Returns
    -------
    Volume
        Axes ``zyx``, or ``yx`` for pictures and other 2-D images, with ``t`` in front for a series of volumes and ``c``
        behind for colors and vectors. Voxels keep the type of the file, except that NIfTI's scaling is applied. GIPL
        and Analyze store no usable direction: it is the identity.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or the file with the voxels is missing beside its header.
    FileFormatError
        If the file is truncated, damaged, mislabelled, of an unknown format, or names a file outside its own folder.
        A symbolic link is followed.
    """
    reader, _, header, _ = _open(path)
    headers.check_stream(Path(path), header)
    with _itk_errors(path, "cannot be read"):
        return from_sitk(reader.Execute())


def describe(path: str | os.PathLike) -> Description:
    """Read the header of an image: shape, geometry, type. It costs the same for a small file and a large one.

    Parameters
    ----------
    path : path
        As for `load`.

    Returns
    -------
    Description

    Raises
    ------
    FileNotFoundError, FileFormatError
        As `load`; only damage inside compressed voxels goes unnoticed, because they are not read.
    """
    _, form, header, probe, shape = (lambda r, f, h, p: (r, f, h, p[0], p[1]))(*_open(path))
    path = Path(path)
    files = {path, header.data_file}
    return Description(path=path)
