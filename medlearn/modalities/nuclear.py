"""Nuclear medicine: where a tracer went. The γ camera, SPECT, PET, and reconstruction from few counts.

The patient is the source. What limits the picture is not the pixel but the hole of a collimator, the width of a
crystal, the way of a positron, and the number of photons that arrive; each is a function here, so that a resolution is
computed and not chosen.

Slices are (rows, columns), volumes (z, y, x) with x to the patient's left and y to the back. Angles are those of `ct`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage, sparse

from ..errors import check_positive
from . import ct
from ._checks import check_above_zero, check_array, check_count, check_not_negative, check_shape, check_spacing

FWHM = 2 * math.sqrt(2 * math.log(2))  #: full width at half maximum of a Gaussian, in standard deviations
WATER_511_PER_MM = 0.0096  #: attenuation of water at 511 keV, in 1/mm
LEAD_140_PER_MM = 2.7  #: attenuation of lead at 140 keV, in 1/mm, about

#: Energies of positrons in MeV, mean and largest: typical values of decay tables.
POSITRON_MEV = {
    "carbon-11": (0.386, 0.960),
    "fluorine-18": (0.250, 0.634),
    "oxygen-15": (0.735, 1.732),
    "gallium-68": (0.836, 1.899),
    "rubidium-82": (1.535, 3.378),
}

# ---- What limits the resolution


def collimator_resolution_mm(
    distance_mm: ArrayLike, *, hole_mm: float, length_mm: float, septa_per_mm: float = LEAD_140_PER_MM
) -> np.ndarray:
    """Full width of the picture of a point at some distance from a collimator with parallel holes.

    A hole of diameter d and length l sees a cone: R = d · (l' + z) / l'. Rays also pass the ends of the walls, so the
    effective length is l' = l − 2/μ.

    Parameters
    ----------
    distance_mm : array
        From the face of the collimator, 0 or more, in mm.
    hole_mm, length_mm : float
        Diameter and length of the holes in mm.
    septa_per_mm : float
        Attenuation of the walls in 1/mm; infinite for walls that let nothing through.

    Returns
    -------
    ndarray of float64, in mm

    Raises
    ------
    ValueError
        If an argument is out of range, or the holes are shorter than what the rays pass through.

    References
    ----------
    H. O. Anger, Scintillation camera with multichannel collimators, J. Nucl. Med. 5 (1964) 515-531.
    """
    distance = check_not_negative("distance_mm", distance_mm, "mm")
    check_positive("hole_mm", hole_mm, "mm")
    check_above_zero("septa_per_mm", min(septa_per_mm, 1e12), "1/mm")
    effective = length_mm - 2 / septa_per_mm
    if not effective > 0:
        raise ValueError(f"length_mm must be more than 2 / septa_per_mm = {2 / septa_per_mm:.3g} mm; got {length_mm}")
    return hole_mm * (effective + distance) / effective


def collimator_efficiency(*, hole_mm: float, length_mm: float, septum_mm: float) -> float:
    """Share of the γ-rays of a point, sent in all directions, that pass parallel hexagonal holes.

    (K · d/l · d/(d + t))² with K = 0.26: it does not depend on the distance, for what a hole loses, more holes gain.

    Parameters
    ----------
    hole_mm, length_mm, septum_mm : float
        Width and length of the holes, thickness of the walls between them, in mm.
    """
    for name, value in (("hole_mm", hole_mm), ("length_mm", length_mm)):
        check_positive(name, value, "mm")
    check_not_negative("septum_mm", septum_mm, "mm")
    return (0.26 * hole_mm / length_mm * hole_mm / (hole_mm + septum_mm)) ** 2


def electron_range_mm(energy_mev: ArrayLike) -> np.ndarray:
    """How far electrons and positrons get in water, in mm: 4.12 · E^(1.265 − 0.0954 ln E), E in MeV.

    With the mean energy of a nuclide (`POSITRON_MEV`) it is about as far as a positron gets on average.

    Parameters
    ----------
    energy_mev : array
        0.01 to 2.5 MeV, for which the formula was made.

    References
    ----------
    L. Katz, A. S. Penfold, Range-energy relations for electrons, Rev. Mod. Phys. 24 (1952) 28-44,
    doi:10.1103/RevModPhys.24.28.
    """
    energy = check_above_zero("energy_mev", energy_mev, "MeV")
    return 4.12 * energy ** (1.265 - 0.0954 * np.log(energy))


def coincidence_resolution_mm(*, crystal_mm: float, ring_mm: float, range_mm: float = 0.0) -> float:
    """Full width of a point in the middle of a PET ring: three causes, added as squares.

    Half the width of a crystal; the angle between the two photons, which is 180° but for about half a degree, so that
    the line misses by 0.0022 · D; and the way of the positron before it meets an electron.

    Parameters
    ----------
    crystal_mm, ring_mm : float
        Width of the crystals and diameter of the ring in mm.
    range_mm : float
        Way of the positron in mm, such as ``electron_range_mm(POSITRON_MEV["fluorine-18"][0])``. To take it as a width
        is a rough estimate: the distribution has a sharp peak and long tails.

    References
    ----------
    C. S. Levin, E. J. Hoffman, Calculation of positron range and its effect on the fundamental limit of positron
    emission tomography system spatial resolution, Phys. Med. Biol. 44 (1999) 781-799, doi:10.1088/0031-9155/44/3/019.
    """
    for name, value in (("crystal_mm", crystal_mm), ("ring_mm", ring_mm)):
        check_positive(name, value, "mm")
    check_not_negative("range_mm", range_mm, "mm")
    return math.hypot(crystal_mm / 2, 0.0022 * ring_mm, range_mm)


# ---- Measuring


def planar_view(
    activity: ArrayLike,
    *,
    spacing: Sequence[float],
    mu_per_mm: ArrayLike | None = None,
    distance_mm: float = 50.0,
    hole_mm: float = 1.5,
    length_mm: float = 25.0,
    intrinsic_mm: float = 3.5,
) -> np.ndarray:
    """What a γ camera in front of the body sees, as expected counts.

    Every plane is weakened by what lies between it and the camera, and blurred the more, the farther away it is.

    Parameters
    ----------
    activity : array, (z, y, x)
        γ-rays emitted in each voxel toward the camera, on any scale.
    spacing : (z, y, x)
        In mm.
    mu_per_mm : array, (z, y, x), optional
        Attenuation of the γ-rays in 1/mm; none if not given.
    distance_mm : float
        From the face of the collimator to the first plane, y = 0.
    hole_mm, length_mm : float
        Of the collimator; see `collimator_resolution_mm`.
    intrinsic_mm : float
        Full width of a point in the crystal itself; added as a square.

    Returns
    -------
    ndarray of float64, (z, x)
        Its sum is that of the γ-rays that leave the body.
    """
    activity = check_array("activity", activity, "z, y, x", np.float64)
    check_not_negative("activity", activity)
    hz, hy, hx = check_spacing("spacing", spacing, "z, y, x")
    left = activity if mu_per_mm is None else activity * _escape(_same_shape(mu_per_mm, activity, "z, y, x"), hy, 1)
    depth = check_not_negative("distance_mm", distance_mm, "mm") + hy * np.arange(activity.shape[1])
    widths = np.hypot(collimator_resolution_mm(depth, hole_mm=hole_mm, length_mm=length_mm), intrinsic_mm) / FWHM
    view = np.zeros((activity.shape[0], activity.shape[2]))
    for plane, width in zip(left.transpose(1, 0, 2), widths, strict=True):
        view += ndimage.gaussian_filter(plane, (width / hz, width / hx), mode="constant")
    return view


def spect_sinogram(
    activity: ArrayLike,
    angles_deg: ArrayLike,
    *,
    pixel_mm: float,
    mu_per_mm: ArrayLike | None = None,
    orbit_mm: float = 200.0,
    hole_mm: float = 1.5,
    length_mm: float = 25.0,
    intrinsic_mm: float = 3.5,
) -> np.ndarray:
    """SPECT: a γ camera that walks around a slice; expected counts of each view.

    Parameters
    ----------
    activity : array, (rows, columns)
        Square picture, emitted γ-rays on any scale.
    angles_deg : array, (views,)
        As for `ct.emission_radon`: at 0 the camera is below the picture. Use the whole turn.
    pixel_mm : float
        In mm; also the distance of detector elements.
    mu_per_mm : array, (rows, columns), optional
        Attenuation in 1/mm.
    orbit_mm : float
        Distance of the collimator's face from the center.
    hole_mm, length_mm, intrinsic_mm : float
        As for `planar_view`.

    Returns
    -------
    ndarray of float64, (views, detectors)
        As many detectors as `ct.radon` has by default.
    """
    activity = check_array("activity", activity, "rows, columns", np.float64)
    check_positive("pixel_mm", pixel_mm, "mm")
    n = activity.shape[0]
    if activity.shape[1] != n:
        raise ValueError(f"activity must be square, to be turned; got shape {activity.shape}")
    if not orbit_mm >= n * pixel_mm / 2:
        raise ValueError(f"orbit_mm must leave room for the picture, {n * pixel_mm / 2:.0f} mm or more; got {orbit_mm}")
    mu = None if mu_per_mm is None else _same_shape(mu_per_mm, activity, "rows, columns")
    n_detectors = _n_detectors(activity.shape)
    before, after = (n_detectors - n) // 2, n_detectors - n - (n_detectors - n) // 2
    activity, mu = (None if a is None else np.pad(a, (before, after)) for a in (activity, mu))  # room for the corners
    n = n_detectors
    depth = np.maximum(orbit_mm - (np.arange(n) - (n - 1) / 2) * pixel_mm, 0)  # of each row when the camera is below
    widths = np.hypot(collimator_resolution_mm(depth, hole_mm=hole_mm, length_mm=length_mm), intrinsic_mm)
    views = []
    for angle in np.atleast_1d(angles_deg):
        turned = _turn(activity, angle)
        if mu is not None:
            turned = turned * _escape(_turn(mu, angle)[::-1], pixel_mm, 0)[::-1]
        rows = [
            ndimage.gaussian_filter1d(row, width / FWHM / pixel_mm, mode="constant")
            for row, width in zip(turned, widths, strict=True)
            if row.any()
        ]
        views.append(np.sum(rows, axis=0) * pixel_mm if rows else np.zeros(n))
    return np.stack(views)


def survival(mu_per_mm: ArrayLike, angles_deg: ArrayLike, *, pixel_mm: float) -> np.ndarray:
    """Share of the photon pairs that get out of the body along each line of response, (views, detectors).

    One photon crosses what lies on one side of the point, its partner the rest: together always the whole line,
    e^(−∫μ ds), wherever the point is. So PET can be corrected exactly, by dividing.

    Parameters
    ----------
    mu_per_mm : array, (rows, columns)
        Attenuation at 511 keV in 1/mm; `mu_at_511` makes it from a CT.
    angles_deg, pixel_mm
        As for `ct.radon`.
    """
    check_not_negative("mu_per_mm", mu_per_mm, "1/mm")
    return np.exp(-ct.radon(mu_per_mm, angles_deg, pixel_mm=pixel_mm).astype(np.float64))


def pet_sinogram(
    activity: ArrayLike,
    angles_deg: ArrayLike,
    *,
    pixel_mm: float,
    resolution_mm: float,
    mu_per_mm: ArrayLike | None = None,
    randoms: float = 0.0,
) -> np.ndarray:
    """PET: expected coincidences on each line of response through a slice.

    Parameters
    ----------
    activity : array, (rows, columns)
        Photon pairs emitted, on any scale.
    angles_deg : array, (views,)
        0 to 180 (excluded) see everything once.
    pixel_mm : float
        In mm.
    resolution_mm : float
        Full width of a point, as `coincidence_resolution_mm` gives it.
    mu_per_mm : array, (rows, columns), optional
        Attenuation at 511 keV in 1/mm.
    randoms : float
        Pairs that do not belong together, as a share of those that do; spread evenly over all lines.

    Returns
    -------
    ndarray of float64, (views, detectors)
    """
    check_not_negative("activity", activity)
    check_not_negative("resolution_mm", resolution_mm, "mm")
    check_not_negative("randoms", randoms)
    lines = ct.radon(activity, angles_deg, pixel_mm=pixel_mm).astype(np.float64)
    if resolution_mm:
        lines = ndimage.gaussian_filter1d(lines, resolution_mm / FWHM / pixel_mm, axis=1, mode="constant")
    if mu_per_mm is not None:
        lines = lines * survival(_same_shape(mu_per_mm, activity, "rows, columns"), angles_deg, pixel_mm=pixel_mm)
    return lines + randoms * lines.mean()


def count(expected: ArrayLike, *, total: float, rng: np.random.Generator | int = 0) -> np.ndarray:
    """Scale expected counts to a sum of about `total` and draw: every element is Poisson distributed.

    Parameters
    ----------
    expected : array
        0 or more, on any scale.
    total : float
        How many counts are expected altogether.
    rng : Generator or int

    Returns
    -------
    ndarray of int64, same shape
    """
    expected = check_not_negative("expected", expected)
    check_positive("total", total, "counts")
    if not expected.sum():
        raise ValueError("expected must not be 0 everywhere: nothing would be counted")
    return np.random.default_rng(rng).poisson(expected * (total / expected.sum()))


def mu_at_511(hu: ArrayLike) -> np.ndarray:
    """Attenuation at 511 keV in 1/mm from a CT at 120 kV: what makes PET/CT more than two pictures.

    Up to 47 HU as a mixture of air and water, beyond it of water and bone, whose calcium counts less at 511 keV.

    References
    ----------
    J. P. J. Carney et al., Method for transforming CT images for attenuation correction in PET/CT imaging, Med. Phys.
    33 (2006) 976-983, doi:10.1118/1.2174132.
    """
    hu = np.asarray(hu, np.float64)
    per_mm = np.where(hu <= 47, 9.6e-6 * (hu + 1000), 5.10e-6 * (hu + 1000) + 4.71e-3)
    return np.maximum(per_mm, 0).astype(np.float32)


# ---- Reconstruction


def system_matrix(angles_deg: ArrayLike, *, shape: Sequence[int], pixel_mm: float = 1.0) -> sparse.csr_array:
    """How much each pixel of a slice contributes to each line of response, as a sparse matrix.

    Every pixel is shared between the two detectors next to the projection of its center. Its transpose is the exact
    back-projection, which `mlem` relies on.

    Parameters
    ----------
    angles_deg : array, (views,)
    shape : (rows, columns)
    pixel_mm : float
        Size of the pixels and distance of detectors in mm.

    Returns
    -------
    csr_array, (views · detectors, rows · columns)
        With as many detectors as `ct.radon` has by default.
    """
    shape = check_shape("shape", shape, "rows, columns")
    check_positive("pixel_mm", pixel_mm, "mm")
    angles = tuple(float(a) for a in np.atleast_1d(angles_deg))
    return _system_matrix(angles, shape, float(pixel_mm))


@lru_cache(maxsize=4)
def _system_matrix(angles: tuple[float, ...], shape: tuple[int, int], pixel_mm: float) -> sparse.csr_array:
    n_detectors = _n_detectors(shape)
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    pixels = np.arange(shape[0] * shape[1])
    rows, columns, weights = [], [], []
    for view, angle in enumerate(np.radians(angles)):
        place = (x * np.cos(angle) - y[:, None] * np.sin(angle)).ravel() + (n_detectors - 1) / 2
        left = np.floor(place).astype(int)
        share = place - left
        for detector, weight in ((left, 1 - share), (left + 1, share)):
            inside = (detector >= 0) & (detector < n_detectors) & (weight > 0)
            rows.append(view * n_detectors + detector[inside])
            columns.append(pixels[inside])
            weights.append(pixel_mm * weight[inside])
    entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(entries, shape=(len(angles) * n_detectors, pixels.size))


def mlem(
    counts: ArrayLike,
    angles_deg: ArrayLike,
    *,
    shape: Sequence[int],
    pixel_mm: float = 1.0,
    n_iterations: int = 20,
    survival: ArrayLike | None = None,
    randoms: ArrayLike | float = 0.0,
    n_subsets: int = 1,
) -> np.ndarray:
    """Maximum-likelihood expectation maximization: the slice that explains Poisson counts best, step by step.

    x ← x / Aᵀ1 · Aᵀ(y / (Ax + r)): project, compare with what was counted, back-project the ratio. Nothing becomes
    negative, and with r = 0 every iteration explains exactly as many counts as there are. More iterations fit the noise
    as well: stop early, or smooth.

    Parameters
    ----------
    counts : array, (views, detectors)
        As many detectors as `ct.radon` has by default.
    angles_deg : array, (views,)
    shape : (rows, columns)
        Of the slice.
    pixel_mm : float
    n_iterations : int
    survival : array, (views, detectors), optional
        Share of the photons that leave the body along each line: attenuation becomes part of A.
    randoms : array or float
        Counts r that are expected on each line without any activity.
    n_subsets : int
        Views are used in turns, every n-th together (OSEM): about as many times faster, and no longer sure to converge.

    Returns
    -------
    ndarray of float64, (rows, columns)

    Raises
    ------
    ValueError
        If an argument does not fit.

    References
    ----------
    L. A. Shepp, Y. Vardi, Maximum likelihood reconstruction for emission tomography, IEEE Trans. Med. Imaging 1 (1982)
    113-122, doi:10.1109/TMI.1982.4307558. Subsets: H. M. Hudson, R. S. Larkin, IEEE Trans. Med. Imaging 13 (1994)
    601-609, doi:10.1109/42.363108.
    """
    counts = check_array("counts", counts, "views, detectors", np.float64)
    check_not_negative("counts", counts)
    system = system_matrix(angles_deg, shape=shape, pixel_mm=pixel_mm)
    n_views = np.atleast_1d(angles_deg).size
    if counts.size != system.shape[0] or len(counts) != n_views:
        wanted = (n_views, system.shape[0] // n_views)
        raise ValueError(f"counts must have shape {wanted} for these angles and this slice; got {counts.shape}")
    weights = np.ones_like(counts) if survival is None else _same_shape(survival, counts, "views, detectors")
    background = np.broadcast_to(check_not_negative("randoms", randoms), counts.shape)
    if not 1 <= check_count("n_subsets", n_subsets) <= n_views:
        raise ValueError(f"n_subsets must be 1 to {n_views}, the number of views; got {n_subsets}")

    lines = np.arange(counts.size).reshape(counts.shape)
    parts = []
    for first in range(n_subsets):
        own = lines[first::n_subsets].ravel()
        matrix = sparse.csr_array(system[own].multiply(weights.ravel()[own, None]))
        sensitivity = matrix.T @ np.ones(len(own))
        parts.append((matrix, sensitivity, counts.ravel()[own], background.ravel()[own]))
    image = np.ones(system.shape[1])
    for _ in range(check_count("n_iterations", n_iterations)):
        for matrix, sensitivity, measured, extra in parts:
            expected = matrix @ image + extra
            ratio = np.divide(measured, expected, out=np.zeros_like(measured), where=expected > 0)
            image *= np.divide(matrix.T @ ratio, sensitivity, out=np.zeros_like(image), where=sensitivity > 0)
    return image.reshape(tuple(shape))


def poisson_log_likelihood(counts: ArrayLike, expected: ArrayLike) -> float:
    """How well expected counts explain measured ones: Σ y log λ − λ, without the term that depends on y alone."""
    counts, expected = check_not_negative("counts", counts), check_not_negative("expected", expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(counts > 0, counts * np.log(expected), 0.0)
    return float((logs - expected).sum())


# ---- Helpers


def _same_shape(array: ArrayLike, reference: ArrayLike, axes: str) -> np.ndarray:
    array = check_array("mu_per_mm", array, axes, np.float64)
    if array.shape != np.shape(reference):
        raise ValueError(f"the arrays must have one shape, ({axes}); got {np.shape(reference)} and {array.shape}")
    return check_not_negative("mu_per_mm", array, "1/mm")


def _n_detectors(shape: tuple[int, int]) -> int:
    """As many as `ct.radon` has by default."""
    return ct._n_detectors(None, shape)


def _escape(mu: np.ndarray, step_mm: float, axis: int) -> np.ndarray:
    """Share of the γ-rays that get out toward index 0 of `axis`, from the middle of each voxel."""
    return np.exp(-step_mm * (np.cumsum(mu, axis=axis) - mu / 2))


def _turn(picture: np.ndarray, angle_deg: float) -> np.ndarray:
    """The picture as the camera at this angle has it below: its column is the detector of `ct.radon`."""
    angle, middle = np.radians(angle_deg), (np.array(picture.shape) - 1) / 2
    # (row, column) of the turned picture → (y, x): columns along (-sin, cos), rows along the rays (cos, sin)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ndimage.affine_transform(picture, matrix, middle - matrix @ middle, order=1)
