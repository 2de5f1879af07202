"""DICOM: list the series of a folder, load one, split one that is several volumes, write series and segmentations.

A DICOM image is a pile of single planes in no order, and a series may hold anything: three b-values, two echoes, a
localizer in three orientations, or all slices but one. What cannot be one volume is refused with the reason, never
stacked. `medlearn.load` reads through this module, and `deidentify` lives in a module of its own.
"""

import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileFormatError, check_choice
from ..volume import Volume
from ._deidentify import Report, deidentify
from ._dicom_geometry import SPLITS, Grid, NotOneVolumeError, arrange, spacing_known
from ._dicom_header import Frame, Header, Source, dicom_files, frames_of, is_dicom_file, read_header
from ._dicom_pixels import is_compressed, read_pixels, voxel_dtype
from ._dicom_write import save_seg, save_series

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NotOneVolumeError", "Report", "deidentify", "list_series", "save_seg", "save_series", "split", "stack"]

# Header facts that identify nobody: name in `Volume.meta` to the keyword of the standard.
_META = {
    "modality": "Modality",
    "series_description": "SeriesDescription",
    "protocol_name": "ProtocolName",
    "body_part": "BodyPartExamined",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "image_type": "ImageType",
    "sequence_name": "SequenceName",
    "b_value": "DiffusionBValue",
    "echo_time_ms": "EchoTime",
    "repetition_time_ms": "RepetitionTime",
    "inversion_time_ms": "InversionTime",
    "flip_angle_deg": "FlipAngle",
    "field_strength_t": "MagneticFieldStrength",
    "kvp": "KVP",
    "convolution_kernel": "ConvolutionKernel",
    "slice_thickness_mm": "SliceThickness",
    "frame_time_ms": "FrameTime",
    "patient_position": "PatientPosition",
    "photometric_interpretation": "PhotometricInterpretation",
    "units": "Units",
    "rescale_type": "RescaleType",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """The files of one series, and the reasons why some cannot be used."""

    uid: str
    headers: list[Header] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def get(self, keyword: str) -> str:
        return str(self.headers[0].facts.get(keyword, "")) if self.headers else ""


def list_series(folder: str | os.PathLike) -> "pd.DataFrame":
    """List the image series in a folder and its subfolders, from the headers alone.

    Parameters
    ----------
    folder : path
        A folder, a zip archive or one file. Files that are no DICOM are passed over.

    Returns
    -------
    pandas.DataFrame
        One row a series, with the columns ``uid``; ``modality``; ``description``; ``n_slices``, the number of image
        planes; ``shape``, of the array that `medlearn.load` would return, (z, y, x) for volumes; ``spacing`` in mm,
        (z, y, x); ``problems``: why the series cannot be loaded as it is, empty where it can.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    FileFormatError
        If there is no DICOM file in it.
    """
    import pandas as pd

    with _opened(folder) as series:
        rows = [_row(one) for one in series]
    return pd.DataFrame(rows, columns=["uid", "modality", "description", "n_slices", "shape", "spacing", "problems"])


def split(path: str | os.PathLike, series_uid: str | None = None, *, by: str = "b_value") -> dict[Hashable, Volume]:
    """Load a series that holds several volumes as what it holds.

    Parameters
    ----------
    path : path
        A folder, a zip archive or one file.
    series_uid : str, optional
        Which series, where there are several.
    by : str
        What tells the volumes apart: ``"b_value"`` (s/mm²), ``"time"`` (number of the time point, or ms),
        ``"echo_time"`` (ms), ``"acquisition"`` (number), ``"orientation"`` (numbered from 0), ``"image_type"``
        (magnitude, phase …) or ``"segment"``.

    Returns
    -------
    dict
        Value to `Volume`, sorted; None is the key of images without a value. `stack` makes one ``tzyx`` volume of them.

    Raises
    ------
    NotOneVolumeError
        If a part is no volume either; the message says which part, and why.
    FileNotFoundError, FileFormatError, ValueError
        As `medlearn.load`.
    """
    check_choice("by", by, SPLITS)
    with _opened(path) as series:
        one = _choose(path, series, series_uid)
        volumes = {}
        for value, frames in SPLITS[by](one.frames).items():
            try:
                volumes[value] = _volume(arrange(frames))
            except NotOneVolumeError as error:
                other = f" Split by {error.by!r} instead." if error.by else ""
                raise NotOneVolumeError(
                    f"{path}: even with {by} {value}, the images are no volume: {error}.{other}", error.by
                ) from None
    return volumes


def stack(volumes: Mapping[Hashable, Volume]) -> Volume:
    """Join volumes on one grid, such as those from `split`, along a new first axis ``t``.

    Parameters
    ----------
    volumes : mapping
        Value (a time, a b-value) to `Volume`.

    Returns
    -------
    Volume
        Axes ``tzyx``; ``meta["t"]`` holds the values.

    Raises
    ------
    GridMismatchError
        If they do not lie on the same grid.
    """
    if not volumes:
        raise ValueError("stack needs at least one volume; got none")
    first, *others = volumes.values()
    for other in others:
        first.check_same_grid(other, "the volumes to stack")
    array = np.stack([volume.array for volume in volumes.values()])
    return replace(first, array=array, axes="t" + first.axes, meta={**first.meta, "t": tuple(volumes)})


def is_dicom(path: Path, known: bool) -> bool:
    """Whether `path` is to be read as DICOM; `known` says that its name has the extension of another format."""
    if known or not path.exists():
        return False
    return path.is_dir() or path.suffix.lower() in (".dcm", ".dicom", ".ima", ".zip") or is_dicom_file(path)


def read(path: str | os.PathLike, series_uid: str | None = None) -> Volume:
    """Load the one series in a folder, a zip archive or a file: `medlearn.load` for DICOM."""
    with _opened(path) as series:
        return _volume(_arrange(path, _choose(path, series, series_uid)))


def facts(path: str | os.PathLike, series_uid: str | None = None) -> dict[str, Any]:
    """What `medlearn.describe` says of the one series, without its pixels: the arguments of `Description`."""
    with _opened(path) as series:
        one = _choose(path, series, series_uid)
        grid = _arrange(path, one)
        return {
            "format": "DICOM",
            "shape": grid.shape,
            "axes": grid.axes,
            "spacing": grid.spacing,
            "origin": grid.origin,
            "direction": _direction(grid),
            "dtype": voxel_dtype(grid.frames),
            "compressed": any(is_compressed(header) for header in one.headers),
            "file_size": sum(header.file_size for header in one.headers),
            "header": _meta(grid.frames),
        }


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[list[_Series]]:
    """The series found under a path; the files of an unpacked archive are there until the block ends."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    with dicom_files(path) as sources:
        if not sources:
            raise FileFormatError(
                f"{path} is a {'folder' if path.is_dir() else 'zip archive'} that holds no DICOM file."
            )
        yield _group_by_series(sources)


def _group_by_series(sources: Sequence[Source]) -> list[_Series]:
    """Read all headers. Files that cannot be read make a series without UID: nobody knows where they belong."""
    members: dict[str, _Series] = {}
    for source in sources:
        try:
            header = read_header(source)
            frames = frames_of(header)
        except FileFormatError as error:
            members.setdefault("", _Series("")).problems.append(str(error))
            continue
        if frames:
            uid = str(header.facts.get("SeriesInstanceUID", ""))
            series = members.setdefault(uid, _Series(uid))
            series.headers.append(header)
            series.frames.extend(frames)
    return list(members.values())


def _row(series: _Series) -> dict[str, Any]:
    shape = spacing = None
    problems = list(series.problems)
    if series.frames:
        try:
            grid = arrange(series.frames)
            shape, spacing = grid.shape, tuple(round(s, 6) for s in grid.spacing)
        except FileFormatError as error:
            problems.append(str(error))
    return {
        "uid": series.uid,
        "modality": series.get("Modality"),
        "description": series.get("SeriesDescription"),
        "n_slices": len(series.frames),
        "shape": shape,
        "spacing": spacing,
        "problems": "; ".join(problems),
    }


def _choose(path: str | os.PathLike, series: Sequence[_Series], uid: str | None) -> _Series:
    broken = [problem for one in series for problem in one.problems]
    if broken:
        more = f" And {len(broken) - 3} more files." if len(broken) > 3 else ""
        where = "" if broken[0].startswith(str(path)) else f"{path}: "
        raise FileFormatError(f"{where}{' '.join(broken[:3])}{more}")
    images = {one.uid: one for one in series}
    if not images:
        raise FileFormatError(f"{path} holds DICOM files, but none with pixels.")
    if uid is None and len(images) > 1:
        lines = "\n".join(
            f"  {one.uid}  {one.get('Modality')}  {one.get('SeriesDescription')}  {len(one.frames)} slices"
            for one in series
        )
        raise FileFormatError(
            f"{path} holds {len(images)} series; name the one to load, series_uid=…, or its own folder:\n{lines}"
        )
    if uid is not None and uid not in images:
        raise ValueError(f"series_uid must be one of {', '.join(images)} in {path}; got {uid!r}")
    return images[uid] if uid is not None else series[0]


def _arrange(path: str | os.PathLike, series: _Series) -> Grid:
    try:
        return arrange(series.frames)
    except NotOneVolumeError as error:
        advice = (
            f'medlearn.dicom.split(path, by="{error.by}") loads each part.'
            if error.by
            else "medlearn.dicom.list_series(path) shows what there is."
        )
        raise NotOneVolumeError(f"{path} cannot be one volume: {error}. {advice}", error.by) from None


def _volume(grid: Grid) -> Volume:
    array = read_pixels(grid.frames)
    return Volume(
        array=array.reshape(grid.shape),
        spacing=grid.spacing,
        origin=grid.origin,
        direction=_direction(grid),
        axes=grid.axes,
        meta=_meta(grid.frames),
    )


def _direction(grid: Grid) -> np.ndarray:
    return np.eye(3) if grid.direction is None else grid.direction


def _meta(frames: Sequence[Frame]) -> dict[str, Any]:
    """Facts of `_META` that are the same in all frames."""
    meta = {}
    for name, keyword in _META.items():
        values = [_plain(frame.get(keyword)) for frame in frames]
        if values[0] is not None and all(value == values[0] for value in values):
            meta[name] = values[0]
    if not spacing_known(frames[0]):
        meta["spacing"] = "not in the file; 1 mm is assumed"
    return meta


def _plain(value: Any) -> str | float | tuple | None:
    """Values of pydicom as Python's own types."""
    if value is None or isinstance(value, str):
        return None if value is None else str(value)
    if isinstance(value, (int, float)) or hasattr(value, "__float__"):
        return int(value) if float(value).is_integer() else float(value)
    return tuple(_plain(v) for v in value)
