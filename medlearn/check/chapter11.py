"""Checks of chapter 11: image and labels in one warp, an elastic field and its folds, honest sets, safe changes."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ._core import Exercise, Wrong

# 11.1, one warp for two arrays


def _positions(shape, spacing, angle, shift, *, pulls=True):
    """Row and column from which each output pixel is taken, (2, height, width)."""
    half = (np.array(shape) - 1)[:, None, None] / 2
    step = np.array(spacing)[:, None, None]
    offset = (np.indices(shape) - half) * step  # mm from the center
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]])
    shift = np.asarray(shift, float)[:, None, None]
    offset = np.tensordot(turn.T, offset - shift, 1) if pulls else np.tensordot(turn, offset, 1) + shift
    return offset / step + half


def _draw(rng):
    return rng.uniform(-20, 20), rng.uniform(-8, 8, 2)


def _sample(image, labels, places, label_places=None, *, outside=None, image_order=1, label_order=0):
    padding = {"mode": "nearest"} if outside is None else {"mode": "constant", "cval": outside}
    label_places = places if label_places is None else label_places
    return (
        ndimage.map_coordinates(image, places, order=image_order, **padding),
        ndimage.map_coordinates(labels.astype(float), label_places, order=label_order, mode="constant"),
    )


def _warp_pair(image, labels, spacing, rng, *, in_pixels=False, pulls=True, **sampling):
    angle, shift = _draw(rng)
    places = _positions(image.shape, (1, 1) if in_pixels else spacing, angle, shift, pulls=pulls)
    return _sample(image, labels, places, **sampling)


def _two_draws(image, labels, spacing, rng):
    first, second = (_positions(image.shape, spacing, *_draw(rng)) for _ in range(2))
    return _sample(image, labels, first, second)


def _about_the_corner(image, labels, spacing, rng):
    angle, shift = _draw(rng)
    half = ((np.array(image.shape) - 1) / 2 * spacing)[:, None]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turned = np.array([[cos, -sin], [sin, cos]]) @ half
    return _sample(image, labels, _positions(image.shape, spacing, angle, shift + (turned - half)[:, 0]))


def _pair(seed: int, shape: tuple[int, int], spacing: tuple[float, float]) -> tuple:
    """A CT-like slice with two nested organs, air outside, and a generator for the draws."""
    noise = np.random.default_rng(seed).normal(0, 20, shape)
    y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True))
    distance = np.hypot(y[:, None] / 1.4, x - 3)
    labels = np.where(distance < 6, 2, np.where(distance < 13, 1, 0)).astype(np.uint8)
    return np.array([-1000.0, 40.0, 180.0])[labels] + noise, labels, spacing, np.random.default_rng(seed + 10)


WARP = Exercise(
    number="11.1",
    right=_warp_pair,
    probes=(_pair(0, (12, 64), (3.6, 0.625)), _pair(1, (41, 36), (1.0, 1.2))),
    praise="Image and labels were taken from the same places, each in its own way.",
    wrong={
        "labels_bilinear": Wrong(
            lambda *a: _warp_pair(*a, label_order=1),
            "Your labels were averaged: between background (0) and label 2 you now have values near 1, a ring of an "
            "organ that is not there. Take the nearest label, order=0.",
        ),
        "two_draws": Wrong(
            _two_draws,
            "You drew twice: the image was turned by one angle, its labels by another. The contour no longer lies on "
            "the edge. Draw once and use the same positions for both.",
        ),
        "voxel_units": Wrong(
            lambda *a: _warp_pair(*a, in_pixels=True),
            "You turned in pixels. These are 3.6 mm high and 0.625 mm wide: in mm your rotation is a shear. Go to mm, "
            "turn, shift, and come back.",
        ),
        "inverse_direction": Wrong(
            lambda *a: _warp_pair(*a, pulls=False),
            "The content moved the other way. Sampling pulls: for each OUTPUT pixel you say where to look in the "
            "input. So undo the motion: subtract the shift, then turn back.",
        ),
        "padding_zero": Wrong(
            lambda *a: _warp_pair(*a, outside=0.0),
            "What came in from outside is 0. In HU that is water; outside of the patient is air. Repeat the border, "
            "mode='nearest'.",
        ),
        "image_nearest": Wrong(
            lambda *a: _warp_pair(*a, image_order=0),
            "You took the nearest gray value as well. For labels that is right; in the image edges become stairs. Use "
            "order=1 there.",
        ),
        "about_the_corner": Wrong(
            _about_the_corner,
            "You turned about pixel (0, 0). Measure positions from the middle of the image, (n − 1) / 2.",
        ),
    },
)

# 11.2, an elastic field and its folds


def _gain(pixels):
    """What the smoothing of white noise takes away: 2 √π σ along each axis, under the root."""
    return np.sqrt(np.prod(2 * np.sqrt(np.pi) * np.asarray(pixels)))


def _smooth(noise, pixels):
    return np.stack([ndimage.gaussian_filter(part, pixels) for part in noise])


def _folded(field, spacing, *, identity=1.0, cross=1.0):
    (yy, yx), (xy, xx) = (np.gradient(part, *spacing) for part in field)
    determinant = (identity + yy) * (identity + xx) - cross * yx * xy
    return float(np.mean(determinant <= 0))


def _elastic(noise, std_mm, smooth_mm, spacing):
    pixels = smooth_mm / np.array(spacing)
    field = std_mm * _gain(pixels) * _smooth(noise, pixels)
    return field, _folded(field, spacing)


def _with_field(field, spacing):
    return field, _folded(field, spacing)


def _folds_by(count):
    """The right field, with another count of its folds: ``count(field, spacing)``."""

    def compute(noise, std_mm, smooth_mm, spacing):
        field, _ = _elastic(noise, std_mm, smooth_mm, spacing)
        return field, count(field, spacing)

    return compute


def _per_draw(noise, std_mm, smooth_mm, spacing):
    field = _smooth(noise, smooth_mm / np.array(spacing))
    return _with_field(std_mm * field / field.std(), spacing)


def _noise(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, *shape))


ELASTIC = Exercise(
    number="11.2",
    right=_elastic,
    probes=(
        (_noise(0, (60, 72)), 3.0, 4.0, (0.8, 1.0)),
        (_noise(1, (24, 80)), 8.0, 10.0, (3.6, 0.625)),
    ),
    praise="Strength in mm, smoothness in mm, and you know how much of it folds before it reaches a network.",
    unit="mm",
    wrong={
        "alpha_taken_as_pixels": Wrong(
            lambda n, s, w, h: _with_field(s * _smooth(n, w / np.array(h)), h),
            "You multiplied the smoothed noise by std_mm. Smoothing has made the noise small: it averages. That is why "
            "the rank-8 network's α = 384 at σ = 17.9 px moves a pixel by about 4, not by 384. Undo it by "
            "√(2√π σ_y · 2√π σ_x), σ in pixels.",
        ),
        "not_smoothed": Wrong(
            lambda n, s, w, h: _with_field(s * n, h),
            "Neighboring pixels move independently: the image is torn to shreds. Smooth the noise first.",
        ),
        "spacing_forgotten": Wrong(
            lambda n, s, w, h: _with_field(s * _gain((w, w)) * _smooth(n, (w, w)), h),
            "You smoothed by as many PIXELS along both axes. The filter wants pixels: smooth_mm / spacing, an own "
            "number for each axis.",
        ),
        "spacing_swapped": Wrong(
            lambda n, s, w, h: _with_field(_elastic(n, s, w, h[::-1])[0], h),
            "The spacing is ordered as the array, (y, x). You smoothed rows by the number meant for columns.",
        ),
        "normalized_per_draw": Wrong(
            _per_draw,
            "You divided each field by its own standard deviation. Then every sample is bent equally strongly; a "
            "patient who lies nearly still never occurs. Divide by the EXPECTED one, 1 / √(2√π σ_y · 2√π σ_x).",
        ),
        "folds_in_pixels": Wrong(
            _folds_by(lambda field, spacing: _folded(field, (1, 1))),
            "The field is right. In its derivatives you divided mm by pixels: give `np.gradient` the spacing.",
        ),
        "identity_forgotten": Wrong(
            _folds_by(lambda field, spacing: _folded(field, spacing, identity=0.0)),
            "The field is right. The map is x + u(x), so its Jacobian is the identity plus the derivatives of u: "
            "without any displacement the determinant is 1, not 0.",
        ),
        "cross_terms_forgotten": Wrong(
            _folds_by(lambda field, spacing: _folded(field, spacing, cross=0.0)),
            "The field is right. The determinant of a 2 × 2 matrix has a second product: a·d − b·c. Shear folds too.",
        ),
    },
)

# 11.3, honest sets


def _rows(slices, copies):
    return np.array([(s, c) for s in slices for c in copies], dtype=int).reshape(-1, 2)


def _build_sets(patient_of, held_out, n_augmented):
    held = np.isin(patient_of, held_out)
    training, validation = np.flatnonzero(~held), np.flatnonzero(held)
    return _rows(training, range(n_augmented + 1)), _rows(validation, [0])


def _augmented_then_split(patient_of, held_out, n_augmented):
    rows = _rows(range(len(patient_of)), range(n_augmented + 1))
    n = round(len(rows) * np.isin(patient_of, held_out).mean())
    return rows[: len(rows) - n], rows[len(rows) - n :]


def _split_by_slice(patient_of, held_out, n_augmented):
    n = int(np.isin(patient_of, held_out).sum())
    order = np.arange(len(patient_of))
    return _rows(order[: len(order) - n], range(n_augmented + 1)), _rows(order[len(order) - n :], [0])


def _validation_augmented(patient_of, held_out, n_augmented):
    held = np.isin(patient_of, held_out)
    return tuple(_rows(np.flatnonzero(part), range(n_augmented + 1)) for part in (~held, held))


def _originals_forgotten(patient_of, held_out, n_augmented):
    held = np.isin(patient_of, held_out)
    return _rows(np.flatnonzero(~held), range(1, n_augmented + 1)), _rows(np.flatnonzero(held), [0])


def _copies_of_all(patient_of, held_out, n_augmented):
    return _rows(range(len(patient_of)), range(n_augmented + 1)), _build_sets(patient_of, held_out, n_augmented)[1]


def _one_too_few(patient_of, held_out, n_augmented):
    held = np.isin(patient_of, held_out)
    return _rows(np.flatnonzero(~held), range(n_augmented)), _rows(np.flatnonzero(held), [0])


def _swapped(patient_of, held_out, n_augmented):
    held = np.isin(patient_of, held_out)
    return _rows(np.flatnonzero(held), range(n_augmented + 1)), _rows(np.flatnonzero(~held), [0])


SETS = Exercise(
    number="11.3",
    right=_build_sets,
    probes=(
        (np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3]), np.array([1, 3]), 2),
        (np.array([7, 9, 7, 9, 4, 4, 7]), np.array([9]), 3),
    ),
    praise="Whatever the network scores on these held-out slices, it has seen no cousin of them.",
    wrong={
        "augmented_then_split": Wrong(
            _augmented_then_split,
            "You made all copies first and split then. Copies of one slice are on both sides: the network is tested "
            "on the siblings of what it has learned by heart.",
        ),
        "split_by_slice": Wrong(
            _split_by_slice,
            "You split slices, not patients. Neighboring slices of one patient are nearly copies of each other.",
        ),
        "validation_augmented": Wrong(
            _validation_augmented,
            "You augmented the held-out slices as well. You now measure the augmentation: patients do not come to the "
            "scanner bent.",
        ),
        "originals_forgotten": Wrong(
            _originals_forgotten,
            "The unchanged training slices (copy 0) are missing. They are the only ones from the real distribution.",
        ),
        "copies_of_all": Wrong(
            _copies_of_all,
            "Your training set holds the held-out patients too. Take their slices out before you copy anything.",
        ),
        "one_too_few": Wrong(
            _one_too_few,
            "One copy too few: copy 0 is the slice itself, and n_augmented copies come on top.",
        ),
        "swapped": Wrong(_swapped, "You train on the held-out patients and test on the others."),
    },
)

# 11.4, changes that keep the label

_CHANGES = {
    ("flip left-right", "mask of the prostate"): True,
    ("flip left-right", "label 1 = left lung, 2 = right lung"): False,
    ("gamma", "mask of the prostate in MR"): True,
    ("gamma", "calcium above 130 HU in CT"): False,
    ("quarter turn", "cell nuclei in a microscope slide"): True,
    ("quarter turn", "fluid level in a supine patient"): False,
    ("scale by 1.3", "mask of the prostate"): True,
    ("scale by 1.3", "diameter of a nodule in mm"): False,
}


def _all_but(change: str) -> Callable:
    """Right for all changes but one, which is always allowed."""
    return lambda c, label: c == change or _CHANGES[c, label]


KEEPS = Exercise(
    number="11.4",
    right=lambda change, label: _CHANGES[change, label],
    probes=tuple(_CHANGES),
    praise="No change is safe by itself: ask what the label means.",
    wrong={
        "side_forgotten": Wrong(
            _all_but("flip left-right"),
            "A mirrored left lung is where a right lung is, and looks like one; its label still says left. Leave the "
            "flip out, or exchange the labels with it.",
        ),
        "gamma_on_hu": Wrong(
            _all_but("gamma"),
            "Hounsfield units are a measurement. After a gamma what was 130 HU is not 130 HU any more, and the label "
            "was defined by it.",
        ),
        "gravity_forgotten": Wrong(
            _all_but("quarter turn"),
            "Fluid lies at the bottom. A patient turned by 90° with the fluid at the wall does not exist; a slide "
            "under the microscope has no bottom.",
        ),
        "size_forgotten": Wrong(
            _all_but("scale by 1.3"),
            "A mask is scaled along with the image. A number in mm is not: multiply it by 1.3 as well, or leave the "
            "scaling out.",
        ),
        "everything_allowed": Wrong(
            lambda change, label: True,
            "You allow everything. For each pair ask: does the changed image still deserve the unchanged label?",
        ),
        "everything_forbidden": Wrong(
            lambda change, label: False,
            "You forbid everything. The mask of a prostate moves along with the image, and stays true.",
        ),
        "turned_around": Wrong(
            lambda change, label: not _CHANGES[change, label],
            "All eight answers are the wrong way round: return True where the label stays true.",
        ),
    },
)


def warp_pair(function: Callable) -> None:
    """Check exercise 11.1: ``function(image, labels, spacing, rng)`` turns and shifts image and labels together."""
    WARP.check(function)


def elastic_field(function: Callable) -> None:
    """Check exercise 11.2: ``function(noise, std_mm, smooth_mm, spacing)`` returns the field and the folded share."""
    ELASTIC.check(function)


def build_sets(function: Callable) -> None:
    """Check exercise 11.3: ``function(patient_of, held_out, n_augmented)`` returns training and held-out rows."""
    SETS.check(function)


def keeps_label(function: Callable) -> None:
    """Check exercise 11.4: ``function(change, label)`` says whether the label stays true."""
    KEEPS.check(function)
