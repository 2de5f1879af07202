"""One body in nine machines: what each of them sees of the same chest, and how sharply, from its physics."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from ... import phantom
from ...modalities import ct, mri, nuclear, ultrasound, xray
from ...volume import Volume
from . import _bodies

SHAPE, SPACING = (100, 160, 160), (3.2, 2.4, 2.4)
LIVER = 4  # a slice near the feet
FINE_MM = 0.6  # pixels of the plane that sound enters

# ---- How sharp: full width at half height of a point, in mm. Each follows from what the machine is made of.

SOURCE_MM, DETECTOR_MM, FOCAL_SPOT_MM = 1500.0, 300.0, 1.2  # of the X-ray tube, from the center of the body
HOLE_MM, HOLE_LENGTH_MM, INTRINSIC_MM = 1.5, 25.0, 3.5  # of the collimator and its crystal
ORBIT_MM = 220.0  # from the axis of the SPECT to the collimator
CRYSTAL_MM, RING_MM, NUCLIDE = 4.0, 800.0, "fluorine-18"  # of the PET
MRI_LINES = 96
SOUND_MHZ, RING_OF_SOUND_MM = 1.0, 400.0


def focal_spot_mm() -> float:
    """Shadow of the focal spot, seen in the middle of the body: ``f · (m − 1) / m`` at magnification m."""
    magnification = 1 + DETECTOR_MM / SOURCE_MM
    return FOCAL_SPOT_MM * (magnification - 1) / magnification


def ramp_mm(pixel_mm: float) -> float:
    """Back-projection keeps a disk of frequencies up to 1 / (2 pixels): a point becomes ``2 J₁(x) / x``."""
    return 2 * 2.2151 / (2 * math.pi * 0.5 / pixel_mm)


def kspace_mm(extent_mm: float, lines: int) -> float:
    """So many lines of k-space make a point ``sin(x) / x``, 1.207 of their pixels wide."""
    return 1.207 * extent_mm / lines


def collimator_mm(distance_mm: float) -> float:
    """Parallel holes see a cone, ``d (l + z) / l``; the crystal adds its own width in quadrature."""
    cone = nuclear.collimator_resolution_mm(
        distance_mm, hole_mm=HOLE_MM, length_mm=HOLE_LENGTH_MM, septa_per_mm=math.inf
    )
    return float(np.hypot(cone, INTRINSIC_MM))


def coincidence_mm() -> float:
    """Half a crystal, the angle that is not quite 180° (0.0022 · ring), the range of the positron; in quadrature."""
    way = float(nuclear.electron_range_mm(nuclear.POSITRON_MEV[NUCLIDE][0]))
    return nuclear.coincidence_resolution_mm(crystal_mm=CRYSTAL_MM, ring_mm=RING_MM, range_mm=way)


def fresnel_mm() -> float:
    """Sound between two transducers fills a zone of ``√(λ L) / 2``: it is no thin ray."""
    return math.sqrt(1.5 / SOUND_MHZ * RING_OF_SOUND_MM) / 2


# ---- What each machine sees


class _Seen(NamedTuple):
    title: str
    image: np.ndarray
    spacing: tuple[float, float]
    colormap: str
    says: str


class _Body(NamedTuple):
    seed: int
    anatomy: Volume
    z: int  # of the slice that the machines for slices see
    rng: np.random.Generator

    def volume(self, name: str, **options) -> np.ndarray:
        return phantom.tissue_map(self.anatomy, name, **options).array

    def slice(self, name: str, **options) -> np.ndarray:
        part = Volume(array=self.anatomy.array[self.z], spacing=SPACING[1:], axes="yx")
        return phantom.tissue_map(part, name, **options).array


def _body(seed: int) -> _Body:
    """A chest without the table, and the slice with most of a nodule, or the middle one."""
    anatomy = phantom.chest_anatomy(seed, shape=SHAPE, spacing=SPACING)
    anatomy = anatomy.map(lambda a: np.where(_bodies.labels_of(a, "table"), np.uint8(0), a))
    area = _bodies.labels_of(anatomy.array, "solid_nodule", "ground_glass").sum((1, 2))
    return _Body(seed, anatomy, int(area.argmax()) if area.any() else SHAPE[0] // 2, np.random.default_rng(seed))


def _lines(volume: np.ndarray) -> np.ndarray:
    distances = {"source_to_center_mm": SOURCE_MM, "center_to_detector_mm": DETECTOR_MM}
    return np.maximum(xray.project(volume, spacing=SPACING, **distances)[::-1], 0)


def _radiograph(body: _Body) -> _Seen:
    lines = _lines(body.volume("attenuation", energy_kev=60))
    counts = xray.expose(xray.transmission(lines), photons=1e5, rng=body.rng)
    says = f"focal spot {focal_spot_mm():.1f} mm; voxels of {SPACING[1]:.1f} mm are drawn"
    return _Seen("radiograph", xray.attenuation_image(counts, photons=1e5), SPACING[::2], "gray", says)


def _ct(body: _Body) -> _Seen:
    angles, pixel = np.arange(0, 180, 0.75), SPACING[1]
    sinogram = ct.radon(body.slice("attenuation", energy_kev=70), angles, pixel_mm=pixel)
    noisy = ct.add_photon_noise(sinogram, photons=1e5, rng=body.rng)
    image = ct.fbp(noisy, angles, shape=SHAPE[1:], pixel_mm=pixel)
    return _Seen("X-ray CT", image, SPACING[1:], "gray", f"detectors of {pixel:.1f} mm: {ramp_mm(pixel):.1f} mm")


def _mri(body: _Body) -> _Seen:
    properties = (np.maximum(body.slice(name), least) for name, least in zip(*_MRI_MAPS, strict=True))
    kspace = mri.add_noise(mri.kspace(mri.spin_echo(*properties, tr_ms=600.0, te_ms=12.0)), std=0.01, rng=body.rng)
    cut = (SHAPE[1] - MRI_LINES) // 2
    kspace = np.pad(kspace[cut:-cut, cut:-cut], cut)
    says = f"{MRI_LINES} lines: {kspace_mm(SHAPE[1] * SPACING[1], MRI_LINES):.1f} mm"
    return _Seen("MRI, T1 weighted", mri.reconstruct(kspace), SPACING[1:], "gray", says)


_MRI_MAPS = ("proton_density", "t1_ms", "t2_ms"), (0.0, 1.0, 1.0)  # air has no relaxation times


def _ultrasound(body: _Body) -> _Seen:
    """From the front, near the feet, in the window of 64 mm with the least lung and bone: gas and bone stop sound."""
    probe = ultrasound.Probe(frequency_mhz=4.0, focus_mm=40.0)
    apart = (SHAPE[0] - 1 - 2 * LIVER) * SPACING[0]  # of the two slices of a finer grid, the lower one in the liver
    fine = phantom.chest_anatomy(body.seed, shape=(2, 640, 640), spacing=(apart, FINE_MM, FINE_MM)).array[0]
    fine = np.where(_bodies.labels_of(fine, "table"), np.uint8(0), fine)
    columns, rows = round(64 / FINE_MM), round(90 / FINE_MM)
    skin = np.argmax(fine != 0, axis=0)
    bad = _bodies.labels_of(fine, "lung", "cortical_bone", "air", "marrow")
    cost = [bad[skin[x] : skin[x] + rows, x].mean() if fine[:, x].any() else 1.0 for x in range(fine.shape[1])]
    left = int(np.argmin(np.convolve(cost, np.ones(columns), "valid")))
    depth = skin[left : left + columns] + np.arange(rows)[:, None]  # the probe presses the skin flat
    seen = np.take_along_axis(fine[:, left : left + columns], depth, axis=0).repeat(2, axis=0)
    pixel = (FINE_MM / 2, FINE_MM)
    window = Volume(array=seen, spacing=pixel, axes="yx")
    maps = [phantom.tissue_map(window, name).array for name in ("impedance", "scatter", "ultrasound_attenuation")]
    image = ultrasound.b_mode(*maps, pixel_mm=pixel, probe=probe, gain_db_per_cm_mhz=0.5, reference=0.05)
    across = float(probe.lateral_resolution_mm(40.0))
    says = f"pulse {probe.axial_resolution_mm:.1f} mm, beam {across:.1f} mm at 4 cm"
    return _Seen("ultrasound of the liver, from the front", image, pixel, "gray", says)


def _ultrasound_ct(body: _Body) -> _Seen:
    angles, pixel = np.arange(0, 180, 1.0), SPACING[1]
    speed = body.slice("speed_of_sound")
    speed = np.where(body.anatomy.array[body.z] == 0, 1500, speed)  # the body lies in water
    delays = ct.ultrasound_delays(speed, angles, water_m_per_s=1500, pixel_mm=pixel)
    delays = ndimage.gaussian_filter1d(delays, fresnel_mm() / nuclear.FWHM / pixel, axis=1)
    image = ct.ultrasound_fbp(delays, angles, water_m_per_s=1500, shape=SHAPE[1:], pixel_mm=pixel)
    return _Seen(
        "ultrasound CT, speed of sound", image, SPACING[1:], "gray", f"width of the waves: {fresnel_mm():.0f} mm"
    )


def _angiography(body: _Body) -> _Seen:
    lines = _lines(body.volume("attenuation", energy_kev=60))
    vessels = _lines(_bodies.labels_of(body.anatomy.array, "pulmonary_vessel").astype(np.float32))
    both = (lines, lines + 0.019 * vessels)  # 25 mg of iodine per ml at 60 keV
    counts = [xray.expose(xray.transmission(part), photons=1e6, rng=body.rng) for part in both]
    says = f"focal spot {focal_spot_mm():.1f} mm; voxels of {SPACING[1]:.1f} mm are drawn"
    return _Seen("angiography: where blood flows", xray.digital_subtraction(*counts), SPACING[::2], "gray", says)


def _gamma_camera(body: _Body) -> _Seen:
    """From the front: each plane is as blurred as it is far away, and weakened by what lies before it."""
    uptake, mu = body.volume("uptake"), body.volume("attenuation", energy_kev=140)
    left = np.exp(-np.cumsum(mu, axis=1) * SPACING[1])
    expected = np.zeros(SHAPE[::2])
    for y in range(SHAPE[1]):
        std = collimator_mm(y * SPACING[1]) / nuclear.FWHM
        expected += ndimage.gaussian_filter(uptake[:, y] * left[:, y], (std / SPACING[0], std / SPACING[2]))
    counts = body.rng.poisson(expected * 1e6 / expected.sum())[::-1]
    near, far = collimator_mm(50), collimator_mm(250)
    says = f"collimator: {near:.0f} mm at 5 cm, {far:.0f} mm at 25 cm; 10⁶ counts"
    return _Seen("γ camera from the front: uptake", counts, SPACING[::2], "inferno", says)


def _spect(body: _Body) -> _Seen:
    angles, pixel = np.arange(0, 360, 3.0), SPACING[1]
    mu = body.slice("attenuation", energy_kev=140)
    sinogram = ct.emission_radon(body.slice("uptake"), angles, mu_per_mm=mu, pixel_mm=pixel)
    width = collimator_mm(ORBIT_MM)
    sinogram = ndimage.gaussian_filter1d(sinogram, width / nuclear.FWHM / pixel, axis=1)
    counts = body.rng.poisson(np.maximum(sinogram, 0) * 4e5 / sinogram.sum())
    image = ct.fbp(counts, angles, shape=SHAPE[1:], pixel_mm=pixel, window="hann")
    says = f"collimator at {ORBIT_MM / 10:.0f} cm: {width:.0f} mm; 4·10⁵ counts"
    return _Seen("SPECT: uptake", np.maximum(image, 0), SPACING[1:], "inferno", says)


def _pet(body: _Body) -> _Seen:
    """Both photons must get out: the whole line weakens them alike, and what it took can be given back."""
    angles, pixel = np.arange(0, 180, 1.0), SPACING[1]
    left = np.exp(-ct.radon(body.slice("attenuation", energy_kev=511), angles, pixel_mm=pixel))
    lines = ct.radon(body.slice("uptake"), angles, pixel_mm=pixel)
    lines = ndimage.gaussian_filter1d(lines, coincidence_mm() / nuclear.FWHM / pixel, axis=1)
    expected = np.maximum(lines, 0) * left
    counts = body.rng.poisson(expected * 2e6 / expected.sum())
    image = ct.fbp(counts / left, angles, shape=SHAPE[1:], pixel_mm=pixel, window="hann")
    says = f"crystal, angle, range: {coincidence_mm():.1f} mm; 2·10⁶ counts"
    return _Seen("PET: uptake", np.maximum(image, 0), SPACING[1:], "inferno", says)


MACHINES: tuple[Callable[[_Body], _Seen], ...] = (
    *(_radiograph, _ct, _mri, _ultrasound, _ultrasound_ct),  # structure
    *(_angiography, _gamma_camera, _spect, _pet),  # function
)


def body_through_machines(seed: int = 0) -> Figure:
    """Draw one chest as nine machines see it: five that show structure, four that show function.

    Under each picture stands how wide a point becomes in it, derived from what the machine is made of: focal spot,
    detector, lines of k-space, pulse and beam, wavelength, collimator, crystal and positron. Counts add their noise;
    the voxels of 2.4 mm, and the filters of SPECT and PET that smooth this noise, add a width of their own.

    Parameters
    ----------
    seed : int
        Of the chest. Machines that show a slice show the one with most of a nodule, if there is one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If seed is not a whole number from 0 up.
    """
    body = _body(seed)
    figure = Figure(figsize=(9, 9.4), layout="constrained")
    for number, (axes, see) in enumerate(zip(figure.subplots(3, 3).flat, MACHINES, strict=True)):
        seen = see(body)
        low, high = np.percentile(seen.image, [1, 99.7])
        aspect = seen.spacing[0] / seen.spacing[1]
        axes.imshow(seen.image, cmap=seen.colormap, vmin=low, vmax=high, aspect=aspect)
        kind = "structure" if number < 5 else "function"
        axes.set_title(f"{seen.title}\n({kind})", fontsize=10)
        axes.set_xlabel(seen.says, fontsize=8)
        axes.set(xticks=[], yticks=[])
    return figure
