"""Checks of chapter 12b: draws and patients, Dice without tricks, five cases, squeezed slices, costs."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from ._core import Exercise, Wrong

# ---- 12b.1: what 150,000 drawn slices an epoch are


def _budget(per_epoch, n_epochs, n_slices, n_patients, batch):
    steps = n_epochs * (per_epoch // batch)
    return steps, steps * batch / n_slices, n_patients


BUDGET = Exercise(
    number="12b.1",
    right=_budget,
    probes=((150_000, 20, 1250, 45, 32), (50_000, 20, 1250, 45, 32), (1000, 7, 300, 11, 24)),
    praise="150,000 an epoch are 93,740 steps in all, every slice about 2,400 times, and still 45 patients. At 50,000 "
    "the budget changes, the data do not.",
    wrong={
        "150000_patients": Wrong(
            lambda p, e, s, n, b: (*_budget(p, e, s, n, b)[:2], p),
            "A drawn slice is no patient. All 150,000 show the same 45 prostates, bent anew: the independent examples "
            "are the patients.",
        ),
        "slices_independent": Wrong(
            lambda p, e, s, n, b: (*_budget(p, e, s, n, b)[:2], s),
            "Neighboring slices of one patient are nearly copies of each other. Count patients.",
        ),
        "steps_of_one_epoch": Wrong(
            lambda p, e, s, n, b: (p // b, _budget(p, e, s, n, b)[1], n),
            "These are the steps of one epoch. Asked are those of the whole training.",
        ),
        "draws_of_one_epoch": Wrong(
            lambda p, e, s, n, b: (_budget(p, e, s, n, b)[0], p // b * b / s, n),
            "So often each slice is drawn in one epoch. Asked is the whole training.",
        ),
        "draws_not_steps": Wrong(
            lambda p, e, s, n, b: (p * e, p * e / s, n),
            "You counted every drawn slice as a step. A step takes a whole batch.",
        ),
        "steps_for_draws": Wrong(
            lambda p, e, s, n, b: (_budget(p, e, s, n, b)[0], _budget(p, e, s, n, b)[0] / s, n),
            "In every step a whole batch of slices is drawn, not one: the second number lacks that factor.",
        ),
        "half_a_step": Wrong(
            lambda p, e, s, n, b: (p * e / b, p * e / s, n),
            "There are no fractions of a step. The rank-8 code divides with `//`: what does not fill a batch is left "
            "out, in every epoch.",
        ),
        "rounded_up": Wrong(
            lambda p, e, s, n, b: (e * -(-p // b), e * -(-p // b) * b / s, n),
            "You rounded up. The rank-8 code divides with `//`: what does not fill a batch is left out.",
        ),
        "per_patient": Wrong(
            lambda p, e, s, n, b: (_budget(p, e, s, n, b)[0], _budget(p, e, s, n, b)[0] * b / n, n),
            "So many draws come from each patient. Asked is how often each slice is drawn.",
        ),
    },
)

# ---- 12b.2: the Dice of every slice


def _dices(pred, reference, *, smooth=0.0, empty=np.nan):
    overlap = (pred * reference).sum((1, 2))
    sizes = pred.sum((1, 2)) + reference.sum((1, 2))
    both_empty = sizes == 0
    values = (2 * overlap + smooth) / np.where(both_empty, 1, sizes + smooth)
    return np.where(both_empty, empty, values)


def _dice_per_slice(probabilities, reference):
    return _dices((probabilities >= 0.5).astype(int), reference.astype(int))


def _gland(seed: int, *, certain: bool) -> tuple[np.ndarray, np.ndarray]:
    """Seven slices: nothing at both ends, one false pixel beside the lower one; the gland fades towards its border."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((24, 24)) - 11.5
    distance = np.hypot(y + rng.normal(), x + rng.normal())
    radii = np.array([0, 0, 4, 7, 8, 5, 0])
    reference = (np.hypot(y, x) < radii[:, None, None]).astype(np.uint8)
    probabilities = 1 / (1 + np.exp(1.5 * (distance - radii[:, None, None])))
    probabilities[[0, 1, 6]] = 0.02
    probabilities[1, 3, 4] = 0.9
    probabilities[3, 11, :6] = 0.5
    if certain:  # a network trained by Dice alone: the middle is exactly 1
        probabilities[probabilities > 0.99] = 1.0
    return probabilities, reference


DICE_PER_SLICE = Exercise(
    number="12b.2",
    right=_dice_per_slice,
    probes=(_gland(0, certain=True), _gland(1, certain=False)),
    praise="One half decides, nothing is added, and where there is nothing to find there is no score.",
    wrong={
        "astype_int": Wrong(
            lambda p, r: _dices(p.astype(int), r.astype(int)),
            "`.astype(int)` cuts off the decimals: 0.97 becomes 0, and only what is exactly 1.0 counts as gland. That "
            "is what the rank-8 code does. Compare with 0.5.",
        ),
        "smooth_1": Wrong(
            lambda p, r: _dices((p >= 0.5).astype(int), r.astype(int), smooth=1.0, empty=1.0),
            "You added 1 above and below, as the rank-8 code does. An empty slice then counts as perfect, and one "
            "false pixel in an empty slice still gets 0.5.",
        ),
        "both_mistakes": Wrong(
            lambda p, r: _dices(p.astype(int), r.astype(int), smooth=1.0, empty=1.0),
            "That is the rank-8 code with both mistakes: `.astype(int)` is a threshold of 1.0, and the added 1 makes "
            "an empty slice perfect.",
        ),
        "empty_is_perfect": Wrong(
            lambda p, r: _dices((p >= 0.5).astype(int), r.astype(int), empty=1.0),
            "A slice with nothing in it and nothing found is 0/0. Calling it 1 rewards a network for slices outside "
            "of the gland; return nan.",
        ),
        "empty_is_zero": Wrong(
            lambda p, r: _dices((p >= 0.5).astype(int), r.astype(int), empty=0.0),
            "A slice with nothing in it and nothing found is 0/0. Calling it 0 punishes the right answer; return nan.",
        ),
        "soft": Wrong(
            lambda p, r: _dices(p, r.astype(int)),
            "You put the probabilities into the formula. That is the soft Dice of the loss; a result is a mask.",
        ),
        "rounded": Wrong(
            lambda p, r: _dices((p > 0.5).astype(int), r.astype(int)),
            "A probability of exactly 0.5 belongs to the gland here: `>= 0.5`. (`np.rint` rounds it down, too.)",
        ),
        "whole_case": Wrong(
            lambda p, r: _dices((p >= 0.5).astype(int)[None].reshape(1, -1, 1), r.astype(int).reshape(1, -1, 1)),
            "That is one number for the whole case, the better measure by far. Here one number a slice is asked, to "
            "see what the mistakes do.",
        ),
    },
)

# ---- 12b.3: an interval from five cases


def _interval(values, *, quantile=None, ddof=1, root=True):
    n = len(values)
    quantile = stats.t.ppf(0.975, n - 1) if quantile is None else quantile
    half = quantile * values.std(ddof=ddof) / (np.sqrt(n) if root else 1)
    return values.mean() - half, values.mean() + half


def _standardized(shape, mean: float, deviation: float) -> np.ndarray:
    values = np.array(shape, float)
    return mean + deviation * (values - values.mean()) / values.std(ddof=1)


T_INTERVAL = Exercise(
    number="12b.3",
    right=_interval,
    probes=(
        (_standardized([-1.4, -0.6, 0.3, 0.5, 1.3], 0.885, 0.041),),
        (_standardized([2.0, -1, 0, 0.5, 0.7, -0.3, 0.9, -1.8, 0.2], 0.83, 0.06),),
    ),
    praise="Five cases, 0.885 ± 0.041: the mean lies between 0.834 and 0.936. The winners of the challenge fit in "
    "there.",
    wrong={
        "normal": Wrong(
            lambda v: _interval(v, quantile=stats.norm.ppf(0.975)),
            "You took 1.96. With five cases you do not know the deviation well either: Student's t with 4 degrees of "
            "freedom says 2.78.",
        ),
        "sd_not_se": Wrong(
            lambda v: _interval(v, root=False),
            "You left the root of n out. That is about where single cases lie; asked is where the mean lies.",
        ),
        "divided_by_n": Wrong(
            lambda v: _interval(v, ddof=0),
            "NumPy's `std` divides by n unless you say `ddof=1`. With five cases that makes the interval a tenth too "
            "short.",
        ),
        "n_degrees": Wrong(
            lambda v: _interval(v, quantile=stats.t.ppf(0.975, len(v))),
            "n cases leave n − 1 degrees of freedom: one went into the mean.",
        ),
        "one_sided": Wrong(
            lambda v: _interval(v, quantile=stats.t.ppf(0.95, len(v) - 1)),
            "That is the quantile at 0.95, and it leaves 5 % on each side: an interval of 90 %. Take 0.975.",
        ),
        "normal_divided_by_n": Wrong(
            lambda v: _interval(v, quantile=stats.norm.ppf(0.975), ddof=0),
            "Two things: 1.96 is for many cases (take Student's t), and NumPy's `std` divides by n unless you say "
            "`ddof=1`.",
        ),
        "mean_and_half": Wrong(
            lambda v: (v.mean(), v.mean() - _interval(v)[0]),
            "You returned the mean and the half width. Asked are both ends.",
        ),
    },
)

# ---- 12b.4: a slice squeezed to a square


def _pixels_mm(pixels, shape, spacing, side):
    return np.array(shape) * spacing / side * pixels


SQUEEZED = Exercise(
    number="12b.4",
    right=lambda *a: float(np.hypot(*_pixels_mm(*a))),
    probes=(
        (np.array([30.0, 40.0]), (320, 320), (0.625, 0.625), 256),
        (np.array([12.0, -5.0]), (512, 256), (0.3, 0.75), 256),
    ),
    praise="A pixel of the square has the size that its own case gave it, along each axis.",
    unit="mm",
    wrong={
        "in_pixels": Wrong(
            lambda p, shape, spacing, side: float(np.hypot(*p)),
            "That is the length in pixels of the square. Two patients with the same number may differ by half.",
        ),
        "spacing_kept": Wrong(
            lambda p, shape, spacing, side: float(np.hypot(*(np.array(spacing) * p))),
            "You used the spacing of the scan. But the scan was resized: each pixel of the square now covers "
            "rows / side of its pixels.",
        ),
        "upside_down": Wrong(
            lambda p, shape, spacing, side: float(np.hypot(*(side / np.array(shape) * spacing * p))),
            "The factor is upside down. If 320 rows became 256, a new pixel is larger than an old one.",
        ),
        "axes_swapped": Wrong(
            lambda p, shape, spacing, side: float(np.hypot(*_pixels_mm(p, shape[::-1], spacing[::-1], side))),
            "Your rows got the size of the columns. Shape and spacing are ordered (y, x), as the vector is.",
        ),
        "one_size": Wrong(
            lambda p, shape, spacing, side: float(np.mean(_pixels_mm(1.0, shape, spacing, side)) * np.hypot(*p)),
            "You used one size for both axes. A slice that was not square was squeezed more along one of them.",
        ),
        "added": Wrong(
            lambda *a: float(np.abs(_pixels_mm(*a)).sum()),
            "You added both sides of the right angle. The distance is the root of the sum of their squares.",
        ),
    },
)

# ---- 12b.5: what a training costs


def _cost(step_ms, n_steps, n_runs, watts, price):
    hours = step_ms / 1000 * n_steps * n_runs / 3600
    energy = hours * watts / 1000
    return hours, energy, energy * price


COST = Exercise(
    number="12b.5",
    right=_cost,
    probes=((768.0, 93_740, 5, 250.0, 0.3), (60.0, 150, 57, 65.0, 0.25)),
    praise="Energy is power times time, over all runs, also those that you threw away.",
    wrong={
        "one_run": Wrong(
            lambda s, n, r, w, p: _cost(s, n, 1, w, p),
            "You counted one run. The others cost the same, whatever became of them.",
        ),
        "watt_hours": Wrong(
            lambda s, n, r, w, p: _cost(s, n, r, w, p)[:1] + tuple(1000 * x for x in _cost(s, n, r, w, p)[1:]),
            "Watts times hours are watt-hours. A kilowatt-hour has 1000 of them.",
        ),
        "milliseconds_as_seconds": Wrong(
            lambda s, n, r, w, p: _cost(1000 * s, n, r, w, p),
            "A step takes milliseconds, not seconds.",
        ),
        "minutes": Wrong(
            lambda s, n, r, w, p: _cost(60 * s, n, r, w, p),
            "You divided by 60 once: these are minutes. Hours are asked.",
        ),
        "joules": Wrong(
            lambda s, n, r, w, p: (_cost(s, n, r, w, p)[0], 3.6e6 * _cost(s, n, r, w, p)[1], _cost(s, n, r, w, p)[2]),
            "Watts times seconds are joules. A kilowatt-hour has 3.6 million of them.",
        ),
        "time_divided_by_power": Wrong(
            lambda s, n, r, w, p: (
                _cost(s, n, r, w, p)[0],
                1000 * _cost(s, n, r, w, p)[0] / w,
                1000 * _cost(s, n, r, w, p)[0] / w * p,
            ),
            "You divided by the power. A machine that draws more needs more energy in the same time.",
        ),
        "price_of_an_hour": Wrong(
            lambda s, n, r, w, p: (*_cost(s, n, r, w, p)[:2], _cost(s, n, r, w, p)[0] * p),
            "Time and energy are right. But the price is that of a kilowatt-hour, not of an hour.",
        ),
    },
)


def budget(function: Callable) -> None:
    """Check exercise 12b.1: ``function(per_epoch, n_epochs, n_slices, n_patients, batch)`` counts a training."""
    BUDGET.check(function)


def dice_per_slice(function: Callable) -> None:
    """Check exercise 12b.2: ``function(probabilities, reference)`` returns the Dice of every slice."""
    DICE_PER_SLICE.check(function)


def t_interval(function: Callable) -> None:
    """Check exercise 12b.3: ``function(values)`` returns both ends of the 95 % interval of the mean."""
    T_INTERVAL.check(function)


def squeezed_length(function: Callable) -> None:
    """Check exercise 12b.4: ``function(pixels, shape, spacing, side)`` returns a length in mm."""
    SQUEEZED.check(function)


def training_cost(function: Callable) -> None:
    """Check exercise 12b.5: ``function(step_ms, n_steps, n_runs, watts, price)`` returns hours, kWh and price."""
    COST.check(function)
