"""A γ camera in front of the chest: its collimator decides between sharpness and counts."""

import functools

import numpy as np
from scipy import ndimage

from ... import phantom
from ...modalities import nuclear
from .._base import Interval
from . import _bodies
from ._parts import Answer, Curves, Dial, Machine, Picture
from .comparison import INTRINSIC_MM

PLANES = 8  # along the rays are blurred together: the width changes little within them
STANDARD_MM = 1.5, 25.0  # holes, to which the dial of the counts refers


@functools.cache
def _emitted() -> np.ndarray:
    """γ-rays that leave the body to the front, of each slab: (slabs, z, x), head on top."""
    anatomy = _bodies.chest_volume()
    uptake = phantom.tissue_map(anatomy, "uptake").array
    mu = phantom.tissue_map(anatomy, "attenuation", energy_kev=140).array
    left = uptake * np.exp(-np.cumsum(mu, axis=1) * anatomy.spacing[1])
    slabs = np.add.reduceat(left, np.arange(0, left.shape[1], PLANES), axis=1)
    return slabs.transpose(1, 0, 2)[:, ::-1]


def width_mm(distance_mm, hole_mm: float, length_mm: float):
    """Full width at half height of a point: the cone that a hole sees, and the crystal, in quadrature."""
    cone = nuclear.collimator_resolution_mm(distance_mm, hole_mm=hole_mm, length_mm=length_mm, septa_per_mm=np.inf)
    return np.hypot(cone, INTRINSIC_MM)


def simulate(*, counts: float, hole_mm: float, length_mm: int, distance_mm: int) -> Answer:
    """Blur each slab by its distance, add, count; wide and short holes let more through."""
    slabs, (hz, hy, hx) = _emitted(), _bodies.chest_volume().spacing
    far = distance_mm + (np.arange(len(slabs)) + 0.5) * PLANES * hy
    expected = np.zeros(slabs.shape[1:])
    for slab, width in zip(slabs, width_mm(far, hole_mm, length_mm) / nuclear.FWHM, strict=True):
        expected += ndimage.gaussian_filter(slab, (width / hz, width / hx))
    passed = (hole_mm / length_mm) ** 2 / (STANDARD_MM[0] / STANDARD_MM[1]) ** 2
    total = counts * passed
    image = np.random.default_rng(0).poisson(expected * total / expected.sum())
    z = np.linspace(0, 300, 61)
    line = Curves(
        "how wide a point becomes", "mm from the collimator", "mm", z, [("", width_mm(z, hole_mm, length_mm))], (0, 40)
    )
    brightest = float(np.percentile(image, 99.8)) or 1.0
    words = f"{total:.3g} counts · {width_mm(100, hole_mm, length_mm):.1f} mm at 10 cm = √((d (l + z) / l)² + 3.5²)"
    return Answer((Picture("counts, from the front", image, (0.0, brightest), (hz, hx), "mm", "inferno"), line), words)


MACHINE = Machine(
    title="γ camera",
    dials=(
        Dial("counts", "counts with holes of 1.5 × 25 mm", Interval(1e4, 1e7), 1e6, log=True),
        Dial("hole_mm", "diameter of the holes (mm)", Interval(0.8, 4.0), 1.5),
        Dial("length_mm", "length of the holes (mm)", range(10, 61), 25),
        Dial("distance_mm", "from the skin's first plane to the collimator (mm)", range(0, 201, 5), 20),
    ),
    simulate=simulate,
    body="the built-in chest after a sugar-like tracer, seen at 140 keV",
)
