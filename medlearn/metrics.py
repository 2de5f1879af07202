"""How well a predicted mask agrees with the reference: overlap, surface distance, volume.

The order of arguments is always ``(pred, target)``. Masks are arrays of any dimension, boolean or 0 and 1, for
distances of at most three. Distances are in mm, the unit of `spacing`, which follows the order of the array's axes:
(z, y, x) or (y, x).

An empty mask has no surface. By the rule of this project a distance is then ``inf`` if one of the masks is empty (the
worst there is: a failed case must not drop out of a mean unseen) and ``nan`` if both are (nothing was measured). A
fraction whose denominator is 0 is ``nan`` as well; each docstring says when that happens.

Every surface measure is derived from two lists of distances. They are computed on the box around both masks, and from
the surfaces alone: the cost grows with the surface of an organ, not with the size of the scan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ._jit import compiled
from .errors import check_choice

if TYPE_CHECKING:
    from .volume import Volume


def dice(pred: ArrayLike, target: ArrayLike) -> float:
    """Dice similarity coefficient 2·|P ∩ T| / (|P| + |T|): 1 for equal masks, 0 for masks that do not touch.

    Parameters
    ----------
    pred, target : array, bool or {0, 1}
        Masks of one shape.

    Returns
    -------
    float
        Between 0 and 1; ``nan`` if both masks are empty.

    Raises
    ------
    ValueError
        If the shapes differ or an array holds anything but 0 and 1.

    References
    ----------
    L. R. Dice, Measures of the amount of ecologic association between species, Ecology 26 (1945) 297-302.

    Examples
    --------
    >>> dice([[1, 1, 0]], [[0, 1, 1]])
    0.5
    """
    pred, target = _check_masks(pred, target)
    n_pred, n_target = np.count_nonzero(pred), np.count_nonzero(target)
    return _ratio(2 * np.count_nonzero(pred & target), n_pred + n_target)


def jaccard(pred: ArrayLike, target: ArrayLike) -> float:
    """Jaccard index |P ∩ T| / |P ∪ T|, also called intersection over union (IoU); with Dice D it is D / (2 − D).

    Parameters
    ----------
    pred, target : array, bool or {0, 1}
        Masks of one shape.

    Returns
    -------
    float
        Between 0 and 1; ``nan`` if both masks are empty.

    Raises
    ------
    ValueError
        If the shapes differ or an array holds anything but 0 and 1.
    """
    return _Counts.of(*_check_masks(pred, target)).jaccard


def sensitivity(pred: ArrayLike, target: ArrayLike) -> float:
    """Share of the target that was found, TP / (TP + FN); also called recall.

    Arguments and errors as in `jaccard`; ``nan`` if the target is empty.
    """
    return _Counts.of(*_check_masks(pred, target)).sensitivity


def specificity(pred: ArrayLike, target: ArrayLike) -> float:
    """Share of the background that was left alone, TN / (TN + FP).

    It grows with the empty space around the organ: the same error looks smaller in a larger image. Arguments and errors
    as in `jaccard`; ``nan`` if the target fills the array.
    """
    return _Counts.of(*_check_masks(pred, target)).specificity


def precision(pred: ArrayLike, target: ArrayLike) -> float:
    """Share of the prediction that is right, TP / (TP + FP).

    Arguments and errors as in `jaccard`; ``nan`` if the prediction is empty.
    """
    return _Counts.of(*_check_masks(pred, target)).precision


def accuracy(pred: ArrayLike, target: ArrayLike) -> float:
    """Share of all voxels that are labeled rightly, (TP + TN) / all.

    Where the organ is small, an empty prediction comes close to 1. Arguments and errors as in `jaccard`; two empty
    masks agree everywhere: 1. ``nan`` for arrays without a voxel.
    """
    return _Counts.of(*_check_masks(pred, target)).accuracy


def relative_volume_difference(pred: ArrayLike, target: ArrayLike) -> float:
    """Relative volume difference (|P| − |T|) / |T|, signed: +0.1 means that the prediction is 10 % too large.

    It says nothing about where the voxels lie; two masks that do not touch can reach a perfect 0.

    Parameters
    ----------
    pred, target : array, bool or {0, 1}
        Masks of one shape.

    Returns
    -------
    float
        −1 or more, as a fraction, not in per cent; ``inf`` if only the target is empty, ``nan`` if both are.

    Raises
    ------
    ValueError
        If the shapes differ or an array holds anything but 0 and 1.
    """
    pred, target = _check_masks(pred, target)
    n_pred, n_target = np.count_nonzero(pred), np.count_nonzero(target)
    return _ratio(n_pred - n_target, n_target)


def hausdorff(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    spacing: Sequence[float],
    percentile: float = 100,
    definition: str = "max",
) -> float:
    """Hausdorff distance in mm, the largest distance between the surfaces, or a percentile of the distances.

    The surface of a mask is its voxels with a face neighbor outside the mask; beyond the border of the array everything
    is outside. From each surface voxel of one mask the distance to the nearest surface voxel of the other is taken.

    Parameters
    ----------
    pred, target : array, bool or {0, 1}
        Masks of one shape, of at most three axes.
    spacing : sequence of float
        Distance between voxel centers in mm, one number for each axis of the arrays.
    percentile : float
        0 to 100. 100 is the Hausdorff distance itself, which a single wrong voxel decides.
    definition : {"max", "pooled", "surface_area"}
        Three measures go by the name of HD95, and can be 10 mm apart. ``"max"`` is the larger of the two directed
        percentiles, from prediction to target and back (MONAI). ``"pooled"`` puts all distances into one list first
        (medpy): a small wrong island then vanishes among the many good distances. ``"surface_area"`` (surface-distance
        by DeepMind; 2-D and 3-D only) cuts the surface of marching cubes into pieces, one for each group of 2×2×2
        voxels that it passes through, and takes the larger directed percentile of their distances, each piece counting
        by its area: so the answer hardly depends on how an oblique surface meets the voxels.

    Returns
    -------
    float
        mm; ``inf`` if one mask is empty, ``nan`` if both are.

    Raises
    ------
    ValueError
        If shapes or spacing do not fit, an array holds anything but 0 and 1, or `percentile` is not from 0 to 100.

    References
    ----------
    D. P. Huttenlocher, G. A. Klanderman, W. J. Rucklidge, Comparing images using the Hausdorff distance, IEEE TPAMI 15
    (1993) 850-863. On the definitions: G. Podobnik, T. Vrtovec, MICCAI 2024, doi 10.1007/978-3-031-72114-4_30. Surface
    elements: S. Nikolov et al., arXiv:1809.04430.
    """
    check_choice("definition", definition, ("max", "pooled", "surface_area"))
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must be a number from 0 to 100; got {percentile!r}")
    if definition == "surface_area":
        distances, areas = _element_distances(pred, target, spacing)
        return _percentile_by_area(distances, areas, percentile)
    return _percentile(surface_distances(pred, target, spacing), percentile, definition)


def hausdorff95(pred: ArrayLike, target: ArrayLike, *, spacing: Sequence[float], definition: str = "max") -> float:
    """95th percentile of the distances between the surfaces, in mm (HD95): `hausdorff` with ``percentile=95``.

    Parameters
    ----------
    pred, target : array, bool or {0, 1}
        Masks of one shape, of at most three axes.
    spacing : sequence of float
        Distance between voxel centers in mm, one number for each axis of the arrays.
    definition : {"max", "pooled", "surface_area"}
        See `hausdorff`; state it beside every figure.

    Returns
    -------
    float
        mm; ``inf`` if one mask is empty, ``nan`` if both are.

    Raises
    ------
    ValueError
        If shapes or spacing do not fit, or an array holds anything but 0 and 1.

    Examples
    --------
    Two lines, the prediction 2 voxels of 0.5 mm too long; one of its six voxels is 1 mm away, one 0.5 mm:

    >>> round(hausdorff95([[1, 1, 1, 1, 1, 1]], [[1, 1, 1, 1, 0, 0]], spacing=(1, 0.5)), 3)
    0.875
    """
    return hausdorff(pred, target, spacing=spacing, percentile=95, definition=definition)


def average_boundary_distance(pred: ArrayLike, target: ArrayLike, *, spacing: Sequence[float]) -> float:
    """Mean distance between the surfaces, in mm, over the surface voxels of both masks together.

    All distances, from prediction to target and back, are put into one list and averaged, so each surface counts by
    its number of voxels. This is what MONAI computes as ``compute_average_surface_distance(..., symmetric=True)``;
    averaging the two directed means instead gives another number when the surfaces differ in size. See `hausdorff`
    for what a surface is.

    Parameters
    ----------
    pred, target : array, bool or {0, 1}
        Masks of one shape.
    spacing : sequence of float
        Distance between voxel centers in mm, one number for each axis of the arrays.

    Returns
    -------
    float
        mm; ``inf`` if one mask is empty, ``nan`` if both are.

    Raises
    ------
    ValueError
        If shapes or spacing do not fit, or an array holds anything but 0 and 1.
    """
    return _mean(surface_distances(pred, target, spacing))


def surface_dice(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    spacing: Sequence[float],
    tolerance_mm: float,
    definition: str = "voxels",
) -> float:
    """Share of both surfaces that lies within a tolerance of the other surface: normalized surface Dice (NSD).

    The tolerance is what two experts may disagree about; within it nothing is called an error.

    Parameters
    ----------
    pred, target : array, bool or {0, 1}
        Masks of one shape, of at most three axes.
    spacing : sequence of float
        Distance between voxel centers in mm, one number for each axis of the arrays.
    tolerance_mm : float
        0 or more. A distance equal to the tolerance is within it.
    definition : {"voxels", "surface_area"}
        Whether each surface voxel counts once (MONAI), or each piece of surface by its area, as the measure was
        published; `hausdorff` describes both surfaces.

    Returns
    -------
    float
        Between 0 and 1; 0 if one mask is empty, ``nan`` if both are.

    Raises
    ------
    ValueError
        If shapes, spacing or tolerance do not fit, or an array holds anything but 0 and 1.

    References
    ----------
    S. Nikolov et al., Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
    radiotherapy, arXiv:1809.04430.
    """
    check_choice("definition", definition, ("voxels", "surface_area"))
    if definition == "voxels":
        return _share_within(surface_distances(pred, target, spacing), None, tolerance_mm)
    return _share_within(*_element_distances(pred, target, spacing), tolerance_mm)


def surface_distances(pred: ArrayLike, target: ArrayLike, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm from each surface voxel of `pred` to the surface of `target`, and the other way round.

    Every surface measure of this module is derived from these two lists. Beside an empty mask the other's distances are
    ``inf``, and its own list is empty.

    Returns
    -------
    pred_to_target, target_to_pred : (n,) and (m,) arrays of float64
    """
    pred, target = _check_masks(pred, target)
    _check_spacing(spacing, pred.ndim)
    return _voxel_distances(*_crop(pred, target), spacing)


@dataclass(frozen=True, slots=True)
class CaseMetrics:
    """The agreement of one predicted mask with its reference.

    Attributes
    ----------
    dice : float
        Dice similarity coefficient, 0 to 1.
    hausdorff95 : float
        Larger of the two directed 95th percentiles of the surface distances, mm.
    average_boundary_distance : float
        Mean surface distance over both surfaces, mm.
    relative_volume_difference : float
        (pred − target) / target, signed, a fraction.
    pred_volume_ml, target_volume_ml : float
        Volumes of the masks, ml; ``nan`` for pictures, which have none.
    jaccard, sensitivity, specificity, precision, accuracy : float
        Shares of voxels, 0 to 1.
    hausdorff : float
        Largest surface distance, mm.
    surface_dice : float
        Share of the surface voxels within the tolerance, 0 to 1.
    """

    dice: float
    hausdorff95: float
    average_boundary_distance: float
    relative_volume_difference: float
    pred_volume_ml: float
    target_volume_ml: float
    jaccard: float
    sensitivity: float
    specificity: float
    precision: float
    accuracy: float
    hausdorff: float
    surface_dice: float


def evaluate(pred: "Volume", target: "Volume", *, tolerance_mm: float = 1.0) -> CaseMetrics:
    """Compare a predicted mask with its reference, both with their geometry; surface distances are computed once.

    Parameters
    ----------
    pred, target : Volume
        Masks, boolean or {0, 1}, with axes ``zyx`` or ``yx``, on the same grid. Of several labels choose one first,
        ``pred.map(lambda labels: labels == 2)``, or use `evaluate_labels`.
    tolerance_mm : float
        For the surface Dice.

    Returns
    -------
    CaseMetrics
        See the functions of the same names for empty masks.

    Raises
    ------
    GridMismatchError
        If the two do not lie on the same grid (`Volume.check_same_grid`); nothing is resampled.
    ValueError
        If a mask holds anything but 0 and 1, or has a time or component axis.
    """
    return evaluate_parts(pred, target, {"whole": slice(None)}, tolerance_mm=tolerance_mm)["whole"]


def evaluate_parts(
    pred: "Volume", target: "Volume", parts: Mapping[str, slice], *, tolerance_mm: float = 1.0
) -> dict[str, CaseMetrics]:
    """Compare two masks in ranges of slices, such as the thirds of a gland.

    Overlap and volume count the voxels of a part. Distances are those from the surface voxels in the part to the
    surface of the *whole* other mask, so that no surface arises where a part is cut off, and what is nearest may lie in
    the next part. A part in which one mask has no surface has the distances of the other; ``inf`` is for a mask that is
    empty altogether, ``nan`` for a part in which neither has a surface.

    Parameters
    ----------
    pred, target, tolerance_mm
        As for `evaluate`.
    parts : mapping of str to slice
        Along the first axis, with step 1.

    Returns
    -------
    dict of str to CaseMetrics

    Raises
    ------
    GridMismatchError, ValueError
        As `evaluate`.
    """
    _check_volumes(pred, target)
    masks = _check_masks(pred.array, target.array)
    box = _union_box(*masks)
    cropped = [mask[box] for mask in masks]
    surfaces = [_surface(mask) for mask in cropped]
    distances = _directed_distances(*surfaces, target.spacing)
    slices = [np.nonzero(surface)[0] for surface in surfaces]  # of the cropped masks, in the order of the distances
    ml_per_voxel = target.voxel_volume / 1000 if target.axes == "zyx" else float("nan")
    found = {}
    for name, part in parts.items():
        n_voxels = masks[0][part].size
        start, stop = (max(0, z - box[0].start) for z in part.indices(len(masks[0]))[:2])
        inside = tuple(d[(start <= z) & (z < stop)] for d, z in zip(distances, slices, strict=True))
        if all(d.size for d in distances):
            inside = tuple(d for d in inside if d.size) or inside
        counts = _Counts.of(*(mask[start:stop] for mask in cropped), n_voxels)
        found[name] = _case_metrics(counts, inside, ml_per_voxel, tolerance_mm)
    return found


def _case_metrics(counts: "_Counts", distances, ml_per_voxel: float, tolerance_mm: float) -> CaseMetrics:
    return CaseMetrics(
        dice=counts.dice,
        hausdorff95=_percentile(distances, 95, "max"),
        average_boundary_distance=_mean(distances),
        relative_volume_difference=counts.relative_volume_difference,
        pred_volume_ml=float(counts.pred * ml_per_voxel),
        target_volume_ml=float(counts.target * ml_per_voxel),
        jaccard=counts.jaccard,
        sensitivity=counts.sensitivity,
        specificity=counts.specificity,
        precision=counts.precision,
        accuracy=counts.accuracy,
        hausdorff=_percentile(distances, 100, "max"),
        surface_dice=_share_within(distances, None, tolerance_mm),
    )


def evaluate_labels(pred: "Volume", target: "Volume", *, tolerance_mm: float = 1.0) -> dict[int, CaseMetrics]:
    """Compare two label maps label by label; each label is evaluated as a mask of its own.

    Parameters
    ----------
    pred, target : Volume
        Integer labels with axes ``zyx`` or ``yx``, on the same grid; 0 is background.
    tolerance_mm : float
        For the surface Dice.

    Returns
    -------
    dict of int to CaseMetrics
        Every label that occurs in one of the two, in ascending order. (A label that occurs in neither says nothing.)

    Raises
    ------
    GridMismatchError
        If the two do not lie on the same grid.
    ValueError
        If the arrays do not hold integers, or have a time or component axis.
    """
    _check_volumes(pred, target)
    for name, volume in (("pred", pred), ("target", target)):
        _check_integers(name, volume.array)
    labels = np.union1d(np.unique(pred.array), np.unique(target.array))
    return {
        int(k): evaluate(pred.map(np.equal, k), target.map(np.equal, k), tolerance_mm=tolerance_mm)
        for k in labels[labels != 0]
    }


def average_precision(
    pred_instances: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    target_instances: Sequence[ArrayLike],
    *,
    iou_threshold: float = 0.5,
) -> float:
    """Average precision (AP) of detected instances: the area under the curve of precision over recall.

    All detections of all images are gone through from the highest score to the lowest. A detection is right if it
    overlaps an object of its image that no better detection has taken, with a Jaccard index of at least
    `iou_threshold`; of several such objects it takes the one it overlaps most. Precision is made to fall with recall
    by taking, at each recall, the best precision from there on.

    Parameters
    ----------
    pred_instances : sequence of (N, ...) bool arrays
        For each image, one mask for each detection; they may overlap. N may be 0.
    scores : sequence of (N,) arrays
        For each image, how sure the detector is of each.
    target_instances : sequence of (M, ...) bool arrays
        For each image, one mask for each object.
    iou_threshold : float
        Above 0, at most 1. At 0.5 the measure is called AP50; COCO's AP is the mean over 0.5, 0.55 … 0.95.

    Returns
    -------
    float
        Between 0 and 1. Without any object in any image 0 if something was detected, and ``nan`` if not.

    Raises
    ------
    ValueError
        If the sequences or the arrays in them do not fit together.

    References
    ----------
    M. Everingham et al., The PASCAL Visual Object Classes (VOC) challenge, IJCV 88 (2010) 303-338; the area under the
    curve is taken at every recall that occurs, as PASCAL has done since 2010.

    Examples
    --------
    One of two objects is found, and beside it something that is none:

    >>> objects = [[1, 1, 0, 0], [0, 0, 1, 0]]
    >>> average_precision([[[1, 1, 0, 0], [0, 0, 0, 1]]], [[0.9, 0.8]], [objects])
    0.5
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be above 0 and at most 1; got {iou_threshold!r}")
    if not len(pred_instances) == len(scores) == len(target_instances):
        raise ValueError(
            "pred_instances, scores and target_instances must have one entry for each image; got "
            f"{len(pred_instances)}, {len(scores)} and {len(target_instances)} entries"
        )
    right, ranks, n_objects = [], [], 0
    for masks, image_scores, objects in zip(pred_instances, scores, target_instances, strict=True):
        masks, objects, image_scores = (
            _as_mask("pred_instances", masks),
            _as_mask("target_instances", objects),
            (np.asarray(image_scores, float)),
        )
        if image_scores.shape != (len(masks),):
            raise ValueError(f"scores must hold one number for each of {len(masks)} masks; got {image_scores.shape}")
        right.append(_take_objects(_instance_iou(masks, objects), image_scores, iou_threshold))
        ranks.append(image_scores)
        n_objects += len(objects)
    right = np.concatenate(right) if right else np.zeros(0, bool)
    if n_objects == 0:
        return 0.0 if len(right) else float("nan")
    right = right[np.argsort(-np.concatenate(ranks), kind="stable")]
    precisions = np.cumsum(right) / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precisions[::-1])[::-1]
    return float(best_from_here[right].sum() / n_objects)  # recall rises by 1 / n_objects at each right detection


@dataclass(frozen=True, slots=True)
class PanopticQuality:
    """How well objects were found (`rq`) and, those found, outlined (`sq`).

    Attributes
    ----------
    pq : float
        Panoptic quality, ``sq · rq``.
    sq : float
        Segmentation quality: mean Jaccard index of the matched objects; ``nan`` if none is matched.
    rq : float
        Recognition quality TP / (TP + FP/2 + FN/2): the Dice coefficient of objects instead of voxels.
    true_positives, false_positives, false_negatives : int
        Matched objects, predicted objects without a match, objects that were missed.
    """

    pq: float
    sq: float
    rq: float
    true_positives: int
    false_positives: int
    false_negatives: int


def panoptic_quality(pred_labels: ArrayLike, target_labels: ArrayLike) -> PanopticQuality:
    """Panoptic quality of two instance maps: are the objects found, and how well do the found ones overlap?

    A predicted object and one of the reference match if their Jaccard index is above 0.5; an object can then match only
    one other, so nothing has to be assigned.

    Parameters
    ----------
    pred_labels, target_labels : integer array
        Maps of one shape; 0 is background, every other number one object, whatever the numbers are.

    Returns
    -------
    PanopticQuality
        `pq` and `rq` are 0 if nothing matches, ``nan`` if neither map holds an object.

    Raises
    ------
    ValueError
        If the shapes differ or an array does not hold integers.

    References
    ----------
    A. Kirillov et al., Panoptic segmentation, CVPR 2019, arXiv:1801.00868, equation 1.
    """
    pred, target = np.asarray(pred_labels), np.asarray(target_labels)
    _check_integers("pred_labels", pred)
    _check_integers("target_labels", target)
    _check_shapes(pred, target)
    pred_ids, pred = np.unique(pred, return_inverse=True)
    target_ids, target = np.unique(target, return_inverse=True)
    shape = len(pred_ids), len(target_ids)
    overlap = np.bincount(pred.ravel() * shape[1] + target.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0) - overlap
    iou = (overlap / union)[np.ix_(pred_ids != 0, target_ids != 0)]
    matched = iou[iou > 0.5]
    tp, fp, fn = len(matched), iou.shape[0] - len(matched), iou.shape[1] - len(matched)
    rq = _ratio(2 * tp, 2 * tp + fp + fn)
    sq = float(matched.mean()) if tp else float("nan")
    return PanopticQuality(sq * rq if tp else rq, sq, rq, tp, fp, fn)


@dataclass(frozen=True, slots=True)
class _Counts:
    """Numbers of voxels, and the measures that follow from them."""

    both: int
    pred: int
    target: int
    all: int

    @classmethod
    def of(cls, pred: np.ndarray, target: np.ndarray, n_voxels: int | None = None) -> "_Counts":
        """Count two masks; `n_voxels` says how many there were before they were cropped."""
        counts = (np.count_nonzero(mask) for mask in (pred & target, pred, target))
        return cls(*counts, pred.size if n_voxels is None else n_voxels)

    @property
    def either(self) -> int:
        return self.pred + self.target - self.both

    @property
    def dice(self) -> float:
        return _ratio(2 * self.both, self.pred + self.target)

    @property
    def jaccard(self) -> float:
        return _ratio(self.both, self.either)

    @property
    def sensitivity(self) -> float:
        return _ratio(self.both, self.target)

    @property
    def specificity(self) -> float:
        return _ratio(self.all - self.either, self.all - self.target)

    @property
    def precision(self) -> float:
        return _ratio(self.both, self.pred)

    @property
    def accuracy(self) -> float:
        return _ratio(self.all - self.either + self.both, self.all)

    @property
    def relative_volume_difference(self) -> float:
        return _ratio(self.pred - self.target, self.target)


# ---- From distances to measures. `distances` are those from prediction to target and those of the way back.


def _percentile(distances: tuple[np.ndarray, np.ndarray], percentile: float, definition: str) -> float:
    if not all(d.size for d in distances):
        return _without_surface(distances)
    if definition == "pooled":
        return float(np.percentile(np.concatenate(distances), percentile))
    return float(max(np.percentile(d, percentile) for d in distances))


def _percentile_by_area(distances, areas, percentile: float) -> float:
    """Larger of the two smallest distances within which lie `percentile` per cent of a surface's area."""
    if not all(d.size for d in distances):
        return _without_surface(distances)
    directed = []
    for d, area in zip(distances, areas, strict=True):
        order = np.argsort(d)
        covered = np.cumsum(area[order])
        first = np.searchsorted(covered, percentile / 100 * covered[-1])
        directed.append(d[order[first]])
    return float(max(directed))


def _mean(distances: tuple[np.ndarray, np.ndarray]) -> float:
    if not all(d.size for d in distances):
        return _without_surface(distances)
    return float(np.concatenate(distances).mean())


def _share_within(distances, areas, tolerance_mm: float) -> float:
    if not 0 <= tolerance_mm < float("inf"):
        raise ValueError(f"tolerance_mm must be 0 or a positive number of mm; got {tolerance_mm!r}")
    within = np.concatenate(distances) <= tolerance_mm
    if not within.size:
        return float("nan")
    return float(np.average(within, weights=None if areas is None else np.concatenate(areas)))


def _without_surface(distances) -> float:
    return float("inf") if any(d.size for d in distances) else float("nan")


# ---- Surfaces and the distances between them. Masks are cropped to the box around both.


def _crop(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut both masks to the box around their union; most of an image is not organ."""
    box = _union_box(pred, target)
    return pred[box], target[box]


def _union_box(pred: np.ndarray, target: np.ndarray) -> tuple[slice, ...]:
    """The box around both masks, found one axis after the other."""
    box = ()
    for axis in range(pred.ndim):
        others = tuple(a for a in range(pred.ndim) if a != axis)
        hits = np.flatnonzero(pred[box].any(axis=others) | target[box].any(axis=others))
        box += (slice(int(hits[0]), int(hits[-1]) + 1) if hits.size else slice(0, 0),)
    return box


def _voxel_distances(pred: np.ndarray, target: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    return _directed_distances(_surface(pred), _surface(target), spacing)


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of `mask` with a face neighbor that is not in it; outside the array is background."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        view, neighbors = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        view[1:] &= neighbors[:-1]
        view[:-1] &= neighbors[1:]
        view[:1] = view[-1:] = False
    return mask & ~inside


def _element_distances(pred: ArrayLike, target: ArrayLike, spacing: Sequence[float]):
    """Distances between the pieces of two surfaces, and the areas of the pieces (mm²; of contours mm).

    A piece lies in the middle of 2×2×2 (2×2) voxels of which some belong to the mask and some do not. Which ones do is
    a number of 8 (4) bits; the area of the surface between them is looked up.
    """
    pred, target = _check_masks(pred, target)
    _check_spacing(spacing, pred.ndim)
    if pred.ndim not in (2, 3):
        raise ValueError(f"definition 'surface_area' is for masks of 2 or 3 axes; got shape {pred.shape}")
    codes = [_neighbor_codes(mask) for mask in _crop(pred, target)]
    table = _surface_areas(tuple(float(s) for s in spacing))
    surfaces = [(code != 0) & (code != len(table) - 1) for code in codes]
    areas = tuple(table[code[surface]] for code, surface in zip(codes, surfaces, strict=True))
    return _directed_distances(*surfaces, spacing), areas


def _neighbor_codes(mask: np.ndarray) -> np.ndarray:
    """For each corner between voxels, one bit for each voxel that meets there; one longer than `mask` on each axis."""
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([n + 1 for n in mask.shape], np.uint8)
    for corner in np.ndindex(*(2,) * mask.ndim):
        codes <<= 1
        codes |= padded[tuple(slice(c, c + n + 1) for c, n in zip(corner, mask.shape, strict=True))]
    return codes


@lru_cache(maxsize=64)
def _surface_areas(spacing: tuple[float, ...]) -> np.ndarray:
    """Area of the surface inside every group of 2×2×2 voxels, or length of the contour inside 2×2 pixels, by code.

    Where marching cubes could connect the corners in two ways, the smaller surface is taken: so a mask and its
    complement have the same surface.
    """
    corners = 2 ** len(spacing)
    areas = np.zeros(2**corners)
    for code in range(1, len(areas) - 1):
        bits = [code >> bit & 1 for bit in reversed(range(corners))]
        group = np.array(bits, float).reshape((2,) * len(spacing))
        areas[code] = _contour_length(group, spacing) if len(spacing) == 2 else _mesh_area(group, spacing)
    return np.minimum(areas, areas[::-1])


def _mesh_area(group: np.ndarray, spacing: tuple[float, ...]) -> float:
    from skimage.measure import marching_cubes, mesh_surface_area  # slow to import; only this definition needs it

    return mesh_surface_area(*marching_cubes(group, 0.5, spacing=spacing, method="lorensen")[:2])


def _contour_length(group: np.ndarray, spacing: tuple[float, ...]) -> float:
    """A cut-off corner is half a diagonal of a pixel long; two pixels of a side end in a straight edge."""
    n = group.sum()
    if n == 2 and group[0, 0] != group[1, 1]:
        return spacing[1] if group[0, 0] == group[0, 1] else spacing[0]
    return (2 if n == 2 else 1) * np.hypot(*spacing) / 2


def _directed_distances(pred: np.ndarray, target: np.ndarray, spacing: Sequence[float]):
    """Distances from every voxel that is set in `pred` to the nearest one of `target`, and the other way round."""
    if pred.ndim > 3:
        raise ValueError(f"surface distances are for masks of at most 3 axes; got shape {pred.shape}")
    missing = 3 - pred.ndim
    shape = (1,) * missing + pred.shape
    mm = (1.0,) * missing + tuple(float(s) for s in spacing)
    p, t = (np.argwhere(surface.reshape(shape)) for surface in (pred, target))
    return _nearest(p, t, shape, mm), _nearest(t, p, shape, mm)


@compiled
def _nearest(points, others, shape, spacing):
    """Distance in mm from each of `points` (n, 3) to the nearest of `others` (m, 3), both in the order of the array.

    From a point the search goes outward, slice by slice and row by row, until even the next row is farther away than
    what was found; to begin with, that is whatever was nearest to the point before. `others` of one row are a sorted
    list of x, in which the neighbors of a point are found by halving. So the cost grows with the surfaces and with how
    far they lie apart, not with the volume between them.
    """
    distances = np.full(len(points), np.inf)
    if not len(others):
        return distances
    hz, hy, hx = spacing
    z_first, z_last = others[0, 0], others[-1, 0]
    y_first, y_last = others[:, 1].min(), others[:, 1].max()
    row_start = np.zeros(shape[0] * shape[1] + 1, np.int64)
    x_first, x_last = np.full(shape[0], shape[2]), np.full(shape[0], -1)  # of each slice
    for z, y, x in others:
        row_start[z * shape[1] + y + 1] += 1
        x_first[z], x_last[z] = min(x_first[z], x), max(x_last[z], x)
    row_start = np.cumsum(row_start)
    nearest = 0
    for i in range(len(points)):
        z, y, x = points[i]
        dz, dy, dx = others[nearest, 0] - z, others[nearest, 1] - y, others[nearest, 2] - x
        best = (dz * hz) ** 2 + (dy * hy) ** 2 + (dx * hx) ** 2
        for dz in range(max(z_first - z, z - z_last, 0), max(z_last - z, z - z_first) + 1):
            if (dz * hz) ** 2 >= best:
                break
            for row_z in range(z - dz, z + dz + 1, max(2 * dz, 1)):
                if row_z < z_first or row_z > z_last:
                    continue
                least = (dz * hz) ** 2 + (max(x_first[row_z] - x, x - x_last[row_z], 0) * hx) ** 2
                for dy in range(max(y_first - y, y - y_last, 0), max(y_last - y, y - y_first) + 1):
                    if least + (dy * hy) ** 2 >= best:
                        break
                    across = (dz * hz) ** 2 + (dy * hy) ** 2
                    for row_y in range(y - dy, y + dy + 1, max(2 * dy, 1)):
                        if row_y < y_first or row_y > y_last:
                            continue
                        first, end = row_start[row_z * shape[1] + row_y], row_start[row_z * shape[1] + row_y + 1]
                        low, high = first, end  # others[low] becomes the first of the row that is not left of x
                        while low < high:
                            middle = (low + high) // 2
                            if others[middle, 2] < x:
                                low = middle + 1
                            else:
                                high = middle
                        for k in (low - 1, low):
                            if first <= k < end:
                                squared = across + ((others[k, 2] - x) * hx) ** 2
                                if squared < best:
                                    best, nearest = squared, k
        distances[i] = np.sqrt(best)
    return distances


# ---- Instances


def _instance_iou(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Jaccard index of every predicted mask (N, ...) with every mask of the reference (M, ...): (N, M)."""
    if len(pred) and len(target) and pred.shape[1:] != target.shape[1:]:
        raise ValueError(
            "pred_instances and target_instances must be masks (N, ...) and (M, ...) of one image; got shapes "
            f"{pred.shape} and {target.shape}"
        )
    pred, target = (masks.reshape(len(masks), masks[:1].size).astype(np.float64) for masks in (pred, target))
    if not (len(pred) and len(target)):
        return np.zeros((len(pred), len(target)))
    overlap = pred @ target.T
    union = pred.sum(1)[:, None] + target.sum(1) - overlap
    return overlap / np.maximum(union, 1)  # two empty masks: 0


def _take_objects(iou: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Which of the detections of one image are right; the surest chooses first."""
    right, free = np.zeros(len(iou), bool), iou.copy()
    for k in np.argsort(-scores, kind="stable"):
        if free.shape[1] and free[k].max() >= iou_threshold:
            right[k] = True
            free[:, free[k].argmax()] = -1
    return right


def _ratio(numerator: int, denominator: int) -> float:
    if denominator:
        return float(numerator / denominator)
    return float("inf") if numerator else float("nan")


def _check_masks(pred: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    pred, target = _as_mask("pred", pred), _as_mask("target", target)
    _check_shapes(pred, target)
    return pred, target


def _check_shapes(pred: np.ndarray, target: np.ndarray) -> None:
    if pred.shape != target.shape:
        raise ValueError(f"pred and target must have one shape; got pred {pred.shape} and target {target.shape}")


def _check_volumes(pred: "Volume", target: "Volume") -> None:
    for name, volume in (("pred", pred), ("target", target)):
        if volume.axes not in ("zyx", "yx"):
            raise ValueError(
                f"{name} must be one mask with axes zyx or yx; got axes {volume.axes}, shape {volume.shape}"
            )
    pred.check_same_grid(target, "prediction and reference")


def _check_integers(name: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "iub":
        raise ValueError(f"{name} must hold integer labels; got dtype {array.dtype}")


def _as_mask(name: str, array: ArrayLike) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype == bool:
        return array
    if array.dtype == np.uint8 and array.max(initial=0) <= 1:
        return array.view(bool)  # the same bytes: saves four passes over a large scan
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a mask, boolean or 0 and 1; got dtype {array.dtype}")
    mask = array == 1
    wrong = array[~mask & (array != 0)]  # NaN is unequal to 0 as well
    if wrong.size:
        raise ValueError(
            f"{name} must be a mask, boolean or 0 and 1; got {array.dtype} values such as {wrong[0]:g}. "
            f"Threshold probabilities first ({name} >= 0.5), or choose a label ({name} == 2; "
            f"with a Volume {name}.map(lambda labels: labels == 2))"
        )
    return mask


def _check_spacing(spacing: Sequence[float], ndim: int) -> None:
    values = np.asarray(spacing, float)
    if values.shape != (ndim,) or not ((values > 0) & np.isfinite(values)).all():
        axes = ", ".join("zyx"[-ndim:]) if ndim <= 3 else "axes of the array"
        raise ValueError(f"spacing must be {ndim} positive numbers of mm ({axes}); got {spacing!r}")
