"""From folders of masks to a table of measures, and back to the cases that came out worst."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from .. import promise12
from ..datasets import Cases
from ..datasets.layouts import choose_labels
from ..io import load
from ..io.files import write_text
from ..metrics import CaseMetrics, evaluate
from ..volume import Volume

#: written by prediction, read by evaluation
PREDICTIONS_FILE = "predictions.json"


@dataclass(frozen=True)
class Predictions:
    """A folder of predicted label maps, as ``predictions.json`` describes it.

    Parameters
    ----------
    folder : Path
    requested : sequence of str
        Ids of the cases that were to be predicted.
    files : mapping of str to str
        Id of each predicted case to its file name.
    labels : mapping of str to list of int
        Name of each predicted label to the values that mean it in the *reference*; the first name is 1 in the
        predictions.
    training_cases : sequence of str
        What the network was trained on.
    run : str
        Where the network came from.
    """

    folder: Path
    requested: Sequence[str]
    files: dict[str, str]
    labels: dict[str, list[int]]
    training_cases: Sequence[str] = ()
    run: str = ""

    def save(self) -> Path:
        """Write ``predictions.json`` into the folder."""
        path = self.folder / PREDICTIONS_FILE
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_text(path, json.dumps(values, indent=2))
        return path

    @classmethod
    def open(cls, folder: Path) -> "Predictions":
        """Read ``predictions.json``; raise FileNotFoundError where there is none."""
        path = Path(folder) / PREDICTIONS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no {PREDICTIONS_FILE}: predictions come from `medlearn predict`")
        return cls(folder=Path(folder), **json.loads(path.read_text(encoding="utf-8")))


def evaluate_cases(predictions: Predictions, references: Cases, *, parts: bool = False) -> pd.DataFrame:
    """One row per case and label, and per part of the gland where that is wanted.

    Parameters
    ----------
    predictions : Predictions
    references : Cases
        With masks whose values are those of the files (``labels=None``).
    parts : bool
        Also measure base, middle and apex (`medlearn.promise12.evaluate`); the masks must lie in axial slices.

    Returns
    -------
    DataFrame
        Columns case, label, part ("whole", and with `parts` "base", "mid", "apex"), group ("held out" or "seen in
        training"), and the fields of `medlearn.metrics.CaseMetrics`.

    Raises
    ------
    FileNotFoundError
        If a prediction is missing, or a prediction has no reference.
    GridMismatchError
        If a prediction does not lie on the grid of its reference.
    ValueError
        If a reference cannot be cut into parts; the message names the case.
    """
    if missing := sorted(set(predictions.requested) - set(predictions.files)):
        raise FileNotFoundError(f"these cases were to be predicted, but have no prediction: {', '.join(missing)}")
    without = [i for i in predictions.files if i not in references.ids or references.read_mask(i) is None]
    if without:
        raise FileNotFoundError(f"no reference mask for: {', '.join(without)}")
    rows = []
    for case_id in predictions.files:
        pred, target = _read_pair(predictions, references, case_id)
        group = "seen in training" if case_id in predictions.training_cases else "held out"
        for number, label in enumerate(predictions.labels, start=1):
            found = _measure(_only(pred, number), _only(target, number), parts, f"case {case_id}, label {label}")
            for part, metrics in found.items():
                rows.append({"case": case_id, "label": label, "part": part, "group": group, **asdict(metrics)})
    return pd.DataFrame(rows)


def _read_pair(predictions: Predictions, references: Cases, case_id: str) -> tuple[Volume, Volume]:
    """Prediction and reference of a case, in the prediction's numbers."""
    pred, target = load(predictions.folder / predictions.files[case_id]), references.read_mask(case_id)
    return pred, target.map(choose_labels, predictions.labels)


def _only(volume: Volume, number: int) -> Volume:
    return volume.map(lambda array: array == number)


def _measure(pred: Volume, target: Volume, parts: bool, what: str) -> Mapping[str, CaseMetrics]:
    pred.check_same_grid(target, f"prediction and reference of {what}")
    if not parts:
        return {"whole": evaluate(pred, target)}
    try:
        return promise12.evaluate(pred, target)
    except ValueError as error:
        raise ValueError(f"{what} has no base, middle and apex ({error}); evaluate without parts") from error


@dataclass(frozen=True)
class WorstCase:
    """One of the cases that came out worst: what is needed to draw it.

    Attributes
    ----------
    case, label, group : str
    dice, hausdorff95 : float
        hausdorff95 in mm.
    z : int
        The slice in which most voxels differ.
    pred, target : Volume of bool
    image : Volume or None
        None where there is no image on the grid of the masks.
    """

    case: str
    label: str
    group: str
    dice: float
    hausdorff95: float
    z: int
    pred: Volume
    target: Volume
    image: Volume | None


def worst_cases(table: pd.DataFrame, predictions: Predictions, references: Cases, *, n: int = 3) -> list[WorstCase]:
    """Read the worst cases of each group again: those with the lowest Dice, and of equal ones the largest distance.

    Parameters
    ----------
    table : DataFrame
        From `evaluate_cases`, with the same `predictions` and `references`.
    predictions : Predictions
    references : Cases
        Its images are the background; a case whose image is missing, broken or on another grid is drawn without.
    n : int
        At most so many a group.
    """
    whole = table[table["part"] == "whole"].sort_values(
        ["dice", "average_boundary_distance"], ascending=[True, False], kind="stable"
    )
    return [
        _read_worst(row, predictions, references)
        for _, group in whole.groupby("group", sort=True)
        for row in group.head(n).to_dict("records")
    ]


def _read_worst(row: dict, predictions: Predictions, references: Cases) -> WorstCase:
    number = 1 + list(predictions.labels).index(row["label"])
    pred, target = (_only(volume, number) for volume in _read_pair(predictions, references, row["case"]))
    differ = pred.array != target.array
    return WorstCase(
        **{key: row[key] for key in ("case", "label", "group", "dice", "hausdorff95")},
        z=int(differ.sum((-2, -1)).argmax()) if differ.ndim == 3 else 0,
        pred=pred,
        target=target,
        image=_background(references, row["case"], target),
    )


def _background(references: Cases, case_id: str, target: Volume) -> Volume | None:
    read_image = getattr(references, "read_image", None)
    try:
        image = read_image(case_id) if read_image else None
        if image is None or image.axes != target.axes:
            return None
        image.check_same_grid(target, f"image and reference of {case_id}")
    except (OSError, ValueError):
        return None  # a report of the masks needs no image
    return image
