"""What CT sees: the Hounsfield units of the tissues of the chest, and the noise of a scanner."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ._canvas import Grid

WATER_PER_MM = 0.019  # attenuation of water at about 70 keV


@dataclass(frozen=True)
class ChestTissue:
    """What CT sees of a tissue.

    Attributes
    ----------
    label : int
        Its number in the label map.
    name : str
        Its name, also its key in `CHEST_TISSUES`.
    hu : float
        Mean in Hounsfield units: 1000 · (μ − μ_water) / μ_water. Typical values without contrast agent at 120 kV: right
        in order of magnitude, not taken from one study.
    spread : float
        How much that mean differs from patient to patient: standard deviation in Hounsfield units.
    """

    label: int
    name: str
    hu: float
    spread: float = 0.0


_TABLE = (
    ChestTissue(0, "air", -1000),
    ChestTissue(1, "table", -150),
    ChestTissue(2, "skin", 15, 5),
    ChestTissue(3, "fat", -102, 4),
    ChestTissue(4, "muscle", 52, 5),
    ChestTissue(5, "breast", 20, 12),  # its gland
    ChestTissue(6, "cortical_bone", 850, 70),
    ChestTissue(7, "marrow", 190, 45),  # of spongy bone: the beams are too fine to be seen
    ChestTissue(8, "cartilage", 95, 15),
    ChestTissue(9, "disk", 85, 8),
    ChestTissue(10, "spinal_canal", 28, 4),
    ChestTissue(11, "lung", -855, 22),
    ChestTissue(12, "airway", -1000),  # the air in trachea and bronchi
    ChestTissue(13, "airway_wall", 15, 10),
    ChestTissue(14, "pulmonary_vessel", 40, 4),
    ChestTissue(15, "heart_muscle", 50, 4),
    ChestTissue(16, "heart_blood", 40, 4),
    ChestTissue(17, "aorta", 41, 4),  # with the arteries that leave its arch
    ChestTissue(18, "vein", 39, 4),
    ChestTissue(19, "esophagus", 35, 5),
    ChestTissue(20, "liver", 58, 8),
    ChestTissue(21, "spleen", 48, 4),
    ChestTissue(22, "stomach", 30, 12),
    ChestTissue(23, "stomach_gas", -960),
    ChestTissue(24, "solid_nodule", 35, 8),
    ChestTissue(25, "ground_glass", -580, 40),
)

#: Tissues of the chest by name.
CHEST_TISSUES: Mapping[str, ChestTissue] = MappingProxyType({tissue.name: tissue for tissue in _TABLE})


def add_ct_noise(image: np.ndarray, grid: Grid, std_hu: float, rng: np.random.Generator) -> None:
    """Add the noise of filtered back-projection to an image (z, y, x) in Hounsfield units, in place.

    White noise is filtered as a reconstruction filters it, by |f| · exp(−(f / f₀)²): so it has a grain. It is stronger
    where X-rays have lost more on their way, from side to side and from front to back: in the shoulders.

    Parameters
    ----------
    std_hu : float
        Standard deviation in the middle of a chest of average width.
    """
    fy, fx = np.fft.fftfreq(grid.shape[1], grid.spacing[1]), np.fft.rfftfreq(grid.shape[2], grid.spacing[2])
    frequency = np.sqrt(fy[:, None] ** 2 + fx**2)  # cycles / mm
    ramp = (0.02 + frequency) * np.exp(-((frequency / 0.28) ** 2))
    twice = np.full(fx.size, 2.0)  # of a real image only half the spectrum is kept
    twice[0] = twice[-1] = 1.0
    ramp *= std_hu / np.sqrt((ramp * ramp * twice).sum() / (grid.shape[1] * grid.shape[2]))
    for plane in image:  # one slice at a time stays in the cache
        noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(plane.shape)) * ramp, plane.shape)
        noise *= _noise_profile(plane, grid)
        plane += noise


def _noise_profile(plane: np.ndarray, grid: Grid) -> np.ndarray:
    """Standard deviation of the noise over a slice, relative to an average one."""
    water = np.maximum(plane + 1000, 0) * (WATER_PER_MM / 1000)
    across = water.sum(axis=1) * grid.spacing[2]  # attenuation along rows
    through = water.sum(axis=0) * grid.spacing[1]  # and columns
    # photons fall by exp(−attenuation); a scanner that adapts its current makes up for half of that
    variance = np.exp(0.5 * (across - 4.5))[:, None] + np.exp(0.5 * (through - 2.5))
    return np.clip(np.sqrt(variance / 2), 0.6, 2.5)
