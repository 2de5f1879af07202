"""Checks of chapter 2c: a collimator, the attenuation of pairs, a round of MLEM, a t value."""

from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong


def _camera(hole, length, distance, intrinsic, *, add=np.hypot):
    return add(hole * (length + distance) / length, intrinsic)


CAMERA = Exercise(
    number="2c.1",
    right=_camera,
    probes=((1.5, 25.0, 100.0, 3.5), (2.0, 40.0, 0.0, 4.0), (1.0, 30.0, 250.0, 3.0)),
    praise="Twice as far from the patient costs nearly twice the width: a camera belongs close to the skin.",
    unit="mm",
    wrong={
        "added": Wrong(
            lambda hole, length, far, own: _camera(hole, length, far, own, add=np.add),
            "You added the widths. Independent blurs add as squares: the root of the sum of squares.",
        ),
        "crystal_forgotten": Wrong(
            lambda hole, length, far, own: _camera(hole, length, far, 0.0),
            "That is the collimator alone. The crystal adds its own width, as a square.",
        ),
        "length_not_added": Wrong(
            lambda hole, length, far, own: np.hypot(hole * far / length, own),
            "At the face of the collimator, z = 0, a point would have no width. The cone begins at the crystal end of "
            "the hole: (l + z) / l.",
        ),
        "inverted": Wrong(
            lambda hole, length, far, own: np.hypot(hole * length / (length + far), own),
            "Yours gets sharper with distance. The cone of a hole gets wider.",
        ),
        "distance_over_hole": Wrong(
            lambda hole, length, far, own: np.hypot(length * (hole + far) / hole, own),
            "You exchanged diameter and length of the hole. Long holes are the sharp ones.",
        ),
        "mean_of_both": Wrong(
            lambda hole, length, far, own: np.hypot(_camera(hole, length, far, 0.0), own) / np.sqrt(2),
            "You took the root of the mean of the squares. Two blurs are worse than one: take the root of their sum.",
        ),
    },
)


def _pairs(counts, mu, thickness, depth):
    return counts * np.exp(mu * np.asarray(thickness))


PAIRS = Exercise(
    number="2c.2",
    right=_pairs,
    probes=(
        (np.array([100.0, 40.0, 6.0]), 0.0096, np.array([0.0, 100.0, 300.0]), np.array([0.0, 20.0, 150.0])),
        (np.array([10.0, 10.0]), 0.015, np.array([200.0, 200.0]), np.array([10.0, 190.0])),
    ),
    praise="The depth does not matter, and that is the gift of PET: one factor for each line.",
    unit="pairs",
    wrong={
        "only_the_depth": Wrong(
            lambda n, mu, a, d: n * np.exp(mu * d),
            "You corrected one photon's way. Its partner crosses the rest: together the whole thickness.",
        ),
        "both_ways_of_the_depth": Wrong(
            lambda n, mu, a, d: n * np.exp(2 * mu * d),
            "The partner does not go the same way back. It flies on, through what is left of the body.",
        ),
        "the_rest": Wrong(
            lambda n, mu, a, d: n * np.exp(mu * (a - d)),
            "That is the partner's way alone. Both photons must get out: multiply both shares, and the depth cancels.",
        ),
        "weakened_again": Wrong(
            lambda n, mu, a, d: n * np.exp(-mu * a),
            "You weakened the counts once more. To give back what the body took, divide by the share that got out.",
        ),
        "twice": Wrong(
            lambda n, mu, a, d: n * np.exp(2 * mu * a),
            "Each photon crosses its own part of the line, not the whole of it: the line counts once.",
        ),
        "linear": Wrong(
            lambda n, mu, a, d: n * (1 + mu * a),
            "Each mm takes the same share of what is left. That makes an exponential, not a straight line.",
        ),
    },
)


def _round(image, system, counts):
    return image * (system.T @ (counts / (system @ image))) / system.sum(0)


def _mlem_probe(seed: int) -> tuple:
    rng = np.random.default_rng(seed)
    system = rng.uniform(0.1, 1, (7, 4)) * (rng.random((7, 4)) < 0.8) + 0.01
    return rng.uniform(0.5, 2, 4), system, rng.poisson(20, 7).astype(float)


MLEM = Exercise(
    number="2c.3",
    right=_round,
    probes=(_mlem_probe(0), _mlem_probe(1)),
    praise="Project, divide, back-project, multiply. The new image explains as many counts as there are.",
    wrong={
        "sensitivity_forgotten": Wrong(
            lambda x, a, y: x * (a.T @ (y / (a @ x))),
            "You back-projected the ratios but did not divide by how much each pixel is seen at all, Aᵀ1. Pixels on "
            "many lines grow without reason.",
        ),
        "difference_not_ratio": Wrong(
            lambda x, a, y: x + (a.T @ (y - a @ x)) / a.sum(0),
            "You corrected by the difference. That can make pixels negative. MLEM multiplies by the ratio.",
        ),
        "ratio_inverted": Wrong(
            lambda x, a, y: x * (a.T @ ((a @ x) / np.maximum(y, 1e-9))) / a.sum(0),
            "Your ratio is upside down: where too few were expected the image shrinks.",
        ),
        "wrong_sum": Wrong(
            lambda x, a, y: x * (a.T @ (y / (a @ x))) / a.sum(),
            "You divided by the sum of the whole matrix. Each pixel has its own sensitivity: the sum of its column.",
        ),
        "old_image_forgotten": Wrong(
            lambda x, a, y: (a.T @ (y / (a @ x))) / a.sum(0),
            "You returned the correction. Multiply the image by it.",
        ),
        "number_of_lines": Wrong(
            lambda x, a, y: x * (a.T @ (y / (a @ x))) / len(y),
            "You took the mean over all lines. Some pixels lie on more lines than others: divide by the sum of the "
            "pixel's column.",
        ),
    },
)


def _t(series, answer, *, loss=2, centered=True):
    x, y = (answer - answer.mean(), series - series.mean()) if centered else (answer, series)
    weight = (x @ y) / (x @ x)
    variance = ((y - weight * x) ** 2).sum() / (len(y) - loss)
    return weight / np.sqrt(variance / (x @ x))


def _series_probe(seed: int, n: int, size: float) -> tuple:
    rng = np.random.default_rng(seed)
    answer = (np.arange(n) // 5 % 2).astype(float)
    return 50 + size * answer + rng.normal(0, 1, n), answer


T_VALUE = Exercise(
    number="2c.4",
    right=_t,
    probes=(_series_probe(0, 40, 1.0), _series_probe(1, 23, 0.4)),
    praise="A weight means nothing without its error; t is both in one number.",
    wrong={
        "weight_only": Wrong(
            lambda y, x: ((x - x.mean()) @ (y - y.mean())) / ((x - x.mean()) @ (x - x.mean())),
            "That is the weight a. How sure is it? Divide by its standard error.",
        ),
        "constant_forgotten": Wrong(
            lambda y, x: _t(y, x, centered=False),
            "You fitted no constant. A voxel has a signal of 50 at rest; take the means away, or fit b too.",
        ),
        "divided_by_the_noise": Wrong(
            lambda y, x: _t(y, x) / np.sqrt((x - x.mean()) @ (x - x.mean())),
            "You divided by the standard deviation of the noise. The error of the weight is smaller: that deviation "
            "over the root of Σ(x − mean)².",
        ),
        "degrees_of_freedom": Wrong(
            lambda y, x: _t(y, x, loss=0),
            "You divided the squares by the number of scans. Two of them are used up by a and b: scans − 2.",
        ),
        "squared_error": Wrong(
            lambda y, x: _t(y, x) ** 2,
            "That is t², also called F. Take the root, and keep the sign.",
        ),
        "correlation": Wrong(
            lambda y, x: np.corrcoef(x, y)[0, 1],
            "That is the correlation. It holds the same knowledge, but t = r √(n − 2) / √(1 − r²).",
        ),
    },
)


def camera_width(function: Callable) -> None:
    """Check exercise 2c.1: ``function(hole_mm, length_mm, distance_mm, intrinsic_mm)`` returns a width in mm."""
    CAMERA.check(function)


def corrected_pairs(function: Callable) -> None:
    """Check exercise 2c.2: ``function(counts, mu_per_mm, thickness_mm, depth_mm)`` returns corrected counts."""
    PAIRS.check(function)


def mlem_round(function: Callable) -> None:
    """Check exercise 2c.3: ``function(image, system, counts)`` returns the next image."""
    MLEM.check(function)


def t_of_answer(function: Callable) -> None:
    """Check exercise 2c.4: ``function(series, answer)`` returns the t value of the answer's weight."""
    T_VALUE.check(function)
