"""Data sets as lazy sequences of cases."""

from .layouts import Cases, cases

__all__ = ["Cases", "cases"]
