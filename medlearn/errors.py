"""The error classes a caller may want to tell apart, and the checks that word them.

All of them are ``ValueError``: code that does not care catches that.
"""

from collections.abc import Collection


class GridMismatchError(ValueError):
    """Two volumes that must lie on one voxel grid do not."""


class FileFormatError(ValueError):
    """A file is truncated, mislabelled, or of a kind that cannot be read."""


class LossyFormatError(ValueError):
    """A file format cannot hold something that the volume has."""


class BadCasesError(ValueError):
    """Some cases of a data set cannot be used.

    Attributes
    ----------
    problems : dict of str to str
        Case id to the reason.
    """

    def __init__(self, problems: dict[str, str]):
        self.problems = dict(problems)
        lines = "\n".join(f"  {case}: {reason}" for case, reason in self.problems.items())
        super().__init__(f"{len(self.problems)} case(s) cannot be used:\n{lines}")


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Raise ``ValueError`` unless `value` is one of `choices`."""
    if value not in choices:
        options = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {options}; got {value!r}")


def check_positive(name: str, value: float, unit: str = "") -> None:
    """Raise ``ValueError`` unless `value` is a finite number above zero."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive number{f' of {unit}' if unit else ''}; got {value!r}")
