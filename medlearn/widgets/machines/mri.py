"""MRI of the pelvis: the sequence and its times decide which property of a tissue is bright."""

import functools

import numpy as np

from ... import phantom
from ...modalities import mri
from .._base import Interval
from . import _bodies
from ._parts import Answer, Curves, Dial, Machine, Picture

SEQUENCES = ("spin echo", "gradient echo")
T2_PRIME_MS = 40.0  # what an inhomogeneous field adds to the decay of a gradient echo: 1 / T2* = 1 / T2 + 1 / T2'
TISSUES = ("peripheral_zone", "muscle", "fat")  # whose decay is drawn
CURVE_TE_MS = np.linspace(0, 200, 41)


@functools.cache
def _maps() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Proton density, T1 and T2 in ms of each pixel."""
    table = np.zeros((3, 256))
    table[1:] = 1.0
    for tissue in phantom.TISSUES.values():
        table[:, tissue.label] = tissue.proton_density, tissue.t1_ms, tissue.t2_ms
    return tuple(table[:, _bodies.pelvis_slice()])


def signal(density, t1_ms, t2_ms, *, sequence: str, tr_ms: float, te_ms, flip_deg: float) -> np.ndarray:
    """Signal of the chosen sequence; the echo never comes after the next pulse."""
    te_ms = min(te_ms, tr_ms)
    if sequence == "spin echo":
        return mri.spin_echo(density, t1_ms, t2_ms, tr_ms=tr_ms, te_ms=te_ms)
    t2_star = 1 / (1 / np.asarray(t2_ms) + 1 / T2_PRIME_MS)
    return mri.gradient_echo(density, t1_ms, t2_star, tr_ms=tr_ms, te_ms=te_ms, flip_deg=flip_deg)


def simulate(*, sequence: str, tr_ms: float, te_ms: float, flip_deg: int, noise: float) -> Answer:
    """Signal of every pixel, noise in k-space, magnitude; and how the echo of three tissues dies away."""
    times = {"sequence": sequence, "tr_ms": tr_ms, "flip_deg": flip_deg}
    clean = signal(*_maps(), te_ms=te_ms, **times)
    image = mri.reconstruct(mri.add_noise(mri.kspace(clean), std=noise, rng=0))
    brightest = float(np.percentile(image, 99.7))
    spacing = (_bodies.PELVIS_MM, _bodies.PELVIS_MM)
    lines = []
    for name in TISSUES:
        tissue = phantom.TISSUES[name]
        properties = tissue.proton_density, tissue.t1_ms, tissue.t2_ms
        decay = [float(signal(*properties, te_ms=te, **times)) for te in CURVE_TE_MS]
        lines.append((name.replace("_", " "), np.array(decay)))
    panels = (
        Picture("magnitude, window set to the picture", image, (0.0, brightest or 1.0), spacing),
        Curves("signal if the echo came at …", "echo time (ms)", "signal", CURVE_TE_MS, lines, (0.0, 1.0)),
    )
    now = [float(np.interp(min(te_ms, tr_ms), CURVE_TE_MS, y)) for _, y in lines]
    words = " · ".join(f"{name} {value:.2f}" for (name, _), value in zip(lines, now, strict=True))
    best = mri.ernst_angle_deg(phantom.TISSUES["muscle"].t1_ms, tr_ms=tr_ms)
    return Answer(panels, f"signal now: {words} · Ernst angle of muscle {best:.0f}°")


MACHINE = Machine(
    title="MRI",
    dials=(
        Dial("sequence", "sequence", SEQUENCES, "spin echo"),
        Dial("tr_ms", "repetition time TR (ms)", Interval(10.0, 6000.0), 3000.0, log=True),
        Dial("te_ms", "echo time TE (ms)", Interval(4.0, 200.0), 90.0),
        Dial("flip_deg", "flip angle of the gradient echo (degrees)", range(2, 91), 30),
        Dial("noise", "noise (standard deviation)", Interval(0.0, 0.1), 0.01),
    ),
    simulate=simulate,
    body="one slice of the built-in pelvis, 3 T",
)
