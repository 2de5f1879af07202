"""The skip switchboard: a trained U-Net on one slice, with a gain on each of its skips and on its bottleneck.

Python runs the network; 128 × 128 pixels take it about 10 ms. What the network says with every gain at 0 or 1 is
computed at the beginning and sent, so that on a page without a kernel the sliders still work as switches.
"""

import itertools
import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from .. import metrics
from ..plots import COLORS
from ..volume import Case
from ._base import Control, Interval, Widget, check_control, complete, front_end
from ._levels import _lay_over, _look
from ._one_slice import STYLE, gray_picture, one_slice

if TYPE_CHECKING:
    from ..nn import UNet
    from ..preprocess import Preprocess

GAINS = ("skip_1", "skip_2", "skip_3", "skip_4", "bottleneck")  # the finest skip first
SWITCHES = tuple(itertools.product((0.0, 1.0), repeat=len(GAINS)))  # the settings that need no kernel
TRUTH = _look("truth", COLORS[0], "solid", 0.0)
NETWORK = _look("network", COLORS[1], "dashed", 0.3)
HALF = 128  # probabilities are sent as 0 … 255
GAP = 8  # black pixels between the panels


class SkipSwitchboard(Widget):
    """Turn the skips and the bottleneck of a trained U-Net down, and see what becomes of its segmentation.

    A gain of 1 leaves a connection as it was trained; 0 cuts it: the decoder then gets zeros over it. No weight
    changes, and no gradient flows. The left panel shows the slice with the truth and with the pixels whose probability
    is at least one half, the right panel the probability.

    Parameters
    ----------
    model : UNet
        In 2-D, with five levels and one logit per pixel; a copy of it is used.
    preprocess : Preprocess
        As the network was trained with.
    case : Case
        With a mask.
    index : int, optional
        Slice of the pre-processed image; the one with the largest area of the mask where it is not given.
    size : int
        Wanted length of a panel's longer side in pixels.

    Attributes
    ----------
    skip_1, skip_2, skip_3, skip_4, bottleneck : float
        Gains, 0 to 1. Skip 1 is the finest: it runs at the resolution of the image.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> explorer = SkipSwitchboard.example()
    >>> explorer.dice() > explorer.dice(skip_1=0, skip_2=0, skip_3=0, skip_4=0)
    True
    """

    _esm = front_end("_panels.js", "skip_switchboard.js")
    _css = STYLE

    skip_1 = traitlets.Float(1.0).tag(sync=True)
    skip_2 = traitlets.Float(1.0).tag(sync=True)
    skip_3 = traitlets.Float(1.0).tag(sync=True)
    skip_4 = traitlets.Float(1.0).tag(sync=True)
    bottleneck = traitlets.Float(1.0).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _pixels = traitlets.Bytes().tag(sync=True)  # zlib of the slice, then the truth, (2, height, width) uint8
    _switched = traitlets.Bytes().tag(sync=True)  # zlib of the probabilities of all SWITCHES
    _shown = traitlets.List().tag(sync=True)  # the gains of _probability
    _probability = traitlets.Bytes().tag(sync=True)  # (height, width) uint8

    def __init__(
        self, model: "UNet", preprocess: "Preprocess", case: Case, *, index: int | None = None, size: int = 384
    ):
        from ._switched_unet import SwitchedUNet  # imports torch

        _check_model(model)
        if case.mask is None:
            raise ValueError(f"case {case.id} has no mask; the switchboard compares with the truth")
        truth = preprocess.mask(case.mask) > 0
        index = int(truth.sum((1, 2)).argmax()) if index is None else check_control("index", index, range(len(truth)))
        slices = preprocess.image(case.image)
        neighbors = np.arange(index - preprocess.adjacent_slices, index + preprocess.adjacent_slices + 1)
        self._network = SwitchedUNet(model, slices[neighbors.clip(0, len(slices) - 1)])
        slice_ = one_slice(slices[index], spacing=preprocess.spacing)
        self._gray, self._truth = slice_.to_eight_bits(slice_.array), truth[index]
        self._sampling = [samples.nearest for samples in slice_.sampling(size)]
        scene = {
            "gains": GAINS,
            "shape": self._gray.shape,
            "spacing": slice_.spacing,
            "pixel": slice_.pixel(size),
            "rows": self._sampling[0].tolist(),
            "columns": self._sampling[1].tolist(),
            "half": HALF,
            "looks": {"truth": TRUTH, "network": NETWORK},
            "note": f"{case.id}, slice {index}",
        }
        switched = self._network(np.array(SWITCHES))
        super().__init__(
            _scene=scene,
            _pixels=zlib.compress(np.stack([self._gray, self._truth]).astype(np.uint8).tobytes()),
            _switched=zlib.compress(switched.tobytes()),
            _shown=[1.0] * len(GAINS),
            _probability=switched[-1].tobytes(),
        )
        self.answer_the_front_end()

    @classmethod
    def example(cls) -> "SkipSwitchboard":
        """Switch the network that comes with the library, on a patient it has not seen."""
        from ..checkpoint import pretrained
        from ..phantom import prostate

        return cls(*pretrained("prostate-phantom"), prostate(60, shape=(24, 128, 128), spacing=(3.6, 1.25, 1.25)))

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: the gains."""
        return dict.fromkeys(GAINS, Interval(0.0, 1.0))

    def dice(self, **state: Any) -> float:
        """Dice of the slice for some settings of the controls; what is not given is as the widget shows it now."""
        return metrics.dice(self._predict(state) >= HALF, self._truth)

    def render(self, **state: Any) -> np.ndarray:
        """Draw slice and probability side by side, as the browser draws them.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now.

        Returns
        -------
        (height, 2 × width + 8, 3) uint8 array
            Pixels are square in mm.
        """
        rows, columns = self._sampling
        truth, probability = (a[rows[:, None], columns] for a in (self._truth, self._predict(state)))
        segmented = gray_picture(self._gray[rows[:, None], columns])
        _lay_over(segmented, probability >= HALF, NETWORK)
        _lay_over(segmented, truth, TRUTH)
        probable = gray_picture(probability)
        _lay_over(probable, truth, TRUTH)
        return np.concatenate([segmented, np.zeros((len(segmented), GAP, 3), np.uint8), probable], axis=1)

    @traitlets.validate(*GAINS)
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, self.controls[proposal.trait.name])

    @traitlets.observe(*GAINS)
    def _send_probability(self, _change):
        gains = [getattr(self, name) for name in GAINS]
        if gains == self._shown:
            return  # several gains came at once, and the first of them has sent the picture
        probability = self._predict({})
        with self.hold_sync():  # both in one message
            self._probability, self._shown = probability.tobytes(), gains

    def _predict(self, state: dict[str, Any]) -> np.ndarray:
        """Probability (height, width) uint8."""
        now = complete(self, state, self.controls)
        return self._network(np.array([[now[name] for name in GAINS]]))[0]


def _check_model(model: "UNet") -> None:
    config = getattr(model, "config", {})
    if config.get("kind") != "unet":
        raise TypeError(f"model must be a UNet; got a {type(model).__name__}")
    wanted = MappingProxyType({"ndim": 2, "out_channels": 1, "padding": True})
    if any(config[name] != value for name, value in wanted.items()) or len(config["widths"]) != len(GAINS):
        raise ValueError(
            f"model must be a 2-D U-Net of {len(GAINS)} levels with padding and one logit per pixel; "
            f"got {len(config['widths'])} levels, " + ", ".join(f"{name}={config[name]}" for name in wanted)
        )
