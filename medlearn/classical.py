"""Segmentation by rule: thresholds, Otsu's choice of them, and regions that grow from a seed.

All functions take plain arrays of any real dtype, pictures (y, x) or volumes (z, y, x), and return plain arrays. Gray
values are compared as numbers: a difference of ``uint8`` values never wraps around, ``uint64`` is never rounded to a
float, a boolean image counts as 0 and 1. A voxel that is NaN belongs to no region.

The two kernels are compiled (Numba) at their first call for a dtype, which costs one or two seconds; the result is kept
on disk, so that later sessions only load it.
"""

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product, zip_longest
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from ._jit import compiled
from .errors import check_choice

# ---------------------------------------------------------------------------------------------------------- thresholds


def threshold(image: ArrayLike, *, lower: float | None = None, upper: float | None = None) -> np.ndarray:
    """Mark the voxels whose gray value lies in an interval; both bounds belong to it.

    Parameters
    ----------
    image : array
        Any shape, any real dtype.
    lower, upper : float, optional
        Bounds in gray values; one of them may be left out. Fractions keep their meaning for integer images: from 1.5
        on is from 2 on. For floating-point images a bound is first rounded to the image's own precision.

    Returns
    -------
    bool ndarray, same shape; False where `image` is NaN.

    Raises
    ------
    ValueError
        If no bound is given, a bound is NaN, or `lower` is above `upper`.
    TypeError
        If `image` or a bound is not made of real numbers.

    Examples
    --------
    >>> threshold([1, 2, 3, 4], lower=2, upper=3)
    array([False,  True,  True, False])
    """
    image = _as_numbers(image)
    lower, upper = _interval(image.dtype, lower, upper)
    return (image >= lower) & (image <= upper)


def gray_histogram(image: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Count the gray values.

    Parameters
    ----------
    image : array
        Any shape, any real dtype; values that are not finite are left out.

    Returns
    -------
    counts : (n,) array of int
    values : (n,) array
        The largest gray value of each bin. Integers get one bin per value from the smallest to the largest; floats, and
        integers that span 65,536 or more, get 256 bins of equal width.
    """
    values = _as_numbers(image).ravel()
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        raise ValueError("image must hold at least one finite gray value; it holds none")
    smallest, largest = values.min().item(), values.max().item()
    if values.dtype.kind in "iu" and largest - smallest < 2**16:
        # Both as int64: the wrap-around of uint64 and int64 cancels in the difference, which is small.
        offsets = values.astype(np.int64) - values.min().astype(np.int64)
        return np.bincount(offsets), np.array(range(smallest, largest + 1))
    counts, edges = np.histogram(values.astype(float), bins=256)
    return counts, edges[1:]


def between_class_variance(histogram: ArrayLike) -> np.ndarray:
    """Variance between the two classes that a threshold makes, for every threshold at once: w₀·w₁·(μ₀ − μ₁)².

    w₀ and μ₀ are the share and the mean of bins 0…t, w₁ and μ₁ those of the bins after t.

    Parameters
    ----------
    histogram : (n,) array
        Counts, 0 or more.

    Returns
    -------
    (n,) array of float64
        Entry t belongs to the threshold after bin t, in squared bin widths; 0 where a class is empty.

    References
    ----------
    N. Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 9 (1979) 62-66, eq. 18.

    Examples
    --------
    >>> between_class_variance([1, 0, 1])
    array([1., 1., 0.])
    """
    counts = np.asarray(histogram, float)
    if counts.ndim != 1 or not (counts >= 0).all() or not counts.sum() > 0:
        raise ValueError(f"histogram must be a row of counts, 0 or more, not all 0; got shape {counts.shape}")
    share = counts / counts.sum()
    w0, first_moment = np.cumsum(share), np.cumsum(share * np.arange(len(share)))
    weights = w0 * (1 - w0)
    # (μ₀ − μ₁) = (μ·w₀ − m₀) / (w₀·w₁): one division instead of two
    between = np.zeros(len(share))
    np.divide((first_moment[-1] * w0 - first_moment) ** 2, weights, out=between, where=weights > 1e-12)
    return between


def otsu_threshold(image: ArrayLike) -> float:
    """Otsu's threshold: the gray value that parts the histogram into two classes of the largest variance between them.

    The threshold itself belongs to the lower class: the foreground is ``image > otsu_threshold(image)``. Where several
    thresholds are equally good (an empty gap between two peaks) the smallest is taken. For integers this is the number
    that scikit-image and, on uint8, OpenCV return. Floats are sorted into 256 bins and the upper edge of a bin is
    returned, so that ``>`` makes the very classes that were compared (scikit-image returns the middle of the bin).

    Parameters
    ----------
    image : array
        Any shape, any real dtype; values that are not finite are left out.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If all gray values are equal: there are no two classes.

    References
    ----------
    N. Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 9 (1979) 62-66.

    Examples
    --------
    >>> otsu_threshold([10, 11, 12, 90, 91, 92])
    12.0
    """
    counts, values = gray_histogram(image)
    _check_classes(2, counts)
    return float(values[between_class_variance(counts).argmax()])


def multi_otsu(image: ArrayLike, n_classes: int) -> np.ndarray:
    """Otsu's method for several classes: thresholds that make the variance between the classes as large as possible.

    The best cuts are found exactly by dynamic programming: the best k classes up to a gray value are the best k − 1
    classes up to a smaller one, and one class more. Two classes cost next to nothing; every class beyond the third
    costs a number of steps that grows with the square of the number of different gray values.

    Parameters
    ----------
    image : array
        Any shape, any real dtype; values that are not finite are left out. Bins as in `gray_histogram`.
    n_classes : int
        2 or more.

    Returns
    -------
    (n_classes − 1,) array of float64, increasing
        Each threshold belongs to the class below it: ``np.digitize(image, thresholds, right=True)`` gives the classes
        0…n_classes − 1.

    Raises
    ------
    ValueError
        If the image has fewer different gray values than classes.

    References
    ----------
    P.-S. Liao, T.-S. Chen, P.-C. Chung, A fast algorithm for multilevel thresholding, J. Inf. Sci. Eng. 17 (2001)
    713-727.

    Examples
    --------
    >>> multi_otsu([0, 1, 50, 51, 90, 91], 3)
    array([ 1., 51.])
    """
    counts, values = gray_histogram(image)
    _check_classes(n_classes, counts)
    counts, values = counts[counts > 0], values[counts > 0].astype(float)
    n = len(counts)
    centered = counts * (values - np.average(values, weights=counts))  # small sums: nothing is lost in their squares
    number, total = (np.concatenate([[0], np.cumsum(column)]) for column in (counts, centered))

    best = np.full(n + 1, -np.inf)  # best[j]: the first j bins, Σ over classes of sum² / number
    best[1:] = total[1:] ** 2 / number[1:]
    cuts = []
    for k in range(2, n_classes + 1):
        previous, best = best, np.full(n + 1, -np.inf)
        cut = np.zeros(n + 1, int)
        for j in range(k, n + 1) if k < n_classes else [n]:
            candidates = previous[:j] + (total[j] - total[:j]) ** 2 / (number[j] - number[:j])
            cut[j] = candidates.argmax()
            best[j] = candidates[cut[j]]
        cuts.append(cut)

    ends = [n]
    for cut in reversed(cuts):
        ends.append(cut[ends[-1]])
    return values[np.array(ends[:0:-1]) - 1]


# ------------------------------------------------------------------------------------------------------ region growing


def region_grow(
    image: ArrayLike,
    seeds: Sequence[int] | Sequence[Sequence[int]],
    *,
    lower: float | None = None,
    upper: float | None = None,
    tolerance: float | None = None,
    connectivity: int = 1,
) -> np.ndarray:
    """Grow a region from seeds: all voxels that can be reached from one through voxels of similar gray value.

    *Similar* means in [lower, upper], or at most `tolerance` away from the gray value of the **seed**, not of the
    neighbor: many small steps do not add up. The bounds and the tolerance themselves belong to the region.

    Parameters
    ----------
    image : array, (y, x) or (z, y, x)
        Any real dtype.
    seeds : index or sequence of indices
        One voxel, ``(z, y, x)`` or ``(y, x)``, or several.
    lower, upper : float, optional
        Interval of gray values, see `threshold`. All seeds grow into one region.
    tolerance : float, optional
        0 or more, instead of `lower` and `upper`. Each of several seeds then has its own interval and grows on its own;
        the result is the union of their regions.
    connectivity : int
        Along how many axes a step may go at once: 1 for neighbors that share a face (4 in a picture, 6 in a volume;
        ITK's default), ``image.ndim`` for those that share a corner (8, 26; scikit-image's default).

    Returns
    -------
    bool ndarray, same shape

    Raises
    ------
    ValueError
        If a seed lies outside the image, or its gray value outside the interval (nothing would grow), or the interval
        is given twice or not at all.
    TypeError
        If `image`, a bound or a seed is not made of numbers of the right kind.

    References
    ----------
    R. Adams, L. Bischof, Seeded region growing, IEEE TPAMI 16 (1994) 641-647. With `lower` and `upper` the voxels are
    those of ITK's ConnectedThresholdImageFilter.

    Notes
    -----
    Rows are filled run by run (scanline flood fill), so the time depends on the region, not on the image.

    Examples
    --------
    >>> region_grow([[5, 6, 9], [5, 9, 6]], (0, 0), tolerance=1).astype(int)
    array([[1, 1, 0],
           [1, 0, 0]])
    """
    image = _as_image(image)
    check_choice("connectivity", connectivity, range(1, image.ndim + 1))
    growths = _growths(image, _as_seeds(seeds, image), lower, upper, tolerance)
    return reduce(np.logical_or, (_grow(image, starts, *interval, connectivity) for starts, interval in growths))


def region_grow_steps(
    image: ArrayLike,
    seeds: Sequence[int] | Sequence[Sequence[int]],
    *,
    lower: float | None = None,
    upper: float | None = None,
    tolerance: float | None = None,
    connectivity: int = 1,
) -> Iterator[np.ndarray]:
    """Show how a region grows: the voxels of each step from the seeds outward, one wavefront after the other.

    Parameters are those of `region_grow`, and so are the errors, which come at once and not with the first step.

    Yields
    ------
    bool ndarray, same shape as `image`
        The seeds first, then in each step the neighbors that are new. No two wavefronts share a voxel; together they
        are the result of `region_grow`.

    Examples
    --------
    >>> fronts = list(region_grow_steps([[1, 1, 1, 9]], (0, 0), tolerance=0))
    >>> np.sum([front * step for step, front in enumerate(fronts, start=1)], axis=0)
    array([[1, 2, 3, 0]])
    """
    image = _as_image(image)
    check_choice("connectivity", connectivity, range(1, image.ndim + 1))
    growths = _growths(image, _as_seeds(seeds, image), lower, upper, tolerance)
    return _merged([_wavefronts(image, starts, *interval, connectivity) for starts, interval in growths])


def confidence_grow(
    image: ArrayLike,
    seeds: Sequence[int] | Sequence[Sequence[int]],
    *,
    k: float = 4.5,
    n_iterations: int = 4,
    radius: int = 1,
) -> np.ndarray:
    """Grow a region whose interval is learned from the region itself: mean ± k standard deviations.

    The first interval comes from the boxes around the seeds; the region grows through faces; the interval is taken
    again from all of the region's voxels, and so on. It is always widened to hold the gray values of the seeds.

    Parameters
    ----------
    image : array, (y, x) or (z, y, x)
        Any real dtype.
    seeds : index or sequence of indices
        One voxel, ``(z, y, x)`` or ``(y, x)``, or several.
    k : float
        Half the width of the interval in standard deviations; 0 or more.
    n_iterations : int
        How often the interval is computed again; 0 or more.
    radius : int
        The first box reaches this many voxels to each side of a seed; 1 or more. Beyond the border of the image the
        outermost voxels are repeated.

    Returns
    -------
    bool ndarray, same shape

    Raises
    ------
    ValueError
        If a seed lies outside the image or is not finite, or a parameter is out of its range.

    References
    ----------
    The algorithm is that of ITK's ConfidenceConnectedImageFilter, voxel by voxel: variance with n − 1, and for integer
    images bounds cut off toward zero. Only a region of a single voxel, of which ITK makes nothing, stays here.
    """
    image = _as_image(image)
    seeds = _as_seeds(seeds, image)
    for name, value, least in (("k", k, 0), ("n_iterations", n_iterations, 0), ("radius", radius, 1)):
        if not value >= least:
            raise ValueError(f"{name} must be {least} or more; got {value!r}")
    at_seeds = image[tuple(seeds.T)]
    _check_finite(seeds, at_seeds)
    sample = np.concatenate([_box(image, seed, radius).ravel() for seed in seeds])
    interval = None
    for _ in range(n_iterations + 1):
        interval, before = _confidence_interval(sample, k, at_seeds), interval
        if interval == before:  # the region would be the same, and so would all that follow
            break
        region = _grow(image, seeds, *interval, connectivity=1)
        sample = image[region]
    return region


def leak_curve(
    image: ArrayLike, seed: Sequence[int], tolerances: Sequence[float], *, connectivity: int = 1
) -> np.ndarray:
    """Size of the region for every tolerance: where the curve jumps, the region leaks into its surroundings.

    Entry i equals ``region_grow(image, seed, tolerance=tolerances[i], connectivity=connectivity).sum()``, but all are
    found in one pass: each voxel is visited once, at the smallest tolerance that reaches it, which is the smallest
    possible *largest* difference from the seed along a path (a minimax path).

    Parameters
    ----------
    image : array, (y, x) or (z, y, x)
        Any real dtype.
    seed : index
        One voxel, ``(z, y, x)`` or ``(y, x)``.
    tolerances : sequence of float
        0 or more, in any order.
    connectivity : int
        See `region_grow`.

    Returns
    -------
    array of int, as long as `tolerances`
        Numbers of voxels.

    Raises
    ------
    ValueError
        If the seed lies outside the image or is not finite, or a tolerance is below 0.

    Examples
    --------
    >>> leak_curve([[0, 1, 3, 1]], (0, 0), [0, 1, 2, 3])
    array([1, 2, 2, 4])
    """
    image = _as_image(image)
    check_choice("connectivity", connectivity, range(1, image.ndim + 1))
    seeds = _as_seeds(seed, image)
    if len(seeds) != 1:
        raise ValueError(f"seed must be one index; got {len(seeds)}")
    ordered, order = np.unique(tolerances, return_inverse=True)
    if not ordered.size:
        raise ValueError("tolerances must hold at least one number; got none")
    at_seed = image[tuple(seeds.T)]
    _check_finite(seeds, at_seed)
    intervals = [_around(at_seed[0], tolerance) for tolerance in ordered]
    lowers, uppers = (np.array(bounds, image.dtype) for bounds in zip(*intervals, strict=True))
    # level of a voxel: the first interval that holds it, len(ordered) if none does; NaN is sorted behind all numbers
    level = np.searchsorted(uppers, image)
    np.maximum(level, len(ordered) - np.searchsorted(lowers[::-1], image, side="right"), out=level)
    added = _count_by_level(_in_3d(level), _seeds_in_3d(seeds)[0], _neighbors(connectivity), len(ordered))
    return np.cumsum(added)[order]


# ------------------------------------------------------------------------------------------------------------- kernels


@compiled
def _flood(image, lower, upper, seeds, rows, region):
    """Scanline flood fill of `region`: a stack of runs, each of which looks for voxels in the rows beside it."""
    depth, height, width = image.shape
    runs = [(z, y, x, x) for z, y, x in seeds]
    while runs:
        z0, y0, left, right = runs.pop()
        for dz, dy, reach in rows:
            z, y = z0 + dz, y0 + dy
            if not (0 <= z < depth and 0 <= y < height):
                continue
            x, last = max(left - reach, 0), min(right + reach, width - 1)
            while x <= last:
                if region[z, y, x] or not lower <= image[z, y, x] <= upper:
                    x += 1
                    continue
                first = x
                while first > 0 and lower <= image[z, y, first - 1] <= upper:
                    first -= 1
                while x < width and lower <= image[z, y, x] <= upper:
                    x += 1
                region[z, y, first:x] = True
                runs.append((z, y, first, x - 1))


@compiled
def _count_by_level(level, seed, neighbors, n_levels):
    """Number of voxels that each level adds to the region of the seed; a bucket of waiting voxels for each level.

    A bucket is a chain: `newest` holds its head, `older` the next voxel after each.
    """
    depth, height, width = level.shape
    newest, older = np.full(n_levels, -1), np.full(level.size, -1)
    seen, added = np.zeros(level.shape, np.bool_), np.zeros(n_levels, np.int64)
    z, y, x = seed
    seen[z, y, x], newest[0] = True, (z * height + y) * width + x
    for current in range(n_levels):
        while newest[current] >= 0:
            voxel = newest[current]
            newest[current] = older[voxel]
            added[current] += 1
            row, x0 = divmod(voxel, width)
            z0, y0 = divmod(row, height)
            for dz, dy, dx in neighbors:
                z, y, x = z0 + dz, y0 + dy, x0 + dx
                if not (0 <= z < depth and 0 <= y < height and 0 <= x < width):
                    continue
                if seen[z, y, x] or level[z, y, x] >= n_levels:
                    continue
                seen[z, y, x] = True
                arrival, neighbor = max(current, level[z, y, x]), (z * height + y) * width + x
                older[neighbor], newest[arrival] = newest[arrival], neighbor
    return added


# ------------------------------------------------------------------------------------------------------------- helpers


def _grow(image, seeds, lower, upper, connectivity):
    region = np.zeros(image.shape, bool)  # costs nothing until it is written to: a small region stays cheap
    rows = [
        # A seed is a run of one voxel that may lie in a longer one: so a run looks into its own row as well.
        (dz, dy, int(abs(dz) + abs(dy) < connectivity))
        for dz, dy in product((-1, 0, 1), repeat=2)
        if abs(dz) + abs(dy) <= connectivity
    ]
    _flood(_in_3d(image), lower, upper, _seeds_in_3d(seeds), np.array(rows), _in_3d(region))
    return region


def _wavefronts(image, seeds, lower, upper, connectivity):
    free = np.pad((image >= lower) & (image <= upper), 1)  # a frame of False: no step leaves the image
    shape = free.shape
    strides = np.ravel_multi_index(np.eye(image.ndim, dtype=int), shape)
    steps = _neighbors(connectivity, image.ndim) @ strides
    free = free.ravel()
    front = np.unique((seeds + 1) @ strides)
    while front.size:
        free[front] = False
        wave = np.zeros(image.shape, bool)
        wave[tuple(index - 1 for index in np.unravel_index(front, shape))] = True
        yield wave
        near = (front[:, None] + steps).ravel()
        front = np.unique(near[free[near]])


def _merged(growths):
    """Wavefronts of several growths, step by step together; what an earlier step brought is not shown again."""
    seen = None
    for waves in zip_longest(*growths):
        wave = reduce(np.logical_or, [w for w in waves if w is not None])
        if len(growths) > 1:
            wave = wave if seen is None else wave & ~seen
            seen = wave if seen is None else wave | seen
        if wave.any():
            yield wave


def _neighbors(connectivity, ndim=3):
    offsets = np.array(list(product((-1, 0, 1), repeat=ndim)))
    steps = np.abs(offsets).sum(axis=1)
    return offsets[(steps > 0) & (steps <= connectivity)]


def _growths(image, seeds, lower, upper, tolerance):
    """Pairs of seeds and the interval they grow in: one for all, or one for each gray value under the seeds."""
    at_seeds = image[tuple(seeds.T)]
    if tolerance is None:
        interval = _interval(image.dtype, lower, upper)
        _check_inside(seeds, at_seeds, interval)
        return [(seeds, interval)]
    if lower is not None or upper is not None:
        raise ValueError("give either tolerance, or lower and upper; got both")
    _check_finite(seeds, at_seeds)
    return [(seeds[at_seeds == value], _around(value, tolerance)) for value in np.unique(at_seeds)]


def _around(value, tolerance):
    tolerance = _as_number("tolerance", tolerance)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be a gray-level difference, 0 or more; got {tolerance!r}")
    number = value.item()  # a Python number neither wraps around nor saturates
    return _interval(value.dtype, number - tolerance, number + tolerance)


def _interval(dtype, lower, upper):
    """The bounds as two numbers of the image's own type; (1, 0) if none of its numbers lies between them."""
    if lower is None and upper is None:
        raise ValueError("give the interval of gray values: lower, upper or both (to grow from seeds also tolerance)")
    lower = -math.inf if lower is None else _as_number("lower", lower)
    upper = math.inf if upper is None else _as_number("upper", upper)
    if not lower <= upper:
        raise ValueError(f"lower must not be above upper, and neither may be NaN; got lower {lower}, upper {upper}")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # a bound beyond the type's range is infinite for it
            return dtype.type(lower), dtype.type(upper)
    limits = np.iinfo(dtype)
    if lower > limits.max or upper < limits.min:
        return dtype.type(1), dtype.type(0)
    lower = math.ceil(max(lower, limits.min))
    upper = math.floor(min(upper, limits.max))
    return (dtype.type(lower), dtype.type(upper)) if lower <= upper else (dtype.type(1), dtype.type(0))


def _confidence_interval(sample, k, at_seeds):
    dtype = sample.dtype
    sample = sample.astype(float)
    sample = sample[np.isfinite(sample)]
    total, n = sample.sum(), sample.size
    variance = max((np.square(sample).sum() - total**2 / n) / max(n - 1, 1), 0)  # in this form to round as ITK does
    reach = k * math.sqrt(variance)
    bounds = [min(total / n - reach, at_seeds.min()), max(total / n + reach, at_seeds.max())]
    if dtype.kind == "f":
        return tuple(dtype.type(bound) for bound in bounds)
    limits = np.iinfo(dtype)
    return tuple(dtype.type(min(max(int(bound), limits.min), limits.max)) for bound in bounds)  # int() cuts toward zero


def _box(image, center, radius):
    """The box around a voxel; outside the image the nearest voxel stands in."""
    ranges = [
        np.clip(np.arange(c - radius, c + radius + 1), 0, n - 1) for c, n in zip(center, image.shape, strict=True)
    ]
    return image[np.ix_(*ranges)]


def _in_3d(array):
    return array.reshape((1,) * (3 - array.ndim) + array.shape)


def _seeds_in_3d(seeds):
    in_3d = np.zeros((len(seeds), 3), np.int64)
    in_3d[:, 3 - seeds.shape[1] :] = seeds
    return in_3d


# -------------------------------------------------------------------------------------------------------------- checks


def _as_numbers(image):
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"image must be an array of real numbers; got {type(image).__name__} with dtype {array.dtype}. "
            "Of a Volume take volume.array, or use volume.map(function)"
        )
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)  # Numba knows only these two
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _as_image(image):
    image = _as_numbers(image)
    if image.ndim not in (2, 3):
        raise ValueError(f"image must have 2 axes (y, x) or 3 (z, y, x); got shape {image.shape}")
    return np.ascontiguousarray(image)


def _as_seeds(seeds, image):
    """Seeds as an (n, ndim) array of int that lie in the image."""
    axes = "(z, y, x)" if image.ndim == 3 else "(y, x)"
    try:
        indices = np.atleast_2d(np.asarray(seeds))
    except ValueError:  # ragged
        indices = np.empty((0, 0))
    if indices.ndim != 2 or indices.shape[1] != image.ndim or not len(indices):
        raise ValueError(f"seeds must be one index {axes} or a sequence of them; got {seeds!r}")
    if indices.dtype.kind not in "iu":
        raise TypeError(f"seeds must be whole numbers, voxel indices {axes}; got {seeds!r}: round them first")
    outside = ((indices < 0) | (indices >= image.shape)).any(axis=1)
    if outside.any():
        raise ValueError(
            f"seed {_shown(indices[outside][0])} lies outside the image, whose shape {axes} is {image.shape}; "
            "indices count from 0, in the order of the array's axes"
        )
    return indices.astype(np.int64)


def _check_inside(seeds, at_seeds, interval):
    lower, upper = interval
    outside = ~((at_seeds >= lower) & (at_seeds <= upper))
    if outside.any():
        bounds = f"{lower} to {upper}" if lower <= upper else "given, which holds no value of the image's type"
        seed, value = _shown(seeds[outside][0]), at_seeds[outside][0]
        raise ValueError(
            f"seed {seed} has the gray value {value}, outside the interval {bounds}: nothing can grow from it; "
            "move the seed or widen the interval"
        )


def _check_finite(seeds, at_seeds):
    wrong = ~np.isfinite(at_seeds)
    if wrong.any():
        raise ValueError(
            f"seed {_shown(seeds[wrong][0])} has the gray value {at_seeds[wrong][0]}, from which no difference can be "
            "taken; move the seed"
        )


def _check_classes(n_classes, counts):
    found = np.count_nonzero(counts)
    if not n_classes >= 2:
        raise ValueError(f"n_classes must be 2 or more; got {n_classes!r}")
    if found < n_classes:
        raise ValueError(
            f"image must hold at least {n_classes} different gray values for {n_classes} classes; it holds {found}"
        )


def _as_number(name, value):
    value = value.item() if isinstance(value, np.generic | np.ndarray) and value.size == 1 else value
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; got {value!r}")
    return value


def _shown(index):
    return tuple(int(i) for i in index)
