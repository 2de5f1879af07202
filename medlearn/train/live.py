"""The curves of a training below the cell that trains, drawn anew as it goes on."""

import time
from collections.abc import Mapping, Sequence

import pandas as pd

from .._watched import kernel
from ..plots import plot_curves

#: In the metadata of the picture, so that a build of notebooks can tell it from what a cell shows.
MARK = {"medlearn": "live curves"}
_WORTH = 30  # a drawing that takes 0.1 s is repeated after 3 s at the earliest: at most 3 % of the time
_PATIENCE = 2.0  # seconds between drawings, at least


class LiveCurves:
    """Loss and held-out Dice as one picture in a notebook, replaced as training goes on; nothing elsewhere."""

    def __init__(self, enabled: bool):
        self._enabled = enabled and kernel() is not None
        self._picture, self._due = None, 0.0

    def show(self, history: Sequence[Mapping], *, last: bool = False) -> None:
        """Draw the rows of the history, unless it was done a moment ago."""
        if not self._enabled or len(history) < 2 or (time.monotonic() < self._due and not last):
            return
        from IPython.display import Image, display  # there, since its kernel runs this

        began = time.monotonic()
        figure = plot_curves(pd.DataFrame(history))
        picture = Image(data=figure._repr_png_(), format="png", alt=_describe(history))
        if self._picture is None:
            self._picture = display(picture, metadata=MARK, display_id=True)
        else:
            self._picture.update(picture, metadata=MARK)
        now = time.monotonic()
        self._due = now + max(_PATIENCE, _WORTH * (now - began))


def _describe(history: Sequence[Mapping]) -> str:
    last = history[-1]
    text = f"Curves of the training up to step {last['step']}: loss {last['train_loss']:.3f}"
    scores = [row["val_dice"] for row in history if row["val_dice"] is not None]
    return text + (f", held-out Dice {scores[-1]:.3f}" if scores else "")
