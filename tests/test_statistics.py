import math

import numpy as np
import pytest
from scipy import stats

from medlearn.statistics import bland_altman, bootstrap_interval, paired_comparison

VALUES = np.random.default_rng(1).beta(20, 3, 35)


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_bootstrap_agrees_with_scipy(statistic):
    ours = bootstrap_interval(VALUES, statistic=statistic)
    theirs = stats.bootstrap(
        (VALUES,), statistic, method="percentile", rng=np.random.default_rng(2), n_resamples=10_000
    )
    np.testing.assert_allclose(ours, theirs.confidence_interval, atol=0.05 * np.ptp(theirs.confidence_interval))


def test_bootstrap_of_two_values_by_hand():
    """Their means are 0, ½ or 1 with probabilities ¼, ½ and ¼."""
    assert bootstrap_interval([0, 1]) == (0, 1)
    assert bootstrap_interval([0, 1], confidence=0.4) == (0.5, 0.5)


def test_bootstrap_is_deterministic_and_narrower_with_less_confidence():
    assert bootstrap_interval(VALUES) == bootstrap_interval(VALUES)
    assert bootstrap_interval(VALUES) != bootstrap_interval(VALUES, seed=1)
    (low, high), (inner_low, inner_high) = bootstrap_interval(VALUES), bootstrap_interval(VALUES, confidence=0.8)
    assert low < inner_low < VALUES.mean() < inner_high < high
    assert bootstrap_interval(VALUES, n_resamples=1) == (pytest.approx(VALUES.mean(), abs=0.1),) * 2


def test_a_failure_makes_the_upper_end_infinite():
    low, high = bootstrap_interval([1.0, 2.0, math.inf])  # (2/3)³ of the resamples hold no failure
    assert 1 <= low <= 2
    assert high == math.inf


def test_one_case_tells_nothing_about_the_spread():
    assert np.isnan(bootstrap_interval([0.9])).all()
    assert np.isnan(bootstrap_interval([])).all()


def test_bootstrap_refuses_what_has_no_interval():
    with pytest.raises(ValueError, match="1 nan"):
        bootstrap_interval([1, math.nan])
    with pytest.raises(ValueError, match="both directions"):
        bootstrap_interval([-math.inf, math.inf])
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_interval([1, 2], confidence=95)


def by_id(values):
    return {f"case {i}": value for i, value in enumerate(values)}


def test_pairs_agree_with_scipy_whatever_their_order():
    rng = np.random.default_rng(3)
    a, b = rng.normal(1, 1, (2, 30))
    found = paired_comparison(by_id(a), dict(reversed(by_id(b).items())))
    assert found.p_value == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert found.mean_difference == pytest.approx((a - b).mean())
    assert (found.low, found.high) == pytest.approx(bootstrap_interval(a - b), abs=0.1)
    assert (found.n, found.n_greater, found.n_less) == (30, (a > b).sum(), (a < b).sum())


def test_five_gains_by_hand():
    """One of the 2⁵ choices of signs is as extreme, and one in the other direction."""
    assert paired_comparison(by_id([1, 2, 3, 4, 5]), by_id([0] * 5)).p_value == 2 / 32


def test_a_failure_has_the_highest_rank_by_hand():
    """Ranks 1 to 4 are gains, rank 5 is a loss; 10 of the 32 subsets of the ranks have a sum of at most 5."""
    found = paired_comparison(by_id([1, 2, 3, 4, 100]), by_id([0, 0, 0, 0, math.inf]))
    assert found.p_value == pytest.approx(2 * 10 / 32)
    assert found.mean_difference == -math.inf
    assert found.low == -math.inf
    assert found.high > 0


def test_failures_of_both_runs_are_equal():
    found = paired_comparison(by_id([math.inf, 2, 3]), by_id([math.inf, 1, 1]))
    assert (found.n, found.n_greater, found.n_equal) == (3, 2, 1)
    assert found.mean_difference == 1
    assert found.p_value == 0.5


def test_failures_in_both_directions_have_no_mean_but_a_p_value():
    found = paired_comparison(by_id([math.inf, 1, 3]), by_id([1, math.inf, 1]))
    assert np.isnan([found.mean_difference, found.low, found.high]).all()
    assert 0 < found.p_value <= 1
    only_failures = paired_comparison(by_id([math.inf] * 5), by_id([1.0] * 5))
    assert only_failures.p_value == 2 / 32  # five equal ranks


def test_equal_runs():
    found = paired_comparison(by_id([0.9, 0.8]), by_id([0.9, 0.8]))
    assert (found.n_equal, found.mean_difference, found.low, found.high, found.p_value) == (2, 0, 0, 0, 1)


def test_cases_without_a_partner_are_named():
    with pytest.raises(ValueError, match=r"only in a: x; only in b: y, z"):
        paired_comparison({"x": 1, "w": 1}, {"w": 1, "z": 1, "y": 1})
    with pytest.raises(ValueError, match=r"leave these cases out.*w"):
        paired_comparison({"x": 1, "w": math.nan}, {"x": 1, "w": 1})
    with pytest.raises(ValueError, match="both are empty"):
        paired_comparison({}, {})


def test_limits_of_agreement_by_hand():
    found = bland_altman([12, 20, 31], [10, 20, 30])  # differences 2, 0, 1: mean 1, sd 1
    assert found.bias == 1
    assert (found.lower, found.upper) == pytest.approx((1 - 1.96, 1 + 1.96))


def test_limits_hold_95_percent_of_normal_differences():
    target = np.linspace(20, 80, 20_000)
    differences = np.random.default_rng(4).normal(-2, 3, target.size)
    found = bland_altman(target + differences, target)
    inside = (differences > found.lower) & (differences < found.upper)
    assert inside.mean() == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize(
    ("pred", "target", "match"),
    [([1], [1], "2 or more"), ([1, 2], [1, 2, 3], r"\(2,\), \(3,\)"), ([1, math.nan], [1, 2], "finite")],
)
def test_limits_of_agreement_refuse(pred, target, match):
    with pytest.raises(ValueError, match=match):
        bland_altman(pred, target)
