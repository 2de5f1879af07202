"""Checks of chapter 0: Dice by counting, the volume of a gland, a split by patient."""

from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong


def _rectangle(shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def _overlap(pred, target):
    return (pred & target).sum()


def _dice(pred, target):
    return 2 * _overlap(pred, target) / (pred.sum() + target.sum())


DICE = Exercise(
    number="0.1",
    right=_dice,
    probes=(
        (_rectangle((6, 6), (1, 5), (1, 4)), _rectangle((6, 6), (2, 6), (2, 4))),
        (_rectangle((5, 8), (0, 4), (1, 7)), _rectangle((5, 8), (1, 5), (3, 8))),
    ),
    praise="Twice the overlap, divided by the sum of the two sizes.",
    wrong={
        "factor_2_forgotten": Wrong(
            lambda p, t: _overlap(p, t) / (p.sum() + t.sum()),
            "Your number is half of the Dice. Two identical masks must score 1: try it. Which factor is missing?",
        ),
        "jaccard": Wrong(
            lambda p, t: _overlap(p, t) / (p | t).sum(),
            "You divided the overlap by the union. That is the Jaccard index: a good measure, but another one. "
            "Dice divides twice the overlap by the sum of the two sizes.",
        ),
        "bool_plus_is_or": Wrong(
            lambda p, t: 2 * _overlap(p, t) / (p + t).sum(),
            "You added two boolean masks and then counted. True + True is True in NumPy, so a shared pixel counted "
            "once, not twice. Count each mask, then add. A Dice above 1 is always this mistake.",
        ),
        "union_for_overlap": Wrong(
            lambda p, t: 2 * (p | t).sum() / (p.sum() + t.sum()),
            "You counted the pixels that lie in either mask. The overlap lies in both: `&`, not `|`.",
        ),
        "accuracy": Wrong(
            lambda p, t: (p == t).mean(),
            "This is the accuracy: the share of pixels on which the masks agree. Most of those are background, and "
            "background is easy. Dice looks at the gland only.",
        ),
        "precision": Wrong(
            lambda p, t: _overlap(p, t) / p.sum(),
            "You divided by the prediction alone. That is the precision: one single right pixel would score 1.",
        ),
        "sensitivity": Wrong(
            lambda p, t: _overlap(p, t) / t.sum(),
            "You divided by the truth alone. That is the sensitivity: a prediction that fills the image would score 1.",
        ),
        "percent": Wrong(lambda p, t: 100 * _dice(p, t), "Right, but in percent. Here a Dice runs from 0 to 1."),
    },
)


def _volume_cm3(mask, spacing):
    return (mask > 0).sum() * np.prod(spacing) / 1000


def _block(labels: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((5, 8, 9), np.uint8)
    mask[1:4, 2:6, 3:8] = np.reshape(labels, (3, 1, 1))
    return mask


VOLUME = Exercise(
    number="0.2",
    right=_volume_cm3,
    probes=((_block((1, 1, 1)), (3.6, 0.5, 0.625)), (_block((1, 2, 2)), (3.0, 0.75, 0.8))),
    praise="Voxels, times mm³ in a voxel, divided by 1000 mm³ in a cm³.",
    unit="cm³",
    wrong={
        "voxels_counted": Wrong(
            lambda m, s: (m > 0).sum(),
            "You counted voxels. How many mm³ is one voxel? Its three edges are the spacing.",
        ),
        "spacing_ignored": Wrong(
            lambda m, s: (m > 0).sum() / 1000,
            "You divided the number of voxels by 1000, as if a voxel were 1 mm³. Multiply by its three edges first.",
        ),
        "mm3": Wrong(
            lambda m, s: 1000 * _volume_cm3(m, s),
            "These are mm³. A gland of 40 cm³ has 40,000 of them: divide by the mm³ in one cm³.",
        ),
        "divided_by_10": Wrong(
            lambda m, s: 100 * _volume_cm3(m, s),
            "You divided by 10. That turns mm into cm along one edge; a volume has three: 10 × 10 × 10.",
        ),
        "divided_by_100": Wrong(
            lambda m, s: 10 * _volume_cm3(m, s),
            "You divided by 100. That turns mm² into cm²; a volume has a third edge: 10 × 10 × 10.",
        ),
        "slice_spacing_forgotten": Wrong(
            lambda m, s: _volume_cm3(m, s) / s[0],
            "You multiplied two edges of the voxel. The third, from slice to slice, is the longest of them.",
        ),
        "isotropic": Wrong(
            lambda m, s: (m > 0).sum() * s[0] ** 3 / 1000,
            "You took every voxel for a cube with the slice spacing as its edge. MR voxels are long bricks: "
            "each axis has its own spacing.",
        ),
        "cube_of_pixel_edge": Wrong(
            lambda m, s: (m > 0).sum() * s[-1] ** 3 / 1000,
            "You took every voxel for a cube with the pixel's edge. From slice to slice it is several times as far.",
        ),
        "spacing_summed": Wrong(
            lambda m, s: (m > 0).sum() * np.sum(s) / 1000,
            "You added the three edges of a voxel. Its volume is their product.",
        ),
        "labels_summed": Wrong(
            lambda m, s: m.sum(dtype=int) * np.prod(s) / 1000,
            "You summed the mask's numbers. In the second probe parts of the gland carry label 2, and those voxels "
            "counted twice. Count the voxels above 0.",
        ),
        "whole_image": Wrong(
            lambda m, s: m.size * np.prod(s) / 1000, "This is the volume of the whole scan. Count inside the mask only."
        ),
    },
)


def _held_out(patients, n_held_out):
    return np.isin(patients, np.unique(patients)[-n_held_out:])


def _last_of_every_patient(patients, n_held_out):
    held_out = np.zeros(len(patients), bool)
    for patient in np.unique(patients):
        held_out[np.flatnonzero(patients == patient)[-n_held_out:]] = True
    return held_out


def _last_share_of_slices(patients, n_held_out):
    n = round(len(patients) * n_held_out / len(np.unique(patients)))
    return np.arange(len(patients)) >= len(patients) - n


def _last_to_appear(patients, n_held_out):
    names, first = np.unique(patients, return_index=True)
    return np.isin(patients, names[np.argsort(first)][-n_held_out:])


SPLIT = Exercise(
    number="0.3",
    right=_held_out,
    probes=(
        (np.array(["case04", "case04", "case01", "case03", "case01", "case03", "case02", "case02", "case03"]), 1),
        (np.array([f"case{i:02d}" for i in (5, 5, 5, 1, 1, 4, 4, 4, 2, 2, 3, 3, 3, 3)]), 2),
    ),
    praise="No patient stands on both sides, so the held-out score is about new patients.",
    wrong={
        "last_slices": Wrong(
            lambda p, n: np.arange(len(p)) >= len(p) - n,
            "You held out the last slices. Their neighbors from the same patient stay in training: the network has "
            "nearly seen them. Hold out whole patients.",
        ),
        "share_of_slices": Wrong(
            _last_share_of_slices,
            "You held out a share of the slices. The cut runs through a patient, who is then on both sides. "
            "Hold out whole patients.",
        ),
        "some_of_every_patient": Wrong(
            _last_of_every_patient,
            "You held out slices of every patient. So every held-out slice has sisters in training, and the score "
            "says nothing about a new patient.",
        ),
        "inverted": Wrong(
            lambda p, n: ~_held_out(p, n), "Just the other way round: True must mark what training may not see."
        ),
        "first_patients": Wrong(
            lambda p, n: np.isin(p, np.unique(p)[:n]),
            "A clean split, but you held out the first patients. The exercise asks for the last ones in sorted order.",
        ),
        "order_of_appearance": Wrong(
            _last_to_appear,
            "A clean split, but by the order in which the patients appear. Sort their names first: then the split "
            "does not depend on how the files were listed.",
        ),
        "one_patient": Wrong(
            lambda p, n: p == np.unique(p)[-1], "You held out one patient, whatever `n_held_out` says."
        ),
        "nothing": Wrong(lambda p, n: np.zeros(len(p), bool), "You held out nobody: every score is then praise."),
    },
)


def dice_by_hand(function: Callable) -> None:
    """Check exercise 0.1: ``function(pred, target)`` of two boolean masks returns their Dice."""
    DICE.check(function)


def gland_volume(function: Callable) -> None:
    """Check exercise 0.2: ``function(mask, spacing)`` returns the volume of the labels above 0 in cm³."""
    VOLUME.check(function)


def held_out_slices(function: Callable) -> None:
    """Check exercise 0.3: ``function(patients, n_held_out)`` marks the slices of the held-out patients."""
    SPLIT.check(function)
