"""How an exercise is checked: run the student's function on a probe and compare values, never source text."""

import copy
import linecache
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Wrong:
    """A mistake with a name: what it computes, and the hint for somebody who made it."""

    compute: Callable
    hint: str


@dataclass(frozen=True)
class Exercise:
    """An exercise whose answer is a function.

    Parameters
    ----------
    number : str
        As in the heading of the exercise, such as ``"0.1"``.
    right : callable
        Computes the right answer.
    wrong : dict of str to Wrong
        The mistakes that are recognized, by name. Each differs from the right answer and from all others on the probes.
    probes : tuple of tuples
        Arguments for the function. Two probes with different answers keep a constant from passing.
    praise : str
        What the reader has achieved, printed when every probe agrees.
    unit : str
        Unit of the answer.
    rtol : float
        Relative tolerance of the comparison.
    """

    number: str
    right: Callable
    wrong: dict[str, Wrong]
    probes: tuple[tuple, ...]
    praise: str
    unit: str = ""
    rtol: float = 1e-6

    def check(self, function: Callable) -> None:
        """Print what the checker has to say about `function`."""
        print(f"Exercise {self.number}: {self.verdict(function)}")

    def verdict(self, function: Callable) -> str:
        """Say whether `function` is right, which mistake it makes, or where it first differs."""
        if not callable(function):
            return f"pass your function itself, without brackets; this is a {type(function).__name__}."
        answers = []
        for probe in self.probes:
            arguments = copy.deepcopy(probe)
            try:
                answer = function(*arguments)
            except NotImplementedError:
                return "not solved yet. Replace the line `raise NotImplementedError(...)` by your own code."
            except Exception as error:
                return f"your function stopped. {describe_error(error, function)}"
            if answer is None or answer is ...:
                return "your function returned nothing. Does its last line begin with `return`?"
            if not all(map(untouched, arguments, probe)):
                return "your function changed its input. Whoever called it still needs that array: work on a copy."
            answers.append(answer)
        if all(map(self.agrees, answers, self.answers(self.right))):
            return f"right! {self.praise}"
        for mistake in self.wrong.values():
            if all(map(self.agrees, answers, self.answers(mistake.compute))):
                return f"not yet. {mistake.hint}"
        return f"not yet. {self.first_difference(answers)}"

    def answers(self, function: Callable) -> list:
        """What one of our own functions gives on every probe."""
        return [function(*copy.deepcopy(probe)) for probe in self.probes]

    def agrees(self, answer: Any, other: Any) -> bool:
        """Whether two answers are the same value within the tolerance."""
        return same(answer, other, self.rtol)

    def first_difference(self, answers: list) -> str:
        """Where the answers first differ from the right ones; expected and got, with the unit."""
        expected = self.answers(self.right)
        probe = next(i for i, pair in enumerate(zip(answers, expected, strict=True)) if not self.agrees(*pair))
        answer, right = answers[probe], expected[probe]
        if as_numbers(right) is None:  # several results of unlike shapes: the first that is wrong
            if not isinstance(answer, tuple) or len(answer) != len(right):
                return f"Expected a tuple of {len(right)} results, got {describe(answer)}."
            answer, right = next((a, r) for a, r in zip(answer, right, strict=True) if not self.agrees(a, r))
        got, want = as_numbers(answer), as_numbers(right)
        if got is None:
            return f"Expected {kind(want)}, got {describe(answer)}."
        if got.shape != want.shape:
            return f"Expected {kind(want)}, got {kind(got)}."
        index = tuple(int(i) for i in np.argwhere(~np.isclose(got, want, rtol=self.rtol, atol=0))[0])
        where = f" at index {index if len(index) > 1 else index[0]}" if index else ""
        return (
            f"Expected {self.shown(want[index])}{where}, got {self.shown(got[index])} "
            f"(probe {probe + 1} of {len(self.probes)})."
        )

    def shown(self, number: float) -> str:
        """A number with its unit; four digits are enough to recognize it."""
        return f"{number:.4g} {self.unit}".strip()


def same(answer: Any, other: Any, rtol: float) -> bool:
    """Whether two answers (numbers, arrays, or sequences of them) have one shape and equal values."""
    if isinstance(answer, tuple) and isinstance(other, tuple):
        return len(answer) == len(other) and all(same(a, b, rtol) for a, b in zip(answer, other, strict=True))
    a, b = as_numbers(answer), as_numbers(other)
    if a is None or b is None or a.shape != b.shape:
        return False
    return bool(np.allclose(a, b, rtol=rtol, atol=0, equal_nan=True))


def untouched(argument: Any, original: Any) -> bool:
    """Whether an array that was passed to the student's function still holds what it held."""
    return not isinstance(original, np.ndarray) or argument.tobytes() == original.tobytes()


def as_numbers(answer: Any) -> np.ndarray | None:
    """`answer` as an array of float64, or None if it does not consist of numbers."""
    try:
        return np.asarray(answer, float)
    except (TypeError, ValueError):
        return None


def kind(array: np.ndarray) -> str:
    """One number, or an array of a shape."""
    return f"an array of shape {array.shape}" if array.ndim else "one number"


def describe(answer: Any) -> str:
    """What an answer is, in words."""
    if isinstance(answer, tuple):
        return f"a tuple of {len(answer)}"
    numbers = as_numbers(answer)
    return f"a {type(answer).__name__}" if numbers is None else kind(numbers)


def describe_error(error: Exception, function: Callable) -> str:
    """Name an exception and the line of the student's own code in which it arose."""
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if not lines:
        return message
    code = linecache.getline(own, lines[-1].lineno).strip()
    return f"Line {lines[-1].lineno} of your cell, `{code}`, raised\n    {message}"
