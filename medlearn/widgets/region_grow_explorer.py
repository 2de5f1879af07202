"""The region growing explorer: a seed, a tolerance, and the curve that shows the leak.

The browser gets the slices once and grows the region itself (`_region_grow_twin.js`), for all tolerances at once, so
that the explorer needs no kernel; a browser test compares its pixels with those of `medlearn.classical.region_grow`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import traitlets

from .. import classical
from ..volume import Volume
from ._base import Control, Interval, Widget, check_control, complete, front_end
from ._levels import levels

CONNECTIVITY = ("faces", "full")


class RegionGrowExplorer(Widget):
    """Click a seed on a slice, move the tolerance, and watch the region grow, and leak.

    The region holds the pixels that can be reached from the seed over pixels whose gray value differs from the seed's
    by the tolerance or less. The curve below the picture shows its area for every tolerance: first it grows, often it
    rests where the region fills what it belongs to, and it jumps where the region leaks out. Growth stays in the slice.

    How right the region is stays hidden until the truth is revealed: a threshold chosen while looking at its Dice
    knows the answer already.

    Parameters
    ----------
    image : Volume or (height, width) ndarray
        A slice, or a volume with axes zyx. Slices can be changed as far as they fit into a stored notebook.
    mask : Volume or ndarray, optional
        The truth on the same grid: every label but 0 is inside.
    seed : (int, int), optional
        Row and column of the first seed; in the middle of the mask, or of the slice, where it is not given.
    index : int, optional
        Slice shown at the beginning; the one with most of the mask, or the middle one, where it is not given.
    size : int
        Wanted length of the picture's longer side in pixels.

    Attributes
    ----------
    z, y, x : int
        The seed.
    tolerance : float
        In the units of the image.
    connectivity : {"faces", "full"}
        Whether pixels are neighbors that share an edge, or a corner too: 4 or 8 neighbors.
    revealed : bool
        Whether the truth is shown.

    Raises
    ------
    GridMismatchError
        If the mask lies on another grid.
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> explorer = RegionGrowExplorer.example()
    >>> explorer.render(tolerance=100).shape
    (128, 128, 3)
    """

    _esm = front_end("_slices.js", "_region_grow_twin.js", "region_grow_explorer.js")
    _css = Path(__file__).with_name("_picture.css")

    z = traitlets.Int(0).tag(sync=True)
    y = traitlets.Int(0).tag(sync=True)
    x = traitlets.Int(0).tag(sync=True)
    tolerance = traitlets.Float(0.0).tag(sync=True)
    connectivity = traitlets.Unicode("faces").tag(sync=True)
    revealed = traitlets.Bool(False).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _levels = traitlets.Bytes().tag(sync=True)  # zlib, little-endian, (z, height, width)
    _truth = traitlets.Bytes().tag(sync=True)  # zlib of bits, the highest first, or of nothing

    def __init__(
        self,
        image: Volume | np.ndarray,
        mask: Volume | np.ndarray | None = None,
        *,
        seed: tuple[int, int] | None = None,
        index: int | None = None,
        size: int = 512,
    ):
        check_control("size", size, range(64, 1025))
        sent = self._sent = levels(image, mask, index, size)
        _, height, width = sent.stack.shape
        low, high = sent.window
        most = max(1, int(np.ceil((high - low) / 2)))  # in levels; half of the contrast leaks everywhere
        self._allowed: dict[str, Control] = {
            "z": sent.z,
            "y": range(height),
            "x": range(width),
            "tolerance": Interval(0.0, most * sent.scale),
            "connectivity": CONNECTIVITY,
            "revealed": (False, True) if sent.truth is not None else (False,),
        }
        row, column = seed if seed is not None else self._middle()
        scene = sent.describe() | {"most": most}
        super().__init__(
            z=sent.middle,
            y=check_control("row of the seed", row, range(height)),
            x=check_control("column of the seed", column, range(width)),
            tolerance=round(most / 4) * sent.scale,
            _scene=scene,
            _levels=sent.packed[0],
            _truth=sent.packed[1],
        )

    @classmethod
    def example(cls) -> "RegionGrowExplorer":
        """Grow in a small prostate phantom."""
        from ..phantom import prostate

        case = prostate(7, shape=(12, 64, 64), spacing=(7.2, 2.5, 2.5))
        return cls(case.image, case.mask, size=128)

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: seed, tolerance, connectivity, and whether the truth is shown."""
        return {name: allowed for name, allowed in self._allowed.items() if len(allowed) > 1}

    def render(self, **state: Any) -> np.ndarray:
        """Draw the slice with the region, as the browser does, without the mark of the seed and the curve.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now.

        Returns
        -------
        (height, width, 3) uint8 array
            Pixels are square in mm.
        """
        now = complete(self, state, self._allowed)
        steps = int(np.floor(now["tolerance"] / self._sent.scale + 1e-9))  # levels; 1e-9: 3 × 0.1 / 0.1 is three
        region = classical.region_grow(
            self._sent.slice(now["z"]),
            (now["y"], now["x"]),
            tolerance=steps,
            connectivity=1 + CONNECTIVITY.index(now["connectivity"]),
        )
        return self._sent.draw(now["z"], region, revealed=now["revealed"])

    def __repr__(self):
        return f"RegionGrowExplorer(seed ({self.z}, {self.y}, {self.x}), tolerance {self.tolerance:g})"

    @traitlets.validate("z", "y", "x", "tolerance", "connectivity", "revealed")
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, self._allowed[proposal.trait.name])

    def _middle(self) -> tuple[int, int]:
        """Row and column of the pixel nearest to the middle of the mask, or of the slice."""
        sent = self._sent
        if sent.truth is None or not sent.truth_of(sent.middle).any():
            return sent.stack.shape[1] // 2, sent.stack.shape[2] // 2
        inside = np.argwhere(sent.truth_of(sent.middle))
        row, column = inside[((inside - inside.mean(0)) ** 2).sum(1).argmin()]
        return int(row), int(column)
