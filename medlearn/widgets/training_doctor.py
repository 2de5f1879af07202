"""The training doctor: how cases, learning rate, width and augmentation bend the two curves of a training.

Every setting was computed beforehand by ``book/experiments/12a_doctor.py``, which also wrote ``training_doctor.json``:
the widget needs no kernel, and nobody waits.
"""

import json
from functools import cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import traitlets

from ._base import Control, Widget, check_control, complete, front_end


@cache
def recorded() -> dict[str, Any]:
    """Axes of the grid, steps, and curves in thousandths, nested as draw, cases, rate, width, augmentation."""
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def _controls() -> dict[str, Control]:
    axes = recorded()["axes"]
    exponents = [round(float(np.log10(rate))) for rate in axes["rate"]]
    return {
        "cases": tuple(axes["cases"]),
        "log_rate": range(exponents[0], exponents[-1] + 1),
        "width": tuple(axes["width"]),
        "augmentation": tuple(axes["augmentation"]),
        "draw": range(axes["seed"][0], axes["seed"][-1] + 1),
    }


class TrainingDoctor(Widget):
    """Choose how a small U-Net is trained, and look at its two curves: Dice of training and of held-out patients.

    The patients are phantoms on a coarse grid; six are held out. AdamW takes steps of eight slices at a learning rate
    that stays as it is, so that the rate is what the slider says. The training Dice is that of at most five of the
    training patients, in evaluation mode and without augmentation, as for the held-out ones. The dotted curve is the
    loss, the mean over the steps since the last mark.

    Parameters
    ----------
    **start
        Settings at the beginning, any of the attributes.

    Attributes
    ----------
    cases : int
        Patients to train on: 1, 2, 5, 10 or 20.
    log_rate : int
        Power of ten of the learning rate.
    width : int
        Channels of the network's first level; the next two have twice and four times as many.
    augmentation : bool
        Whether every slice is turned, bent and relit anew in each step.
    draw : int
        Number of the seed: other patients, other first weights.

    Raises
    ------
    ValueError
        If there is no such setting, or its value is not allowed.

    Examples
    --------
    >>> doctor = TrainingDoctor(cases=1)
    >>> sorted(doctor.curves())
    ['held_out', 'loss', 'step', 'training']
    """

    _esm = front_end("training_doctor.js")
    _css = Path(__file__).with_name("_picture.css").read_text(encoding="utf-8")

    cases = traitlets.Int(2).tag(sync=True)
    log_rate = traitlets.Int(-2).tag(sync=True)
    width = traitlets.Int(8).tag(sync=True)
    augmentation = traitlets.Bool(False).tag(sync=True)
    draw = traitlets.Int(0).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)

    def __init__(self, **start: Any):
        allowed = _controls()
        for name, value in start.items():
            if name not in allowed:
                raise ValueError(f"there is no setting {name!r}; the training doctor has {', '.join(allowed)}")
            check_control(name, value, allowed[name])
        super().__init__(**start, _scene=recorded())

    @classmethod
    def example(cls) -> "TrainingDoctor":
        """Show two patients learned by heart."""
        return cls()

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: patients, rate, width, augmentation, and the draw of patients and weights."""
        return _controls()

    def curves(self, **state: Any) -> dict[str, np.ndarray]:
        """Give the curves for some settings of the controls.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now.

        Returns
        -------
        dict of arrays
            ``step``; ``training`` and ``held_out``, mean Dice over patients; ``loss``, nan where it was not finite.
        """
        allowed = _controls()
        now = complete(self, state, allowed)
        order = ("draw", "cases", "log_rate", "width", "augmentation")
        index = [list(allowed[name]).index(now[name]) for name in order]
        found = {"step": np.array(recorded()["steps"])}
        for name, nested in recorded()["curves"].items():
            found[name] = np.array(reduce(lambda part, i: part[i], index, nested), float) / 1000
        return found

    def render(self, **state: Any) -> np.ndarray:
        """Draw the chart of some settings, (360, 560, 3) uint8, with the settings as its title."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second, and only for a stored picture
        from matplotlib.figure import Figure

        now, curves = complete(self, state, _controls()), self.curves(**state)
        figure = Figure((5.6, 3.6), dpi=100)
        canvas, axes = FigureCanvasAgg(figure), figure.add_axes((0.1, 0.24, 0.87, 0.68))
        for name, style, color, label in (
            ("training", "o-", "#0072B2", "Dice, training patients"),
            ("held_out", "s--", "#D55E00", "Dice, held-out patients"),
            ("loss", ":", "#000000", "loss"),
        ):
            axes.plot(curves["step"], np.minimum(curves[name], TOP), style, color=color, label=label, ms=4)
        axes.set(xlabel="step", ylabel="Dice; loss", xlim=(0, curves["step"][-1]), ylim=(0, TOP))
        axes.set_title(_words(now), fontsize=9)
        axes.grid(alpha=0.3)
        figure.legend(loc="lower center", ncols=3, fontsize=8)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def __repr__(self):
        return f"TrainingDoctor({_words({name: getattr(self, name) for name in self.controls})})"

    @traitlets.validate("cases", "log_rate", "width", "augmentation", "draw")
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, _controls()[proposal.trait.name])


TOP = 1.4  # of the chart; a loss beyond it is drawn at the border


def _words(now: dict[str, Any]) -> str:
    patients = "1 patient" if now["cases"] == 1 else f"{now['cases']} patients"
    augmentation = "with" if now["augmentation"] else "without"
    return (
        f"{patients}, rate 1e{now['log_rate']}, width {now['width']}, {augmentation} augmentation, draw {now['draw']}"
    )
