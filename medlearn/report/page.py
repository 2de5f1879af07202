"""The report as one HTML page that asks for nothing else: figures and styles stand in it."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

from .. import __version__
from . import figures
from .cases import WorstCase
from .tables import MEASURES, failed_cases, failures, summarize
from .text import comparison_title, interval, number

_COMPARISON_NOTE = (
    "<li><b>Comparison</b>: differences are this report − the other one, case by case. p is the two-sided p value of "
    "Wilcoxon’s signed-rank test; a failure of one run only gets the highest rank, and pairs without a difference are "
    "left out. The p values are not corrected for the number of rows.</li>"
)


def page(table: pd.DataFrame, *, worst: Sequence[WorstCase] = (), comparison: pd.DataFrame | None = None) -> str:
    """Make the page.

    Parameters
    ----------
    table, worst, comparison
        As `medlearn.report.write_report` takes them.

    Returns
    -------
    str
        HTML. Held-out cases and cases seen in training have sections of their own.
    """
    summary = summarize(table)
    counts = table.groupby("group", sort=True)["case"].nunique()
    sections = []
    for group in counts.index:
        of_group = [t[t["group"] == group] if t is not None else None for t in (table, summary, comparison)]
        sections.append(_section(group, *of_group, [case for case in worst if case.group == group]))
    warning = ""
    if "held out" not in counts:
        warning = (
            "<p class='alarm'>Every case was seen in training. These numbers tell how well the network remembers them, "
            "not how well it does on new ones.</p>"
        )
    return Template(Path(__file__).with_name("template.html").read_text(encoding="utf-8")).substitute(
        title=escape(", ".join(f"{n} {'case' if n == 1 else 'cases'} {group}" for group, n in counts.items())),
        warning=warning,
        groups="\n".join(sections),
        comparison_note="" if comparison is None else _COMPARISON_NOTE,
        version=__version__,
    )


def _section(
    group: str,
    table: pd.DataFrame,
    summary: pd.DataFrame,
    comparison: pd.DataFrame | None,
    worst: Sequence[WorstCase],
) -> str:
    n = table["case"].nunique()
    parts = [
        f"<section>\n<h2>{escape(group.capitalize())}: {n} {'case' if n == 1 else 'cases'}</h2>",
        _failures(table),
        "<h3>Means</h3>",
        _summary_table(summary),
        *([] if comparison is None else ["<h3>Compared with the other report</h3>", _comparison_table(comparison)]),
        "<h3>Distribution</h3>",
        _distribution(table),
        "<h3>Volumes</h3>",
        _volumes(table),
        *(["<h3>Worst cases</h3>", _worst(worst)] if worst else []),
        "<h3>Every case</h3>",
        _case_table(table),
        "</section>",
    ]
    return "\n".join(parts)


def _failures(table: pd.DataFrame) -> str:
    failed = failed_cases(table)
    if not failed:
        return "<p>No case failed.</p>"
    names = "".join(f"<li><b>{escape(case)}</b>: {escape(words)}</li>" for case, words in failed.items())
    n = table["case"].nunique()
    return f"<div class='alarm'>{len(failed)} of {n} cases failed, and count in the means:<ul>{names}</ul></div>"


def _summary_table(summary: pd.DataFrame) -> str:
    keys = _keys(summary)
    head = [*keys, "measure", "mean", "95 % interval", "median", "worst", "cases", "infinite", "not defined"]
    rows = [
        [
            *(row[key] for key in keys),
            MEASURES[row["measure"]].title,
            _words(row["mean"], row["measure"]),
            interval(row, _words),
            *(_words(row[key], row["measure"]) for key in ("median", "worst")),
            *(str(row[key]) for key in ("cases", "infinite", "undefined")),
        ]
        for row in summary.to_dict("records")
    ]
    return _table(head, rows, n_texts=len(keys) + 1)


def _comparison_table(comparison: pd.DataFrame) -> str:
    keys = _keys(comparison)
    head = [*keys, "measure", "this", "other", "difference", "95 % interval", "pairs", "better", "worse", "equal"]
    rows = [
        [
            *(row[key] for key in keys),
            comparison_title(row["measure"]),
            *(_words(row[key], row["measure"], sign=False) for key in ("mean", "other_mean")),
            _words(row["mean_difference"], row["measure"], sign=True),
            interval(row, _words, sign=True),
            *("–" if math.isnan(row[key]) else f"{row[key]:.0f}" for key in ("n", "n_better", "n_worse", "n_equal")),
            str(row["undefined"]),
            "not defined" if math.isnan(row["p_value"]) else f"{row['p_value']:.3g}",
        ]
        for row in comparison.to_dict("records")
    ]
    return _table([*head, "left out", "p (Wilcoxon)"], rows, n_texts=len(keys) + 1)


def _case_table(table: pd.DataFrame) -> str:
    keys = ["case", *_keys(table)]
    volumes = ["pred_volume_ml", "target_volume_ml"] if table["target_volume_ml"].notna().any() else []
    head = [*keys, *(about.title for about in MEASURES.values())]
    head += ["predicted (ml)", "reference (ml)"] if volumes else []
    rows, failed = [], []
    for row, words in zip(table.itertuples(), failures(table), strict=True):
        texts = [_words(getattr(row, measure), measure) for measure in MEASURES]
        rows.append(
            [*(getattr(row, key) for key in keys), *texts, *(_volume(getattr(row, key)) for key in volumes), words]
        )
        failed.append(bool(words))
    return _table([*head, "failure"], rows, n_texts=len(keys), failed=failed)


def _distribution(table: pd.DataFrame) -> str:
    text = "Each point is a case. The box holds the middle half of them, the thick line is the median."
    if table[list(MEASURES)].isin([math.inf]).any(axis=None):
        text += " Crosses on the dotted line are infinite, and the boxes count them at that height."
    drawn = [m for m in MEASURES if table[m].notna().any()]
    return f"<p class='note'>{text}</p>" + _figures(
        (figures.box_plot(table, m), f"{MEASURES[m].title}: {MEASURES[m].better} is better.") for m in drawn
    )


def _volumes(table: pd.DataFrame) -> str:
    n_of_label = figures.with_volumes(table)["label"].value_counts(sort=False)
    if n_of_label.empty:
        return "<p>Pictures have no volume.</p>"
    note = "<p class='note'>Crosses are failures.</p>" if (failures(table) != "").any() else ""
    drawn = [
        (figures.size_plot(table), "Dice against the volume of the reference: small organs are harder."),
        (figures.volume_plot(table), "Predicted against reference volume; on the dashed line they are equal."),
    ]
    for label, n in n_of_label.items():
        if n < 2:
            note += f"<p class='note'>A Bland–Altman plot needs at least two cases; {escape(label)} has one.</p>"
            continue
        text = f"Bland–Altman plot, {escape(label)}: solid line bias, dashed lines limits of agreement (ml)."
        drawn.append((figures.bland_altman_plot(table, label), text))
    return note + _figures(drawn)


def _worst(worst: Sequence[WorstCase]) -> str:
    captions = [
        f"<b>{escape(case.case)}</b>, {escape(case.label)}: Dice {_words(case.dice, 'dice')}, HD95 "
        f"{_words(case.hausdorff95, 'hausdorff95')}{' mm' if math.isfinite(case.hausdorff95) else ''}; slice {case.z}"
        f"{'' if case.image is not None else ' (no image on this grid)'}"
        for case in worst
    ]
    text = (
        "The lowest Dice, each on the slice where most voxels differ. Reference: solid line. Prediction: dashed line."
    )
    return f"<p class='note'>{text}</p>" + _figures(
        (figures.contours(case, n), caption) for n, (case, caption) in enumerate(zip(worst, captions, strict=True))
    )


def _keys(table: pd.DataFrame) -> list[str]:
    """Which columns tell rows apart: label and part only where there are several."""
    return [key for key in ("label", "part") if table[key].nunique() > 1]


def _words(value: float, measure: str, *, sign: bool | None = None) -> str:
    return number(value, measure, infinite="infinite", undefined="not defined", sign=sign).replace("-", "−")


def _volume(value_ml: float) -> str:
    if math.isnan(value_ml):
        return "not defined"
    return f"{value_ml:.2g}" if 0 < value_ml < 1 else f"{value_ml:.1f}"


def _figures(drawn: Iterable[tuple[str, str]]) -> str:
    shown = "\n".join(f"<figure>{svg}<figcaption>{caption}</figcaption></figure>" for svg, caption in drawn)
    return f"<div class='figures'>\n{shown}\n</div>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, n_texts: int, failed: Sequence[bool] = ()) -> str:
    """A table that scrolls within a narrow page; columns of words are left-aligned, columns of numbers right."""
    kinds = [" class='text'" if i < n_texts or name == "failure" else "" for i, name in enumerate(head)]
    lines = ["".join(f"<th scope='col'{kind}>{escape(text)}</th>" for text, kind in zip(head, kinds, strict=True))]
    for row in rows:  # long names break lines, in the element within the cell
        cells = [f"<span>{escape(text)}</span>" if kind else text for text, kind in zip(row, kinds, strict=True)]
        lines.append("".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(cells, kinds, strict=True)))
    marks = ["", *(" class='failed'" if bad else "" for bad in failed)]
    marks += [""] * (len(lines) - len(marks))
    text = "\n".join(f"<tr{mark}>{line}</tr>" for mark, line in zip(marks, lines, strict=True))
    return f"<div class='scroll' tabindex='0'><table>\n{text}\n</table></div>"
