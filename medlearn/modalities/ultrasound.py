"""Ultrasound: echoes of short pulses as A-, B- and M-mode, and the Doppler spectrum of flowing blood.

A pulse travels into the body and comes back from every place where the acoustic impedance changes, and from the many
small scatterers between. Late echoes come from deep. The pulse is Gaussian, and so is the beam: two closed forms give
how sharp the picture is along depth and across. The model follows echoes that were reflected once, uses one speed of
sound, and attenuates the whole pulse as its center frequency; reverberation, refraction and the loss of high
frequencies on the way are left out.

Arrays are (depth, lines): rows go away from the transducer, each column is one position of the beam.

Sources: T. L. Szabo, Diagnostic Ultrasound Imaging: Inside Out, 2nd ed., Academic Press 2014; for the Gaussian beam
A. E. Siegman, Lasers, University Science Books 1986.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft

from ..errors import check_positive
from ._checks import check_above_zero, check_array, check_not_negative, check_spacing

HALF_WIDTH = math.sqrt(
    2 * math.log(2)
)  # a Gaussian is at half its height this many standard deviations from its center


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Transducer: what it sends and how it focuses.

    Attributes
    ----------
    frequency_mhz : float
        Center frequency.
    bandwidth : float
        Width of the pulse's spectrum at half its amplitude (-6 dB) as a share of the center frequency, 0 to 1.
    aperture_mm : float
        Width of the transducer's active part: diameter at which its amplitude has fallen to 1/e.
    focus_mm : float
        Depth of the focus.
    sound_speed_mm_per_us : float
        Speed that the machine assumes, and that the body has: 1.54 mm/µs is what machines assume for soft tissue.
    """

    frequency_mhz: float = 5.0
    bandwidth: float = 0.6
    aperture_mm: float = 10.0
    focus_mm: float = 30.0
    sound_speed_mm_per_us: float = 1.54

    def __post_init__(self):
        check_positive("frequency_mhz", self.frequency_mhz, "MHz")
        check_positive("aperture_mm", self.aperture_mm, "mm")
        check_positive("focus_mm", self.focus_mm, "mm")
        check_positive("sound_speed_mm_per_us", self.sound_speed_mm_per_us, "mm/µs")
        if not 0 < self.bandwidth <= 1:
            raise ValueError(f"bandwidth must be a share of the center frequency, above 0 to 1; got {self.bandwidth!r}")

    @property
    def wavelength_mm(self) -> float:
        """Wavelength at the center frequency, in mm."""
        return self.sound_speed_mm_per_us / self.frequency_mhz

    @property
    def pulse_std_us(self) -> float:
        """Standard deviation of the pulse's envelope in µs: the wider the spectrum, the shorter the pulse."""
        return HALF_WIDTH / (math.pi * self.bandwidth * self.frequency_mhz)

    @property
    def axial_resolution_mm(self) -> float:
        """Width of a point along depth at half its height, in mm: half of the pulse's length, for it goes and returns.

        ``2 ln 2 / π · c / (bandwidth · frequency)``.
        """
        return HALF_WIDTH * self.pulse_std_us * self.sound_speed_mm_per_us

    def lateral_resolution_mm(self, depth_mm: ArrayLike) -> np.ndarray:
        """Width of a point across the beam at half its height, in mm; smallest near the focus.

        The radius of a Gaussian beam behind a lens is ``w² = (a (1 − z/F))² + (λ z / (π a))²`` with half the aperture
        ``a``. It counts twice, on sending and on receiving.
        """
        depth = check_not_negative("depth_mm", depth_mm, "mm")
        half = self.aperture_mm / 2
        radius = np.hypot(half * (1 - depth / self.focus_mm), self.wavelength_mm * depth / (math.pi * half))
        return HALF_WIDTH * radius


def pulse(time_us: ArrayLike, probe: Probe) -> np.ndarray:
    """Pressure of the pulse at these times in µs: a cosine under a Gaussian, with 1 at time 0."""
    time = np.asarray(time_us, float)
    envelope = np.exp(-0.5 * (time / probe.pulse_std_us) ** 2)
    return envelope * np.cos(2 * math.pi * probe.frequency_mhz * time)


# ---- From tissue to echoes


def reflection(impedance: ArrayLike) -> np.ndarray:
    """Amplitude that is reflected on entering each row, ``(Z₂ − Z₁) / (Z₂ + Z₁)``; nothing at the first row.

    Parameters
    ----------
    impedance : array, (depth, ...)
        Acoustic impedance in any unit (1 MRayl = 1e6 kg/(m² s)), above 0.
    """
    impedance = check_above_zero("impedance", impedance)
    result = np.zeros_like(impedance)
    result[1:] = np.diff(impedance, axis=0) / (impedance[1:] + impedance[:-1])
    return result


def round_trip(
    impedance: ArrayLike, attenuation_db_per_cm_mhz: ArrayLike, *, row_mm: float, probe: Probe
) -> np.ndarray:
    """Share of the amplitude that is left for an echo from each row, on the way there and back.

    Interfaces let ``1 − R²`` pass in both directions together, and tissue absorbs its dB per cm and MHz. Bone does
    both: behind it lies a shadow. Fluid absorbs little: what is behind it appears brighter.

    Parameters
    ----------
    impedance, attenuation_db_per_cm_mhz : array, (depth, ...)
        Acoustic impedance, above 0, and attenuation on one way, 0 or more.
    row_mm : float
        Distance between rows in mm.
    probe : Probe

    Returns
    -------
    ndarray of float64, same shape
        1 at the transducer. Each row holds what reaches its near side.
    """
    attenuation = check_not_negative("attenuation_db_per_cm_mhz", attenuation_db_per_cm_mhz, "dB/(cm MHz)")
    passed = np.cumprod(1 - reflection(impedance) ** 2, axis=0)
    loss_db = np.cumsum(attenuation, axis=0) * (2 * probe.frequency_mhz * row_mm / 10)
    result = passed * 10 ** (-loss_db / 20)
    return np.concatenate([np.ones_like(result[:1]), result[:-1]])


def rf_lines(
    impedance: ArrayLike,
    scattering: ArrayLike,
    attenuation_db_per_cm_mhz: ArrayLike,
    *,
    pixel_mm: Sequence[float],
    probe: Probe,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Echoes that the transducer receives, as radio-frequency lines before any processing.

    Parameters
    ----------
    impedance : array, (depth, lines)
        Acoustic impedance in any unit, above 0. Its steps reflect.
    scattering : array, (depth, lines)
        Strength of the small scatterers, 0 or more, without unit: echoes of homogeneous tissue are random with a
        standard deviation of half of this times the root of axial over lateral resolution.
    attenuation_db_per_cm_mhz : array, (depth, lines)
        Attenuation of the amplitude on one way, 0 or more.
    pixel_mm : (depth, lines)
        Distance between rows, and between lines, in mm.
    probe : Probe
    seed : int
        Where the scatterers lie. Another seed gives another speckle pattern of the same tissue.

    Returns
    -------
    rf : ndarray of float32, (samples, lines)
        A flat reflector across the beam returns its reflected amplitude at the peak.
    sample_mm : float
        Depth from sample to sample; a whole number of samples makes a row.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    echoes, sample_mm = _beam_echoes(impedance, scattering, attenuation_db_per_cm_mhz, pixel_mm, probe, seed)
    return _blur_along_depth(echoes, sample_mm, probe), sample_mm


def _beam_echoes(impedance, scattering, attenuation, pixel_mm, probe: Probe, seed: int) -> tuple[np.ndarray, float]:
    """Strength of the echo from each depth of each beam, (samples, lines), before the pulse blurs it along depth."""
    row_mm, line_mm = check_spacing("pixel_mm", pixel_mm, "depth, lines")
    impedance, scattering, attenuation = _check_tissue("depth, lines", impedance, scattering, attenuation)
    per_row, sample_mm = _sampling(row_mm, probe, per_wavelength=8)
    amplitude = round_trip(impedance, attenuation, row_mm=row_mm, probe=probe).astype(np.float32)
    spread = (amplitude * scattering * math.sqrt(sample_mm / line_mm)).astype(np.float32)

    echoes = np.random.default_rng(seed).standard_normal((len(impedance) * per_row, impedance.shape[1]), np.float32)
    echoes *= np.repeat(spread, per_row, axis=0)
    echoes[::per_row] += amplitude * reflection(impedance).astype(np.float32)  # interfaces lie where rows begin
    depth = np.arange(len(echoes)) * sample_mm
    return _blur_across(echoes, depth, line_mm, probe), sample_mm


def _check_tissue(axes: str, impedance, scattering, attenuation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three maps of one shape, or ``ValueError``."""
    impedance = check_above_zero("impedance", check_array("impedance", impedance, axes, float))
    scattering = check_not_negative("scattering", check_array("scattering", scattering, axes))
    name = "attenuation_db_per_cm_mhz"
    attenuation = check_not_negative(name, check_array(name, attenuation, axes), "dB/(cm MHz)")
    if not impedance.shape == scattering.shape == attenuation.shape:
        raise ValueError(
            f"impedance, scattering and {name} must have one shape ({axes}); "
            f"got {impedance.shape}, {scattering.shape} and {attenuation.shape}"
        )
    return impedance, scattering, attenuation


def _sampling(row_mm: float, probe: Probe, per_wavelength: int) -> tuple[int, float]:
    """Samples per row and depth between samples, in mm; echoes go twice through half a wavelength."""
    per_row = max(1, math.ceil(row_mm * per_wavelength / probe.wavelength_mm))
    return per_row, row_mm / per_row


def _blur_across(echoes: np.ndarray, depth_mm: np.ndarray, line_mm: float, probe: Probe) -> np.ndarray:
    """What the beam of each line sees: a Gaussian mean over its neighbors, as wide as the beam at each depth."""
    n = echoes.shape[1]
    if n == 1:
        return echoes
    std = probe.lateral_resolution_mm(depth_mm) / (2 * HALF_WIDTH) / line_mm  # in lines
    frequency = np.arange(n) / (2 * n)  # cycles per line of the cosines, which continue the picture as a mirror does
    transfer = np.exp(-2 * (math.pi * std[:, None] * frequency) ** 2, dtype=np.float32)
    return fft.idct(fft.dct(echoes, axis=1) * transfer, axis=1)


def _blur_along_depth(echoes: np.ndarray, sample_mm: float, probe: Probe, *, analytic: bool = False) -> np.ndarray:
    """Replace every echo by a pulse around its own depth.

    With `analytic`, the pulse is complex: its magnitude is the envelope. That of `envelope` is the same near an echo,
    but has weak tails along the whole line, which the gain for depth would make visible in shadows.
    """
    us_per_sample = 2 * sample_mm / probe.sound_speed_mm_per_us
    reach = math.ceil(5 * probe.pulse_std_us / us_per_sample)
    n = fft.next_fast_len(len(echoes) + 2 * reach, real=not analytic)
    offsets = np.arange(-reach, reach + 1)
    time_us = offsets * us_per_sample
    kernel = np.zeros(n, np.complex64 if analytic else np.float32)
    kernel[offsets] = pulse(time_us, probe)  # negative offsets stand at the end, as the FFT wants it
    lines = np.ascontiguousarray(echoes.T)  # the FFT is about twice as fast along contiguous samples
    if analytic:
        sine = np.sin(2 * math.pi * probe.frequency_mhz * time_us)
        kernel[offsets] += 1j * sine * np.exp(-0.5 * (time_us / probe.pulse_std_us) ** 2)
        return fft.ifft(fft.fft(lines, n) * fft.fft(kernel))[:, : len(echoes)].T
    transfer = fft.rfft(kernel).real  # an even kernel
    return fft.irfft(fft.rfft(lines, n) * transfer, n)[:, : len(echoes)].T


# ---- From echoes to pictures


def envelope(rf: ArrayLike) -> np.ndarray:
    """Strength of the echoes without their oscillation: magnitude of the analytic signal along axis 0.

    Parameters
    ----------
    rf : array, (samples, ...)

    Returns
    -------
    ndarray, same shape
    """
    lines = np.ascontiguousarray(np.moveaxis(np.asarray(rf), 0, -1))
    count = lines.shape[-1]
    n = fft.next_fast_len(count)
    spectrum = fft.fft(lines, n)
    spectrum[..., 1 : (n + 1) // 2] *= 2  # twice the positive frequencies, none of the negative ones
    spectrum[..., n // 2 + 1 :] = 0
    return np.moveaxis(np.abs(fft.ifft(spectrum)[..., :count]), -1, 0)


def time_gain(echoes: ArrayLike, *, sample_mm: float, db_per_cm_mhz: float, probe: Probe) -> np.ndarray:
    """Amplify late echoes to make up for attenuation (time-gain compensation).

    Parameters
    ----------
    echoes : array, (samples, ...)
        RF lines or their envelope.
    sample_mm : float
        Depth from sample to sample in mm.
    db_per_cm_mhz : float
        Attenuation that is assumed everywhere, on one way. Where tissue has less, the picture becomes too bright.
    probe : Probe
    """
    echoes = np.asarray(echoes)
    check_positive("sample_mm", sample_mm, "mm")
    depth_cm = np.arange(len(echoes)) * sample_mm / 10
    gain = 10 ** (2 * db_per_cm_mhz * probe.frequency_mhz * depth_cm / 20)
    return echoes * gain.reshape(-1, *[1] * (echoes.ndim - 1)).astype(np.float32)


def log_compress(strength: ArrayLike, *, dynamic_range_db: float = 60.0, reference: float | None = None) -> np.ndarray:
    """Gray values 0 to 1 for echoes from `dynamic_range_db` below the reference up to it, evenly in dB.

    Parameters
    ----------
    strength : array
        Envelope, 0 or more.
    dynamic_range_db : float
        More of it shows weaker echoes, with less contrast between strong ones.
    reference : float, optional
        Strength that becomes 1; by default the largest one. Give it to compare pictures.
    """
    strength = check_not_negative("strength", strength)
    check_positive("dynamic_range_db", dynamic_range_db, "dB")
    reference = strength.max(initial=0) if reference is None else reference
    check_positive("the reference (by default the largest strength)", reference)
    floor = reference * 10 ** (-dynamic_range_db / 20)
    return np.clip(1 + 20 / dynamic_range_db * np.log10(np.maximum(strength, floor) / reference), 0, 1)


def a_mode(
    impedance: ArrayLike,
    scattering: ArrayLike,
    attenuation_db_per_cm_mhz: ArrayLike,
    *,
    row_mm: float,
    probe: Probe,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Echoes along one line; `envelope` of them is what an A-mode screen shows.

    Parameters
    ----------
    impedance, scattering, attenuation_db_per_cm_mhz : array, (depth,)
        As for `rf_lines`. Across the beam the tissue is the same.
    row_mm : float
        Distance between rows in mm.
    probe : Probe
    seed : int

    Returns
    -------
    rf : ndarray of float32, (samples,)
    sample_mm : float
        Depth from sample to sample.
    """
    still = np.zeros((np.size(impedance), 1))
    rf, sample_mm = m_mode(
        impedance, scattering, attenuation_db_per_cm_mhz, displacement_mm=still, row_mm=row_mm, probe=probe, seed=seed
    )
    return rf[:, 0], sample_mm


def b_mode(
    impedance: ArrayLike,
    scattering: ArrayLike,
    attenuation_db_per_cm_mhz: ArrayLike,
    *,
    pixel_mm: Sequence[float],
    probe: Probe,
    gain_db_per_cm_mhz: float = 0.0,
    dynamic_range_db: float = 60.0,
    reference: float | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Gray picture of a slice: echoes, their envelope, time gain, and log compression.

    Parameters
    ----------
    impedance, scattering, attenuation_db_per_cm_mhz, pixel_mm, probe, seed
        As for `rf_lines`.
    gain_db_per_cm_mhz : float
        As for `time_gain`.
    dynamic_range_db, reference
        As for `log_compress`.

    Returns
    -------
    ndarray of float64, (depth, lines)
        0 to 1, on the pixels of the tissue: the root of the mean power of the samples of each row.
    """
    echoes, sample_mm = _beam_echoes(impedance, scattering, attenuation_db_per_cm_mhz, pixel_mm, probe, seed)
    strength = np.abs(_blur_along_depth(echoes, sample_mm, probe, analytic=True))  # the envelope of `rf_lines`
    strength = time_gain(strength, sample_mm=sample_mm, db_per_cm_mhz=gain_db_per_cm_mhz, probe=probe)
    rows, lines = np.shape(impedance)
    power = (strength.reshape(rows, -1, lines) ** 2).mean(axis=1)
    return log_compress(np.sqrt(power), dynamic_range_db=dynamic_range_db, reference=reference)


def m_mode(
    impedance: ArrayLike,
    scattering: ArrayLike,
    attenuation_db_per_cm_mhz: ArrayLike,
    *,
    displacement_mm: ArrayLike,
    row_mm: float,
    probe: Probe,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Echoes along one line again and again while the tissue moves: time runs along the columns.

    Parameters
    ----------
    impedance, scattering, attenuation_db_per_cm_mhz : array, (depth,)
        As for `rf_lines`, at rest.
    displacement_mm : array, (depth, times)
        How much deeper the tissue of each row has moved at each time.
    row_mm : float
        Distance between rows in mm.
    probe : Probe
    seed : int

    Returns
    -------
    rf : ndarray of float32, (samples, times)
        Take `envelope` and `log_compress` for the picture.
    sample_mm : float
        Depth from sample to sample.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    impedance, scattering, attenuation = _check_tissue("depth", impedance, scattering, attenuation_db_per_cm_mhz)
    displacement = check_array("displacement_mm", displacement_mm, "depth, times", float)
    check_positive("row_mm", row_mm, "mm")
    if len(displacement) != len(impedance):
        raise ValueError(
            f"displacement_mm must have axes (depth, times) with {len(impedance)} rows as impedance; "
            f"got shape {displacement.shape}"
        )
    per_row, sample_mm = _sampling(row_mm, probe, per_wavelength=16)  # fine, since echoes move by parts of a sample
    n = len(impedance) * per_row
    amplitude = round_trip(impedance, attenuation, row_mm=row_mm, probe=probe)
    # A mean over a Gaussian beam leaves as much noise as a plain mean over this width.
    beam_mm = math.sqrt(math.pi) / HALF_WIDTH * probe.lateral_resolution_mm(np.arange(n) * sample_mm)
    spread = np.repeat(amplitude * scattering, per_row) * np.sqrt(sample_mm / beam_mm)
    echoes = np.random.default_rng(seed).standard_normal(n) * spread
    echoes[::per_row] += amplitude * reflection(impedance)

    moved = np.zeros((n, displacement.shape[1]), np.float32)
    for time, shift in enumerate(displacement.T):
        position = np.arange(n) + np.repeat(shift, per_row) / sample_mm
        near = np.floor(position).astype(int)
        share = position - near
        for index, weight in ((near, 1 - share), (near + 1, share)):
            inside = (index >= 0) & (index < n)
            moved[:, time] += np.bincount(index[inside], (echoes * weight)[inside], n)
    return _blur_along_depth(moved, sample_mm, probe), sample_mm


# ---- Doppler


def doppler_shift_hz(velocity_mm_per_s: ArrayLike, *, angle_deg: float, probe: Probe) -> np.ndarray:
    """Change of frequency of the echo, ``2 f v cos θ / c`` in Hz.

    Parameters
    ----------
    velocity_mm_per_s : array
        Speed of the blood in mm/s; positive towards the transducer.
    angle_deg : float
        Between vessel and beam; 90° shows no flow at all.
    probe : Probe
    """
    speed_mm_per_s = probe.sound_speed_mm_per_us * 1e6
    cosine = math.cos(math.radians(angle_deg))
    return 2e6 * probe.frequency_mhz * cosine / speed_mm_per_s * np.asarray(velocity_mm_per_s, float)


def doppler_signal(
    peak_mm_per_s: ArrayLike,
    *,
    angle_deg: float,
    prf_hz: float,
    probe: Probe,
    gate_mm: float = 2.0,
    flatness: float = 2.0,
    n_scatterers: int = 100,
    seed: int = 0,
) -> np.ndarray:
    """Demodulated echo of one sample gate in a vessel, one complex value per pulse (pulsed-wave Doppler).

    Blood cells fly through the gate with the velocity of their place in the round vessel, and turn the phase of their
    echo by a full circle for every half wavelength along the beam. Only one look per pulse: beyond half the pulse
    repetition frequency the spectrum wraps around (aliasing).

    Parameters
    ----------
    peak_mm_per_s : array, (pulses,)
        Velocity in the middle of the vessel at each pulse, in mm/s; positive towards the transducer.
    angle_deg : float
        Between vessel and beam.
    prf_hz : float
        Pulse repetition frequency.
    probe : Probe
    gate_mm : float
        Length of the gate along the beam. Cells stay longer in a long one: a sharper spectrum.
    flatness : float
        Exponent n of the profile ``v = peak · (1 − (r/R)ⁿ)``: 2 is a parabola, large values a plug.
    n_scatterers : int
        Number of cells that are followed.
    seed : int

    Returns
    -------
    ndarray of complex128, (pulses,)
        With a mean power of about 1.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    peak = check_array("peak_mm_per_s", peak_mm_per_s, "pulses", float)
    for name, value, unit in (("prf_hz", prf_hz, "Hz"), ("gate_mm", gate_mm, "mm"), ("flatness", flatness, "")):
        check_positive(name, value, unit)
    check_positive("n_scatterers", n_scatterers)
    rng = np.random.default_rng(seed)
    share = 1 - np.sqrt(rng.random(n_scatterers)) ** flatness  # evenly over the cross-section
    way = np.cumsum(peak)[:, None] / prf_hz * math.cos(math.radians(angle_deg)) * share  # mm towards the transducer
    turns, inside = np.divmod(way / gate_mm + rng.random(n_scatterers), 1)
    turns = turns.astype(int) - int(turns.min())
    # Who leaves the gate comes back as another cell, with another phase. The gate fades in and out.
    start = rng.uniform(0, 2 * math.pi, (n_scatterers, turns.max() + 1))[np.arange(n_scatterers), turns]
    sensitivity = np.sin(math.pi * inside) ** 2
    phase = start + 4 * math.pi / probe.wavelength_mm * way
    return (sensitivity * np.exp(1j * phase)).sum(axis=1) / math.sqrt(3 / 8 * n_scatterers)


def doppler_spectrum(
    signal: ArrayLike, *, prf_hz: float, window: int = 64
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power at each Doppler frequency over time: Fourier transforms of short pieces of the signal.

    Parameters
    ----------
    signal : array of complex, (pulses,)
    prf_hz : float
        Pulse repetition frequency.
    window : int
        Pulses per piece: long ones tell frequencies well apart, short ones times. Pieces overlap by three quarters.

    Returns
    -------
    frequency_hz : ndarray, (frequencies,)
        From ``-prf/2`` up; positive towards the transducer.
    time_s : ndarray, (pieces,)
        Middle of each piece.
    power : ndarray, (frequencies, pieces)
        In the unit of the signal squared; sums over frequencies to the mean power of the weighted piece.

    Raises
    ------
    ValueError
        If the signal is shorter than the window.
    """
    signal = np.asarray(signal)
    check_positive("prf_hz", prf_hz, "Hz")
    if signal.ndim != 1 or not 4 <= window <= signal.size:
        raise ValueError(
            f"window must be 4 or more pulses, and signal (pulses,) at least as long; "
            f"got window {window!r} and a signal of shape {signal.shape}"
        )
    starts = np.arange(0, signal.size - window + 1, max(1, window // 4))
    taper = 0.5 - 0.5 * np.cos(2 * math.pi * (np.arange(window) + 0.5) / window)  # Hann
    pieces = signal[starts[:, None] + np.arange(window)] * (taper / np.sqrt((taper**2).mean()))
    power = np.abs(fft.fftshift(fft.fft(pieces, axis=1), axes=1)) ** 2 / window**2
    frequency = fft.fftshift(fft.fftfreq(window, 1 / prf_hz))
    return frequency, (starts + window / 2) / prf_hz, power.T
