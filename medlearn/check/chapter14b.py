"""Checks of chapter 14b: what dilated layers see, mean IoU, non-maximum suppression, depth inside the own nucleus."""

from collections.abc import Callable, Sequence

import numpy as np

from ._core import Exercise, Wrong

# ---- 14b.1: which pixels a chain of dilated convolutions sees


def _seen(dilations: Sequence[int]) -> np.ndarray:
    """Offsets along one axis that reach the output of kernels of 3, ascending."""
    offsets = {0}
    for d in dilations:
        offsets = {offset + tap * d for offset in offsets for tap in (-1, 0, 1)}
    return np.array(sorted(offsets))


def _side_by_side(dilations: Sequence[int]) -> np.ndarray:
    return np.array(sorted({tap * d for d in dilations for tap in (-1, 0, 1)}))


def _every_pixel(dilations: Sequence[int]) -> np.ndarray:
    reach = sum(dilations)
    return np.arange(-reach, reach + 1)


def _outermost_taps(dilations: Sequence[int]) -> np.ndarray:
    offsets = {0}
    for d in dilations:
        offsets = {offset + tap * d for offset in offsets for tap in (-1, 1)}
    return np.array(sorted(offsets))


def _strides(dilations: Sequence[int]) -> np.ndarray:
    offsets, step = {0}, 1
    for d in dilations:
        step *= d
        offsets = {offset + tap * step for offset in offsets for tap in (-1, 0, 1)}
    return np.array(sorted(offsets))


def _not_merged(dilations: Sequence[int]) -> np.ndarray:
    offsets = [0]
    for d in dilations:
        offsets = [offset + tap * d for offset in offsets for tap in (-1, 0, 1)]
    return np.array(sorted(offsets))


SEEN = Exercise(
    number="14b.1",
    right=_seen,
    probes=(((2, 2),), ((1, 2, 5),), ((2, 4, 4),)),
    praise="Dilations of 2 and 2 see every second pixel; 1, 2 and 5 leave no gap, at the same number of weights.",
    wrong={
        "every_pixel": Wrong(
            _every_pixel,
            "You listed all pixels up to the reach. Two layers of dilation 2 never see an odd one: that is gridding.",
        ),
        "side_by_side": Wrong(
            _side_by_side,
            "Those are the taps of each layer alone, as in a pyramid. In a chain every tap of one layer starts from "
            "every tap of the other: add them.",
        ),
        "middle_tap_forgotten": Wrong(
            _outermost_taps, "A kernel of 3 has three taps, -d, 0 and +d. You left out the middle one."
        ),
        "dilation_multiplied": Wrong(
            _strides,
            "You multiplied the dilations. Strides do that; a dilation spreads the taps of its layer only.",
        ),
        "not_merged": Wrong(
            _not_merged,
            "Some pixels are listed several times: as many as there are paths to them. Asked for is each pixel once.",
        ),
    },
)

# ---- 14b.2: mean intersection over union


def _valid(preds: np.ndarray, truths: np.ndarray) -> np.ndarray:
    return truths != 255


def _class_scores(preds, truths, n_classes: int, *, keep: Callable = _valid, score: str = "iou") -> np.ndarray:
    """One number per class, from the pixels of all images together; NaN for a class that occurs nowhere."""
    kept = keep(preds, truths)
    values = []
    for k in range(n_classes):
        pred, truth = (preds == k) & kept, (truths == k) & kept
        both = (pred & truth).sum()
        below = (pred | truth).sum() if score == "iou" else (pred.sum() + truth.sum()) / 2
        values.append(both / below if below else np.nan)
    return np.array(values)


def _mean_iou(preds: np.ndarray, truths: np.ndarray, n_classes: int) -> float:
    return float(np.nanmean(_class_scores(preds, truths, n_classes)))


def _ignored_counted(preds, truths, n_classes):
    return float(np.nanmean(_class_scores(preds, truths, n_classes, keep=lambda p, t: np.ones(t.shape, bool))))


def _mean_of_images(preds, truths, n_classes):
    each = [_class_scores(p, t, n_classes) for p, t in zip(preds, truths, strict=True)]
    return float(np.mean([np.nanmean(values) for values in each]))


def _without_background(preds, truths, n_classes):
    return float(np.nanmean(_class_scores(preds, truths, n_classes)[1:]))


def _dice(preds, truths, n_classes):
    return float(np.nanmean(_class_scores(preds, truths, n_classes, score="dice")))


def _pixel_accuracy(preds, truths, n_classes):
    kept = _valid(preds, truths)
    return float((preds == truths)[kept].mean())


def _absent_is_zero(preds, truths, n_classes):
    return float(np.nan_to_num(_class_scores(preds, truths, n_classes)).mean())


def _weighted(preds, truths, n_classes):
    kept = _valid(preds, truths)
    share = np.array([((truths == k) & kept).sum() for k in range(n_classes)])
    return float(np.nansum(share * _class_scores(preds, truths, n_classes)) / share.sum())


def _labels(text: str) -> np.ndarray:
    """A small picture for each word, rows separated by /; x is the label to ignore."""
    pictures = [[[255 if c == "x" else int(c) for c in row] for row in word.split("/")] for word in text.split()]
    return np.array(pictures)


MEAN_IOU = Exercise(
    number="14b.2",
    right=_mean_iou,
    probes=(
        (_labels("0011/0011/0022 0000/0110/0012"), _labels("0001/x011/0222 0000/x100/0011"), 3),
        (_labels("0002/0022 0000/0111"), _labels("0022/00x2 0000/00x1"), 4),  # class 3 occurs nowhere
    ),
    praise="All pixels of the set in one pot, one IoU for each class, then the mean: a rare class counts as much as a "
    "common one.",
    wrong={
        "ignored_pixels_counted": Wrong(
            _ignored_counted,
            "You counted the pixels of label 255. Nobody has said what they show: leave them out, in truth *and* "
            "prediction.",
        ),
        "mean_of_images": Wrong(
            _mean_of_images,
            "You computed one value per image. Here the pixels of all images are counted first; only then is divided.",
        ),
        "background_left_out": Wrong(
            _without_background,
            "You left out class 0. In PASCAL VOC the background is one of the 21 classes, and an easy one.",
        ),
        "dice": Wrong(_dice, "That is the mean Dice. The IoU divides by the union, and is never larger."),
        "pixel_accuracy": Wrong(
            _pixel_accuracy, "That is the share of right pixels. A large background hides every small class in it."
        ),
        "absent_class_is_zero": Wrong(
            _absent_is_zero,
            "In the second probe, class 3 is neither there nor predicted: 0 / 0. It has no IoU, and leaves the mean.",
        ),
        "weighted_by_area": Wrong(
            _weighted, "You weighed each class by its area. In the mean IoU every class counts the same."
        ),
    },
)

# ---- 14b.3: non-maximum suppression


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.maximum(high - low, 0).prod(1)
    area = (others[:, 2:] - others[:, :2]).prod(1)
    return shared / ((box[2:] - box[:2]).prod() + area - shared)


def _nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, *, order: Callable = lambda s: np.argsort(-s)):
    left, kept = order(scores), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[_iou(boxes[best], boxes[left]) <= threshold]
    return np.array(kept, int)


def _without_order(boxes, scores, threshold):
    return _nms(boxes, scores, threshold, order=lambda s: np.arange(len(s)))


def _worst_first(boxes, scores, threshold):
    return _nms(boxes, scores, threshold, order=np.argsort)


def _suppressed_suppress(boxes, scores, threshold):
    order = np.argsort(-scores)
    return np.array(
        [i for n, i in enumerate(order) if n == 0 or _iou(boxes[i], boxes[order[:n]]).max() <= threshold], int
    )


def _only_the_neighbor(boxes, scores, threshold):
    """Each box is compared with the last kept one only."""
    kept = []
    for i in np.argsort(-scores):
        if not kept or _iou(boxes[i], boxes[kept[-1]][None])[0] <= threshold:
            kept.append(i)
    return np.array(kept, int)


def _threshold_reversed(boxes, scores, threshold):
    left, kept = np.argsort(-scores), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[_iou(boxes[best], boxes[left]) >= threshold]
    return np.array(kept, int)


def _any_overlap(boxes, scores, threshold):
    return _nms(boxes, scores, 0.0)


def _sorted_indices(boxes, scores, threshold):
    return np.sort(_nms(boxes, scores, threshold))


def _random_boxes(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centers = rng.integers(8, 24, (3, 2)).repeat(n // 3, axis=0) + rng.integers(-3, 4, (n // 3 * 3, 2))
    half = rng.integers(4, 8, centers.shape)
    return np.hstack([centers - half, centers + half]).astype(float), rng.permutation(len(centers)) / 20 + 0.1


# A row of boxes, each 10 wide and overlapping the next one by more than half: the second is suppressed, not the third.
_ROW = np.array([[0, 0, 10, 10], [0, 3, 10, 13], [0, 6, 10, 16], [0, 30, 10, 40], [0, 9, 10, 19.0]])
_ROW_SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5])

NMS = Exercise(
    number="14b.3",
    right=_nms,
    probes=((_ROW, _ROW_SCORES, 0.5), (*_random_boxes(0, 12), 0.3), (*_random_boxes(3, 15), 0.5)),
    praise="One box for each object, the surest one; and a box that was suppressed has no say any more.",
    wrong={
        "scores_ignored": Wrong(
            _without_order,
            "You took the boxes as they came. Begin with the highest score: the surest box wins.",
        ),
        "worst_first": Wrong(
            _worst_first, "You began with the lowest score. So the boxes that the network believes least survive."
        ),
        "suppressed_boxes_suppress": Wrong(
            _suppressed_suppress,
            "A box that was itself suppressed must not suppress others. In the first probe the third box overlaps the "
            "second, which is gone, and stays.",
        ),
        "only_last_kept": Wrong(
            _only_the_neighbor,
            "You compared each box with the last kept one only. It must not overlap *any* box that was kept.",
        ),
        "overlapping_kept": Wrong(
            _threshold_reversed, "You kept those that overlap much and dropped the others: the comparison is reversed."
        ),
        "any_overlap_suppresses": Wrong(
            _any_overlap,
            "You dropped every box that touches a better one. Touching nuclei have overlapping boxes: suppress above "
            "the threshold only.",
        ),
        "sorted_by_index": Wrong(
            _sorted_indices, "Those are the right boxes, sorted by index. Asked for is the order from the surest down."
        ),
    },
)

# ---- 14b.4: how deep inside its own nucleus


def _depth_of(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel of a mask to the nearest one outside, in pixels; the border of the image is no end."""
    from scipy import ndimage  # here, so that `medlearn.check` loads without it

    return ndimage.distance_transform_edt(mask)


def _relative_depth(labels: np.ndarray) -> np.ndarray:
    target = np.zeros(labels.shape)
    for k in np.unique(labels[labels > 0]):
        own = labels == k
        distance = _depth_of(own)
        target[own] = distance[own] / distance.max()
    return target


def _of_the_foreground(labels):
    distance, target = _depth_of(labels > 0), np.zeros(labels.shape)
    for k in np.unique(labels[labels > 0]):
        own = labels == k
        target[own] = distance[own] / distance[own].max()
    return target


def _in_pixels(labels):
    return sum(_depth_of(labels == k) for k in np.unique(labels[labels > 0]))


def _by_the_largest(labels):
    distance = _in_pixels(labels)
    return distance / distance.max()


def _to_the_center(labels):
    target = np.zeros(labels.shape)
    for k in np.unique(labels[labels > 0]):
        own = labels == k
        places = np.argwhere(own)
        away = np.linalg.norm(places - places.mean(0), axis=1)
        target[own] = 1 - away / max(away.max(), 1)
    return target


def _from_outside(labels):
    distance = _depth_of(labels == 0)
    return distance / distance.max()


def _by_the_sum(labels):
    target = np.zeros(labels.shape)
    for k in np.unique(labels[labels > 0]):
        distance = _depth_of(labels == k)
        target += distance / distance.sum()
    return target


def _two_halves() -> np.ndarray:
    """Two rectangles side by side that touch, and a square of its own; numbers with a gap."""
    labels = np.zeros((12, 16), int)
    labels[1:8, 1:6], labels[1:8, 6:13], labels[9:12, 12:15] = 4, 2, 7
    return labels


def _disks() -> np.ndarray:
    y, x = np.indices((20, 24))
    labels = np.zeros((20, 24), int)
    for k, (cy, cx, r) in enumerate([(9, 6, 6), (9, 16, 5.5), (16, 11, 3)], start=1):
        labels[((y - cy) ** 2 + (x - cx) ** 2 < r**2) & (labels == 0)] = k
    return labels


DEPTH = Exercise(
    number="14b.4",
    right=_relative_depth,
    probes=((_two_halves(),), (_disks(),)),
    praise="Where two nuclei touch, both are shallow: a valley for the watershed. And a small nucleus is as deep "
    "in its middle as a large one.",
    wrong={
        "distance_of_the_foreground": Wrong(
            _of_the_foreground,
            "You measured to the nearest background. Where two nuclei touch, that is far away: they become one hill. "
            "Measure inside each nucleus on its own.",
        ),
        "not_divided": Wrong(
            _in_pixels, "Those are pixels. Divide by the largest distance of the nucleus, so that every middle is 1."
        ),
        "divided_by_the_largest_of_all": Wrong(
            _by_the_largest,
            "You divided by the largest distance of all. Small nuclei then hardly rise: divide each by its own.",
        ),
        "distance_to_center": Wrong(
            _to_the_center,
            "You measured from the center of gravity. For a long nucleus that is 0 at the two ends only, not along the "
            "border.",
        ),
        "outside_measured": Wrong(
            _from_outside, "You measured outside the nuclei. Pass the mask that is True inside the nucleus."
        ),
        "divided_by_the_sum": Wrong(
            _by_the_sum, "You divided by the sum of the distances. Divide by the largest: the middle is to be 1."
        ),
    },
)


def seen_offsets(function: Callable) -> None:
    """Check exercise 14b.1: ``function(dilations)`` → the offsets that a chain of kernels of 3 sees, ascending."""
    SEEN.check(function)


def mean_iou(function: Callable) -> None:
    """Check exercise 14b.2: ``function(preds, truths, n_classes)`` → mean IoU over the classes; 255 is ignored."""
    MEAN_IOU.check(function)


def suppress(function: Callable) -> None:
    """Check exercise 14b.3: ``function(boxes, scores, threshold)`` → indices kept by non-maximum suppression."""
    NMS.check(function)


def relative_depth(function: Callable) -> None:
    """Check exercise 14b.4: ``function(labels)`` → how deep inside its own nucleus each pixel lies, 0 to 1."""
    DEPTH.check(function)
