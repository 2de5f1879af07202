"""Optical coherence tomography: layers of a retina, whose sharpness along depth is the bandwidth of the light."""

import functools

import numpy as np

from ...modalities import optical
from .._base import Interval
from ._parts import Answer, Curves, Dial, Machine, Picture

ROW_UM = 2.0
COLUMN_UM = 6.0
SHAPE = (256, 200)

#: Layers from the inner side of the eye outward: thickness in µm, refractive index, backscatter, attenuation in 1/mm.
#: Drawn to look like a retina; not taken from one study.
LAYERS = (
    (40, 1.36, 0.020, 2.0),  # nerve fibers
    (70, 1.37, 0.012, 2.0),  # ganglion cells, inner plexiform layer
    (35, 1.36, 0.005, 1.0),  # inner nuclear layer
    (30, 1.37, 0.012, 1.5),  # outer plexiform layer
    (75, 1.36, 0.004, 1.0),  # outer nuclear layer
    (12, 1.41, 0.040, 3.0),  # junction of the photoreceptors
    (20, 1.36, 0.005, 1.0),
    (18, 1.47, 0.050, 12.0),  # pigment epithelium
    (220, 1.38, 0.015, 9.0),  # choroid
)
FLUID = (1.336, 0.0003, 0.01)


@functools.cache
def _maps() -> np.ndarray:
    """Refractive index, backscatter and attenuation of the slice, (3, depth, columns); the pit is in the middle."""
    depth = (np.arange(SHAPE[0]) * ROW_UM)[:, None]
    across = (np.arange(SHAPE[1]) - SHAPE[1] / 2) * COLUMN_UM
    pit = np.exp(-((across / 160) ** 2))
    maps = np.tile(np.array(FLUID)[:, None, None], (1, *SHAPE))
    top = 40 + 130 * pit
    for number, (thickness, *values) in enumerate(LAYERS):
        thinned = thickness * (1 - 0.85 * pit) if number < 4 else thickness
        inside = (depth >= top) & (depth < top + thinned)
        maps = np.where(inside, np.array(values)[:, None, None], maps)
        top = top + thinned
    return maps


def simulate(*, bandwidth_nm: float, center_nm: int, noise: float) -> Answer:
    """Scan every column, show the amplitude in dB; and how long a single reflector appears."""
    light = {"center_nm": float(center_nm), "bandwidth_nm": bandwidth_nm}
    image = optical.oct_b_scan(*_maps(), row_um=ROW_UM, noise=noise, **light)
    width = optical.coherence_resolution_um(center_nm, bandwidth_nm, index=1.36)
    z = np.linspace(-30, 30, 121)
    point = Curves(
        "one reflector along depth",
        "µm in tissue",
        "amplitude",
        z,
        [("point", 0.5 ** ((2 * z / width) ** 2))],
        (0, 1.05),
    )
    decibel = 20 * np.log10(np.maximum(image, 1e-6))
    picture = Picture("B-scan (dB; the inside of the eye is up)", decibel, (-58, -20), (ROW_UM, COLUMN_UM), "µm")
    words = f"along depth {width:.1f} µm = 2 ln 2 / π · λ² / (n Δλ) · the lens has no part in it"
    return Answer((picture, point), words)


MACHINE = Machine(
    title="Optical coherence tomography",
    dials=(
        Dial("bandwidth_nm", "bandwidth of the light (nm)", Interval(10.0, 200.0), 50.0, log=True),
        Dial("center_nm", "its wavelength (nm)", range(780, 1321, 20), 840),
        Dial("noise", "noise (amplitude)", Interval(0.0, 0.01), 0.001),
    ),
    simulate=simulate,
    body="a retina drawn in layers, with a narrow pit",
)
