"""Checks of chapter 7: one step of curvature flow, the largest stable time step, how many steps a finding survives."""

import math
from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong


def _derivatives(image, spacing, *, mode="edge", mixed=4):
    """Central differences Iy, Ix, Iyy, Ixx, Ixy; `mixed` divides the last."""
    hy, hx = spacing
    p = np.pad(image, 1, mode=mode)
    iy = (p[2:, 1:-1] - p[:-2, 1:-1]) / (2 * hy)
    ix = (p[1:-1, 2:] - p[1:-1, :-2]) / (2 * hx)
    iyy = (p[2:, 1:-1] - 2 * image + p[:-2, 1:-1]) / hy**2
    ixx = (p[1:-1, 2:] - 2 * image + p[1:-1, :-2]) / hx**2
    ixy = (p[2:, 2:] - p[2:, :-2] - p[:-2, 2:] + p[:-2, :-2]) / (mixed * hy * hx)
    return iy, ix, iyy, ixx, ixy


def _rate(iy, ix, iyy, ixx, ixy, *, twice=2, power=1.0):
    """κ |∇I|, and 0 where there is no gradient; the keywords make the usual mistakes."""
    bending = iyy * ix**2 - twice * ix * iy * ixy + ixx * iy**2
    squared = ix**2 + iy**2
    return np.divide(bending, squared**power, out=np.zeros_like(bending), where=squared > 1e-9)


def _speed(image, spacing, *, twice=2, power=1.0, **options):
    return _rate(*_derivatives(image, spacing, **options), twice=twice, power=power)


def _step(image, spacing, time_step, **options):
    return image + time_step * _speed(image, spacing, **options)


def _laplacian(image, spacing, time_step):
    _, _, iyy, ixx, _ = _derivatives(image, spacing)
    return image + time_step * (iyy + ixx)


def _across(image, spacing, time_step):
    iy, ix, iyy, ixx, ixy = _derivatives(image, spacing)
    return image + time_step * _rate(iy, ix, ixx, iyy, -ixy)


def _numpy_gradients(image, spacing, time_step):
    iy, ix = np.gradient(image, *spacing)
    iyy, ixy = np.gradient(iy, *spacing)
    _, ixx = np.gradient(ix, *spacing)
    return image + time_step * _rate(iy, ix, iyy, ixx, ixy)


def _unguarded(image, spacing, time_step):
    iy, ix, iyy, ixx, ixy = _derivatives(image, spacing)
    with np.errstate(invalid="ignore", divide="ignore"):
        return image + time_step * (iyy * ix**2 - 2 * ix * iy * ixy + ixx * iy**2) / (ix**2 + iy**2)


def _picture(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Whole gray values, with a flat patch in the middle of which nothing has a gradient."""
    picture = np.random.default_rng(seed).integers(20, 200, shape).astype(float)
    picture[1:5, 1:5] = 50
    return picture


STEP = Exercise(
    number="7.1",
    right=_step,
    probes=(
        (_picture(0, (7, 6)), (0.5, 0.8), 0.1),
        (_picture(1, (6, 8)), (2.0, 1.0), 0.25),
    ),
    praise="You have written curvature flow. The library's loop does the same, for volumes as well.",
    wrong={
        "spacing_ignored": Wrong(
            lambda i, s, t: _step(i, (1, 1), t),
            "You took pixels for millimeters. Divide a first derivative by 2·h, a second one by h², the mixed one by "
            "4·hy·hx.",
        ),
        "spacing_swapped": Wrong(
            lambda i, s, t: _step(i, s[::-1], t),
            "The spacing is ordered as the array, (y, x): the distance between rows comes first.",
        ),
        "laplacian": Wrong(
            _laplacian,
            "That is Iyy + Ixx, the heat equation: it also smooths across the edge, as a Gaussian does. Take only the "
            "part along the isophote.",
        ),
        "across_the_edge": Wrong(
            _across,
            "You smooth across the isophotes and leave the direction along them alone. Iyy belongs to Ix², and Ixx to "
            "Iy²: on an edge that runs from top to bottom Ix is large, and Iyy looks along the edge.",
        ),
        "mixed_sign": Wrong(
            lambda i, s, t: _step(i, s, t, twice=-2),
            "The mixed term is subtracted: −2·Ix·Iy·Ixy. With the other sign slanted edges are smoothed across.",
        ),
        "mixed_factor": Wrong(
            lambda i, s, t: _step(i, s, t, twice=1),
            "The mixed term has a factor 2: −2·Ix·Iy·Ixy. It stands for two equal terms, xy and yx.",
        ),
        "mixed_not_quartered": Wrong(
            lambda i, s, t: _step(i, s, t, mixed=1),
            "The four corners of the mixed derivative lie two pixels apart in both directions: divide by 4·hy·hx.",
        ),
        "divided_by_length": Wrong(
            lambda i, s, t: _step(i, s, t, power=0.5),
            "You divided by |∇I|, not by its square. Double all gray values: the change must double, and yours "
            "grows fourfold.",
        ),
        "divided_by_cube": Wrong(
            lambda i, s, t: _step(i, s, t, power=1.5),
            "That is the curvature κ itself. The flow moves gray values by κ·|∇I|, so one |∇I| cancels: divide by "
            "|∇I|².",
        ),
        "wraps_around": Wrong(
            lambda i, s, t: _step(i, s, t, mode="wrap"),
            "The inside is right, the border is not: your left neighbor of the first column is the last column. "
            "`np.roll` does that. Repeat the border value (`np.pad` with `mode='edge'`).",
        ),
        "zero_border": Wrong(
            lambda i, s, t: _step(i, s, t, mode="constant"),
            "The inside is right, the border is not: beyond it you have zeros, a black frame with an edge of its own. "
            "Repeat the border value (`np.pad` with `mode='edge'`).",
        ),
        "gradient_of_gradient": Wrong(
            _numpy_gradients,
            "`np.gradient` applied twice looks two pixels far and skips the next neighbor, so it does not see the "
            "noise of single pixels. And at the border it is one-sided. Take the differences yourself.",
        ),
        "divides_by_zero": Wrong(
            _unguarded,
            "There are NaNs where the image is flat: 0 / 0. Where there is no gradient there is no isophote, and "
            "nothing moves.",
        ),
        "time_step_forgotten": Wrong(
            lambda i, s, t: _step(i, s, 1.0),
            "You added the whole rate of change. Multiply it by the time step first.",
        ),
        "only_the_change": Wrong(lambda i, s, t: t * _speed(i, s), "That is the change. Add it to the image."),
        "backward": Wrong(
            lambda i, s, t: _step(i, s, -t),
            "Your time runs backward: bright disks grow and noise is sharpened. Add the change, do not subtract it.",
        ),
    },
)


def _largest_step(spacing):
    finest = sorted(spacing)[: len(spacing) - 1]
    return 1 / (2 * sum(1 / h**2 for h in finest))


LARGEST = Exercise(
    number="7.2",
    right=_largest_step,
    probes=(((0.6, 0.8),), ((2.0, 1.5),), ((3.6, 0.5, 0.6),), ((0.6, 0.7, 4.0),)),
    praise="One direction along the isophote of an image, two in a volume; the finest axes are the worst case.",
    unit="mm²",
    rtol=1e-4,
    wrong={
        "not_squared": Wrong(
            lambda s: min(s) / 2,
            "A time step of this flow is in mm², so it must grow with the square of the spacing. Yours is in mm.",
        ),
        "half_forgotten": Wrong(
            lambda s: 2 * _largest_step(s),
            "Twice too long. In a row 0, 1, 0, 1 the second differences are 2, −2, 2, −2: a step of h² makes "
            "2, −1, 2, −1 of it, three times the swing. With half of it 0 and 1 just change places.",
        ),
        "coarsest_axis": Wrong(
            lambda s: 1 / (2 * sum(1 / h**2 for h in sorted(s)[1:])),
            "You took the widest axes. The fine ones blow up first: their differences are divided by the smallest h².",
        ),
        "volume_as_image": Wrong(
            lambda s: min(s) ** 2 / 2,
            "Right for images. In a volume the isophote is a surface and the flow smooths along two directions at "
            "once: the worst case is the two finest axes together.",
        ),
        "all_axes": Wrong(
            lambda s: 1 / (2 * sum(1 / h**2 for h in s)),
            "That is the limit of the heat equation, which smooths along all axes. Curvature flow leaves one direction "
            "alone, the one across the isophote: stable, but your step is shorter than it has to be.",
        ),
        "last_two_axes": Wrong(
            lambda s: min(s) ** 2 / 2 if len(s) == 2 else 1 / (2 * sum(1 / h**2 for h in s[1:])),
            "You took y and x. In the last probe, a sagittal scan, z and y are the fine axes: look for the finest.",
        ),
        "cube_of_the_finest": Wrong(
            lambda s: min(s) ** 2 / (2 * (len(s) - 1)),
            "Right for pixels and for cubic voxels. With different spacings the second axis is not as fine as the "
            "first: add 1/h² of both.",
        ),
        "mean_spacing": Wrong(
            lambda s: float(np.mean(s)) ** 2 / (2 * (len(s) - 1)),
            "You took the mean of the spacings. One axis is finer than it, and along that axis your step is too long.",
        ),
    },
)


def _until_quiet(noise, wanted) -> float:
    """First number of steps with little enough noise; infinite if there is none."""
    quiet = np.flatnonzero(np.asarray(noise) <= wanted)
    return int(quiet[0]) if quiet.size else math.inf


def _choose(noise, wanted, time_step, radius, *, share=0.25, first=_until_quiet, whole=math.floor):
    return min(first(noise, wanted), whole(share * radius**2 / time_step))


def _only_noise(noise, wanted, time_step, radius):
    return min(_until_quiet(noise, wanted), len(noise) - 1)


_NOISE = np.array([20, 15.4, 12.6, 10.8, 9.4, 8.4, 7.6, 7.0, 6.5, 6.1, 5.8, 5.5, 5.2, 5.0, 4.8, 4.6, 4.5, 4.4, 4.3])

CHOICE = Exercise(
    number="7.3",
    right=_choose,
    probes=(
        (_NOISE, 8.4, 0.05, 2.0),  # the noise decides, and meets the wish exactly
        (_NOISE, 5.0, 0.05, 1.3),  # the finding decides: 8 of 8.45 steps
        (_NOISE, 2.0, 0.125, 1.9),  # the wish cannot be met: 7 of 7.22 steps
        (_NOISE / 2, 3.0, 0.1, 1.5),  # 5 of 5.6 steps
        (_NOISE, 8.0, 0.05, 1.8),  # the noise decides, between two steps
    ),
    praise="Neither number needed the truth: the noise comes from a flat patch, the size from what you look for.",
    unit="steps",
    wrong={
        "finding_ignored": Wrong(
            _only_noise,
            "You look at the noise only. In the second probe the smallest finding is long gone by then: the disk may "
            "not lose more than half its area.",
        ),
        "noise_ignored": Wrong(
            lambda n, w, t, r: math.floor(r**2 / (4 * t)),
            "You always go as far as the finding allows. In the first probe the noise was low enough long before.",
        ),
        "until_it_is_gone": Wrong(
            lambda n, w, t, r: _choose(n, w, t, r, share=0.5),
            "At t = r₀²/2 the disk is gone, not halved. Half the area is left when r² = r₀²/2.",
        ),
        "half_the_radius": Wrong(
            lambda n, w, t, r: _choose(n, w, t, r, share=0.375),
            "You waited until half the RADIUS was left. By then three quarters of the area are gone.",
        ),
        "factor_2_forgotten": Wrong(
            lambda n, w, t, r: _choose(n, w, t, r, share=0.125),
            "You let the disk shrink twice as fast as it does. For a disk the law is r² = r₀² − 2t; for a ball, "
            "r² = r₀² − 4t.",
        ),
        "radius_is_diameter": Wrong(
            lambda n, w, t, r: _choose(n, w, t, r / 2),
            "You halved the radius, as if it were a diameter.",
        ),
        "rounded_up": Wrong(
            lambda n, w, t, r: _choose(n, w, t, r, whole=math.ceil),
            "One step too many where the finding decides: the last one goes beyond half the area. Round down.",
        ),
        "strictly_below": Wrong(
            lambda n, w, t, r: _choose(n, w, t, r, first=lambda a, b: _until_quiet(a, np.nextafter(b, 0))),
            "One step too many where the noise decides: it may be equal to what was wanted.",
        ),
        "one_off": Wrong(
            lambda n, w, t, r: _choose(n, w, t, r, first=lambda a, b: _until_quiet(a, b) + 1),
            "Is your count one too high? noise[0] is the noise before the first step, noise[n] that after n steps.",
        ),
        "least_noise": Wrong(
            lambda n, w, t, r: int(np.argmin(n)),
            "The least noise comes with the most steps: that answer is the end of the table, whatever is asked.",
        ),
        "not_both": Wrong(
            lambda n, w, t, r: max(min(_until_quiet(n, w), len(n) - 1), math.floor(r**2 / (4 * t))),
            "Of the two numbers you took the larger one. Stop at whichever comes first.",
        ),
    },
)


def curvature_step(function: Callable) -> None:
    """Check exercise 7.1: ``function(image, spacing, time_step)`` returns the image after one step of the flow."""
    STEP.check(function)


def largest_time_step(function: Callable) -> None:
    """Check exercise 7.2: ``function(spacing)`` returns the largest stable time step in mm²."""
    LARGEST.check(function)


def choose_iterations(function: Callable) -> None:
    """Check exercise 7.3: ``function(noise, wanted, time_step, smallest_radius)`` returns a number of steps."""
    CHOICE.check(function)
