"""Checks of chapter 10a: the Dice of a stack, three shares that are often confused, the 95 % Hausdorff distance."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ..metrics import surface_distances
from ._core import Exercise, Wrong, describe_error


def _box(shape: tuple[int, ...], *sides: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def _overlap(pred, target):
    return (pred & target).sum()


def _dice(pred, target):
    total = pred.sum() + target.sum()
    return 2 * _overlap(pred, target) / total if total else np.nan


def _stack() -> tuple[np.ndarray, np.ndarray]:
    """Four slices; the last one holds a tip of four pixels, the first one two wrong pixels."""
    target = np.zeros((4, 10, 10), bool)
    target[1, 2:8, 2:8] = target[2, 1:9, 1:9] = target[3, 4:6, 4:6] = True
    pred = target.copy()
    pred[3] = False
    pred[3, 4, 4] = pred[0, 0, :2] = True
    return pred, target


@dataclass(frozen=True)
class _EmptyToo(Exercise):
    """An exercise whose function must also follow a rule for two empty masks: ``nan``."""

    hint: str = ""

    def verdict(self, function: Callable) -> str:
        verdict = super().verdict(function)
        if not verdict.startswith("right!"):
            return verdict
        empty = np.zeros((2, 3, 3), bool)
        try:
            with np.errstate(invalid="ignore"):  # 0 / 0 of NumPy's integers is nan, and a warning
                answer = function(empty, empty.copy())
        except Exception as error:
            return f"not yet. {self.hint} Yours stopped. {describe_error(error, function)}"
        return verdict if self.agrees(answer, np.nan) else f"not yet. {self.hint} Yours returned {answer}."


DICE = _EmptyToo(
    number="10a.1",
    right=_dice,
    probes=(
        _stack(),
        (_box((3, 6, 8), (0, 2), (1, 5), (1, 6)), _box((3, 6, 8), (1, 3), (1, 6), (2, 6))),
    ),
    praise="One fraction for the whole stack, and a rule for two empty masks.",
    hint="The numbers are right, but two empty masks have no Dice: by the rule of this exercise they give nan.",
    wrong={
        "factor_2_forgotten": Wrong(
            lambda p, t: _overlap(p, t) / (p.sum() + t.sum()),
            "Your number is half of the Dice: two identical masks would score 0.5. Which factor is missing?",
        ),
        "jaccard": Wrong(
            lambda p, t: _overlap(p, t) / (p | t).sum(),
            "You divided by the union: that is the Jaccard index. Dice divides twice the overlap by the sum of sizes.",
        ),
        "bool_plus_is_or": Wrong(
            lambda p, t: 2 * _overlap(p, t) / (p + t).sum(),
            "True + True is True in NumPy: shared voxels counted once below the line. A Dice above 1 is always this. "
            "Count each mask, then add the two numbers.",
        ),
        "mean_of_slices": Wrong(
            lambda p, t: np.mean([_dice(a, b) if (a | b).any() else 1.0 for a, b in zip(p, t, strict=True)]),
            "You averaged the Dice of the slices. In the first probe a tip of 4 voxels counted as much as a slice of "
            "64, and two wrong voxels in an empty slice cost a quarter of the score. Count over the whole stack.",
        ),
        "accuracy": Wrong(
            lambda p, t: (p == t).mean(),
            "This is the accuracy: the share of voxels on which the masks agree. Most of those are background.",
        ),
        "precision": Wrong(
            lambda p, t: _overlap(p, t) / p.sum(),
            "You divided by the prediction alone: that is the precision. It does not notice what was missed.",
        ),
        "sensitivity": Wrong(
            lambda p, t: _overlap(p, t) / t.sum(),
            "You divided by the truth alone: that is the sensitivity. A prediction that fills the image would score 1.",
        ),
        "smoothing_1000": Wrong(
            lambda p, t: (2 * _overlap(p, t) + 1000) / (p.sum() + t.sum() + 1000),
            "You added 1000 above and below the line. A loss may be smoothed like that; a measure is then too good, "
            "most of all for small organs: an empty prediction of a gland of 100 voxels would score 0.91.",
        ),
        "smoothing_1": Wrong(
            lambda p, t: (2 * _overlap(p, t) + 1) / (p.sum() + t.sum() + 1),
            "You added 1 above and below the line, as some losses do. A measure must not depend on such a number: "
            "leave it out, and treat two empty masks by themselves.",
        ),
    },
)


def _shares(pred, target):
    both = _overlap(pred, target)
    return (pred == target).mean(), both / pred.sum(), both / target.sum()


def _replaced(k: int, function: Callable) -> Callable:
    """The three shares, with number `k` computed in another way."""

    def compute(pred, target):
        shares = list(_shares(pred, target))
        shares[k] = function(pred, target)
        return tuple(shares)

    return compute


SHARES = Exercise(
    number="10a.2",
    right=_shares,
    probes=(
        (_box((10, 20), (2, 7), (3, 13)), _box((10, 20), (3, 9), (5, 12))),
        (_box((6, 6), (0, 4), (0, 5)), _box((6, 6), (2, 6), (1, 3))),
    ),
    praise="Three fractions with different denominators: all voxels, the prediction, the truth.",
    wrong={
        "precision_and_sensitivity_swapped": Wrong(
            lambda p, t: tuple(_shares(p, t)[k] for k in (0, 2, 1)),
            "You swapped precision and sensitivity. Precision asks the prediction how much of it is right; sensitivity "
            "asks the truth how much of it was found.",
        ),
        "accuracy_and_precision_swapped": Wrong(
            lambda p, t: tuple(_shares(p, t)[k] for k in (1, 0, 2)),
            "You swapped accuracy and precision. 准确率 is over all voxels, 精确率 over the predicted ones.",
        ),
        "true_negatives_forgotten": Wrong(
            _replaced(0, lambda p, t: (p & t).mean()),
            "Your accuracy counts only the gland voxels that were found. Background that was left alone is right too.",
        ),
        "jaccard_as_accuracy": Wrong(
            _replaced(0, lambda p, t: _overlap(p, t) / (p | t).sum()),
            "Your accuracy is the Jaccard index: it leaves the background out. A good idea, but another measure.",
        ),
        "dice_as_accuracy": Wrong(
            _replaced(0, _dice),
            "Your accuracy is the Dice coefficient: it leaves the background out. A good idea, but another measure.",
        ),
        "error_rate": Wrong(
            _replaced(0, lambda p, t: (p != t).mean()), "Your accuracy is the share of wrong voxels. Take the others."
        ),
        "specificity": Wrong(
            _replaced(2, lambda p, t: (~p & ~t).sum() / (~t).sum()),
            "Your sensitivity is the specificity: the share of the background that was left alone.",
        ),
        "background_as_organ": Wrong(
            lambda p, t: _shares(~p, ~t),
            "Your precision and sensitivity are those of the background. The organ is True.",
        ),
        "percent": Wrong(
            lambda p, t: tuple(100 * share for share in _shares(p, t)), "Right, but in percent. Return numbers up to 1."
        ),
    },
)


def _percentile95(distances):
    return np.percentile(distances, 95)


def _directed(pred, target, spacing):
    return [_percentile95(distances) for distances in surface_distances(pred, target, spacing)]


def _hausdorff95(pred, target, spacing):
    return max(_directed(pred, target, spacing))


def _of_volumes(pred, target, spacing):
    """From all voxels of a mask instead of those of its surface: inside the other mask the distance is 0."""
    return max(
        _percentile95(ndimage.distance_transform_edt(~other, sampling=spacing)[mask])
        for mask, other in ((pred, target), (target, pred))
    )


def _half_a_gland() -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """A prediction that misses half of the gland and has a small island."""
    shape = (12, 40, 40)
    pred = _box(shape, (3, 7), (16, 28), (19, 35)) | _box(shape, (10, 11), (3, 6), (3, 6))
    return pred, _box(shape, (3, 9), (10, 30), (10, 30)), (3.6, 0.5, 0.8)


def _large_island() -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """A prediction that is right but for an island, far away and large."""
    shape = (10, 24, 30)
    target = _box(shape, (2, 7), (4, 14), (3, 13))
    return target | _box(shape, (3, 6), (15, 21), (18, 26)), target, (2.0, 1.0, 0.75)


@dataclass(frozen=True)
class _Definitions(Exercise):
    """An exercise with answers that are right by another definition: they are named, not failed."""

    also: dict[str, Wrong] = field(default_factory=dict)

    def verdict(self, function: Callable) -> str:
        verdict = super().verdict(function)
        if verdict.startswith("right!") or not callable(function):
            return verdict
        for other in self.also.values():
            try:
                answers = [function(*copy.deepcopy(probe)) for probe in self.probes]
            except Exception:
                return verdict
            if all(map(self.agrees, answers, self.answers(other.compute))):
                return f"right, by another definition. {other.hint}"
        return verdict


HAUSDORFF95 = _Definitions(
    number="10a.3",
    right=_hausdorff95,
    probes=(_half_a_gland(), _large_island()),
    praise="Surfaces, in mm, both ways, and the larger of the two percentiles.",
    unit="mm",
    also={
        "pooled": Wrong(
            lambda p, t, s: _percentile95(np.concatenate(surface_distances(p, t, s))),
            "You put the distances of both directions into one list: medpy's HD95. It is in use, and it lets small "
            "islands vanish. The exercise asks for the larger of the two percentiles; whichever you take, say which.",
        ),
        "mean_of_directions": Wrong(
            lambda p, t, s: np.mean(_directed(p, t, s)),
            "You averaged the two directed percentiles: what only one of them sees then counts half. The exercise asks "
            "for the larger of them; whichever you take, say which.",
        ),
    },
    wrong={
        "only_pred_to_truth": Wrong(
            lambda p, t, s: _directed(p, t, s)[0],
            "You measured from the prediction to the truth only. A prediction that misses half of the gland looks "
            "perfect from its own side: go back as well, and take the larger number.",
        ),
        "only_truth_to_pred": Wrong(
            lambda p, t, s: _directed(p, t, s)[1],
            "You measured from the truth to the prediction only. From there an island far away is not seen: go the "
            "other way as well, and take the larger number.",
        ),
        "spacing_ignored": Wrong(
            lambda p, t, s: _hausdorff95(p, t, (1, 1, 1)),
            "You counted voxels, not mm: pass `sampling=spacing` to the distance transform. In the first probe the two "
            "numbers are close by accident.",
        ),
        "spacing_xyz": Wrong(
            lambda p, t, s: _hausdorff95(p, t, s[::-1]),
            "You reversed the spacing. Arrays and their spacing are z, y, x here; the slice spacing comes first.",
        ),
        "maximum": Wrong(
            lambda p, t, s: max(distances.max() for distances in surface_distances(p, t, s)),
            "You took the largest distance: the Hausdorff distance itself, which a single voxel decides. Take the 95th "
            "percentile.",
        ),
        "volume_not_surface": Wrong(
            _of_volumes,
            "You took the distances of all voxels. Those inside the other mask have distance 0 and push the percentile "
            "down. Take the voxels of the surface, to the surface.",
        ),
        "smaller_direction": Wrong(
            lambda p, t, s: min(_directed(p, t, s)),
            "You took the smaller of the two directions. It hides exactly the error that the other one saw.",
        ),
        "average": Wrong(
            lambda p, t, s: np.concatenate(surface_distances(p, t, s)).mean(),
            "You averaged the distances: that is the average boundary distance. Take the 95th percentile.",
        ),
    },
)


def dice_of_stack(function: Callable) -> None:
    """Check exercise 10a.1: ``function(pred, target)`` returns the Dice of two stacks of slices."""
    DICE.check(function)


def accuracy_precision_sensitivity(function: Callable) -> None:
    """Check exercise 10a.2: ``function(pred, target)`` returns the three shares in this order."""
    SHARES.check(function)


def hausdorff95_by_hand(function: Callable) -> None:
    """Check exercise 10a.3: ``function(pred, target, spacing)`` returns the larger 95th percentile in mm."""
    HAUSDORFF95.check(function)
