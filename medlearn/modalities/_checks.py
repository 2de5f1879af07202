"""Checks that the simulated devices share."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..errors import check_positive


def check_array(name: str, array: ArrayLike, axes: str, dtype: DTypeLike = np.float32) -> np.ndarray:
    """The array as contiguous `dtype`; ``ValueError`` unless it has these axes, at least one element, all finite."""
    array = np.asarray(array)
    if array.dtype.kind not in "biuf" or array.ndim != len(axes.split(", ")) or array.size == 0:
        raise ValueError(
            f"{name} must hold real numbers with axes ({axes}); got shape {array.shape} and dtype {array.dtype}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; it has values that are infinite or not a number")
    return np.ascontiguousarray(array, dtype)


def check_not_negative(name: str, values: ArrayLike, unit: str = "") -> np.ndarray:
    """The values as float64; ``ValueError`` unless all are finite and 0 or more."""
    values = np.asarray(values, float)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"{name} must be 0 or more{f' {unit}' if unit else ''} everywhere; got {_worst(values)}")
    return values


def check_above_zero(name: str, values: ArrayLike, unit: str = "") -> np.ndarray:
    """The values as float64; ``ValueError`` unless all are finite and above 0."""
    values = np.asarray(values, float)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"{name} must be above 0{f' {unit}' if unit else ''} everywhere; got {_worst(values)}")
    return values


def check_spacing(name: str, spacing: Sequence[float], axes: str) -> tuple[float, ...]:
    """The spacing as floats; ``ValueError`` unless there is one positive number of mm for each axis."""
    values = tuple(float(h) for h in np.atleast_1d(spacing))
    if len(values) != len(axes.split(", ")) or not all(0 < h < math.inf for h in values):
        raise ValueError(f"{name} must be positive numbers of mm, ({axes}); got {spacing}")
    return values


def check_shape(name: str, shape: Sequence[int], axes: str) -> tuple[int, ...]:
    """The shape as ints; ``ValueError`` unless there is one whole number above 0 for each axis."""
    sizes = np.atleast_1d(shape)
    if sizes.dtype.kind not in "iu" or sizes.shape != (len(axes.split(", ")),) or sizes.min() < 1:
        raise ValueError(f"{name} must be whole numbers above 0, ({axes}); got {shape}")
    return tuple(int(n) for n in sizes)


def check_count(name: str, value: int) -> int:
    """The value as int; ``ValueError`` unless it is a whole number above 0."""
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0; got {value!r}")
    return int(value)


def check_spectrum(mu_per_mm: ArrayLike, spectrum: ArrayLike, n_materials: int) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation (materials, energies) and the spectrum, scaled to a sum of 1."""
    mu = check_not_negative("mu_per_mm", mu_per_mm, "1/mm")
    share = check_not_negative("spectrum", spectrum)
    if share.ndim != 1 or mu.shape != (n_materials, share.size):
        raise ValueError(
            f"mu_per_mm must have axes (materials, energies): {n_materials} materials by the {share.size} energies of "
            f"spectrum; got shape {mu.shape}"
        )
    check_positive("the sum of spectrum", share.sum())
    return mu, share / share.sum()


def _worst(values: np.ndarray) -> float:
    """One of the values that were refused."""
    return float(values[~np.isfinite(values)][0] if not np.isfinite(values).all() else values.min())
