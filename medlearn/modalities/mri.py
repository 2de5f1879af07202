"""Magnetic resonance imaging: the signal of an echo, k-space and what goes wrong there, coils, noise.

Three properties of a tissue make its signal: the proton density, T1 (how fast the magnetization grows back) and T2 (how
fast it dies away). The sequence decides which of them the picture shows. A scanner measures the picture's Fourier
transform, k-space, line by line: the phase encoding steps along axis 0 (rows of k-space, one for each repetition),
the readout runs along axis 1. So what goes wrong between two lines shows up along axis 0 of the picture.

Images are (y, x), k-space has the same shape with frequency 0 in the middle, at ``(rows // 2, columns // 2)``. Both are
on the same scale: the sum of squares is equal (Parseval).

Source, unless said otherwise: M. A. Bernstein, K. F. King, X. J. Zhou, Handbook of MRI Pulse Sequences, Elsevier 2004.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft, special

from ..errors import check_positive
from ._checks import check_above_zero, check_array, check_count, check_not_negative, check_shape, check_spacing

# ---- Signal


def spin_echo(
    proton_density: ArrayLike, t1_ms: ArrayLike, t2_ms: ArrayLike, *, tr_ms: float, te_ms: float
) -> np.ndarray:
    """Signal of a spin echo, ``PD · (1 − exp(−TR / T1)) · exp(−TE / T2)``; the echo comes early compared with TR.

    Short TR, short TE: T1 weighting. Long TR, long TE: T2 weighting. Long TR, short TE: proton density.

    Parameters
    ----------
    proton_density : array
        0 or more; the signal has its scale.
    t1_ms, t2_ms : arrays that fit its shape
        Relaxation times in ms, above 0: give air a proton density of 0 and any T1 and T2.
    tr_ms, te_ms : float
        Repetition time and echo time in ms.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    density = check_not_negative("proton_density", proton_density)
    t1_ms, t2_ms = check_above_zero("t1_ms", t1_ms, "ms"), check_above_zero("t2_ms", t2_ms, "ms")
    _check_times(tr_ms, te_ms)
    return density * -np.expm1(-tr_ms / t1_ms) * np.exp(-te_ms / t2_ms)


def gradient_echo(
    proton_density: ArrayLike,
    t1_ms: ArrayLike,
    t2_star_ms: ArrayLike,
    *,
    tr_ms: float,
    te_ms: float,
    flip_deg: float,
) -> np.ndarray:
    """Signal of a spoiled gradient echo in its steady state (FLASH, SPGR).

    ``PD · sin α · (1 − E₁) / (1 − E₁ cos α) · exp(−TE / T2*)`` with ``E₁ = exp(−TR / T1)``. No pulse refocuses what the
    inhomogeneous field dephases: the echo dies with T2*, which is shorter than T2.

    Parameters
    ----------
    proton_density : array
        0 or more; the signal has its scale.
    t1_ms, t2_star_ms : arrays that fit its shape
        Relaxation times in ms, above 0.
    tr_ms, te_ms : float
        Repetition time and echo time in ms.
    flip_deg : float
        Flip angle α in degrees, from 0 to 180. `ernst_angle_deg` gives most signal.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    density = check_not_negative("proton_density", proton_density)
    t1_ms, t2_star_ms = check_above_zero("t1_ms", t1_ms, "ms"), check_above_zero("t2_star_ms", t2_star_ms, "ms")
    _check_times(tr_ms, te_ms)
    if not 0 <= flip_deg <= 180:
        raise ValueError(f"flip_deg must be between 0 and 180 degrees; got {flip_deg!r}")
    flip = math.radians(flip_deg)
    e1 = np.exp(-tr_ms / t1_ms)
    return density * math.sin(flip) * (1 - e1) / (1 - e1 * math.cos(flip)) * np.exp(-te_ms / t2_star_ms)


def ernst_angle_deg(t1_ms: ArrayLike, *, tr_ms: float) -> np.ndarray:
    """The flip angle in degrees at which the `gradient_echo` of a tissue is strongest: ``arccos(exp(−TR / T1))``."""
    check_positive("tr_ms", tr_ms, "ms")
    return np.degrees(np.arccos(np.exp(-tr_ms / check_above_zero("t1_ms", t1_ms, "ms"))))


# ---- k-space


def kspace(image: ArrayLike) -> np.ndarray:
    """k-space of an image (y, x): its centered, orthonormal Fourier transform, complex128."""
    image = check_array("image", image, "y, x", np.float64)
    return fft.fftshift(fft.fft2(fft.ifftshift(image), norm="ortho"))


def reconstruct(kspace: ArrayLike) -> np.ndarray:
    """The picture from k-space, (y, x), float64: the magnitude of the inverse Fourier transform."""
    return np.abs(fft.fftshift(fft.ifft2(fft.ifftshift(_check_kspace(kspace)), norm="ortho")))


def keep_every(kspace: ArrayLike, step: int, *, offset: int = 0) -> np.ndarray:
    """Measure only every n-th line: n times as fast, and n copies of the picture, 1/n as bright, wrapped over it.

    Parameters
    ----------
    kspace : array, (rows, columns)
    step : int
        1 keeps all lines, 2 every second one; the middle line is kept if `offset` is 0.
    offset : int
        How many lines the kept ones are moved.

    Returns
    -------
    ndarray of complex128, same shape
        Zero where nothing was measured.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    kspace, step = _check_kspace(kspace), check_count("step", step)
    rows = np.arange(len(kspace)) - len(kspace) // 2 - offset
    return np.where(rows[:, None] % step == 0, kspace, 0)


def keep_center(kspace: ArrayLike, radius: float) -> np.ndarray:
    """Only the middle of k-space: contrast remains, edges blur and ring.

    Parameters
    ----------
    kspace : array, (rows, columns)
    radius : float
        Of the ellipse that is kept, as a share of the highest frequencies: 0 keeps the mean of the picture alone, 1
        reaches the borders, √2 and more the corners.

    Returns
    -------
    ndarray of complex128, same shape

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    kspace = _check_kspace(kspace)
    return np.where(_radius(kspace.shape) <= check_not_negative("radius", radius), kspace, 0)


def keep_rim(kspace: ArrayLike, radius: float) -> np.ndarray:
    """All of k-space but its middle: edges remain, contrast is lost. `keep_center` keeps exactly the other part."""
    kspace = _check_kspace(kspace)
    return np.where(_radius(kspace.shape) <= check_not_negative("radius", radius), 0, kspace)


def add_spike(kspace: ArrayLike, *, row: int, column: int, amplitude: float) -> np.ndarray:
    """One sample that is wrong, from a spark in the scanner room: stripes all over the picture.

    Parameters
    ----------
    kspace : array, (rows, columns)
    row, column : int
        Where, counted from the middle of k-space: as many stripes run across the picture.
    amplitude : float
        Added to the sample, as a multiple of the largest magnitude in k-space.

    Returns
    -------
    ndarray of complex128, same shape

    Raises
    ------
    ValueError
        If the sample lies outside of k-space.
    """
    kspace = _check_kspace(kspace)  # a copy
    index = kspace.shape[0] // 2 + row, kspace.shape[1] // 2 + column
    if not all(0 <= i < n for i, n in zip(index, kspace.shape, strict=True)):
        raise ValueError(
            f"row and column must lie in k-space of shape {kspace.shape}, counted from its middle; got {row}, {column}"
        )
    kspace[index] += amplitude * np.abs(kspace).max()
    return kspace


def displace_lines(kspace: ArrayLike, displacement: ArrayLike) -> np.ndarray:
    """Motion between lines: each line is measured with the body at another place.

    A displacement in space is a phase in k-space (the shift theorem). Motion that repeats every n lines, as breathing
    does, makes ghosts ``rows / n`` pixels apart along the phase encoding, whichever way the body moves.

    Parameters
    ----------
    kspace : array, (rows, columns)
        Of the body at rest.
    displacement : array, (rows, 2)
        Where the body was when each row was measured, (y, x) in pixels from its place at rest.

    Returns
    -------
    ndarray of complex128, same shape

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    kspace = _check_kspace(kspace)
    displacement = check_array("displacement", displacement, "rows, (y and x)", np.float64)
    if displacement.shape != (len(kspace), 2):
        raise ValueError(
            f"displacement must hold (y, x) for each of the {len(kspace)} rows; got shape {displacement.shape}"
        )
    fy, fx = (np.arange(n) / n - (n // 2) / n for n in kspace.shape)  # cycles / pixel
    turns = (fy * displacement[:, 0])[:, None] + displacement[:, 1:] * fx
    return kspace * np.exp(-2j * np.pi * turns)


def add_noise(kspace: ArrayLike, *, std: float, rng: np.random.Generator | int = 0) -> np.ndarray:
    """Thermal noise: Gaussian in the real and the imaginary channel of every sample.

    In the magnitude that `reconstruct` returns it is Rician: where there is much signal nearly Gaussian with the same
    standard deviation; where there is none the mean is not 0 but ``std · √(π / 2)``.

    Parameters
    ----------
    kspace : array, (rows, columns)
    std : float
        Standard deviation in each channel, 0 or more; the same in k-space and in the picture. It falls with the square
        root of the number of repetitions that are averaged.
    rng : Generator or int
        Source of chance, or a seed.

    Returns
    -------
    ndarray of complex128, same shape

    Raises
    ------
    ValueError
        If an argument does not fit.

    References
    ----------
    H. Gudbjartsson, S. Patz, The Rician distribution of noisy MRI data, Magn Reson Med 34 (1995) 910-914.
    """
    kspace = _check_kspace(kspace)
    check_not_negative("std", std)
    real, imaginary = np.random.default_rng(rng).normal(0, std, (2, *kspace.shape))
    return kspace + real + 1j * imaginary


# ---- Coil


def bias_field(
    shape: Sequence[int], *, spacing: Sequence[float], coil_mm: Sequence[float], radius_mm: float
) -> np.ndarray:
    """How much brighter a surface coil shows what lies near it: its sensitivity, 1 in the middle of the picture.

    The coil is a loop of wire that looks along the y axis, in a slice through its center. By reciprocity it receives as
    well as it would send: the sensitivity is the field of a current in the loop (Biot and Savart), all of which lies in
    the slice. Multiply an image by it; for several coils combine the products by the root of the sum of squares.

    Parameters
    ----------
    shape : (rows, columns)
        Size of the picture.
    spacing : (y, x)
        Distance between pixels in mm.
    coil_mm : (y, x)
        Center of the loop in mm from the middle of the picture, better outside: at the wire the field is infinite.
    radius_mm : float
        Radius of the loop in mm. The larger, the deeper it sees.

    Returns
    -------
    ndarray of float64, (rows, columns)

    Raises
    ------
    ValueError
        If an argument does not fit, or a pixel or the middle of the picture lies on the wire.

    References
    ----------
    J. D. Jackson, Classical Electrodynamics, section 5.5: the circular loop by complete elliptic integrals.
    """
    shape, (hy, hx) = check_shape("shape", shape, "rows, columns"), check_spacing("spacing", spacing, "y, x")
    check_positive("radius_mm", radius_mm, "mm")
    coil_y, coil_x = check_array("coil_mm", coil_mm, "(y and x)", np.float64)
    y = (np.arange(shape[0]) - (shape[0] - 1) / 2) * hy - coil_y
    x = (np.arange(shape[1]) - (shape[1] - 1) / 2) * hx - coil_x
    middle = _loop_field(-coil_y, abs(coil_x), radius_mm)
    return _loop_field(y[:, None], np.abs(x), radius_mm) / middle


def _loop_field(axial: ArrayLike, radial: ArrayLike, radius: float) -> np.ndarray:
    """Field of a current loop, `axial` away from its plane and `radial` from its axis: magnitude, 1 in its center."""
    axial, radial = np.broadcast_arrays(np.asarray(axial, float), np.asarray(radial, float))
    near, far = axial**2 + (radius - radial) ** 2, axial**2 + (radius + radial) ** 2
    if not near.all():
        raise ValueError("the wire of the coil goes through a pixel: move coil_mm or change radius_mm a little")
    m = 4 * radius * radial / far
    k, e = special.ellipk(m), special.ellipe(m)
    along = k + (radius**2 - radial**2 - axial**2) / near * e
    across = -k + (radius**2 + radial**2 + axial**2) / near * e
    # On the axis the part across is 0 / 0: the limit is 0.
    across = np.divide(axial * across, radial, out=np.zeros_like(along), where=radial > 1e-6 * radius)
    return np.hypot(along, across) * radius / (np.pi * np.sqrt(far))


# ---- Arguments


def _check_times(tr_ms: float, te_ms: float) -> None:
    check_positive("tr_ms", tr_ms, "ms")
    check_not_negative("te_ms", te_ms, "ms")
    if te_ms > tr_ms:
        raise ValueError(f"te_ms must not be longer than tr_ms, the time to the next echo; got {te_ms} > {tr_ms}")


def _check_kspace(kspace: ArrayLike) -> np.ndarray:
    kspace = np.asarray(kspace)
    if kspace.dtype.kind not in "biufc" or kspace.ndim != 2 or kspace.size == 0 or not np.isfinite(kspace).all():
        raise ValueError(
            f"kspace must hold finite numbers with axes (rows, columns); got shape {kspace.shape} and dtype "
            f"{kspace.dtype}"
        )
    return kspace.astype(np.complex128)


def _radius(shape: tuple[int, int]) -> np.ndarray:
    """Distance from the middle of k-space, 1 at the middle of its borders."""
    y, x = ((np.arange(n) - n // 2) / max(n / 2, 1) for n in shape)
    return np.hypot(y[:, None], x)
