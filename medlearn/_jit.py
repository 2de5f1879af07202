"""Loops that are compiled: where the loop is the readable version and the fast one."""

from collections.abc import Callable

from numba import njit


def compiled(function: Callable) -> Callable:
    """Compile at the first call and keep the result on disk, where numba finds a folder that it may write to."""
    options = {"error_model": "numpy"}  # no check for division by zero: loops can then use vector instructions
    try:
        return njit(function, cache=True, **options)
    except RuntimeError:  # read-only package and no home: compile anew in every process
        return njit(function, **options)
