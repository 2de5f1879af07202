"""Shapes as implicit functions, and smooth random fields: the two materials that a phantom is made of.

An implicit function is negative inside a shape, zero on its surface, positive outside. It need not be a distance: its
own differences from voxel to voxel tell how much of a voxel the shape covers.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Implicit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shape:
    """An implicit function of (x, y, z) in mm from `center`, and the half size of a box that holds the shape."""

    center: tuple[float, float, float]
    reach: tuple[float, float, float]
    implicit: Implicit


def ellipsoid(center, radii, turn: float = 0.0) -> Shape:
    """Ellipsoid with half axes `radii` (x, y, z) in mm, turned by `turn` radians about z (x toward y)."""
    rx, ry, rz = radii
    cos, sin = np.cos(turn), np.sin(turn)

    def implicit(x, y, z):
        u = (cos / rx) * x
        v = (cos / ry) * y
        if turn:
            u = u + (sin / rx) * y
            v = v - (sin / ry) * x
        u = u * u + v * v
        u = u + (z / rz) ** 2  # x, y, z may be broadcast: only from here on does it cost as much as there are voxels
        np.sqrt(u, out=u)  # in place: on large arrays memory costs more than arithmetic
        u -= 1
        return u

    return Shape(center, (np.hypot(cos * rx, sin * ry), np.hypot(sin * rx, cos * ry), rz), implicit)


def tube(center, radius, half_length, *, path=None, profile=None) -> Shape:
    """Tube along z with blunt ends; (x, y) = `path`(z) is its axis, `radius` × `profile`(z) its radius."""
    rx, ry = radius
    ends = np.linspace(-half_length, half_length, 9)
    wander = np.abs(path(ends)).max(axis=1) if path else (0.0, 0.0)
    widest = profile(ends).max() if profile else 1.0

    def implicit(x, y, z):
        if path:
            dx, dy = path(z)
            x, y = x - dx, y - dy
        scale = profile(z) if profile else 1.0
        square = ((x / rx) ** 2 + (y / ry) ** 2) / scale**2
        return np.sqrt(square + blunt(z / half_length)) - 1

    return Shape(center, (widest * rx + wander[0], widest * ry + wander[1], half_length), implicit)


def union(*shapes: Shape) -> Shape:
    """The shapes as one."""
    centers, reaches = np.array([s.center for s in shapes]), np.array([s.reach for s in shapes])
    low, high = (centers - reaches).min(0), (centers + reaches).max(0)
    middle = (low + high) / 2

    def implicit(x, y, z):
        parts = (s.implicit(*(a - c for a, c in zip((x, y, z), s.center - middle, strict=True))) for s in shapes)
        return functools.reduce(np.minimum, parts)

    return Shape(tuple(middle), tuple((high - low) / 2), implicit)


def blunt(t: np.ndarray) -> np.ndarray:
    """t⁸ by squaring: a power that is not 2 costs thirty times as much."""
    square = t * t
    square *= square
    square *= square
    return square


def coverage(f: np.ndarray, width: np.ndarray | None = None) -> np.ndarray:
    """Share of each voxel that lies inside the shape with implicit function `f`: the partial volume, 0 to 1.

    Near its surface a shape is a half space. A half space covers a voxel by about ½ − f / `width`; without `width` it
    is `voxel_width` of `f`.
    """
    share = f / voxel_width(f) if width is None else f / width
    np.subtract(0.5, share, out=share)
    return np.clip(share, 0, 1, out=share)


def voxel_width(f: np.ndarray) -> np.ndarray:
    """By how much `f` changes across each voxel: Σ|Δf| over z, y and x, where Δf is the difference to the next voxel.

    A thick slice is partly covered over a wider range of f.
    """
    width = np.full(f.shape, 1e-9)
    for axis, n in enumerate(f.shape):
        if n < 3:  # too few slices to tell
            continue
        along = np.moveaxis(f, axis, 0)
        change = np.moveaxis(width, axis, 0)
        step = np.abs(along[2:] - along[:-2])
        step *= 0.5
        change[1:-1] += step
        change[0] += step[0]
        change[-1] += step[-1]
    return width


def first_order_distance(f: np.ndarray, spacing) -> np.ndarray:
    """Distance to the surface f = 0 in mm, exact to first order: f / |∇f| (Taubin, IEEE PAMI 1991;13:1115)."""
    square = np.zeros(f.shape)
    for axis, step in enumerate(spacing):
        if f.shape[axis] > 1:
            square += np.gradient(f, step, axis=axis) ** 2
    return f / np.sqrt(square + 1e-12)


def smooth_noise(rng: np.random.Generator, axes, pitch, std: float = 1.0, extent: float = 192.0) -> np.ndarray:
    """Smooth random field on the grid spanned by `axes`, of about zero mean and standard deviation `std`.

    White noise on a lattice of `pitch` (z, y, x) mm, interpolated by cubic B-splines, one axis after the other. The
    lattice repeats after `extent` mm, so that a patient's texture does not depend on the grid that looks at it.

    Parameters
    ----------
    axes : three 1-D arrays
        Coordinates of the grid along z, y and x in mm.
    pitch : three floats
        Distance of the lattice points along z, y and x in mm: the grain of the texture.

    Returns
    -------
    (z, y, x) float64 array
    """
    counts = [max(round(extent / p), 4) for p in pitch]
    field = rng.standard_normal(counts) * (std / 0.479**1.5)  # the mean of Σw² along one axis is 0.479
    weights = [_spline_weights(axis / p, n) for axis, p, n in zip(axes, pitch, counts, strict=True)]
    field = np.tensordot(weights[0], field, axes=(1, 0))  # z first: it shrinks the array most
    field = weights[1] @ field
    return field @ weights[2].T


def _spline_weights(position: np.ndarray, n: int) -> np.ndarray:
    """Weights (positions, n) of n periodic lattice points in the cubic B-spline at `position`."""
    cell = np.floor(position).astype(int)
    t = position - cell
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.zeros((len(position), n))
    for shift, w in enumerate(basis, start=-1):
        np.add.at(weights, (np.arange(len(position)), (cell + shift) % n), w / 6)
    return weights
