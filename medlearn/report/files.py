"""Reports on disk."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..io.files import write_text
from .cases import WorstCase
from .tables import MEASURES, summarize
from .text import format_report

_CASES_FILE = "cases.csv"
_KEYS = ["case", "label", "part", "group"]


def read_table(folder: Path) -> pd.DataFrame:
    """Read the table of cases that `write_report` wrote into a folder, every number as it was.

    Raises
    ------
    FileNotFoundError
        If there is no ``cases.csv``.
    ValueError
        If it was not written by `write_report`.
    """
    path = Path(folder) / _CASES_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {_CASES_FILE}: a report comes from `medlearn evaluate`")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)  # a case may be called "007", or "NA"
        if "part" not in table and "label" in table:
            table.insert(2, "part", "whole")
        numbers = table[table.columns.difference(_KEYS, sort=False)]
        table[numbers.columns] = numbers.replace("", "nan").astype(float)
        return table[[*_KEYS, *MEASURES, *numbers.columns.difference(MEASURES, sort=False)]]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is no table of cases written by `medlearn evaluate`: {error}") from error


def write_report(
    table: pd.DataFrame,
    out: Path,
    *,
    worst: Sequence[WorstCase] = (),
    comparison: pd.DataFrame | None = None,
) -> Path:
    """Write ``report.html``, ``report.txt``, ``report.json`` and ``cases.csv`` into a folder.

    Parameters
    ----------
    table : DataFrame
        From `evaluate_cases`.
    out : path
    worst : sequence of WorstCase
        From `worst_cases`; drawn in ``report.html``, which is one file and asks for no other.
    comparison : DataFrame, optional
        From `compare_tables`.

    Returns
    -------
    Path
        Of the text file. In the JSON file a number that is infinite or undefined is ``null``.
    """
    from .page import page  # Matplotlib, which `medlearn predict` does not need

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / _CASES_FILE, table.to_csv(index=False))  # all digits: rounded, equal values would differ
    content = {"cases": _records(table), "summary": _records(summarize(table))}
    if comparison is not None:
        content["comparison"] = _records(comparison)
    write_text(out / "report.json", json.dumps(content, indent=2, allow_nan=False))
    write_text(out / "report.html", page(table, worst=worst, comparison=comparison))
    write_text(out / "report.txt", format_report(table, comparison))
    return out / "report.txt"


def _records(table: pd.DataFrame) -> list[dict]:
    def plain(value):
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{key: plain(value) for key, value in row.items()} for row in table.to_dict("records")]
