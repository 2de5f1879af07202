"""Evaluation as in the PROMISE12 challenge: the whole gland and its thirds, one score, and the file to submit.

Litjens et al. (2014), Medical Image Analysis 18(2):359-373, doi:10.1016/j.media.2013.12.002.
"""

import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from . import metrics
from .io import load, save
from .io.files import replacing
from .metrics import CaseMetrics
from .volume import Volume

#: The parts that the challenge scores, and the measures of each, with the value of a perfect segmentation.
SCORED_PARTS = ("whole", "base", "apex")
PERFECT = {
    "dice": 1.0,
    "hausdorff95": 0.0,
    "average_boundary_distance": 0.0,
    "relative_volume_difference": 0.0,
}


def thirds(target: Volume) -> dict[str, slice]:
    """Slices of the base, the middle and the apex: the cranial, middle and caudal third of the reference.

    The slices between the first and the last one with gland are cut at one and two thirds, rounded to whole slices.
    Base and apex go on to the end of the image, so that what is predicted beyond the gland belongs to one of them.
    Which end is caudal is read from the direction, not from the index.

    Parameters
    ----------
    target : Volume
        Reference mask, zyx, boolean or {0, 1}, in axial slices (tilted by less than 45°).

    Returns
    -------
    dict
        ``"base"``, ``"mid"`` and ``"apex"`` to a slice along axis z.

    Raises
    ------
    ValueError
        If the slices are not axial, or fewer than three hold gland.
    """
    up = target.direction[2, 2]  # cranial part of the step from one slice to the next
    if target.axes != "zyx" or abs(up) <= np.sqrt(0.5):
        raise ValueError(
            f"target must be a mask (z, y, x) in axial slices; got axes {target.axes}, direction z {up:.2f}"
        )
    with_gland = np.flatnonzero(target.array.any(axis=(1, 2)))
    if len(with_gland) < 3:
        raise ValueError(f"thirds need gland on at least 3 slices; got {len(with_gland)}")
    first, n = with_gland[0], with_gland[-1] - with_gland[0] + 1
    low, high = (int(first + round(n * k / 3)) for k in (1, 2))
    parts = slice(0, low), slice(low, high), slice(high, target.shape[0])
    return dict(zip(("apex", "mid", "base"), parts if up > 0 else parts[::-1], strict=True))


def evaluate(pred: Volume, target: Volume) -> dict[str, CaseMetrics]:
    """Compare a predicted mask with its reference: whole gland, base, middle, apex.

    Dice and volume of a part count its voxels. Its distances start at surface voxels in the part and go to the surface
    of the whole other mask (`medlearn.metrics.evaluate_parts`): the flat cut between two thirds, where prediction and
    reference agree by construction, is no surface. The challenge's own code was not available when this was written;
    what it does at the cuts may differ.

    Parameters
    ----------
    pred, target : Volume
        Masks on the same grid; see `medlearn.metrics.evaluate` and `thirds`.

    Returns
    -------
    dict
        ``"whole"``, ``"base"``, ``"mid"``, ``"apex"`` to `CaseMetrics`.

    Raises
    ------
    GridMismatchError, ValueError
        As `medlearn.metrics.evaluate` and `thirds`.
    """
    parts = thirds(target)
    wanted = {"whole": slice(None), **{name: parts[name] for name in ("base", "mid", "apex")}}
    return metrics.evaluate_parts(pred, target, wanted)


def score(parts: Mapping[str, CaseMetrics], observer: Mapping[str, Mapping[str, float]]) -> float:
    """Score of one case: 100 for the reference itself, 85 for what a second observer reaches, never below 0.

    Twelve scores, of four measures on the whole gland, the base and the apex, are averaged. Each falls linearly with
    the distance from the perfect value: ``100 - 15 · |x - perfect| / |observer - perfect|``.

    Parameters
    ----------
    parts : mapping
        From `evaluate`.
    observer : mapping
        What the second observer reached on average: ``{"whole": {"dice": …, "hausdorff95": …, …}, "base": …,
        "apex": …}``, distances in mm, the volume difference as a fraction. The challenge's own values are not part of
        this library; scores with other values cannot be compared with those of the challenge.

    Returns
    -------
    float
        0 to 100.

    Raises
    ------
    ValueError
        If a value of the observer is missing, or is as good as perfect.
    """
    scores = []
    for part in SCORED_PARTS:
        for measure, perfect in PERFECT.items():
            reached = observer.get(part, {}).get(measure)
            if reached is None or not abs(reached - perfect) > 0:
                raise ValueError(
                    f"observer[{part!r}][{measure!r}] must be a number other than {perfect:g}, what the second "
                    f"observer reached on average; got {reached!r}"
                )
            distance = abs(getattr(parts[part], measure) - perfect)
            scores.append(max(0.0, 100 - 15 * distance / abs(reached - perfect)))
    return float(np.mean(scores))


def submission(predictions: Mapping[str, Path], out: str | Path, *, expected: Sequence[str] = ()) -> Path:
    """Write the archive to submit: ``CaseNN_segmentation.mhd`` and ``.raw`` of every case, on the images' own grids.

    The archive is read again before it gets its name. What the challenge's website asks for now decides; look there.

    Parameters
    ----------
    predictions : mapping of str to Path
        Case id (``Case00``) to the file with its predicted mask, in any format that `medlearn.load` reads.
    out : path
        Name of the archive, ending in ``.zip``; an existing one is not replaced.
    expected : sequence of str
        Ids that must be there.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    FileExistsError
        If `out` exists.
    ValueError
        If ids are missing, unknown or not of the form ``CaseNN``, or a mask is empty or holds anything but 0 and 1.
    """
    out = Path(out)
    if out.suffix != ".zip":
        raise ValueError(f"out must end in .zip; got {out}")
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another name or remove it")
    if missing := sorted(set(expected) - set(predictions)):
        raise ValueError(f"these cases have no prediction: {', '.join(missing)}")
    if strange := sorted(i for i in predictions if not re.fullmatch(r"Case\d\d", i)):
        raise ValueError(f"ids must be Case00, Case01, …; got {', '.join(strange)}")
    with tempfile.TemporaryDirectory(prefix="medlearn-") as folder:
        files = [f for i, path in sorted(predictions.items()) for f in _as_metaimage(i, path, Path(folder))]
        with replacing(out) as temporary:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in files:
                    archive.write(file, file.name)
            _check_archive(temporary, predictions)
    return out


def _as_metaimage(case_id: str, path: Path, folder: Path) -> tuple[Path, Path]:
    mask = load(path)
    values = np.unique(mask.array)
    if not set(values.tolist()) <= {0, 1} or values[-1] != 1:
        raise ValueError(f"{path} must hold a mask of 0 and 1 that is not empty; got values {values[:5].tolist()}")
    header = folder / f"{case_id}_segmentation.mhd"
    save(mask.map(lambda array: array.astype(np.uint8)), header)
    return header, header.with_suffix(".raw")


def _check_archive(path: Path, predictions: Mapping[str, Path]) -> None:
    """Unpack the archive and compare every mask with the file it came from."""
    with tempfile.TemporaryDirectory(prefix="medlearn-") as folder, zipfile.ZipFile(path) as archive:
        archive.extractall(folder)  # our own archive, with names of our own
        for case_id, source in predictions.items():
            written, original = load(Path(folder) / f"{case_id}_segmentation.mhd"), load(source)
            written.check_same_grid(original, f"{case_id} in the archive and {source}")
            if not np.array_equal(written.array, original.array):
                raise OSError(f"{path}: {case_id} was not written as it is in {source}; is the disk full?")
