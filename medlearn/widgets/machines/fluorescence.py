"""A fluorescence microscope: the aperture of its lens, its light, and the dye that fades."""

import functools

import numpy as np
from scipy import ndimage

from ...modalities import optical
from .._base import Interval
from ._parts import Answer, Curves, Dial, Machine, Picture

SIDE = 200
PIXEL_UM = 0.08
EMISSION_NM = 520.0
MIDDLE = SIDE // 2


@functools.cache
def _dye() -> np.ndarray:
    """Concentration of the dye: filaments of a cell, and a row of pairs of points, 0.2 to 1 µm apart."""
    y, x = np.mgrid[:SIDE, :SIDE] * PIXEL_UM
    rng = np.random.default_rng(3)
    dye = np.zeros((SIDE, SIDE))
    for _ in range(24):
        angle, place = rng.uniform(0, np.pi), rng.uniform(2, 14, 2)
        bend = 1.2 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.3, 0.8))
        across = (y - place[0]) * np.cos(angle) - (x - place[1]) * np.sin(angle) + bend
        dye = np.maximum(dye, np.exp(-((across / 0.06) ** 2)))
    cell = np.hypot((y - 8) / 7.0, (x - 8) / 7.5) < 1
    dye = np.where(cell, 0.8 * dye + 0.04, 0)
    dye[MIDDLE - 6 : MIDDLE + 7] = 0
    for pair, distance in enumerate((0.24, 0.4, 0.56, 0.8)):
        for side in (-1, 1):
            dye[MIDDLE, round((3.5 + 3 * pair + side * distance / 2) / PIXEL_UM)] = 6
    return ndimage.gaussian_filter(dye, 0.5)


def simulate(*, aperture: float, photons: float, background: float, bleaching: float) -> Answer:
    """Blur by the lens, fade, add the background, count."""
    options = {"photons": photons, "background": background * photons, "bleaching": bleaching, "read_noise": 1.0}
    image = optical.fluorescence(_dye(), pixel_um=PIXEL_UM, aperture=aperture, emission_nm=EMISSION_NM, **options)
    across = np.arange(SIDE) * PIXEL_UM
    line = Curves(
        "along the pairs of points",
        "µm",
        "photons / photons at concentration 1",
        across,
        [("row", image[MIDDLE - 1 : MIDDLE + 2].mean(axis=0) / photons)],
        (0.0, 1.2),
    )
    rayleigh = 0.61 * EMISSION_NM / 1000 / aperture
    words = f"0.61 λ / NA = {rayleigh:.2f} µm; the pairs are 0.24, 0.40, 0.56 and 0.80 µm apart"
    picture = Picture("green light of the dye", image, (0.0, 0.8 * photons), (PIXEL_UM, PIXEL_UM), "µm", "viridis")
    return Answer((picture, line), words)


MACHINE = Machine(
    title="Fluorescence microscope",
    dials=(
        Dial("aperture", "numerical aperture", Interval(0.2, 1.4), 0.8),
        Dial("photons", "photons per pixel", Interval(5.0, 5000.0), 200.0, log=True),
        Dial("background", "other light (share)", Interval(0.0, 1.0), 0.05),
        Dial("bleaching", "exposed so far (lifetimes of the dye)", Interval(0.0, 3.0), 0.0),
    ),
    simulate=simulate,
    body="a drawn cell with dyed filaments, and four pairs of points across its middle",
)
