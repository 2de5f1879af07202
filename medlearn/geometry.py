"""Changing the voxel grid: resample, crop, pad, reorient. World coordinates of what remains never change."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .errors import check_choice
from .volume import Volume, from_sitk, to_sitk

_INTERPOLATION = ("linear", "nearest")


def resample(volume: Volume, spacing: Sequence[float], *, interpolation: str) -> Volume:
    """Resample to another voxel size; the field of view stays, rounded to whole voxels around the same center.

    Parameters
    ----------
    volume : Volume
    spacing : sequence of float
        New distance between voxel centers in mm, in the order of the spatial axes, (z, y, x) or (y, x).
    interpolation : {"linear", "nearest"}
        Linear for images, nearest for labels. Integer images are rounded. Nothing is smoothed before making voxels
        larger: fine texture may alias.

    Returns
    -------
    Volume with the dtype of `volume`.
    """
    new = np.array([float(s) for s in spacing])
    old, shape = np.array(volume.spacing), np.array(volume.spatial_shape)
    if new.shape != old.shape or not (np.isfinite(new).all() and (new > 0).all()):
        raise ValueError(f"spacing must be {len(old)} positive numbers of mm; got {tuple(spacing)}")
    size = np.maximum(np.rint(shape * old / new), 1).astype(int)
    # The centers of both grids coincide: voxel (shape-1)/2 of the old is voxel (size-1)/2 of the new.
    first = (shape - 1) / 2 - (size - 1) / 2 * new / old
    grid = _grid(volume, size, new, volume.to_world(first))
    return _resample_onto(volume, grid, interpolation, outside=0)


def resample_like(volume: Volume, reference: Volume, *, interpolation: str, outside: float = 0) -> Volume:
    """Resample onto the grid of `reference` by world coordinates; voxels outside of `volume` become `outside`.

    Parameters
    ----------
    volume, reference : Volume
        With the same number of spatial axes.
    interpolation : {"linear", "nearest"}
        Linear for images, nearest for labels.
    outside : float
        Value where `reference` reaches beyond `volume`; in CT air is -1000, not 0.
    """
    if len(volume.spacing) != len(reference.spacing):
        raise ValueError(f"volume has axes {volume.axes!r}, reference has {reference.axes!r}: nothing to align")
    return _resample_onto(volume, reference, interpolation, outside)


def _grid(volume: Volume, size, spacing, origin) -> Volume:
    """An empty volume (no memory behind it) that carries a grid."""
    array = np.broadcast_to(np.uint8(0), tuple(size))
    return Volume(array=array, spacing=spacing, origin=origin, direction=volume.direction, axes=volume.axes.strip("tc"))


def _resample_onto(volume: Volume, grid: Volume, interpolation: str, outside: float) -> Volume:
    import SimpleITK as sitk

    check_choice("interpolation", interpolation, _INTERPOLATION)
    if "t" in volume.axes:
        frames = [
            _resample_onto(replace(volume, array=frame, axes=volume.axes[1:]), grid, interpolation, outside)
            for frame in volume.array
        ]
        return replace(frames[0], array=np.stack([frame.array for frame in frames]), axes=volume.axes)
    dtype = volume.array.dtype
    if interpolation == "linear" and dtype.kind != "f":  # ITK would truncate what it interpolates between integers
        volume = volume.map(np.ndarray.astype, np.float64)
    kind = sitk.sitkLinear if interpolation == "linear" else sitk.sitkNearestNeighbor
    image = sitk.Resample(to_sitk(volume), to_sitk(grid), sitk.Transform(), kind, float(outside))
    array = from_sitk(image).array
    array = array.reshape(grid.spatial_shape + volume.array.shape[len(volume.spacing) :])  # ITK drops a lone component
    if array.dtype.kind == "f" and dtype.kind != "f":
        array = np.rint(array)
    return replace(grid, array=array.astype(dtype), axes=volume.axes, meta=volume.meta)


def crop(volume: Volume, start: Sequence[int], shape: Sequence[int]) -> Volume:
    """Cut out a box.

    Parameters
    ----------
    volume : Volume
    start, shape : sequence of int
        First voxel and number of voxels along the spatial axes, (z, y, x) or (y, x).

    Raises
    ------
    ValueError
        If the box does not lie inside the volume.
    """
    start, shape = _whole_numbers("start", start, volume), _whole_numbers("shape", shape, volume)
    if (start < 0).any() or (shape < 1).any() or (start + shape > volume.spatial_shape).any():
        raise ValueError(
            f"the box from {tuple(start.tolist())} with shape {tuple(shape.tolist())} does not lie in a volume of "
            f"shape {volume.spatial_shape}"
        )
    box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    array = volume.array[(slice(None),) * volume.axes.startswith("t") + box]
    return replace(volume, array=array, origin=volume.to_world(start))


def pad(volume: Volume, before: Sequence[int], after: Sequence[int], *, value: float = 0) -> Volume:
    """Add voxels of one value around a volume; `before` and `after` count them along (z, y, x) or (y, x)."""
    before, after = _whole_numbers("before", before, volume), _whole_numbers("after", after, volume)
    if (before < 0).any() or (after < 0).any():
        raise ValueError(f"before and after must not be negative; got {tuple(before)} and {tuple(after)}")
    widths = [(0, 0)] * volume.axes.startswith("t") + list(zip(before, after, strict=True))
    widths += [(0, 0)] * volume.axes.endswith("c")
    array = np.pad(volume.array, widths, constant_values=value)
    return replace(volume, array=array, origin=volume.to_world(-before))


def crop_or_pad(volume: Volume, shape: Sequence[int], *, value: float = 0) -> Volume:
    """Bring a volume to `shape`, (z, y, x) or (y, x), by cropping and padding around its center."""
    shape = _whole_numbers("shape", shape, volume)
    have = np.array(volume.spatial_shape)
    cropped = crop(volume, np.maximum(have - shape, 0) // 2, np.minimum(have, shape))
    missing = np.maximum(shape - have, 0)
    return pad(cropped, missing // 2, missing - missing // 2, value=value)


def orient(volume: Volume, axes: str = "LPS") -> Volume:
    """Permute and flip the array so that its x, y, z index axes run towards the given sides of the patient.

    Parameters
    ----------
    volume : Volume
        With spatial axes ``zyx``. Oblique volumes keep their obliquity: only permutations and flips are used.
    axes : str
        For the x, y and z index axis the side it runs towards: one of L/R (left, right), one of P/A (posterior,
        anterior) and one of S/I (superior, inferior). ``"LPS"`` is the order of DICOM and ITK.
    """
    signs = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    wanted = [signs.get(letter) for letter in axes]
    if None in wanted or sorted(world for world, _ in wanted) != [0, 1, 2]:
        raise ValueError(f"axes must name one of L/R, one of P/A and one of S/I, such as 'LPS'; got {axes!r}")
    if len(volume.spacing) != 3:
        raise ValueError(f"only volumes with axes zyx have an orientation; got {volume.axes!r}")
    # Which index axis (x, y, z) runs closest to which world axis: the best assignment, so that 45° still works.
    from scipy.optimize import linear_sum_assignment

    _, index_of_world = linear_sum_assignment(-np.abs(volume.direction))
    order = [index_of_world[world] for world, _ in wanted]
    flip = [np.sign(volume.direction[world, index_of_world[world]]) != sign for world, sign in wanted]

    first = int(volume.axes.startswith("t"))
    to_array = [2 - i for i in order][::-1]  # index axes x, y, z are array axes 2, 1, 0
    moved = [*range(first), *(first + a for a in to_array), *range(first + 3, volume.array.ndim)]
    array = volume.array.transpose(moved)
    array = np.flip(array, [first + 2 - k for k in range(3) if flip[k]])
    corner = np.zeros(3)
    for k in range(3):
        if flip[k]:
            corner[2 - order[k]] = volume.spatial_shape[2 - order[k]] - 1
    return replace(
        volume,
        array=array,
        spacing=[volume.spacing[a] for a in to_array],
        origin=volume.to_world(corner),
        direction=volume.direction[:, order] * np.where(flip, -1, 1),
    )


def _whole_numbers(name: str, values: Sequence[int], volume: Volume) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (len(volume.spacing),) or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be {len(volume.spacing)} whole numbers ({volume.axes.strip('tc')}); got {values}"
        )
    return array
