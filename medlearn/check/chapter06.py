"""Checks of chapter 6, the last three steps of CLAHE: clip a histogram, make a mapping of it, blend the mappings."""

from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong


def _first_bins(n_bins: int, remainder: int) -> np.ndarray:
    return np.arange(remainder)


def _spread_bins(n_bins: int, remainder: int) -> np.ndarray:
    return np.arange(remainder) * (n_bins // max(remainder, 1))


def _no_bins(n_bins: int, remainder: int) -> np.ndarray:
    return np.arange(0)


def _clip(histogram, limit, *, bins_of_remainder=_spread_bins):
    """Cut, and share out what was cut; the keyword says which bins get one count of the remainder."""
    share, remainder = divmod(int(np.maximum(histogram - limit, 0).sum()), len(histogram))
    clipped = np.minimum(histogram, limit) + share
    clipped[bins_of_remainder(len(histogram), remainder)] += 1
    return clipped


def _share_among(histogram, limit, chosen):
    """Cut, and share out only among the `chosen` bins."""
    share = np.maximum(histogram - limit, 0).sum() // max(np.count_nonzero(chosen), 1)
    return np.minimum(histogram, limit) + share * chosen


def _histogram(*counts: int) -> np.ndarray:
    return np.array(counts)


CLIP = Exercise(
    number="6.1",
    right=_clip,
    probes=(
        (_histogram(100, 3, 0, 7, 50, 0, 0, 0), 20),
        (_histogram(0, 2, 30, 40, 5, 0, 1, 0), 10),
        (_histogram(16, 1, 0, 0), 8),
    ),
    praise="What was cut is shared out, and not a pixel is lost.",
    unit="pixels",
    wrong={
        "excess_thrown_away": Wrong(
            lambda h, limit: np.minimum(h, limit),
            "You cut and threw away. In the first probe 160 pixels went in and 50 came out: the mapping would end at "
            "80, not at 255. Share out what was cut.",
        ),
        "rescaled": Wrong(
            lambda h, limit: h * limit / h.max(),
            "You scaled the histogram down. Its shape is the same, so the steepest part of the mapping is still the "
            "steepest. Cut only what stands above the limit.",
        ),
        "limit_as_fraction": Wrong(
            lambda h, limit: np.minimum(h, limit * h.sum()),
            "Nothing was cut: you took the limit for a share of the pixels, as scikit-image's clip limit is. Here it "
            "is a number of pixels.",
        ),
        "remainder_lost": Wrong(
            lambda h, limit: _clip(h, limit, bins_of_remainder=_no_bins),
            "Count the pixels of the first probe: 160 in, 154 out. The excess does not divide evenly, and its "
            "remainder is missing: one pixel each to bins at equal distances.",
        ),
        "remainder_to_first_bins": Wrong(
            lambda h, limit: _clip(h, limit, bins_of_remainder=_first_bins),
            "All pixels are there, but you gave the remainder to the first bins: the darkest grays get more than the "
            "others. Spread it out: n_bins // remainder is the distance from one of these bins to the next.",
        ),
        "fractions": Wrong(
            lambda h, limit: np.minimum(h, limit) + np.maximum(h - limit, 0).sum() / len(h),
            "The sum is right, but there is no such thing as a part of a pixel. Divide with // and share out the "
            "remainder one by one.",
        ),
        "only_empty_bins": Wrong(
            lambda h, limit: _share_among(h, limit, h == 0),
            "You gave the excess to the empty bins only. All bins get the same share, the tall ones too.",
        ),
        "only_bins_below": Wrong(
            lambda h, limit: _share_among(h, limit, h < limit),
            "You gave the excess only to bins below the limit. All bins get the same share; those that were cut stand "
            "above the limit again afterwards, and that is accepted.",
        ),
        "cut_again": Wrong(
            lambda h, limit: np.minimum(_clip(h, limit), limit),
            "You cut a second time, after sharing out, and lost pixels with it. OpenCV cuts once.",
        ),
    },
)


def _map(histogram, *, scale=255, whole=np.rint):
    cumulative = np.cumsum(histogram)
    return whole(cumulative * scale / cumulative[-1])


def _global_convention(histogram):
    """As global equalization does it: the pixels of the darkest gray value are left out."""
    cumulative = np.cumsum(histogram)
    darkest = cumulative[cumulative > 0][0]
    return np.rint(np.maximum(cumulative - darkest, 0) * 255 / (cumulative[-1] - darkest))


MAPPING = Exercise(
    number="6.2",
    right=_map,
    probes=(
        (_histogram(34, 17, 14, 21, 34, 14, 13, 13),),
        (_histogram(0, 0, 5, 9, 0, 2, 21, 11, 3, 0),),
    ),
    praise="Each gray value becomes the share of pixels up to it, stretched to 0...255.",
    unit="gray levels",
    wrong={
        "not_cumulative": Wrong(
            lambda h: np.rint(h * 255 / h.sum()),
            "You scaled the histogram itself. A rank counts all pixels up to a gray value: take the cumulative sum.",
        ),
        "integer_division": Wrong(
            lambda h: np.cumsum(h) // h.sum() * 255,
            "Nearly everything is 0. // before * rounds every share below 1 down to 0: multiply first.",
        ),
        "divided_by_largest_bin": Wrong(
            lambda h: np.rint(np.cumsum(h) * 255 / h.max()),
            "Your mapping ends far above 255. Divide by the number of pixels, not by the tallest bin.",
        ),
        "truncated": Wrong(
            lambda h: _map(h, whole=np.floor),
            "You cut off the fractions (a conversion to uint8 does that). OpenCV rounds: np.rint.",
        ),
        "fractions": Wrong(lambda h: _map(h, whole=np.asarray), "Right but for rounding: gray levels are whole."),
        "darkest_left_out": Wrong(
            _global_convention,
            "You left out the pixels of the darkest gray value. That is the convention of global equalization; the "
            "mappings of CLAHE keep them in.",
        ),
        "only_darker": Wrong(
            lambda h: np.rint((np.cumsum(h) - h) * 255 / h.sum()),
            "You counted the pixels that are darker. A rank counts those of the gray value itself, too: the last bin "
            "must become 255.",
        ),
        "share": Wrong(lambda h: np.cumsum(h) / h.sum(), "These are shares from 0 to 1. Stretch them to 0...255."),
        "scaled_to_256": Wrong(
            lambda h: _map(h, scale=256), "The brightest gray value of uint8 is 255: multiply by 255, not by 256."
        ),
        "brightness_reversed": Wrong(
            lambda h: np.rint(np.cumsum(h[::-1])[::-1] * 255 / h.sum()),
            "You counted from the bright end: your picture is a negative.",
        ),
    },
)


def _split(position):
    """The tile whose center lies before, and how far the pixel is on its way to the next center."""
    before = np.floor(position).astype(int)
    return before, position - before


def _mix(values, before, after, share):
    last = len(values) - 1
    return values[np.clip(before, 0, last)] * (1 - share) + values[np.clip(after, 0, last)] * share


def _blend(values, width, columns, *, offset=0.5):
    before, share = _split(columns / width - offset)
    return _mix(values, before, before + 1, share)


def _weights_swapped(values, width, columns):
    before, share = _split(columns / width - 0.5)
    return _mix(values, before, before + 1, 1 - share)


def _left_end_wraps(values, width, columns):
    before, share = _split(columns / width - 0.5)
    return values[before] * (1 - share) + values[np.minimum(before + 1, len(values) - 1)] * share


def _both_ends_wrap(values, width, columns):
    before, share = _split(columns / width - 0.5)
    return values[before] * (1 - share) + values[(before + 1) % len(values)] * share


def _equal_weights(values, width, columns):
    before, _ = _split(columns / width - 0.5)
    return _mix(values, before, before + 1, 0.5)


def _toward_zero(values, width, columns):
    position = columns / width - 0.5
    before = position.astype(int)
    return _mix(values, before, before + 1, position - before)


def _extrapolated(values, width, columns):
    position = columns / width - 0.5
    before = np.clip(np.floor(position).astype(int), 0, len(values) - 2)
    return _mix(values, before, before + 1, position - before)


BLEND = Exercise(
    number="6.3",
    right=_blend,
    probes=(
        (np.array([10.0, 50.0, 90.0]), 8, np.array([0, 3, 11, 23])),
        (np.array([200.0, 23.0, 121.0, 60.0]), 6, np.arange(24)),
    ),
    praise="No tile has a visible border now, and the two ends are safe.",
    unit="gray levels",
    wrong={
        "corner_not_center": Wrong(
            lambda values, width, columns: _blend(values, width, columns, offset=0),
            "You are half a tile off. A tile's mapping is exact at its center, not at its corner: subtract ½.",
        ),
        "left_end_wraps": Wrong(
            _left_end_wraps,
            "Look at the left end of the row: index −1 is the LAST tile in Python. Clamp the index to 0.",
        ),
        "both_ends_wrap": Wrong(
            _both_ends_wrap,
            "At both ends of the row you blend with the tile of the other end. Beyond the outermost centers there is "
            "nothing to blend with: clamp both indices.",
        ),
        "extrapolated": Wrong(
            _extrapolated,
            "Beyond the outermost centers you continue the line between two tiles, and may leave 0...255. There the "
            "nearest tile counts alone.",
        ),
        "toward_zero": Wrong(
            _toward_zero,
            "Look at the left end: int(−0.5) is 0, floor(−0.5) is −1. A conversion to int cuts off toward zero.",
        ),
        "nearest_tile": Wrong(
            lambda values, width, columns: values[np.minimum(columns // width, len(values) - 1)],
            "You took each pixel's own tile. The mapping jumps from tile to tile, and the blocks are visible.",
        ),
        "weights_swapped": Wrong(
            _weights_swapped,
            "The weights are exchanged: a pixel that is close to a center must listen to that center.",
        ),
        "equal_weights": Wrong(
            _equal_weights,
            "You took the mean of two tiles, wherever the pixel lies. The closer center counts more.",
        ),
        "half_a_pixel": Wrong(
            lambda values, width, columns: _blend(values, width, columns + 0.5),
            "You added half a pixel, as if a pixel were measured at its middle. A fair idea, but OpenCV's position is "
            "column / width − ½.",
        ),
        "rounded": Wrong(
            lambda values, width, columns: np.rint(_blend(values, width, columns)),
            "Right but for rounding: leave the fractions in. In two directions one rounds after the last blend.",
        ),
    },
)


def clip_histogram(function: Callable) -> None:
    """Check exercise 6.1: ``function(histogram, limit)`` returns the histogram cut at `limit`, none of it lost."""
    CLIP.check(function)


def gray_mapping(function: Callable) -> None:
    """Check exercise 6.2: ``function(histogram)`` returns the new gray level, 0...255, of each bin."""
    MAPPING.check(function)


def blend_tiles(function: Callable) -> None:
    """Check exercise 6.3: ``function(values, width, columns)`` blends what the tiles of a row say at some columns."""
    BLEND.check(function)
