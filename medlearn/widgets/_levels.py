"""Slices as the explorers of chapter 5 send them: exact gray values, of the whole volume where it is small enough.

Gray values travel as levels, whole numbers from 0: value = offset + scale × level. Rules are applied to what is sent,
here as in the browser, so that both agree to the last pixel.
"""

import zlib
from typing import Any, NamedTuple

import numpy as np

from ..plots import COLORS
from ..volume import Volume, as_labels
from ._one_slice import Samples, gray_picture, one_slice
from .slice_explorer import CONTOUR, DASHES, _contours, _whole_range

MAX_BYTES = 600_000  # of packed voxels; base64 and the code beside them stay below a million


class Levels(NamedTuple):
    """What the browser gets of an image and its mask, and how it lies on the screen."""

    stack: np.ndarray  # (z, height, width) uint8 or uint16
    offset: float
    scale: float
    exact: bool  # every gray value arrives as it is
    truth: np.ndarray | None  # (z, height, width) bool
    first: int  # index of the first slice in the volume
    middle: int  # index of the slice shown at the beginning
    spacing: tuple[float, float]
    unit: str
    pixel: float
    samples: tuple[Samples, Samples]
    packed: tuple[bytes, bytes]
    note: str

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest gray value of what is sent."""
        return self.values(self.stack.min()), self.values(self.stack.max())

    @property
    def z(self) -> range:
        """Slices that were sent."""
        return range(self.first, self.first + len(self.stack))

    def values(self, levels: np.ndarray) -> np.ndarray:
        """Gray values, float64."""
        return self.offset + self.scale * np.asarray(levels, np.float64)

    def slice(self, z: int) -> np.ndarray:
        """Levels of slice `z`, (height, width)."""
        return self.stack[z - self.first]

    def truth_of(self, z: int) -> np.ndarray:
        """Mask of slice `z`, (height, width) bool."""
        return self.truth[z - self.first]

    def draw(self, z: int, region: np.ndarray, *, revealed: bool) -> np.ndarray:
        """Slice `z` in gray with a region, and with the truth where it is `revealed`; (height, width, 3) uint8."""
        rows, columns = (samples.nearest for samples in self.samples)
        low, high = self.window
        grays = np.arange(int(self.stack.max()) + 1)
        table = np.rint(np.clip(255 * (grays - low) / (high - low), 0, 255)).astype(np.uint8)
        picture = gray_picture(table[self.slice(z)[rows[:, None], columns]])
        _lay_over(picture, region[rows[:, None], columns], REGION)
        if revealed:
            _lay_over(picture, self.truth_of(z)[rows[:, None], columns], TRUTH)
        return picture

    @property
    def window(self) -> tuple[float, float]:
        """Levels that are shown black and white: the percentiles 0.5 and 99.5."""
        low, high = (float(v) for v in np.percentile(self.stack, [0.5, 99.5]))
        return (low, high) if low < high else (low, low + 1)

    def describe(self) -> dict[str, Any]:
        """Everything the browser has to know besides voxels and mask."""
        return {
            "shape": self.stack.shape,
            "dtype": self.stack.dtype.name,
            "offset": self.offset,
            "scale": self.scale,
            "exact": self.exact,
            "levels": int(self.stack.max()) + 1,
            "hasTruth": self.truth is not None,
            "first": self.first,
            "spacing": self.spacing,
            "unit": self.unit,
            "pixel": self.pixel,
            "window": self.window,
            "limits": self.limits,
            "looks": {"region": REGION, "truth": TRUTH},
            "note": self.note,
        }


def _look(name: str, color: str, style: str, fill: float) -> dict[str, Any]:
    rgb = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
    return {"name": name, "color": rgb, "style": style, "dash": DASHES[style], "fill": fill, "contour": CONTOUR}


REGION = _look("region", COLORS[0], "solid", 0.3)
TRUTH = _look("truth", COLORS[1], "dashed", 0.0)


def levels(image: Volume | np.ndarray, mask: Volume | np.ndarray | None, index: int | None, size: int) -> Levels:
    """Pack an image and its mask: all slices where they fit into `MAX_BYTES`, otherwise those around slice `index`.

    Where it is not given this is the slice with the largest area of the mask, or the middle one. One slice always goes.
    """
    truth = None if mask is None else _truth(image, mask)
    if index is None and truth is not None and truth.any():
        index = int(truth.sum((1, 2)).argmax())
    shown = one_slice(image, index=index)  # refuses what cannot be shown
    stack = _stack(image)
    index = len(stack) // 2 if index is None else index
    n = len(stack)
    while True:
        first = min(max(index - n // 2, 0), len(stack) - n)
        part = slice(first, first + n)
        sent, offset, scale, exact = _whole_range(stack[part])
        packed = _pack(sent, None if truth is None else truth[part])
        size_packed = sum(map(len, packed))
        if size_packed <= MAX_BYTES or n == 1:
            break
        n = max(1, n * MAX_BYTES // size_packed)  # fewer every time
    truth = None if truth is None else truth[part]
    note = "" if n == len(stack) else f"Slices {first} to {first + n - 1} of {len(stack)}: more do not fit on a page."
    samples = tuple(shown.sampling(size))
    geometry = shown.spacing, shown.unit, shown.pixel(size), samples
    return Levels(sent, float(offset), float(scale), exact, truth, first, index, *geometry, packed, note)


def _stack(image: Volume | np.ndarray) -> np.ndarray:
    array = image.array if isinstance(image, Volume) else np.asarray(image)
    return array if array.ndim == 3 else array[None]


def _truth(image: Volume | np.ndarray, mask: Volume | np.ndarray) -> np.ndarray:
    """The mask as (z, height, width) bool, on the grid of the image."""
    if isinstance(image, Volume) != isinstance(mask, Volume):
        raise TypeError(
            f"image and mask must both be a Volume or both an array; got {type(image).__name__}, {type(mask).__name__}"
        )
    if isinstance(image, Volume):
        image.check_same_grid(mask, "image and mask")
    elif np.shape(mask) != np.shape(image):
        raise ValueError(f"mask must have the shape of image, {np.shape(image)}; got {np.shape(mask)}")
    return as_labels(_stack(mask), "mask") > 0


def _pack(stored: np.ndarray, truth: np.ndarray | None) -> tuple[bytes, bytes]:
    little = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
    mask = b"" if truth is None else np.packbits(truth).tobytes()
    return zlib.compress(little.tobytes(), 6), zlib.compress(mask, 6)


def _lay_over(picture: np.ndarray, layer: np.ndarray, look: dict[str, Any]) -> None:
    """Mix a mask's fill and contour into the picture, in place; rounded each time, as a canvas stores it."""
    color = np.array(look["color"], float)
    picture[layer] = np.rint(picture[layer] * (1 - look["fill"]) + color * look["fill"])
    rows, columns = np.indices(layer.shape)
    pattern = np.array(list(look["dash"])) == "1"
    line = _contours(layer.astype(np.uint8)) & pattern[(2 * rows + 3 * columns) % len(pattern)]
    picture[line] = color
