"""The bodies that lie in the machines: made from the built-in phantoms once, and kept."""

import functools

import numpy as np
from scipy import ndimage

from ... import phantom
from ...modalities import ct
from ...volume import Volume

WATER_PER_MM = 0.019  # attenuation of water at about 70 keV, to which the phantom's Hounsfield units belong
SEED = 4
PELVIS_MM = 0.9
WALL_MM = (0.25, 0.5)  # along depth, from line to line


def labels_of(anatomy: np.ndarray, *names: str) -> np.ndarray:
    """Where a label map of the chest has one of these tissues."""
    return np.isin(anatomy, [phantom.CHEST_TISSUES[name].label for name in names])


def hounsfield(anatomy: np.ndarray) -> np.ndarray:
    """Hounsfield units of a label map of the chest, float32: typical values, no noise."""
    table = np.zeros(256, np.float32)
    for tissue in phantom.CHEST_TISSUES.values():
        table[tissue.label] = tissue.hu
    return table[anatomy]


@functools.cache
def chest_slice(*, side: int = 160, pixel_mm: float = 2.4) -> Volume:
    """Label map of one slice of a chest at the height of the heart, `side` pixels along y and x."""
    anatomy = phantom.chest_anatomy(SEED, shape=(8, side, side), spacing=(20.0, pixel_mm, pixel_mm))
    middle = anatomy.array[3]
    middle = np.where(labels_of(middle, "table"), np.uint8(0), middle)  # the table belongs to another machine
    return Volume(array=middle, spacing=anatomy.spacing[1:], axes="yx")


@functools.cache
def attenuation_slice() -> Volume:
    """Attenuation in 1/mm of `chest_slice` at about 70 keV."""
    return chest_slice().map(lambda a: ct.from_hounsfield(hounsfield(a), water_per_mm=WATER_PER_MM))


@functools.cache
def chest_volume() -> Volume:
    """Label map of a chest from the neck to the liver, without the table."""
    anatomy = phantom.chest_anatomy(SEED, shape=(100, 128, 160), spacing=(3.2, 2.4, 2.4))
    return anatomy.map(lambda a: np.where(labels_of(a, "table"), np.uint8(0), a))


@functools.cache
def pelvis_slice() -> np.ndarray:
    """Label map of one slice through the prostate, 192 × 192 pixels of `PELVIS_MM`."""
    return phantom.prostate_anatomy(SEED, shape=(3, 192, 192), spacing=(3.6, PELVIS_MM, PELVIS_MM)).array[1]


@functools.cache
def chest_wall() -> np.ndarray:
    """Label map from the skin of the chest inward, above the liver: (depth, lines), pixels of `WALL_MM`.

    A sagittal plane, which cuts the ribs across. The phantom's plane is refined by interpolation of each tissue.
    """
    anatomy = phantom.chest_anatomy(SEED, shape=(280, 260, 16), spacing=(1.0, 1.0, 14.0)).array
    plane = anatomy[:64, :, 0].T[:, ::-1]  # depth runs to the back, lines from the head to the feet
    skin = np.argmax(~labels_of(plane, "air"), axis=0)
    rows = np.minimum(skin + np.arange(90)[:, None], len(plane) - 1)
    straight = np.take_along_axis(plane, rows, axis=0)  # the probe presses the skin flat
    kinds = np.unique(straight)
    shares = [
        ndimage.zoom((straight == kind).astype(np.float32), [1 / step for step in WALL_MM], order=1) for kind in kinds
    ]
    return kinds[np.argmax(shares, axis=0)]
