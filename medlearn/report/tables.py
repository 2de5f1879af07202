"""What the table of cases says: failures, means with their intervals, the comparison with another run."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ..statistics import bootstrap_interval, paired_comparison


@dataclass(frozen=True)
class Measure:
    """How a measure is shown: its title with the unit, factor to that unit, format, and which direction is better."""

    title: str
    factor: float = 1
    format: str = ".3f"
    better: str = "less"


MEASURES = {
    "dice": Measure("Dice", better="greater"),
    "hausdorff95": Measure("HD95 (mm)", format=".2f"),
    "average_boundary_distance": Measure("ABD (mm)", format=".2f"),
    "relative_volume_difference": Measure("volume (%)", factor=100, format="+.1f", better="nearer to 0"),
    "surface_dice": Measure("surface Dice", better="greater"),
}


def failures(table: pd.DataFrame) -> pd.Series:
    """What went wrong in each row of a table of `evaluate_cases`, in a few words; "" where nothing did.

    A failure is a mask without any overlap: an empty prediction, a prediction where the reference is empty, or one
    elsewhere. Where both masks are empty, the prediction is right.
    """
    difference, overlap = table["relative_volume_difference"], table["dice"]
    words = np.select(
        [difference == -1, np.isposinf(difference), overlap == 0],
        ["empty prediction", "empty reference, but a prediction", "no overlap"],
        default="",
    )
    return pd.Series(words, index=table.index)


def failed_cases(table: pd.DataFrame) -> dict[str, str]:
    """Id of each case with a failure to what went wrong, and for which labels and parts."""
    several = table["part"].nunique() > 1
    where: dict[str, dict[str, list[str]]] = {}
    for row, words in zip(table.itertuples(), failures(table), strict=True):
        if words:
            where.setdefault(row.case, {}).setdefault(words, []).append(
                f"{row.label} {row.part}" if several else row.label
            )
    return {
        case: "; ".join(f"{words} ({', '.join(names)})" for words, names in found.items())
        for case, found in where.items()
    }


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Mean with its interval, standard deviation, median and worst of every measure, by group, label and part.

    Infinite stays infinite. Groups are never mixed.

    Parameters
    ----------
    table : DataFrame
        From `evaluate_cases`.

    Returns
    -------
    DataFrame
        Columns group, label, part, measure, cases, undefined (cases without a value, both masks being empty), infinite
        (cases with an infinite one), mean, low and high (95 % bootstrap interval of the mean over the cases;
        `medlearn.statistics.bootstrap_interval`), std, median, worst.
    """
    rows = []
    for (group, label, part), cases in table.groupby(["group", "label", "part"], sort=False):
        for measure in MEASURES:
            values = cases[measure].dropna()
            infinite = int(np.isinf(values).sum())
            low, high = bootstrap_interval(values)
            rows.append(
                {
                    "group": group,
                    "label": label,
                    "part": part,
                    "measure": measure,
                    "cases": len(cases),
                    "undefined": len(cases) - len(values),
                    "infinite": infinite,
                    "mean": values.mean(),
                    "low": low,
                    "high": high,
                    "std": math.nan if infinite else values.std(),
                    "median": values.median(),
                    "worst": _worst(values, measure),
                }
            )
    return pd.DataFrame(rows).sort_values("group", kind="stable", ignore_index=True)


def _worst(values: pd.Series, measure: str) -> float:
    if values.empty:
        return math.nan
    return values.min() if MEASURES[measure].better == "greater" else values.loc[values.abs().idxmax()]


def compare_tables(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Compare two runs on the same cases, in pairs: `medlearn.statistics.paired_comparison` of every measure.

    Volume differences are compared by their size, without the sign.

    Parameters
    ----------
    table, other : DataFrame
        From `evaluate_cases` or `read_table`.

    Returns
    -------
    DataFrame
        Columns group, label, part, measure, n, undefined (cases left out, because one of the runs has no value: both
        masks were empty), mean and other_mean (of the n cases), mean_difference (table − other), low, high (its 95 %
        bootstrap interval), n_better, n_worse, n_equal (cases in which `table` is better ...), p_value.

    Raises
    ------
    ValueError
        If the two do not hold the same cases, labels and parts, if a case is held out in one and was seen in training
        in the other, or if the reference masks differ in volume. The message names the cases.
    """
    table, other = (t.set_index(["case", "label", "part"]) for t in (table, other))
    _check_comparable(table, other)
    other = other.loc[table.index]
    rows = []
    for (group, label, part), ours in table.groupby(["group", "label", "part"], sort=False):
        theirs = other.loc[ours.index]
        for measure, about in MEASURES.items():
            pair = pd.DataFrame({"a": ours[measure], "b": theirs[measure]})
            pair = (pair.abs() if about.better == "nearer to 0" else pair).dropna()
            row = {"group": group, "label": label, "part": part, "measure": measure, "n": len(pair)}
            row |= {"undefined": len(ours) - len(pair), "mean": pair["a"].mean(), "other_mean": pair["b"].mean()}
            rows.append(row | _compare(pair, about))
    return pd.DataFrame(rows).sort_values("group", kind="stable", ignore_index=True)


def _compare(pair: pd.DataFrame, about: Measure) -> dict[str, float]:
    if pair.empty:
        names = ("mean_difference", "low", "high", "p_value", "n_better", "n_worse", "n_equal")
        return dict.fromkeys(names, math.nan)
    pair = pair.droplevel(["label", "part"])
    found = asdict(paired_comparison(pair["a"].to_dict(), pair["b"].to_dict()))
    greater, less = found.pop("n_greater"), found.pop("n_less")
    better, worse = (greater, less) if about.better == "greater" else (less, greater)
    return {**found, "n_better": better, "n_worse": worse}


def _check_comparable(table: pd.DataFrame, other: pd.DataFrame) -> None:
    for name, keys in (
        ("this", table.index.difference(other.index)),
        ("the other", other.index.difference(table.index)),
    ):
        if len(keys):
            raise ValueError(
                f"the two reports must hold the same cases, labels and parts to be compared in pairs; only in {name} "
                f"one: {_listed(keys)}. Evaluate the same with both runs"
            )
    other = other.loc[table.index]
    if (differ := table["group"] != other["group"]).any():
        raise ValueError(
            f"held out by one run, but seen in training by the other: {_listed(table.index[differ])}. "
            "Such a comparison would not be fair; compare runs that held out the same cases"
        )
    volumes = table["target_volume_ml"], other["target_volume_ml"]
    if not (same := np.isclose(*volumes, rtol=1e-6, equal_nan=True)).all():
        raise ValueError(f"the reference masks of the two reports differ in volume: {_listed(table.index[~same])}")


def _listed(keys: pd.MultiIndex) -> str:
    texts = [f"{case} ({label}, {part})" for case, label, part in keys]
    return ", ".join(texts[:10]) + (f" and {len(texts) - 10} more" if len(texts) > 10 else "")
