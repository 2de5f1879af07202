"""Checks of chapter 1: overlap of boxes, the box of the largest object, average precision, balanced accuracy."""

from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong

# Boxes are (y0, x0, y1, x1), half-open.


def _sides(first, second) -> np.ndarray:
    """Height and width of what two boxes share; negative where they lie apart."""
    return np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])


def _shared(first, second) -> float:
    return np.prod(np.maximum(_sides(first, second), 0))


def _area(box) -> float:
    return np.prod(box[2:] - box[:2])


def _iou(first, second) -> float:
    shared = _shared(first, second)
    return shared / (_area(first) + _area(second) - shared)


def _iou_unclamped(first, second) -> float:
    shared = np.prod(_sides(first, second))
    return shared / (_area(first) + _area(second) - shared)


def _iou_inclusive(first, second) -> float:
    one_more = np.array([0, 0, 1, 1])
    return _iou(first + one_more, second + one_more)


def _box(*corners: float) -> np.ndarray:
    return np.array(corners, float)


OVERLAP = Exercise(
    number="1.1",
    right=_iou,
    probes=(
        (_box(2, 3, 8, 9), _box(4, 5, 10, 13)),
        (_box(0, 0, 4, 4), _box(6, 7, 9, 12)),  # apart along both axes
        (_box(1, 2, 7, 5), _box(2, 1, 4, 9)),
    ),
    praise="What two boxes share, over what they cover together: 0 apart, 1 if they are the same.",
    wrong={
        "apart_but_not_zero": Wrong(
            _iou_unclamped,
            "The second pair lies apart along both axes. Two negative sides have a positive product: set negative "
            "sides to 0 first.",
        ),
        "union_counts_twice": Wrong(
            lambda a, b: _shared(a, b) / (_area(a) + _area(b)),
            "The union is not the sum of the areas: what both cover was counted twice. Two equal boxes must give 1.",
        ),
        "dice": Wrong(
            lambda a, b: 2 * _shared(a, b) / (_area(a) + _area(b)),
            "That is the Dice coefficient of the boxes. The IoU divides by the union.",
        ),
        "over_the_smaller": Wrong(
            lambda a, b: _shared(a, b) / min(_area(a), _area(b)),
            "You divided by the smaller box. Then a box around the whole image would be perfect.",
        ),
        "over_the_first": Wrong(
            lambda a, b: _shared(a, b) / _area(a),
            "You divided by the first box alone: whoever exchanges the two gets another number.",
        ),
        "last_row_included": Wrong(
            _iou_inclusive,
            "You added 1 to the sides. Our boxes are half-open: from 2 to 8 are the six rows 2 to 7.",
        ),
    },
)


def _largest(labels, size=lambda pixels: len(pixels[0])):
    """Rows and columns of the object that is largest by `size`."""
    objects = [np.nonzero(labels == k) for k in np.unique(labels) if k]
    return max(objects, key=size)


def _around(pixels) -> np.ndarray:
    y, x = pixels
    return np.array([y.min(), x.min(), y.max() + 1, x.max() + 1])


def _extent(pixels) -> int:
    return int(_area(_around(pixels)))


def _label_map(*objects: tuple[int, slice, slice], shape=(14, 16)) -> np.ndarray:
    labels = np.zeros(shape, np.int64)
    for number, rows, columns in objects:
        labels[rows, columns] = number
    return labels


LARGEST_BOX = Exercise(
    number="1.2",
    right=lambda labels: _around(_largest(labels)),
    probes=(
        (_label_map((1, np.s_[1:3], np.s_[2:5]), (2, np.s_[5:10], np.s_[3:11]), (3, np.s_[12:13], np.s_[0:15])),),
        # the third object is a thin L: few pixels in a large box
        (
            _label_map(
                (1, np.s_[2:7], np.s_[9:14]),
                (3, np.s_[0:13], np.s_[0:1]),
                (3, np.s_[12:13], np.s_[0:8]),
                (2, np.s_[8:10], np.s_[10:12]),
            ),
        ),
    ),
    praise="From a map of objects you can make the targets of all four tasks. The way back does not exist.",
    unit="pixels",
    wrong={
        "last_pixel_missing": Wrong(
            lambda labels: _around(_largest(labels)) - np.array([0, 0, 1, 1]),
            "The box must hold the last row and column: half-open means one beyond the largest index.",
        ),
        "x_before_y": Wrong(
            lambda labels: _around(_largest(labels))[[1, 0, 3, 2]],
            "The right numbers in another order: y comes first here, as in `array[y, x]`. Many libraries put x first.",
        ),
        "corner_and_size": Wrong(
            lambda labels: np.concatenate([(b := _around(_largest(labels)))[:2], b[2:] - b[:2]]),
            "You returned a corner and a size. Here a box is two corners; files of other projects hold both kinds.",
        ),
        "around_everything": Wrong(
            lambda labels: _around(np.nonzero(labels)),
            "That box holds all objects together. Look at one number at a time.",
        ),
        "first_object": Wrong(
            lambda labels: _around(np.nonzero(labels == 1)),
            "That is object 1. The numbers say nothing about size: count pixels.",
        ),
        "largest_box": Wrong(
            lambda labels: _around(_largest(labels, _extent)),
            "You took the object with the largest box. In the second probe that is a thin one, with few pixels.",
        ),
    },
)


def _in_order(scores, correct) -> np.ndarray:
    return np.asarray(correct, bool)[np.argsort(-np.asarray(scores), kind="stable")]


def _precisions(correct) -> np.ndarray:
    return np.cumsum(correct) / np.arange(1, len(correct) + 1)


def _average_precision(correct, n_objects) -> float:
    best_from_here = np.maximum.accumulate(_precisions(correct)[::-1])[::-1]
    return best_from_here[correct].sum() / n_objects


AVERAGE_PRECISION = Exercise(
    number="1.3",
    right=lambda scores, correct, n: _average_precision(_in_order(scores, correct), n),
    probes=(
        (np.array([0.6, 0.9, 0.5, 0.8, 0.7]), np.array([True, True, True, False, False]), 4),
        (np.array([0.2, 0.95, 0.4, 0.85, 0.6, 0.3]), np.array([False, False, True, True, True, True]), 5),
    ),
    praise="All thresholds at once: a detector that is sure of what is right, and misses nothing, has 1.",
    wrong={
        "not_sorted": Wrong(
            lambda scores, correct, n: _average_precision(np.asarray(correct, bool), n),
            "You went through the detections as they came. Sort by score first: the surest comes first.",
        ),
        "lowest_first": Wrong(
            lambda scores, correct, n: _average_precision(_in_order(-np.asarray(scores), correct), n),
            "You began with the detection it is least sure of.",
        ),
        "misses_forgotten": Wrong(
            lambda scores, correct, n: _average_precision(_in_order(scores, correct), np.sum(correct)),
            "You divided by the objects that were found. Divide by all there are: what was missed must cost something.",
        ),
        "no_envelope": Wrong(
            lambda scores, correct, n: _precisions(c := _in_order(scores, correct))[c].sum() / n,
            "At each right detection take the best precision from there on, not the precision just there.",
        ),
        "plain_precision": Wrong(
            lambda scores, correct, n: np.mean(correct),
            "That is the precision of all detections together: one threshold, and the order plays no part.",
        ),
        "plain_recall": Wrong(
            lambda scores, correct, n: np.sum(correct) / n,
            "That is the recall: which share of the objects was found. False alarms cost nothing in it.",
        ),
    },
)


def _rates(yes, truth) -> tuple[float, float]:
    """Sensitivity and specificity."""
    return np.mean(yes[truth]), np.mean(~yes[~truth])


def _answers(*counts: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers and truth from the numbers of true positives, false negatives, false positives and true negatives."""
    yes, truth = np.array([True, False, True, False]), np.array([True, True, False, False])
    return np.repeat(yes, counts), np.repeat(truth, counts)


def _f1(yes, truth) -> float:
    return 2 * np.sum(yes & truth) / (np.sum(yes) + np.sum(truth))


BALANCED = Exercise(
    number="1.4",
    right=lambda yes, truth: np.mean(_rates(yes, truth)),
    probes=(_answers(0, 30, 0, 970), _answers(24, 6, 97, 873), _answers(9, 1, 40, 50)),
    praise="Who always says no gets one half, however rare the disease is.",
    wrong={
        "accuracy": Wrong(
            lambda yes, truth: np.mean(yes == truth),
            "That is the plain accuracy: in the first probe it is 0.97 for somebody who found nobody.",
        ),
        "sensitivity_only": Wrong(
            lambda yes, truth: _rates(yes, truth)[0],
            "That is the sensitivity alone. Somebody who always says yes would have 1.",
        ),
        "specificity_only": Wrong(
            lambda yes, truth: _rates(yes, truth)[1],
            "That is the specificity alone. Somebody who always says no would have 1.",
        ),
        "product": Wrong(
            lambda yes, truth: np.prod(_rates(yes, truth)),
            "You multiplied sensitivity and specificity. Take their mean.",
        ),
        "f1": Wrong(
            _f1,
            "That is F1, the Dice coefficient of the answers. It ignores those who were rightly let go.",
        ),
    },
)


def box_overlap(function: Callable) -> None:
    """Check exercise 1.1: ``function(first, second)`` returns the IoU of two boxes (y0, x0, y1, x1)."""
    OVERLAP.check(function)


def largest_box(function: Callable) -> None:
    """Check exercise 1.2: ``function(labels)`` returns the box of the object with most pixels."""
    LARGEST_BOX.check(function)


def average_precision_by_hand(function: Callable) -> None:
    """Check exercise 1.3: ``function(scores, correct, n_objects)`` returns the average precision."""
    AVERAGE_PRECISION.check(function)


def balanced_accuracy(function: Callable) -> None:
    """Check exercise 1.4: ``function(yes, truth)`` returns the mean of sensitivity and specificity."""
    BALANCED.check(function)
