"""The canvas: a voxel grid in a patient, on which organs are painted one over the other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ._shapes import Shape, coverage


@dataclass(frozen=True)
class Grid:
    """Where the voxels lie in the patient's frame (x left, y posterior, z superior; mm).

    Slices may be tilted by `tilt` radians about the x axis.
    """

    shape: tuple[int, int, int]  # (z, y, x)
    spacing: tuple[float, float, float]  # (z, y, x) mm
    center: tuple[float, float, float]  # (x, y, z) mm of the middle of the field of view
    tilt: float = 0.0

    @property
    def direction(self) -> np.ndarray:
        """Columns: directions of the x, y and z index axes."""
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], float)

    @property
    def axes(self) -> list[np.ndarray]:
        """Coordinates along the grid's own z, y and x axes in mm from the middle."""
        return [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(self.shape, self.spacing, strict=True)]

    def coordinates(self) -> list[np.ndarray]:
        """Patient coordinates x, y, z of every voxel: three arrays that broadcast to `shape`."""
        w, v, u = np.ix_(*self.axes)
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        cx, cy, cz = self.center
        return [u + cx, cos * v - sin * w + cy, sin * v + cos * w + cz]

    def box(self, shape: Shape, margin: float) -> tuple[slice, ...]:
        """Slices (z, y, x) of the voxels within `margin` mm of the box of `shape`; may be empty."""
        middle = self.direction.T @ np.subtract(shape.center, self.center)  # on the grid's own axes
        reach = np.abs(self.direction.T) @ shape.reach + margin
        slices = []
        for m, r, n, step in zip(middle[::-1], reach[::-1], self.shape, self.spacing, strict=True):
            start = int(np.floor((m - r) / step + (n - 1) / 2))
            stop = int(np.ceil((m + r) / step + (n - 1) / 2)) + 1
            slices.append(slice(min(max(start, 0), n), min(max(stop, 0), n)))
        return tuple(slices)


@dataclass(frozen=True)
class Canvas:
    """Labels and signal on a grid, painted organ by organ; what is painted later covers what was there.

    `brightness` gives the signal of each tissue, `number` its label. `fields` are random fields on the grid that organs
    use as texture. A `crop` shares its memory with the whole.
    """

    grid: Grid
    x: np.ndarray  # (z, y, x) patient coordinates in mm, gently warped so that no outline is a perfect ellipse
    y: np.ndarray  # (z, y, x)
    z: np.ndarray  # (z, y, 1): not warped, which makes all that depends on z alone cost next to nothing
    labels: np.ndarray
    signal: np.ndarray
    number: Mapping[str, int]
    brightness: Mapping[str, float]
    fields: Mapping[str, np.ndarray]
    margin: float  # mm; no voxel is warped farther
    offset: tuple[int, int, int] = (0, 0, 0)  # of a crop, in voxels

    def box(self, shape: Shape) -> tuple[slice, ...]:
        """Slices (z, y, x) of this canvas around `shape`."""
        box = self.grid.box(shape, self.margin)
        return tuple(
            slice(max(s.start - o, 0), max(min(s.stop - o, n), 0))
            for s, o, n in zip(box, self.offset, self.labels.shape, strict=True)
        )

    def crop(self, shape: Shape) -> "Canvas":
        """The part of the canvas around `shape`: views, not copies."""
        return self.view(self.box(shape))

    def view(self, box: tuple[slice, ...]) -> "Canvas":
        """The part of the canvas in slices (z, y, x)."""
        arrays = {name: self._cut(getattr(self, name), box) for name in ("x", "y", "z", "labels", "signal")}
        fields = {name: field[box] for name, field in self.fields.items()}
        offset = tuple(o + s.start for o, s in zip(self.offset, box, strict=True))
        return replace(self, fields=fields, offset=offset, **arrays)

    def _cut(self, array: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
        """Slices of an array on the canvas; axes along which it is only broadcast stay as they are."""
        return array[
            tuple(s if n == m else slice(None) for s, n, m in zip(box, array.shape, self.labels.shape, strict=True))
        ]

    def evaluate(self, shape: Shape) -> np.ndarray:
        """Implicit function of `shape` at every voxel."""
        cx, cy, cz = shape.center
        return shape.implicit(self.x - cx, self.y - cy, self.z - cz)

    def paint(self, tissue: str, shape: Shape, texture=1.0, *, rim: str | None = None, thickness: float = 1.0) -> None:
        """Paint one organ, in a `rim` of another tissue, `thickness` mm, if it has one."""
        part = self.crop(shape)
        if not part.labels.size:
            return
        f = part.evaluate(shape)
        if rim:
            part.fill(rim, f)
            f += thickness / min(shape.reach)
        part.fill(tissue, f, texture)

    def fill(self, tissue: str, f: np.ndarray, texture=1.0, *, width: np.ndarray | None = None) -> None:
        """Paint where the implicit function `f` is negative; voxels on the edge get a mixture (partial volume).

        `texture` is a factor for the signal: a number, or a function that makes an array for a part of the canvas.
        `width` is the `voxel_width` of `f`, where it is known already.
        """
        inside = f < 0
        np.copyto(self.labels, self.number[tissue], where=inside)
        box = _tight_box(inside)  # partial volume and texture cost more than the shape: only where they matter
        part = self.view(box)
        if part.labels.size:
            factor = texture(part) if callable(texture) else texture
            cover = coverage(f[box], None if width is None else width[box])
            part.blend(cover, self.brightness[tissue] * factor)

    def blend(self, cover: np.ndarray, signal) -> None:
        """Replace the share `cover` of the signal by `signal`."""
        change = signal - self.signal
        change *= cover
        self.signal[...] += change


def _tight_box(inside: np.ndarray) -> tuple[slice, ...]:
    """Slices of the smallest box around the true voxels, one voxel wider on each side; empty where there are none."""
    box = []
    for axis in range(inside.ndim):
        others = tuple(a for a in range(inside.ndim) if a != axis)
        hits = np.flatnonzero(inside.any(axis=others))
        box.append(slice(max(hits[0] - 1, 0), hits[-1] + 2) if hits.size else slice(0, 0))
    return tuple(box)


def check_seed(seed) -> None:
    """Raise ``ValueError`` unless `seed` can be the number of a patient."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number from 0 up; got {seed!r}")


def check_grid(shape, spacing) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Return `shape` and `spacing` as tuples; raise ``ValueError`` unless they make a grid (z, y, x)."""
    whole = [n for n in np.atleast_1d(shape).tolist() if isinstance(n, int) and not isinstance(n, bool)]
    smallest = (1, 16, 16)
    if np.shape(shape) != (3,) or len(whole) != 3 or any(n < m for n, m in zip(whole, smallest, strict=True)):
        raise ValueError(f"shape must be three whole numbers of voxels (z, y, x), at least {smallest}; got {shape!r}")
    steps = np.atleast_1d(spacing).tolist()
    if np.shape(spacing) != (3,) or not all(isinstance(s, int | float) and 0 < s < np.inf for s in steps):
        raise ValueError(f"spacing must be three positive numbers of mm (z, y, x); got {spacing!r}")
    return tuple(whole), tuple(map(float, steps))
