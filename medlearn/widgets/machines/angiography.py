"""Angiography by digital subtraction: contrast agent in the vessels of the lungs, two exposures, their difference."""

import functools

import numpy as np
from scipy import ndimage

from ...modalities import xray
from .._base import Interval
from . import _bodies
from ._parts import Answer, Dial, Machine, Picture

#: Mass attenuation coefficient of iodine at 60 keV, cm²/g. From J. H. Hubbell, S. M. Seltzer, Tables of X-Ray Mass
#: Attenuation Coefficients, NIST Standard Reference Database 126.
IODINE_CM2_PER_G = 7.579
WATER_PER_MM = xray.MU_PER_MM["water"][xray.ENERGIES_KEV.index(60.0)]


@functools.cache
def _lines() -> tuple[np.ndarray, np.ndarray]:
    """∫μ ds of the body at 60 keV, and mm of vessel that each ray crosses; from the front, head on top."""
    volume = _bodies.chest_volume()
    body = np.maximum(_bodies.hounsfield(volume.array) / 1000 + 1, 0) * WATER_PER_MM
    vessels = _bodies.labels_of(volume.array, "pulmonary_vessel").astype(np.float32)
    return tuple(xray.project(part, spacing=volume.spacing)[::-1] for part in (body, vessels))


def simulate(*, iodine_mg_per_ml: float, photons: float, motion_mm: float) -> Answer:
    """Expose without and with contrast agent, the patient moved in between, and subtract the logarithms."""
    spacing = _bodies.chest_volume().spacing[::2]
    body, vessels = _lines()
    iodine_per_mm = iodine_mg_per_ml * 1e-3 * IODINE_CM2_PER_G / 10
    moved = [ndimage.shift(a, (motion_mm / spacing[0], 0), order=1, mode="nearest") for a in (body, vessels)]
    before = xray.expose(xray.transmission(body), photons=photons, rng=0)
    filled = xray.expose(xray.transmission(moved[0] + iodine_per_mm * moved[1]), photons=photons, rng=1)
    difference = xray.digital_subtraction(before, filled)
    panels = (
        Picture("with contrast agent", xray.attenuation_image(filled, photons=photons), (0.5, 6.0), spacing),
        Picture("difference (bright: contrast agent)", difference, (-0.1, 0.4), spacing),
    )
    signal, noise = iodine_per_mm * 10, np.sqrt(np.median(np.exp(body) * 2 / photons))
    words = (
        f"10 mm of vessel: {signal:.3f} · noise of the difference {noise:.3f} · contrast to noise {signal / noise:.1f}"
    )
    return Answer(panels, words)


MACHINE = Machine(
    title="Angiography",
    dials=(
        Dial("iodine_mg_per_ml", "iodine in the blood (mg/ml)", Interval(0.0, 60.0), 25.0),
        Dial("photons", "photons per pixel", Interval(1e3, 1e7), 1e6, log=True),
        Dial("motion_mm", "motion between the exposures (mm)", Interval(0.0, 10.0), 0.0),
    ),
    simulate=simulate,
    body="the built-in chest, contrast agent in the vessels of its lungs, 60 keV",
)
