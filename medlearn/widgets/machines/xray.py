"""Radiography of the chest: tube voltage, dose, scatter, and the angle from which it is taken."""

import functools

import numpy as np

from ...modalities import xray
from .._base import Interval
from . import _bodies
from ._parts import Answer, Curves, Dial, Machine, Picture

BONE_HU_AT_FULL = 1500.0  # Hounsfield units of solid cortical bone at about 70 keV
SCATTER_STD_MM = 40.0
PROFILE_ROW = 0.45  # of the height, from above


@functools.cache
def _materials() -> tuple[np.ndarray, np.ndarray]:
    """Shares of water and of bone in each voxel, (z, y, x): what lies above water is split between the two."""
    anatomy = _bodies.chest_volume().array
    hu = _bodies.hounsfield(anatomy)
    skeleton = _bodies.labels_of(anatomy, "cortical_bone", "marrow", "cartilage")
    bone = np.where(skeleton, hu / BONE_HU_AT_FULL, 0).astype(np.float32)
    return (np.where(skeleton, 1 - bone, np.maximum(hu / 1000 + 1, 0))).astype(np.float32), bone


@functools.lru_cache(maxsize=16)
def _thickness(angle_deg: int) -> np.ndarray:
    """How many mm of water and of bone each ray crosses, (2, rows, columns), head on top."""
    spacing = _bodies.chest_volume().spacing
    distances = {"source_to_center_mm": 1500.0, "center_to_detector_mm": 300.0}
    flat = [xray.project(part, spacing=spacing, angle_deg=angle_deg, **distances)[::-1] for part in _materials()]
    return np.maximum(flat, 0)


def spectrum(tube_kv: float) -> np.ndarray:
    """Photons at `xray.ENERGIES_KEV` by Kramers' law, ``kV / E − 1``; softer ones the filter of the tube has taken."""
    energies = np.array(xray.ENERGIES_KEV)
    return np.maximum(tube_kv / energies - 1, 0) * np.gradient(energies)


def simulate(*, tube_kv: int, photons: float, scatter: float, angle_deg: int) -> Answer:
    """Send the spectrum through water and bone, add scatter, count, take the logarithm."""
    mu = np.array([xray.MU_PER_MM["water"], xray.MU_PER_MM["cortical_bone"]])
    spacing = _bodies.chest_volume().spacing[::2]
    weights = spectrum(tube_kv)
    arrived = xray.polyenergetic_transmission(_thickness(angle_deg), mu, weights)
    arrived = xray.add_scatter(arrived, scatter_to_primary=scatter, std_mm=SCATTER_STD_MM, pixel_mm=spacing)
    counts = xray.expose(arrived, photons=photons, rng=0)
    image = xray.attenuation_image(counts, photons=photons)
    row = round(PROFILE_ROW * len(image))
    across = (np.arange(image.shape[1]) - image.shape[1] / 2) * spacing[1]
    mean_kev = np.average(xray.ENERGIES_KEV, weights=weights)
    behind = np.average(xray.ENERGIES_KEV, weights=weights * np.exp(-200 * mu[0]))
    profile = Curves(
        "attenuation along one row", "mm to the patient's left", "−ln(N / N₀)", across, [("row", image[row])], (0, 7)
    )
    words = (
        f"mean energy {mean_kev:.0f} keV at the tube, {behind:.0f} keV behind 20 cm of water · "
        f"photons that arrive behind the body's middle: {100 * np.median(arrived[row, 50:110]):.2g} %"
    )
    title = "radiograph (bright: attenuates more)"
    return Answer((Picture(title, image, (0.8, 5.0), spacing), profile), words)


MACHINE = Machine(
    title="X-ray",
    dials=(
        Dial("tube_kv", "tube voltage (kV)", range(50, 126, 5), 110),
        Dial("photons", "photons per pixel", Interval(100.0, 1e6), 1e5, log=True),
        Dial("scatter", "scattered per unscattered photon", Interval(0.0, 3.0), 0.3),
        Dial("angle_deg", "angle (degrees)", range(0, 181, 5), 0),
    ),
    simulate=simulate,
    body="the built-in chest; water and bone, five energies",
)
