"""Cleaning a mask: its largest part, its holes, its fringes and cracks.

Masks are arrays (y, x) or (z, y, x), boolean or 0 and 1; the result is always a new boolean array.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from .errors import check_choice, check_positive


def largest_component(mask: ArrayLike, *, connectivity: int = 1) -> np.ndarray:
    """Keep the connected part with the most voxels; of equally large parts the first in the order of the array.

    Parameters
    ----------
    mask : array, bool or {0, 1}
    connectivity : int
        1 for neighbors that share a face, ``mask.ndim`` for those that share a corner.

    Returns
    -------
    bool ndarray, same shape; empty if `mask` is.

    Examples
    --------
    >>> largest_component([[1, 0, 1, 1]]).astype(int)
    array([[0, 0, 1, 1]])
    """
    mask = _as_mask(mask)
    check_choice("connectivity", connectivity, range(1, mask.ndim + 1))
    labels, n_parts = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, connectivity))
    if not n_parts:
        return mask.copy()
    sizes = np.bincount(labels.ravel())
    return labels == 1 + sizes[1:].argmax()


def fill_holes(mask: ArrayLike, *, axis: int | None = None) -> np.ndarray:
    """Fill the background that cannot reach the border of the array through face neighbors.

    Parameters
    ----------
    mask : array, bool or {0, 1}
    axis : int, optional
        Treat each slice across this axis as a picture of its own: 0 for the slices of a (z, y, x) volume. Without it a
        hole must be closed on all sides in three dimensions: a tunnel through the slices stays open.

    Returns
    -------
    bool ndarray, same shape; it holds all of `mask`.

    Examples
    --------
    >>> fill_holes([[1, 1, 1], [1, 0, 1], [1, 1, 1]]).all()
    np.True_
    """
    mask = _as_mask(mask)
    if axis is not None:
        check_choice("axis", axis, range(mask.ndim))
    faces = ndimage.generate_binary_structure(mask.ndim, 1)
    if axis is not None:
        np.moveaxis(faces, axis, 0)[[0, 2]] = False  # no way from slice to slice
    labels, n_parts = ndimage.label(~mask, faces)
    hole = np.ones(n_parts + 1, bool)  # entry 0 is the mask itself
    for side in range(mask.ndim):
        if side != axis:
            hole[labels.take([0, -1], axis=side)] = False
    return mask | hole[labels]


def opening(mask: ArrayLike, *, radius_mm: float, spacing: Sequence[float]) -> np.ndarray:
    """Remove what is too thin for a ball: the union of all balls of `radius_mm` that fit into the mask.

    A ball is the set of voxels whose centers are at most `radius_mm` away from that of its middle voxel, in mm, so it
    spans fewer slices than pixels where slices are thick, and is a single voxel where `radius_mm` is below the spacing.
    Erosion and dilation by it are thresholds of the Euclidean distance transform: the time does not depend on the
    radius. Beyond the border of the array the mask is taken to go on, so one that the border cuts off is not eroded
    from there.

    Parameters
    ----------
    mask : array, bool or {0, 1}
    radius_mm : float
        Radius of the ball in mm.
    spacing : sequence of float
        Distance between voxel centers in mm, one number for each axis of `mask`.

    Returns
    -------
    bool ndarray, same shape; `mask` holds all of it, and a second opening changes nothing.

    Raises
    ------
    ValueError
        If radius or spacing are not positive or do not fit the mask.

    References
    ----------
    J. Serra, Image Analysis and Mathematical Morphology, Academic Press 1982, chapter II.

    Examples
    --------
    >>> opening([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]], radius_mm=1, spacing=(1, 1)).astype(int)
    array([[1, 1, 1, 0, 0, 0],
           [1, 1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0, 0]])
    """
    mask = _as_mask(mask)
    margins = _margins(mask, radius_mm, spacing)
    box = _bounding_box(mask, margins)
    opened = np.zeros(mask.shape, bool)
    framed = _frame(mask[box], margins, outside=True)
    opened[box] = mask[box] & _unframe(_dilate(_erode(framed, radius_mm, spacing), radius_mm, spacing), margins)
    return opened


def closing(mask: ArrayLike, *, radius_mm: float, spacing: Sequence[float]) -> np.ndarray:
    """Fill what is too thin for a ball: all voxels that no ball of `radius_mm` outside the mask can cover.

    Parameters, ball and errors are those of `opening`, which does the same to the background. Beyond the border of the
    array there is background, so the mask neither grows toward the border nor is eroded from there.

    Returns
    -------
    bool ndarray, same shape; it holds all of `mask`, and a second closing changes nothing.

    Examples
    --------
    >>> closing([[1, 1, 1], [1, 0, 1], [1, 1, 1]], radius_mm=1, spacing=(1, 1)).all()
    np.True_
    """
    mask = _as_mask(mask)
    margins = _margins(mask, radius_mm, spacing)
    box = _bounding_box(mask, margins)
    closed = np.zeros(mask.shape, bool)
    framed = _frame(mask[box], margins, outside=False)
    closed[box] = _unframe(_erode(_dilate(framed, radius_mm, spacing), radius_mm, spacing), margins)
    return closed


def _dilate(mask, radius_mm, spacing):
    if not mask.any():
        return mask
    # 3 × 0.1 is a little more than 0.3: a voxel exactly one radius away must count
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius_mm * (1 + 1e-9)


def _erode(mask, radius_mm, spacing):
    return ~_dilate(~mask, radius_mm, spacing)


def _margins(mask, radius_mm, spacing):
    """Room for the ball on each side, in voxels, and one voxel more."""
    check_positive("radius_mm", radius_mm, "mm")
    values = np.asarray(spacing, float)
    if values.shape != (mask.ndim,) or not ((values > 0) & np.isfinite(values)).all():
        raise ValueError(f"spacing must be {mask.ndim} positive numbers of mm, one for each axis; got {spacing!r}")
    return np.ceil(radius_mm / values).astype(int) + 1


def _bounding_box(mask, margins):
    """What lies farther from the mask than a ball reaches changes nothing: most of an image is not organ."""
    if not mask.any():
        return (slice(0, 0),) * mask.ndim
    (found,) = ndimage.find_objects(mask.view(np.uint8))
    return tuple(slice(max(side.start - m, 0), side.stop + m) for side, m in zip(found, margins, strict=True))


def _frame(mask, margins, outside):
    return np.pad(mask, [(m, m) for m in margins], constant_values=outside)


def _unframe(mask, margins):
    return mask[tuple(slice(m, -m) for m in margins)]


def _as_mask(mask):
    array = np.asarray(mask)
    if array.ndim not in (2, 3):
        raise ValueError(f"mask must have 2 axes (y, x) or 3 (z, y, x); got shape {array.shape}")
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iuf" or not ((array == 0) | (array == 1)).all():
        raise ValueError(
            f"mask must be boolean or 0 and 1; got {array.dtype} with other values. Threshold probabilities first "
            "(mask >= 0.5), or choose a label (mask == 2)"
        )
    return array == 1
