"""Light: closed forms of lens, coherence, fringes, shading and sensors; directions of every control; arguments."""

import math

import numpy as np
import pytest
import skimage.data
from scipy import ndimage, special

from medlearn.modalities import optical


def width_at_half(values, step):
    """Full width at half of the maximum, with linear interpolation between samples."""
    values = np.asarray(values) / np.max(values)
    above = np.flatnonzero(values >= 0.5)
    first, last = above[0], above[-1]
    left = first - (values[first] - 0.5) / (values[first] - values[first - 1])
    right = last + (values[last] - 0.5) / (values[last] - values[last + 1])
    return (right - left) * step


# ---- Lens and photons


def test_lens_mtf_is_the_overlap_of_two_pupils():
    y, x = np.mgrid[-1.5:1.5:1201j, -1.5:1.5:1201j]
    for s in (0.0, 0.2, 0.5, 0.9):  # stripes of frequency s are carried by pupils that are shifted by 2 s radii
        both = (np.hypot(x - s, y) < 1) & (np.hypot(x + s, y) < 1)
        assert optical.lens_mtf(3 * s, 3.0) == pytest.approx(both.sum() / (np.hypot(x, y) < 1).sum(), abs=2e-3)
    assert optical.lens_mtf([3, 4], 3.0) == pytest.approx([0, 0])


def test_counts_have_the_mean_and_variance_of_poisson_and_reading():
    expected = np.full((300, 300), 20.0)
    plain, read = optical.count_photons(expected), optical.count_photons(expected, read_noise=5.0)
    assert plain.mean() == pytest.approx(20, rel=0.005)
    assert plain.var() == pytest.approx(20, rel=0.03)
    assert read.mean() == pytest.approx(20, rel=0.005)
    assert read.var() == pytest.approx(20 + 25, rel=0.03)
    assert np.array_equal(plain, optical.count_photons(expected))
    assert not np.array_equal(plain, optical.count_photons(expected, seed=1))


# ---- Fundus


@pytest.fixture(scope="module")
def retina():
    """A real fundus picture, made linear."""
    return (skimage.data.retina()[400:1000:4, 400:1000:4] / 255) ** 2.2


def detail(picture):
    """Mean gradient after most of the photon noise is averaged away."""
    return ndimage.gaussian_gradient_magnitude(picture.mean(axis=2), 1.0).mean()


def test_stripes_keep_the_contrast_of_lens_and_defocus():
    period_um = 40.0
    wave = np.cos(2 * math.pi * (np.arange(256) + 0.5) * 5 / period_um)  # 32 periods
    stripes = np.tile(0.5 + 0.4 * wave, (8, 1))
    per_radian = optical.EYE_MM / (period_um / 1000)
    for pupil_mm, diopters in ((1.0, 0.0), (3.0, 0.0), (3.0, 0.4)):
        seen = optical.fundus(stripes, pixel_um=5, pupil_mm=pupil_mm, defocus_diopters=diopters, photons=1e9)
        blur = math.pi * pupil_mm * 1e-3 * diopters * per_radian
        expected = optical.lens_mtf(per_radian, pupil_mm / 550e-6) * (2 * special.j1(blur) / blur if blur else 1)
        contrast = 2 * (seen[0] * wave).mean() / 0.4
        assert contrast == pytest.approx(expected, abs=2e-3)


def test_fundus_gets_blurred_and_noisy_in_the_right_direction(retina):
    sharp = [detail(optical.fundus(retina, pixel_um=30, defocus_diopters=d, photons=1e6)) for d in (0, 1, 3)]
    assert sharp[0] > sharp[1] > sharp[2]
    wide, narrow = (
        detail(optical.fundus(retina, pixel_um=30, defocus_diopters=2, pupil_mm=p, photons=1e6)) for p in (6, 2)
    )
    assert narrow > wide  # a small pupil forgives defocus
    flat = np.full((200, 200), 0.5)
    noise = [optical.fundus(flat, pixel_um=30, pupil_mm=p, photons=100).std() for p in (1, 3)]
    assert noise == pytest.approx([math.sqrt(0.5 / 100), math.sqrt(0.5 / 900)], rel=0.05)  # 9 times the light
    diffraction = [
        detail(optical.fundus(retina, pixel_um=5, pupil_mm=0.5, wavelength_nm=nm, photons=1e9)) for nm in (450, 800)
    ]
    assert diffraction[0] > diffraction[1]


def test_vessels_are_darker_in_green(retina):
    green = optical.red_free(retina)
    assert np.array_equal(green, retina[..., 1])
    assert green.std() / green.mean() > retina[..., 0].std() / retina[..., 0].mean()


# ---- OCT


def test_fringes_have_the_spacing_of_the_depth():
    k, _ = optical.oct_wavenumbers(840, 50, 4096)
    for depth_um in (50.0, 100.0):
        fringes = optical.oct_interferogram([0.1], [depth_um], n_channels=4096)
        middle = np.abs(k - k.mean()) < 0.3 * np.ptp(k)
        crossings = np.flatnonzero(np.diff(np.sign(fringes[middle])))
        assert np.mean(np.diff(k[middle][crossings])) == pytest.approx(math.pi / depth_um / 2, rel=0.02)


@pytest.mark.parametrize(("center_nm", "bandwidth_nm"), [(840, 50), (840, 100), (1300, 80)])
def test_a_scan_resolves_what_coherence_says(center_nm, bandwidth_nm):
    source = {"center_nm": center_nm, "bandwidth_nm": bandwidth_nm, "n_channels": 1024}
    fringes = optical.oct_interferogram([0.05], [300.0], **source)
    fine = np.abs(np.fft.fft(fringes, 16 * 1024))[: 8 * 1024]  # the same transform, on finer steps
    depth = optical.oct_depths(**source)
    closed_form = 2 * math.log(2) / math.pi * (center_nm / 1000) ** 2 / (bandwidth_nm / 1000)
    assert optical.coherence_resolution_um(center_nm, bandwidth_nm) == pytest.approx(closed_form)
    assert width_at_half(fine, depth[1] / 16) == pytest.approx(closed_form, rel=0.02)
    assert fine.max() == pytest.approx(0.05, rel=0.01)
    assert depth[optical.oct_a_scan(fringes).argmax()] == pytest.approx(300, abs=depth[1])


def test_bandwidth_sharpens_and_channels_deepen():
    assert optical.coherence_resolution_um(840, 100) < optical.coherence_resolution_um(840, 50)
    assert optical.coherence_resolution_um(840, 50, 1.4) == pytest.approx(
        optical.coherence_resolution_um(840, 50) / 1.4
    )
    deepest = [optical.oct_depths(n_channels=n)[-1] for n in (512, 1024)]
    assert deepest[1] > 1.9 * deepest[0]


def test_a_reflector_before_the_reference_plane_is_mirrored():
    before, behind = (optical.oct_interferogram([0.1], [z]) for z in (-120.0, 120.0))
    assert optical.oct_a_scan(before) == pytest.approx(optical.oct_a_scan(behind))


def slab(index=1.4, rows=200, columns=16, *, backscatter=0.0, attenuation=0.0):
    """Air over a slab from row 50 to row 100, and air below it."""
    n = np.ones((rows, columns))
    n[50:100] = index
    inside = n > 1
    return n, backscatter * inside, attenuation * inside


@pytest.mark.parametrize("thickness", [2, 3, 50])
def test_b_scan_is_the_transform_of_its_interferogram(thickness):
    n = np.ones((200, 1))
    n[50 : 50 + thickness] = 1.4  # the echoes of the thin ones overlap and interfere
    picture = optical.oct_b_scan(n, 0 * n, 0 * n, row_um=3.1, center_nm=840, bandwidth_nm=30)[:, 0]
    source = {"center_nm": 840.0, "bandwidth_nm": 30.0, "n_channels": 1024}
    step = 0.4 / 2.4
    fringes = optical.oct_interferogram([step, -step], [155, 155 + thickness * 3.1 * 1.4], **source)
    fine = np.abs(np.fft.fft(fringes, 16 * 1024))
    direct = np.interp(np.arange(200) * 3.1, np.arange(fine.size) * optical.oct_depths(**source)[1] / 16, fine)
    assert picture == pytest.approx(direct, abs=0.01 * step)


def test_a_slab_appears_as_thick_as_its_optical_path():
    picture = optical.oct_b_scan(*slab(), row_um=3)[:, 0]
    assert picture[50] == pytest.approx(0.4 / 2.4, rel=1e-6)  # Fresnel's reflection
    assert picture[100:].argmax() + 100 == 50 + 70  # 50 rows of index 1.4 look like 70


def test_attenuation_weakens_what_lies_behind():
    back = []
    for per_mm in (0.0, 2.0, 6.0):
        n, scatter, attenuation = slab(attenuation=per_mm)
        back.append(optical.oct_b_scan(n, scatter, attenuation, row_um=3)[120, 0])
    assert back[1:] == pytest.approx([back[0] * math.exp(-2 * 0.15), back[0] * math.exp(-6 * 0.15)], rel=1e-6)


def test_oct_speckle_has_rayleigh_contrast_and_noise_its_power():
    flat = np.ones((300, 200))
    speckle = optical.oct_b_scan(flat, 0.01 * flat, 0 * flat, row_um=1, bandwidth_nm=30)[50:-50]
    assert speckle.std() / speckle.mean() == pytest.approx(math.sqrt(4 / math.pi - 1), rel=0.05)
    noise = optical.oct_b_scan(flat, 0 * flat, 0 * flat, row_um=3, noise=0.02)
    assert np.sqrt((noise**2).mean()) == pytest.approx(0.02, rel=0.02)
    again = optical.oct_b_scan(flat, 0 * flat, 0 * flat, row_um=3, noise=0.02)
    assert np.array_equal(noise, again)


# ---- Fluorescence


def test_a_bead_has_the_width_of_airys_disk():
    dye = np.zeros((256, 256))
    dye[128, 128] = 1
    bead = optical.fluorescence(dye, pixel_um=0.02, aperture=0.8, emission_nm=520, photons=1e12)
    # the pattern (2 J1(v) / v)² has half its height at v = 1.6163, with v = 2π NA r / λ
    half = 1.6163 / (2 * math.pi * 0.8 / 0.52)
    assert width_at_half(bead[128], 0.02) == pytest.approx(2 * half, rel=0.01)
    assert bead.sum() == pytest.approx(1e12, rel=1e-3)  # the lens spreads light but loses none


def test_fluorescence_follows_its_controls():
    bead = np.zeros((128, 128))
    bead[64, 64] = 1

    def width(**options):
        return width_at_half(optical.fluorescence(bead, pixel_um=0.02, photons=1e12, **options)[64], 0.02)

    assert width(aperture=1.2) < width(aperture=0.6)
    assert width(emission_nm=450) < width(emission_nm=650)
    flat = np.ones((200, 200))
    fresh, faded, hazy = (
        optical.fluorescence(flat, pixel_um=0.1, photons=100, **options)
        for options in ({}, {"bleaching": 1.0}, {"background": 50.0})
    )
    assert fresh.mean() == pytest.approx(100, rel=0.01)
    assert fresh.var() == pytest.approx(100, rel=0.05)
    assert faded.mean() == pytest.approx(100 / math.e, rel=0.01)
    assert hazy.mean() == pytest.approx(150, rel=0.01)
    assert hazy.std() > fresh.std()


# ---- Endoscopy


def tube(height=None, **options):
    wall = np.full((200, 120, 3), 0.8)
    height = np.zeros((200, 120)) if height is None else height
    return optical.endoscope_view(wall, height, **{"length_mm": 100, "shape": (101, 101)} | options)


def test_a_smooth_tube_gets_dark_with_the_cube_of_the_distance():
    picture = tube(gloss=0, radius_mm=12, field_deg=100)
    scale = math.tan(math.radians(50)) * 2 / 101
    slope = np.arange(1, 51) * scale
    distance_in_radii = np.sqrt(1 + 1 / slope**2)
    assert picture[50, 51:, 0] == pytest.approx(0.8 / distance_in_radii**3, rel=1e-9)
    assert picture == pytest.approx(picture[::-1, ::-1])


def fold(height_mm):
    z = np.arange(200)[:, None] * 0.5
    return np.broadcast_to(height_mm * np.exp(-(((z - 20) / 3) ** 2)), (200, 120))


def test_the_near_side_of_a_fold_is_lit_and_its_far_side_is_not():
    smooth, folded = tube(gloss=0), tube(fold(3.0), gloss=0)
    scale = math.tan(math.radians(55)) * 2 / 101
    ahead = 15 / (np.arange(1, 51) * scale)
    near, far = (ahead > 16) & (ahead < 19), (ahead > 21) & (ahead < 24)
    ratio = folded[50, 51:, 0] / smooth[50, 51:, 0]
    assert ratio[near].min() > 1
    assert ratio[far].max() < 1


def test_highlights_grow_with_gloss_and_shrink_with_shininess():
    pictures = [tube(fold(6.0), gloss=gloss) for gloss in (0, 0.5, 1)]
    assert pictures[0].max() < pictures[1].max() < pictures[2].max()
    areas = [((tube(fold(6.0), shininess=s) - pictures[0]) > 0.01).sum() for s in (10, 100)]
    assert areas[0] > areas[1] > 0


def test_moving_on_brings_the_wall_nearer():
    wall = np.full((200, 120, 3), 0.8)
    wall[120:124] = 0.1  # a dark ring at 60 mm

    def ring_radius(position):
        view = optical.endoscope_view(
            wall, np.zeros((200, 120)), length_mm=100, position_mm=position, gloss=0, shape=(201, 201)
        )
        plain = tube(gloss=0, shape=(201, 201))
        return (view[100, 101:, 0] / plain[100, 101:, 0] < 0.5).nonzero()[0].mean()

    scale = math.tan(math.radians(55)) * 2 / 201
    radii = [ring_radius(position) for position in (20, 40)]
    assert radii == pytest.approx([15 / 41 / scale, 15 / 21 / scale], abs=2)
    assert radii[1] > radii[0]


def test_fibers_are_a_hexagonal_lattice():
    bundle = optical.fiber_bundle(np.ones((200, 200)), pitch_pixels=10, core_share=0.7)
    assert bundle.mean() == pytest.approx(math.pi / (2 * math.sqrt(3)) * 0.7**2, rel=0.03)  # share of disks in it
    labels, count = ndimage.label(bundle > 0.5)
    centers = np.array(ndimage.center_of_mass(bundle, labels, range(1, count + 1)))
    inner = centers[np.all((centers > 20) & (centers < 180), axis=1)]
    gaps = np.sort(np.linalg.norm(inner[:, None] - centers, axis=2), axis=1)
    assert gaps[:, 1:7] == pytest.approx(10, abs=1)  # six neighbors, all equally far
    assert gaps[:, 7].min() > 15


def test_each_fiber_has_one_color_and_wide_ones_lose_detail(retina):
    bundle = optical.fiber_bundle(retina, pitch_pixels=8, core_share=0.6)
    labels, count = ndimage.label(bundle.sum(axis=2) > 0)
    spread = ndimage.maximum(bundle[..., 0], labels, range(1, count + 1)) - ndimage.minimum(
        bundle[..., 0], labels, range(1, count + 1)
    )
    assert spread.max() < 1e-12
    errors = []
    for pitch in (3, 6, 12):
        seen = optical.fiber_bundle(retina, pitch_pixels=pitch, core_share=1)
        lit = seen.sum(axis=2) > 0
        errors.append(np.abs(seen - retina)[lit].mean())
    assert errors[0] < errors[1] < errors[2]
    gaps = [(optical.fiber_bundle(retina + 0.1, core_share=share) == 0).mean() for share in (0.5, 0.9)]
    assert gaps[0] > gaps[1]


def test_the_sensor_sees_even_colors_and_is_less_noisy_with_light():
    color = np.array([0.6, 0.4, 0.2])
    plain = np.broadcast_to(color, (100, 100, 3))
    seen = optical.electronic_sensor(plain, photons=1e9, read_noise=0)
    assert seen == pytest.approx(plain, abs=1e-3)
    noise = [optical.electronic_sensor(plain, photons=photons).std(axis=(0, 1)).mean() for photons in (100, 10000)]
    assert noise[0] > 5 * noise[1]
    reading = [optical.electronic_sensor(plain, photons=500, read_noise=r).std(axis=(0, 1)).mean() for r in (0, 50)]
    assert reading[1] > reading[0]
    assert optical.electronic_sensor(3 * plain, photons=1e9).max() == 1  # full pixels


def test_the_mosaic_interpolates_ramps_exactly():
    ramp = np.repeat(np.linspace(0.2, 0.8, 64)[None, :, None], 64, axis=0).repeat(3, axis=2)
    seen = optical.electronic_sensor(ramp, photons=1e14, read_noise=0)
    assert seen[2:-2, 2:-2] == pytest.approx(ramp[2:-2, 2:-2], abs=1e-5)


# ---- Arguments


def test_unfit_arguments_are_refused_by_name():
    flat = np.ones((16, 16))
    color = np.ones((16, 16, 3))
    for call, words in (
        (lambda: optical.fundus(-flat, pixel_um=5), "reflectance"),
        (lambda: optical.fundus(flat, pixel_um=0), "pixel_um"),
        (lambda: optical.fundus(flat[0], pixel_um=5), "rows, columns"),
        (lambda: optical.red_free(flat), "colors"),
        (lambda: optical.oct_interferogram([1], [1, 2]), "one shape"),
        (lambda: optical.oct_wavenumbers(840, 50, 2), "n_channels"),
        (lambda: optical.coherence_resolution_um(840, -1), "bandwidth_nm"),
        (lambda: optical.oct_b_scan(0 * flat, flat, flat, row_um=3), "index"),
        (lambda: optical.oct_b_scan(flat, flat[:4], flat, row_um=3), "one shape"),
        (lambda: optical.oct_b_scan(flat, flat, flat, row_um=-3), "row_um"),
        (lambda: optical.fluorescence(flat, pixel_um=0.1, aperture=0), "aperture"),
        (lambda: optical.fluorescence(flat, pixel_um=0.1, bleaching=-1), "bleaching"),
        (lambda: optical.endoscope_view(color, flat[:3], length_mm=10), "height_mm"),
        (lambda: optical.endoscope_view(color, flat, length_mm=10, field_deg=180), "field_deg"),
        (lambda: optical.fiber_bundle(flat, pitch_pixels=1), "pitch_pixels"),
        (lambda: optical.electronic_sensor(flat), "3 colors"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
