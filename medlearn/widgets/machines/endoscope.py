"""An endoscope in a tube with folds and a polyp: light, and what fibers or a chip bring to the eye."""

import functools

import numpy as np
from scipy import ndimage

from ...modalities import optical
from .._base import Interval
from ._parts import Answer, Dial, Machine, Picture

LENGTH_MM = 120.0
RADIUS_MM = 15.0
SHAPE = (180, 180)
PHOTONS = 1000  # fill a pixel of the chip


@functools.cache
def _tube() -> tuple[np.ndarray, np.ndarray]:
    """Color of the wall (length, around, 3) and height of folds, polyp and fine bumps in mm (length, around)."""
    ahead, around = np.linspace(0, LENGTH_MM, 480)[:, None], np.linspace(0, 2 * np.pi, 360, endpoint=False)
    folds = 2.2 * np.maximum(np.cos(2 * np.pi * ahead / 24 + 0.4 * np.sin(3 * around)), 0) ** 4
    apart = np.hypot(ahead - 38, RADIUS_MM * (around - 2.0))
    polyp = 5 * np.exp(-((apart / 4) ** 2))
    rng = np.random.default_rng(0)

    def texture(grain):
        smooth = ndimage.gaussian_filter(rng.normal(size=folds.shape), grain, mode="wrap")
        return smooth / smooth.std()

    bumps = 0.08 * texture(2.5)  # they break the mirror image of the lamp into spots
    veins = np.exp(-((8 * texture(14)) ** 2)) + 0.5 * np.exp(-((8 * texture(7)) ** 2))  # where a texture is near 0
    blood = np.clip(0.5 * veins + 0.1 * texture(6) + 0.35 * (polyp / 5), 0, 0.85)[..., None]
    return (1 - blood) * (0.85, 0.40, 0.27) + blood * (0.50, 0.09, 0.07), folds + polyp + bumps


@functools.lru_cache(maxsize=8)
def _view(position_mm: int, gloss: float) -> np.ndarray:
    wall, height = _tube()
    place = {"length_mm": LENGTH_MM, "radius_mm": RADIUS_MM, "position_mm": float(position_mm)}
    return optical.endoscope_view(wall, height, **place, gloss=gloss, shape=SHAPE)


def simulate(*, position_mm: int, light: float, gloss: float, pitch_pixels: float) -> Answer:
    """Look ahead, with a lamp of some strength, by a chip at the tip and through a bundle of fibers."""
    seen = _view(position_mm, gloss) * light
    lit = np.minimum(seen, 1)
    chip = optical.electronic_sensor(lit, photons=PHOTONS)
    bundle = optical.fiber_bundle(lit, pitch_pixels=pitch_pixels)
    fibers = SHAPE[0] * SHAPE[1] / (pitch_pixels**2 * np.sqrt(3) / 2)
    full = np.mean(seen.max(axis=2) >= 1)
    panels = tuple(
        Picture(title, np.clip(picture, 0, 1) ** (1 / 2.2), (0.0, 1.0), (1.0, 1.0), "pixels")
        for title, picture in (("by a chip at the tip", chip), ("through a bundle of fibers", bundle))
    )
    words = (
        f"chip: one color filter per pixel, {PHOTONS} photons fill a pixel · {fibers:.0f} fibers, each one color: "
        f"finer than {2 * pitch_pixels:.1f} pixels is lost · {100 * full:.1f} % of the picture is overexposed"
    )
    return Answer(panels, words)


MACHINE = Machine(
    title="Endoscope",
    dials=(
        Dial("position_mm", "position (mm)", range(0, 61, 2), 24),
        Dial("light", "light (relative)", Interval(0.1, 10.0), 1.0, log=True),
        Dial("gloss", "wetness of the wall (highlights)", Interval(0.0, 2.0), 1.2),
        Dial("pitch_pixels", "distance of the fibers (pixels)", Interval(2.0, 8.0), 4.0),
    ),
    simulate=simulate,
    body="a drawn tube of 15 mm radius with folds, vessels and one polyp",
)
