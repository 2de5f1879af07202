"""EEG and MEG: potential and magnetic field of one current dipole in a round head."""

import functools
import math

import numpy as np
from scipy import interpolate

from ...modalities import functional
from .._base import Interval
from ._parts import Answer, Curves, Dial, Machine, Picture

RADIUS_MM, HELMET_MM = 90.0, 108.0
MOMENT_NAM = 20.0
PLACE_DEG = 35.0  # of the dipole from the crown, toward the left ear
SIDE = 81  # pixels of a map
EDGE_DEG = 110.0


@functools.cache
def _cap() -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Sensors on the scalp, their places on the flat map, and the pixels of the map, all in degrees from the crown."""
    sensors = functional.cap_positions(128, radius_mm=RADIUS_MM, lowest_deg=EDGE_DEG)
    across = np.hypot(sensors[:, 0], sensors[:, 1]) + 1e-9
    degrees = np.degrees(np.arccos(sensors[:, 2] / RADIUS_MM))
    grid = np.linspace(-EDGE_DEG, EDGE_DEG, SIDE)
    return sensors, sensors[:, :2] / across[:, None] * degrees[:, None], tuple(np.meshgrid(grid, grid))


def _map(values: np.ndarray) -> np.ndarray:
    """Values of the sensors on the flat map, nose on top, the left ear at the right; 0 outside."""
    _, flat, grid = _cap()
    return np.nan_to_num(interpolate.griddata(flat, values, grid, method="cubic"))


def simulate(*, depth_mm: int, tilt_deg: int, noise_uv: float) -> Answer:
    """Maps of the potential and of the outward field, and the potential along a line over the dipole."""
    sensors, _, _ = _cap()
    place = math.radians(PLACE_DEG)
    outward = np.array([math.sin(place), 0.0, math.cos(place)])
    along = np.array([0.0, 1.0, 0.0])
    tilt = math.radians(tilt_deg)
    position, moment = (
        (RADIUS_MM - depth_mm) * outward,
        MOMENT_NAM * (math.cos(tilt) * outward + math.sin(tilt) * along),
    )
    potential = functional.eeg_potential_uv(sensors, position, moment)
    measured = potential + noise_uv * np.random.default_rng(0).standard_normal(len(sensors))
    helmet = sensors * (HELMET_MM / RADIUS_MM)
    field = (functional.meg_field_ft(helmet, position, moment) * sensors / RADIUS_MM).sum(axis=1)
    angle = np.linspace(-90, 90, 121)
    radians = np.radians(angle)[:, None]
    line = RADIUS_MM * (np.cos(radians) * outward + np.sin(radians) * along)  # over the dipole, from nose to neck
    profile = functional.eeg_potential_uv(line, position, moment)
    panels = (
        Picture("EEG (red: positive)", _map(measured), (-15.0, 15.0), None, "", "RdBu_r"),
        Picture("MEG, outward (red: out)", _map(field), (-400.0, 400.0), None, "", "RdBu_r"),
        Curves("EEG along the head, over the dipole", "degrees", "µV", angle, [("potential", profile)], (-20.0, 20.0)),
    )
    words = (
        f"a dipole of {MOMENT_NAM:.0f} nA·m, {depth_mm} mm deep: up to {abs(potential).max():.1f} µV and "
        f"{abs(field).max():.0f} fT"
    )
    return Answer(panels, words)


MACHINE = Machine(
    title="EEG and MEG",
    dials=(
        Dial("depth_mm", "depth below the scalp (mm)", range(12, 71), 25),
        Dial("tilt_deg", "tilt (0: outward, 90: along the surface)", range(0, 91, 5), 90),
        Dial("noise_uv", "noise of the EEG (µV)", Interval(0.0, 10.0), 0.0),
    ),
    simulate=simulate,
    body="a round head of 90 mm, seen from above with the nose on top, with one current dipole toward the left ear",
)
