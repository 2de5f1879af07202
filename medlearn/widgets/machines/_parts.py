"""What a machine of the `ModalityLab` is made of: controls, a function from their values to panels, the panels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .._base import Control, Interval


@dataclass(frozen=True)
class Dial:
    """One thing that a student can turn.

    Attributes
    ----------
    name : str
        Argument of the machine's function.
    label : str
        Words beside the slider, with the unit in brackets.
    allowed : range, Interval or tuple of str
        A slider of whole numbers, a slider of real numbers, or a list to choose one of.
    default : int, float or str
    log : bool
        Equal steps of the slider of an `Interval` multiply the value instead of adding to it.
    """

    name: str
    label: str
    allowed: Control
    default: int | float | str
    log: bool = False

    @property
    def stops(self) -> list:
        """What the slider can stand on; a real number takes a hundred steps."""
        if not isinstance(self.allowed, Interval):
            return list(self.allowed)
        space = np.geomspace if self.log else np.linspace
        values = [float(f"{v:.3g}") for v in space(self.allowed.low, self.allowed.high, 101)]
        return [self.allowed.low, *values[1:-1], self.allowed.high]


@dataclass(frozen=True)
class Picture:
    """A panel with an image.

    Attributes
    ----------
    title : str
        The first words of the panel; they should say what is bright.
    array : (rows, columns) or (rows, columns, 3) ndarray
        Values, or colors from 0 to 1.
    limits : (float, float)
        Values shown as the first and the last color.
    spacing : (float, float), optional
        Distance between rows and between columns, both in one unit. Where it is not given the axes are different
        quantities, and the panel is a square.
    unit : str
        Of the spacing.
    colormap : str
        A name that matplotlib knows.
    """

    title: str
    array: np.ndarray
    limits: tuple[float, float]
    spacing: tuple[float, float] | None = None
    unit: str = "mm"
    colormap: str = "gray"

    @property
    def bytes(self) -> np.ndarray:
        """What the screen gets, uint8: the number of a color of the colormap, or colors."""
        low, high = self.limits
        return np.rint(np.clip((self.array - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)

    @property
    def aspect(self) -> float:
        """Width over height on the screen."""
        rows, columns = self.array.shape[:2]
        return 1.0 if self.spacing is None else columns * self.spacing[1] / (rows * self.spacing[0])

    @property
    def scale(self) -> str:
        """How large the picture is, in words."""
        if self.spacing is None:
            return ""
        high, wide = (n * s for n, s in zip(self.array.shape, self.spacing, strict=False))
        return f"{wide:.4g} × {high:.4g} {self.unit}"


@dataclass(frozen=True)
class Curves:
    """A panel with curves over one pair of axes.

    Attributes
    ----------
    title, x_label, y_label : str
        Labels with units.
    x : (points,) ndarray
    lines : sequence of (str, (points,) ndarray)
        Name and values of each curve, at most three: the first is drawn solid, the others dashed and dotted.
    y_limits : (float, float)
        The axis does not move when a student turns a dial: so curves can be compared by eye.
    """

    title: str
    x_label: str
    y_label: str
    x: np.ndarray
    lines: Sequence[tuple[str, np.ndarray]]
    y_limits: tuple[float, float]


@dataclass(frozen=True)
class Answer:
    """What the machine shows for some settings: its panels from left to right, and numbers in words below."""

    panels: Sequence[Picture | Curves]
    words: str


@dataclass(frozen=True)
class Machine:
    """A simulated device that can be steered.

    Attributes
    ----------
    title : str
    dials : sequence of Dial
        Two to five.
    simulate : function
        From the values of the dials, as keywords, to an `Answer`. The same values give the same answer, noise included.
    body : str
        What lies in the machine.
    """

    title: str
    dials: Sequence[Dial]
    simulate: Callable[..., Answer]
    body: str

    @property
    def controls(self) -> dict[str, Control]:
        """Name of each dial to what it allows."""
        return {dial.name: dial.allowed for dial in self.dials}

    @property
    def defaults(self) -> dict:
        """Name of each dial to where it stands at first."""
        return {dial.name: dial.default for dial in self.dials}
