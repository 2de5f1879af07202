"""Pictures with light: fundus camera, optical coherence tomography (OCT), fluorescence microscope, endoscope.

How fine each of them sees follows from its light: from the wavelength and the width of the pupil or lens (fundus,
microscope), from the bandwidth of the source (OCT, along depth), from the distance of the fibers or pixels (endoscope).

Pictures are (rows, columns) or (rows, columns, colors) with linear intensities, not the gamma-coded ones of files.

Sources: J. W. Goodman, Introduction to Fourier Optics (transfer functions); W. Drexler, J. G. Fujimoto (eds), Optical
Coherence Tomography: Technology and Applications, Springer 2008; J. F. Blinn, Models of light reflection for computer
synthesized pictures, SIGGRAPH 1977 (highlights).
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft, ndimage, special

from .._jit import compiled
from ..errors import check_positive
from ._checks import check_above_zero, check_array, check_not_negative, check_shape

#: Distance in mm on the retina for one radian outside of the eye: from the nodal point to the retina in a simple eye.
EYE_MM = 17.0


# ---- Sharpness of a lens, and counting of photons


def lens_mtf(frequency: ArrayLike, cutoff: float) -> np.ndarray:
    """Contrast that a perfect round lens leaves to stripes of a spatial frequency (incoherent light).

    ``2/π · (arccos s − s √(1 − s²))`` with ``s = frequency / cutoff``: 1 for a plain field, 0 from the cutoff on. The
    cutoff is ``pupil / wavelength`` in cycles per radian, or ``2 NA / wavelength`` in cycles per length.
    """
    check_positive("cutoff", cutoff)
    s = np.minimum(np.abs(np.asarray(frequency, float)) / cutoff, 1)
    return 2 / math.pi * (np.arccos(s) - s * np.sqrt(1 - s**2))


def _frequencies(shape: tuple[int, ...], pixel: float) -> np.ndarray:
    """Length of the frequency vector of each term of `_filter`, in cycles per unit of `pixel`."""
    down, across = (np.arange(n) / (2 * n * pixel) for n in shape[:2])
    return np.hypot(down[:, None], across)


def _filter(picture: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """The picture with its frequencies weighted. Cosines continue it beyond its edges as a mirror does."""
    weights = transfer.reshape(*transfer.shape, *[1] * (picture.ndim - 2))
    filtered = fft.idctn(fft.dctn(picture, axes=(0, 1)) * weights, axes=(0, 1))
    return np.maximum(filtered, 0)  # light: what rounding leaves below 0 is 0


def count_photons(expected: ArrayLike, *, read_noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Counts of a sensor: Poisson numbers of photons, plus the normal noise of reading them out.

    Parameters
    ----------
    expected : array
        Expected photons of each pixel, 0 or more.
    read_noise : float
        Standard deviation in photons, 0 or more.
    seed : int

    Returns
    -------
    ndarray of float64, same shape
        Read noise can make it negative.
    """
    expected, rng = check_not_negative("expected", expected, "photons"), np.random.default_rng(seed)
    check_not_negative("read_noise", read_noise, "photons")
    counts = rng.poisson(expected).astype(float)
    return counts + rng.normal(0, read_noise, counts.shape) if read_noise else counts


def _check_picture(name: str, picture: ArrayLike) -> np.ndarray:
    """Gray or color picture as float64, 0 or more."""
    axes = "rows, columns" if np.ndim(picture) == 2 else "rows, columns, colors"
    return check_not_negative(name, check_array(name, picture, axes, float))


# ---- Fundus camera


def fundus(
    reflectance: ArrayLike,
    *,
    pixel_um: float,
    pupil_mm: float = 3.0,
    defocus_diopters: float = 0.0,
    wavelength_nm: float = 550.0,
    photons: float = 1000.0,
    seed: int = 0,
) -> np.ndarray:
    """Picture of the retina through the pupil of the eye.

    A wide pupil lets more light through, and less diffraction; but what is out of focus becomes a disk as wide as
    ``pupil · defocus``. The blur of diffraction and that of the disk are multiplied, as if they were independent; the
    aberrations of a real eye are left out.

    Parameters
    ----------
    reflectance : array, (rows, columns) or (rows, columns, colors)
        What the retina sends back, 0 to 1, linear.
    pixel_um : float
        Size of the pixels on the retina in µm.
    pupil_mm : float
        Diameter of the pupil.
    defocus_diopters : float
        Error of focus, in 1/m.
    wavelength_nm : float
        Of the light, for all colors.
    photons : float
        Expected photons of a pixel of reflectance 1 with a pupil of 1 mm; grows with the area of the pupil.
    seed : int

    Returns
    -------
    ndarray of float64, same shape
        Reflectance as estimated from the counts.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    picture = _check_picture("reflectance", reflectance)
    for name, value, unit in (
        ("pixel_um", pixel_um, "µm"),
        ("pupil_mm", pupil_mm, "mm"),
        ("wavelength_nm", wavelength_nm, "nm"),
        ("photons", photons, ""),
    ):
        check_positive(name, value, unit)
    frequency = _frequencies(picture.shape, pixel_um / 1000) * EYE_MM  # cycles per radian
    disk = math.pi * pupil_mm / 1000 * abs(defocus_diopters) * frequency  # π · diameter · frequency
    defocused = np.ones_like(disk)
    np.divide(2 * special.j1(disk), disk, out=defocused, where=disk > 0)
    image = _filter(picture, lens_mtf(frequency, pupil_mm / (wavelength_nm * 1e-6)) * defocused)
    expected = image * photons * pupil_mm**2
    return count_photons(expected, seed=seed) / (photons * pupil_mm**2)


def red_free(picture: ArrayLike) -> np.ndarray:
    """The green channel of a color picture (rows, columns, 3): blood absorbs green, so vessels are dark in it."""
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"picture must have axes (rows, columns, 3 colors); got shape {picture.shape}")
    return picture[..., 1]


# ---- Optical coherence tomography


def coherence_resolution_um(center_nm: float, bandwidth_nm: float, index: float = 1.0) -> float:
    """Width of a reflector along depth at half its height, in µm: ``2 ln 2 / π · λ² / (n Δλ)``.

    `bandwidth_nm` is the width of the Gaussian spectrum of the source at half its height. No lens enters.
    """
    for name, value in (("center_nm", center_nm), ("bandwidth_nm", bandwidth_nm), ("index", index)):
        check_positive(name, value)
    return 2 * math.log(2) / math.pi * center_nm**2 / bandwidth_nm / index / 1000


def oct_wavenumbers(center_nm: float, bandwidth_nm: float, n_channels: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers ``2π/λ`` that the spectrometer tells apart, in 1/µm, and the power of the source at each.

    They span three times the bandwidth, evenly. The power is Gaussian and sums to 1.
    """
    coherence_resolution_um(center_nm, bandwidth_nm)  # checks both
    if n_channels < 8:
        raise ValueError(f"n_channels must be 8 or more; got {n_channels!r}")
    center = 2000 * math.pi / center_nm
    width = center * bandwidth_nm / center_nm
    offset = (np.arange(n_channels) / n_channels - 0.5) * 3 * width
    power = np.exp(-4 * math.log(2) * (offset / width) ** 2)
    return center + offset, power / power.sum()


def oct_interferogram(
    reflection: ArrayLike,
    optical_depth_um: ArrayLike,
    *,
    center_nm: float = 840.0,
    bandwidth_nm: float = 50.0,
    n_channels: int = 1024,
) -> np.ndarray:
    """Spectrum that the detector of an OCT sees where light from the sample meets light from a mirror.

    Each reflector lays fringes over the spectrum, ``2 r cos(2 k z)``: the deeper, the narrower. A period is ``π / z``
    in wavenumber. Terms of the sample with itself are left out; the constant term of the mirror is taken away.

    Parameters
    ----------
    reflection : array, (reflectors,)
        Amplitude that comes back from each reflector, relative to that of the mirror. May be complex.
    optical_depth_um : array, (reflectors,)
        Geometric depth times refractive index, from where the arms have equal length. Reflectors on either side of
        that plane give the same fringes: a mirrored picture.
    center_nm, bandwidth_nm : float
        Center and full width at half height of the source's spectrum.
    n_channels : int
        Channels of the spectrometer; they limit how deep it sees, see `oct_depths`.

    Returns
    -------
    ndarray of float64, (channels,)
        Over the wavenumbers of `oct_wavenumbers`.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    k, power = oct_wavenumbers(center_nm, bandwidth_nm, n_channels)
    reflection, depth = np.asarray(reflection), np.asarray(optical_depth_um, float)
    if reflection.ndim != 1 or reflection.shape != depth.shape:
        raise ValueError(
            f"reflection and optical_depth_um must have one shape (reflectors,); "
            f"got {reflection.shape} and {depth.shape}"
        )
    return 2 * power * (np.exp(2j * k[:, None] * depth) @ reflection).real


def oct_depths(*, center_nm: float = 840.0, bandwidth_nm: float = 50.0, n_channels: int = 1024) -> np.ndarray:
    """Optical depths in µm of the rows of `oct_a_scan`: up to ``π / (2 Δk)``, where a fringe takes two channels."""
    k, _ = oct_wavenumbers(center_nm, bandwidth_nm, n_channels)
    return np.arange(n_channels // 2) * math.pi / (n_channels * (k[1] - k[0]))


def oct_a_scan(interferogram: ArrayLike) -> np.ndarray:
    """Reflected amplitude over depth: magnitude of the Fourier transform of the fringes.

    Parameters
    ----------
    interferogram : array, (channels, ...)

    Returns
    -------
    ndarray of float64, (channels // 2, ...)
        At `oct_depths`. A reflector gives a Gaussian as wide as `coherence_resolution_um`, its reflection as height.
    """
    fringes = np.asarray(interferogram)
    return np.abs(fft.rfft(fringes, axis=0)[: len(fringes) // 2])


def oct_b_scan(
    index: ArrayLike,
    backscatter: ArrayLike,
    attenuation_per_mm: ArrayLike,
    *,
    row_um: float,
    center_nm: float = 840.0,
    bandwidth_nm: float = 50.0,
    noise: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """OCT picture of a slice: an A-scan of every column.

    It is what `oct_a_scan` gives of the interferogram of every column, with channels enough. For speed that Fourier
    transform is written down as its result: each reflector adds a Gaussian whose phase tells where it lies to a part
    of the wavelength, and neighbors interfere.

    Parameters
    ----------
    index : array, (depth, columns)
        Refractive index, above 0; its steps reflect ``(n₂ − n₁) / (n₂ + n₁)``.
    backscatter : array, (depth, columns)
        Root mean square of the amplitude that one row of pixels sends back, of random phase: makes speckle.
    attenuation_per_mm : array, (depth, columns)
        Of the power, on one way; on the way there and back the amplitude falls by just as much.
    row_um : float
        Geometric distance between rows in µm.
    center_nm, bandwidth_nm : float
        Center and full width at half height of the source's spectrum.
    noise : float
        Root mean square of the amplitude of the noise in the picture.
    seed : int
        Of scatterers and noise.

    Returns
    -------
    ndarray of float64, (depth, columns)
        Amplitude at the optical depths ``row · row_um``: tissue of index n appears n times as thick, and the deepest
        part of it lies below the picture.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    axes = "depth, columns"
    index = check_above_zero("index", check_array("index", index, axes, float))
    backscatter = check_not_negative("backscatter", check_array("backscatter", backscatter, axes, float))
    name = "attenuation_per_mm"
    attenuation = check_not_negative(name, check_array(name, attenuation_per_mm, axes, float), "1/mm")
    if not index.shape == backscatter.shape == attenuation.shape:
        raise ValueError(
            f"index, backscatter and {name} must have one shape (depth, columns); "
            f"got {index.shape}, {backscatter.shape} and {attenuation.shape}"
        )
    check_positive("row_um", row_um, "µm")
    check_not_negative("noise", noise)
    resolution_um = coherence_resolution_um(center_nm, bandwidth_nm)
    rng = np.random.default_rng(seed)

    echoes = _complex_normal(rng, index.shape) * backscatter
    echoes[1:] += np.diff(index, axis=0) / (index[1:] + index[:-1])
    depth_um, loss = (_above(values) * row_um for values in (index, attenuation / 1000))
    echoes *= np.exp(-loss + 4j * math.pi / (center_nm / 1000) * depth_um)
    picture = _complex_normal(rng, index.shape) * noise
    _add_reflectors(picture, echoes, depth_um / row_um, resolution_um / row_um)
    return np.abs(picture)


def _complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random complex numbers of mean power 1."""
    return (rng.normal(size=(*shape, 2)) / math.sqrt(2)).view(complex)[..., 0]


def _above(values: np.ndarray) -> np.ndarray:
    """Sum of the rows above each row."""
    return np.cumsum(values, axis=0) - values


@compiled
def _add_reflectors(picture, echoes, row, resolution):
    """Add to each column a Gaussian of full width `resolution` around the (fractional) row of every echo."""
    n_rows, n_columns = picture.shape
    reach = 1.8 * resolution  # there the Gaussian has fallen to 1e-4
    for i in range(echoes.shape[0]):
        for j in range(n_columns):
            first = max(0, math.ceil(row[i, j] - reach))
            last = min(n_rows - 1, math.floor(row[i, j] + reach))
            for k in range(first, last + 1):
                offset = (k - row[i, j]) / resolution
                picture[k, j] += echoes[i, j] * math.exp(-4 * math.log(2.0) * offset * offset)


# ---- Fluorescence


def fluorescence(
    concentration: ArrayLike,
    *,
    pixel_um: float,
    aperture: float = 0.8,
    emission_nm: float = 520.0,
    photons: float = 100.0,
    background: float = 0.0,
    bleaching: float = 0.0,
    read_noise: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Picture of a dye in a thin specimen under a fluorescence microscope, in counted photons.

    Only the light that the dye itself emits passes the filter. Two points closer than ``0.61 λ / NA`` are hardly told
    apart, so the longer wave of the emission decides.

    Parameters
    ----------
    concentration : array, (rows, columns)
        Of the dye, relative to the one that `photons` refers to; 0 or more.
    pixel_um : float
        Size of the pixels in the specimen in µm.
    aperture : float
        Numerical aperture NA of the objective. Only the sharpness changes with it; give `photons` for the brightness.
    emission_nm : float
        Wavelength that the dye emits.
    photons : float
        Expected photons per pixel of concentration 1, before bleaching.
    background : float
        Expected photons per pixel from elsewhere: light of the lamp that passes the filter, and the tissue's own glow.
    bleaching : float
        Exposure so far, in lifetimes of the dye: a share ``exp(−bleaching)`` still glows.
    read_noise : float
        Standard deviation in photons.
    seed : int

    Returns
    -------
    ndarray of float64, (rows, columns)

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    dye = check_not_negative("concentration", check_array("concentration", concentration, "rows, columns", float))
    for name, value in (("pixel_um", pixel_um), ("aperture", aperture), ("emission_nm", emission_nm)):
        check_positive(name, value)
    for name, value in (("photons", photons), ("background", background), ("bleaching", bleaching)):
        check_not_negative(name, value)
    transfer = lens_mtf(_frequencies(dye.shape, pixel_um), 2 * aperture / (emission_nm / 1000))
    expected = photons * math.exp(-bleaching) * _filter(dye, transfer) + background
    return count_photons(expected, read_noise=read_noise, seed=seed)


# ---- Endoscopy


def endoscope_view(
    wall: ArrayLike,
    height_mm: ArrayLike,
    *,
    length_mm: float,
    radius_mm: float = 15.0,
    position_mm: float = 0.0,
    field_deg: float = 110.0,
    gloss: float = 0.5,
    shininess: float = 30.0,
    shape: tuple[int, int] = (256, 256),
) -> np.ndarray:
    """What a camera on the axis of a tube sees ahead, with its lamp beside the lens.

    Light falls off with the square of the distance and with the slant of the wall: along a smooth wall as
    ``radius³ / distance³``. Wet wall mirrors the lamp where it faces the camera: white highlights. Light that the wall
    sends to other parts of the wall is left out, and folds hide nothing: they only tilt the wall (bump mapping).

    Parameters
    ----------
    wall : array, (length, around, 3)
        Color of the wall, 0 to 1, linear: the tube cut open and rolled out.
    height_mm : array, (length, around)
        How far folds and polyps stand out of the wall towards the axis.
    length_mm : float
        Length of the tube; it repeats itself beyond.
    radius_mm : float
    position_mm : float
        Where the camera is along the tube.
    field_deg : float
        Field of view from left to right.
    gloss : float
        Strength of the highlights, 0 or more, relative to a white dull wall.
    shininess : float
        Exponent of Blinn's highlights: larger means smaller.
    shape : (rows, columns)

    Returns
    -------
    ndarray of float64, (rows, columns, 3)
        Relative to a white wall, hit straight on, at the distance of the radius. Near the center, where the tube is
        dark, values go towards 0; highlights may exceed 1.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    wall = _check_picture("wall", wall)
    height = check_array("height_mm", height_mm, "length, around", float)
    if wall.ndim != 3 or wall.shape[2] != 3 or height.shape != wall.shape[:2]:
        raise ValueError(
            f"wall must have axes (length, around, 3 colors), and height_mm the same length and around; "
            f"got {wall.shape} and {height.shape}"
        )
    check_positive("length_mm", length_mm, "mm")
    check_positive("radius_mm", radius_mm, "mm")
    check_not_negative("gloss", gloss)
    check_positive("shininess", shininess)
    if not 0 < field_deg < 180:
        raise ValueError(f"field_deg must lie between 0 and 180 degrees; got {field_deg!r}")
    rows, columns = check_shape("shape", shape, "rows, columns")

    # Each pixel looks along (x, y, 1), and meets the tube where hypot(x, y) has grown to the radius.
    scale = math.tan(math.radians(field_deg) / 2) * 2 / columns
    y = (np.arange(rows)[:, None] - (rows - 1) / 2) * scale
    x = (np.arange(columns) - (columns - 1) / 2) * scale
    slope = np.maximum(np.hypot(x, y), 1e-3)  # the pixel on the axis never meets it
    ahead = radius_mm / slope
    distance = np.hypot(radius_mm, ahead)

    n_length, n_around = height.shape
    at_length = np.floor((position_mm + ahead) / length_mm * n_length).astype(int) % n_length
    at_angle = np.floor(np.arctan2(y, x) / (2 * math.pi) * n_around).astype(int) % n_around
    tilt_ahead, tilt_around = _slopes(height, length_mm / n_length, 2 * math.pi * radius_mm / n_around)
    # Cosine between the wall's normal and the way to lamp and camera. A smooth wall's normal points to the axis.
    along, around = tilt_ahead[at_length, at_angle], tilt_around[at_length, at_angle]
    cosine = (radius_mm + along * ahead) / (distance * np.sqrt(1 + along**2 + around**2))
    cosine = np.maximum(cosine, 0)
    # Lamp and eye are in one place, so the half vector of Blinn's model is the way to them.
    light = (radius_mm / distance) ** 2
    return light[..., None] * (wall[at_length, at_angle] * cosine[..., None] + gloss * cosine[..., None] ** shininess)


def _slopes(height: np.ndarray, step_ahead: float, step_around: float) -> tuple[np.ndarray, np.ndarray]:
    """Central differences along the tube and around it; both close upon themselves."""
    ahead = (np.roll(height, -1, axis=0) - np.roll(height, 1, axis=0)) / (2 * step_ahead)
    around = (np.roll(height, -1, axis=1) - np.roll(height, 1, axis=1)) / (2 * step_around)
    return ahead, around


def fiber_bundle(picture: ArrayLike, *, pitch_pixels: float = 4.0, core_share: float = 0.7) -> np.ndarray:
    """A picture as a bundle of glass fibers brings it out: one color per fiber, in a honeycomb of dark gaps.

    Parameters
    ----------
    picture : array, (rows, columns) or (rows, columns, colors)
    pitch_pixels : float
        Distance between the centers of neighboring fibers, 2 pixels or more: what is finer is lost.
    core_share : float
        Diameter of the cores, which guide the light, as a share of that distance, above 0 to 1.

    Returns
    -------
    ndarray of float64, same shape
        Mean of each core's pixels inside of it, 0 between cores.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    picture = _check_picture("picture", picture)
    if not pitch_pixels >= 2 or not 0 < core_share <= 1:
        raise ValueError(
            f"pitch_pixels must be 2 or more and core_share above 0 to 1; got {pitch_pixels!r} and {core_share!r}"
        )
    core, distance = _nearest_core(picture.shape[:2], pitch_pixels)
    inside = distance <= core_share * pitch_pixels / 2
    core = core[inside]
    size = np.bincount(core)
    result = np.zeros_like(picture)
    colors = picture.reshape(*picture.shape[:2], -1)
    means = [np.bincount(core, colors[..., c][inside]) / np.maximum(size, 1) for c in range(colors.shape[2])]
    result[inside] = np.stack(means, axis=-1)[core].reshape(-1, *picture.shape[2:])
    return result


def _nearest_core(shape: tuple[int, int], pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest center of a hexagonal lattice for each pixel, and its distance in pixels.

    The lattice is two rectangular ones, of which the second is shifted by half a cell.
    """
    y, x = np.indices(shape, dtype=float)
    high, n_across = pitch * math.sqrt(3), math.ceil(shape[1] / pitch) + 2
    numbers, distances = [], []
    for odd in (0, 1):
        i, j = np.rint(y / high - odd / 2), np.rint(x / pitch - odd / 2)
        distances.append(np.hypot(y - (i + odd / 2) * high, x - (j + odd / 2) * pitch))
        numbers.append((((i + 1) * n_across + j + 1) * 2 + odd).astype(int))  # i and j may be -1
    second = distances[1] < distances[0]
    return np.where(second, numbers[1], numbers[0]), np.where(second, distances[1], distances[0])


def electronic_sensor(
    picture: ArrayLike, *, photons: float = 1000.0, read_noise: float = 2.0, seed: int = 0
) -> np.ndarray:
    """A color picture as the chip at an endoscope's tip takes it: one color filter per pixel, noise, interpolation.

    Parameters
    ----------
    picture : array, (rows, columns, 3)
        Linear colors; above 1 the pixels are full.
    photons : float
        Photons that fill a pixel, so that it reads 1.
    read_noise : float
        Standard deviation in photons.
    seed : int

    Returns
    -------
    ndarray of float64, (rows, columns, 3)
        0 to 1. Of each 2 × 2 pixels two saw green, one red, and one blue (Bayer's pattern); the other colors of a pixel
        are means of its neighbors.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    picture = _check_picture("picture", picture)
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"picture must have axes (rows, columns, 3 colors); got shape {picture.shape}")
    check_positive("photons", photons)
    row, column = np.indices(picture.shape[:2]) % 2
    color = row + column  # red, green; green, blue
    seen = np.take_along_axis(picture, color[..., None], axis=2)[..., 0]
    counts = count_photons(seen * photons, read_noise=read_noise, seed=seed)
    mosaic = np.clip(counts / photons, 0, 1)
    result = np.empty_like(picture)
    weights = np.array([1.0, 2.0, 1.0])
    for c in range(3):
        mask = (color == c).astype(float)
        total, present = mosaic * mask, mask
        for axis in (0, 1):
            total, present = (ndimage.convolve1d(part, weights, axis, mode="constant") for part in (total, present))
        result[..., c] = np.where(mask > 0, mosaic, total / np.maximum(present, 1))
    return result
