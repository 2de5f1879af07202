"""The one data type: an array of voxels that knows where it lies in the patient.

Everything per voxel is written in the order of the array, (z, y, x); everything in the world is LPS (x, y, z) in
millimeters: x grows to the patient's left, y to the back (posterior), z to the head (superior). This module and
`medlearn.io` are the only places that reverse one order into the other.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import GridMismatchError

if TYPE_CHECKING:
    import SimpleITK as sitk

_AXES = re.compile(r"t?(zyx|yx)c?")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Volume:
    """An image with its geometry.

    Parameters
    ----------
    array : ndarray
        Voxels; the axes are named by `axes`. Stored in native byte order and C-contiguous.
    spacing : tuple of float
        Distance between voxel centers in mm, in the order of the spatial axes of `array`: (z, y, x) or (y, x).
    origin : tuple of 3 floats
        Center of voxel (0, 0, 0) in mm, world LPS (x, y, z).
    direction : (3, 3) array
        Columns are the world directions of the x, y and z index axes (as in ITK); orthonormal.
    axes : str
        Optional ``t`` (time), then ``zyx`` or ``yx``, then optional ``c`` (components, such as colors). A picture
        without patient coordinates is ``yx``; a single slice of a patient is ``zyx`` with one slice.
    meta : mapping
        Header facts without identifiers (modality, series description, b-value ...).

    Raises
    ------
    ValueError
        If axes, shape, spacing, origin and direction do not fit together.
    """

    array: np.ndarray
    spacing: tuple[float, ...]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    axes: str = "zyx"
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        array = np.asarray(self.array)
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        if not _AXES.fullmatch(self.axes):
            raise ValueError(f"axes must be [t]zyx[c] or [t]yx[c]; got {self.axes!r}")
        if array.ndim != len(self.axes):
            raise ValueError(
                f"axes {self.axes!r} name {len(self.axes)} dimensions, but the array has shape {array.shape}"
            )
        if array.size == 0:
            raise ValueError(f"the array holds no voxels: its shape is {array.shape} ({self.axes})")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"voxels must be numbers or booleans; got dtype {array.dtype}")
        spacing = tuple(float(s) for s in self.spacing)
        spatial = self.axes.strip("tc")
        if len(spacing) != len(spatial) or not all(0 < s < np.inf for s in spacing):
            raise ValueError(f"spacing must be {len(spatial)} positive numbers of mm ({spatial}); got {self.spacing}")
        origin = tuple(float(o) for o in self.origin)
        if len(origin) != 3 or not np.isfinite(origin).all():
            raise ValueError(f"origin must be 3 finite numbers of mm, LPS (x, y, z); got {self.origin}")
        direction = np.array(self.direction, float)
        if direction.shape != (3, 3) or not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
            raise ValueError(
                f"direction must be a 3×3 matrix with orthonormal columns; got\n{np.asarray(self.direction)}"
            )
        direction.flags.writeable = False
        for name, value in (("array", array), ("spacing", spacing), ("origin", origin), ("direction", direction)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    def __repr__(self):
        shape = "×".join(map(str, self.shape))
        spacing = "×".join(f"{s:g}" for s in self.spacing)
        return f"Volume({shape} {self.axes}, {self.array.dtype}, {spacing} mm)"

    def __reduce__(self):  # a mapping proxy cannot be pickled
        state = self.array, self.spacing, self.origin, self.direction, self.axes, dict(self.meta)
        return _rebuild, state

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, all axes."""
        return self.array.shape

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Number of voxels along the spatial axes: (z, y, x) or (y, x)."""
        first = 1 if "t" in self.axes else 0
        return self.array.shape[first : first + len(self.spacing)]

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³ (area of one pixel in mm² for a picture)."""
        return float(np.prod(self.spacing))

    @property
    def affine(self) -> np.ndarray:
        """4×4 matrix from voxel index (z, y, x, 1) to world point (x, y, z, 1) in mm. A picture has z = 0."""
        spacing = np.array((1.0,) * (3 - len(self.spacing)) + self.spacing)
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction[:, ::-1] * spacing
        matrix[:3, 3] = self.origin
        return matrix

    def to_world(self, index) -> np.ndarray:
        """World points (…, 3) in mm, LPS (x, y, z), of voxel indices (…, 3) as (z, y, x), or (…, 2) as (y, x)."""
        index = self._check_index(index)
        matrix = self.affine[:3, 3 - len(self.spacing) :]
        return index @ matrix[:, :-1].T + matrix[:, -1]

    def to_index(self, point) -> np.ndarray:
        """Voxel indices (…, 3) as (z, y, x), fractional, of world points (…, 3) in mm, LPS (x, y, z)."""
        point = np.asarray(point, float)
        if point.shape[-1:] != (3,):
            raise ValueError(f"a world point has 3 coordinates (x, y, z); got shape {point.shape}")
        inverse = np.linalg.inv(self.affine)
        index = point @ inverse[:3, :3].T + inverse[:3, 3]
        return index[..., 3 - len(self.spacing) :]

    def _check_index(self, index):
        index, n = np.asarray(index, float), len(self.spacing)
        if index.shape[-1:] != (n,):
            wanted = "(z, y, x)" if n == 3 else "(y, x)"
            raise ValueError(f"a voxel index of this volume is {wanted}; got shape {index.shape}")
        return index

    def map(self, function: Callable[..., np.ndarray], *args, **kwargs) -> "Volume":
        """Apply an array function to the voxels and keep the geometry.

        Raises
        ------
        ValueError
            If `function` changes the shape: the old spacing would then be wrong.
        """
        array = np.asarray(function(self.array, *args, **kwargs))
        if array.shape != self.shape:
            name = getattr(function, "__name__", repr(function))
            raise ValueError(
                f"{name} changed the shape from {self.shape} to {array.shape}; "
                "map keeps the geometry, so the shape must stay"
            )
        return replace(self, array=array)

    def grid_distance(self, other: "Volume") -> float:
        """How far apart two grids are: the largest distance between corresponding corners in mm; inf if shapes differ.

        Corners decide because a small rotation moves them most.
        """
        if self.spatial_shape != other.spatial_shape:
            return float("inf")
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.spatial_shape], indexing="ij"), -1)
        return float(np.linalg.norm(self.to_world(corners) - other.to_world(corners), axis=-1).max())

    def check_same_grid(self, other: "Volume", what: str = "the volumes") -> None:
        """Raise `GridMismatchError` unless both grids agree to 0.2 × the smallest spacing; warn above 0.001 voxel."""
        distance, smallest = self.grid_distance(other), min(self.spacing)
        if not distance <= 0.2 * smallest:
            raise GridMismatchError(
                f"{what} do not lie on the same grid:\n  {self.geometry}\n  {other.geometry}\n"
                "Nothing is resampled silently; medlearn.resample_like(volume, reference, interpolation=...) does it."
            )
        if distance > 1e-3 * smallest:
            warnings.warn(f"{what}: the grids differ by {distance:.3g} mm at a corner", stacklevel=3)

    @property
    def geometry(self) -> str:
        """Shape, spacing, origin and direction in one line, for messages."""
        return (
            f"shape {self.spatial_shape}, spacing {_numbers(self.spacing)} mm, origin {_numbers(self.origin)} mm, "
            f"direction {_numbers(self.direction.ravel())}"
        )


def _rebuild(array, spacing, origin, direction, axes, meta):
    return Volume(array=array, spacing=spacing, origin=origin, direction=direction, axes=axes, meta=meta)


def _numbers(values) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in values) + ")"


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One examination: an image and, where somebody drew it, a mask on the same grid.

    Parameters
    ----------
    id : str
        Name of the case, unique in its data set.
    image : Volume
    mask : Volume or None
        Integer labels, 0 = background. Booleans and floats that hold whole numbers are converted.

    Raises
    ------
    GridMismatchError
        If mask and image do not lie on the same grid (`Volume.check_same_grid`).
    ValueError
        If the mask holds anything but whole, non-negative numbers.
    """

    id: str
    image: Volume
    mask: Volume | None = None

    def __post_init__(self):
        if self.mask is None:
            return
        self.image.check_same_grid(self.mask, f"image and mask of case {self.id}")
        labels = as_labels(self.mask.array, f"mask of case {self.id}")
        object.__setattr__(self, "mask", replace(self.mask, array=labels))


def as_labels(array: np.ndarray, what: str = "mask") -> np.ndarray:
    """Return `array` in the smallest unsigned integer type; raise ``ValueError`` if it does not hold labels."""
    lowest, highest = array.min(), array.max()
    if array.dtype.kind == "f" and not (np.isfinite([lowest, highest]).all() and (array == np.rint(array)).all()):
        raise ValueError(f"{what} must hold whole numbers (labels); got {array.dtype} values such as {highest:g}")
    if lowest < 0:
        raise ValueError(f"{what} must hold labels from 0 up; got {lowest:g}")
    return array.astype(np.min_scalar_type(int(highest)), copy=False)


def to_sitk(volume: Volume) -> "sitk.Image":
    """Convert to a SimpleITK image of 2 or 3 dimensions, or 4 with the ``t`` axis; components become a vector image."""
    import SimpleITK as sitk

    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    array = array.astype(np.float32) if array.dtype == np.float16 else array
    image = sitk.GetImageFromArray(array, isVector="c" in volume.axes)
    n = len(volume.spacing)
    time = "t" in volume.axes
    image.SetSpacing(volume.spacing[::-1] + (1.0,) * time)
    image.SetOrigin(volume.origin[:n] + (0.0,) * time)
    direction = np.eye(n + time)
    direction[:n, :n] = volume.direction[:n, :n]
    image.SetDirection(direction.ravel())
    return image


def from_sitk(image: "sitk.Image", meta: Mapping[str, Any] = MappingProxyType({})) -> Volume:
    """Convert from a SimpleITK image of 2 (``yx``), 3 (``zyx``) or 4 (``tzyx``) dimensions, with or without components.

    Origins and directions of pictures are kept as far as they lie in the plane.
    """
    import SimpleITK as sitk

    dimension = image.GetDimension()
    if dimension not in (2, 3, 4):
        raise ValueError(f"only images of 2, 3 or 4 dimensions can be converted; got {dimension}")
    n = min(dimension, 3)
    direction = np.eye(3)
    direction[:n, :n] = np.array(image.GetDirection()).reshape(dimension, dimension)[:n, :n]
    return Volume(
        array=sitk.GetArrayFromImage(image),
        spacing=image.GetSpacing()[:n][::-1],
        origin=tuple(image.GetOrigin()[:n]) + (0.0,) * (3 - n),
        direction=direction,
        axes={2: "yx", 3: "zyx", 4: "tzyx"}[dimension] + "c" * (image.GetNumberOfComponentsPerPixel() > 1),
        meta=meta,
    )
