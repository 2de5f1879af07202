"""The k-space eraser: what a picture loses when parts of what the MRI scanner measured are missing or wrong."""

import functools

import numpy as np

from ... import phantom
from ...modalities import mri
from .._base import Interval
from . import _bodies
from ._parts import Answer, Dial, Machine, Picture

KEEP = ("everything", "the center", "the rim", "every n-th line", "everything, and one spike")


@functools.cache
def _measured() -> np.ndarray:
    """k-space of one slice through the prostate, T2 weighted."""
    shape, spacing = (3, 192, 192), (3.6, _bodies.PELVIS_MM, _bodies.PELVIS_MM)
    image = phantom.prostate(_bodies.SEED, shape=shape, spacing=spacing).image.array[1]
    return mri.kspace(np.maximum(image, 0))


def erase(kspace: np.ndarray, *, keep: str, radius: float, every: int, spike: int) -> np.ndarray:
    """What is left of k-space."""
    if keep == KEEP[1]:
        return mri.keep_center(kspace, radius)
    if keep == KEEP[2]:
        return mri.keep_rim(kspace, radius)
    if keep == KEEP[3]:
        return mri.keep_every(kspace, every)
    if keep == KEEP[4]:
        return mri.add_spike(kspace, row=spike, column=round(spike / 2), amplitude=0.3)
    return kspace


def simulate(*, keep: str, radius: float, every: int, spike: int) -> Answer:
    """Erase, transform back, and show both."""
    whole = _measured()
    left = erase(whole, keep=keep, radius=radius, every=every, spike=spike)
    image = mri.reconstruct(left)
    spacing = (_bodies.PELVIS_MM, _bodies.PELVIS_MM)
    brightest = (float(np.percentile(image, 99.7)) or 1.0) if keep == KEEP[2] else _white()
    highest = float(np.log10(np.abs(whole).max()))
    logs = np.log10(np.maximum(np.abs(left), 1e-3))
    white = "white: its own brightest" if keep == KEEP[2] else "white: as with everything"
    panels = (
        Picture("k-space, logarithm of the magnitude", logs, (highest - 5, highest)),
        Picture(f"picture ({white})", image, (0.0, brightest), spacing),
    )
    energy = np.sum(np.abs(left) ** 2) / np.sum(np.abs(whole) ** 2)
    samples = np.count_nonzero(left) / left.size
    return Answer(panels, f"{100 * samples:.1f} % of the samples are left, with {100 * energy:.2f} % of the energy")


@functools.cache
def _white() -> float:
    return float(np.percentile(mri.reconstruct(_measured()), 99.7))


MACHINE = Machine(
    title="k-space eraser",
    dials=(
        Dial("keep", "keep", KEEP, KEEP[1]),
        Dial("radius", "radius of the center (share of the highest frequency)", Interval(0.0, 1.42), 0.2),
        Dial("every", "n", range(1, 9), 2),
        Dial("spike", "place of the spike (lines from the middle)", range(-40, 41), 20),
    ),
    simulate=simulate,
    body="one slice of the built-in pelvis, T2 weighted",
)
