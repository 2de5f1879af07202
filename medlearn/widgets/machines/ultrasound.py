"""B-mode ultrasound through the chest wall: ribs cast shadows, the liver lies between them."""

import functools

import numpy as np

from ... import phantom
from ...modalities import ultrasound
from ...volume import Volume
from .._base import Interval
from . import _bodies
from ._bodies import WALL_MM
from ._parts import Answer, Curves, Dial, Machine, Picture

#: Impedance (MRayl), strength of the scatterers, attenuation (dB per cm and MHz).
CYST = (1.54, 0.0001, 0.02)  # fluid: no echoes of its own, and more sound for what lies behind it
CYST_MM = (52.0, 35.5, 6.0)  # depth and place along the body of its center, radius
REFERENCE = 0.05  # echo that is shown white


@functools.cache
def chest_wall_maps() -> np.ndarray:
    """Impedance, scatterers and attenuation of the chest wall, (3, depth, lines), pixels of `WALL_MM`."""
    wall = Volume(array=_bodies.chest_wall(), spacing=WALL_MM, axes="yx")
    names = ("impedance", "scatter", "ultrasound_attenuation")
    maps = np.stack([phantom.tissue_map(wall, name).array for name in names])
    depth, along = (np.arange(n) * step for n, step in zip(wall.array.shape, WALL_MM, strict=True))
    cyst = np.hypot(depth[:, None] - CYST_MM[0], along - CYST_MM[1]) < CYST_MM[2]
    return np.where(cyst, np.array(CYST)[:, None, None], maps)


def simulate(*, frequency_mhz: float, gain_db: float, focus_mm: int, range_db: int) -> Answer:
    """Send pulses down every line and show the echoes in shades of gray."""
    probe = ultrasound.Probe(frequency_mhz=frequency_mhz, focus_mm=float(focus_mm))
    options = {"gain_db_per_cm_mhz": gain_db, "dynamic_range_db": float(range_db), "reference": REFERENCE}
    image = ultrasound.b_mode(*chest_wall_maps(), pixel_mm=WALL_MM, probe=probe, **options)
    depth = np.linspace(0, len(image) * WALL_MM[0], 46)
    beam = Curves(
        "how sharp it can be",
        "depth (mm)",
        "width of a point (mm)",
        depth,
        [
            ("across the beam", probe.lateral_resolution_mm(depth)),
            ("along the beam", np.full(len(depth), probe.axial_resolution_mm)),
        ],
        (0.0, 6.0),
    )
    lost = 2 * 0.6 * frequency_mhz * 5
    words = (
        f"wavelength {probe.wavelength_mm:.2f} mm · along the beam {probe.axial_resolution_mm:.2f} mm · at the focus "
        f"across {float(probe.lateral_resolution_mm(focus_mm)):.2f} mm · fat of 5 cm takes {lost:.0f} dB there and back"
    )
    return Answer((Picture("B-mode (probe at the top)", image, (0.0, 1.0), WALL_MM), beam), words)


MACHINE = Machine(
    title="Ultrasound",
    dials=(
        Dial("frequency_mhz", "frequency (MHz)", Interval(1.0, 10.0), 3.5),
        Dial("gain_db", "gain for depth (dB per cm and MHz)", Interval(0.0, 1.2), 0.6),
        Dial("focus_mm", "depth of the focus (mm)", range(10, 81), 40),
        Dial("range_db", "range of the gray values (dB)", range(30, 91, 5), 60),
    ),
    simulate=simulate,
    body="the wall of the built-in chest above the liver, cut along the body, with a cyst drawn into the liver",
)
