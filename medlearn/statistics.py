"""What a handful of cases allows to say: confidence intervals, comparison of two runs, limits of agreement."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import wilcoxon

_BATCH = 1000  # resamples drawn at once: a few MB for a few hundred cases


def bootstrap_interval(
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    statistic: Callable[..., np.ndarray] = np.mean,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval of a statistic of the cases, by the percentile bootstrap.

    As many cases as there are get drawn with replacement, again and again; the interval holds the middle `confidence`
    of the statistics found. It needs no assumption about the distribution, but it is too narrow for a few cases: for
    the mean of normal numbers, an interval called 95 % held the true mean in 84 % of 2000 trials with 5 cases, in
    90 % with 10, 93 % with 20 and 94 % with 40.

    Parameters
    ----------
    values : (n,) array
        One number for each case; infinite ones are allowed, of one sign.
    confidence : float
        Between 0 and 1.
    n_resamples : int
    statistic : callable
        Such as ``np.mean`` or ``np.median``: takes an array (resamples, n) and ``axis=1``.
    seed : int
        The same values and seed give the same interval.

    Returns
    -------
    low, high : float
        In the unit of `values`; infinite where the statistic of so many resamples is. ``nan`` with fewer than two
        values, which tell nothing about the spread.

    Raises
    ------
    ValueError
        If a value is ``nan``, values are infinite in both directions, or `confidence` or `n_resamples` is out of range.

    References
    ----------
    B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Examples
    --------
    >>> low, high = bootstrap_interval([0.80, 0.85, 0.88, 0.90, 0.91, 0.92])
    >>> print(f"{low:.3f} to {high:.3f}")
    0.842 to 0.907
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(
            f"values must be a list of numbers without nan: leave undefined cases out and say how many; got "
            f"{np.isnan(values).sum()} nan in shape {values.shape}"
        )
    if np.isposinf(values).any() and np.isneginf(values).any():
        raise ValueError("values are infinite in both directions: no mean and no interval is defined")
    if not 0 < confidence < 1 or n_resamples < 1:
        raise ValueError(
            f"confidence must lie between 0 and 1, n_resamples be 1 or more; got {confidence!r}, {n_resamples!r}"
        )
    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    sizes = [min(_BATCH, n_resamples - done) for done in range(0, n_resamples, _BATCH)]
    found = np.sort(np.concatenate([statistic(values[rng.integers(n, size=(size, n))], axis=1) for size in sizes]))
    tail = (1 - confidence) / 2 * (n_resamples - 1)
    # The next value outwards, never one between two: halfway to infinity is no number.
    return float(found[int(tail)]), float(found[-1 - int(tail)])


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """How the values of two runs differ on the same cases; every difference is the first minus the second.

    Attributes
    ----------
    n : int
        Number of cases.
    mean_difference : float
        In the unit of the values; infinite if only one run has infinite values, ``nan`` if each has one where the
        other has none.
    low, high : float
        95 % bootstrap interval of the mean difference; ``nan`` where that is ``nan``, or with one case.
    n_greater, n_less, n_equal : int
        Cases in which the first value is greater, less, equal.
    p_value : float
        Of Wilcoxon's signed-rank test, two-sided.
    """

    n: int
    mean_difference: float
    low: float
    high: float
    n_greater: int
    n_less: int
    n_equal: int
    p_value: float


def paired_comparison(a: Mapping[str, float], b: Mapping[str, float]) -> PairedComparison:
    """Compare two runs case by case: mean difference with its interval, and Wilcoxon's signed-rank test.

    Infinite values are failures, and stay in: a difference between an infinite and a finite value gets the highest rank
    of all, the same one for every such case, with the sign it has; two infinite values of one sign are equal. Equal
    pairs say nothing about the direction and are left out of the test (Wilcoxon's own way); if all are equal, p = 1.

    Parameters
    ----------
    a, b : mapping of case id to float
        One measure of one run each, with the same ids.

    Returns
    -------
    PairedComparison
        Of `a` minus `b`.

    Raises
    ------
    ValueError
        If there is no case, if an id is missing in one of the two, or if a value is ``nan``; the message names the ids.

    References
    ----------
    F. Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945) 80-83.

    Examples
    --------
    >>> found = paired_comparison({"x": 0.9, "y": 0.8, "z": 0.7}, {"x": 0.8, "y": 0.6, "z": 0.7})
    >>> round(found.mean_difference, 3), found.n_greater, found.n_equal, found.p_value
    (0.1, 2, 1, 0.5)
    """
    _check_pairs(a, b)
    ids = sorted(a)
    first, second = (np.array([values[i] for i in ids], float) for values in (a, b))
    equal = first == second
    with np.errstate(invalid="ignore"):  # inf − inf, which counts as equal
        differences = np.where(equal, 0.0, first - second)
    both_ways = np.isposinf(differences).any() and np.isneginf(differences).any()
    low, high = (np.nan, np.nan) if both_ways else bootstrap_interval(differences)
    return PairedComparison(
        n=len(ids),
        mean_difference=float("nan") if both_ways else float(differences.mean()),
        low=float(low),
        high=float(high),
        n_greater=int((differences > 0).sum()),
        n_less=int((differences < 0).sum()),
        n_equal=int(equal.sum()),
        p_value=_signed_rank_p(differences[~equal]),
    )


def _check_pairs(a: Mapping[str, float], b: Mapping[str, float]) -> None:
    if not a and not b:
        raise ValueError("a and b must hold at least one case to compare; both are empty")
    if a.keys() != b.keys():
        only = [f"only in {name}: {_join(ids)}" for name, ids in (("a", a.keys() - b), ("b", b.keys() - a)) if ids]
        raise ValueError(f"a and b must hold the same cases to be compared in pairs; {'; '.join(only)}")
    if undefined := [i for i in a if np.isnan(a[i]) or np.isnan(b[i])]:
        raise ValueError(f"nan has no rank: leave these cases out of a and b, and say so: {_join(undefined)}")


def _join(ids: Sequence[str]) -> str:
    return ", ".join(sorted(map(str, ids)))


def _signed_rank_p(differences: np.ndarray) -> float:
    if not differences.size:
        return 1.0
    infinite = np.isinf(differences)
    beyond = 2 * np.abs(differences[~infinite]).max(initial=0.5)  # the test uses ranks only
    return float(wilcoxon(np.where(infinite, np.sign(differences) * beyond, differences)).pvalue)


@dataclass(frozen=True, slots=True)
class LimitsOfAgreement:
    """Bias and 95 % limits of agreement of two ways to measure, in the unit of the measurements.

    Attributes
    ----------
    bias : float
        Mean of prediction − reference.
    lower, upper : float
        bias ∓ 1.96 standard deviations: 95 % of normally distributed differences lie between them.
    """

    bias: float
    lower: float
    upper: float


def bland_altman(pred: ArrayLike, target: ArrayLike) -> LimitsOfAgreement:
    """Bias and limits of agreement of predicted and reference measurements, such as volumes in ml.

    Parameters
    ----------
    pred, target : (n,) arrays
        Two measurements of each of n ≥ 2 cases, finite, in one unit.

    Returns
    -------
    LimitsOfAgreement
        With the standard deviation of n − 1 degrees of freedom.

    Raises
    ------
    ValueError
        If there are fewer than two pairs, the lengths differ, or a value is not finite.

    References
    ----------
    J. M. Bland, D. G. Altman, Statistical methods for assessing agreement between two methods of clinical measurement,
    Lancet 327 (1986) 307-310.

    Examples
    --------
    >>> bland_altman([21.0, 30.0, 42.0], [20.0, 30.0, 40.0])
    LimitsOfAgreement(bias=1.0, lower=-0.96, upper=2.96)
    """
    pred, target = np.asarray(pred, float), np.asarray(target, float)
    if pred.shape != target.shape or pred.ndim != 1 or len(pred) < 2:
        raise ValueError(
            f"pred and target must be two lists of the same length, 2 or more; got shapes {pred.shape}, {target.shape}"
        )
    if not (np.isfinite(pred).all() and np.isfinite(target).all()):
        raise ValueError("pred and target must be finite: leave cases without a measurement out, and say how many")
    differences = pred - target
    bias, spread = float(differences.mean()), 1.96 * float(differences.std(ddof=1))
    return LimitsOfAgreement(bias=bias, lower=bias - spread, upper=bias + spread)
