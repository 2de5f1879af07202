"""The CLAHE explorer: a slice and what CLAHE makes of it, one tile's histogram and mapping, and two pins to compare.

The browser gets the slice once, as uint8, and equalizes it itself (`_clahe_twin.js`), so that the explorer needs no
kernel; a browser test compares its pixels with those of `medlearn.contrast.clahe`.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets

from .. import contrast
from ..volume import Volume
from ._base import Control, Interval, Widget, check_control, complete, front_end
from ._one_slice import STYLE, gray_picture, one_slice

MOST_TILES = 16
GAP = 8  # black pixels between the panels


class ClaheExplorer(Widget):
    """Move CLAHE's clip limit and tiles, and see one slice before and after, side by side.

    The chart shows the histogram of one tile before and after clipping, and the mapping of gray values that follows
    from it: the tile with the pin that is being moved, or the one under the pointer. The pointer also tells which four
    tiles are blended there, and how. At the beginning the two pins lie on pixels of the same gray value that CLAHE
    makes most different: what was equal is not equal afterwards.

    Parameters
    ----------
    image : Volume or (height, width) ndarray
        A slice, or a volume with axes zyx of which one slice is shown. uint8 values are taken as they are; others are
        brought to uint8 first, between the slice's percentiles 0.5 and 99.5, and the widget says so.
    index : int, optional
        Slice of a volume; the middle one where it is not given.
    size : int
        Wanted length of a panel's longer side in pixels.

    Attributes
    ----------
    clip_limit : float
        As OpenCV counts it: times the mean of a histogram's bins; 0 stands for no limit.
    tiles : int
        Along each side of the slice.
    bins : int
        Of a tile's histogram. OpenCV has 256 for uint8 images.
    pin_a, pin_b : list of two int
        Row and column of the pins.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> explorer = ClaheExplorer.example()
    >>> explorer.render(clip_limit=4.0).shape
    (480, 968, 3)
    """

    _esm = front_end("_panels.js", "_clahe_twin.js", "clahe_explorer.js")
    _css = STYLE

    clip_limit = traitlets.Float(2.0).tag(sync=True)
    tiles = traitlets.Int(8).tag(sync=True)
    bins = traitlets.Int(256).tag(sync=True)
    pin_a = traitlets.List(traitlets.Int()).tag(sync=True)
    pin_b = traitlets.List(traitlets.Int()).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _pixels = traitlets.Bytes().tag(sync=True)  # zlib of (height, width) uint8

    def __init__(self, image: Volume | np.ndarray, *, index: int | None = None, size: int = 512):
        slice_ = one_slice(image, index=index)
        self._gray = slice_.to_eight_bits(slice_.array)
        self._sampling = slice_.sampling(size)
        tiles = max(1, min(MOST_TILES, min(self._gray.shape) // 2))
        self._allowed: dict[str, Control] = {
            "clip_limit": Interval(0.0, 40.0),
            "tiles": range(1, tiles + 1),
            "bins": (256, 128, 64, 32, 16),
        }
        scene = {
            "shape": self._gray.shape,
            "spacing": slice_.spacing,
            "pixel": slice_.pixel(size),
            "rows": self._sampling[0].nearest.tolist(),
            "columns": self._sampling[1].nearest.tolist(),
            "tiles": tiles,
            "bins": self._allowed["bins"],
            "most": self._allowed["clip_limit"].high,
            "note": slice_.note,
        }
        state = {"clip_limit": 2.0, "tiles": min(8, tiles), "bins": 256}
        first, second = _most_different(self._gray, self._equalize(**state))
        pixels = zlib.compress(self._gray.tobytes())
        super().__init__(**state, pin_a=first, pin_b=second, _scene=scene, _pixels=pixels)

    @classmethod
    def example(cls) -> "ClaheExplorer":
        """Equalize two patches of the same gray on a ramp, under noise."""
        y, x = np.indices((96, 96))
        image = np.rint(40 + 160 * x / 95 + np.random.default_rng(0).normal(0, 4, x.shape)).astype(np.uint8)
        for center in (20, 75):
            image[(y - 48) ** 2 + (x - center) ** 2 < 100] = 120
        explorer = cls(image)
        explorer.clip_limit, explorer.tiles, explorer.pin_a, explorer.pin_b = 4.0, 4, [48, 20], [48, 75]
        return explorer

    @property
    def controls(self) -> dict[str, Control]:
        """What changes the picture: clip limit, tiles and bins."""
        return dict(self._allowed)

    def render(self, **state: Any) -> np.ndarray:
        """Draw original and result side by side, as the browser draws them, without borders of tiles and pins.

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
        rows, columns = (samples.nearest for samples in self._sampling)
        before, after = (gray_picture(image[rows[:, None], columns]) for image in (self._gray, self._equalize(**now)))
        return np.concatenate([before, np.zeros((len(before), GAP, 3), np.uint8), after], axis=1)

    @traitlets.validate("clip_limit", "tiles", "bins")
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, self._allowed[proposal.trait.name])

    @traitlets.validate("pin_a", "pin_b")
    def _check_pin(self, proposal):
        if len(proposal.value) != 2:
            raise ValueError(f"{proposal.trait.name} must be [row, column]; got {proposal.value!r}")
        for name, value, n in zip(("row", "column"), proposal.value, self._gray.shape, strict=True):
            check_control(f"{proposal.trait.name} {name}", value, range(n))
        return proposal.value

    def _equalize(self, clip_limit: float, tiles: int, bins: int) -> np.ndarray:
        return contrast.clahe(self._gray, clip_limit=clip_limit, tiles=(tiles, tiles), n_bins=bins)


def _most_different(before: np.ndarray, after: np.ndarray) -> tuple[Sequence[int], Sequence[int]]:
    """Row and column of two pixels of one gray value: its brightest and its darkest result, the farthest apart."""
    gray, result = before.ravel(), after.ravel().astype(int)
    highest, lowest = np.full(256, -1), np.full(256, 256)
    np.maximum.at(highest, gray, result)
    np.minimum.at(lowest, gray, result)
    value = np.argmax(highest - lowest)
    ends = (np.flatnonzero((gray == value) & (result == end[value]))[0] for end in (highest, lowest))
    first, second = ([int(i) for i in np.unravel_index(end, before.shape)] for end in ends)
    return first, second
