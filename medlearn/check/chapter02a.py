"""Checks of chapter 2a: photons behind layers, thickness, Hounsfield units, one view smeared back, noise and dose."""

from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong


def _array(*numbers: float) -> np.ndarray:
    return np.array(numbers, float)


def _arriving(photons, mu_per_mm, thickness_mm):
    return photons * np.exp(-np.sum(mu_per_mm * thickness_mm))


ARRIVING = Exercise(
    number="2a.1",
    right=_arriving,
    probes=(
        (100_000, _array(0.020, 0.006, 0.050), _array(30, 120, 8)),
        (4000, _array(0.019, 0.032), _array(90, 15)),
    ),
    praise="Add the exponents μ·L, then take one exponential: the order of the layers does not matter.",
    unit="photons",
    rtol=1e-4,
    wrong={
        "sum_of_counts": Wrong(
            lambda n, mu, d: (n * np.exp(-mu * d)).sum(),
            "You sent all photons through each layer alone and added what arrived. Behind three layers there are then "
            "more photons than behind one. The layers lie behind one another: add the exponents, not the counts.",
        ),
        "mean_of_counts": Wrong(
            lambda n, mu, d: (n * np.exp(-mu * d)).mean(),
            "You averaged what each layer alone lets through. The second layer only receives what the first has left.",
        ),
        "means_of_mu": Wrong(
            lambda n, mu, d: n * np.exp(-mu.mean() * d.sum()),
            "You gave each layer the same share in the mean attenuation, but they are not equally thick. Multiply "
            "before you add.",
        ),
        "sums_multiplied": Wrong(
            lambda n, mu, d: n * np.exp(-mu.sum() * d.sum()),
            "You added μ and thickness separately: now every layer is as thick as the whole body.",
        ),
        "base_ten": Wrong(
            lambda n, mu, d: n * 10 ** -np.sum(mu * d),
            "You used powers of 10. μ belongs to e = 2.718…: use np.exp.",
        ),
        "losses_added": Wrong(
            lambda n, mu, d: n * (1 - (1 - np.exp(-mu * d)).sum()),
            "You added the losses. Two layers that stop 60 % each do not stop 120 %.",
        ),
        "linear": Wrong(
            lambda n, mu, d: n * (1 - np.sum(mu * d)),
            "1 − μ·L is the beginning of the exponential and good for thin layers. In a body it turns negative.",
        ),
        "stopped_instead": Wrong(
            lambda n, mu, d: n - _arriving(n, mu, d), "These are the photons that were stopped. How many arrive?"
        ),
        "share_only": Wrong(
            lambda n, mu, d: np.exp(-np.sum(mu * d)), "That is the share that arrives. Multiply it by the photons sent."
        ),
    },
)


def _thickness(counts, photons, mu_per_mm):
    return np.log(photons / counts) / mu_per_mm


THICKNESS = Exercise(
    number="2a.2",
    right=_thickness,
    probes=((_array(800, 2500, 40), 10_000, 0.02), (_array(300, 299), 900, 0.051)),
    praise="A logarithm turns counts back into thickness. The same step begins every CT reconstruction.",
    unit="mm",
    rtol=1e-4,
    wrong={
        "base_ten": Wrong(
            lambda c, n, mu: np.log10(n / c) / mu,
            "Each thickness is 2.3 times too small: you took the logarithm to base 10. exp and np.log belong together.",
        ),
        "base_two": Wrong(
            lambda c, n, mu: np.log2(n / c) / mu,
            "np.log2 counts half-value layers, and those are ln 2 / μ thick, not 1 / μ. Use np.log.",
        ),
        "negative": Wrong(
            lambda c, n, mu: -_thickness(c, n, mu), "A negative thickness: ln(counts / photons) is below 0. Turn it."
        ),
        "linear": Wrong(
            lambda c, n, mu: (1 - c / n) / mu,
            "You assumed that each mm stops the same number of photons. It stops the same share of what is left.",
        ),
        "mu_forgotten": Wrong(lambda c, n, mu: np.log(n / c), "That is μ·L, without a unit. Divide by μ to get mm."),
        "mu_multiplied": Wrong(
            lambda c, n, mu: np.log(n / c) * mu,
            "You multiplied by μ. Check the units: 1/mm · 1 is no length, 1 / (1/mm) is.",
        ),
        "log_of_difference": Wrong(
            lambda c, n, mu: np.log(n - c) / mu,
            "You took the logarithm of a difference. Beer and Lambert need the ratio.",
        ),
        "in_cm": Wrong(lambda c, n, mu: _thickness(c, n, mu) / 10, "Right in cm. μ came in 1/mm, so give mm."),
    },
)


def _hounsfield(stored, slope, intercept):
    return stored.astype(float) * slope + intercept


def _hounsfield_in(dtype: type) -> Callable:
    """The right formula, squeezed into a type of whole numbers (over int64: the wrap-around is then defined)."""
    return lambda v, m, b: _hounsfield(v, m, b).astype(np.int64).astype(dtype)


HOUNSFIELD = Exercise(
    number="2a.3",
    right=_hounsfield,
    probes=(
        (np.array([0, 24, 1024, 1084, 3000], np.uint16), 1.0, -1024.0),
        (np.array([100, 700, 65535], np.uint16), 0.5, -1000.0),
    ),
    praise="Slope first, intercept second, in floating point. Air is near −1000, water near 0.",
    unit="HU",
    wrong={
        "wraps": Wrong(
            _hounsfield_in(np.uint16),
            "Air came out at 64,536: a uint16 cannot be negative and starts again from above. Compute in float, and do "
            "not go back to the type of the stored values.",
        ),
        "intercept_first": Wrong(
            lambda v, m, b: (v.astype(float) + b) * m,
            "You added the intercept before you multiplied. It is v · slope + intercept; with a slope of 1 both agree, "
            "which is why this mistake lives so long.",
        ),
        "intercept_forgotten": Wrong(
            lambda v, m, b: v.astype(float) * m, "No value is below 0, so there is no air. Add the intercept."
        ),
        "slope_forgotten": Wrong(
            lambda v, m, b: v.astype(float) + b, "Right where the slope is 1. The second probe has a slope of 0.5."
        ),
        "intercept_subtracted": Wrong(
            lambda v, m, b: v.astype(float) * m - b,
            "You subtracted the intercept. It is negative already: adding it is what lowers the values.",
        ),
        "divided": Wrong(
            lambda v, m, b: v.astype(float) / m + b,
            "You divided by the slope. DICOM multiplies the stored value by it.",
        ),
        "raw": Wrong(lambda v, m, b: v, "These are the stored values, as they came. Use slope and intercept."),
    },
)


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x (right) and y (down) from the center of a square picture, in pixels."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return x, y


def _smear_at(coordinate: Callable, *, middle: bool = True) -> Callable:
    """A smear that reads the view at ``coordinate(x, y, cos, sin)``."""

    def smear(view, angle_deg, size):
        theta = np.radians(angle_deg)
        s = coordinate(*_coordinates(size), np.cos(theta), np.sin(theta))
        positions = np.arange(len(view)) - (len(view) - 1) / 2 * middle
        return np.interp(s, positions, view, left=0, right=0)

    return smear


_smear = _smear_at(lambda x, y, cos, sin: x * cos - y * sin)
_VIEW = _array(4, 5, 2, 7, 3)

SMEAR = Exercise(
    number="2a.4",
    right=_smear,
    probes=((_VIEW, 30.0, 6), (_VIEW[1:], 100.0, 5)),
    praise="That is back-projection of one view. Sum it over all filtered views, times π / views, and you have a CT.",
    rtol=1e-6,
    wrong={
        "turns_clockwise": Wrong(
            _smear_at(lambda x, y, cos, sin: x * cos + y * sin),
            "Your rays lean to the other side. y points down in a picture, so s = x cos θ − y sin θ.",
        ),
        "quarter_turn": Wrong(
            _smear_at(lambda x, y, cos, sin: x * sin + y * cos),
            "You smeared along the detectors, not along the rays: sine and cosine have changed places.",
        ),
        "degrees_as_radians": Wrong(
            lambda view, angle, size: _smear(view, np.degrees(angle), size),
            "np.cos and np.sin want radians. Convert the angle with np.radians.",
        ),
        "middle_forgotten": Wrong(
            _smear_at(lambda x, y, cos, sin: x * cos - y * sin, middle=False),
            "Your picture sits in a corner. s is counted from the middle of the detectors: position k has "
            "s = k − (n − 1) / 2.",
        ),
        "corner_as_center": Wrong(
            lambda view, angle, size: _smear_at(
                lambda x, y, cos, sin: (x + (size - 1) / 2) * cos - (y + (size - 1) / 2) * sin
            )(view, angle, size),
            "You counted x and y from the corner of the picture. The machine turns about its center.",
        ),
        "transposed": Wrong(
            lambda view, angle, size: _smear(view, angle, size).T,
            "Your picture is transposed: the first index of an array is the row, y.",
        ),
        "shared_out": Wrong(
            lambda view, angle, size: _smear(view, angle, size) / size,
            "You shared each measurement out among the pixels of its ray. Back-projection gives all of them the full "
            "value; the scale comes at the end, once for all views.",
        ),
        "ends_repeated": Wrong(
            lambda view, angle, size: np.interp(
                _coordinates(size)[0] * np.cos(np.radians(angle)) - _coordinates(size)[1] * np.sin(np.radians(angle)),
                np.arange(len(view)) - (len(view) - 1) / 2,
                view,
            ),
            "Beyond the last detector nothing was measured, but you went on with its value. np.interp has the options "
            "left=0 and right=0.",
        ),
    },
)


def _photons(std_now, photons_now, std_wanted):
    return photons_now * (std_now / std_wanted) ** 2


PHOTONS = Exercise(
    number="2a.5",
    right=_photons,
    probes=((30.0, 20_000.0, 10.0), (12.0, 5000.0, 16.0)),
    praise="Half the noise costs four times the photons, and so four times the dose.",
    unit="photons",
    wrong={
        "linear": Wrong(
            lambda now, n, wanted: n * now / wanted,
            "You took noise as 1 / photons. It falls with the square root only: a third of the noise needs nine times.",
        ),
        "square_root": Wrong(
            lambda now, n, wanted: n * np.sqrt(now / wanted),
            "The square root is on the other side: noise goes with the root of photons.",
        ),
        "upside_down": Wrong(
            lambda now, n, wanted: n * (wanted / now) ** 2,
            "Less noise for fewer photons? That would be welcome. Turn the ratio over.",
        ),
        "upside_down_linear": Wrong(
            lambda now, n, wanted: n * wanted / now, "Two things: turn the ratio over, and square it."
        ),
        "factor_only": Wrong(
            lambda now, n, wanted: (now / wanted) ** 2, "That is the factor. Multiply the photons of now by it."
        ),
        "additional": Wrong(
            lambda now, n, wanted: _photons(now, n, wanted) - n,
            "These are the additional photons. Asked for is the whole number of the new scan.",
        ),
    },
)


def arriving_photons(function: Callable) -> None:
    """Check exercise 2a.1: ``function(photons, mu_per_mm, thickness_mm)`` returns the photons behind all layers."""
    ARRIVING.check(function)


def thickness_mm(function: Callable) -> None:
    """Check exercise 2a.2: ``function(counts, photons, mu_per_mm)`` returns the thickness in mm."""
    THICKNESS.check(function)


def stored_to_hounsfield(function: Callable) -> None:
    """Check exercise 2a.3: ``function(stored, slope, intercept)`` returns Hounsfield units."""
    HOUNSFIELD.check(function)


def smear_view(function: Callable) -> None:
    """Check exercise 2a.4: ``function(view, angle_deg, size)`` returns one view smeared over a square picture."""
    SMEAR.check(function)


def photons_for_noise(function: Callable) -> None:
    """Check exercise 2a.5: ``function(std_now, photons_now, std_wanted)`` returns the photons that are needed."""
    PHOTONS.check(function)
