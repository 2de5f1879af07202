"""The report as text for a terminal, and numbers as text for every form of it."""

import math
from collections.abc import Callable

import pandas as pd

from .tables import MEASURES, failed_cases

_IN_TEXT = ["dice", "hausdorff95", "average_boundary_distance", "relative_volume_difference"]


def format_report(table: pd.DataFrame, comparison: pd.DataFrame | None = None) -> str:
    """The report as text for a terminal: per group the cases, means and failures; the comparison with another run."""
    keys = ["case", "label", *(["part"] if table["part"].nunique() > 1 else [])]
    texts = []
    for group, part in table.groupby("group", sort=True):
        shown = part[[*keys, *_IN_TEXT]]
        means = part.groupby(["label", "part"], sort=False)[_IN_TEXT].mean().reset_index().assign(case="mean")
        rows = _in_units(pd.concat([shown, means[shown.columns]]))
        texts.append(f"{part['case'].nunique()} cases, {group}\n{rows}\n")
        if failed := failed_cases(part):
            lines = [f"  {case}: {words}" for case, words in failed.items()]
            texts.append("\n".join([f"{len(failed)} of them failed, and count in the means:", *lines, ""]))
    if comparison is not None:
        texts.append(_format_comparison(comparison, keys[1:]))
    return "\n".join(texts)


def _in_units(table: pd.DataFrame) -> str:
    shown = table.copy()
    for name in _IN_TEXT:
        shown[name] = [number(value, name) for value in table[name]]
    return shown.rename(columns={name: MEASURES[name].title for name in _IN_TEXT}).to_string(index=False)


def number(
    value: float, measure: str, *, infinite: str = "inf", undefined: str = "nan", sign: bool | None = None
) -> str:
    """A value of a measure in the unit of its title; `sign` overrides whether a plus is written."""
    about = MEASURES[measure]
    if not math.isfinite(value):
        return undefined if math.isnan(value) else infinite if value > 0 else f"−{infinite}"
    style = about.format if sign is None else ("+" if sign else "") + about.format.lstrip("+")
    return f"{about.factor * value:{style}}"


def _format_comparison(comparison: pd.DataFrame, keys: list[str]) -> str:
    texts = []
    for group, part in comparison.groupby("group", sort=True):
        rows = [
            {
                **{key: row[key] for key in keys},
                "measure": comparison_title(row["measure"]),
                "this": number(row["mean"], row["measure"], sign=False),
                "other": number(row["other_mean"], row["measure"], sign=False),
                "difference": number(row["mean_difference"], row["measure"], sign=True),
                "95 % interval": interval(row, number, sign=True),
                "better/worse/equal": "/".join(f"{row[f'n_{way}']:.0f}" for way in ("better", "worse", "equal")),
                "p": f"{row['p_value']:.3g}",
            }
            for row in part.to_dict("records")
        ]
        title = f"compared with the other report, {group}: this − other, p by Wilcoxon's signed-rank test"
        texts.append(f"{title}\n{pd.DataFrame(rows).to_string(index=False)}\n")
    return "\n".join(texts)


def interval(row: dict, to_text: Callable[..., str], *, sign: bool | None = None) -> str:
    """The interval from ``low`` to ``high``, in the unit of the row's measure."""
    if math.isnan(row["low"]):
        return "not defined"
    return " to ".join(to_text(row[end], row["measure"], sign=sign) for end in ("low", "high"))


def comparison_title(measure: str) -> str:
    """Title of a measure as `compare_tables` uses it: sizes of the volume differences."""
    about = MEASURES[measure]
    return f"|{about.title.replace(' (', '| (')}" if about.better == "nearer to 0" else about.title
