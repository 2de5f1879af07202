"""X-ray CT: views around a slice of the chest, a sinogram that fills, and what back-projection makes of it."""

import functools

import numpy as np

from ...modalities import ct
from .._base import Interval
from . import _bodies
from ._parts import Answer, Dial, Machine, Picture

N_VIEWS = 360  # half a degree apart: half a turn sees everything once
WINDOW_HU = (-1000.0, 400.0)
ORDERS = ("evenly over 180°", "one after the other")


@functools.cache
def _scan() -> tuple[np.ndarray, np.ndarray]:
    """All views without noise, and their angles in degrees."""
    slice_ = _bodies.attenuation_slice()
    angles = np.arange(N_VIEWS) * 180 / N_VIEWS
    return ct.radon(slice_.array, angles, pixel_mm=slice_.spacing[0]), angles


def _measured(views: int, order: str) -> np.ndarray:
    """Numbers of the views that are taken."""
    return np.arange(views) * N_VIEWS // views if order == ORDERS[0] else np.arange(views)


def simulate(*, views: int, order: str, photons: float, window: str) -> Answer:
    """Take the views, count the photons, filter, and smear back."""
    slice_ = _bodies.attenuation_slice()
    (sinogram, angles), pixel_mm = _scan(), slice_.spacing[0]
    numbers = _measured(views, order)
    noisy = ct.add_photon_noise(sinogram[numbers], photons=photons, rng=0)
    filtered = ct.filter_views(noisy, pixel_mm=pixel_mm, window=window)
    image = ct.backproject(filtered, angles[numbers], shape=slice_.array.shape, pixel_mm=pixel_mm)
    if order == ORDERS[1]:
        image *= views / N_VIEWS  # what is there so far: the whole turn makes the whole picture
    filled = np.zeros_like(sinogram)
    filled[numbers] = noisy
    truth = _bodies.hounsfield(_bodies.chest_slice().array)
    if window == "none":  # the blurred sum is not to scale
        shown = Picture("back-projection, not filtered", image, (0.0, float(image.max()) or 1.0), slice_.spacing)
        error = ""
    else:
        hu = ct.to_hounsfield(image, water_per_mm=_bodies.WATER_PER_MM)
        shown = Picture("reconstruction, −1000 to 400 HU", hu, WINDOW_HU, slice_.spacing)
        inside = truth > -1000
        error = f" · root mean square error in the body {np.sqrt(np.mean((hu - truth)[inside] ** 2)):.0f} HU"
    panels = (
        Picture("the slice itself", truth, WINDOW_HU, slice_.spacing),
        Picture("sinogram (rows: angle, 0 to 180°)", filled, (0.0, float(sinogram.max()))),
        shown,
    )
    return Answer(panels, f"{views} views of {sinogram.shape[1]} detectors{error}")


MACHINE = Machine(
    title="X-ray CT",
    dials=(
        Dial("views", "views", range(1, N_VIEWS + 1), 60),
        Dial("order", "taken", ORDERS, ORDERS[0]),
        Dial("photons", "photons per detector and view", Interval(300.0, 1e6), 1e5, log=True),
        Dial("window", "filter", ("ramp", "shepp-logan", "hann", "none"), "ramp"),
    ),
    simulate=simulate,
    body="one slice of the built-in chest",
)
