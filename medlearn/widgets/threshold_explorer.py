"""The threshold explorer: a slice, its histogram, and two limits on it.

The browser gets the slices once and does the rest itself (`_threshold_twin.js`), so that the explorer needs no kernel;
a browser test compares its pixels and its presets with those of `medlearn.classical`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import traitlets

from .. import classical
from ..volume import Volume
from ._base import Control, Interval, Widget, check_control, complete, front_end
from ._levels import levels

PRESETS = ("Otsu", "darkest of 3", "middle of 3", "brightest of 3")
MAX_BINS = 4096  # of the histogram that presets come from: the best of three classes costs the square of it


class ThresholdExplorer(Widget):
    """Drag two limits on the histogram of a slice, and see which pixels lie between them.

    The dashed curve is Otsu's between-class variance for every threshold; his threshold lies at its maximum. The
    presets are taken from the slice shown: *Otsu* keeps what is brighter than his threshold, *darkest*, *middle* and
    *brightest of 3* keep one of the three classes of multi-Otsu.

    How right the limits are stays hidden until the truth is revealed: limits chosen while looking at their Dice know
    the answer already.

    Parameters
    ----------
    image : Volume or (height, width) ndarray
        A slice, or a volume with axes zyx. Slices can be changed as far as they fit into a stored notebook.
        Whole numbers of up to 16 bits are exact, other values are taken to the nearest of 65,536 levels.
    mask : Volume or ndarray, optional
        The truth on the same grid: every label but 0 is inside.
    index : int, optional
        Slice shown at the beginning; the one with most of the mask, or the middle one, where it is not given.
    size : int
        Wanted length of the picture's longer side in pixels.

    Attributes
    ----------
    z : int
    lower, upper : float
        The limits, in the units of the image; both belong to the interval.
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
    >>> explorer = ThresholdExplorer.example()
    >>> explorer.render(preset="Otsu").shape
    (128, 128, 3)
    """

    _esm = front_end("_slices.js", "_threshold_twin.js", "threshold_explorer.js")
    _css = Path(__file__).with_name("_picture.css")

    z = traitlets.Int(0).tag(sync=True)
    lower = traitlets.Float(0.0).tag(sync=True)
    upper = traitlets.Float(0.0).tag(sync=True)
    revealed = traitlets.Bool(False).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _levels = traitlets.Bytes().tag(sync=True)  # zlib, little-endian, (z, height, width)
    _truth = traitlets.Bytes().tag(sync=True)  # zlib of bits, the highest first, or of nothing

    def __init__(
        self,
        image: Volume | np.ndarray,
        mask: Volume | np.ndarray | None = None,
        *,
        index: int | None = None,
        size: int = 512,
    ):
        check_control("size", size, range(64, 1025))
        sent = self._sent = levels(image, mask, index, size)
        self._shift = max(0, int(sent.stack.max()).bit_length() - (MAX_BINS - 1).bit_length())
        self._allowed: dict[str, Control] = {
            "z": sent.z,
            "lower": Interval(*sent.limits),
            "upper": Interval(*sent.limits),
            "revealed": (False, True) if sent.truth is not None else (False,),
        }
        lower, upper = self.presets(sent.middle).get("Otsu", sent.limits)
        scene = sent.describe() | {"shift": self._shift}
        packed = {"_levels": sent.packed[0], "_truth": sent.packed[1]}
        super().__init__(z=sent.middle, lower=lower, upper=upper, _scene=scene, **packed)

    @classmethod
    def example(cls) -> "ThresholdExplorer":
        """Look for the gland of a small prostate phantom."""
        from ..phantom import prostate

        case = prostate(7, shape=(12, 64, 64), spacing=(7.2, 2.5, 2.5))
        return cls(case.image, case.mask, size=128)

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: slice, limits, whether the truth is shown; and the presets of the limits."""
        presets = tuple(self.presets(self.z))
        controls = {name: allowed for name, allowed in self._allowed.items() if len(allowed) > 1}
        return controls | ({"preset": presets} if presets else {})

    def presets(self, z: int) -> dict[str, tuple[float, float]]:
        """Lower and upper limit of each preset for slice `z`; none where the slice has one gray value only."""
        sent = self._sent
        coarse = sent.slice(z) >> self._shift
        n_different = len(np.unique(coarse))
        top = int(sent.stack.max())
        found = {}
        if n_different > 1:
            found["Otsu"] = self._last(classical.otsu_threshold(coarse)) + 1, top
        if n_different > 2:
            dark, middle = map(self._last, classical.multi_otsu(coarse, 3))
            found |= zip(PRESETS[1:], ((0, dark), (dark + 1, middle), (middle + 1, top)), strict=True)
        return {name: tuple(float(v) for v in sent.values(interval)) for name, interval in found.items()}

    def render(self, **state: Any) -> np.ndarray:
        """Draw the slice with what lies between the limits, as the browser does.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now. A `preset` replaces both limits. A
            lower limit above the upper one leaves nothing.

        Returns
        -------
        (height, width, 3) uint8 array
            Pixels are square in mm.
        """
        preset = state.pop("preset", None)
        now = complete(self, state, self._allowed)
        lower, upper = now["lower"], now["upper"]
        if preset is not None:
            presets = self.presets(now["z"])
            lower, upper = presets[check_control("preset", preset, tuple(presets))]
        values = self._sent.values(self._sent.slice(now["z"]))
        empty = np.zeros(values.shape, bool)
        region = classical.threshold(values, lower=lower, upper=upper) if lower <= upper else empty
        return self._sent.draw(now["z"], region, revealed=now["revealed"])

    def __repr__(self):
        return f"ThresholdExplorer(slice {self.z}, {self.lower:g} to {self.upper:g})"

    @traitlets.validate("z", "lower", "upper", "revealed")
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, self._allowed[proposal.trait.name])

    def _last(self, coarse: float) -> int:
        """Last level of a bin of 2 ** shift levels."""
        return ((int(coarse) + 1) << self._shift) - 1
