"""The measure bench: a disk as the truth, a prediction that the reader spoils in four ways, and what each measure says.

The browser draws the masks at once, and Python, which makes the same ones, measures them with `medlearn.metrics`. So
moving anything needs a kernel. Without one the bench shows the last state, and says so.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import traitlets

from .. import metrics
from ..plots import COLORS
from ._base import Control, Widget, check_control, complete, front_end
from ._levels import _lay_over, _look

SIDE = 128  # pixels of 1 mm along each side of the image
ZOOM = 3  # pixels of the screen for each of them
SPACING = (1.0, 1.0)
TOLERANCE_MM = 2.0  # of the surface Dice

CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        "radius": range(3, 31),
        "right": range(-20, 21),
        "down": range(-20, 21),
        "grow": range(-10, 11),
        "island": range(9),
        "island_distance": range(2, 26),
        "bite": range(21),
    }
)
TRUTH = _look("truth", COLORS[0], "solid", 0.25)
PREDICTION = _look("prediction", COLORS[1], "dashed", 0.35)

# Name of each gauge to its function, of prediction and truth.
SHARES = MappingProxyType({"Dice": metrics.dice, "Jaccard": metrics.jaccard, "accuracy": metrics.accuracy})
DISTANCES = MappingProxyType(  # mm
    {
        "HD95, larger direction": lambda p, t: metrics.hausdorff95(p, t, spacing=SPACING),
        "HD95, pooled": lambda p, t: metrics.hausdorff95(p, t, spacing=SPACING, definition="pooled"),
        "HD95, by area": lambda p, t: metrics.hausdorff95(p, t, spacing=SPACING, definition="surface_area"),
        "average boundary distance": lambda p, t: metrics.average_boundary_distance(p, t, spacing=SPACING),
    }
)
VOLUME = "relative volume difference"
SURFACE_DICE = f"surface Dice, {TOLERANCE_MM:g} mm"
FULL_MM = 25.0  # a bar of a distance is full


class MeasureBench(Widget):
    """Move, grow, erode a prediction, add an island, cut a bite, and read what the measures make of it.

    The truth is a disk in an image of 128 × 128 pixels of 1 mm. The prediction begins as the same disk. The button
    *keep* stores a state, to compare another one with it: make two predictions of equal Dice, one with three times the
    HD95 of the other.

    Parameters
    ----------
    **start : int
        Settings at the beginning, in mm; any of the attributes.

    Attributes
    ----------
    radius : int
        Of the gland.
    right, down : int
        How far the prediction is moved.
    grow : int
        By how much its radius differs from the gland's; negative values erode it, until nothing is left.
    island : int
        Radius of an island that does not belong to the gland; 0 for none.
    island_distance : int
        From the border of the gland, up and to the right, to the island's center.
    bite : int
        Radius of a piece cut out of the prediction on its left side; 0 for none.

    Raises
    ------
    ValueError
        If there is no such setting, or its value is not allowed.

    Examples
    --------
    >>> bench = MeasureBench(radius=20, right=2)
    >>> round(bench.measures()["Dice"], 3)
    0.936
    >>> [round(bench.measures(island=radius)["HD95, larger direction"]) for radius in (0, 3)]
    [2, 16]
    """

    _esm = front_end("_slices.js", "measure_bench.js")
    _css = "".join(
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("_picture.css", "measure_bench.css")
    )

    radius = traitlets.Int(20).tag(sync=True)
    right = traitlets.Int(0).tag(sync=True)
    down = traitlets.Int(0).tag(sync=True)
    grow = traitlets.Int(0).tag(sync=True)
    island = traitlets.Int(0).tag(sync=True)
    island_distance = traitlets.Int(15).tag(sync=True)
    bite = traitlets.Int(0).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _gauges = traitlets.Dict().tag(sync=True)  # `rows`, one for each measure, and the settings that they are `of`

    def __init__(self, **start: int):
        for name, value in start.items():
            if name not in CONTROLS:
                raise ValueError(f"there is no setting {name!r}; the bench has {', '.join(CONTROLS)}")
            start[name] = check_control(name, value, CONTROLS[name])
        scene = {
            "side": SIDE,
            "zoom": ZOOM,
            "limits": {name: [allowed[0], allowed[-1]] for name, allowed in CONTROLS.items()},
            "looks": [TRUTH, PREDICTION],
        }
        super().__init__(**start, _scene=scene)
        self._measure()
        self.observe(self._measure, list(CONTROLS))
        self.answer_the_front_end()

    @classmethod
    def example(cls) -> "MeasureBench":
        """Spoil a prediction a little in every way."""
        return cls(radius=16, right=3, down=-2, grow=1, island=4, bite=6)

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: the size of the gland, and four ways to spoil the prediction."""
        return dict(CONTROLS)

    def masks(self, **state: int) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and truth, (128, 128) bool, for some settings; what is not given is as the widget shows it now."""
        now = complete(self, state, CONTROLS)
        middle, radius = SIDE // 2, now["radius"]
        truth = _disk(middle, middle, radius)
        row, column, grown = middle + now["down"], middle + now["right"], radius + now["grow"]
        pred = _disk(row, column, grown)
        if now["bite"]:
            pred &= ~_disk(row, column - grown, now["bite"])
        if now["island"]:
            along = round((radius + now["island_distance"]) / np.sqrt(2))
            pred |= _disk(middle - along, middle + along, now["island"])
        return pred, truth

    def measures(self, **state: int) -> dict[str, float]:
        """Value of every gauge for some settings; distances in mm. What is not given is as the widget shows it now."""
        pred, truth = self.masks(**state)
        values = {name: function(pred, truth) for name, function in (SHARES | DISTANCES).items()}
        values[VOLUME] = metrics.relative_volume_difference(pred, truth)
        values[SURFACE_DICE] = metrics.surface_dice(pred, truth, spacing=SPACING, tolerance_mm=TOLERANCE_MM)
        return values

    def render(self, **state: Any) -> np.ndarray:
        """Draw the two masks as the browser does.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now.

        Returns
        -------
        (384, 384, 3) uint8 array
        """
        pred, truth = self.masks(**state)
        picture = np.zeros((SIDE * ZOOM, SIDE * ZOOM, 3), np.uint8)
        for mask, look in ((truth, TRUTH), (pred, PREDICTION)):
            _lay_over(picture, mask.repeat(ZOOM, 0).repeat(ZOOM, 1), look)
        return picture

    def __repr__(self):
        return f"MeasureBench({', '.join(f'{name}={getattr(self, name)}' for name in CONTROLS)})"

    @traitlets.validate(*CONTROLS)
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, CONTROLS[proposal.trait.name])

    def _measure(self, _change=None):
        """Send the gauges of the settings that the widget has now."""
        rows = [_gauge(name, value) for name, value in self.measures().items()]
        self._gauges = {"of": {name: getattr(self, name) for name in CONTROLS}, "rows": rows}


def _disk(row: int, column: int, radius: int) -> np.ndarray:
    """Pixels whose center is at most `radius` from that of pixel (row, column); none for a negative radius."""
    y, x = np.ogrid[:SIDE, :SIDE]
    return ((y - row) ** 2 + (x - column) ** 2 <= radius**2) & (radius >= 0)


def _gauge(name: str, value: float) -> dict[str, Any]:
    """A measure as the browser shows it: name, number (null where there is none), words, and how full its bar is."""
    if name in DISTANCES:
        words, full = f"{value:.2f} mm", value / FULL_MM
    elif name == VOLUME:
        words, full = f"{100 * value:+.1f} %".replace("-", "−"), abs(value)
    else:
        words, full = f"{value:.3f}", value
    if not np.isfinite(value):
        words, full = ("∞" if np.isinf(value) else "undefined"), float(np.isinf(value))
    number = float(value) if np.isfinite(value) else None
    return {"name": name, "value": number, "words": words, "full": float(min(full, 1))}
