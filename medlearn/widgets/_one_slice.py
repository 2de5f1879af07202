"""One slice as the explorers show it: its values, its spacing, its gray values in 8 bits, its pixels on the screen."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..volume import Volume
from ._base import check_control

MAX_SIDE = 1024  # pixels
STYLE = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("_picture.css", "_panels.css"))


class Samples(NamedTuple):
    """Where the pixels of a picture lie along one side of the slice; the browser computes it the same way."""

    nearest: np.ndarray  # index of the slice's pixel under each pixel of the picture
    before: np.ndarray  # indices of the two whose centers are next to it
    after: np.ndarray
    far: np.ndarray  # weight of `after`


class OneSlice(NamedTuple):
    """A slice, (height, width), with the distances between its rows and between its columns."""

    array: np.ndarray
    spacing: tuple[float, float]
    unit: str  # of the spacing: mm, or px where nothing is known
    limits: tuple[float, float]  # shown black and white
    note: str  # how values became grays

    def to_eight_bits(self, values: np.ndarray) -> np.ndarray:
        """Gray values, uint8, of values in the units of the slice."""
        low, high = self.limits
        return np.rint(np.clip((values - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)

    def pixel(self, size: int) -> float:
        """Edge of a pixel of the picture, whose longer side shall have about `size` of them.

        The finest edge gets a whole number of pixels; only pictures beyond 1024 pixels are shown smaller than that.
        """
        longest, finest = max(n * s for n, s in zip(self.array.shape, self.spacing, strict=True)), min(self.spacing)
        zoom = max(1, int(size * finest / longest * (1 + 1e-9)))
        return max(finest / zoom, longest / MAX_SIDE)

    def sampling(self, size: int) -> list[Samples]:
        """Samples of the rows and of the columns of a picture whose pixels are square in mm."""
        pixel = self.pixel(size)
        return [_samples(n, s, pixel) for n, s in zip(self.array.shape, self.spacing, strict=True)]


def one_slice(
    image: Volume | np.ndarray,
    *,
    index: int | None = None,
    spacing: Sequence[float] | None = None,
    name: str = "image",
) -> OneSlice:
    """Take slice `index` (the middle one where not given) of a volume with axes zyx, or a picture as it is."""
    if isinstance(image, Volume):
        if spacing is not None:
            raise ValueError(f"spacing belongs to an array; {name} is a Volume and brings its own")
        if image.axes not in ("zyx", "yx"):
            raise ValueError(f"{name} must have axes zyx or yx; got {image.axes!r} (choose a time point or component)")
        array, spacing, unit = image.array, image.spacing[-2:], "mm"
        if image.axes == "zyx":
            index = len(array) // 2 if index is None else index
            array = array[check_control("index", index, range(len(array)))]
    else:
        array, unit = np.asarray(image), "px" if spacing is None else "mm"
        if array.ndim != 2 or not array.size or array.dtype.kind not in "buif":
            raise ValueError(f"{name} must be a Volume or real numbers of shape (height, width); got {array.shape}")
        spacing = (1.0, 1.0) if spacing is None else tuple(spacing)
        if len(spacing) != 2 or not min(spacing) > 0:
            raise ValueError(f"spacing must be two positive numbers in mm, (between rows, columns); got {spacing!r}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers to be shown; numpy.nan_to_num replaces what is not")
    limits, note = _limits(array)
    return OneSlice(array, (float(spacing[0]), float(spacing[1])), unit, limits, note)


def gray_picture(gray: np.ndarray) -> np.ndarray:
    """Gray values, (height, width), as a picture, (height, width, 3)."""
    return np.repeat(gray[..., None], 3, axis=2)


def _limits(array: np.ndarray) -> tuple[tuple[float, float], str]:
    if array.dtype == np.uint8:
        return (0.0, 255.0), "gray values as they are"
    low, high = (float(v) for v in np.percentile(array, [0.5, 99.5]))
    if low == high:
        low, high = float(array.min()), float(array.max())
    if low == high:
        return (low, low + 1.0), f"a constant image: {low:g} is shown black"
    words = f"{low:.4g} to {high:.4g}".replace("-", "−")
    return (low, high), f"{words} (percentiles 0.5–99.5 of the slice) shown as 0 to 255"


def _samples(n: int, spacing: float, pixel: float) -> Samples:
    pixels = max(1, int(np.floor(n * spacing / pixel + 0.5)))
    centers = (np.arange(pixels) + 0.5) * pixel / spacing  # in pixels of the slice
    position = np.clip(centers - 0.5, 0, n - 1)
    before = np.floor(position).astype(int)
    nearest = np.minimum(np.floor(centers), n - 1).astype(int)
    return Samples(nearest, before, np.minimum(before + 1, n - 1), position - before)
