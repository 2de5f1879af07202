"""The slice explorer: a volume slice by slice, with window, overlays and a cursor.

The browser gets the volume once and draws every slice itself (`slice_explorer.js`), so that a key press needs no
kernel. `SliceExplorer.render` draws the same picture in Python, pixel by pixel; a browser test compares the two.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import traitlets

from ..intensity import window
from ..plots import COLORS, LINE_STYLES
from ..volume import Volume, as_labels
from ._base import Control, Interval, Widget, check_control, complete, front_end

CT_WINDOWS = MappingProxyType(  # level and width in Hounsfield units
    {"soft tissue": (40, 400), "lung": (-600, 1500), "bone": (400, 1800), "brain": (40, 80)}
)
# What a line looks like along the picture: 1 is drawn, 0 is not.
DASHES = MappingProxyType(
    {
        "solid": "1",
        "dashed": "1" * 15 + "0" * 9,
        "dotted": "1" * 5 + "0" * 7,
        "dashdot": "1" * 18 + "0" * 6 + "1" * 5 + "0" * 7,
    }
)
FILL = 0.2  # of the contour's opacity
CONTOUR = 2  # width in pixels
MAX_OVERLAYS = len(COLORS) * len(LINE_STYLES)
MAX_SIDE = 1024  # pixels
MAX_REDUCTION = 8

_CODE = front_end("slice_explorer.js")
_STYLE = Path(__file__).with_name("_picture.css")


class SliceExplorer(Widget):
    """Look at a volume slice by slice, along its three axes, with masks on top.

    Move through the slices with the slider, the arrow keys, PageUp and PageDown, Home and End, or, once the picture
    has the focus, the wheel. Drag on the picture to change the window: to the right makes it wider, downwards raises
    its level. Click to put the cursor on a voxel; below the picture stand its index, its position and its value.

    The volume is sent to the browser once: exactly where 8 or 16 bits hold its values, otherwise scaled to 16 bits.
    Cut a large one out first (`medlearn.crop`): 30 MB take seconds to arrive.

    Parameters
    ----------
    volume : Volume
        With axes zyx, tzyx, yx or tyx.
    *masks : Volume
        On the grid of `volume`: booleans or whole-number labels, 0 is background. Over a volume with time they may
        have time points too. They may hold 16 different labels altogether.
    labels : sequence of str, optional
        Name of each mask; a mask with several labels shows their values behind its name.
    size : int
        Wanted length of the picture's longer side in pixels, 64 to 1024. The finest voxel edge gets a whole number of
        pixels, at least one; only pictures beyond 1024 pixels are shown smaller than that.
    max_bytes : int, optional
        Most that the widget may take in a stored notebook or page (the book allows a million). Where the volume needs
        more it is shown reduced, and says so: gray values in 8 bits between the percentiles 0.5 and 99.5, then the
        means of 2×2, 3×3, … 8×8 pixels in the plane (labels: the middle pixel of each block). Indices of the cursor
        are those of the original.

    Attributes
    ----------
    axis : {"z", "y", "x"}
        Index axis that the slices are cut across.
    t, z, y, x : int
        Time point and voxel of the cursor, indices into what is shown; ``volume.array[t, z, y, x]`` where nothing was
        reduced. The slice shown is the one that holds this voxel.
    level, width : float
        Center and width of the window, in the units of the volume.
    opacity : float
        Of the overlays, from 0 to 1.

    Raises
    ------
    GridMismatchError
        If a mask lies on another grid.
    TypeError
        If volume or masks are not of type `Volume`.
    ValueError
        If an argument does not fit, or the volume does not fit into `max_bytes`.

    Examples
    --------
    >>> from medlearn.phantom import prostate
    >>> case = prostate(7, shape=(12, 64, 64), spacing=(7.2, 2.5, 2.5))
    >>> explorer = SliceExplorer(case.image, case.mask, labels=["gland"])
    >>> explorer.render(axis="y", preset="full range").shape
    (276, 512, 3)
    """

    _esm = _CODE
    _css = _STYLE

    axis = traitlets.Unicode("z").tag(sync=True)
    t = traitlets.Int(0).tag(sync=True)
    z = traitlets.Int(0).tag(sync=True)
    y = traitlets.Int(0).tag(sync=True)
    x = traitlets.Int(0).tag(sync=True)
    level = traitlets.Float(0.0).tag(sync=True)
    width = traitlets.Float(1.0).tag(sync=True)
    opacity = traitlets.Float(1.0).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _voxels = traitlets.Bytes().tag(sync=True)  # zlib, little-endian, (t, z, y, x)
    _labels = traitlets.Bytes().tag(sync=True)  # zlib, uint8 numbers of overlays, (mask, t or 1, z, y, x)

    def __init__(
        self,
        volume: Volume,
        *masks: Volume,
        labels: Sequence[str] = (),
        size: int = 512,
        max_bytes: int | None = None,
    ):
        check_control("size", size, range(64, MAX_SIDE + 1))
        _check_volume(volume)
        maps, overlays = _number_overlays(volume, masks, labels)
        sent = _pack(volume, maps, max_bytes)
        self._sent = sent
        self._pixel = _pixel_size(sent, size)
        self._overlays = overlays
        low, high = float(sent.values(sent.stack.min())), float(sent.values(sent.stack.max()))
        span = high - low or 1.0
        self._presets = _presets(volume, sent, low, span)
        levels, widths = zip(*self._presets.values(), strict=True)
        frames, *shape = sent.stack.shape
        self._allowed: dict[str, Control] = {
            "axis": ("z", "y", "x") if "z" in volume.axes else ("z",),
            **{name: range(n) for name, n in zip("tzyx", (frames, *shape), strict=True)},
            "level": Interval(min(low, *levels), max(low + span, *levels)),
            "width": Interval(min(span / 1000, *widths), max(2 * span, *widths)),
            "opacity": Interval(0.0, 1.0),
        }
        level, width = next(iter(self._presets.values()))
        position = dict(zip("zyx", _middle(sent), strict=True))
        voxels, numbers = sent.packed
        scene = self._describe(volume)
        super().__init__(level=level, width=width, **position, _scene=scene, _voxels=voxels, _labels=numbers)

    @classmethod
    def example(cls) -> "SliceExplorer":
        """Explore a small prostate phantom with its gland."""
        from ..phantom import prostate

        case = prostate(7, shape=(12, 64, 64), spacing=(7.2, 2.5, 2.5))
        return cls(case.image, case.mask, labels=["gland"], size=128)

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: axis, time, slices, window, opacity, and the presets of the window."""
        controls = {name: allowed for name, allowed in self._allowed.items() if len(allowed) > 1}
        if not self._overlays:
            del controls["opacity"]
        return {**controls, "preset": tuple(self._presets)}

    def render(self, **state: Any) -> np.ndarray:
        """Draw a slice with its overlays, as the browser does, without cursor, letters and scale bar.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now. A `preset` replaces level and width.

        Returns
        -------
        (height, width, 3) uint8 array
            Pixels are square in mm.

        Raises
        ------
        ValueError
            If there is no such control, or it does not allow the value.
        """
        state = self._complete(state)
        rows, columns = self._sampling(state["axis"])
        cut = "zyx".index(state["axis"]), state[state["axis"]], rows, columns
        values = self._sent.values(_slice(self._sent.stack[state["t"]], *cut))
        gray = np.rint(255 * window(values, level=state["level"], width=state["width"]).astype(float))
        picture = np.repeat(gray[..., None], 3, axis=2)  # (height, width, 3)
        maps = self._sent.maps[:, min(state["t"], self._sent.maps.shape[1] - 1)]
        layers = [_slice(numbers, *cut) for numbers in maps]
        for layer in layers:
            self._blend(picture, layer, layer > 0, FILL * state["opacity"])
        for layer in layers:
            self._blend(picture, layer, _contours(layer) & self._dashes(layer), state["opacity"])
        return picture.astype(np.uint8)

    def __repr__(self):
        shape = "×".join(map(str, self._sent.stack.shape))
        names = ", ".join(overlay["name"] for overlay in self._overlays)
        return f"SliceExplorer({shape} tzyx, {self.axis} = {getattr(self, self.axis)}{names and '; '}{names})"

    @traitlets.validate("axis", "t", "z", "y", "x", "level", "width", "opacity")
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, self._allowed[proposal.trait.name])

    def _complete(self, state: dict[str, Any]) -> dict[str, Any]:
        """All controls: those of `state`, checked, and the others as they are shown now."""
        preset = state.pop("preset", None)
        now = complete(self, state, self._allowed)
        if preset is not None:
            now["level"], now["width"] = self._presets[check_control("preset", preset, tuple(self._presets))]
        return now

    def _sampling(self, axis: str) -> list[np.ndarray]:
        """Voxel index of every row and of every column of the picture."""
        others = [i for i in range(3) if "zyx"[i] != axis]
        rows, columns = (_samples(self._sent.stack.shape[1 + i], self._sent.spacing[i], self._pixel) for i in others)
        return [rows[::-1] if others[0] == 0 else rows, columns]  # the head, high z, belongs at the top

    def _blend(self, picture: np.ndarray, layer: np.ndarray, where: np.ndarray, alpha: float) -> None:
        """Mix the overlays' colors into the picture, in place; rounded each time, as a canvas stores it."""
        colors = np.array([(0, 0, 0), *(overlay["color"] for overlay in self._overlays)], float)
        picture[where] = np.rint(picture[where] * (1 - alpha) + colors[layer[where]] * alpha)

    def _dashes(self, layer: np.ndarray) -> np.ndarray:
        """Where the line styles of a layer's overlays draw."""
        rows, columns = np.indices(layer.shape)
        along = 2 * rows + 3 * columns  # grows along every line but the rare one of slope -3/2
        drawn = np.zeros(layer.shape, bool)
        for number, overlay in enumerate(self._overlays, start=1):
            pattern = np.array(list(overlay["dash"])) == "1"
            drawn |= (layer == number) & pattern[along % len(pattern)]
        return drawn

    def _describe(self, volume: Volume) -> dict[str, Any]:
        """Everything the browser has to know besides voxels and labels."""
        sent = self._sent
        patient = "z" in volume.axes
        return {
            "shape": sent.stack.shape,
            "dtype": sent.stack.dtype.name,
            "offset": sent.offset,
            "scale": sent.scale,
            "exact": sent.exact,
            "masks": sent.maps.shape[:2],
            "spacing": sent.spacing,
            "pixel": self._pixel,
            "block": sent.block,
            "patient": patient,
            "affine": sent.affine.tolist(),
            "sides": _sides(sent.affine) if patient else [],
            "overlays": self._overlays,
            "fill": FILL,
            "contour": CONTOUR,
            "presets": self._presets,
            "allowed": {name: [a[0], a[-1]] for name, a in self._allowed.items() if name != "axis"},
            "axes": self._allowed["axis"],
            "note": sent.note,
        }


class _Sent(NamedTuple):
    """What the browser gets: voxels, numbers of overlays, and the geometry of both."""

    stack: np.ndarray  # (t, z, y, x) uint8 or uint16
    offset: float  # gray value = offset + scale × stored value
    scale: float
    exact: bool
    maps: np.ndarray  # (mask, t or 1, z, y, x) uint8
    affine: np.ndarray  # 4×4, (z, y, x, 1) to world
    spacing: tuple[float, float, float]
    block: int  # pixels of the original per pixel, along y and x
    note: str
    packed: tuple[bytes, bytes]

    def values(self, stored: np.ndarray) -> np.ndarray:
        return self.offset + self.scale * stored.astype(np.float64)


def _check_type(name: str, value: Any) -> None:
    if not isinstance(value, Volume):
        raise TypeError(f"{name} must be a Volume; got {type(value).__name__}")


def _check_volume(volume: Volume) -> None:
    _check_type("volume", volume)
    if volume.axes not in ("zyx", "tzyx", "yx", "tyx"):
        raise ValueError(
            f"volume must have axes zyx, tzyx, yx or tyx; got {volume.axes!r} (choose one component, or their mean)"
        )
    if not np.isfinite(volume.array).all():
        raise ValueError("volume must hold finite numbers to be shown; numpy.nan_to_num replaces what is not")


def _stack(volume: Volume) -> np.ndarray:
    """Voxels as (t, z, y, x)."""
    array = volume.array if volume.axes[0] == "t" else volume.array[None]
    return array if "z" in volume.axes else array[:, None]


def _number_overlays(volume: Volume, masks: Sequence[Volume], labels: Sequence[str]) -> tuple[np.ndarray, list[dict]]:
    """Number all labels of all masks from 1 up; return maps of them, (mask, t or 1, z, y, x), and their looks."""
    if labels and len(labels) != len(masks):
        raise ValueError(f"labels must name each mask; got {len(masks)} masks, {len(labels)} labels")
    names = labels or [f"mask {i}" for i in range(1, len(masks) + 1)]
    found = [_labels(volume, mask, name) for mask, name in zip(masks, names, strict=True)]
    frames = max((array.shape[0] for array in found), default=1)
    maps = np.zeros((len(masks), frames, *_stack(volume).shape[1:]), np.uint8)
    overlays = []
    for target, array, name in zip(maps, found, names, strict=True):
        values = [int(v) for v in np.unique(array) if v]
        for value in values:
            overlays.append(_look(len(overlays), name if len(values) == 1 else f"{name} {value}"))
            if len(overlays) > MAX_OVERLAYS:
                raise ValueError(
                    f"at most {MAX_OVERLAYS} labels can be told apart; {name} brings more: merge some of them"
                )
            target[np.broadcast_to(array == value, target.shape)] = len(overlays)
    return maps, overlays


def _labels(volume: Volume, mask: Volume, name: str) -> np.ndarray:
    """A mask's labels as (t or 1, z, y, x)."""
    _check_type(name, mask)
    volume.check_same_grid(mask, f"volume and {name}")
    if mask.axes not in (volume.axes, volume.axes.strip("t")):
        raise ValueError(f"{name} must have axes {volume.axes} or {volume.axes.strip('t')}; got {mask.axes!r}")
    frames = _stack(volume).shape[0]
    array = _stack(mask)
    if array.shape[0] not in (1, frames):
        raise ValueError(f"{name} must have one time point, or {frames} as the volume has; got {array.shape[0]}")
    return as_labels(array, name)


def _look(i: int, name: str) -> dict[str, Any]:
    """Color and line style of overlay `i`: each pair occurs once, neighbors differ in both."""
    color = COLORS[i % len(COLORS)]
    style = LINE_STYLES[(i + i // len(COLORS)) % len(LINE_STYLES)]
    rgb = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
    return {"name": name, "color": rgb, "style": style, "dash": DASHES[style]}


def _pack(volume: Volume, maps: np.ndarray, max_bytes: int | None) -> _Sent:
    """Bring the volume into few bytes: exactly or in 16 bits, or as far reduced as `max_bytes` asks for."""
    spacing = (1.0, *volume.spacing)[-3:]
    stack = _stack(volume)
    effort = 1 if max_bytes is None else 9  # higher ones cost seconds for a large volume, and save a tenth
    best = _send(*_whole_range(stack), maps, volume.affine, spacing, 1, "", effort)
    if max_bytes is None or _stored_bytes(best) <= max_bytes:
        return best
    limits = np.percentile(stack, [0.5, 99.5])
    limits = limits if limits[0] < limits[1] else (stack.min(), stack.max())
    for block in range(1, min(MAX_REDUCTION, *stack.shape[2:]) + 1):
        note = "8 bits" + (f", means of {block}×{block} pixels" if block > 1 else "")
        affine = _coarser(volume.affine, block)
        coarse = spacing[0], spacing[1] * block, spacing[2] * block
        small = _eight_bits(_block_means(stack, block), *limits)
        best = _send(*small, _block_middles(maps, block), affine, coarse, block, f"shown reduced: {note}", effort)
        if _stored_bytes(best) <= max_bytes:
            return best
    raise ValueError(
        f"volume needs {_stored_bytes(best):,} bytes even when reduced {block} times, max_bytes allows {max_bytes:,}; "
        "cut out what matters with medlearn.crop, or show fewer slices"
    )


def _send(stack, offset, scale, exact, maps, affine, spacing, block, note, effort) -> _Sent:
    little = stack.astype(stack.dtype.newbyteorder("<"), copy=False)
    packed = zlib.compress(little.tobytes(), effort), zlib.compress(maps.tobytes(), effort)
    return _Sent(stack, float(offset), float(scale), exact, maps, affine, spacing, block, note, packed)


def _stored_bytes(sent: _Sent) -> int:
    """Size in a notebook or a page, where bytes are written as base64, front-end code included."""
    return len(_CODE.encode()) + _STYLE.stat().st_size + 4000 + sum(4 * -(-len(part) // 3) for part in sent.packed)


def _whole_range(stack: np.ndarray) -> tuple[np.ndarray, float, float, bool]:
    """Stored values, offset and scale: exact for whole numbers in 16 bits, else 65,536 levels."""
    if stack.dtype.kind == "b":
        return stack.astype(np.uint8), 0, 1, True
    low, high = stack.min().item(), stack.max().item()
    if stack.dtype.kind in "iu" and high - low < 2**16:
        dtype = np.uint8 if high - low < 2**8 else np.uint16
        return (stack.astype(np.int64) - low).astype(dtype), low, 1, True
    scale = (high - low) / (2**16 - 1) or 1.0
    return np.rint((stack.astype(np.float64) - low) / scale).astype(np.uint16), low, scale, False


def _eight_bits(stack: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float, float, bool]:
    scale = (high - low) / 255 or 1.0
    return np.rint(np.clip((stack - low) / scale, 0, 255)).astype(np.uint8), low, scale, False


def _block_means(stack: np.ndarray, block: int) -> np.ndarray:
    """Means over block × block pixels of the last two axes; what does not fill a block at their end is left out."""
    *rest, height, width = stack.shape
    height, width = height // block, width // block
    full = stack[..., : height * block, : width * block].reshape(*rest, height, block, width, block)
    return full.mean((-3, -1), dtype=np.float64)


def _block_middles(maps: np.ndarray, block: int) -> np.ndarray:
    height, width = (n // block * block for n in maps.shape[-2:])
    return np.ascontiguousarray(maps[..., block // 2 : height : block, block // 2 : width : block])


def _coarser(affine: np.ndarray, block: int) -> np.ndarray:
    """`affine` of the grid whose pixels are block × block pixels of the old one."""
    change = np.diag([1.0, block, block, 1.0])
    change[1:3, 3] = (block - 1) / 2
    return affine @ change


def _pixel_size(sent: _Sent, size: int) -> float:
    """Edge of a pixel of the picture in mm."""
    sides = [(n * s, s) for n, s in zip(sent.stack.shape[1:], sent.spacing, strict=True)]
    sides = sides[1:] if sent.stack.shape[1] == 1 else sides  # a single slice is looked at from the front
    longest, finest = max(side for side, _ in sides), min(s for _, s in sides)
    zoom = max(1, int(size * finest / longest * (1 + 1e-9)))
    return max(finest / zoom, longest / MAX_SIDE)


def _samples(n: int, spacing: float, pixel: float) -> np.ndarray:
    """Index of the voxel under the center of each pixel along one axis; the browser computes it the same way."""
    pixels = max(1, int(np.floor(n * spacing / pixel + 0.5)))
    return np.minimum(np.floor((np.arange(pixels) + 0.5) * pixel / spacing), n - 1).astype(int)


def _slice(stack: np.ndarray, axis: int, index: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """One slice of a (z, y, x) stack, sampled at `rows` and `columns`: (height, width)."""
    return stack.take(index, axis)[rows[:, None], columns]


def _contours(layer: np.ndarray) -> np.ndarray:
    """Pixels of an overlay with another overlay, or none, within two pixels along a row or a column."""
    padded = np.pad(layer, CONTOUR, mode="edge")  # nothing ends at the border of the picture
    height, width = layer.shape
    edge = np.zeros(layer.shape, bool)
    for d in [d for d in range(-CONTOUR, CONTOUR + 1) if d]:
        edge |= padded[CONTOUR + d : CONTOUR + d + height, CONTOUR:-CONTOUR] != layer
        edge |= padded[CONTOUR:-CONTOUR, CONTOUR + d : CONTOUR + d + width] != layer
    return edge & (layer > 0)


def _middle(sent: _Sent) -> list[int]:
    """Along z, y and x, the slice with most of the first mask; the middle of the volume where there is none."""
    if not sent.maps.any():
        return [n // 2 for n in sent.stack.shape[1:]]
    first = next(numbers for numbers in sent.maps if numbers.any())
    inside = first[np.argmax(first.reshape(len(first), -1).any(1))] > 0
    return [int(inside.sum(tuple(j for j in range(3) if j != i)).argmax()) for i in range(3)]


def _presets(volume: Volume, sent: _Sent, low: float, span: float) -> dict[str, tuple[float, float]]:
    """Name to level and width; the first one is shown at the beginning."""
    darkest, brightest = sent.values(np.percentile(sent.stack, [0.5, 99.5]))
    full = low + span / 2, span
    most = ((darkest + brightest) / 2, brightest - darkest) if brightest > darkest else full
    presets = {"percentiles 0.5–99.5": tuple(map(float, most)), "full range": full}
    return {**presets, **CT_WINDOWS} if volume.meta.get("modality") == "CT" else presets


def _sides(affine: np.ndarray) -> list[list[str]]:
    """For the z, y and x index axis, the sides of the patient where it begins and ends, such as ["R", "L"]."""
    sides = []
    for column in affine[:3, :3].T:
        unit = column / np.linalg.norm(column)
        parts = [i for i in np.argsort(-np.abs(unit)) if abs(unit[i]) > 0.3]
        ends = ["".join("LPS"[i] if sign * unit[i] > 0 else "RAI"[i] for i in parts) for sign in (-1, 1)]
        sides.append(ends)
    return sides
