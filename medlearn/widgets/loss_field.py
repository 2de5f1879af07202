"""The loss field: a small map of probabilities, its truth, and the push that a loss gives to the logit of each pixel.

The browser computes the field itself, so that the widget needs no kernel; a browser test compares its pixels and its
steps with this file, where the gradient comes from automatic differentiation of `medlearn.nn.losses`.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import traitlets

from ._base import Control, Widget, check_control, complete, front_end

SIDE = 24  # pixels of the map along each side
CELL = 12  # pixels of the screen for each of them
GAP = 8  # gray pixels between panels
HIGHEST = 10.0  # logits stay between minus this and this
RATE = 2.0  # of a step, per mean over the pixels: cross-entropy then moves a logit by up to 2

RAISE, LOWER = (230, 159, 0), (86, 180, 233)  # colors of the push
CONTOUR = (0, 158, 115)  # of the truth; stands out on both colors of the push, on black and on white
LOSSES = ("cross-entropy", "Dice, linear", "Dice, squared", "Dice + cross-entropy")
STARTS = ("displaced", "undecided", "nothing found")

CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        "loss": LOSSES,
        "gland": range(31),  # % of the pixels
        "log_epsilon": range(-5, 3),
    }
)


class LossField(Widget):
    """Paint probabilities, and see into which direction, and how strongly, a loss pushes each of them.

    Left: the probabilities, dark for 0 and bright for 1, with the outline of the truth; a brush raises or lowers their
    logits. Middle: the truth. Right: the push, −∂L/∂logit times the number of pixels; orange with a bar upward where
    the loss raises the probability, blue with a bar downward where it lowers it. Color and bar grow with the square
    root of the push and are full at 1, the most that the mean cross-entropy can push. *One step* moves every logit by
    twice the push.

    Parameters
    ----------
    **start
        Settings at the beginning, any of the attributes but `logits`.

    Attributes
    ----------
    loss : str
        One of `LOSSES`.
    gland : int
        Share of the truth in the image, 0 to 30 %.
    log_epsilon : int
        Power of ten of the smoothing constant ε of the Dice losses, −5 to 2.
    logits : (24, 24) ndarray
        Float64, between −10 and 10; set it to show a map of your own.

    Raises
    ------
    ValueError
        If there is no such setting, or its value is not allowed.

    Examples
    --------
    >>> field = LossField(loss="Dice, linear", gland=10)
    >>> len(np.unique(field.slopes().round(9)))  # ∂L/∂p: one value inside the truth, one outside
    2
    """

    _esm = front_end("_slices.js", "_panels.js", "loss_field.js")
    _css = "".join(
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("_picture.css", "_panels.css")
    )

    loss = traitlets.Unicode(LOSSES[0]).tag(sync=True)
    gland = traitlets.Int(10).tag(sync=True)
    log_epsilon = traitlets.Int(-5).tag(sync=True)
    # float64, little-endian, row by row; what the browser sends arrives as a memoryview
    _logits = traitlets.Bytes().tag(sync=True, from_json=lambda value, widget: bytes(value))
    _scene = traitlets.Dict().tag(sync=True)

    def __init__(self, **start: Any):
        for name, value in start.items():
            if name not in CONTROLS:
                raise ValueError(f"there is no setting {name!r}; the loss field has {', '.join(CONTROLS)}")
            start[name] = check_control(name, value, CONTROLS[name])
        scene = {
            "side": SIDE,
            "cell": CELL,
            "highest": HIGHEST,
            "rate": RATE,
            "losses": LOSSES,
            "order": _order().tolist(),
            "starts": {name: start_map(name).ravel().tolist() for name in STARTS},
            "colors": {"raise": RAISE, "lower": LOWER, "contour": CONTOUR},
        }
        super().__init__(**start, _logits=_packed(start_map(STARTS[0])), _scene=scene)

    @classmethod
    def example(cls) -> "LossField":
        """Show the push of the Dice loss with the squared denominator on a displaced prediction."""
        return cls(loss="Dice, squared", gland=12)

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: loss, size of the gland, ε; the maps to start from, and a number of steps."""
        return {**CONTROLS, "start": STARTS, "steps": range(11)}

    @property
    def logits(self) -> np.ndarray:
        """Logits as the widget shows them now, (24, 24)."""
        return np.frombuffer(self._logits, "<f8").reshape(SIDE, SIDE).copy()

    @logits.setter
    def logits(self, values: np.ndarray):
        values = np.asarray(values, float)
        if values.shape != (SIDE, SIDE) or not np.isfinite(values).all():
            raise ValueError(f"logits must be finite numbers of shape ({SIDE}, {SIDE}); got shape {values.shape}")
        self._logits = _packed(np.clip(values, -HIGHEST, HIGHEST))

    def push(self, **state: Any) -> np.ndarray:
        """Compute −∂L/∂logit times the number of pixels, (24, 24), for some settings of the controls."""
        logits, now = self._map(state)
        return _push(logits, now)

    def slopes(self, **state: Any) -> np.ndarray:
        """∂L/∂p of every pixel, (24, 24), for some settings of the controls."""
        logits, now = self._map(state)
        p = _sigmoid(logits)
        return -_push(logits, now) / logits.size / (p * (1 - p))

    def render(self, **state: Any) -> np.ndarray:
        """Draw probabilities, truth and push side by side, as the browser does.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now. A `start` replaces the map, and so many
            `steps` are then taken down the gradient.

        Returns
        -------
        (288, 880, 3) uint8 array
        """
        logits, now = self._map(state)
        target = truth(now["gland"])
        gap = np.full((SIDE * CELL, GAP, 3), 128, np.uint8)
        panels = _gray_panel(_sigmoid(logits), target), _gray_panel(target, target), _push_panel(_push(logits, now))
        return np.concatenate([panels[0], gap, panels[1], gap, _outlined(panels[2], target)], axis=1)

    def __repr__(self):
        return f"LossField({self.loss}, gland {self.gland} %, epsilon 1e{self.log_epsilon})"

    def _map(self, state: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """Logits and settings for some state of the controls."""
        state = dict(state)
        start = state.pop("start", None)
        steps = check_control("steps", state.pop("steps", 0), self.controls["steps"])
        now = complete(self, state, CONTROLS)
        logits = self.logits if start is None else start_map(check_control("start", start, STARTS))
        for _ in range(steps):
            logits = np.clip(logits + RATE * _push(logits, now), -HIGHEST, HIGHEST)
        return logits, now

    @traitlets.validate("loss", "gland", "log_epsilon")
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, CONTROLS[proposal.trait.name])


def truth(gland: int) -> np.ndarray:
    """Mask of a gland that fills `gland` % of the map, (24, 24) bool."""
    mask = np.zeros(SIDE * SIDE, bool)
    mask[_order()[: int(SIDE * SIDE * gland / 100 + 0.5)]] = True
    return mask.reshape(SIDE, SIDE)


def start_map(name: str) -> np.ndarray:
    """Logits to start from, (24, 24)."""
    if name == "undecided":
        return np.zeros((SIDE, SIDE))
    if name == "nothing found":
        return np.full((SIDE, SIDE), -8.0)
    y, x = np.indices((SIDE, SIDE))
    distance = np.hypot(y - 9.0, x - 14.0)
    return np.round(4 - distance, 2).clip(-6, 4)  # surely gland in the middle, unsure at the rim


def _order() -> np.ndarray:
    """Pixels from the middle of the gland outward, as flat indices."""
    y, x = np.indices((SIDE, SIDE))
    return np.argsort(((y - 12.2) ** 2 + (0.8 * (x - 11.1)) ** 2).round(6).ravel(), kind="stable")


def _packed(logits: np.ndarray) -> bytes:
    return logits.astype("<f8").tobytes()


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _push(logits: np.ndarray, now: Mapping[str, Any]) -> np.ndarray:
    """−∂L/∂logit times the number of pixels, by automatic differentiation."""
    import torch  # costs a second, and nobody needs it who only shows the widget

    from ..nn import losses

    smooth = 10.0 ** now["log_epsilon"]
    compute = {
        "cross-entropy": losses.cross_entropy_loss,
        "Dice, linear": lambda z, g: losses.dice_loss(z, g, smooth=smooth),
        "Dice, squared": lambda z, g: losses.dice_loss(z, g, smooth=smooth, squared=True),
        "Dice + cross-entropy": lambda z, g: losses.dice_ce_loss(z, g, smooth=smooth),
    }[now["loss"]]
    leaf = torch.tensor(logits[None, None], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(compute(leaf, torch.from_numpy(truth(now["gland"])[None])), leaf)
    return -logits.size * gradient[0, 0].numpy()


def _enlarged(values: np.ndarray) -> np.ndarray:
    return values.repeat(CELL, axis=0).repeat(CELL, axis=1)


def _outlined(picture: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Lay the contour of the truth, two pixels wide and inside it, over the picture."""
    inside = np.pad(_enlarged(target), 2, mode="edge")
    inner = inside[2:-2, 2:-2].copy()
    for step in (-2, -1, 1, 2):
        inner &= np.roll(inside, step, 0)[2:-2, 2:-2] & np.roll(inside, step, 1)[2:-2, 2:-2]
    picture[inside[2:-2, 2:-2] & ~inner] = CONTOUR
    return picture


def _gray_panel(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    gray = np.floor(255 * values.astype(float) + 0.5).astype(np.uint8)
    return _outlined(_enlarged(gray)[..., None].repeat(3, axis=2), target)


def _push_panel(push: np.ndarray) -> np.ndarray:
    """Colors on white, and a bar in each cell from its middle: up where the probability is raised."""
    strength = np.sqrt(np.minimum(np.abs(push), 1))[..., None]
    color = np.where((push > 0)[..., None], RAISE, LOWER)
    picture = _enlarged(np.floor(255 + strength * (color - 255.0) + 0.5).astype(np.uint8))
    length = np.floor(strength[..., 0] * (CELL / 2 - 1) + 0.5).astype(int)
    for row, column in zip(*length.nonzero(), strict=True):
        middle, left, n = row * CELL + CELL // 2, column * CELL + CELL // 2 - 1, length[row, column]
        rows = slice(middle - n, middle) if push[row, column] > 0 else slice(middle, middle + n)
        picture[rows, left : left + 2] = 0
    return picture
