"""Cell nuclei under a fluorescence microscope: many small objects that touch, each with a number of its own."""

import numpy as np

from ..volume import Case, Volume
from ._canvas import check_seed

SHAPE = (256, 256)
PIXEL_MM = 0.0005  # half a micrometer: a nucleus of 10 µm is 20 pixels wide


def nuclei(seed: int = 0, *, shape=SHAPE) -> Case:
    """Draw a picture of stained nuclei, singly and in clumps, with a label map that tells them apart.

    Nuclei are ellipses with dents. In a clump they press against each other: where two would overlap, the border runs
    where both are equally deep inside. Size, brightness and sharpness differ from picture to picture, as between
    laboratories.

    Parameters
    ----------
    seed : int
        The same seed gives the same picture.
    shape : (y, x)
        Number of pixels of 0.5 µm.

    Returns
    -------
    Case
        ``image``: uint8, axes yx. ``mask``: uint8 (uint16 where there are more than 255), 0 for background, 1 ... N for
        the nuclei.

    Raises
    ------
    ValueError
        If `shape` does not name two sizes of at least 64 pixels.

    Examples
    --------
    >>> case = nuclei(3)
    >>> case.image.shape, int(case.mask.array.max())
    ((256, 256), 28)
    """
    check_seed(seed)
    shape = tuple(int(n) for n in shape)
    if len(shape) != 2 or min(shape) < 64:
        raise ValueError(f"shape must be (y, x) with at least 64 pixels each; got {shape}")
    rng = np.random.default_rng([seed, 20170])
    depth, labels, light = _paint(_place(rng, shape), rng, shape)
    picture = _expose(np.where(labels > 0, light * (0.55 + 0.45 * np.sqrt(depth)), 0), rng)

    def volume(array: np.ndarray) -> Volume:
        return Volume(array=array, spacing=(PIXEL_MM, PIXEL_MM), origin=(0, 0, 0), direction=np.eye(3), axes="yx")

    return Case(f"nuclei-{seed:04d}", volume(picture), volume(labels))


def _place(rng: np.random.Generator, shape: tuple[int, int]) -> list[tuple[np.ndarray, float]]:
    """Center and mean radius in pixels of each nucleus; more than half of them lie beside one that is there."""
    radius = rng.uniform(6.5, 11.0)
    wanted = int(rng.uniform(0.12, 0.32) * np.prod(shape) / (np.pi * radius**2))
    placed: list[tuple[np.ndarray, float]] = []
    for _ in range(20 * wanted):
        if len(placed) == wanted:
            break
        own = radius * rng.lognormal(sigma=0.15)
        center = rng.uniform((0, 0), shape)
        if placed and rng.random() < 0.6:
            neighbor, other = placed[rng.integers(len(placed))]
            angle = rng.uniform(0, 2 * np.pi)
            center = neighbor + (own + other) * rng.uniform(0.85, 1.0) * np.array([np.sin(angle), np.cos(angle)])
        gaps = [np.hypot(*(center - c)) / (own + r) for c, r in placed]
        if min(gaps, default=1) >= 0.84 and ((center >= 0) & (center < shape)).all():
            placed.append((center, own))
    return placed


def _paint(placed, rng: np.random.Generator, shape: tuple[int, int]):
    """How deep inside its nucleus each pixel lies (0 at the border, 1 in the middle), whose it is, and how bright."""
    depth, labels, light = np.zeros(shape), np.zeros(shape, np.uint16), np.zeros(shape)
    y, x = np.indices(shape)
    for number, (center, radius) in enumerate(placed, start=1):
        outline, brightness = _outline(rng, radius), rng.lognormal(sigma=0.3)
        # only the surroundings of the nucleus
        low, high = np.maximum(center - 2 * radius, 0).astype(int), (center + 2 * radius).astype(int) + 1
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        dy, dx = y[box] - center[0], x[box] - center[1]
        own = 1 - np.hypot(dy, dx) / outline(np.arctan2(dy, dx))
        deeper = own > depth[box]
        depth[box][deeper], labels[box][deeper], light[box][deeper] = own[deeper], number, brightness
    visible = np.unique(labels)[1:]  # one that its neighbors cover wholly is not counted
    return depth, np.searchsorted(visible, labels, side="right").astype(np.uint16), light


def _outline(rng: np.random.Generator, radius: float):
    """Radius in pixels as a function of the angle: an ellipse with two gentle dents or bulges."""
    stretch, turn = rng.uniform(1.0, 1.5), rng.uniform(0, np.pi)
    waves = [(k, rng.normal(0, 0.04), rng.uniform(0, 2 * np.pi)) for k in (3, 4)]

    def outline(angle: np.ndarray) -> np.ndarray:
        ellipse = radius / np.hypot(np.cos(angle - turn) / np.sqrt(stretch), np.sin(angle - turn) * np.sqrt(stretch))
        return ellipse * (1 + sum(size * np.cos(k * angle + phase) for k, size, phase in waves))

    return outline


def _expose(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the camera makes of it: chromatin, a blurred halo, uneven lighting, photons; uint8."""
    from scipy import ndimage  # here, so that the other bodies do without it

    grain = ndimage.gaussian_filter(rng.normal(size=light.shape), 2.0)
    light = light * np.exp(0.35 * grain / grain.std())
    haze = ndimage.gaussian_filter(light, 12)
    light = ndimage.gaussian_filter(light, rng.uniform(0.7, 1.4)) + 0.25 * haze + rng.uniform(0.02, 0.08)
    slope = rng.normal(0, 0.12, size=2)
    y, x = (np.linspace(-1, 1, n) for n in light.shape)
    light = light * np.exp(slope[0] * y[:, None] + slope[1] * x)
    photons = rng.poisson(rng.uniform(60, 300) * light) + rng.normal(0, 2.0, light.shape)
    return np.clip(255 * photons / np.percentile(photons, 99.8), 0, 255).astype(np.uint8)
