"""Checks of chapter 5: Otsu's threshold, growing a region, and a tolerance that is chosen honestly."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .. import classical
from ..metrics import dice
from ._core import Exercise, Wrong


def _peaks(n_bins: int, *peaks: tuple[float, float, float]) -> np.ndarray:
    """Histogram of normal distributions, each given by the number of its pixels, its mean and its deviation."""
    bins = np.arange(n_bins)
    density = sum(n / std / np.sqrt(2 * np.pi) * np.exp(-((bins - mean) ** 2) / 2 / std**2) for n, mean, std in peaks)
    return density.round().astype(np.int64)


def _classes(histogram):
    """Share and mean of both classes for every threshold that leaves none of them empty, and those thresholds."""
    share = histogram / histogram.sum()
    bins = np.arange(len(share))
    w0 = np.cumsum(share)
    t = np.flatnonzero((w0 > 1e-12) & (w0 < 1 - 1e-12))
    first_moment = np.cumsum(share * bins)
    w0, m0, mean = w0[t], first_moment[t], first_moment[-1]
    return t, w0, 1 - w0, m0 / w0, (mean - m0) / (1 - w0)


def _otsu(histogram):
    t, w0, w1, mu0, mu1 = _classes(histogram)
    return t[np.argmax(w0 * w1 * (mu0 - mu1) ** 2)]


def _otsu_best_at(quality: Callable) -> Callable:
    """A function that returns the threshold at which `quality(w0, w1, mu0, mu1)` is largest."""

    def threshold(histogram):
        t, *classes = _classes(histogram)
        return t[np.argmax(quality(*classes))]

    return threshold


def _largest_variance(histogram):
    _, w0, w1, mu0, mu1 = _classes(histogram)
    return np.max(w0 * w1 * (mu0 - mu1) ** 2)


def _middle_of_range(histogram):
    used = np.flatnonzero(histogram)
    return (used[0] + used[-1]) // 2


OTSU = Exercise(
    number="5.1",
    right=_otsu,
    probes=(
        (_peaks(256, (9000, 80, 12), (1000, 170, 12)),),
        (_peaks(200, (1500, 40, 8), (4000, 110, 15)),),
    ),
    praise="Every threshold tried, the one with the largest variance between its classes kept.",
    wrong={
        "class_weights_forgotten": Wrong(
            _otsu_best_at(lambda w0, w1, mu0, mu1: (mu0 - mu1) ** 2),
            "You compared the means only. Without w0·w1 the best split isolates a few extreme pixels: weigh the "
            "classes by their shares.",
        ),
        "minimised_between": Wrong(
            _otsu_best_at(lambda w0, w1, mu0, mu1: -w0 * w1 * (mu0 - mu1) ** 2),
            "You took the smallest variance between the classes. It is the variance WITHIN the classes that becomes "
            "smallest; the one between them becomes largest.",
        ),
        "one_weight": Wrong(
            _otsu_best_at(lambda w0, w1, mu0, mu1: w0 * (mu0 - mu1) ** 2),
            "You multiplied by w0 only. Both shares belong into the product, so that no class becomes tiny.",
        ),
        "first_bright_bin": Wrong(
            lambda h: _otsu(h) + 1,
            "One bin too far. The threshold itself belongs to the dark class; the bright one is image > threshold.",
        ),
        "variance_instead_of_threshold": Wrong(
            _largest_variance, "That is how large the variance becomes. The exercise asks where: for the bin."
        ),
        "mean_of_image": Wrong(
            lambda h: int(np.average(np.arange(len(h)), weights=h)),
            "This is the mean of the image, inside the larger class. If you did not mean to compute it: it also comes "
            "out where the difference of the means is not squared.",
        ),
        "middle_of_range": Wrong(
            _middle_of_range,
            "This is the middle between the darkest and the brightest bin. Plausible, but does it move when the sizes "
            "of the classes do?",
        ),
        "highest_bin": Wrong(np.argmax, "This is the most frequent gray value, the top of the larger peak."),
    },
)


# A ramp of 2 gray values a pixel, and far away an island with the gray value of the seed.
_RAMP = np.tile((2 * np.arange(128)).astype(np.uint8), (32, 1))
_RAMP[10:12, 98:102] = 60
# Two squares that touch at a corner, the first at the left border, and a third square at the right border.
_SQUARES = np.full((24, 30), 40, np.int16)
_SQUARES[4:12, 0:9] = 100
_SQUARES[12:20, 9:18] = 104
_SQUARES[6:10, 26:30] = 98
_SQUARES[7, 2:5] = 97, 103, 95


def _faces(image, seed, similar, *, structure=None):
    """The connected part of `similar` that holds the seed."""
    labels, _ = ndimage.label(similar, structure)
    return labels == labels[tuple(seed)]


def _difference(image, seed):
    return np.abs(image.astype(int) - int(image[tuple(seed)]))


def _grow(image, seed, tolerance):
    return _faces(image, seed, _difference(image, seed) <= tolerance)


def _spread(start, admits: Callable) -> np.ndarray:
    """Grow `start` step by step; `admits(region, dy, dx)` marks pixels that may be entered by a step (dy, dx)."""
    region, size = start.copy(), 0
    while region.sum() > size:
        size = region.sum()
        for step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            region |= admits(region, *step)
    return region


def _seed_only(image, seed):
    start = np.zeros(image.shape, bool)
    start[tuple(seed)] = True
    return start


def _grow_from_neighbor(image, seed, tolerance):
    padded = np.pad(image.astype(float), 1, constant_values=np.inf)

    def admits(region, dy, dx):
        came_from = np.roll(np.pad(region, 1), (dy, dx), (0, 1))
        gray_there = np.roll(padded, (dy, dx), (0, 1))
        with np.errstate(invalid="ignore"):  # inf - inf in the frame
            return (came_from & (np.abs(padded - gray_there) <= tolerance))[1:-1, 1:-1]

    return _spread(_seed_only(image, seed), admits)


def _grow_around_the_border(image, seed, tolerance):
    similar = _difference(image, seed) <= tolerance
    return _spread(_seed_only(image, seed), lambda region, dy, dx: similar & np.roll(region, (dy, dx), (0, 1)))


def _grow_in_one_sweep(image, seed, tolerance):
    similar, region = _difference(image, seed) <= tolerance, _seed_only(image, seed)
    framed = np.pad(region, 1)
    for y, x in np.argwhere(similar):
        near = framed[y : y + 3, x : x + 3]
        framed[y + 1, x + 1] |= near[0, 1] | near[2, 1] | near[1, 0] | near[1, 2]
    return framed[1:-1, 1:-1]


def _grow_in_uint8(image, seed, tolerance):
    return _faces(image, seed, np.abs(image - image[tuple(seed)]) <= tolerance)


GROW = Exercise(
    number="5.2",
    right=_grow,
    probes=((_RAMP, (16, 30), 10), (_SQUARES, (8, 4), 10), (_SQUARES.astype(np.uint8), (15, 13), 5)),
    praise="Similar to the seed, and reached from it through faces.",
    wrong={
        "compares_with_neighbour": Wrong(
            _grow_from_neighbor,
            "You compared each pixel with its neighbor. Each step is small, the sum is not: it walked the whole ramp. "
            "'Gray-level difference' is to the SEED here; write down which one a paper means.",
        ),
        "not_connected": Wrong(
            lambda i, s, t: _difference(i, s) <= t,
            "That is a threshold: in the first probe an island 68 columns away came along. Keep only what can be "
            "reached from the seed.",
        ),
        "uint8_wraparound": Wrong(
            _grow_in_uint8,
            "In uint8, 58 - 60 is 254, and the darker side of the ramp is lost. Cast to int first, or to float.",
        ),
        "exclusive": Wrong(
            lambda i, s, t: _faces(i, s, _difference(i, s) < t),
            "You left out the pixels whose difference equals the tolerance. ITK and scikit-image include the limit.",
        ),
        "full_connectivity": Wrong(
            lambda i, s, t: _faces(i, s, _difference(i, s) <= t, structure=np.ones((3, 3))),
            "Your region leaked through a corner, from one square into the next. Step through faces only: that is "
            "ITK's default; scikit-image's default is corners as well.",
        ),
        "around_the_border": Wrong(
            _grow_around_the_border,
            "Your region left the image on the left and came in again on the right. Index -1 is the last column in "
            "Python, and np.roll wraps around as well: stop at the border.",
        ),
        "one_sweep": Wrong(
            _grow_in_one_sweep,
            "You went over the image once, row by row. What is reached later cannot pass it on upward or to the left: "
            "repeat until nothing changes, or keep a list of pixels to visit.",
        ),
        "one_step": Wrong(
            lambda i, s, t: ndimage.binary_dilation(_seed_only(i, s)) & (_difference(i, s) <= t),
            "You took the neighbors of the seed and stopped. Their neighbors come next.",
        ),
        "seed_transposed": Wrong(
            lambda i, s, t: _grow(i, s[::-1], t),
            "You started at another pixel. A seed is (y, x): row first, then column.",
        ),
        "inverted": Wrong(lambda i, s, t: ~_grow(i, s, t), "Just the other way round: True means inside the region."),
    },
)


def _organ(seed: int, contrast: int, center: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A noisy ball, darker than what surrounds it by `contrast`, and its mask; the outer slices do not meet it."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[:7, :18, :18]
    mask = 6 * (z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2 <= 30
    image = 150 - contrast * mask + rng.integers(-16, 17, mask.shape)
    return image.astype(np.int16), mask


def _retouched(case) -> tuple[np.ndarray, np.ndarray]:
    """The same image with another truth: a rater who draws a small ball about the middle."""
    image, _ = case
    z, y, x = np.ogrid[:7, :18, :18]
    return image, (z == 3) & ((y - 9) ** 2 + (x - 9) ** 2 <= 6)


_TRAIN = [_organ(1, 70, (3, 8, 9)), _organ(2, 60, (3, 9, 10)), _organ(3, 64, (2, 9, 9))]
_TEST = [_organ(4, 34, (3, 10, 8)), _organ(5, 40, (3, 8, 8)), _organ(6, 90, (4, 10, 10))]
_TOLERANCES = [4, 8, 12, 16, 20, 24, 28, 36, 44]


def _middle(image, mask):
    return tuple(n // 2 for n in image.shape)


def _middle_of_truth(image, mask):
    return tuple(np.argwhere(mask).mean(0).round().astype(int))


def _by_case(cases, tolerance, seed=_middle):
    """Mean Dice over the cases."""
    regions = [classical.region_grow(*case[:1], seed(*case), tolerance=tolerance) for case in cases]
    return np.mean([dice(region, mask) for region, (_, mask) in zip(regions, cases, strict=True)])


def _by_slice(cases, tolerance):
    """Mean Dice over the slices; a slice that is empty on both sides counts as 1."""
    scores = []
    for image, mask in cases:
        region = classical.region_grow(image, _middle(image, mask), tolerance=tolerance)
        scores += [dice(a, b) if a.any() or b.any() else 1.0 for a, b in zip(region, mask, strict=True)]
    return np.mean(scores)


def _pooled(cases, tolerance):
    """Dice of all voxels of all cases in one pot."""
    regions = [classical.region_grow(i, _middle(i, m), tolerance=tolerance) for i, m in cases]
    return dice(np.stack(regions), np.stack([mask for _, mask in cases]))


def _best(cases, tolerances, score=_by_case):
    return max(tolerances, key=lambda tolerance: score(cases, tolerance))


def _honest(train, test, tolerances, *, score=_by_case):
    tolerance = _best(train, tolerances, score)
    return tolerance, score(test, tolerance)


def _tuned_on(choose: Callable) -> Callable:
    """A function that chooses the tolerance on `choose(train, test)`."""

    def tuned(train, test, tolerances):
        tolerance = _best(choose(train, test), tolerances)
        return tolerance, _by_case(test, tolerance)

    return tuned


def _best_for_each(train, test, tolerances):
    found = [max((_by_case([case], t), t) for t in tolerances) for case in test]
    return np.mean([t for _, t in found]), np.mean([score for score, _ in found])


def _mean_of_best(train, test, tolerances):
    tolerance = np.mean([_best([case], tolerances) for case in train])
    return tolerance, _by_case(test, tolerance)


@dataclass(frozen=True)
class _Blinded(Exercise):
    """An exercise whose first two probes differ in nothing but the truth of the test cases."""

    leak: str = ""

    def first_difference(self, answers: list) -> str:
        """Say so if the tolerance followed the truth of the test cases: it cannot, unless it was read too early."""
        pairs = [as_pair for answer in answers[:2] if (as_pair := np.ravel(np.asarray(answer, object))).size == 2]
        if len(pairs) == 2 and pairs[0][0] != pairs[1][0]:
            return self.leak
        return super().first_difference(answers)


TOLERANCE = _Blinded(
    number="5.3",
    right=_honest,
    probes=(
        (_TRAIN, _TEST, _TOLERANCES),
        (_TRAIN, [_retouched(case) for case in _TEST], _TOLERANCES),
        (_TEST, _TRAIN, _TOLERANCES),
    ),
    praise="Chosen on the training cases, from a seed that anyone could click, and one Dice for each patient.",
    leak=(
        "Between the first two probes only the truth of the test cases differs, and your tolerance changed. So you "
        "read that truth before you had chosen."
    ),
    wrong={
        "tuned_on_test": Wrong(
            _tuned_on(lambda train, test: test),
            "You read the truth of the test cases before you had chosen the tolerance: an oracle. On 35 real cases "
            "even a tolerance taken from each truth reaches .28; an ellipsoid that never looks reaches .58.",
        ),
        "tuned_on_all": Wrong(
            _tuned_on(lambda train, test: train + test),
            "You chose the tolerance on training and test cases together. The test cases have then helped to choose "
            "what they are to judge.",
        ),
        "oracle_for_each": Wrong(
            _best_for_each,
            "Every test case got the tolerance that suits it best, by its own truth. A new patient has no truth yet.",
        ),
        "seed_from_truth": Wrong(
            lambda train, test, tolerances: _honest(
                train, test, tolerances, score=lambda cases, t: _by_case(cases, t, _middle_of_truth)
            ),
            "Who clicks in the clinic? The center of the truth is an answer, not an input: start in the middle of the "
            "image.",
        ),
        "slice_mean": Wrong(
            lambda train, test, tolerances: _honest(train, test, tolerances, score=_by_slice),
            "You took the mean over slices. Slices without gland, 38 % on the real set, then count as 0 or 1 by "
            "convention, and hide the others. One Dice for each case.",
        ),
        "pooled": Wrong(
            lambda train, test, tolerances: _honest(train, test, tolerances, score=_pooled),
            "You put the voxels of all cases into one pot, where a large gland counts more than a small one. One Dice "
            "for each case, then their mean.",
        ),
        "train_dice": Wrong(
            lambda train, test, tolerances: (_best(train, tolerances), _by_case(train, _best(train, tolerances))),
            "An honest tolerance, but you report the Dice of the cases that it was chosen on. Report the test cases.",
        ),
        "mean_of_best": Wrong(
            _mean_of_best,
            "Honest, but you averaged the best tolerance of each training case. Take the one of the list whose mean "
            "Dice over the training cases is highest.",
        ),
        "dice_first": Wrong(
            lambda train, test, tolerances: _honest(train, test, tolerances)[::-1],
            "The right two numbers in the wrong order: first the tolerance, then the Dice.",
        ),
    },
)


def otsu(function: Callable) -> None:
    """Check exercise 5.1: ``function(histogram)`` returns the bin of Otsu's threshold."""
    OTSU.check(function)


def grow(function: Callable) -> None:
    """Check exercise 5.2: ``function(image, seed, tolerance)`` returns the region as a boolean array."""
    GROW.check(function)


def honest_tolerance(function: Callable) -> None:
    """Check exercise 5.3: ``function(train_cases, test_cases, tolerances)`` returns tolerance and mean test Dice."""
    TOLERANCE.check(function)
