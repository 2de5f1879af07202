"""Gray values: windowing, clipping, normalizing."""

import numpy as np


def window(image: np.ndarray, *, level: float, width: float) -> np.ndarray:
    """Map the gray values of a window to 0…1, as a radiology workstation does.

    Parameters
    ----------
    image : ndarray
        Any shape, any real dtype.
    level, width : float
        Center and width of the window in the units of `image` (Hounsfield units in CT); `width` > 0.

    Returns
    -------
    ndarray of float32, same shape, 0 below and 1 above the window.
    """
    if not width > 0:
        raise ValueError(f"width must be positive; got {width!r}")
    return np.clip((np.asarray(image, np.float32) - (level - width / 2)) / width, 0, 1)


def clip_percentiles(image: np.ndarray, lower: float = 0.5, upper: float = 99.5) -> np.ndarray:
    """Clip the gray values to two of their own percentiles (0…100); shape and dtype stay.

    MR images have no unit and a few very bright voxels, so limits are taken from the image itself.
    """
    if not 0 <= lower < upper <= 100:
        raise ValueError(f"percentiles must satisfy 0 <= lower < upper <= 100; got {lower!r}, {upper!r}")
    low, high = np.percentile(image, [lower, upper])
    return np.clip(image, low, high).astype(image.dtype, copy=False)


def normalize(image: np.ndarray) -> np.ndarray:
    """Subtract the mean and divide by the standard deviation of all voxels; a constant image becomes 0.

    Returns
    -------
    ndarray of float32, same shape.
    """
    image = np.asarray(image, np.float32)
    std = image.std(dtype=np.float64)
    return ((image - image.mean(dtype=np.float64)) / (std if std > 0 else 1)).astype(np.float32)
