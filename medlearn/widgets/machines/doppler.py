"""Doppler ultrasound of an artery: a spectrum over two heartbeats, and what the angle and the pulses do to it."""

import numpy as np

from ...modalities import ultrasound
from ._parts import Answer, Dial, Machine, Picture

PROBE = ultrasound.Probe(frequency_mhz=5.0)
SECONDS = 0.8
BEATS = 2
SHOWN_DB = 35.0


def velocity(peak_mm_per_s: float, n: int) -> np.ndarray:
    """Velocity in the middle of the vessel over `BEATS` heartbeats, (n,) in mm/s: a steep rise, a slow fall."""
    phase = np.arange(n) / n * BEATS % 1
    systole = np.exp(-(((phase - 0.2) / 0.08) ** 2))
    return peak_mm_per_s * (0.2 + 0.8 * systole + 0.15 * np.exp(-(((phase - 0.5) / 0.12) ** 2)))


def simulate(*, peak_mm_per_s: int, angle_deg: int, prf_hz: int) -> Answer:
    """Follow blood cells through the gate, and transform short pieces of their echo."""
    n = round(SECONDS * prf_hz)
    speed = velocity(peak_mm_per_s, n)
    signal = ultrasound.doppler_signal(speed, angle_deg=angle_deg, prf_hz=prf_hz, probe=PROBE, n_scatterers=30)
    frequency, _, power = ultrasound.doppler_spectrum(signal, prf_hz=prf_hz, window=64)
    decibel = 10 * np.log10(np.maximum(power, 1e-12))[::-1]  # towards the probe is up
    highest = float(decibel.max())
    title = f"power; up: {frequency[-1] / 1000:.2f} kHz, down: {frequency[0] / 1000:.2f} kHz".replace("-", "−")
    shift = float(ultrasound.doppler_shift_hz(speed.max(), angle_deg=angle_deg, probe=PROBE))
    wraps = "it wraps around" if abs(shift) > prf_hz / 2 else "it fits"
    words = f"largest shift 2 f v cos θ / c = {shift:.0f} Hz; half the pulse frequency is {prf_hz / 2:.0f} Hz: {wraps}"
    return Answer((Picture(title, decibel, (highest - SHOWN_DB, highest)),), words.replace("-", "−"))


MACHINE = Machine(
    title="Doppler ultrasound",
    dials=(
        Dial("peak_mm_per_s", "velocity of the blood (mm/s)", range(-1500, 1501, 50), 600),
        Dial("angle_deg", "angle between vessel and beam (degrees)", range(0, 181, 5), 60),
        Dial("prf_hz", "pulses per second", range(1000, 8001, 500), 5000),
    ),
    simulate=simulate,
    body="an artery of two heartbeats, 5 MHz",
)
