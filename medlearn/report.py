"""Tables of how well predictions agree with their references."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from .datasets import Cases
from .datasets.layouts import choose_labels
from .io import load
from .io.files import write_text
from .metrics import evaluate
from .volume import Volume

#: written by prediction, read by evaluation
PREDICTIONS_FILE = "predictions.json"
_MEASURES = ["dice", "hausdorff95", "average_boundary_distance", "relative_volume_difference"]


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


def evaluate_cases(predictions: Predictions, references: Cases) -> pd.DataFrame:
    """One row per case and label.

    Parameters
    ----------
    predictions : Predictions
    references : Cases
        With masks whose values are those of the files (``labels=None``).

    Returns
    -------
    DataFrame
        Columns case, label, group ("held out" or "seen in training"), and the fields of `medlearn.metrics.CaseMetrics`.

    Raises
    ------
    FileNotFoundError
        If a prediction is missing, or a prediction has no reference.
    GridMismatchError
        If a prediction does not lie on the grid of its reference.
    """
    if missing := sorted(set(predictions.requested) - set(predictions.files)):
        raise FileNotFoundError(f"these cases were to be predicted, but have no prediction: {', '.join(missing)}")
    without = [i for i in predictions.files if i not in references.ids or references.read_mask(i) is None]
    if without:
        raise FileNotFoundError(f"no reference mask for: {', '.join(without)}")
    rows = []
    for case_id, name in predictions.files.items():
        pred, target = load(predictions.folder / name), references.read_mask(case_id)
        target = target.map(choose_labels, predictions.labels)
        group = "seen in training" if case_id in predictions.training_cases else "held out"
        for number, label in enumerate(predictions.labels, start=1):
            metrics = evaluate(_only(pred, number), _only(target, number))
            rows.append({"case": case_id, "label": label, "group": group, **asdict(metrics)})
    return pd.DataFrame(rows)


def _only(volume: Volume, number: int) -> Volume:
    return volume.map(lambda array: array == number)


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation, median and worst of every measure, by group and label; infinite stays infinite."""
    rows = []
    for (group, label), part in table.groupby(["group", "label"], sort=True):
        for measure in _MEASURES:
            values = part[measure].dropna()
            size = values.abs()
            worst = values.min() if measure == "dice" else values.loc[size.idxmax()] if len(values) else math.nan
            rows.append(
                {
                    "group": group,
                    "label": label,
                    "measure": measure,
                    "cases": len(part),
                    "mean": values.mean(),
                    "std": values.std() if not values.isin([math.inf]).any() else math.nan,
                    "median": values.median(),
                    "worst": worst,
                }
            )
    return pd.DataFrame(rows)


def write_report(table: pd.DataFrame, out: Path) -> Path:
    """Write ``cases.csv``, ``report.json`` and ``report.txt`` into the folder `out`; return the text file's path.

    In the JSON file a distance that is infinite or undefined is ``null``.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    summary = summarize(table)
    write_text(out / "cases.csv", table.to_csv(index=False, float_format="%.6g"))
    content = {"cases": _records(table), "summary": _records(summary)}
    write_text(out / "report.json", json.dumps(content, indent=2, allow_nan=False))
    write_text(out / "report.txt", format_report(table))
    return out / "report.txt"


def _records(table: pd.DataFrame) -> list[dict]:
    def plain(value):
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{key: plain(value) for key, value in row.items()} for row in table.to_dict("records")]


def format_report(table: pd.DataFrame) -> str:
    """The report as text for a terminal: a table per group, and its means."""
    titles = {
        "case": "case",
        "label": "label",
        "dice": "Dice",
        "hausdorff95": "HD95 (mm)",
        "average_boundary_distance": "ABD (mm)",
        "relative_volume_difference": "volume (%)",
    }
    parts = []
    for group, part in table.groupby("group", sort=True):
        shown = part[list(titles)].copy()
        shown["relative_volume_difference"] *= 100
        for label in shown["label"].unique():
            mean = shown.loc[shown["label"] == label, list(titles)[2:]].mean()
            shown = pd.concat([shown, pd.DataFrame([{"case": "mean", "label": label, **mean}])])
        formats = {
            "Dice": "{:.3f}".format,
            "HD95 (mm)": "{:.2f}".format,
            "ABD (mm)": "{:.2f}".format,
            "volume (%)": "{:+.1f}".format,
        }
        text = shown.rename(columns=titles).to_string(index=False, formatters=formats)
        parts.append(f"{len(part['case'].unique())} cases, {group}\n{text}\n")
    return "\n".join(parts)
