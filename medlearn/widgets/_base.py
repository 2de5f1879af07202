"""What the widgets of the course share: controls that can be swept, and a picture for pages that run no widget."""

import base64
import operator
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import numpy as np

from ..errors import check_choice


class Interval(NamedTuple):
    """All real numbers from `low` to `high`, both included."""

    low: float
    high: float


Control = range | Interval | tuple  # whole numbers, real numbers, or a few options


class Widget(anywidget.AnyWidget):
    """A widget whose picture Python can draw as well as the browser.

    A subclass brings front-end code of its own (``_esm``, ``_css``), `controls`, `render` and `example`. A notebook
    stores the picture beside the widget, so that GitHub, a PDF and a notebook reopened without a kernel show it.
    """

    @property
    def controls(self) -> Mapping[str, Control]:
        """What a student can move: name of each control to its allowed values.

        A `range` of whole numbers, an `Interval` of real ones, or a tuple of options.
        """
        raise NotImplementedError

    def render(self, **state: Any) -> np.ndarray:
        """Draw the picture, (height, width, 3) uint8, for some settings of the controls; change nothing.

        What `state` does not name is as the widget shows it now.
        """
        raise NotImplementedError

    @classmethod
    def example(cls) -> "Widget":
        """Make a small instance, to look at and to test."""
        raise NotImplementedError

    def answer_the_front_end(self) -> None:
        """From now on, say that there is a kernel when the front end asks (``askForKernel`` in ``_picture.js``)."""
        self.on_msg(self._say_hello)

    def _say_hello(self, _widget, content, _buffers):
        if content == "is there a kernel?":
            self.send("there is a kernel")

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(self.controls)})"

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "image/png": base64.b64encode(encode_png(self.render())).decode()}, metadata


def front_end(*names: str) -> str:
    """Join the shared front-end code of the explorers of one slice, ``_picture.js``, and files of this folder.

    A browser gets one text a widget and cannot import a neighbor: none of the files but the last has an ``export``.
    """
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in ("_picture.js", *names))


def check_control(name: str, value: Any, allowed: Control) -> Any:
    """Return `value` as a plain Python value; raise ``ValueError`` unless the control `name` allows it."""
    if isinstance(allowed, Interval):
        if not (isinstance(value, int | float | np.number) and allowed.low <= value <= allowed.high):
            raise ValueError(f"{name} must be a number from {allowed.low:g} to {allowed.high:g}; got {value!r}")
        return float(value)
    if isinstance(allowed, range):
        try:
            inside = operator.index(value) in allowed
        except TypeError:
            inside = False
        if not inside:
            raise ValueError(f"{name} must be a whole number from {allowed[0]} to {allowed[-1]}; got {value!r}")
        return int(value)
    check_choice(name, value, allowed)
    return value


def complete(widget: Widget, state: dict[str, Any], allowed: Mapping[str, Control]) -> dict[str, Any]:
    """All settings: those of `state`, checked, and the others as the widget shows them now."""
    if unknown := sorted(set(state) - set(allowed)):
        raise ValueError(f"there is no control {unknown[0]!r}; this widget has {', '.join(widget.controls)}")
    return {name: check_control(name, state.get(name, getattr(widget, name)), a) for name, a in allowed.items()}


def encode_png(picture: np.ndarray) -> bytes:
    """Encode a picture, (height, width, 3) uint8, as PNG."""
    height, width, _ = picture.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)  # 0: no filter
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
