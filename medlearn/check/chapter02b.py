"""Checks of chapter 2b: a spin echo, lines of k-space, depth and velocity, decibels."""

from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong


def _echo(pd, t1, t2, tr, te, *, to_ms=1000.0):
    return pd * (1 - np.exp(-tr / (to_ms * t1))) * np.exp(-te / (to_ms * t2))


SPIN_ECHO = Exercise(
    number="2b.1",
    right=_echo,
    probes=((0.7, 0.6, 0.075, 500.0, 12.0), (0.84, 0.95, 0.095, 4000.0, 100.0), (1.0, 3.5, 1.5, 500.0, 100.0)),
    praise="Short TR shows T1, long TE shows T2, and the units agree.",
    wrong={
        "seconds_and_milliseconds": Wrong(
            lambda pd, t1, t2, tr, te: _echo(pd, t1, t2, tr, te, to_ms=1.0),
            "TR and TE are in milliseconds, T1 and T2 in seconds. With yours everything has come back, and died.",
        ),
        "recovery_forgotten": Wrong(
            lambda pd, t1, t2, tr, te: pd * np.exp(-te / (1000 * t2)),
            "TR has no effect in yours. The magnetization must come back first: 1 − e^(−TR/T1).",
        ),
        "one_minus_forgotten": Wrong(
            lambda pd, t1, t2, tr, te: pd * np.exp(-tr / (1000 * t1)) * np.exp(-te / (1000 * t2)),
            "With a long TR your signal vanishes. What comes back is 1 − e^(−TR/T1); e^(−TR/T1) is what is missing.",
        ),
        "t1_and_t2_exchanged": Wrong(
            lambda pd, t1, t2, tr, te: _echo(pd, t2, t1, tr, te),
            "You exchanged T1 and T2. T1 belongs to TR, the coming back; T2 to TE, the dying.",
        ),
        "both_recover": Wrong(
            lambda pd, t1, t2, tr, te: pd * (1 - np.exp(-tr / (1000 * t1))) * (1 - np.exp(-te / (1000 * t2))),
            "The signal across the field dies with TE: e^(−TE/T2), without 1 −.",
        ),
        "protons_forgotten": Wrong(
            lambda pd, t1, t2, tr, te: _echo(1.0, t1, t2, tr, te),
            "Where no hydrogen is there is no signal: multiply by the proton density.",
        ),
    },
)


def _middle_rows(picture, n, *, axis=0, shift=True, real=np.abs, first=None):
    samples = np.fft.fft2(picture)
    samples = np.fft.fftshift(samples) if shift else samples
    samples = np.moveaxis(samples, axis, 0)
    begin = samples.shape[0] // 2 - n // 2 if first is None else first
    kept = np.zeros_like(samples)
    kept[begin : begin + n] = samples[begin : begin + n]
    kept = np.moveaxis(kept, 0, axis)
    return real(np.fft.ifft2(np.fft.ifftshift(kept) if shift else kept))


def _picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    picture = np.zeros((16, 20))
    picture[4:10, 5:14] = 1
    return picture + 0.2 * rng.random(picture.shape)


MIDDLE_ROWS = Exercise(
    number="2b.2",
    right=_middle_rows,
    probes=((_picture(0), 6), (_picture(1), 4)),
    praise="Few lines, a short scan, and edges that blur and ring along the lines that are missing.",
    rtol=1e-5,
    wrong={
        "center_not_shifted": Wrong(
            lambda p, n: _middle_rows(p, n, shift=False),
            "NumPy puts frequency 0 into the corner. Its middle rows are the highest frequencies: you kept the rim. "
            "Use fftshift.",
        ),
        "columns": Wrong(
            lambda p, n: _middle_rows(p, n, axis=1),
            "You kept columns. Rows are the first axis: the picture must blur up and down, not sideways.",
        ),
        "real_part": Wrong(
            lambda p, n: _middle_rows(p, n, real=np.real),
            "You returned the real part, which can be negative. A scanner shows the magnitude.",
        ),
        "first_rows": Wrong(
            lambda p, n: _middle_rows(p, n, first=0),
            "You kept the first rows of k-space. After fftshift the middle is at shape[0] // 2.",
        ),
        "picture_cropped": Wrong(
            lambda p, n: np.abs(p * (np.abs(np.arange(len(p)) - len(p) // 2 + 0.5) < n / 2)[:, None]),
            "You kept rows of the picture. Go to k-space first.",
        ),
    },
)


def _flow(time, shift, frequency, angle, *, way=2.0, turn=np.cos, hears=2.0):
    return 1.54 * time / way, shift * 1.54e6 / (hears * frequency * 1e6 * turn(np.radians(angle)))


FLOW = Exercise(
    number="2b.3",
    right=_flow,
    probes=((65.0, 1300.0, 4.0, 60.0), (26.0, 2500.0, 7.5, 30.0)),
    praise="There and back for the depth; heard and sent again for the velocity: a 2 in both.",
    wrong={
        "one_way": Wrong(
            lambda t, s, f, a: _flow(t, s, f, a, way=1.0),
            "Your depth is twice too large: the sound goes there and comes back.",
        ),
        "doppler_once": Wrong(
            lambda t, s, f, a: _flow(t, s, f, a, hears=1.0),
            "Your velocity is twice too large: blood hears a higher tone and sends a still higher one, 2fv cos θ/c.",
        ),
        "angle_forgotten": Wrong(
            lambda t, s, f, a: _flow(t, s, f, 0.0),
            "You left the angle out. Only motion along the beam changes the frequency: divide by cos θ.",
        ),
        "sine": Wrong(
            lambda t, s, f, a: _flow(t, s, f, a, turn=np.sin),
            "With the sine, flow along the beam would make no shift. It makes the largest: cosine.",
        ),
        "multiplied_by_cosine": Wrong(
            lambda t, s, f, a: (1.54 * t / 2, s * 1.54e6 / (2 * f * 1e6) * np.cos(np.radians(a))),
            "You multiplied by cos θ. The shift is already reduced by it; to find the velocity divide.",
        ),
        "angle_in_radians": Wrong(
            lambda t, s, f, a: _flow(t, s, f, np.degrees(a)),
            "np.cos wants radians: np.radians(angle_deg).",
        ),
        "both_without_2": Wrong(
            lambda t, s, f, a: _flow(t, s, f, a, way=1.0, hears=1.0),
            "Both are twice too large: there and back, heard and sent again.",
        ),
    },
)


def _left(thickness, loss, frequency, reflection, *, ways=2, per=20):
    return reflection * 10 ** (-ways * (thickness * loss).sum() * frequency / per)


DECIBEL = Exercise(
    number="2b.4",
    right=_left,
    probes=(
        (np.array([2.0, 3.0, 1.0]), np.array([0.6, 0.5, 1.0]), 3.5, 0.05),
        (np.array([1.0, 0.5]), np.array([0.8, 2.0]), 10.0, 0.4),
    ),
    praise="Decibels add where factors multiply, and the way counts twice.",
    wrong={
        "power_not_amplitude": Wrong(
            lambda t, d, f, r: _left(t, d, f, r, per=10),
            "10 dB are a factor of ten in power. For an amplitude it is 20.",
        ),
        "one_way": Wrong(
            lambda t, d, f, r: _left(t, d, f, r, ways=1),
            "The echo has to come back through the same layers: twice the dB.",
        ),
        "frequency_forgotten": Wrong(
            lambda t, d, f, r: _left(t, d, 1.0, r),
            "The attenuation is given for each MHz: multiply by the frequency.",
        ),
        "reflection_forgotten": Wrong(
            lambda t, d, f, r: _left(t, d, f, 1.0),
            "Nothing comes back by itself: multiply by the amplitude that the reflector returns.",
        ),
        "louder": Wrong(
            lambda t, d, f, r: _left(t, d, f, r, ways=-2),
            "Your echo is louder than what was sent. Loss: a negative exponent.",
        ),
        "mean_of_layers": Wrong(
            lambda t, d, f, r: r * 10 ** (-2 * t.sum() * d.mean() * f / 20),
            "You took the mean attenuation. A thick layer counts more: sum thickness times attenuation.",
        ),
        "reflection_in_decibels": Wrong(
            lambda t, d, f, r: 10 ** (-(2 * (t * d).sum() * f + r) / 20),
            "You added the reflection as if it were in dB. It is a factor.",
        ),
    },
)


def echo_signal(function: Callable) -> None:
    """Check exercise 2b.1: ``function(pd, t1_s, t2_s, tr_ms, te_ms)`` returns the signal of a spin echo."""
    SPIN_ECHO.check(function)


def middle_rows(function: Callable) -> None:
    """Check exercise 2b.2: ``function(picture, n)`` returns the picture from the n middle rows of its k-space."""
    MIDDLE_ROWS.check(function)


def depth_and_velocity(function: Callable) -> None:
    """Check exercise 2b.3: ``function(time_us, shift_hz, frequency_mhz, angle_deg)`` returns mm and mm/s."""
    FLOW.check(function)


def echo_amplitude(function: Callable) -> None:
    """Check exercise 2b.4: ``function(thickness_cm, db_per_cm_mhz, frequency_mhz, reflection)`` returns a share."""
    DECIBEL.check(function)
