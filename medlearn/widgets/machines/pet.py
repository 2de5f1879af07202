"""Positron emission tomography of a slice of the chest: counts, nuclide, ring, and what the body takes away."""

import functools

import numpy as np
from scipy import ndimage

from ... import phantom
from ...modalities import ct, nuclear
from ...volume import Volume
from .._base import Interval
from . import _bodies
from ._parts import Answer, Dial, Machine, Picture

#: Way of a positron of mean energy in water in mm; taken for the width that it adds.
RANGE_MM = {
    name: float(nuclear.electron_range_mm(nuclear.POSITRON_MEV[name][0]))
    for name in ("fluorine-18", "gallium-68", "rubidium-82")
}
CORRECTIONS = ("for attenuation", "none")
ANGLES = np.arange(0, 180, 1.5)


@functools.cache
def _slice() -> Volume:
    """Label map with a nodule: the chest of `_bodies` has none in its slice, so one is drawn into the right lung."""
    labels, mm = _bodies.chest_slice(), _bodies.chest_slice().spacing[0]
    lung = ndimage.distance_transform_edt(_bodies.labels_of(labels.array, "lung"))
    lung[:, lung.shape[1] // 2 :] = 0
    row, column = np.unravel_index(lung.argmax(), lung.shape)
    y, x = np.indices(lung.shape)
    near = np.hypot(y - row, x - column) * mm < 7
    return labels.map(lambda a: np.where(near, np.uint8(phantom.CHEST_TISSUES["solid_nodule"].label), a))


@functools.cache
def _lines() -> tuple[np.ndarray, np.ndarray]:
    """Uptake along each line, and the share of photon pairs that get out of the body."""
    labels = _slice()
    mu = phantom.tissue_map(labels, "attenuation", energy_kev=511).array
    uptake = phantom.tissue_map(labels, "uptake").array
    pixel = labels.spacing[0]
    return ct.radon(uptake, ANGLES, pixel_mm=pixel), np.exp(-ct.radon(mu, ANGLES, pixel_mm=pixel))


def width_mm(nuclide: str, crystal_mm: float, ring_mm: float) -> float:
    """Full width of a point: half a crystal, the angle that is not quite 180°, the range; in quadrature."""
    return nuclear.coincidence_resolution_mm(crystal_mm=crystal_mm, ring_mm=ring_mm, range_mm=RANGE_MM[nuclide])


def simulate(*, counts: float, nuclide: str, crystal_mm: float, ring_mm: int, correction: str) -> Answer:
    """Blur the lines, count pairs, give back what the body took, and reconstruct."""
    (lines, left), labels = _lines(), _slice()
    pixel, width = labels.spacing[0], width_mm(nuclide, crystal_mm, ring_mm)
    blurred = np.maximum(ndimage.gaussian_filter1d(lines, width / nuclear.FWHM / pixel, axis=1), 0) * left
    scale = counts / blurred.sum()
    measured = np.random.default_rng(0).poisson(blurred * scale) / scale
    corrected = measured / left if correction == CORRECTIONS[0] else measured
    image = ct.fbp(corrected, ANGLES, shape=labels.array.shape, pixel_mm=pixel, window="hann")
    truth = phantom.tissue_map(labels, "uptake").array
    white = 4.0 if correction == CORRECTIONS[0] else float(np.percentile(image, 99.8)) or 1.0
    panels = (
        Picture("uptake in the body (4 is white)", truth, (0.0, 4.0), labels.spacing, "mm", "inferno"),
        Picture("pairs counted (rows: angle)", measured, (0.0, float(1.2 * (lines * left).max())), None, "", "gray"),
        Picture("PET", image, (0.0, white), labels.spacing, "mm", "inferno"),
    )
    parts = f"crystal {crystal_mm / 2:.1f}, angle {0.0022 * ring_mm:.1f}, positron {RANGE_MM[nuclide]:.1f} mm"
    return Answer(panels, f"{counts:.2g} pairs · {parts}: together {width:.1f} mm (roots of squares)")


MACHINE = Machine(
    title="PET",
    dials=(
        Dial("counts", "pairs counted", Interval(1e4, 1e7), 1e6, log=True),
        Dial("nuclide", "nuclide", tuple(RANGE_MM), "fluorine-18"),
        Dial("crystal_mm", "width of the crystals (mm)", Interval(1.0, 12.0), 4.0),
        Dial("ring_mm", "diameter of the ring (mm)", range(400, 1001, 50), 800),
        Dial("correction", "correction", CORRECTIONS, CORRECTIONS[0]),
    ),
    simulate=simulate,
    body="one slice of the built-in chest after a sugar-like tracer, a nodule of 14 mm drawn into its lung",
)
