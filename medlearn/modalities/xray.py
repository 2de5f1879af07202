"""X-ray projection: attenuation along rays, the photons that arrive, scatter, noise, and angiography by subtraction.

A ray that crosses the attenuation μ loses photons by the law of Beer and Lambert, ``N = N₀ · exp(−∫μ ds)``. So a
radiograph shows the product of attenuation and thickness; where along the ray it lies is lost.

Volumes are (z, y, x) with the attenuation in 1/mm, for one photon energy. x runs to the patient's left, y to the back.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage, special

from .._jit import compiled
from ..errors import check_positive
from ._checks import check_array, check_not_negative, check_shape, check_spacing, check_spectrum
from ._rays import ONE

#: Photon energies in keV of the columns of `MU_PER_MM`.
ENERGIES_KEV = (40.0, 50.0, 60.0, 80.0, 100.0)

#: Attenuation in 1/mm at `ENERGIES_KEV`: mass attenuation coefficient times density (1.00 and 1.92 g/cm³). From J. H.
#: Hubbell, S. M. Seltzer, Tables of X-Ray Mass Attenuation Coefficients, NIST Standard Reference Database 126.
MU_PER_MM: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "water": tuple(0.1 * 1.00 * cm2_per_g for cm2_per_g in (0.2683, 0.2269, 0.2059, 0.1837, 0.1707)),
        "cortical_bone": tuple(0.1 * 1.92 * cm2_per_g for cm2_per_g in (0.6655, 0.4242, 0.3148, 0.2229, 0.1855)),
    }
)


def project(
    mu_per_mm: ArrayLike,
    *,
    spacing: Sequence[float],
    angle_deg: float = 0.0,
    source_to_center_mm: float = math.inf,
    center_to_detector_mm: float = 0.0,
    shape: Sequence[int] | None = None,
    pixel_mm: Sequence[float] | None = None,
) -> np.ndarray:
    """Line integrals ∫μ ds of a volume along the rays from a point source to the pixels of a flat detector.

    Parameters
    ----------
    mu_per_mm : array, (z, y, x)
        Attenuation in 1/mm; beyond the volume there is none. Given as the share of a material, 0 to 1, the result is
        its thickness in mm.
    spacing : (z, y, x)
        Distance between voxel centers in mm.
    angle_deg : float
        Source and detector turn about the z axis through the center of the volume. 0: rays run to +y, from front to
        back. 90: to +x. 180: from back to front.
    source_to_center_mm : float
        Distance of the source from the center of the volume; infinite for parallel rays. It must lie outside.
    center_to_detector_mm : float
        Distance of the detector behind the center, 0 or more. The center appears enlarged by
        ``1 + center_to_detector_mm / source_to_center_mm``, and what lies nearer to the source is enlarged more.
    shape : (rows, columns), optional
        Pixels of the detector; by default as many as the volume has along z and x.
    pixel_mm : (rows, columns), optional
        Distance between pixels in mm; by default that of voxels along z and x.

    Returns
    -------
    ndarray of float32, (rows, columns)
        Rows run along +z, as in the volume: flip them to see the head on top. Columns run along +x at angle 0 and
        along −x at 180: flip those to see the patient's left at the right, as radiographs are hung.

    Raises
    ------
    ValueError
        If an argument does not fit, or the detector is larger than its distance from the source.

    Notes
    -----
    Rays are sampled where they cross the planes of voxels that they are closest to being perpendicular to, with
    bilinear interpolation in each plane (P. M. Joseph, An improved algorithm for reprojecting rays through pixel
    images, IEEE Trans Med Imaging 1 (1982) 192-196).
    """
    volume = check_array("mu_per_mm", mu_per_mm, "z, y, x")
    spacing = check_spacing("spacing", spacing, "z, y, x")
    rows, columns = check_shape("shape", volume.shape[::2] if shape is None else shape, "rows, columns")
    pixel = check_spacing("pixel_mm", spacing[::2] if pixel_mm is None else pixel_mm, "rows, columns")
    check_not_negative("center_to_detector_mm", center_to_detector_mm, "mm")
    if not math.isfinite(angle_deg):
        raise ValueError(f"angle_deg must be a finite number of degrees; got {angle_deg!r}")
    half_width = math.hypot(*(n * h / 2 for n, h in zip(volume.shape[1:], spacing[1:], strict=True)))
    if not source_to_center_mm > half_width:
        raise ValueError(
            f"source_to_center_mm must be more than {half_width:.0f} mm, outside of the volume; "
            f"got {source_to_center_mm!r}"
        )
    distance = source_to_center_mm + center_to_detector_mm
    if max(rows * pixel[0], columns * pixel[1]) > distance:
        raise ValueError(
            f"a detector of {rows * pixel[0]:.0f} x {columns * pixel[1]:.0f} mm is larger than its distance from the "
            f"source, {distance:.0f} mm: move the source away, or give a smaller shape"
        )
    angle = math.radians(angle_deg)
    # One loop marches from plane to plane along y. Where rays run rather along x, x and y change their places.
    if abs(math.cos(angle)) >= abs(math.sin(angle)):
        planes, (hz, hy, hx) = volume.transpose(1, 0, 2), spacing
        right, ahead = (math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))  # (x, y)
    else:
        planes, (hz, hx, hy) = volume.transpose(2, 0, 1), spacing
        right, ahead = (-math.sin(angle), math.cos(angle)), (math.cos(angle), math.sin(angle))
    nearness = 1 / source_to_center_mm  # 0 for parallel rays: no special case below
    # Where each ray crosses the plane through the center that is parallel to the detector, in mm from the center.
    magnification = 1 + center_to_detector_mm * nearness
    u = (np.arange(columns) - (columns - 1) / 2) * pixel[1] / magnification
    v = (np.arange(rows) - (rows - 1) / 2) * pixel[0] / magnification
    dx, dy, dz = ahead[0] + u * nearness * right[0], ahead[1] + u * nearness * right[1], v[:, None] * nearness
    # The same as indices in plane 0, and their growth from plane to plane. The margin shifts them by 1.
    back = (len(planes) - 1) / 2 + u * right[1] / hy
    step_x, rise = dx / dy * hy / hx, nearness / dy * hy / hz
    first_x = u * right[0] / hx - back * step_x + (planes.shape[2] + 1) / 2
    scale_z = 1 / hz - back * rise
    picture = np.zeros((rows, columns), np.float32)
    margin = np.pad(planes, ((0, 0), (1, 2), (1, 2)))
    _march(margin, picture, v, *(a.astype(np.float32) for a in (first_x, step_x, scale_z, rise)))
    return picture * (hy * np.sqrt(dx**2 + dy**2 + dz**2) / np.abs(dy)).astype(np.float32)


@compiled
def _march(planes, picture, v, first_x, step_x, scale_z, rise):
    """Add to each pixel the planes (y, z, x) where its ray crosses them, linear between voxels.

    Planes have a margin of zeros, one voxel before and two behind, to which rays outside are clamped. Plane by plane,
    because one plane stays in the cache; float32 and unsigned indices are there for speed, as in `ct`.
    """
    n_planes, nz, nx = planes.shape
    last_z, last_x, middle = np.float32(nz - 2), np.float32(nx - 2), np.float32((nz - 2) / 2)
    for y in range(n_planes):
        plane = planes[y]
        for row in range(picture.shape[0]):
            height, pixels = np.float32(v[row]), picture[row]
            for column in range(picture.shape[1]):
                x = min(max(first_x[column] + np.float32(y) * step_x[column], np.float32(0)), last_x)
                z = middle + height * (scale_z[column] + np.float32(y) * rise[column])
                z = min(max(z, np.float32(0)), last_z)
                whole_x, whole_z = np.int32(x), np.int32(z)
                fx, fz = x - np.float32(whole_x), z - np.float32(whole_z)
                i, k = np.uint32(whole_x), np.uint32(whole_z)
                near = plane[k, i] + fx * (plane[k, i + ONE] - plane[k, i])
                far = plane[k + ONE, i] + fx * (plane[k + ONE, i + ONE] - plane[k + ONE, i])
                pixels[column] += near + fz * (far - near)


def transmission(line_integrals: ArrayLike) -> np.ndarray:
    """Share of the photons that arrive, ``exp(−∫μ ds)``, for photons of one energy (Beer-Lambert)."""
    return np.exp(-np.asarray(line_integrals))


def polyenergetic_transmission(thickness_mm: ArrayLike, mu_per_mm: ArrayLike, spectrum: ArrayLike) -> np.ndarray:
    """Share of the photons of a whole spectrum that arrive: ``Σ_E S(E) exp(−Σ_m μ_m(E) · L_m)``.

    Soft photons are lost first. What remains is harder and is attenuated less per mm: the beam hardens, and −ln of the
    transmission grows more slowly than the thickness.

    Parameters
    ----------
    thickness_mm : array, (materials, ...)
        How many mm of each material the ray to each pixel crosses (`project` of the material's share).
    mu_per_mm : array, (materials, energies)
        Attenuation in 1/mm of each material at each energy.
    spectrum : array, (energies,)
        Photons of each energy, on any scale. A detector that counts photons is assumed; for one that measures energy
        multiply the spectrum by the energies.

    Returns
    -------
    ndarray of float64, (...)

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    thickness = check_not_negative("thickness_mm", thickness_mm, "mm")
    if thickness.ndim == 0:
        raise ValueError("thickness_mm must have axes (materials, ...); got a single number")
    mu, share = check_spectrum(mu_per_mm, spectrum, len(thickness))
    arrived = np.zeros(thickness.shape[1:])
    for k in range(share.size):  # one energy at a time: no array of pixels times energies
        arrived += share[k] * np.exp(-np.tensordot(mu[:, k], thickness, axes=1))
    return arrived


def add_scatter(
    transmission: ArrayLike, *, scatter_to_primary: float, std_mm: float, pixel_mm: Sequence[float]
) -> np.ndarray:
    """Add the photons that the body scattered on their way: a wide blur of what was attenuated.

    The contrast of small things falls by ``1 / (1 + scatter_to_primary)``. An anti-scatter grid lowers that ratio.

    Parameters
    ----------
    transmission : array, (rows, columns)
        Share of the photons that arrive unscattered, 0 to 1; 1 is where there is no body.
    scatter_to_primary : float
        Scattered photons for each unscattered one behind the body, on average; 0 or more.
    std_mm : float
        Standard deviation of the Gaussian blur in mm.
    pixel_mm : (rows, columns)
        Distance between pixels in mm.

    Returns
    -------
    ndarray of float64, same shape

    Raises
    ------
    ValueError
        If an argument does not fit.

    Notes
    -----
    Scatter arises in proportion to ``p · exp(−p)``, with p = ∫μ ds: more matter scatters more, and lets less of it out.
    In a body its amount and width also depend on field, energy and distance; that a wide blur resembles it was found by
    L. A. Love, R. A. Kruger, Med Phys 14 (1987) 178-185, with exponential kernels.
    """
    primary = check_not_negative("transmission", check_array("transmission", transmission, "rows, columns", np.float64))
    if primary.max() > 1:
        raise ValueError(f"transmission must be a share of the photons, at most 1; got {primary.max():g}")
    check_not_negative("scatter_to_primary", scatter_to_primary)
    check_positive("std_mm", std_mm, "mm")
    pixel_mm = check_spacing("pixel_mm", pixel_mm, "rows, columns")
    source = special.entr(primary)  # −T ln T, 0 for T = 0
    if not source.any():
        return primary
    source *= scatter_to_primary * primary[primary < 1].sum() / source.sum()
    return primary + ndimage.gaussian_filter(source, [std_mm / h for h in pixel_mm], mode="nearest")


def expose(
    transmission: ArrayLike,
    *,
    photons: float,
    electronic_noise: float = 0.0,
    rng: np.random.Generator | int = 0,
) -> np.ndarray:
    """Count photons: Poisson noise, whose share of the signal falls with the square root of the dose.

    Parameters
    ----------
    transmission : array
        Expected share of the photons that arrive at each pixel, 0 or more (scatter may raise it above 1).
    photons : float
        Photons per pixel without a patient.
    electronic_noise : float
        Standard deviation of the Gaussian noise of the detector, in photons.
    rng : Generator or int
        Source of chance, or a seed.

    Returns
    -------
    ndarray of float64, same shape
        Counts; with electronic noise also below zero.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    expected = check_not_negative("transmission", transmission)
    check_positive("photons", photons)
    check_not_negative("electronic_noise", electronic_noise, "photons")
    rng = np.random.default_rng(rng)
    counts = rng.poisson(photons * expected).astype(float)
    if electronic_noise > 0:
        counts += rng.normal(0, electronic_noise, counts.shape)
    return counts


def attenuation_image(counts: ArrayLike, *, photons: float) -> np.ndarray:
    """The measured line integrals, ``−ln(counts / photons)``; counts below ½, which have no useful logarithm, become ½.

    Parameters
    ----------
    counts : array
        Photons that arrived; counts, not their share.
    photons : float
        Photons per pixel without a patient.

    Returns
    -------
    ndarray of float64, same shape
    """
    check_positive("photons", photons)
    return math.log(photons) - np.log(np.maximum(counts, 0.5))


def digital_subtraction(mask_counts: ArrayLike, filled_counts: ArrayLike) -> np.ndarray:
    """Angiography: the difference of the logarithms of two exposures, before and after contrast agent was injected.

    All that is the same in both cancels, however it overlaps; ∫μ ds of the contrast agent alone is left. If the patient
    moves in between, edges do not cancel; and the noise of both exposures adds.

    Parameters
    ----------
    mask_counts, filled_counts : arrays of one shape
        Photons that arrived (counts, not their share) without and with contrast agent. Counts below ½ become ½.

    Returns
    -------
    ndarray of float64, same shape

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if np.shape(mask_counts) != np.shape(filled_counts):
        raise ValueError(
            f"mask_counts and filled_counts must have one shape; got {np.shape(mask_counts)} and "
            f"{np.shape(filled_counts)}"
        )
    return np.log(np.maximum(mask_counts, 0.5)) - np.log(np.maximum(filled_counts, 0.5))
