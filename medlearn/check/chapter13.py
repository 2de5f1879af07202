"""Checks of chapter 13: a case on its own grid and in its thirds, an interval over cases, two methods in pairs."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from ..geometry import resample_like
from ..metrics import dice
from ..promise12 import thirds
from ..volume import Volume
from ._core import Exercise, Wrong

# ---- 13.1: one case


def _grid(array: np.ndarray, spacing: tuple[float, float, float], up: int) -> Volume:
    """Axial slices about one center, from feet to head (`up` = 1) or from head to feet (−1)."""
    direction = np.diag([1.0, 1.0, float(up)])
    middle = [(n - 1) / 2 * mm for n, mm in zip(array.shape[::-1], spacing[::-1], strict=True)]
    return Volume(array=array, spacing=spacing, origin=tuple(-direction @ middle), direction=direction)


def _ellipsoid(shape, spacing, center, axes) -> np.ndarray:
    """Distance from the center, 1 on the surface."""
    mm = [(np.arange(n) - (n - 1) / 2) * s - c for n, s, c in zip(shape, spacing, center, strict=True)]
    z, y, x = np.meshgrid(*mm, indexing="ij")
    return np.sqrt((z / axes[0]) ** 2 + (y / axes[1]) ** 2 + (x / axes[2]) ** 2)


def _case(up: int, center: float, size: float) -> tuple[Volume, Volume]:
    """Probabilities on a coarse grid, best at the base, and a reference on a fine one; never quite sure."""
    fine, coarse = ((15, 40, 40), (3.0, 1.0, 1.0)), ((15, 13, 13), (3.0, 3.0, 3.0))
    reference = _ellipsoid(*fine, (up * center, 1.0, -1.0), (13.0, size, 12.0)) <= 1
    radius = _ellipsoid(*coarse, (up * (center + 2.0), 0.0, 0.5), (12.5, 12.0, 10.5))
    probabilities = 0.97 / (1 + np.exp(5 * (radius - 1)))
    return _grid(probabilities, coarse[1], up), _grid(reference.astype(np.uint8), fine[1], up)


def _parts(pred: np.ndarray, reference: np.ndarray, apex: slice, base: slice) -> tuple[float, float, float]:
    return tuple(dice(pred[part], reference[part]) for part in (slice(None), base, apex))


def _native(probabilities: Volume, reference: Volume) -> np.ndarray:
    return resample_like(probabilities, reference, interpolation="linear").array


def _score_case(probabilities, reference, *, to_mask=lambda p: p >= 0.5):
    cut = thirds(reference)
    return _parts(to_mask(_native(probabilities, reference)), reference.array, cut["apex"], cut["base"])


def _on_training_grid(probabilities, reference):
    """Both masks on the grid of the network."""
    coarse = resample_like(reference, probabilities, interpolation="nearest")
    cut = thirds(coarse)
    return _parts(probabilities.array >= 0.5, coarse.array, cut["apex"], cut["base"])


def _mask_resampled(probabilities, reference):
    """Threshold first, then to the native grid: the outline keeps the steps of the coarse pixels."""
    mask = probabilities.map(lambda p: (p >= 0.5).astype(np.uint8))
    cut = thirds(reference)
    pred = resample_like(mask, reference, interpolation="nearest").array
    return _parts(pred, reference.array, cut["apex"], cut["base"])


def _thirds_of_image(probabilities, reference):
    n = reference.shape[0] // 3
    parts = slice(0, n), slice(2 * n, None)
    apex, base = parts if reference.direction[2, 2] > 0 else parts[::-1]
    return _parts(_native(probabilities, reference) >= 0.5, reference.array, apex, base)


def _thirds_of_prediction(probabilities, reference):
    pred = resample_like(probabilities, reference, interpolation="linear").map(lambda p: p >= 0.5)
    cut = thirds(pred)
    return _parts(pred.array, reference.array, cut["apex"], cut["base"])


def _apex_first(probabilities, reference):
    whole, base, apex = _score_case(probabilities, reference)
    return (whole, base, apex) if reference.direction[2, 2] > 0 else (whole, apex, base)


SCORE_CASE = Exercise(
    number="13.1",
    right=_score_case,
    probes=(_case(1, 0.0, 11.0), _case(-1, -3.0, 9.0)),
    praise="On the grid of the patient, with a threshold of one half, in thirds of the gland, and the apex is caudal.",
    wrong={
        "astype_int": Wrong(
            lambda p, r: _score_case(p, r, to_mask=lambda p: p.astype(int)),
            "No voxel is left: `.astype(int)` cuts off the decimals, so 0.97 becomes 0. That is a threshold of 1.0, "
            "and it has happened in published code. Compare with 0.5.",
        ),
        "reference_resampled": Wrong(
            _on_training_grid,
            "You brought the reference to the grid of the network and compared there. The reference is what the expert "
            "drew: leave it alone, and bring the probabilities to its grid.",
        ),
        "threshold_before_resampling": Wrong(
            _mask_resampled,
            "You made the mask on the grid of the network and resampled the mask: its outline keeps the steps of the "
            "coarse pixels. Resample the probabilities, then compare with 0.5.",
        ),
        "thirds_of_image": Wrong(
            _thirds_of_image,
            "You cut the image in thirds, not the gland. How much lies above and below the gland is up to the "
            "technician. Cut between the first and the last slice of the reference.",
        ),
        "thirds_of_prediction": Wrong(
            _thirds_of_prediction,
            "You cut by the slices of the prediction. Then each method is measured on parts of its own; cut by those "
            "of the reference.",
        ),
        "base_and_apex_swapped": Wrong(
            lambda p, r: tuple(_score_case(p, r)[k] for k in (0, 2, 1)),
            "You swapped base and apex. The apex is the caudal end, towards the feet; in LPS, z grows "
            "towards the head.",
        ),
        "apex_is_index_0": Wrong(
            _apex_first,
            "Right for the first probe, swapped in the second, whose slices run from head to feet. The apex is caudal: "
            "use the direction, not the index.",
        ),
    },
)

# ---- 13.2: an interval

_N_RESAMPLES = 10_000


def _table(ids: np.ndarray, values: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ids[order], values[order]


def _many_slices() -> tuple[np.ndarray, np.ndarray]:
    """15 cases of 24 slices; the cases differ by 0.04, the slices of a case by 0.03. Rows in no order."""
    rng = np.random.default_rng(0)
    cases = rng.normal(0.88, 0.04, 15)
    values = cases[:, None] + rng.normal(0, 0.03, (15, 24))
    ids = np.repeat([f"Case{k:02d}" for k in range(15)], 24)
    return _table(ids, values.ravel(), rng.permutation(360))


def _uneven_slices() -> tuple[np.ndarray, np.ndarray]:
    """Nine cases of 6 to 22 slices, worse at the ends; rows from the first slices of all cases to the last."""
    rng = np.random.default_rng(1)
    sizes = np.arange(6, 24, 2)
    places = np.concatenate([np.linspace(-1, 1, n) for n in sizes])
    level = np.repeat(rng.normal(0.85, 0.05, len(sizes)), sizes)
    values = level - 0.15 * places**2 + rng.normal(0, 0.01, len(places))
    ids = np.repeat([f"Case{k:02d}" for k in range(len(sizes))], sizes)
    return _table(ids, values, np.argsort(places, kind="stable"))


def _case_means(ids, values) -> np.ndarray:
    return np.array([values[ids == case].mean() for case in np.unique(ids)])


def _bootstrap(values: np.ndarray) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(len(values), size=(_N_RESAMPLES, len(values)))
    return np.percentile(values[drawn].mean(1), [2.5, 97.5])


def _normal_interval(values: np.ndarray) -> np.ndarray:
    return values.mean() + np.array([-1.96, 1.96]) * values.std(ddof=1)


INTERVAL = Exercise(
    number="13.2",
    right=lambda ids, values: _bootstrap(_case_means(ids, values)),
    probes=(_many_slices(), _uneven_slices()),
    praise="The patients were drawn, so the patients are drawn again. The first interval is 0.036 wide.",
    rtol=3e-3,  # other random numbers move the ends by a tenth of that
    wrong={
        "resampled_slices": Wrong(
            lambda ids, values: _bootstrap(values),
            "You drew slices. The first interval is then 0.0097 wide, and you are 3.7 times too sure: slices of one "
            "patient are not independent. Take the mean of each patient first, and draw patients.",
        ),
        "sd_not_se": Wrong(
            lambda ids, values: _normal_interval(_case_means(ids, values)),
            "This is where 95 % of the patients lie: mean ± 1.96 standard deviations. Asked was where the mean lies.",
        ),
        "without_replacement": Wrong(
            lambda ids, values: np.repeat(_case_means(ids, values).mean(), 2),
            "Your interval has no width: without replacement you draw every patient once, in another order, and the "
            "mean stays what it is. Draw with replacement.",
        ),
        "ids_lost": Wrong(
            lambda ids, values: _bootstrap(np.array([rows.mean() for rows in np.array_split(values, len(set(ids)))])),
            "You cut the table into equal blocks of rows, but the rows are not sorted by patient: each block mixes "
            "several. Use the ids.",
        ),
    },
)

# ---- 13.3: two methods


Distances = Mapping[str, np.ndarray]


def _two_methods(seed: int, n: int, better: float, failed: Sequence[str]) -> tuple[Distances, Distances, float]:
    """Distances of the slices of `n` cases, which differ more from case to case than from method to method."""
    rng = np.random.default_rng(seed)
    a, b = {}, {}
    for k in range(n):
        level, gain = rng.normal(8, 3) + rng.normal(0, 0.5, 7), rng.normal(better, 0.8)
        a[f"Case{k:02d}"] = np.abs(level)
        b[f"Case{k:02d}"] = np.abs(level + gain + rng.normal(0, 0.4, 7))
    for case in failed:
        b[case][0] = np.nan  # nothing was predicted in this slice
    return a, dict(reversed(b.items())), 150.0


def _pairs(a: Distances, b: Distances, penalty: float) -> np.ndarray:
    return np.array([[np.nan_to_num(run[case], nan=penalty).mean() for case in sorted(a)] for run in (a, b)])


def _signed_rank(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    return float(np.mean(x - y)), float(stats.wilcoxon(x, y).pvalue)


def _compare(a, b, penalty):
    return _signed_rank(*_pairs(a, b, penalty))


def _with_p(test: Callable) -> Callable:
    """The right difference, with the p value of another test of the values of the cases."""
    return lambda a, b, penalty: (_compare(a, b, penalty)[0], float(test(*_pairs(a, b, penalty))))


def _best_of_five(x, y):
    tests = stats.wilcoxon, stats.ttest_rel, stats.mannwhitneyu, stats.ttest_ind
    sign = stats.binomtest(int((x > y).sum()), len(x)).pvalue
    return min(sign, *(test(x, y).pvalue for test in tests))


def _by_row(a, b, penalty):
    rows = ([np.nan_to_num(values, nan=penalty).mean() for values in run.values()] for run in (a, b))
    return _signed_rank(*map(np.array, rows))


def _slices(a, b, penalty):
    return _signed_rank(*(np.nan_to_num(np.concatenate([run[c] for c in sorted(a)]), nan=penalty) for run in (a, b)))


def _dropped(a, b, penalty):
    return _signed_rank(*(np.array([np.nanmean(run[case]) for case in sorted(a)]) for run in (a, b)))


COMPARE = Exercise(
    number="13.3",
    right=_compare,
    probes=(_two_methods(3, 12, 0.2, ["Case03"]), _two_methods(8, 9, 0.9, [])),
    praise="One value a patient, failures counted, the same patient beside itself, one test.",
    wrong={
        "unpaired": Wrong(
            _with_p(lambda x, y: stats.mannwhitneyu(x, y).pvalue),
            "You compared the two groups as if they were different patients (Mann-Whitney). The patients differ by "
            "much more than the methods, and hide the difference. Compare each patient with itself.",
        ),
        "unpaired_t": Wrong(
            _with_p(lambda x, y: stats.ttest_ind(x, y).pvalue),
            "This is the t test for two groups of different patients. Compare each patient with itself, by Wilcoxon's "
            "signed-rank test.",
        ),
        "paired_t": Wrong(
            _with_p(lambda x, y: stats.ttest_rel(x, y).pvalue),
            "In pairs, good. But this is the t test, and a failure that counts 150 mm makes the differences anything "
            "but normal. Take the signed ranks: `scipy.stats.wilcoxon`.",
        ),
        "pairs_by_row": Wrong(
            _by_row,
            "You paired the first entry of `a` with the first of `b`. They are different patients: look up the ids.",
        ),
        "failures_dropped": Wrong(
            _dropped,
            "You left out the slice in which nothing was predicted, and so rewarded the failure. Count it with the "
            "penalty.",
        ),
        "n_is_slices": Wrong(
            _slices,
            "You tested the slices: n became seven times as large, and p far too small. One value for each patient.",
        ),
        "five_tests_best_p": Wrong(
            _with_p(_best_of_five),
            "You ran several tests and returned the smallest p. With enough tests one always comes out well. Choose "
            "the test before you see the data; here it is Wilcoxon's.",
        ),
        "one_sided": Wrong(
            _with_p(lambda x, y: stats.wilcoxon(x, y).pvalue / 2),
            "Your p is half of the right one: one-sided. You did not know beforehand which method would win.",
        ),
        "b_minus_a": Wrong(
            lambda a, b, penalty: _compare(b, a, penalty), "The sign: the difference is the first minus the second."
        ),
    },
)


def score_case(function: Callable) -> None:
    """Check exercise 13.1: ``function(probabilities, reference)`` returns the Dice of whole gland, base and apex."""
    SCORE_CASE.check(function)


def confidence_interval(function: Callable) -> None:
    """Check exercise 13.2: ``function(case_ids, dice)`` returns both ends of the interval of the mean."""
    INTERVAL.check(function)


def compare(function: Callable) -> None:
    """Check exercise 13.3: ``function(a, b, penalty)`` returns the mean difference and Wilcoxon's p."""
    COMPARE.check(function)
