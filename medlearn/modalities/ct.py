"""Computed tomography: projections of a slice from many sides, and the slice computed back from them.

A view holds the line integrals of the slice along the rays of one angle; all views together are the sinogram (views,
detectors). Smearing the views back over the slice gives a blurred picture (`backproject`); filtering them before gives
the slice (`fbp`). At θ = 0 rays run down the rows of the array, and detectors along the columns; the source turns
counterclockwise as the picture is displayed, as in scikit-image. With x to the right, y down, both from the center of
the picture, the ray through (x, y) has the detector coordinate ``s = x cos θ − y sin θ``.

The same mathematics serves three machines. X-ray CT, and CT with a γ-source, measure the attenuation in 1/mm;
ultrasound CT the time that sound takes, so the slowness in µs/mm; emission CT (SPECT) the activity, weakened on its way
out by the attenuation, which FBP knows nothing of.

Sources: A. C. Kak, M. Slaney, Principles of Computerized Tomographic Imaging, IEEE Press 1988, chapter 3; for the line
integrals P. M. Joseph, IEEE Trans Med Imaging 1 (1982) 192-196.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft

from .._jit import compiled
from ..errors import check_choice, check_positive
from . import xray
from ._checks import check_above_zero, check_array, check_count, check_not_negative, check_shape
from ._rays import ONE, planes_inside

#: Windows on the ramp filter, by name: gain at the frequency `f`, from 0 to 1 = the highest that the detector resolves.
WINDOWS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "ramp": np.ones_like,
        "shepp-logan": lambda f: np.sinc(f / 2),
        "cosine": lambda f: np.cos(np.pi * f / 2),
        "hamming": lambda f: 0.54 + 0.46 * np.cos(np.pi * f),
        "hann": lambda f: 0.5 + 0.5 * np.cos(np.pi * f),
    }
)
FILTERS = ("none", *WINDOWS)


# ---- Measuring


def radon(
    image: ArrayLike, angles_deg: ArrayLike, *, pixel_mm: float = 1.0, n_detectors: int | None = None
) -> np.ndarray:
    """Sinogram of a slice in parallel beams: its line integrals along the rays of every angle.

    Parameters
    ----------
    image : array, (rows, columns)
        For X-rays the attenuation in 1/mm; the result is then without unit. Outside of the picture is nothing.
    angles_deg : array, (views,)
        Angles θ; 0 to 180 (excluded) see everything once.
    pixel_mm : float
        Size of the square pixels in mm, and distance between detectors.
    n_detectors : int, optional
        By default as many as the diagonal of the picture needs. With fewer the views are truncated.

    Returns
    -------
    ndarray of float32, (views, detectors)

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    image, angles = check_array("image", image, "rows, columns"), _check_angles(angles_deg)
    check_positive("pixel_mm", pixel_mm, "mm")
    sinogram = np.empty((angles.size, _n_detectors(n_detectors, image.shape)), np.float32)
    _project(_with_margin(image), _with_margin(image.T), np.radians(angles), 0.0, sinogram)
    return sinogram * np.float32(pixel_mm)


def fan_radon(
    image: ArrayLike,
    angles_deg: ArrayLike,
    *,
    source_mm: float,
    pixel_mm: float = 1.0,
    n_detectors: int | None = None,
) -> np.ndarray:
    """Sinogram of a slice in fan beams: all rays of a view come from one focal spot.

    Parameters
    ----------
    image : array, (rows, columns)
        For X-rays the attenuation in 1/mm.
    angles_deg : array, (views,)
        Angles θ of the central ray; `fan_fbp` needs a whole turn, 0 to 360 (excluded).
    source_mm : float
        Distance of the focal spot from the center of the picture in mm; it must lie outside of the picture.
    pixel_mm : float
        Size of the square pixels in mm, and distance between detectors, which are thought to stand in a line through
        the center of the picture (a real detector stands behind it; its distances are larger in proportion).
    n_detectors : int, optional
        By default as many as the corners of the picture need. With fewer the views are truncated.

    Returns
    -------
    ndarray of float32, (views, detectors)

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    image, angles = check_array("image", image, "rows, columns"), _check_angles(angles_deg)
    source = _check_source(source_mm, pixel_mm, image.shape)
    sinogram = np.empty((angles.size, _n_detectors(n_detectors, image.shape, source)), np.float32)
    _project(_with_margin(image), _with_margin(image.T), np.radians(angles), 1 / source, sinogram)
    return sinogram * np.float32(pixel_mm)


def polyenergetic_radon(
    materials: ArrayLike,
    angles_deg: ArrayLike,
    *,
    mu_per_mm: ArrayLike,
    spectrum: ArrayLike,
    pixel_mm: float = 1.0,
    n_detectors: int | None = None,
) -> np.ndarray:
    """Sinogram of a slice seen with photons of many energies: the beam hardens, most of all in bone and metal.

    Parameters
    ----------
    materials : array, (materials, rows, columns)
        Share of each material in each pixel, 0 to 1.
    angles_deg, pixel_mm, n_detectors
        As for `radon`.
    mu_per_mm : array, (materials, energies)
        Attenuation in 1/mm of each material at each energy.
    spectrum : array, (energies,)
        Photons of each energy, on any scale.

    Returns
    -------
    ndarray of float64, (views, detectors)
        −ln of the share of the photons that arrive.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    materials = check_not_negative("materials", check_array("materials", materials, "materials, rows, columns"))
    options = {"pixel_mm": pixel_mm, "n_detectors": n_detectors}
    thickness_mm = np.stack([radon(share, angles_deg, **options) for share in materials])
    return -np.log(xray.polyenergetic_transmission(thickness_mm, mu_per_mm, spectrum))


def add_photon_noise(
    sinogram: ArrayLike, *, photons: float, electronic_noise: float = 0.0, rng: np.random.Generator | int = 0
) -> np.ndarray:
    """What a detector makes of the line integrals: photons are counted, and the logarithm is taken of the counts.

    The variance is about ``exp(p) / photons`` where the line integral is p: rays through much matter are the noisy
    ones, and where hardly a photon arrives (metal) a streak follows.

    Parameters
    ----------
    sinogram : array, (views, detectors)
        Line integrals without unit, 0 or more.
    photons : float
        Photons that each detector would count in each view without a patient: the dose.
    electronic_noise : float
        Standard deviation of the detector's own noise, in photons.
    rng : Generator or int
        Source of chance, or a seed.

    Returns
    -------
    ndarray of float64, same shape

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    sinogram = check_not_negative("sinogram", check_array("sinogram", sinogram, "views, detectors", np.float64))
    counts = xray.expose(xray.transmission(sinogram), photons=photons, electronic_noise=electronic_noise, rng=rng)
    return xray.attenuation_image(counts, photons=photons)


# ---- Computing back


def filter_views(sinogram: ArrayLike, *, pixel_mm: float = 1.0, window: str = "ramp") -> np.ndarray:
    """Filter each view with the ramp |f|, times a window that damps the high frequencies, where the noise is.

    Parameters
    ----------
    sinogram : array, (views, detectors)
    pixel_mm : float
        Distance between detectors in mm.
    window : {"ramp", "shepp-logan", "cosine", "hamming", "hann"}
        "ramp" damps nothing: sharpest and noisiest. The others are in the order of their smoothness; "none" returns
        the views as they are.

    Returns
    -------
    ndarray of float32, same shape
        In the unit of the sinogram per mm.

    Raises
    ------
    ValueError
        If an argument does not fit.

    Notes
    -----
    The ramp is the Fourier transform of its samples in space (Kak and Slaney, eq. 61 of chapter 3): ``1 / 4`` in the
    middle, ``−1 / (π n)²`` at odd n, 0 at even n. |f| itself would be wrong at f = 0 and darken the picture.
    """
    sinogram = check_array("sinogram", sinogram, "views, detectors")
    check_positive("pixel_mm", pixel_mm, "mm")
    check_choice("window", window, FILTERS)
    if window == "none":
        return sinogram
    n = sinogram.shape[1]
    size = fft.next_fast_len(2 * n, real=True)  # room for the whole convolution, which would else wrap around
    gain = _ramp(size) * WINDOWS[window](2 * fft.rfftfreq(size))
    spectrum = fft.rfft(sinogram, size, axis=1) * (gain / pixel_mm).astype(np.float32)
    return np.ascontiguousarray(fft.irfft(spectrum, size, axis=1)[:, :n])


def backproject(
    sinogram: ArrayLike, angles_deg: ArrayLike, *, shape: Sequence[int], pixel_mm: float = 1.0
) -> np.ndarray:
    """Smear parallel views back over the slice: to each pixel π times the mean of what the rays through it measured.

    Parameters
    ----------
    sinogram : array, (views, detectors)
        Filtered views give the slice; unfiltered ones a blurred one, and not to scale.
    angles_deg : array, (views,)
        Evenly spread over 180° or 360°; with a gap, structures along the missing rays are lost. The first k views of
        a scan, and their angles, show how the picture builds up.
    shape : (rows, columns)
        Size of the picture.
    pixel_mm : float
        Size of the pixels and distance between detectors in mm.

    Returns
    -------
    ndarray of float32, (rows, columns)

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    sinogram, angles = _check_views(sinogram, angles_deg)
    shape = check_shape("shape", shape, "rows, columns")
    check_positive("pixel_mm", pixel_mm, "mm")
    image = np.zeros(shape, np.float32)
    _smear(_with_margin(sinogram), np.radians(angles), image)
    return image * np.float32(np.pi / angles.size)


def fbp(
    sinogram: ArrayLike,
    angles_deg: ArrayLike,
    *,
    shape: Sequence[int],
    pixel_mm: float = 1.0,
    window: str = "ramp",
) -> np.ndarray:
    """Filtered back-projection of parallel beams: the slice from its sinogram.

    Parameters
    ----------
    sinogram : array, (views, detectors)
        As `radon` gives it: the middle detector looks through the center of the picture.
    angles_deg : array, (views,)
        Evenly spread over 180° or 360°. Artefact-free pictures need about π/2 views for each detector that the body
        covers; with fewer, streaks appear.
    shape : (rows, columns)
        Size of the picture.
    pixel_mm : float
        Size of the pixels and distance between detectors in mm.
    window : {"ramp", "shepp-logan", "cosine", "hamming", "hann", "none"}
        As for `filter_views`.

    Returns
    -------
    ndarray of float32, (rows, columns)
        In the unit of the slice that was measured, for X-rays 1/mm.

    Raises
    ------
    ValueError
        If an argument does not fit.

    Examples
    --------
    >>> image = np.zeros((64, 64))
    >>> image[20:40, 25:45] = 0.02
    >>> angles_deg = np.arange(0, 180, 2)
    >>> result = fbp(radon(image, angles_deg), angles_deg, shape=(64, 64))
    >>> f"{result[20:40, 25:45].mean():.3f} {result[:10].mean():.3f}"
    '0.020 0.000'
    """
    filtered = filter_views(sinogram, pixel_mm=pixel_mm, window=window)
    return backproject(filtered, angles_deg, shape=shape, pixel_mm=pixel_mm)


def fan_fbp(
    sinogram: ArrayLike,
    angles_deg: ArrayLike,
    *,
    source_mm: float,
    shape: Sequence[int],
    pixel_mm: float = 1.0,
    window: str = "ramp",
) -> np.ndarray:
    """Filtered back-projection of fan beams with detectors in a line (Kak and Slaney, section 3.4.2).

    It differs from `fbp` in two weights: rays at the rim of the fan count less, and pixels near the source more.

    Parameters
    ----------
    sinogram : array, (views, detectors)
        As `fan_radon` gives it.
    angles_deg : array, (views,)
        Angles of the central ray, evenly spread over 360°.
    source_mm : float
        Distance of the focal spot from the center of the picture in mm.
    shape, pixel_mm, window
        As for `fbp`.

    Returns
    -------
    ndarray of float32, (rows, columns)

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    sinogram, angles = _check_views(sinogram, angles_deg)
    shape = check_shape("shape", shape, "rows, columns")
    source = _check_source(source_mm, pixel_mm, shape)
    s = np.arange(sinogram.shape[1]) - (sinogram.shape[1] - 1) / 2
    weighted = sinogram * (source / np.hypot(source, s))
    filtered = filter_views(weighted, pixel_mm=pixel_mm, window=window)
    image = np.zeros(shape, np.float32)
    _smear_fan(_with_margin(filtered), np.radians(angles), 1 / source, image)
    return image * np.float32(np.pi / angles.size)


# ---- Units


def to_hounsfield(mu_per_mm: ArrayLike, *, water_per_mm: float) -> np.ndarray:
    """Hounsfield units of an attenuation in 1/mm: ``1000 · (μ − μ_water) / μ_water``. Air is −1000, water 0."""
    check_positive("water_per_mm", water_per_mm, "1/mm")
    return 1000 * (np.asarray(mu_per_mm) / water_per_mm - 1)


def from_hounsfield(hu: ArrayLike, *, water_per_mm: float) -> np.ndarray:
    """Attenuation in 1/mm of Hounsfield units, at the energy at which water has `water_per_mm`; never below zero."""
    check_positive("water_per_mm", water_per_mm, "1/mm")
    return np.maximum(water_per_mm * (np.asarray(hu) / 1000 + 1), 0)


# ---- Relatives: the same rays, another measurement


def ultrasound_delays(
    speed_m_per_s: ArrayLike,
    angles_deg: ArrayLike,
    *,
    water_m_per_s: float,
    pixel_mm: float = 1.0,
    n_detectors: int | None = None,
) -> np.ndarray:
    """Transmission ultrasound CT: how much later than in water alone the sound arrives, in µs.

    Sound is taken to travel along straight lines. In the body it bends; that is what makes this CT harder than X-rays.

    Parameters
    ----------
    speed_m_per_s : array, (rows, columns)
        Speed of sound; beyond the picture is water.
    angles_deg, pixel_mm, n_detectors
        As for `radon`.
    water_m_per_s : float
        Speed of sound in the water around the body.

    Returns
    -------
    ndarray of float32, (views, detectors)
        Negative where the sound arrives earlier.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    speed = check_above_zero("speed_m_per_s", speed_m_per_s, "m/s")
    check_positive("water_m_per_s", water_m_per_s, "m/s")
    slowness_us_per_mm = 1000 / speed - 1000 / water_m_per_s
    return radon(slowness_us_per_mm, angles_deg, pixel_mm=pixel_mm, n_detectors=n_detectors)


def ultrasound_fbp(
    delays_us: ArrayLike,
    angles_deg: ArrayLike,
    *,
    water_m_per_s: float,
    shape: Sequence[int],
    pixel_mm: float = 1.0,
    window: str = "ramp",
) -> np.ndarray:
    """Speed of sound in m/s from `ultrasound_delays`, (rows, columns): filtered back-projection of the slowness."""
    check_positive("water_m_per_s", water_m_per_s, "m/s")
    slowness = fbp(delays_us, angles_deg, shape=shape, pixel_mm=pixel_mm, window=window) + 1000 / water_m_per_s
    return 1000 / check_above_zero("the slowness that the delays imply", slowness, "µs/mm").astype(np.float32)


def emission_radon(
    activity: ArrayLike,
    angles_deg: ArrayLike,
    *,
    mu_per_mm: ArrayLike | None = None,
    pixel_mm: float = 1.0,
    n_detectors: int | None = None,
) -> np.ndarray:
    """Emission CT (SPECT): γ-rays from inside the body, collimated to parallel rays, weakened on their way out.

    Transmission CT with a γ-source needs no function of its own: it is `radon` of the attenuation at that one energy.

    Parameters
    ----------
    activity : array, (rows, columns)
        Emitted γ-rays, on any scale per mm of ray.
    angles_deg : array, (views,)
        Angles θ. With attenuation opposite views differ: use 0 to 360 (excluded). At 0 the camera is below the picture.
    mu_per_mm : array, (rows, columns), optional
        Attenuation in 1/mm of the γ-rays; by default none, and the result is `radon`.
    pixel_mm, n_detectors
        As for `radon`.

    Returns
    -------
    ndarray of float32, (views, detectors)
        Expected measurement, on the scale of `activity` times mm. Counts are Poisson distributed about it.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    activity, angles = check_array("activity", activity, "rows, columns"), _check_angles(angles_deg)
    if mu_per_mm is None:
        mu_per_mm = np.zeros_like(activity)
    mu = check_array("mu_per_mm", mu_per_mm, "rows, columns")
    check_not_negative("mu_per_mm", mu, "1/mm")
    if mu.shape != activity.shape:
        raise ValueError(f"activity and mu_per_mm must have one shape; got {activity.shape} and {mu.shape}")
    check_positive("pixel_mm", pixel_mm, "mm")
    sinogram = np.empty((angles.size, _n_detectors(n_detectors, activity.shape)), np.float32)
    _project_attenuated(activity, mu * np.float32(pixel_mm), np.radians(angles), sinogram)
    return sinogram * np.float32(pixel_mm)


# ---- Loops, in units of pixels


@compiled
def _project(image, transposed, angles, nearness, sinogram):
    """Line integrals of an image; `nearness` is 1 / distance of the source, 0 for parallel rays.

    Both forms of the image have a margin of zeros along the second axis, one pixel before and two behind.
    """
    rows, columns = image.shape[0], transposed.shape[0]
    for view in range(angles.size):
        cos, sin = math.cos(angles[view]), math.sin(angles[view])
        for detector in range(sinogram.shape[1]):
            s = detector - (sinogram.shape[1] - 1) / 2
            x, y = s * cos, -s * sin  # where the ray crosses the line of detectors
            dx, dy = sin + x * nearness, cos + y * nearness
            if abs(dy) >= abs(dx):  # always along the axis that the ray is closer to
                slope = dx / dy
                total = _sum_over_rows(image, x - (y + (rows - 1) / 2) * slope + (columns + 1) / 2, slope)
            else:
                slope = dy / dx
                total = _sum_over_rows(transposed, y - (x + (columns - 1) / 2) * slope + (rows + 1) / 2, slope)
            sinogram[view, detector] = total * math.sqrt(1 + slope * slope)


@compiled
def _sum_over_rows(image, first, slope):
    """Sum of the image, one sample a row, at column `first` + row · `slope`, linear between columns.

    float32 and unsigned indices are worth it: with float64 and signed ones it takes twice the time.
    """
    begin, end = planes_inside(first, slope, image.shape[1] - 2, 0, image.shape[0])
    first, slope, total = np.float32(first), np.float32(slope), np.float32(0)
    for row in range(begin, end):
        c = first + np.float32(row) * slope
        whole = np.int32(c)
        i = np.uint32(whole)
        total += image[row, i] + (c - np.float32(whole)) * (image[row, i + ONE] - image[row, i])
    return total


@compiled
def _project_attenuated(activity, mu, angles, sinogram):
    """Emission: walk each ray from the camera into the body in steps of a pixel, with what it has weakened so far."""
    rows, columns = activity.shape
    n_steps = math.ceil(math.sqrt(rows * rows + columns * columns)) + 1
    for view in range(angles.size):
        cos, sin = math.cos(angles[view]), math.sin(angles[view])
        for detector in range(sinogram.shape[1]):
            s = detector - (sinogram.shape[1] - 1) / 2
            total, depth = 0.0, 0.0  # depth = attenuation between here and the camera
            for step in range(n_steps):
                along = (n_steps - 1) / 2 - step
                x = s * cos + along * sin + (columns - 1) / 2
                y = -s * sin + along * cos + (rows - 1) / 2
                if -1 < x < columns and -1 < y < rows:
                    here = _bilinear(mu, y, x)
                    total += _bilinear(activity, y, x) * math.exp(-depth - here / 2)
                    depth += here
            sinogram[view, detector] = total


@compiled
def _bilinear(image, y, x):
    """The image at (y, x); it fades to 0 within one pixel beyond the border."""
    k, i = math.floor(y), math.floor(x)
    fy, fx = y - k, x - i
    total = 0.0
    if k >= 0:
        if i >= 0:
            total += (1 - fy) * (1 - fx) * image[k, i]
        if i + 1 < image.shape[1]:
            total += (1 - fy) * fx * image[k, i + 1]
    if k + 1 < image.shape[0]:
        if i >= 0:
            total += fy * (1 - fx) * image[k + 1, i]
        if i + 1 < image.shape[1]:
            total += fy * fx * image[k + 1, i + 1]
    return total


@compiled
def _smear(views, angles, image):
    """Add each parallel view to the pixels along its rays. Views have a margin of zeros, one before and two behind.

    A row of the picture stays in the cache while all views pass; float32 and unsigned indices as in `_sum_over_rows`.
    """
    rows, columns = image.shape
    last = np.float32(views.shape[1] - 2)
    for row in range(rows):
        pixels, y = image[row], row - (rows - 1) / 2
        for k in range(angles.size):
            view, step = views[k], np.float32(math.cos(angles[k]))
            first = np.float32((views.shape[1] - 2) / 2 - y * math.sin(angles[k]) - (columns - 1) / 2 * step)
            for column in range(columns):
                s = min(max(first + np.float32(column) * step, np.float32(0)), last)  # beyond the ends are zeros
                whole = np.int32(s)
                i = np.uint32(whole)
                pixels[column] += view[i] + (s - np.float32(whole)) * (view[i + ONE] - view[i])


@compiled
def _smear_fan(views, angles, nearness, image):
    """Add each fan-beam view to the pixels along its rays, weighted by (distance of the source / that of a pixel)²."""
    rows, columns = image.shape
    middle, last = np.float32((views.shape[1] - 2) / 2), np.float32(views.shape[1] - 2)
    for row in range(rows):
        pixels, y = image[row], row - (rows - 1) / 2
        for k in range(angles.size):
            view, cos, sin = views[k], np.float32(math.cos(angles[k])), np.float32(math.sin(angles[k]))
            y_cos, y_sin, near = np.float32(y * cos), np.float32(y * sin), np.float32(nearness)
            for column in range(columns):
                x = np.float32(column - (columns - 1) / 2)
                enlarged = np.float32(1) / (np.float32(1) + (x * sin + y_cos) * near)  # > 1 on the source's side
                s = min(max(middle + (x * cos - y_sin) * enlarged, np.float32(0)), last)
                whole = np.int32(s)
                i = np.uint32(whole)
                value = view[i] + (s - np.float32(whole)) * (view[i + ONE] - view[i])
                pixels[column] += enlarged * enlarged * value


def _with_margin(array: np.ndarray) -> np.ndarray:
    """Zeros before and behind the last axis, so that the loops can interpolate at and just beyond its ends."""
    return np.pad(array, ((0, 0), (1, 2)))


# ---- Arguments


def _ramp(size: int) -> np.ndarray:
    """Gain of the ramp filter at the frequencies of a real FFT of `size`, for detectors 1 apart."""
    distance = np.minimum(np.arange(size), size - np.arange(size))
    kernel = np.where(distance % 2, -1 / (np.pi * np.maximum(distance, 1)) ** 2, 0.0)
    kernel[0] = 0.25
    return fft.rfft(kernel).real


def _n_detectors(wanted: int | None, shape: tuple[int, int], source: float = math.inf) -> int:
    """The number that was asked for, or one that sees all of a picture from a source so many pixels away."""
    if wanted is not None:
        return check_count("n_detectors", wanted)
    radius = math.hypot(*shape) / 2
    needed = math.ceil(2 * radius / math.sqrt(1 - (radius / source) ** 2))
    return needed + (needed - shape[1]) % 2  # at θ = 0 detectors then look at the centers of columns, not between


def _check_angles(angles_deg: ArrayLike) -> np.ndarray:
    return check_array("angles_deg", np.atleast_1d(np.asarray(angles_deg)), "views", np.float64)


def _check_views(sinogram: ArrayLike, angles_deg: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    sinogram, angles = check_array("sinogram", sinogram, "views, detectors"), _check_angles(angles_deg)
    if len(sinogram) != angles.size:
        raise ValueError(
            f"sinogram must have one row for each angle; got shape {sinogram.shape} (views, detectors) and "
            f"{angles.size} angles"
        )
    return sinogram, angles


def _check_source(source_mm: float, pixel_mm: float, shape: tuple[int, int]) -> float:
    """Distance of the source from the center, in pixels."""
    check_positive("pixel_mm", pixel_mm, "mm")
    radius_mm = math.hypot(*shape) / 2 * pixel_mm
    if not radius_mm < source_mm < math.inf:
        raise ValueError(
            f"source_mm must be more than {radius_mm:.0f} mm, outside of the picture, and finite; got {source_mm!r}"
        )
    return source_mm / pixel_mm
