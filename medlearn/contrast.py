"""Contrast: histogram equalization, global, adaptive, and contrast-limited (CLAHE) with its four steps.

CLAHE in one sentence: divide the image into tiles, count each tile's gray values (`tile_histograms`), cut the bins that
are too tall and share out what was cut (`clip_histogram`), turn each histogram into a mapping of gray values
(`tile_mappings`), and send each pixel through the mappings of the tiles around it, blended (`interpolate_mappings`).

The conventions are OpenCV's (its 4.x and 5.x), down to the order of the float32 operations: so the pixels are the same.
Tiles may have any number of axes. Two are a picture's; with three, a volume is equalized in boxes.

Equal gray values in, unequal out: never threshold after CLAHE, and never read Hounsfield units or an ADC from it.
"""

import math
from collections.abc import Sequence
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .errors import check_choice

PARAMETERS = MappingProxyType(
    {
        "OpenCV": {
            "function": "createCLAHE",
            "clip limit": "× the mean bin of a tile",
            "clip limit by default": "40",
            "tiles": "tileGridSize, how many, as (columns, rows)",
            "bins": "256 (uint8), 65536 (uint16)",
        },
        "scikit-image": {
            "function": "exposure.equalize_adapthist",
            "clip limit": "× the number of pixels of a tile",
            "clip limit by default": "0.01",
            "tiles": "kernel_size, how large, as (rows, columns) in pixels",
            "bins": "nbins, 256",
        },
        "MATLAB": {
            "function": "adapthisteq",
            "clip limit": "from 0 = the mean bin of a tile to 1 = all its pixels",
            "clip limit by default": "0.01",
            "tiles": "NumTiles, how many, as [rows columns]",
            "bins": "NBins, 256",
        },
    }
)
"""How three libraries spell the same settings. `clahe` takes OpenCV's clip limit, and tiles as (rows, columns)."""

SLAB = 2**14  # pixels that are blended at a time: intermediate results that stay in the cache take half the time


def clahe(
    image: ArrayLike,
    *,
    clip_limit: float = 2.0,
    tiles: Sequence[int] = (8, 8),
    value_range: tuple[float, float] | None = None,
    n_bins: int | None = None,
    engine: str = "auto",
) -> np.ndarray:
    """Contrast-limited adaptive histogram equalization: each pixel's gray value becomes its rank in its surroundings.

    Parameters
    ----------
    image : array, (..., rows, columns)
        Real numbers. The last ``len(tiles)`` axes are tiled; the axes before them are looped over, so that a stack
        (z, y, x) is equalized slice by slice.
    clip_limit : float
        How tall a bin of a tile's histogram may be, relative to the mean bin: the steepest slope of a mapping. 0 means
        no limit. `convert_clip_limit` translates other libraries' limits.
    tiles : sequence of int
        How many tiles along each of the last axes: (rows, columns), or (slices, rows, columns) for boxes. Unless every
        axis divides evenly, the image is mirrored beyond its end to fill the last tiles.
    value_range : (low, high), optional
        For types other than uint8 and uint16, the gray values that become 0 and 65535 in uint16, in which the work is
        done; values outside are clipped first. By default the minimum and the maximum of the whole array.
    n_bins : int, optional
        Bins of the histograms; 256, but 65536 for uint16, as in OpenCV. The clip limit refers to the mean bin: with
        65536 bins, a tile of a thousand pixels has less than one pixel per bin, and limits of about 2 do not mean what
        they mean in uint8. ``n_bins=256`` restores that meaning.
    engine : {"auto", "numpy", "opencv"}
        Who computes it. Both give the same pixels. OpenCV needs two tiled axes and its own number of bins; "auto" takes
        it wherever it applies.

    Returns
    -------
    ndarray, same shape and dtype
        uint8 and uint16 fill their whole range. Other types are mapped back to `value_range` (integers rounded), and a
        constant image stays as it is.

    Raises
    ------
    TypeError
        If the image does not hold real numbers (bool is refused, too).
    ValueError
        If the image is empty or has values that are not finite, or if another argument does not fit.

    References
    ----------
    K. Zuiderveld, Contrast limited adaptive histogram equalization, in: Graphics Gems IV (1994) 474-485.

    Examples
    --------
    >>> ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    >>> int(np.ptp(ramp)), int(np.ptp(clahe(ramp, tiles=(2, 2))))
    (63, 109)
    """
    image, tiles = _check_image(image), _check_tiles(tiles, np.ndim(image))
    if not 0 <= clip_limit < math.inf:
        raise ValueError(f"clip_limit must be 0 (no limit) or a positive number; got {clip_limit!r}")
    check_choice("engine", engine, ("auto", "numpy", "opencv"))
    gray, back = _as_unsigned(image, value_range)
    levels = _n_levels(gray.dtype)
    if n_bins is None:
        n_bins = levels if image.dtype == gray.dtype else 256
    elif not 1 <= n_bins <= levels:
        raise ValueError(f"n_bins must be between 1 and the {levels} levels of {gray.dtype}; got {n_bins!r}")
    opencv_applies = len(tiles) == 2 and n_bins == levels
    if engine == "opencv" and not opencv_applies:
        raise ValueError(
            f"engine='opencv' needs two tiled axes and n_bins={levels}; got tiles={tiles}, n_bins={n_bins}. Use 'numpy'"
        )
    equalized = np.empty_like(gray)
    opencv = cv2.createCLAHE(clip_limit, tiles[::-1]) if opencv_applies and engine != "numpy" else None
    for index in np.ndindex(gray.shape[: -len(tiles)]):
        if opencv is not None:
            equalized[index] = opencv.apply(gray[index])
        else:
            equalized[index] = _clahe_numpy(gray[index], clip_limit, tiles, n_bins)
    return back(equalized)


def _clahe_numpy(image: np.ndarray, clip_limit: float, tiles: tuple[int, ...], n_bins: int) -> np.ndarray:
    """One picture or volume, all of whose axes are tiled."""
    if n_bins == 65536:
        return _clahe_of_occurring_values(image, clip_limit, tiles)
    histograms = tile_histograms(image, tiles, n_bins)
    if clip_limit > 0:
        histograms = clip_histogram(histograms, clip_count(clip_limit, tile_size(image.shape, tiles), n_bins))
    return interpolate_mappings(image, tile_mappings(histograms, image.dtype))


def _clahe_of_occurring_values(image: np.ndarray, clip_limit: float, tiles: tuple[int, ...]) -> np.ndarray:
    """The four steps for 65536 bins, most of them empty: only gray values that occur get a column of the histograms.

    Ten times as fast for the few thousand gray values of a scanner. What the empty bins receive when the excess is
    shared out reaches the cumulative sum by a formula: up to the value v, v + 1 equal shares and a part of the rest.
    """
    occurs = np.bincount(image.ravel(), minlength=65536) > 0
    values = np.flatnonzero(occurs).astype(np.int32)  # the tables are large, and four bytes quicker than eight
    ranks = (np.cumsum(occurs) - 1).take(image)
    histograms = _count_in_tiles(ranks, tiles, len(values)).astype(np.int32)
    n_pixels = math.prod(tile_size(image.shape, tiles))
    clipped = np.minimum(histograms, clip_count(clip_limit, [n_pixels], 65536) if clip_limit > 0 else n_pixels)
    share, remainder = np.divmod(n_pixels - clipped.sum(-1, keepdims=True, dtype=np.int32), 65536)
    step = 65536 // np.maximum(remainder, 1)
    received = share * (values + 1) + np.minimum(values // step + 1, remainder)
    return _blend(ranks, _scaled(clipped.cumsum(-1, dtype=np.int32) + received, n_pixels, image.dtype))


def tile_size(shape: Sequence[int], tiles: Sequence[int]) -> tuple[int, ...]:
    """Size of a tile in pixels along each axis of an image of this shape, filled up where an axis does not divide.

    If one axis does not divide evenly, all axes are filled up: an axis that does divide then gets one row more for
    each tile. That is OpenCV's rule.

    >>> tile_size((320, 320), (8, 8)), tile_size((320, 321), (8, 8))
    ((40, 40), (41, 41))
    """
    divides = all(size % n == 0 for size, n in zip(shape, tiles, strict=True))
    return tuple(size // n if divides else size // n + 1 for size, n in zip(shape, tiles, strict=True))


def tile_histograms(image: np.ndarray, tiles: Sequence[int], n_bins: int | None = None) -> np.ndarray:
    """Count the gray values of each tile: the first step of CLAHE.

    Parameters
    ----------
    image : ndarray of uint8 or uint16
        With as many axes as there are in `tiles`.
    tiles : sequence of int
        How many tiles along each axis.
    n_bins : int, optional
        Bins of equal width over the range of the dtype; one for each gray value by default.

    Returns
    -------
    ndarray of int, (*tiles, n_bins)
        Each histogram sums to the pixels of a tile; pixels mirrored beyond the end of the image count, too.
    """
    n_bins = n_bins or _n_levels(image.dtype)
    return _count_in_tiles(_bins(image, n_bins), tiles, n_bins)


def _count_in_tiles(bins: np.ndarray, tiles: Sequence[int], n_bins: int) -> np.ndarray:
    sizes = tile_size(bins.shape, tiles)
    missing = [(0, n * size - length) for n, size, length in zip(tiles, sizes, bins.shape, strict=True)]
    first_bin = np.arange(math.prod(tiles)).reshape(tiles) * n_bins  # of each tile, in one long row of histograms
    for axis, size in enumerate(sizes):
        first_bin = first_bin.repeat(size, axis)
    bins = np.pad(bins, missing, mode="reflect")
    return np.bincount((first_bin + bins).ravel(), minlength=math.prod(tiles) * n_bins).reshape(*tiles, n_bins)


def clip_count(clip_limit: float, size: Sequence[int], n_bins: int) -> int:
    """Counts that a bin may hold: `clip_limit` times the mean bin of a tile of this size in pixels, at least one.

    >>> clip_count(2.0, (40, 40), 256)
    12
    """
    return max(int(clip_limit * math.prod(size) / n_bins), 1)


def clip_histogram(histogram: ArrayLike, limit: int) -> np.ndarray:
    """Cut what exceeds `limit` in each bin and share it out among all bins: the second step of CLAHE.

    Every bin gets an equal share; what remains goes, one count each, to bins at equal distances from the first on. The
    sum stays. Bins may exceed the limit again afterwards: they are not cut twice.

    Parameters
    ----------
    histogram : array of int, (..., n_bins)
    limit : int
        Counts that a bin may hold (`clip_count`).

    Returns
    -------
    ndarray of int, same shape

    Examples
    --------
    >>> clip_histogram([100, 3, 0, 7, 50, 0, 0, 0], 20)
    array([34, 17, 14, 21, 34, 14, 13, 13])
    """
    histogram = np.asarray(histogram)
    n_bins = histogram.shape[-1]
    clipped = np.minimum(histogram, limit)
    excess = histogram.sum(-1) - clipped.sum(-1)
    clipped += (excess // n_bins)[..., None]
    for tile in np.ndindex(excess.shape):
        if remainder := excess[tile] % n_bins:
            step = n_bins // remainder
            clipped[tile][: remainder * step : step] += 1
    return clipped


def tile_mappings(histograms: ArrayLike, dtype: DTypeLike = np.uint8) -> np.ndarray:
    """Turn each histogram into a mapping of gray values, its cumulative sum scaled: the third step of CLAHE.

    Parameters
    ----------
    histograms : array of int, (..., n_bins)
    dtype : uint8 or uint16
        Of the new gray values: its largest stands for all pixels of the tile.

    Returns
    -------
    ndarray of `dtype`, same shape
        The new gray value of each bin. It never falls, and its slope is at most that of the tallest bin.

    Examples
    --------
    >>> tile_mappings([34, 17, 14, 21, 34, 14, 13, 13])
    array([ 54,  81, 104, 137, 191, 214, 234, 255], dtype=uint8)
    """
    cumulative = np.cumsum(histograms, axis=-1)
    return _scaled(cumulative, cumulative[..., -1:], dtype)


def _scaled(cumulative: np.ndarray, n_pixels: ArrayLike, dtype: DTypeLike) -> np.ndarray:
    scale = np.float32(_n_levels(dtype) - 1) / np.asarray(n_pixels, np.float32)
    return np.rint(cumulative.astype(np.float32) * scale).astype(dtype)


def interpolate_mappings(image: np.ndarray, mappings: np.ndarray) -> np.ndarray:
    """Send each pixel through the mappings of the tiles around it, blended linearly: the fourth step of CLAHE.

    A tile's mapping is exact at its center. Between the centers of four tiles (eight in a volume) their results are
    weighted by distance; beyond the outermost centers there is nothing to blend with.

    Parameters
    ----------
    image : ndarray of uint8 or uint16
    mappings : ndarray, (*tiles, n_bins)
        With as many axes of tiles as the image has axes.

    Returns
    -------
    ndarray of the dtype of `mappings`, shape of `image`

    Examples
    --------
    >>> row = np.zeros(24, np.uint8)  # three tiles of eight pixels, whose mappings send 0 to 10, 50 and 90
    >>> interpolate_mappings(row, np.uint8([[10], [50], [90]]))[[0, 3, 11, 23]]
    array([10, 10, 45, 90], dtype=uint8)
    """
    return _blend(_bins(image, mappings.shape[-1]), mappings)


def _blend(bins: np.ndarray, mappings: np.ndarray) -> np.ndarray:
    sides = [_neighbors(bins.shape, mappings.shape, axis) for axis in range(bins.ndim)]
    table = mappings.ravel()
    blended = np.empty(bins.shape, mappings.dtype)
    rows = math.ceil(SLAB * len(bins) / bins.size)
    for start in range(0, len(bins), rows):
        slab = slice(start, start + rows)
        along_first, *along_others = sides
        sides_of_slab = [[values[slab] for values in along_first], *along_others]
        blended[slab] = np.rint(_blend_along(sides_of_slab, table, bins[slab].astype(np.intp)))
    return blended


def _blend_along(sides: Sequence, table: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Blend along the first of the axes in `sides` what is blended along the others; `place` is an index to `table`."""
    if not sides:
        return table.take(place)
    (before, after, near, far), *others = sides
    return _blend_along(others, table, place + before) * near + _blend_along(others, table, place + after) * far


def _neighbors(shape: Sequence[int], mappings_shape: Sequence[int], axis: int) -> tuple[np.ndarray, ...]:
    """Along one axis: where the mappings of the tiles before and after each pixel begin, and the weights of both."""
    *tiles, _ = mappings_shape
    size = tile_size(shape, tiles)[axis]
    position = np.arange(shape[axis], dtype=np.float32) * (np.float32(1) / np.float32(size)) - np.float32(0.5)
    tile = np.floor(position)  # whose center lies before the pixel
    far = position - tile
    stride = math.prod(mappings_shape[axis + 1 :])
    before = np.maximum(tile, 0).astype(np.intp) * stride
    after = np.minimum(tile + 1, tiles[axis] - 1).astype(np.intp) * stride
    along = [-1 if k == axis else 1 for k in range(len(shape))]
    return tuple(values.reshape(along) for values in (before, after, 1 - far, far))


def adaptive_equalize(
    image: ArrayLike,
    *,
    tiles: Sequence[int] = (8, 8),
    value_range: tuple[float, float] | None = None,
    n_bins: int | None = None,
) -> np.ndarray:
    """Adaptive histogram equalization: `clahe` without a limit. It shows how noise is amplified where nothing else is.

    For the arguments, the result and the errors see `clahe`.
    """
    return clahe(image, clip_limit=0, tiles=tiles, value_range=value_range, n_bins=n_bins)


def equalize_histogram(image: ArrayLike, *, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """Global histogram equalization: one mapping for all pixels, after which all gray values are about equally common.

    The darkest gray value becomes 0 and the brightest the largest of the dtype, as in OpenCV's ``equalizeHist``: the
    pixels of the darkest value are left out of the cumulative histogram. Each CLAHE mapping keeps them in.

    Parameters
    ----------
    image : array of any shape
        Real numbers. A stack has one histogram.
    value_range : (low, high), optional
        See `clahe`.

    Returns
    -------
    ndarray, same shape and dtype
        uint8 and uint16 fill their whole range, other types `value_range`. A constant image stays as it is.

    Raises
    ------
    TypeError, ValueError
        As `clahe` does.

    Examples
    --------
    >>> equalize_histogram(np.uint8([[50, 50, 51, 52]]))
    array([[  0,   0, 128, 255]], dtype=uint8)
    """
    gray, back = _as_unsigned(_check_image(image), value_range)
    counts = np.bincount(gray.ravel(), minlength=_n_levels(gray.dtype))
    darkest = counts.nonzero()[0][0]
    if counts[darkest] == gray.size:
        return back(gray)
    scale = np.float32(_n_levels(gray.dtype) - 1) / np.float32(gray.size - counts[darkest])
    counts[darkest] = 0
    return back(np.rint(np.cumsum(counts).astype(np.float32) * scale).astype(gray.dtype)[gray])


def convert_clip_limit(value: float, *, source: str, target: str, tile_size: Sequence[int], n_bins: int = 256) -> float:
    """Translate a clip limit from one library's convention to another's, for the same tiles and bins.

    Behind all of them is a number of pixels that a bin may hold. OpenCV takes it relative to the mean bin, scikit-image
    relative to the pixels of a tile, and MATLAB on a scale from 0, the mean bin (rounded up), to 1, all pixels of the
    tile. OpenCV's numbers are the largest: scikit-image's 0.05 is 12.8 there. That the limits agree does not make the
    pixels equal: the libraries share out the excess, pad, and round differently. On scikit-image's ``camera`` OpenCV
    and scikit-image differ by 0.8 gray levels on average at 12.8 and by 3.8 at 2.56, but by 24 at 1.28. One of the
    differences is that scikit-image cuts again what the shared excess lifts above the limit.

    Parameters
    ----------
    value : float
        A positive limit; in MATLAB's convention from 0 to 1.
    source, target : {"OpenCV", "scikit-image", "MATLAB"}
    tile_size : sequence of int
        Pixels of a tile along each axis. Only MATLAB's limit depends on it.
    n_bins : int
        Bins of the histograms.

    Returns
    -------
    float
        A limit below the mean bin does nothing more than the mean bin; it becomes 0 in MATLAB's convention.

    Raises
    ------
    ValueError
        If a library is not known or the limit is not one of its source.

    Examples
    --------
    >>> convert_clip_limit(0.01, source="scikit-image", target="OpenCV", tile_size=(64, 64))
    2.56
    """
    check_choice("source", source, PARAMETERS)
    check_choice("target", target, PARAMETERS)
    if source == "MATLAB" and not 0 <= value <= 1:
        raise ValueError(f"MATLAB's clip limit is a number from 0 to 1; got {value!r}")
    if source != "MATLAB" and not 0 < value < math.inf:
        raise ValueError(f"{source}'s clip limit must be a positive number (0 there means no limit); got {value!r}")
    pixels = math.prod(tile_size)
    mean_bin = math.ceil(pixels / n_bins)  # MATLAB's
    share = {
        "OpenCV": lambda: value / n_bins,
        "scikit-image": lambda: value,
        "MATLAB": lambda: (mean_bin + value * (pixels - mean_bin)) / pixels,
    }[source]()
    return {
        "OpenCV": lambda: share * n_bins,
        "scikit-image": lambda: share,
        "MATLAB": lambda: min(max((share * pixels - mean_bin) / max(pixels - mean_bin, 1), 0.0), 1.0),
    }[target]()


def _n_levels(dtype: DTypeLike) -> int:
    return int(np.iinfo(dtype).max) + 1


def _bins(image: np.ndarray, n_bins: int) -> np.ndarray:
    """The bin of each pixel: its gray value, unless there are fewer bins than gray values."""
    levels = _n_levels(image.dtype)
    return image if n_bins == levels else image.astype(np.intp) * n_bins // levels


def _as_unsigned(image: np.ndarray, value_range: tuple[float, float] | None):
    """The image in uint8 or uint16, and the function that takes such an image back to the dtype and range it had."""
    if image.dtype in (np.uint8, np.uint16):
        if value_range is not None:
            raise ValueError(f"value_range is for other types: a {image.dtype} image is used as it is. Leave it out")
        return image, lambda gray: gray
    low, high = (image.min(), image.max()) if value_range is None else value_range
    low, high = float(low), float(high)
    if value_range is None and low == high:
        return np.zeros(image.shape, np.uint16), lambda gray: image.copy()
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"value_range must be (low, high), finite and low < high; got {value_range!r}")
    if image.dtype.kind in "iu" and not np.iinfo(image.dtype).min <= low < high <= np.iinfo(image.dtype).max:
        raise ValueError(f"value_range must lie within the values of {image.dtype}; got {value_range!r}")
    per_level = (high - low) / 65535

    def back(gray: np.ndarray) -> np.ndarray:
        values = gray * per_level + low
        return (np.rint(values) if image.dtype.kind in "iu" else values).astype(image.dtype)

    return np.rint((np.clip(image, low, high) - low) / per_level).astype(np.uint16), back


def _check_image(image: ArrayLike) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype.kind not in "iuf":
        raise TypeError(
            f"image must be an array of real numbers; got dtype {image.dtype}. For a Volume, use volume.map(clahe)"
        )
    if not image.size:
        raise ValueError(f"image must have at least one pixel; got shape {image.shape}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError("image must not contain NaN or infinite values: replace them first, e.g. with np.nan_to_num")
    return image


def _check_tiles(tiles: Sequence[int], ndim: int) -> tuple[int, ...]:
    tiles = tuple(tiles)
    if not 1 <= len(tiles) <= ndim or any(int(n) != n or n < 1 for n in tiles):
        raise ValueError(
            f"tiles must be 1 or more along each of the last axes, e.g. (rows, columns), and at most as many as the "
            f"image has axes ({ndim}); got {tiles}"
        )
    return tuple(int(n) for n in tiles)
