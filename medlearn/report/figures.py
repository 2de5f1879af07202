"""The report's figures as SVG that stands in the page: text stays text, and takes the colors of the page."""

import io
import re
from html import escape
from itertools import cycle

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..plots import show_overlay
from ..statistics import bland_altman
from ..volume import Volume
from .cases import WorstCase
from .tables import MEASURES, failures

# Drawn in these colors, then handed to the page's style sheet, which knows light from dark.
_PAGE_COLORS = {
    "#0f0f0e": "currentColor",
    "#0f0f1e": "var(--mark)",
    "#0f0f2e": "var(--second)",
    "#0f0f3e": "var(--grid)",
}
_TEXT, _MARK, _SECOND, _GRID = _PAGE_COLORS
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medlearn",  # the same report gives the same file
    "font.size": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor"), _TEXT
    ),
}
_MARKERS = "os^Dv<>p"
_MOST_PIXELS = 512  # along a side of an embedded picture; more would be shown smaller than a screen's pixels
_WIDTH = 3.3  # inches: the width of a phone


def box_plot(table: pd.DataFrame, measure: str) -> str:
    """A box and a point for every case, one column for each label and part; infinite values at the upper edge."""
    about = MEASURES[measure]
    columns = {
        names: about.factor * part[measure].dropna().to_numpy()
        for names, part in table.groupby(["label", "part"], sort=False)
    }
    every = np.concatenate(list(columns.values()))
    finite = every[np.isfinite(every)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    edge = high + 0.15 * max(high - low, 0.01)
    with mpl.rc_context(_STYLE):
        figure, axes = _panel(max(_WIDTH, 0.5 * len(columns)))
        for x, values in enumerate(columns.values()):
            _draw_box(axes, x, np.where(np.isinf(values), edge, values), np.isinf(values))
        several = table["part"].nunique() > 1
        names = [f"{label}\n{part}" if several else label for label, part in columns]
        axes.set_xticks(range(len(columns)), names, parse_math=False)  # a name may hold dollar signs
        axes.set(xlim=(-0.6, len(columns) - 0.4), ylabel=about.title)
        if np.isinf(every).any():
            axes.axhline(edge, color=_TEXT, linewidth=0.6, linestyle="dotted")
            axes.text(len(columns) - 0.4, edge, "infinite", ha="right", va="bottom", fontsize=8)
        text = f"{about.title}: {len(every)} values from {_number(every, np.min)} to {_number(every, np.max)}"
        return _svg(figure, f"Box plot of {text}, median {_number(every, np.median)}", f"box-{measure}-{_group(table)}")


def _draw_box(axes: Axes, x: float, values: np.ndarray, infinite: np.ndarray) -> None:
    if not values.size:
        return
    lines = {"color": _TEXT, "linewidth": 1}
    axes.boxplot(
        values,
        positions=[x],
        widths=0.55,
        showfliers=False,  # every case has its point
        boxprops=lines,
        whiskerprops=lines,
        capprops=lines,
        medianprops=lines | {"linewidth": 2},
        manage_ticks=False,
    )
    places = x + 0.4 * (np.random.default_rng(0).random(len(values)) - 0.5)  # side by side, not on each other
    axes.plot(places[~infinite], values[~infinite], "o", color=_MARK, markersize=4, alpha=0.7)
    axes.plot(places[infinite], values[infinite], "X", color=_SECOND, markersize=7)


def size_plot(table: pd.DataFrame) -> str:
    """Dice of the whole against the volume of the reference: small organs are harder."""
    shown = with_volumes(table)
    small, large = shown["target_volume_ml"].min(), shown["target_volume_ml"].max()
    text = f"Scatter plot of Dice against the volume of the reference, {small:.3g} to {large:.3g} ml"
    with mpl.rc_context(_STYLE):
        figure, axes = _panel()
        _scatter(axes, shown, "target_volume_ml", "dice")
        axes.set(xlabel="volume of the reference (ml)", ylabel="Dice")
        return _svg(figure, f"{text}: {len(shown)} points", f"size-{_group(table)}")


def volume_plot(table: pd.DataFrame) -> str:
    """Predicted against reference volume of the whole, with the line on which they are equal."""
    shown = with_volumes(table)
    text = "Scatter plot of predicted against reference volume, with the line of equal volumes"
    with mpl.rc_context(_STYLE):
        figure, axes = _panel()
        _scatter(axes, shown, "target_volume_ml", "pred_volume_ml")
        axes.axline((0, 0), slope=1, color=_TEXT, linewidth=1, linestyle="dashed")
        axes.set(xlabel="volume of the reference (ml)", ylabel="predicted volume (ml)", xlim=(0, None), ylim=(0, None))
        return _svg(figure, f"{text}: {len(shown)} points", f"volume-{_group(table)}")


def _scatter(axes: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """A point for each row, another marker for each label, crosses for failures."""
    for marker, (label, part) in zip(cycle(_MARKERS), table.groupby("label", sort=False), strict=False):
        failed = failures(part) != ""
        good = part[~failed]
        axes.plot(good[x], good[y], marker, color=_MARK, markersize=4, alpha=0.7, label=label)
        axes.plot(part.loc[failed, x], part.loc[failed, y], "X", color=_SECOND, markersize=7)
    if table["label"].nunique() > 1:
        for text in axes.legend(fontsize=8).get_texts():
            text.set_parse_math(False)


def bland_altman_plot(table: pd.DataFrame, label: str) -> str:
    """Bland-Altman plot of the volumes of one label; needs two cases with volumes."""
    shown = with_volumes(table[table["label"] == label])
    limits = bland_altman(shown["pred_volume_ml"], shown["target_volume_ml"])
    shown = shown.assign(
        mean=(shown["pred_volume_ml"] + shown["target_volume_ml"]) / 2,
        difference=shown["pred_volume_ml"] - shown["target_volume_ml"],
    )
    with mpl.rc_context(_STYLE):
        figure, axes = _panel()
        _scatter(axes, shown, "mean", "difference")
        axes.axhline(0, color=_GRID, linewidth=1)
        for value, style in ((limits.bias, "solid"), (limits.lower, "dashed"), (limits.upper, "dashed")):
            axes.axhline(value, color=_TEXT, linewidth=1, linestyle=style)
            place = {"xy": (1.01, value), "xycoords": ("axes fraction", "data"), "ha": "left", "va": "center"}
            axes.annotate(f"{value:+.3g}".replace("-", "−"), **place, fontsize=8)
        axes.set(xlabel="mean of both volumes (ml)", ylabel="prediction − reference (ml)")
        text = (
            f"Bland-Altman plot of the volumes of {len(shown)} cases, {label}: bias {limits.bias:+.3g} ml, "
            f"limits of agreement {limits.lower:+.3g} to {limits.upper:+.3g} ml"
        )
        return _svg(figure, text, f"bland-altman-{label}-{_group(table)}")


def contours(case: WorstCase, number: int) -> str:
    """Outlines of reference and prediction on the slice in which they differ most."""
    spacing = case.target.spacing[-2:]
    masks = [_plane(volume, case.z) for volume in (case.target, case.pred)]
    image = np.zeros(masks[0].shape) if case.image is None else _plane(case.image, case.z)
    image = np.where(np.isfinite(image), image, 0)  # outside the field of view there may be nan
    box = _box_around(masks[0] | masks[1], spacing)
    step = -(-max(masks[0][box].shape) // _MOST_PIXELS)
    image, target, pred = (
        Volume(
            array=np.ascontiguousarray(plane[box][::step, ::step], np.float32),
            spacing=tuple(step * s for s in spacing),
            axes="yx",
        )
        for plane in (image, *masks)
    )
    spacing = image.spacing
    with mpl.rc_context(_STYLE):
        figure = show_overlay(image, target, pred, labels=("reference", "prediction"), z=0)
        figure.axes[0].images[0].set_interpolation("none")  # the pixels as they are; the browser scales them
        figure.set_size_inches(_WIDTH, _WIDTH * image.shape[0] * spacing[0] / (image.shape[1] * spacing[1]) + 0.5)
        text = f"Slice {case.z} of case {case.case}, {case.label}: outlines of reference and prediction"
        return _svg(figure, text, f"contours-{number}-{case.group}")


def _plane(volume: Volume, z: int) -> np.ndarray:
    return volume.array.reshape(-1, *volume.shape[-2:])[z]


def _box_around(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[slice, slice]:
    """Rows and columns of the mask with a margin, in mm the same on all sides; everything where the mask is empty."""
    if not mask.any():
        return slice(None), slice(None)
    box = [(indices.min(), indices.max() + 1) for indices in mask.nonzero()]
    margin_mm = 0.4 * max((end - start) * s for (start, end), s in zip(box, spacing, strict=True))
    margins = [max(2, round(margin_mm / s)) for s in spacing]
    rows, columns = (slice(max(0, start - m), end + m) for (start, end), m in zip(box, margins, strict=True))
    return rows, columns


def with_volumes(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of whole masks that have a volume; pictures have none."""
    return table[(table["part"] == "whole") & table["target_volume_ml"].notna()]


def _group(table: pd.DataFrame) -> str:
    return table["group"].iloc[0]


def _panel(width: float = _WIDTH) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    return figure, axes


def _number(values: np.ndarray, reduce) -> str:
    value = reduce(values) if values.size else np.nan
    return "infinite" if np.isinf(value) else "undefined" if np.isnan(value) else f"{value:.3g}"


def _svg(figure: Figure, alternative: str, name: str) -> str:
    """The figure as an element of an HTML page, described for those who do not see it."""
    with io.StringIO() as buffer:
        with mpl.rc_context({"svg.hashsalt": name}):  # ids must differ between the figures of a page
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", text)
    for drawn, color in _PAGE_COLORS.items():
        text = text.replace(drawn, color)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(alternative)}"', 1)
