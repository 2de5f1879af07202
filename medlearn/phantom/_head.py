"""A head for functional measurements: tissues, places that answer to a task, and the currents in them.

Coordinates are LPS in mm with the origin in the middle of the head: x to the left, y to the back, z to the crown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ..errors import check_choice
from ..volume import Case, Volume
from ._canvas import check_grid, check_seed
from ._mri import Tissue, spin_echo
from ._shapes import smooth_noise
from ._tissue import CT_KEV, _attenuation

SHAPE = (72, 88, 72)
SPACING = (2.5, 2.5, 2.5)
TR_MS, TE_MS = 400.0, 10.0  # of the image: T1-weighted
RELATIVE_RADII = {"scalp": 1.0, "skull": 0.94, "csf": 0.86, "brain": 0.84}  # of the outer surface


@dataclass(frozen=True)
class HeadTissue(Tissue):
    """What MRI, X-rays and a tracer see of a tissue of the head: typical values, right in order of magnitude.

    Attributes
    ----------
    hu : float
        Hounsfield units.
    uptake : float
        Concentration of a sugar-like tracer relative to white matter.
    """

    hu: float = 0.0
    uptake: float = 0.0


#: Tissues of the head by name; T1, T2 at 1.5 T and proton density, then Hounsfield units and uptake.
HEAD_TISSUES: Mapping[str, HeadTissue] = MappingProxyType(
    {
        "air": HeadTissue(0, 1, 1, 0.0, hu=-1000),
        "scalp": HeadTissue(1, 350, 70, 0.85, hu=-20, uptake=0.4),
        "skull": HeadTissue(2, 500, 2, 0.10, hu=900, uptake=0.3),
        "csf": HeadTissue(3, 3500, 1500, 1.00, hu=8, uptake=0.1),
        "gray_matter": HeadTissue(4, 950, 95, 0.84, hu=38, uptake=4.0),
        "white_matter": HeadTissue(5, 600, 75, 0.70, hu=29, uptake=1.0),
    }
)


@dataclass(frozen=True)
class ActiveSite:
    """A place in the cortex that answers to a task.

    Attributes
    ----------
    name : str
    label : int
        In the mask of `head`.
    center_mm : (x, y, z)
    radius_mm : float
    amplitude_percent : float
        By how much the blood of the place changes the MR signal.
    moment_nam : (x, y, z)
        Current dipole of the place, in nA·m.
    """

    name: str
    label: int
    center_mm: tuple[float, float, float]
    radius_mm: float
    amplitude_percent: float
    moment_nam: tuple[float, float, float]


# name: where about, and whether its current points outward or along the surface
_SITES = {"left hand": ((-42, 8, 52), "along"), "sight": ((6, 72, 8), "outward"), "hearing": ((58, 12, 2), "along")}


def head(seed: int = 0, *, shape=SHAPE, spacing=SPACING) -> Case:
    """Make a T1-weighted image of a head, with the places that answer to a task as mask.

    Parameters
    ----------
    seed : int
        The same seed gives the same head.
    shape : tuple of 3 ints
        Number of voxels (z, y, x), at least (1, 16, 16).
    spacing : tuple of 3 floats
        (z, y, x) in mm; the grid is centered at the head.

    Returns
    -------
    Case
        Image float32 without noise, 1 for water at rest; mask uint8 with the labels of `head_sites`.

    Raises
    ------
    ValueError
        If seed, shape or spacing are out of range.

    Examples
    --------
    >>> case = head(0, shape=(36, 44, 36), spacing=(5, 5, 5))
    >>> case.id, sorted({int(label) for label in np.unique(case.mask.array)})
    ('head-0000', [0, 1, 2, 3])
    """
    anatomy = head_anatomy(seed, shape=shape, spacing=spacing)
    signal = np.zeros(len(HEAD_TISSUES), np.float32)
    for tissue in HEAD_TISSUES.values():
        signal[tissue.label] = spin_echo(tissue, TR_MS, TE_MS)
    mask = np.zeros(anatomy.shape, np.uint8)
    for site in head_sites(seed):
        mask[_share(anatomy, site) > 0.5] = site.label
    return Case(f"head-{seed:04d}", anatomy.map(lambda labels: signal[labels]), anatomy.map(lambda _: mask))


def head_anatomy(seed: int = 0, *, shape=SHAPE, spacing=SPACING) -> Volume:
    """Label map of the tissues of ``head(seed)``: scalp, skull, fluid, folded gray matter, white matter, ventricles.

    Parameters
    ----------
    seed, shape, spacing
        As for `head`.

    Returns
    -------
    Volume of uint8
        Labels of `HEAD_TISSUES`.
    """
    check_seed(seed)
    shape, spacing = check_grid(shape, spacing)
    axes = [(np.arange(n) - (n - 1) / 2) * h for n, h in zip(shape, spacing, strict=True)]
    z, y, x = axes[0][:, None, None], axes[1][:, None], axes[2]
    radii, rng = _radii(seed)
    depth = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
    labels = np.zeros(shape, np.uint8)
    for name in ("scalp", "skull", "csf"):
        labels[depth < RELATIVE_RADII[name]] = HEAD_TISSUES[name].label

    # the cortex: a ribbon below the surface, and along both walls of the furrows that cut into it
    inside = (RELATIVE_RADII["brain"] - depth) * np.mean(radii)  # mm below the surface of the brain
    field = smooth_noise(rng, axes, (7.0, 7.0, 7.0), extent=266.0)
    steep = [np.gradient(field, h, axis=axis) for axis, h in enumerate(spacing) if shape[axis] > 1]
    slope = np.sqrt(sum(g**2 for g in steep)) + 1e-3
    furrow = np.where(inside < 24, np.abs(field) / slope, np.inf)  # mm from the middle of a furrow
    gap = np.where((z > -20) & (inside < 40), np.abs(x) - 0.5, np.inf)  # and from the gap between the hemispheres
    furrow = np.minimum(furrow, gap)
    brain = inside > 0
    labels[brain] = HEAD_TISSUES["white_matter"].label
    labels[brain & ((inside < 3.5) | (furrow < 3.5))] = HEAD_TISSUES["gray_matter"].label
    labels[brain & (furrow < 0.9)] = HEAD_TISSUES["csf"].label
    for side in (-1, 1):
        nucleus = ((x - 14 * side) / 9) ** 2 + ((y - 8) / 15) ** 2 + ((z + 2) / 9) ** 2
        labels[brain & (nucleus < 1)] = HEAD_TISSUES["gray_matter"].label
        horn = ((x - 11 * side) / 5) ** 2 + (y / 30) ** 2 + ((z - 14 + (y / 25) ** 2 * 6) / 7) ** 2
        labels[brain & (horn < 1)] = HEAD_TISSUES["csf"].label
    return Volume(
        array=labels, spacing=spacing, origin=(axes[2][0], axes[1][0], axes[0][0]), direction=np.eye(3), axes="zyx"
    )


def head_sites(seed: int = 0) -> list[ActiveSite]:
    """Places in the cortex of ``head(seed)`` that answer to a task: the left hand moved, something seen and heard.

    The hand's place lies on the other side of the brain.
    """
    check_seed(seed)
    radii, _ = _radii(seed)
    rng = np.random.default_rng([seed, 3])
    sites = []
    for label, (name, (place, direction)) in enumerate(_SITES.items(), start=1):
        outward = np.array(place, float) + rng.normal(0, 4, 3)
        scale = np.sqrt(np.sum((outward / radii) ** 2))
        center = outward / scale * (RELATIVE_RADII["brain"] - rng.uniform(4, 8) / np.mean(radii))
        normal = center / radii**2
        normal /= np.linalg.norm(normal)
        along = np.cross(normal, [0.0, 0.0, 1.0])
        moment = rng.uniform(15, 30) * (normal if direction == "outward" else along / np.linalg.norm(along))
        radius, amplitude = rng.uniform(7, 10), rng.uniform(2, 4)
        sites.append(ActiveSite(name, label, tuple(center.tolist()), radius, amplitude, tuple(moment.tolist())))
    return sites


def head_activation(anatomy: Volume, sites: list[ActiveSite]) -> Volume:
    """By how many per cent the signal of each voxel rises when all `sites` are active; float32, gray matter only."""
    percent = sum(site.amplitude_percent * _share(anatomy, site) for site in sites)
    return anatomy.map(lambda _: np.asarray(percent, np.float32))


def head_map(anatomy: Volume, name: str, *, energy_kev: float = CT_KEV) -> Volume:
    """One property of the tissue in each voxel of `head_anatomy`; float32.

    Parameters
    ----------
    anatomy : Volume
    name : {"t1_ms", "t2_ms", "proton_density", "hu", "uptake", "attenuation"}
        Attenuation in 1/mm at `energy_kev`, as `tissue_map` computes it.
    energy_kev : float
    """
    names = ("t1_ms", "t2_ms", "proton_density", "hu", "uptake", "attenuation")
    check_choice("name", name, names)
    column = np.zeros(len(HEAD_TISSUES), np.float32)
    for tissue in HEAD_TISSUES.values():
        column[tissue.label] = _attenuation(tissue.hu, energy_kev) if name == "attenuation" else getattr(tissue, name)
    return anatomy.map(lambda labels: column[labels])


def _radii(seed: int) -> tuple[np.ndarray, np.random.Generator]:
    """Half axes (x, y, z) of the outer surface in mm, and the generator of what is drawn after them."""
    rng = np.random.default_rng([seed, 2])
    return np.array([78.0, 97.0, 90.0]) * rng.normal(1, 0.02, 3), rng


def _share(anatomy: Volume, site: ActiveSite) -> np.ndarray:
    """How much each voxel belongs to a site: 1 in its middle, 0 outside of gray matter and far away."""
    gray = np.argwhere(anatomy.array == HEAD_TISSUES["gray_matter"].label)
    share = np.zeros(anatomy.shape)
    if len(gray):
        world = gray @ np.diag(anatomy.spacing) + np.array(anatomy.origin)[::-1]  # z, y, x
        distance = np.linalg.norm(world - np.array(site.center_mm)[::-1], axis=1)
        share[tuple(gray.T)] = np.exp(-np.log(2) * (distance / site.radius_mm) ** 4)
        share[share < 0.01] = 0
    return share
