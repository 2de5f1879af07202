"""Which image planes make one volume: sort them along their normal, and say why they do not where they do not."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ..errors import FileFormatError
from ._dicom_header import Frame

SAME_PLACE = 0.01  # mm; planes closer than that lie in one place
UNEVEN = 0.05  # of the spacing; how far a plane may lie from its place in a regular stack
SAME_DIRECTION = 1e-3  # cosines that differ by more are two orientations
_VOLUMES = ("CT", "MR", "PT", "NM")  # whose many frames are planes in space unless something else is said


class NotOneVolumeError(FileFormatError):
    """The images of a series cannot be one volume.

    Attributes
    ----------
    by : str or None
        What `medlearn.dicom.split` could split them by, to get one volume each; None if nothing would.
    """

    def __init__(self, reason: str, by: str | None = None):
        self.by = by
        super().__init__(reason)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Frames in the order of the array that they make, and its geometry as in `medlearn.Volume`."""

    frames: Sequence[Frame]
    axes: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: Any = None


def normal(orientation) -> np.ndarray:
    """Unit vector row × column, the direction in which planes are stacked; `orientation` holds 2 × 3 cosines."""
    row, column = np.array(orientation, float).reshape(2, 3)
    across = np.cross(row, column)
    return across / np.linalg.norm(across)


def arrange(frames: Sequence[Frame]) -> Grid:
    """Order image planes into one volume, or a clip, or a picture.

    Raises
    ------
    NotOneVolumeError
        If they cannot be one.
    """
    _check_one_value(frames, "image sizes", lambda f: (f.get("Rows"), f.get("Columns"), f.get("SamplesPerPixel", 1)))
    placed = [f for f in frames if _vector(f, "ImagePositionPatient", 3) and _vector(f, "ImageOrientationPatient", 6)]
    if not placed:
        return _picture(frames)
    if len(placed) < len(frames):
        unplaced = next(f for f in frames if f not in placed)
        raise NotOneVolumeError(
            f"{len(frames) - len(placed)} of {len(frames)} images have no position ({unplaced.name})"
        )
    if len(by_orientation(frames)) > 1:
        raise NotOneVolumeError(
            f"{len(by_orientation(frames))} orientations of the slices, as in a localizer", "orientation"
        )
    _check_one_value(frames, "pixel spacings", lambda f: tuple(round(s, 6) for s in _in_plane_spacing(f)))
    if len(b_values := by_b_value(frames)) > 1:
        _refuse_duplicates(frames, f"{len(b_values)} b-values ({_list(b_values)} s/mm²)", "b_value")
    return _stack(frames)


def _stack(frames: Sequence[Frame]) -> Grid:
    """A pile of parallel planes, sorted, at equal distances."""
    orientation = np.array(frames[0].get("ImageOrientationPatient"), float).reshape(2, 3)
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=SAME_DIRECTION):
        raise NotOneVolumeError(f"rows and columns that are not perpendicular unit vectors: {orientation.tolist()}")
    across = normal(orientation)
    heights = _heights(frames)
    order = np.argsort(heights, kind="stable")
    frames, heights = [frames[i] for i in order], heights[order]
    if len(frames) > 1 and np.diff(heights).min() < SAME_PLACE:
        _explain_duplicates(frames)
    between = _even_spacing(frames, heights)
    first = np.array(frames[0].get("ImagePositionPatient"), float)
    aside = np.array([f.get("ImagePositionPatient") for f in frames], float) - first
    aside -= np.outer(aside @ across, across)
    row, column = _in_plane_spacing(frames[0])
    if (shift := np.linalg.norm(aside, axis=1).max()) > max(UNEVEN * min(row, column), SAME_PLACE):
        raise NotOneVolumeError(
            f"slices shifted sideways by up to {shift:.3g} mm (a tilted gantry?), so that they fill no rectangular box"
        )
    return Grid(
        frames=frames,
        axes="zyx" + _color(frames[0]),
        shape=(len(frames), *_size(frames[0])),
        spacing=(between, row, column),
        origin=tuple(first.tolist()),
        direction=np.stack([*orientation, across], axis=1),
    )


def _heights(frames: Sequence[Frame]) -> np.ndarray:
    """Position of each plane along the normal in mm."""
    positions = np.array([f.get("ImagePositionPatient") for f in frames], float)
    return positions @ normal(frames[0].get("ImageOrientationPatient"))


def _even_spacing(frames: Sequence[Frame], heights: np.ndarray) -> float:
    """Distance between neighboring planes in mm; refuses gaps. Heights are sorted."""
    if len(frames) == 1:
        return float(frames[0].get("SliceThickness", 0) or frames[0].get("SpacingBetweenSlices", 0) or 1.0)
    steps = np.diff(heights)
    mean = float(heights[-1] - heights[0]) / len(steps)
    if np.abs(heights - heights[0] - mean * np.arange(len(heights))).max() <= UNEVEN * mean:
        return mean
    usual = float(np.median(steps))
    missing = np.rint(steps / usual).astype(int) - 1
    gap = int(np.argmax(steps))
    where = f"{steps[gap]:.4g} mm between {frames[gap].name} and {frames[gap + 1].name}, elsewhere {usual:.4g} mm"
    if missing.max() > 0 and np.abs(steps - usual * (missing + 1)).max() <= UNEVEN * usual:
        n = int(missing.sum())
        raise NotOneVolumeError(f"{n} missing slice{'s' * (n > 1)} ({where})")
    raise NotOneVolumeError(f"uneven spacing: {steps.min():.4g} to {steps.max():.4g} mm ({where})")


def _picture(frames: Sequence[Frame]) -> Grid:
    """A picture or a clip: no place in the patient is known."""
    first, n = frames[0], len(frames)
    if len({f.header.source for f in frames}) > 1:
        raise NotOneVolumeError(f"{n} pictures without positions in the patient; load their files one by one")
    if n > 1 and first.get("Modality") in _VOLUMES and first.get("FrameTime") is None:
        raise NotOneVolumeError(f"{n} frames whose positions the file does not give")
    color = _color(first)
    return Grid(
        frames=frames,
        axes="t" * (n > 1) + "yx" + color,
        shape=(n,) * (n > 1) + _size(first),
        spacing=_in_plane_spacing(first),
    )


def _size(frame: Frame) -> tuple[int, ...]:
    return (int(frame.get("Rows")), int(frame.get("Columns"))) + (3,) * len(_color(frame))


def _color(frame: Frame) -> str:
    colored = int(frame.get("SamplesPerPixel", 1)) > 1 or frame.get("PhotometricInterpretation") == "PALETTE COLOR"
    return "c" * colored


def _in_plane_spacing(frame: Frame) -> tuple[float, float]:
    """Distance between rows and between columns in mm; 1 where the file gives none."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if _vector(frame, keyword, 2):
            row, column = (float(v) for v in frame.get(keyword))
            if row > 0 and column > 0:
                return row, column
    regions = frame.get("SequenceOfUltrasoundRegions") or []
    if (
        len(regions) == 1
        and regions[0].get("PhysicalUnitsXDirection") == regions[0].get("PhysicalUnitsYDirection") == 3
    ):
        row, column = (abs(float(regions[0].get(f"PhysicalDelta{axis}") or 0)) * 10 for axis in "YX")  # cm
        if row > 0 and column > 0:
            return row, column
    return 1.0, 1.0


def spacing_known(frame: Frame) -> bool:
    """Whether the file gives the size of a pixel."""
    return bool(
        any(_vector(frame, k, 2) for k in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"))
        or _in_plane_spacing(frame) != (1.0, 1.0)
    )


def _vector(frame: Frame, keyword: str, n: int) -> bool:
    """Whether an element holds `n` finite numbers."""
    value = frame.get(keyword)
    try:
        return value is not None and len(value) == n and bool(np.isfinite([float(v) for v in value]).all())
    except (TypeError, ValueError):
        return False


def _check_one_value(frames: Sequence[Frame], what: str, value: Callable[[Frame], Hashable]) -> None:
    found = _group(frames, value)
    if len(found) > 1:
        shown = _list("×".join(map(str, v)) for v in found)
        raise NotOneVolumeError(f"{len(found)} different {what} ({shown})")


# Splitting ------------------------------------------------------------------------------------------------------------

Groups = dict[Any, list[Frame]]


def _group(frames: Sequence[Frame], key: Callable[[Frame], Hashable]) -> Groups:
    groups: Groups = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    try:
        return dict(sorted(groups.items()))
    except TypeError:  # None among numbers
        return groups


def by_b_value(frames: Sequence[Frame]) -> Groups:
    """By the strength of the diffusion weighting, s/mm²."""
    return _group(frames, lambda f: _number(f.get("DiffusionBValue")))


def by_segment(frames: Sequence[Frame]) -> Groups:
    """By the number of the segment in a segmentation object."""
    return _group(frames, lambda f: f.get("ReferencedSegmentNumber"))


def by_echo_time(frames: Sequence[Frame]) -> Groups:
    """By echo time, ms."""
    return _group(frames, lambda f: _number(f.get("EffectiveEchoTime", f.get("EchoTime"))))


def by_image_type(frames: Sequence[Frame]) -> Groups:
    """By the kind of image, such as magnitude and phase, as the scanner words it."""
    return _group(frames, lambda f: "\\".join(f.get("FrameType", f.get("ImageType", []))))


def by_acquisition(frames: Sequence[Frame]) -> Groups:
    """By the number of the acquisition."""
    return _group(frames, lambda f: _number(f.get("FrameAcquisitionNumber", f.get("AcquisitionNumber"))))


def by_orientation(frames: Sequence[Frame]) -> Groups:
    """By the directions of rows and columns; numbered from 0."""
    seen: list[np.ndarray] = []

    def number(frame: Frame) -> int:
        cosines = np.array(frame.get("ImageOrientationPatient"), float)
        close = [i for i, other in enumerate(seen) if np.abs(cosines - other).max() <= SAME_DIRECTION]
        if not close:
            seen.append(cosines)
        return close[0] if close else len(seen) - 1

    return _group(frames, number)


def by_time(frames: Sequence[Frame]) -> Groups:
    """By the number or time (ms) of the time point; where each slice has a time of its own, by its rank from 0."""
    for keyword in ("TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime", "FrameReferenceTime"):
        groups = _group(frames, lambda f, word=keyword: _number(f.get(word)))
        if len(groups) > 1 and None not in groups:
            return groups
    moments = {id(f): _moment(f) for f in frames}
    rank: Groups = {}
    for place in _places(frames):
        place = sorted(place, key=lambda f: moments[id(f)])
        if len({moments[id(f)] for f in place}) < len(place):
            return {0: list(frames)}
        for k, frame in enumerate(place):
            rank.setdefault(k, []).append(frame)
    return rank


def _moment(frame: Frame) -> str:
    """Date and time of the acquisition: texts of DICOM that sort as the moments do."""
    whole = frame.get("FrameAcquisitionDateTime", frame.get("AcquisitionDateTime"))
    return str(
        whole or f"{frame.get('AcquisitionDate', '')}{frame.get('AcquisitionTime', frame.get('ContentTime', ''))}"
    )


def _number(value: Any) -> float | int | None:
    if value is None:
        return None
    return int(value) if float(value).is_integer() else float(value)


SPLITS: dict[str, Callable[[Sequence[Frame]], Groups]] = {
    "b_value": by_b_value,
    "segment": by_segment,
    "echo_time": by_echo_time,
    "time": by_time,
    "acquisition": by_acquisition,
    "image_type": by_image_type,
    "orientation": by_orientation,
}
_WORDS = {
    "segment": "segments",
    "echo_time": "echo times",
    "time": "time points",
    "acquisition": "acquisitions",
    "image_type": "kinds of image",
}


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames that lie in one place, for each place along the normal."""
    heights = _heights(frames)
    places: list[list[Frame]] = []
    last = -np.inf
    for i in np.argsort(heights, kind="stable"):
        if heights[i] - last >= SAME_PLACE:
            places.append([])
            last = heights[i]
        places[-1].append(frames[i])
    return places


def _explain_duplicates(frames: Sequence[Frame]) -> NoReturn:
    """Say what the images that share a place differ in."""
    for place in _places(frames):
        images = [(f.get("SOPInstanceUID"), f.index) for f in place]
        if None not in dict(images) and len(set(images)) < len(place):
            raise NotOneVolumeError(f"the same image twice ({place[0].name} and {place[1].name}); remove one of them")
    for by, words in _WORDS.items():
        groups = SPLITS[by](frames)
        if len(groups) > 1 and all(len(_places(group)) == len(group) for group in groups.values()):
            _refuse_duplicates(frames, f"{len(groups)} {words} ({_list(groups)})", by)
    twice = next(place for place in _places(frames) if len(place) > 1)
    _refuse_duplicates(frames, f"duplicated positions, for instance {twice[0].name} and {twice[1].name}", None)


def _refuse_duplicates(frames: Sequence[Frame], what: str, by: str | None) -> NoReturn:
    raise NotOneVolumeError(f"{what}: {len(frames)} images at {len(_places(frames))} positions", by)


def _list(values, most: int = 6) -> str:
    shown = [f"{v:g}" if isinstance(v, (int, float)) else str(v) for v in values]
    return ", ".join(shown[:most]) + (", …" if len(shown) > most else "")
