"""The modality lab: a simulated machine, its dials, and the picture that answers.

Python computes each answer from the tissue properties of a built-in body (`medlearn.modalities`); the browser draws it.
So turning a dial needs a kernel. Without one the lab shows the last state, and says so.
"""

from typing import Any

import numpy as np
import traitlets
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..plots import COLORS
from ._base import Control, Widget, check_control, front_end
from ._one_slice import STYLE
from .machines import Answer, Curves, Picture, machine

PANEL = 300  # CSS pixels of a panel's longer side
STYLES = ("solid", "dashed", "dotted")


class ModalityLab(Widget):
    """Steer a simulated machine: two to five dials, and pictures that answer at once.

    Parameters
    ----------
    name : str
        One of `medlearn.widgets.machines.NAMES`: ``"xray"``, ``"ct"``, ``"mri"`` ...
    **start : int, float or str
        Where some of its dials stand at the beginning; `controls` names them.

    Attributes
    ----------
    settings : dict
        Name of every dial to its value. Give a new dict to turn them.

    Raises
    ------
    ValueError
        If there is no such machine or dial, or its value is not allowed.

    Examples
    --------
    >>> lab = ModalityLab("ct", views=30)
    >>> lab
    ModalityLab('ct', views=30, order='evenly over 180°', photons=100000.0, window='ramp')
    >>> [panel.title for panel in lab.answer(window="none").panels]
    ['the slice itself', 'sinogram (rows: angle, 0 to 180°)', 'back-projection, not filtered']
    """

    _esm = front_end("_panels.js", "modality_lab.js")
    _css = STYLE

    settings = traitlets.Dict().tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _answer = traitlets.Dict().tag(sync=True)  # the panels without their pixels, and the settings that they are `of`
    _pixels = traitlets.Bytes().tag(
        sync=True
    )  # of all pictures, one after the other; packing them would cost more time than it saves

    def __init__(self, name: str, **start: Any):
        self._name, self._machine = name, machine(name)
        settings = self._complete(start, self._machine.defaults)
        scene = {"title": self._machine.title, "body": self._machine.body, "dials": self._dials()}
        super().__init__(settings=settings, _scene=scene, **self._sent(settings))
        self.observe(self._send_answer, "settings")
        self.answer_the_front_end()

    @classmethod
    def example(cls) -> "ModalityLab":
        """Make a CT of a slice of the chest."""
        return cls("ct")

    @property
    def controls(self) -> dict[str, Control]:
        """The dials of this machine."""
        return self._machine.controls

    def answer(self, **state: Any) -> Answer:
        """Panels, with their arrays, and words for some settings; what is not given is as the widget shows it now."""
        return self._machine.simulate(**self._complete(state, self.settings))

    def figure(self, **state: Any) -> Figure:
        """Draw the panels of some settings as a Matplotlib figure; what is not given is as the widget shows it now."""
        panels = self.answer(**state).panels
        figure = Figure(figsize=(3.3 * len(panels), 3.9), layout="constrained")
        for axes, panel in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
            (_draw_picture if isinstance(panel, Picture) else _draw_curves)(axes, panel)
        return figure

    def render(self, **state: Any) -> np.ndarray:
        """Draw the panels side by side, as `figure` does.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now.

        Returns
        -------
        (height, width, 3) uint8 array
        """
        canvas = FigureCanvasAgg(self.figure(**state))
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]

    def __repr__(self):
        dials = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return f"ModalityLab({self._name!r}{dials})"

    @traitlets.validate("settings")
    def _check(self, proposal):
        return self._complete(proposal.value, self._machine.defaults)

    def _complete(self, state: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
        """Return the values of all dials: those of `state`, checked, and `others`."""
        if unknown := sorted(set(state) - set(self.controls)):
            raise ValueError(f"there is no control {unknown[0]!r}; {self._name} has {', '.join(self.controls)}")
        return {name: check_control(name, state.get(name, others[name]), a) for name, a in self.controls.items()}

    def _dials(self) -> list[dict[str, Any]]:
        """The dials as the browser needs them."""
        return [
            {"name": d.name, "label": d.label, "stops": d.stops, "options": type(d.allowed) is tuple}
            for d in self._machine.dials
        ]

    def _send_answer(self, _change):
        with self.hold_sync():  # all in one message
            for name, value in self._sent(self.settings).items():
                setattr(self, name, value)

    def _sent(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The traits that carry the answer for these settings."""
        answer = self._machine.simulate(**settings)
        pixels = b"".join(panel.bytes.tobytes() for panel in answer.panels if isinstance(panel, Picture))
        described = {"of": settings, "panels": [_describe(panel) for panel in answer.panels], "words": answer.words}
        return {"_answer": described, "_pixels": pixels}


def _describe(panel: Picture | Curves) -> dict[str, Any]:
    """Everything that the browser needs of a panel but the pixels."""
    if isinstance(panel, Picture):
        width, height = PANEL * min(1, panel.aspect), PANEL * min(1, 1 / panel.aspect)
        colors = [] if panel.array.ndim == 3 or panel.colormap == "gray" else _colors(panel.colormap)
        described = {"kind": "picture", "shape": panel.array.shape, "size": (round(width), round(height))}
        return {**described, "title": panel.title, "scale": panel.scale, "colors": colors}
    lines = [{"name": name, "y": np.round(np.asarray(y, float), 6).tolist()} for name, y in panel.lines]
    axes = {"x_label": panel.x_label, "y_label": panel.y_label, "y_limits": panel.y_limits}
    return {"kind": "curves", "title": panel.title, "x": np.asarray(panel.x, float).tolist(), "lines": lines, **axes}


def _colors(name: str) -> list[list[int]]:
    return np.rint(255 * colormaps[name](np.arange(256) / 255)[:, :3]).astype(int).tolist()


def _draw_picture(axes, panel: Picture):
    rows, columns = panel.array.shape[:2]
    shown = panel.bytes
    options = {} if shown.ndim == 3 else {"cmap": panel.colormap, "vmin": 0, "vmax": 255}
    axes.imshow(shown, aspect=columns / rows / panel.aspect, interpolation="nearest", **options)
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(panel.scale, fontsize=9)
    axes.set(xticks=[], yticks=[])


def _draw_curves(axes, panel: Curves):
    inks = ("#0072B2", COLORS[0], COLORS[3])
    for (name, y), style, ink in zip(panel.lines, STYLES, inks, strict=False):
        axes.plot(panel.x, np.clip(y, *panel.y_limits), linestyle=style, color=ink, label=name, linewidth=1.2)
    axes.set(xlim=(panel.x[0], panel.x[-1]), ylim=panel.y_limits)
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(panel.x_label, fontsize=9)
    axes.set_ylabel(panel.y_label, fontsize=9)
    axes.tick_params(labelsize=8)
    if len(panel.lines) > 1:
        axes.legend(fontsize=8)
