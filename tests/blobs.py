"""Small made-up cases that a network learns in seconds."""

import numpy as np

from medlearn import Case, Volume


def blob_case(seed: int, *, shape=(6, 48, 48), spacing=(3.0, 1.0, 1.0)) -> Case:
    """An ellipse brighter than its noisy surroundings, another place and size for every seed; learned in seconds."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(shape)
    center = np.array(shape) / 2 + rng.uniform(-4, 4, 3) * (0.2, 1, 1)
    radius = rng.uniform(8, 14)
    inside = ((z - center[0]) * 3) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2 < radius**2
    image = rng.normal(100, 15, shape) + 60 * inside
    volume = Volume(array=image.astype(np.int16), spacing=spacing, origin=(-20.0, 5.0, 30.0))
    return Case(f"blob-{seed:02d}", volume, Volume(array=inside, spacing=spacing, origin=volume.origin))
