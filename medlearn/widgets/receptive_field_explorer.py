"""The receptive field explorer: a chain of up to four convolutions, and what one voxel of its output sees of a slice.

The browser gets the slice once and does the rest itself, so that the explorer needs no kernel; browser tests compare
its pixels with those that Python draws, and Python's with the gradients of torch.
"""

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import traitlets

from ..plots import COLORS
from ..volume import Volume
from ._base import Control, Widget, check_control, complete, front_end
from ._levels import _lay_over, _look
from ._one_slice import STYLE, gray_picture, one_slice

LAYERS = range(1, 5)
SETTINGS = {"kernel": range(1, 8), "stride": range(1, 4), "dilation": range(1, 5)}  # of each layer
HIDE = ("nothing", "all outside the box", "all outside half the box")
SMALLEST = 64  # pixels along a side: the coarsest chain leaves one of them
BOX = _look("receptive field", COLORS[1], "solid", 0.0)
GAP = 8  # black pixels between the panels

Layers = Sequence[tuple[int, int, int]]  # (kernel, stride, dilation) of each layer, the same along both axes


class Stage(NamedTuple):
    """What a chain has become after some layers, along one axis."""

    size: int  # of the map, in its own voxels
    step: int  # from one of them to the next, in pixels of the input
    field: int  # pixels of the input that one of them sees
    first: int  # the first pixel that voxel 0 sees; below 0 lies padding

    def box(self, index: int) -> tuple[int, int]:
        """First pixel that voxel `index` sees, and the one after the last."""
        first = self.first + index * self.step
        return first, first + self.field


class ReceptiveFieldExplorer(Widget):
    """Choose kernel, stride and dilation of up to four convolutions, and see what one voxel of their output sees.

    Left the slice with the receptive field that arithmetic promises, a box. Right how much each pixel really counts:
    the gradient of the output voxel, the brighter, the more. Click a picture to choose the voxel. All weights are
    equal, so the gradient of a pixel is its number of paths to the voxel, divided by a constant. Every layer pads with
    zeros by half its reach, dilation × (kernel − 1) // 2 on each side; a kernel of 2 with stride 2 is average pooling.

    Hide what lies outside the box: the answer stays. Hide what lies outside half of it: it does not, and yet it moves
    less than the area suggests, because the rim has few paths.

    Parameters
    ----------
    image : Volume or (height, width) ndarray
        A slice, or a volume with axes zyx of which one slice is shown; at least 64 pixels along each side. Values of
        type uint8 are taken as they are, others are brought to uint8 between the slice's percentiles 0.5 and 99.5.
    index : int, optional
        Slice of a volume; the middle one where it is not given.
    size : int
        Wanted length of a panel's longer side in pixels.

    Attributes
    ----------
    n_layers : int
    kernel_1, stride_1, dilation_1, … dilation_4 : int
        Of each layer, along both axes.
    row, column : int
        A pixel of the slice; its voxel of the output is the one at ``row // step``, ``column // step``.
    hide : {"nothing", "all outside the box", "all outside half the box"}

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    W. Luo et al., Understanding the effective receptive field in deep convolutional neural networks, NIPS (2016).

    Examples
    --------
    >>> explorer = ReceptiveFieldExplorer.example()
    >>> explorer.render(hide="all outside the box").shape
    (256, 520, 3)
    """

    _esm = front_end("_panels.js", "receptive_field_explorer.js")
    _css = STYLE

    n_layers = traitlets.Int(3).tag(sync=True)
    kernel_1, kernel_2, kernel_3, kernel_4 = (traitlets.Int(3).tag(sync=True) for _ in range(4))
    stride_1, stride_2, stride_3, stride_4 = (traitlets.Int(1).tag(sync=True) for _ in range(4))
    dilation_1, dilation_2, dilation_3, dilation_4 = (traitlets.Int(1).tag(sync=True) for _ in range(4))
    row = traitlets.Int(0).tag(sync=True)
    column = traitlets.Int(0).tag(sync=True)
    hide = traitlets.Unicode(HIDE[0]).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _pixels = traitlets.Bytes().tag(sync=True)  # zlib of (height, width) uint8

    def __init__(self, image: Volume | np.ndarray, *, index: int | None = None, size: int = 384):
        check_control("size", size, range(64, 1025))
        slice_ = one_slice(image, index=index)
        self._gray = slice_.to_eight_bits(slice_.array)
        self._sampling = slice_.sampling(size)
        height, width = self._gray.shape
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"image must have at least {SMALLEST} pixels along each side, or strides leave nothing; "
                f"got {height} × {width}"
            )
        self._allowed: dict[str, Control] = {
            "n_layers": LAYERS,
            **{f"{name}_{k}": allowed for k in LAYERS for name, allowed in SETTINGS.items()},
            "row": range(height),
            "column": range(width),
            "hide": HIDE,
        }
        scene = {
            "shape": (height, width),
            "spacing": slice_.spacing,
            "unit": slice_.unit,
            "pixel": slice_.pixel(size),
            "rows": self._sampling[0].nearest.tolist(),
            "columns": self._sampling[1].nearest.tolist(),
            "limits": {name: (a[0], a[-1]) for name, a in self._allowed.items() if isinstance(a, range)},
            "hide": HIDE,
            "box": BOX,
            "note": slice_.note,
        }
        pixels = zlib.compress(self._gray.tobytes())
        super().__init__(row=height // 2, column=width // 2, _scene=scene, _pixels=pixels)

    @classmethod
    def example(cls) -> "ReceptiveFieldExplorer":
        """Look at a small prostate phantom through four layers, one with stride, one dilated."""
        from ..phantom import prostate

        explorer = cls(prostate(7, shape=(3, 64, 64), spacing=(7.2, 2.5, 2.5)).image, size=256)
        explorer.n_layers, explorer.stride_2, explorer.dilation_4 = 4, 2, 2
        explorer.row, explorer.column = 35, 29
        return explorer

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: the layers, the voxel of the output, and what is hidden."""
        return dict(self._allowed)

    @property
    def layers(self) -> list[tuple[int, int, int]]:
        """(kernel, stride, dilation) of the layers that are used, as `medlearn.receptive_field` takes them."""
        return _layers({name: getattr(self, name) for name in self._allowed})

    def render(self, **state: Any) -> np.ndarray:
        """Draw the slice with the box, and the gradient, side by side, as the browser does.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now.

        Returns
        -------
        (height, 2 × width + 8, 3) uint8 array
            Pixels are square in mm.
        """
        now = complete(self, state, self._allowed)
        layers = _layers(now)
        along = [_along(layers, n, now[name]) for n, name in zip(self._gray.shape, ("row", "column"), strict=True)]
        boxes, paths = [box for box, _ in along], [counts for _, counts in along]
        rows, columns = (samples.nearest for samples in self._sampling)
        enlarge = np.ix_(rows, columns)
        box = _inside(boxes, self._gray.shape)
        shown = self._gray * _visible(boxes, self._gray.shape, now["hide"])
        seen = _heat(*paths)
        pictures = [gray_picture(shown[enlarge]), seen[enlarge]]
        for picture in pictures:
            _lay_over(picture, box[enlarge], BOX)
        gap = np.zeros((len(rows), GAP, 3), np.uint8)
        return np.concatenate([pictures[0], gap, pictures[1]], axis=1)

    def __repr__(self):
        return f"ReceptiveFieldExplorer({self.layers})"

    @traitlets.validate("n_layers", *(f"{name}_{k}" for k in LAYERS for name in SETTINGS), "row", "column", "hide")
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, self._allowed[proposal.trait.name])


def stages(layers: Layers, n: int) -> list[Stage]:
    """The input, `n` pixels long, and what it has become after every layer."""
    result = [Stage(n, 1, 1, 0)]
    for kernel, stride, dilation in layers:
        size, step, field, first = result[-1]
        reach = dilation * (kernel - 1)
        padding = reach // 2
        size = (size + 2 * padding - reach - 1) // stride + 1
        result.append(Stage(size, step * stride, field + reach * step, first - padding * step))
    return result


def path_counts(layers: Layers, n: int, index: int) -> np.ndarray:
    """Number of paths from each of `n` pixels to voxel `index` of the output, along one axis; float64.

    This is the way back through the chain: every voxel passes its count on to those that its kernel looked at.
    """
    sizes = [stage.size for stage in stages(layers, n)]
    counts = np.zeros(sizes[-1])
    counts[index] = 1
    for (kernel, stride, dilation), size in zip(reversed(layers), sizes[-2::-1], strict=True):
        padding = dilation * (kernel - 1) // 2
        padded = np.zeros(size + 2 * padding)
        for tap in range(kernel):
            padded[tap * dilation :: stride][: len(counts)] += counts
        counts = padded[padding : padding + size]
    return counts


def _layers(state: dict[str, Any]) -> list[tuple[int, int, int]]:
    return [tuple(state[f"{name}_{k}"] for name in SETTINGS) for k in LAYERS[: state["n_layers"]]]


def _along(layers: Layers, n: int, pixel: int) -> tuple[tuple[int, int], np.ndarray]:
    """Box and paths of the output voxel at a pixel, along one axis."""
    last = stages(layers, n)[-1]
    index = min(pixel // last.step, last.size - 1)
    return last.box(index), path_counts(layers, n, index)


def _inside(boxes: Sequence[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """The pixels of two intervals, (height, width) bool."""
    rows, columns = (
        (first <= np.arange(n)) & (np.arange(n) < end) for (first, end), n in zip(boxes, shape, strict=True)
    )
    return rows[:, None] & columns


def _visible(boxes: Sequence[tuple[int, int]], shape: tuple[int, int], hide: str) -> np.ndarray:
    if hide == HIDE[0]:
        return np.ones(shape, bool)
    if hide == HIDE[1]:
        return _inside(boxes, shape)
    quarters = [(end - first) // 4 for first, end in boxes]
    halves = [(first + cut, end - cut) for (first, end), cut in zip(boxes, quarters, strict=True)]
    return _inside(halves, shape)


def _heat(down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Numbers of paths as a picture: black is none, one path is dark, the most is bright; square root in between."""
    counts = down[:, None] * across
    level = np.where(counts > 0, np.floor(40 + 215 * np.sqrt(counts / counts.max())), 0)
    return np.stack([np.rint(level * tenths / 10) for tenths in (10, 8, 4)], axis=-1).astype(np.uint8)
