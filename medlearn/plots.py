"""Figures for the course: slices, overlays, learning curves, networks.

Images are drawn in millimeters and with their physical proportions. Every function returns a Matplotlib figure that a
notebook shows as a picture, and leaves ``matplotlib.pyplot`` alone: no figure stays open, no setting is changed. Masks
are told apart by line style as well as by color.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.path import Path

from .errors import check_choice
from .volume import Volume

if TYPE_CHECKING:
    import pandas as pd

    from .nn.inspect import Layer, Summary

# From the palette of Okabe and Ito (2008), which color-blind readers can tell apart; these four stand out on gray.
COLORS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7")
LINE_STYLES = ("solid", "dashed", "dotted", "dashdot")


class _Picture(Figure):
    """A figure that shows itself in a notebook, without the global state of pyplot."""

    def __init__(self, size: tuple[float, float]):
        super().__init__(figsize=size, layout="constrained")

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=80, metadata={"Software": None})  # no version number in the file
        return buffer.getvalue()


def show_slices(
    volume: Volume,
    mask: Volume | None = None,
    *,
    slices: Sequence[int] | None = None,
    axis: str = "z",
) -> Figure:
    """Show slices of a volume side by side, with the outline of a mask.

    Parameters
    ----------
    volume : Volume
        With axes zyx, or yx for a picture.
    mask : Volume, optional
        On the same grid: booleans, labels (0 is background) or probabilities (outlined at 0.5).
    slices : sequence of int, optional
        Indices along `axis`; six evenly spaced ones where it is not given.
    axis : {"z", "y", "x"}
        Index axis that the slices are cut across.

    Returns
    -------
    matplotlib Figure
        One panel per slice, axes in mm from the center of the first voxel.

    Raises
    ------
    GridMismatchError
        If `mask` lies on another grid.
    ValueError
        If a slice does not exist, or the volume has other axes.
    """
    check_choice("axis", axis, ("z", "y", "x"))
    n = _stack(volume).shape["zyx".index(axis)]
    if slices is None:
        slices = np.unique(np.linspace(0, n - 1, min(6, n) + 2).round().astype(int)[1:-1])
    columns = min(3, len(slices))
    height, width = _plane(volume, axis)[3]
    figure, panels = _panels(-(-len(slices) // columns), columns, height / width)
    for panel, index in zip(panels, slices, strict=False):
        _draw(panel, volume, [mask] if mask is not None else [], axis, int(index))
        panel.set_title(f"slice {axis} = {index}", fontsize=10)
    for panel in panels[len(slices) :]:
        panel.remove()
    return figure


def show_overlay(
    image: Volume,
    *masks: Volume,
    labels: Sequence[str],
    z: int | None = None,
    margin_mm: float | None = None,
) -> Figure:
    """Show the outlines of one or more masks on one slice of the image, with a legend.

    Parameters
    ----------
    image : Volume
    *masks : Volume
        At least one, at most four, on the grid of `image`.
    labels : sequence of str
        Name of each mask for the legend.
    z : int, optional
        The slice; the one with the largest area of the first mask where it is not given.
    margin_mm : float, optional
        Show only so much around the first mask, in mm; everything where it is not given.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    GridMismatchError, ValueError
        If the masks do not fit the image, or the labels do not fit the masks.
    """
    return show_comparison(image, {"": masks}, labels=labels, z=z, margin_mm=margin_mm)


def show_comparison(
    image: Volume,
    panels: Mapping[str, Sequence[Volume]],
    *,
    labels: Sequence[str],
    z: int | None = None,
    margin_mm: float | None = None,
) -> Figure:
    """Show one slice several times, each time with other masks: predictions of several networks, or of one that learns.

    Parameters
    ----------
    image : Volume
    panels : mapping of str to sequence of Volume
        Title of each panel to the masks outlined in it.
    labels, z, margin_mm
        As in `show_overlay`; `labels` name the masks of every panel in their order.

    Returns
    -------
    matplotlib Figure
    """
    for masks in panels.values():
        if not 1 <= len(masks) == len(labels) <= len(COLORS):
            raise ValueError(
                f"give one to {len(COLORS)} masks and a label for each; got {len(masks)} masks, {len(labels)} labels"
            )
    every = [mask for masks in panels.values() for mask in masks]
    areas = _inside(every[0]).sum((1, 2))
    z = int(areas.argmax()) if z is None else z
    limits = _limits(image, every[0], z, margin_mm)
    (left, right), (bottom, top) = limits["xlim"], limits["ylim"]
    figure, axes = _panels(1, len(panels), (bottom - top) / (right - left), texts=1.6)
    for panel, (title, masks) in zip(axes, panels.items(), strict=True):
        _draw(panel, image, masks, "z", z)
        panel.set(**limits)
        panel.set_title(title, fontsize=10)
    handles = [
        Line2D([], [], color=color, linestyle=style, label=label)
        for color, style, label in zip(COLORS, LINE_STYLES, labels, strict=False)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(labels), fontsize=9)
    return figure


def plot_curves(history: "pd.DataFrame") -> Figure:
    """Plot how a training went: loss of the training cases, Dice of the held-out cases.

    Parameters
    ----------
    history : DataFrame
        Columns ``step``, ``train_loss`` and ``val_dice`` (missing where it was not measured), as `Run.history`.
    """
    figure = _Picture((8, 3))
    loss, score = figure.subplots(1, 2)
    loss.plot(history["step"], history["train_loss"], color="black")
    loss.set(title="Training cases", xlabel="step", ylabel="loss (lower is better)")
    measured = history[history["val_dice"].notna()]
    score.plot(measured["step"], measured["val_dice"].astype(float), "o--", color="#0072B2")
    score.set(title="Held-out cases", xlabel="step", ylabel="Dice (higher is better)", ylim=(0, 1))
    for axes in (loss, score):
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    return figure


def draw_network(summary: "Summary") -> Figure:
    """Draw a network from its summary: blocks from left to right as they run, coarser maps further down.

    Parameters
    ----------
    summary : Summary
        From `medlearn.nn.summary`. Its rows without parameters (pooling, interpolation, concatenation) become the
        lines between the blocks.

    Returns
    -------
    matplotlib Figure
        Above each block its channels, below it its name and voxels. Wider blocks have more channels, lower ones fewer
        voxels. Dashed lines are connections that pass over other blocks.
    """
    boxes, lines = _network_graph(summary)
    depths = [np.log2(np.divide(boxes[0].shape[2:], box.shape[2:])).mean() for box in boxes]  # halvings so far
    deepest = max(*depths, 1)
    figure = _Picture((max(6, 0.72 * len(boxes)), 1.5 + 0.85 * deepest))
    axes = figure.subplots()
    corners = []  # left, right and top of each block
    for x, (box, depth) in enumerate(zip(boxes, depths, strict=True)):
        width, height = 0.1 + 0.05 * np.log2(box.shape[1] + 1), 0.5 * 2 ** (-depth / 3)
        axes.add_patch(Rectangle((x - width / 2, -depth - height / 2), width, height, fc="#BFE0F5", ec="black", lw=0.8))
        axes.text(x, -depth + height / 2 + 0.04, str(box.shape[1]), ha="center", va="bottom", fontsize=8)
        text = f"{box.name}\n{'×'.join(map(str, box.shape[2:]))}"
        axes.text(x, -depth - height / 2 - 0.04, text, ha="center", va="top", fontsize=6.5, linespacing=1.1)
        corners.append((x - width / 2, x + width / 2, -depth + height / 2))
    for start, end in lines:
        (_, x0, top0), (x1, _, top1) = corners[start], corners[end]
        way = [(x0, -depths[start]), (x1, -depths[end])]
        if depths[start] == depths[end] and depths[end] in depths[start + 1 : end]:  # over the blocks in between
            high = max(top0, top1) + 0.28
            way = [(x0 - 0.02, top0), (x0 - 0.02, high), (x1 + 0.02, high), (x1 + 0.02, top1)]
        style = "dashed" if end > start + 1 else "solid"
        axes.add_patch(FancyArrowPatch(path=Path(way), arrowstyle="->", mutation_scale=10, linestyle=style))
    axes.set(xlim=(-0.6, len(boxes) - 0.4), ylim=(-deepest - 0.65, 0.6 - min(*depths, 0)))
    axes.set_axis_off()
    size = "×".join(map(str, summary.input_shape))
    axes.set_title(
        f"{summary.network} for {size}: {summary.parameters:,} parameters, "
        f"{summary.multiply_adds / 1e9:,.2f} billion multiply-adds",
        fontsize=10,
    )
    return figure


#: How `draw_flow` draws a box: color and outline by who acts.
ACTORS = {
    "data": {"fc": "white", "ls": "dotted", "boxstyle": "square,pad=0"},
    "person": {"fc": "#F5DFB5", "ls": "solid", "boxstyle": "round,pad=0,rounding_size=0.16"},
    "machine": {"fc": "#BFE0F5", "ls": "dashed", "boxstyle": "square,pad=0"},
}


def draw_flow(
    rows: Mapping[str, Sequence[tuple[str, str] | None]], *, upward: Sequence[str] = (), width: float = 9.5
) -> Figure:
    """Draw who does what in which order: one row of boxes for each way of working.

    Parameters
    ----------
    rows : mapping of title to boxes
        A box is its text and who acts, one of `ACTORS`: "data" (dotted), "person" (rounded corners), "machine"
        (dashed). None leaves a place empty. Arrows run from each box to the next one.
    upward : sequence of titles
        Rows whose boxes each point to the box above, and not to the next one.
    width : float
        Of the figure, in inches.

    Returns
    -------
    matplotlib Figure
    """
    n = max(map(len, rows.values()))
    figure = _Picture((width, 0.95 * len(rows) + 0.4))
    axes = figure.subplots()
    half = 0.43, 0.26
    for row, (title, boxes) in enumerate(rows.items()):
        y = -row
        above = title not in upward  # where arrows leave upward, the title stands below
        axes.text(
            -0.45, y + (0.34 if above else -0.34), title, fontsize=8, fontweight="bold", va="bottom" if above else "top"
        )
        places = [x for x, box in enumerate(boxes) if box]
        for x in places:
            text, actor = boxes[x]
            check_choice("actor", actor, ACTORS)
            style = {"ec": "black", "lw": 0.9, "mutation_aspect": 0.6} | ACTORS[actor]
            axes.add_patch(FancyBboxPatch((x - half[0], y - half[1]), 2 * half[0], 2 * half[1], **style))
            axes.text(x, y, text, ha="center", va="center", fontsize=7, linespacing=1.1)
            if not above:
                arrow = (x, y + half[1]), (x, y + 1 - half[1])
                axes.add_patch(FancyArrowPatch(*arrow, arrowstyle="->", mutation_scale=9, ls="dashed", shrinkA=0))
        if above:
            for x0, x1 in pairwise(places):
                arrow = (x0 + half[0], y), (x1 - half[0], y)
                axes.add_patch(FancyArrowPatch(*arrow, arrowstyle="->", mutation_scale=9, shrinkA=0, shrinkB=0))
    actors = {box[1] for boxes in rows.values() for box in boxes if box}
    handles = [
        Patch(fc=style["fc"], ls=style["ls"], ec="black", label=name)
        for name, style in ACTORS.items()
        if name in actors
    ]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=len(handles), fontsize=7.5)
    axes.set(xlim=(-0.55, n - 0.45), ylim=(-len(rows) + 0.45, 0.6))
    axes.set_axis_off()
    return figure


def _stack(volume: Volume) -> np.ndarray:
    """Voxels as (z, y, x); a picture becomes a stack of one."""
    if volume.axes not in ("zyx", "yx"):
        raise ValueError(f"only volumes with axes zyx or yx can be shown; got {volume.axes!r}")
    return volume.array if volume.axes == "zyx" else volume.array[None]


def _inside(mask: Volume) -> np.ndarray:
    return _stack(mask) >= 0.5  # True, a label, or a probability that rounds up


def _plane(volume: Volume, axis: str) -> tuple[int, list[str], list[float], list[float]]:
    """Position of `axis`; names, spacing and size in mm of the other two, vertical first."""
    spacing = (1.0, *volume.spacing)[-3:]
    others = [i for i in range(3) if "zyx"[i] != axis]
    size = [_stack(volume).shape[i] * spacing[i] for i in others]
    return "zyx".index(axis), ["zyx"[i] for i in others], [spacing[i] for i in others], size


def _panels(rows: int, columns: int, ratio: float, *, texts: float = 0.8) -> tuple[Figure, list[Axes]]:
    """A figure whose panels are `ratio` times as high as wide, with so many inches for the `texts` above and below."""
    inches = min(9 / columns, 4.5)  # of a panel's width; the labels of its axes take about half an inch
    figure = _Picture((columns * inches, rows * ((inches - 0.5) * min(ratio, 2) + texts)))
    return figure, list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)


def _draw(panel: Axes, image: Volume, masks: Sequence[Volume], axis: str, index: int) -> None:
    """Draw a slice in gray and the masks' outlines with a faint fill; axes in mm."""
    position, (vertical, horizontal), spacing, _ = _plane(image, axis)
    stack = _stack(image)
    n = stack.shape[position]
    if not 0 <= index < n:
        raise ValueError(f"there is no slice {axis} = {index}; the volume has {n}, from 0 to {n - 1}")
    slice_ = stack.take(index, position)
    y, x = (np.arange(n) * s for n, s in zip(slice_.shape, spacing, strict=True))
    top, left = spacing[0] / 2, spacing[1] / 2  # pixels reach half a spacing beyond their centers
    low, high = np.percentile(stack, [0.5, 99.5])
    up = vertical == "z"  # the head belongs at the top; rows of an axial slice run from front to back, downwards
    panel.imshow(
        slice_,
        cmap="gray",
        vmin=low,
        vmax=high,
        origin="lower" if up else "upper",
        extent=(-left, x[-1] + left, *((-top, y[-1] + top) if up else (y[-1] + top, -top))),
        aspect="equal",
        interpolation="nearest",
    )
    for mask, color, style in zip(masks, COLORS, LINE_STYLES, strict=False):
        image.check_same_grid(mask, "image and mask")
        inside = _inside(mask).take(index, position)
        if inside.any() and not inside.all():
            panel.contourf(x, y, inside, levels=[0.5, 1.5], colors=[color], alpha=0.2)
            panel.contour(x, y, inside, levels=[0.5], colors=[color], linestyles=[style], linewidths=1.8)
    panel.set(xlabel=f"{horizontal} (mm)", ylabel=f"{vertical} (mm)")
    panel.label_outer()


def _limits(image: Volume, mask: Volume, z: int, margin_mm: float | None) -> dict[str, tuple[float, float]]:
    """Range of x and y in mm: the whole slice, or the mask's bounding box in slice z and a margin."""
    shown = _inside(mask)[z]
    if margin_mm is None or not shown.any():
        shown, margin_mm = np.ones(image.shape[-2:], bool), 0
    (top, bottom), (left, right) = (
        ((i.min() - 0.5) * s - margin_mm, (i.max() + 0.5) * s + margin_mm)
        for i, s in zip(shown.nonzero(), image.spacing[-2:], strict=True)
    )
    return {"xlim": (left, right), "ylim": (bottom, top)}


def _network_graph(summary: "Summary") -> tuple[list["Layer"], list[tuple[int, int]]]:
    """Blocks to draw, the image first, and the pairs of them that are connected."""
    image = replace(summary.rows[0], name="image", shape=summary.input_shape, parameters=0, sources=())
    boxes, lines = [image], []
    drawn = {-1: {0}}  # row → boxes that its result comes from
    for i, row in enumerate(summary.rows):
        sources = set().union(*(drawn[source] for source in row.sources))
        if row.parameters or i == len(summary.rows) - 1:
            boxes.append(row)
            lines += [(source, len(boxes) - 1) for source in sorted(sources)]
            sources = {len(boxes) - 1}
        drawn[i] = sources
    return boxes, lines
