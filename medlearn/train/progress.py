"""The clock of a training, the line that shows it, and a Ctrl-C that does not break a step."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from .._watched import watched


class Clock:
    """Monotonic seconds of training, over all the sessions of a run."""

    def __init__(self):
        self._before, self._started = 0.0, None

    def start(self, before: float = 0.0) -> None:
        """Start, or go on after `before` seconds."""
        self._before, self._started = before, time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds so far; 0 before the start."""
        return self._before + (time.monotonic() - self._started if self._started is not None else 0.0)


@contextmanager
def interrupt_flag() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag, so that a step is never left half done; a second one interrupts at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield flag
        return

    def on_interrupt(number, frame):
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


class Bar:
    """One line that shows how far training is, with loss, Dice and the time left. Silent where nobody looks."""

    def __init__(self, enabled: bool):
        layout = "{percentage:3.0f}% |{bar:24}| {desc}"
        self._bar = tqdm(total=1.0, disable=not (enabled and watched()), bar_format=layout, file=sys.stderr)
        self._shown = float("-inf")

    def show(self, share: float, seconds_left: float, loss, score: float | None, *, last: bool = False) -> None:
        """Redraw, unless it is the last time at most twice a second: reading the loss waits for the device."""
        now = time.monotonic()
        if self._bar.disable or (now - self._shown < 0.5 and not last):
            return
        self._shown = now
        minutes, seconds = divmod(round(seconds_left), 60)
        facts = [f"loss {float(loss):.3f}"] + ([f"Dice {score:.3f}"] if score is not None else [])
        self._bar.n = min(share, 1.0)
        self._bar.set_description_str(" · ".join([*facts, f"{minutes}:{seconds:02d} left"]))

    def close(self) -> None:
        """Leave the line as it is."""
        self._bar.close()
