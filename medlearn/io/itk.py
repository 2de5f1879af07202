"""Image files: those that SimpleITK reads are read here, DICOM and VTI in modules of their own.

`load` and `save` move a whole `Volume`; `describe` reads the header only. A file that is truncated or mislabelled ends
in one sentence that says so, never in a wrong image: `headers` checks what a header promises before ITK believes it.
SimpleITK is imported when it is first needed.
"""

import math
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
from . import dicom, headers, vti

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
_OTHERS = (".dcm", ".vti")  # which `dicom` and `vti` read


def suffix(path: str | os.PathLike) -> str:
    """File name extension in lower case, double ones in one piece.

    Examples
    --------
    >>> suffix("scans/Case00.NII.GZ"), suffix("Case00.mhd"), suffix("1.2.840.txt")
    ('.nii.gz', '.mhd', '.txt')
    """
    name = Path(path).name.lower()
    known = [s for s in (*FORMATS, *_OTHERS) if name.endswith(s) and name != s]
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
    return name[: -len(ending)] if ending in FORMATS or ending in _OTHERS else name


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


def load(path: str | os.PathLike, *, series_uid: str | None = None) -> Volume:
    """Read an image with its geometry.

    Parameters
    ----------
    path : path
        MetaImage (.mhd, .mha), NRRD (.nrrd, .nhdr), NIfTI (.nii, .nii.gz), GIPL (.gipl, .gipl.gz), VTK image data
        (.vti), NIfTI pair or Analyze (.hdr, .img), or a picture (.png, .jpg, .tif, .bmp). DICOM: a folder, searched
        with its subfolders, a zip archive, or one file, with or without an extension.
    series_uid : str, optional
        Which series of DICOM, where there are several; `medlearn.dicom.list_series` lists them.

    Returns
    -------
    Volume
        Axes ``zyx``, or ``yx`` for pictures and other 2-D images, with ``t`` in front for a series of volumes and ``c``
        behind for colors and vectors. Voxels keep the type of the file, except that the scalings of NIfTI and DICOM
        are applied. GIPL and Analyze hold no direction that could be used: it is the identity. DICOM slices are sorted
        by their positions; one slice with a position is ``zyx``, a clip without positions ``tyx`` or ``tyxc``.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or the file with the voxels is missing beside its header.
    FileFormatError
        If the file is truncated, damaged, mislabelled, of an unknown format, or if its header names a file outside its
        own folder. (A symbolic link in the folder is followed: not the header made it.) If there are several series
        of DICOM and `series_uid` does not choose one, or if one series cannot be one volume (`NotOneVolumeError`:
        slices are missing, or there are several b-values, echoes, times or orientations); the message says what to do.
    ValueError
        If there is no such series.
    """
    if _is_dicom(path, series_uid):
        return dicom.read(path, series_uid)
    if suffix(path) == ".vti":
        return vti.load_vti(path)
    description, header = _inspect(path)
    if description.format != "NRRD":  # ITK verifies the streams of NRRD, and of NRRD only
        headers.check_stream(description.path, header)
    reader = _reader(description.path)
    with _quiet_itk(description.path):
        return from_sitk(reader.Execute())


def describe(path: str | os.PathLike, *, series_uid: str | None = None) -> Description:
    """Read the header of an image: shape, geometry, type. It takes the same time for a small image and a large one.

    Parameters
    ----------
    path, series_uid
        As for `load`.

    Returns
    -------
    Description

    Raises
    ------
    FileNotFoundError, FileFormatError
        As `load`; only damage inside compressed voxels goes unnoticed, because they are not read.
    """
    if _is_dicom(path, series_uid):
        return Description(path=Path(path), **dicom.facts(path, series_uid))
    if suffix(path) == ".vti":
        return vti.describe_vti(path)
    return _inspect(path)[0]


def _is_dicom(path: str | os.PathLike, series_uid: str | None) -> bool:
    found = dicom.is_dicom(Path(path), known=suffix(path) in FORMATS)
    if series_uid is not None and not found:
        raise ValueError(f"series_uid chooses among the series of DICOM, but {path} is none; got {series_uid!r}")
    return found


def save(volume: Volume, path: str | os.PathLike) -> Path:
    """Write an image in the format that the extension of `path` names, and refuse what that format would lose.

    The files are written to a temporary folder beside `path`, their header is read back and compared with the volume,
    and only then they take their places, the header last. An existing image is replaced; an error leaves it untouched.

    Parameters
    ----------
    volume : Volume
        Boolean voxels are stored as uint8, float16 as float32: no format here has those types. `volume.meta` is not
        stored.
    path : path
        ``NAME.mhd`` comes with ``NAME.raw``, ``NAME.nhdr`` with ``NAME.raw.gz``, ``NAME.hdr`` with ``NAME.img``.
        .nrrd, .nhdr, .nii.gz, .gipl.gz and .png are compressed. A name that ends in a slash, ``NAME/``, is a new folder
        for a DICOM series (`medlearn.dicom.save_series`).

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    LossyFormatError
        If the format cannot hold the axes, the type of the voxels, the spacing, the origin or the direction (GIPL: any
        direction but the identity, 32-bit integers; PNG: anything but 8- and 16-bit pictures).
    FileNotFoundError
        If the folder does not exist.
    FileFormatError
        If the extension is that of no known format.
    """
    if str(path).endswith(("/", os.sep)):
        return dicom.save_series(volume, path)
    if suffix(path) == ".vti":
        return vti.save_vti(volume, path)
    path = Path(path)
    form = _format(path)
    if form.lossy:
        raise LossyFormatError(f"{path}: {form.name} is not written, because {form.lossy}. Use .png, or .nrrd")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    with tempfile.TemporaryDirectory(prefix=".medlearn-", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        try:
            _write(volume, draft, form)
            losses = _losses(volume, describe(draft))
        except FileFormatError as error:
            losses = [str(error).replace(str(draft), path.name)]
        if losses:
            advice = "" if form.name in ("NRRD", "MetaImage") else "\nNRRD (.nrrd) and MetaImage (.mha) keep more."
            raise LossyFormatError(
                f"{path} was not written, because {form.name} cannot hold {volume!r} as it is:\n  "
                + "\n  ".join(losses)
                + advice
            )
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name):
            file.replace(path.with_name(file.name))
    return path


def _inspect(path: str | os.PathLike) -> tuple[Description, headers.Header]:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    form = _format(path)
    path = path.with_suffix(".hdr") if suffix(path) == ".img" else path
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    header = form.header(path)
    headers.check_size(path, header)
    reader = _reader(path)
    with _quiet_itk(path):
        reader.ReadImageInformation()
        voxel = _one_voxel(reader)
    components = (reader.GetNumberOfComponents(),) * ("c" in voxel.axes)
    description = Description(
        path=path,
        format=form.name,
        shape=reader.GetSize()[::-1] + components,
        axes=voxel.axes,
        spacing=voxel.spacing,
        origin=voxel.origin,
        direction=voxel.direction,
        dtype=voxel.array.dtype,
        compressed=None if form.header is headers.picture else header.compressed_from is not None,
        file_size=sum(file.stat().st_size for file in {path, header.data_file}),
        header=header.facts,
    )
    _check_picture_size(description)
    return description, header


def _one_voxel(reader: "sitk.ImageFileReader") -> Volume:
    """The geometry, axes and type of the promised image in an image of one voxel: `Volume` then checks them."""
    import SimpleITK as sitk

    size = [1] * reader.GetDimension()
    image = sitk.Image(size, reader.GetPixelID(), reader.GetNumberOfComponents())
    image.SetSpacing(reader.GetSpacing())
    image.SetOrigin(reader.GetOrigin())
    image.SetDirection(reader.GetDirection())
    return from_sitk(image)


def _check_picture_size(description: Description) -> None:
    n_bytes = math.prod(description.shape) * description.dtype.itemsize
    if n_bytes > description.file_size * headers.MAX_DEFLATE_RATIO:
        raise FileFormatError(
            f"{description.path}: its header promises {n_bytes:,} bytes, "
            f"which a file of {description.file_size:,} bytes cannot hold. The header is wrong."
        )


def _write(volume: Volume, path: Path, form: Format) -> None:
    import SimpleITK as sitk

    writer = sitk.ImageFileWriter()
    writer.SetImageIO(form.reader)
    writer.SetFileName(str(path))
    writer.SetUseCompression(form.compress)
    with _quiet_itk(path):
        writer.Execute(to_sitk(volume))


def _losses(volume: Volume, kept: Description) -> list[str]:
    """What differs between a volume and its file, in words. Headers may round to float32."""
    if (kept.axes, kept.shape) != (volume.axes, volume.shape):
        return [f"axes: {volume.axes} {volume.shape} would become {kept.axes} {kept.shape}"]
    stored = {np.dtype(bool): np.dtype(np.uint8), np.dtype(np.float16): np.dtype(np.float32)}
    losses = []
    if kept.dtype != stored.get(volume.array.dtype, volume.array.dtype):
        losses.append(f"type of the voxels: {volume.array.dtype} would become {kept.dtype}")
    tolerances = {  # together they move no corner by the 0.001 voxels above which `Volume.check_same_grid` warns
        "spacing": {"rtol": 1e-6, "atol": 0},
        "origin": {"rtol": 0, "atol": 5e-4 * min(volume.spacing)},
        "direction": {"rtol": 0, "atol": 1e-6},
    }
    for name, tolerance in tolerances.items():
        wanted, found = np.ravel(getattr(volume, name)), np.ravel(getattr(kept, name))
        if not np.allclose(found, wanted, **tolerance):
            losses.append(f"{name}: ({_join(wanted)}) would become ({_join(found)})")
    return losses


def _format(path: Path) -> Format:
    ending = suffix(path)
    if ending in FORMATS:
        return FORMATS[ending]
    if path.is_dir():
        raise FileFormatError(
            f"{path} is a folder; name an image file, or a new folder with a slash behind it (DICOM)."
        )
    if ending == ".dcm":
        raise FileFormatError(
            f"{path}: DICOM is written as a folder of slices: medlearn.dicom.save_series(volume, folder)."
        )
    found = f"; the file is {headers.looks_like(path)}" if path.is_file() else ""
    raise FileFormatError(f"{path}: the extension must be one of {', '.join(FORMATS)}, .vti{found}.")


def _reader(path: Path) -> "sitk.ImageFileReader":
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(_format(path).reader)
    reader.SetFileName(str(path))
    return reader


@contextmanager
def _quiet_itk(path: Path) -> Iterator[None]:
    """Silence ITK's warnings, and turn its errors, and those of `Volume`, into one sentence that names the file."""
    import SimpleITK as sitk

    display = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise FileFormatError(f"{path} is no valid {_format(path).name} image: {_reason(error)}") from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(display)


def _reason(error: Exception) -> str:
    """The part of a message that says what is wrong, without the address of ITK's object."""
    if isinstance(error, ValueError):
        return str(error)
    lines = [line.strip() for line in re.split("ERROR: *", str(error))[-1].splitlines() if line.strip()]
    line = (
        lines[-1] if lines[-1].startswith("[nrrd]") else lines[0]
    )  # the NRRD library goes from the general to the cause
    return re.sub(r"^\w+\(0x[0-9a-f]+\): ", "", line)


def _join(values, separator: str = ", ") -> str:
    return separator.join(f"{value:.9g}" for value in values)
