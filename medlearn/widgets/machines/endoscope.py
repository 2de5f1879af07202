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
WAYS = ("chip at the tip", "bundle of fibers")


@functools.cache
def _tube() -> tuple[np.ndarray, np.ndarray]:
    """Color of the wall (length, around, 3) and height of folds and polyp in mm (length, around)."""
    ahead, around = np.linspace(0, LENGTH_MM, 480)[:, None], np.linspace(0, 2 * np.pi, 360, endpoint=False)
    folds = 1.6 * np.maximum(np.cos(2 * np.pi * ahead / 24 + 0.4 * np.sin(3 * around)), 0) ** 4
    apart = np.hypot(ahead - 38, RADIUS_MM * (around - 2.0))
    polyp = 5 * np.exp(-((apart / 4) ** 2))
    rng = np.random.default_rng(0)
    spots = ndimage.gaussian_filter(rng.normal(size=folds.shape), 6, mode="wrap")
    veins = np.exp(-((ndimage.gaussian_filter(rng.normal(size=folds.shape), 12, mode="wrap") * 160) ** 2))
    blood = np.clip(0.25 * veins + 2 * spots + 0.35 * (polyp / 5), 0, 0.8)[..., None]
    return (1 - blood) * (0.80, 0.46, 0.38) + blood * (0.55, 0.14, 0.12), folds + polyp


@functools.lru_cache(maxsize=8)
def _view(position_mm: int, gloss: float) -> np.ndarray:
    wall, height = _tube()
    place = {"length_mm": LENGTH_MM, "radius_mm": RADIUS_MM, "position_mm": float(position_mm)}
    return optical.endoscope_view(wall, height, **place, gloss=gloss, shape=SHAPE)


def simulate(*, position_mm: int, light: float, gloss: float, way: str, pitch_pixels: float) -> Answer:
    """Look ahead, with a lamp of some strength, through the fibers or by the chip."""
    seen = _view(position_mm, gloss) * light
    if way == WAYS[0]:
        image = optical.electronic_sensor(np.minimum(seen, 1), photons=400)
        words = "chip: one color filter per pixel, 400 photons fill a pixel"
    else:
        image = optical.fiber_bundle(np.minimum(seen, 1), pitch_pixels=pitch_pixels)
        fibers = SHAPE[0] * SHAPE[1] / (pitch_pixels**2 * np.sqrt(3) / 2)
        words = f"{fibers:.0f} fibers, each one color: finer than {2 * pitch_pixels:.1f} pixels is lost"
    full = np.mean(seen.max(axis=2) >= 1)
    shown = Picture("what the camera sees ahead", np.clip(image, 0, 1) ** (1 / 2.2), (0.0, 1.0), (1.0, 1.0), "pixels")
    return Answer((shown,), f"{words} · {100 * full:.1f} % of the picture is overexposed")


MACHINE = Machine(
    title="Endoscope",
    dials=(
        Dial("position_mm", "position (mm)", range(0, 61, 2), 10),
        Dial("light", "light (relative)", Interval(0.1, 10.0), 0.8, log=True),
        Dial("gloss", "wetness of the wall (highlights)", Interval(0.0, 2.0), 0.5),
        Dial("way", "the picture comes through", WAYS, WAYS[0]),
        Dial("pitch_pixels", "distance of the fibers (pixels)", Interval(2.0, 8.0), 4.0),
    ),
    simulate=simulate,
    body="a drawn tube of 15 mm radius with folds, vessels and one polyp",
)
