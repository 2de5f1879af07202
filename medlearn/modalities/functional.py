"""Measuring what the brain does: blood that follows activity (fMRI), its currents from outside (EEG, MEG).

fMRI sees a place well and an instant badly: blood takes seconds. EEG and MEG see every millisecond, but only a blurred
shadow of the currents: many distributions of current give the same potential.

Positions are (x, y, z) in mm from the center of a sphere that stands for the head, dipole moments in nA·m.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ..errors import check_positive
from ._checks import check_above_zero, check_array, check_count, check_not_negative

HEAD_RADIUS_MM = 90.0
SIEMENS_PER_M = 0.33  #: conductivity of the brain, a usual value

# ---- fMRI


def hemodynamic_response(time_s: ArrayLike) -> np.ndarray:
    """How blood answers a short burst of activity: up within 5 s, down, and a dip before it rests; largest value 1.

    The difference of two γ densities, t⁵e⁻ᵗ/5! − t¹⁵e⁻ᵗ/(6 · 15!).

    Parameters
    ----------
    time_s : array
        Since the activity, in s; before it the response is 0.

    Returns
    -------
    ndarray of float64, same shape

    References
    ----------
    K. J. Friston et al., Event-related fMRI: characterizing differential responses, NeuroImage 7 (1998) 30-40,
    doi:10.1006/nimg.1997.0306.
    """
    t = np.maximum(np.asarray(time_s, np.float64), 0)
    return _double_gamma(t) / _PEAK


def _double_gamma(t: np.ndarray) -> np.ndarray:
    return t**5 * np.exp(-t) / math.factorial(5) - t**15 * np.exp(-t) / (6 * math.factorial(15))


_PEAK = float(_double_gamma(np.linspace(4, 6, 2001)).max())


def block_design(n_scans: int, *, tr_s: float, block_s: float) -> np.ndarray:
    """A task in blocks: rest, task, rest, ... each of the same length; 0 or 1 for each scan."""
    check_count("n_scans", n_scans)
    for name, value in (("tr_s", tr_s), ("block_s", block_s)):
        check_positive(name, value, "s")
    block = np.floor(np.arange(n_scans) * tr_s / block_s + 1e-9)  # 3 · 0.7 s is a hair less than 2.1 s in floats
    return (block % 2).astype(np.float64)


def bold_response(stimulus: ArrayLike, *, tr_s: float) -> np.ndarray:
    """The BOLD signal that a stimulus causes: its convolution with `hemodynamic_response`.

    Parameters
    ----------
    stimulus : array, (scans,)
        Strength at each scan.
    tr_s : float
        Time from scan to scan in s.

    Returns
    -------
    ndarray of float64, (scans,)
        1 is what a stimulus of 1 that lasts for long settles at.
    """
    stimulus = check_array("stimulus", stimulus, "scans", np.float64)
    check_positive("tr_s", tr_s, "s")
    kernel = hemodynamic_response(np.arange(0, 32, tr_s))
    if kernel.sum() <= 0:
        raise ValueError(f"tr_s = {tr_s} s is too long: no scan falls on the rise of the response; use 10 s or less")
    return np.convolve(stimulus, kernel / kernel.sum())[: len(stimulus)]


def bold_series(
    image: ArrayLike,
    activation_percent: ArrayLike,
    stimulus: ArrayLike,
    *,
    tr_s: float,
    noise: float = 0.0,
    drift_percent: float = 0.0,
    rng: np.random.Generator | int = 0,
) -> np.ndarray:
    """Images taken one after the other while a stimulus comes and goes.

    Parameters
    ----------
    image : array, (...)
        Signal at rest.
    activation_percent : array, same shape
        By how many per cent the signal of each place rises: 1 to 5 in real experiments, 0 where nothing happens.
    stimulus : array, (scans,)
    tr_s : float
        Time from scan to scan in s.
    noise : float
        Standard deviation, in the unit of `image`.
    drift_percent : float
        How much a scanner warms up: slow change of the signal from the first to the last scan.
    rng : Generator or int

    Returns
    -------
    ndarray of float32, (scans, ...)
    """
    image = np.asarray(image, np.float64)
    activation = np.asarray(activation_percent, np.float64)
    if activation.shape != image.shape:
        raise ValueError(f"image and activation_percent must have one shape; got {image.shape} and {activation.shape}")
    check_not_negative("noise", noise)
    response = bold_response(stimulus, tr_s=tr_s)
    drift = np.linspace(0, drift_percent / 100, len(response))
    over_time = np.column_stack([np.ones_like(drift), response, drift])
    over_space = np.stack([image, image * activation / 100, image]).reshape(3, -1)
    series = np.random.default_rng(rng).standard_normal((len(drift), *image.shape))
    series *= noise
    series += (over_time @ over_space).reshape(series.shape)
    return series.astype(np.float32)


def design_matrix(stimulus: ArrayLike, *, tr_s: float, n_drifts: int = 2) -> np.ndarray:
    """What a series is thought to be made of: the response to the stimulus, a constant, slow drifts.

    Returns
    -------
    ndarray of float64, (scans, 2 + n_drifts)
        First column: `bold_response`. The drifts are polynomials in time.
    """
    response = bold_response(stimulus, tr_s=tr_s)
    time = np.linspace(-1, 1, len(response))
    return np.column_stack([response, *(special.eval_legendre(k, time) for k in range(n_drifts + 1))])


def glm_t_map(series: ArrayLike, design: ArrayLike, *, column: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Fit a linear model to the series of every place, and ask whether one column is needed.

    Parameters
    ----------
    series : array, (scans, ...)
    design : array, (scans, columns)
        See `design_matrix`.
    column : int
        The one that is asked for.

    Returns
    -------
    effect : ndarray of float64, (...)
        Fitted weight of the column, in the unit of the series.
    t : ndarray of float64, (...)
        Effect divided by its standard error: Student's t with scans − columns degrees of freedom where nothing happens
        and the noise is white. 0 where a series is constant.

    Raises
    ------
    ValueError
        If there are no more scans than columns, or the columns depend on each other.
    """
    series, design = np.asarray(series, np.float64), check_array("design", design, "scans, columns", np.float64)
    n_scans, n_columns = design.shape
    if len(series) != n_scans or n_scans <= n_columns:
        raise ValueError(f"series has {len(series)} scans, design {n_scans} scans for {n_columns} columns")
    if np.linalg.matrix_rank(design) < n_columns:
        raise ValueError("the columns of design depend on each other: their weights cannot be told apart")
    flat = series.reshape(n_scans, -1)
    inverse = np.linalg.inv(design.T @ design)
    weights = inverse @ (design.T @ flat)
    variance = ((flat - design @ weights) ** 2).sum(0) / (n_scans - n_columns)
    error = np.sqrt(variance * inverse[column, column])
    changes = np.ptp(flat, axis=0) > 1e-9 * abs(flat).max(axis=0)  # else error is rounding alone
    t = np.divide(weights[column], error, out=np.zeros_like(error), where=changes & (error > 0))
    return weights[column].reshape(series.shape[1:]), t.reshape(series.shape[1:])


# ---- EEG and MEG


def cap_positions(n: int, *, radius_mm: float = HEAD_RADIUS_MM, lowest_deg: float = 110.0) -> np.ndarray:
    """Sensors spread evenly over the upper part of a sphere, along a spiral from the crown.

    Parameters
    ----------
    n : int
    radius_mm : float
    lowest_deg : float
        Angle from the crown (+z) of the lowest ones.

    Returns
    -------
    ndarray of float64, (n, 3)
        Positions (x, y, z) in mm.
    """
    check_count("n", n)
    check_positive("radius_mm", radius_mm, "mm")
    z = np.linspace(1, math.cos(math.radians(lowest_deg)), n)
    angle = math.pi * (3 - math.sqrt(5)) * np.arange(n)  # the golden angle
    across = np.sqrt(np.maximum(1 - z**2, 0))
    return radius_mm * np.column_stack([across * np.cos(angle), across * np.sin(angle), z])


def eeg_potential_uv(
    electrodes_mm: ArrayLike,
    position_mm: Sequence[float],
    moment_nam: Sequence[float],
    *,
    siemens_per_m: float = SIEMENS_PER_M,
) -> np.ndarray:
    """Potential of a current dipole on the surface of a homogeneous conducting sphere, against its mean.

    A real skull conducts badly and blurs the potential far more; this is the simplest model with a closed form.

    Parameters
    ----------
    electrodes_mm : array, (n, 3)
        On one sphere around the origin.
    position_mm, moment_nam : (x, y, z)
        Of the dipole, inside the sphere: position in mm, moment in nA·m.
    siemens_per_m : float
        Conductivity.

    Returns
    -------
    ndarray of float64, (n,)
        In µV. The zero is that of a potential whose mean over the whole sphere is 0.

    Raises
    ------
    ValueError
        If the electrodes do not lie on a sphere around the origin, or the dipole not inside of it.

    Notes
    -----
    Gradient, with respect to the source, of the potential of a point source on a sphere whose surface lets no current
    out: 2/d + ln(2R² / (R² − r·r₀ + R d)) / R, with d = |r − r₀|.
    """
    electrodes, position, moment = _sensors_and_dipole("electrodes_mm", electrodes_mm, position_mm, moment_nam)
    check_above_zero("siemens_per_m", siemens_per_m, "S/m")
    radii = np.linalg.norm(electrodes, axis=1)
    radius = float(radii.mean())
    if np.ptp(radii) > 1e-6 * radius:
        raise ValueError(
            "electrodes_mm must lie on one sphere around (0, 0, 0); their distances are "
            f"{radii.min():.4g} to {radii.max():.4g} mm"
        )
    if not np.linalg.norm(position) < radius:
        raise ValueError(f"position_mm must lie inside the sphere of {radius:.4g} mm; got {tuple(position)}")
    way = electrodes - position
    d = np.linalg.norm(way, axis=1, keepdims=True)
    towards = 2 * way / d**3
    towards += (electrodes / radius + way / d) / (radius**2 - (electrodes @ position)[:, None] + radius * d)
    return 1e3 * (towards @ moment) / (4 * math.pi * siemens_per_m)  # nA·m and mm to µV


def meg_field_ft(sensors_mm: ArrayLike, position_mm: Sequence[float], moment_nam: Sequence[float]) -> np.ndarray:
    """Magnetic field of a current dipole outside of a conducting sphere, whatever its layers conduct.

    Parameters
    ----------
    sensors_mm : array, (n, 3)
        Outside of the sphere, which is centered at the origin.
    position_mm, moment_nam : (x, y, z)
        Of the dipole: position in mm, moment in nA·m.

    Returns
    -------
    ndarray of float64, (n, 3)
        In fT. A radial dipole gives no field at all.

    Raises
    ------
    ValueError
        If a sensor lies no farther out than the dipole.

    References
    ----------
    J. Sarvas, Basic mathematical and electromagnetic concepts of the biomagnetic inverse problem, Phys. Med. Biol. 32
    (1987) 11-22, equation 25, doi:10.1088/0031-9155/32/1/004.
    """
    sensors, position, moment = _sensors_and_dipole("sensors_mm", sensors_mm, position_mm, moment_nam)
    r = np.linalg.norm(sensors, axis=1)
    if not (r > np.linalg.norm(position)).all():
        raise ValueError("sensors_mm must all lie farther out than the dipole")
    a_vector = sensors - position
    a = np.linalg.norm(a_vector, axis=1)
    along = (a_vector * sensors).sum(1)
    f = a * (r * a + r**2 - sensors @ position)
    gradient = (a**2 / r + along / a + 2 * a + 2 * r)[:, None] * sensors
    gradient -= (a + 2 * r + along / a)[:, None] * position
    turned = np.cross(moment, position)
    field = (f[:, None] * turned - (sensors @ turned)[:, None] * gradient) / f[:, None] ** 2
    return 1e5 * field  # μ₀/4π · nA·m / mm² to fT


def lead_field(sensors_mm: ArrayLike, positions_mm: ArrayLike, moments_nam: ArrayLike, *, kind: str) -> np.ndarray:
    """What every sensor measures of every one of some dipoles: the forward problem as a matrix.

    Parameters
    ----------
    sensors_mm : array, (n, 3)
    positions_mm, moments_nam : array, (m, 3)
    kind : {"eeg", "meg"}
        Potential in µV, or the radial component of the field in fT.

    Returns
    -------
    ndarray of float64, (n, m)
        With more dipoles than sensors it cannot be inverted: that is the inverse problem.
    """
    if kind not in ("eeg", "meg"):
        raise ValueError(f"kind must be 'eeg' or 'meg'; got {kind!r}")
    sensors = check_array("sensors_mm", sensors_mm, "sensors, 3", np.float64)
    outward = sensors / np.linalg.norm(sensors, axis=1, keepdims=True)
    columns = []
    for position, moment in zip(np.atleast_2d(positions_mm), np.atleast_2d(moments_nam), strict=True):
        if kind == "eeg":
            columns.append(eeg_potential_uv(sensors, position, moment))
        else:
            columns.append((meg_field_ft(sensors, position, moment) * outward).sum(1))
    return np.column_stack(columns)


def _sensors_and_dipole(name: str, sensors: ArrayLike, position: ArrayLike, moment: ArrayLike):
    sensors = check_array(name, sensors, "sensors, 3", np.float64)
    position, moment = np.asarray(position, np.float64), np.asarray(moment, np.float64)
    if sensors.shape[1] != 3 or position.shape != (3,) or moment.shape != (3,):
        raise ValueError(
            f"{name} must be (n, 3), position_mm and moment_nam (x, y, z); got {sensors.shape}, {position.shape} and "
            f"{moment.shape}"
        )
    return sensors, position, moment
