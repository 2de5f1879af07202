"""CT: disks and points with known sinograms, scikit-image, noise, the direction of every control, arguments."""

import math

import numpy as np
import pytest
from skimage.transform import iradon
from skimage.transform import radon as skimage_radon

from medlearn.modalities import ct, xray

HALF_TURN = np.arange(0, 180, 1.0)
TURN = np.arange(0, 360, 1.0)


def offset(n, pixel=1.0):
    return (np.arange(n) - (n - 1) / 2) * pixel


def disk(shape=(96, 96), radius=30.0, center=(0.0, 0.0), mu=0.02, pixel=1.0):
    """A disk with its rim anti-aliased; radius and center (y, x) in mm."""
    y, x = offset(shape[0], pixel)[:, None] - center[0], offset(shape[1], pixel) - center[1]
    return mu * np.clip((radius - np.hypot(y, x)) / pixel + 0.5, 0, 1)


def head():
    """A skull, brain, ventricles and a small lesion: shares of water, from 0 to 2."""
    image = 2 * disk(radius=42, mu=1) - disk(radius=38, mu=1)
    image += disk(radius=6, center=(5, -12), mu=-0.3) + disk(radius=6, center=(5, 12), mu=-0.3)
    return image + disk(radius=3, center=(-20, 8), mu=0.4)


def error(image, truth):
    """Root mean square error within the head."""
    inside = disk(radius=34, mu=1) > 0.99
    return math.sqrt(((image - truth)[inside] ** 2).mean())


# ---- Projection


@pytest.mark.parametrize("pixel", [1.0, 0.5])
def test_the_sinogram_of_a_disk_is_its_chord(pixel):
    center = np.array((4.0, -7.0))
    image = disk((101, 96), 20 * pixel, center * pixel, pixel=pixel)
    sinogram = ct.radon(image, TURN, pixel_mm=pixel)
    assert sinogram.shape[0] == 360
    theta = np.radians(TURN)[:, None]
    s0 = pixel * (center[1] * np.cos(theta) - center[0] * np.sin(theta))
    distance = np.abs(offset(sinogram.shape[1], pixel) - s0)
    chord = 0.02 * 2 * np.sqrt(np.maximum((20 * pixel) ** 2 - distance**2, 0))
    inside = distance < 18 * pixel
    np.testing.assert_allclose(sinogram[inside], chord[inside], atol=0.02 * 0.5 * pixel)
    assert np.abs(sinogram[inside] - chord[inside]).mean() < 0.02 * 0.1 * pixel
    np.testing.assert_array_equal(sinogram[distance > 23 * pixel], 0)
    np.testing.assert_allclose(sinogram.sum(axis=1) * pixel, image.sum() * pixel**2, rtol=2e-3)


def test_views_along_the_axes_are_sums():
    image = np.random.default_rng(0).random((13, 10))
    sinogram = ct.radon(image, [0, 90, 180, 270], pixel_mm=2)
    n = sinogram.shape[1]
    columns = slice((n - 10) // 2, (n + 10) // 2)
    np.testing.assert_allclose(sinogram[0, columns], 2 * image.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sinogram[2], sinogram[0, ::-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sinogram[3], sinogram[1, ::-1], rtol=1e-4, atol=1e-5)
    rows = ct.radon(image[:12], [90], pixel_mm=2, n_detectors=12)[0]  # at 90° s = −y
    np.testing.assert_allclose(rows, 2 * image[:12].sum(axis=1)[::-1], rtol=1e-5)


def test_radon_is_that_of_skimage():
    image = np.pad(head(), ((0, 1), (0, 1)))  # 97: skimage turns about pixel n // 2, the center of odd sizes only
    angles = np.arange(0, 180, 7.5)
    ours, theirs = ct.radon(image, angles, n_detectors=97), skimage_radon(image, angles, circle=True).T
    assert np.abs(ours - theirs).mean() < 0.005 * theirs.max()
    assert np.abs(ct.radon(image, -angles, n_detectors=97) - theirs).mean() > 0.01 * theirs.max()


def test_the_fan_beam_sinogram_of_a_disk_is_its_chord():
    image = disk(radius=25)
    sinogram = ct.fan_radon(image, [0, 37, 90, 222], source_mm=150)
    s = offset(sinogram.shape[1])
    distance = np.abs(s) * 150 / np.hypot(150, s)  # of the ray from the center
    chord = 0.02 * 2 * np.sqrt(np.maximum(25**2 - distance**2, 0))
    inside = distance < 22
    np.testing.assert_allclose(sinogram[:, inside], np.broadcast_to(chord[inside], (4, inside.sum())), atol=0.008)


@pytest.mark.parametrize("angle", [0, 30, 90, 200])
def test_the_fan_opens_from_the_source(angle):
    """A small disk on the source's side is seen enlarged, farther out than parallel rays show it."""
    a = math.radians(angle)
    ahead, right = np.array((math.cos(a), math.sin(a))), np.array((-math.sin(a), math.cos(a)))  # (y, x)
    for depth in (-20, 0, 20):
        image = disk(radius=4, center=depth * ahead + 10 * right)
        view = ct.fan_radon(image, [angle], source_mm=100)[0]
        assert np.average(offset(view.size), weights=view) == pytest.approx(10 * 100 / (100 + depth), abs=0.15)


def test_far_source_gives_parallel_rays():
    image = head()
    fan = ct.fan_radon(image, HALF_TURN[::10], source_mm=1e6, n_detectors=120)
    np.testing.assert_allclose(fan, ct.radon(image, HALF_TURN[::10], n_detectors=120), atol=0.02)


def test_radon_and_backprojection_are_nearly_adjoint():
    rng = np.random.default_rng(2)
    image, angles = disk() * (1 + 0.1 * rng.random((96, 96))), np.arange(0, 180, 3.0)
    sinogram = ct.radon(image, angles)
    views = ct.radon(disk(radius=20, center=(5, 8)), angles)
    left = (sinogram * views).sum()
    right = (image * ct.backproject(views, angles, shape=image.shape)).sum() * angles.size / math.pi
    assert left == pytest.approx(right, rel=0.01)


# ---- Reconstruction


@pytest.mark.parametrize("pixel", [1.0, 0.4])
def test_fbp_returns_the_slice(pixel):
    image = disk((97, 96), 30 * pixel, pixel=pixel)
    sinogram = ct.radon(image, HALF_TURN, pixel_mm=pixel)
    result = ct.fbp(sinogram, HALF_TURN, shape=image.shape, pixel_mm=pixel)
    distance = np.hypot(offset(97, pixel)[:, None], offset(96, pixel))
    assert result[distance < 27 * pixel].mean() == pytest.approx(0.02, rel=0.003)
    np.testing.assert_allclose(result[distance < 27 * pixel], 0.02, rtol=0.03)
    np.testing.assert_allclose(result[distance > 34 * pixel], 0, atol=0.0007)
    assert result.dtype == np.float32


@pytest.mark.parametrize("window", ct.WINDOWS)
def test_fbp_is_iradon(window):
    image = np.pad(head(), ((0, 1), (0, 1)))  # 97: skimage's center and ours coincide
    sinogram = ct.radon(image, HALF_TURN, n_detectors=97)
    ours = ct.fbp(sinogram, HALF_TURN, shape=image.shape, window=window)
    theirs = iradon(sinogram.T.astype(float), HALF_TURN, filter_name=window)
    circle = np.hypot(offset(97)[:, None], offset(97)) < 46
    np.testing.assert_allclose(ours[circle], theirs[circle], atol=0.002)


def test_the_ramp_is_the_transform_of_its_samples():
    n = 32
    delta = np.zeros((1, n))
    delta[0, 10] = 1
    response = ct.filter_views(delta)[0]
    distance = np.arange(n) - 10
    expected = np.where(distance % 2, -1 / (math.pi * np.where(distance, distance, 1)) ** 2, 0)
    expected[10] = 0.25
    np.testing.assert_allclose(response, expected, atol=1e-6)
    np.testing.assert_allclose(ct.filter_views(delta, pixel_mm=4)[0], response / 4, atol=1e-6)


def test_a_whole_turn_is_twice_half_a_turn():
    image = head()
    half, whole = (
        ct.fbp(ct.radon(image, angles), angles, shape=image.shape) for angles in (HALF_TURN, np.arange(360.0))
    )
    np.testing.assert_allclose(half, whole, atol=0.02)


@pytest.mark.parametrize(("source", "gain"), [(90, 3), (300, 1.3)])
def test_fan_fbp_returns_the_slice(source, gain):
    image = disk(radius=30, center=(6, -4))
    sinogram = ct.fan_radon(image, TURN, source_mm=source)
    result = ct.fan_fbp(sinogram, TURN, source_mm=source, shape=image.shape)
    distance = np.hypot(offset(96)[:, None] - 6, offset(96) + 4)
    assert result[distance < 27].mean() == pytest.approx(0.02, rel=0.005)
    np.testing.assert_allclose(result[distance < 27], 0.02, rtol=0.04)
    wrong = ct.fbp(sinogram, TURN, shape=image.shape)  # without the two weights
    assert np.abs(wrong - image).mean() > gain * np.abs(result - image).mean()


def test_plain_backprojection_of_a_point_blurs_as_one_over_distance():
    image = np.zeros((97, 97))
    image[48, 48] = 1
    angles = np.arange(0, 180, 0.5)
    blurred = ct.fbp(ct.radon(image, angles), angles, shape=image.shape, window="none")
    for distance in (10, 20, 40):
        assert blurred[48, 48 + distance] == pytest.approx(1 / distance, rel=0.05)
        assert blurred[48 + distance, 48] == pytest.approx(1 / distance, rel=0.05)


# ---- What the controls do


def test_more_views_fewer_streaks():
    truth = head()
    errors = []
    for n in (8, 20, 60, 180):
        angles = np.arange(n) * 180 / n
        errors.append(error(ct.fbp(ct.radon(truth, angles), angles, shape=truth.shape), truth))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 5 * errors[-1]


def test_a_missing_wedge_loses_the_edges_along_the_missing_rays():
    """Rays along y (θ near 0) show the left and right rims; without them those fade, top and bottom stay."""
    image = disk(radius=30, mu=1)
    angles = np.arange(40, 140, 1.0)
    result = ct.fbp(ct.radon(image, angles), angles, shape=image.shape)
    edge_x = result[46:50, 14:18].mean() - result[46:50, 20:24].mean()
    edge_y = result[14:18, 46:50].mean() - result[20:24, 46:50].mean()
    assert abs(edge_y) > 2 * abs(edge_x)


def test_truncated_views_brighten_the_rim():
    image = disk(radius=40, mu=1)
    sinogram = ct.radon(image, HALF_TURN, n_detectors=50)
    result = ct.fbp(sinogram, HALF_TURN, shape=image.shape)
    assert result[48, 48 + 23] > 1.2 * result[48, 48]


def test_smoother_windows_have_less_noise_and_less_sharp_edges():
    image = disk(mu=0.02)
    sinogram = ct.add_photon_noise(ct.radon(image, HALF_TURN), photons=1e4)
    noises, edges = [], []
    for window in ct.WINDOWS:
        result = ct.fbp(sinogram, HALF_TURN, shape=image.shape, window=window)
        noises.append(result[38:58, 38:58].std())
        sharp = ct.fbp(ct.radon(image, HALF_TURN), HALF_TURN, shape=image.shape, window=window)
        edges.append(np.abs(np.diff(sharp[48])).max())
    assert noises == sorted(noises, reverse=True)
    assert edges == sorted(edges, reverse=True)


@pytest.mark.parametrize("line_integral", [0.0, 1.5, 4.0])
def test_the_variance_of_a_line_integral(line_integral):
    noisy = ct.add_photon_noise(np.full((100, 300), line_integral), photons=1e5)
    assert noisy.var() == pytest.approx(math.exp(line_integral) / 1e5, rel=0.03)
    assert noisy.mean() == pytest.approx(line_integral, abs=1e-3)


def test_a_quarter_of_the_dose_is_twice_the_noise():
    sinogram = ct.radon(disk(), HALF_TURN)
    clean = ct.fbp(sinogram, HALF_TURN, shape=(96, 96))
    low, high = (
        (ct.fbp(ct.add_photon_noise(sinogram, photons=n), HALF_TURN, shape=(96, 96)) - clean).std() for n in (5e4, 2e5)
    )
    assert low / high == pytest.approx(2, rel=0.05)


def test_the_noise_of_fbp_has_the_variance_of_the_theory():
    """White noise σ in the views: variance σ² π² / (12 · views) for the ramp, less where views are interpolated."""
    views = np.random.default_rng(3).normal(0, 1, (180, 137))
    variance = ct.fbp(views, HALF_TURN, shape=(96, 96))[30:66, 30:66].var()
    theory = math.pi**2 / (12 * 180)
    # midway between two detectors their mean has half the variance of white noise, and less of the ramp's
    assert theory / 3 < variance < theory


def test_electronic_noise_hurts_where_few_photons_arrive():
    def ratio(p):
        with_, without = (
            ct.add_photon_noise(np.full((100, 100), p), photons=1e4, electronic_noise=e).std() for e in (20, 0)
        )
        return with_ / without

    assert ratio(4.0) > 1.5 > 1.1 > ratio(0.0)


def test_beam_hardening_cups_and_a_single_energy_does_not():
    water = disk(radius=120, mu=1, pixel=3.0)
    mu, spectrum = np.array([xray.MU_PER_MM["water"]]), [1, 2, 3, 2, 1]
    cupping = []
    for energies in (slice(2, 3), slice(None)):
        sinogram = ct.polyenergetic_radon(
            water[None], HALF_TURN, mu_per_mm=mu[:, energies], spectrum=spectrum[energies], pixel_mm=3
        )
        result = ct.fbp(sinogram, HALF_TURN, shape=water.shape, pixel_mm=3)
        rim, middle = result[48, 48 + 34 : 48 + 37].mean(), result[44:52, 44:52].mean()
        cupping.append(rim / middle - 1)
    assert abs(cupping[0]) < 0.005
    assert cupping[1] > 0.01


def test_metal_throws_streaks_between_the_pieces():
    water = disk(radius=40, mu=1)
    metal = disk(radius=4, center=(0, -20), mu=1) + disk(radius=4, center=(0, 20), mu=1)
    mu, spectrum = np.array([xray.MU_PER_MM["water"], 10 * np.array(xray.MU_PER_MM["cortical_bone"])]), [1, 2, 3, 2, 1]
    result = {}
    for name, pieces in {"plain": 0 * metal, "metal": metal}.items():
        options = {"mu_per_mm": mu, "spectrum": spectrum, "pixel_mm": 3.0}
        sinogram = ct.polyenergetic_radon(np.stack([water - pieces * water, pieces]), HALF_TURN, **options)
        noisy = ct.add_photon_noise(sinogram, photons=1e4)
        result[name] = ct.fbp(noisy, HALF_TURN, shape=water.shape, pixel_mm=3.0)
    between, above = np.s_[46:50, 42:54], np.s_[20:26, 42:54]
    assert result["metal"][between].mean() < 0.8 * result["plain"][between].mean()  # a dark band
    assert result["metal"][above].mean() > 0.9 * result["plain"][above].mean()
    assert result["metal"][between].std() > 2 * result["plain"][between].std()


# ---- Units and relatives


def test_hounsfield_units():
    assert ct.to_hounsfield([0, 0.02, 0.04], water_per_mm=0.02).tolist() == [-1000, 0, 1000]
    hu = np.array([-1000, -100, 0, 50, 1500])
    np.testing.assert_allclose(ct.to_hounsfield(ct.from_hounsfield(hu, water_per_mm=0.019), water_per_mm=0.019), hu)
    assert ct.from_hounsfield(-1024, water_per_mm=0.02) == 0


def test_ultrasound_arrives_earlier_through_faster_tissue_and_fbp_finds_the_speed():
    speed = 1480 + disk(radius=30, mu=70) - disk(radius=8, center=(10, 0), mu=150)
    delays = ct.ultrasound_delays(speed, HALF_TURN, water_m_per_s=1480, pixel_mm=1.5)
    middle = delays.shape[1] // 2
    expected = 1.5 * (1000 / speed - 1000 / 1480)[:, 47:49].sum(axis=0)
    np.testing.assert_allclose(delays[0, middle - 1 : middle + 1], expected, rtol=1e-3)
    assert delays[0, middle + 20] < 0  # past the cyst, through fast tissue alone
    result = ct.ultrasound_fbp(delays, HALF_TURN, water_m_per_s=1480, shape=speed.shape, pixel_mm=1.5)
    inside = np.hypot(offset(96)[:, None], offset(96)) < 27
    np.testing.assert_allclose(result[inside], speed[inside], atol=35)  # the rim of the cyst rings
    assert result[24:30, 44:52].mean() == pytest.approx(1550, abs=2)
    assert result[56:60, 46:50].mean() == pytest.approx(1400, abs=4)


def test_emission_of_a_disk_without_attenuation_is_its_chord():
    image = disk(radius=25, mu=3)
    angles = [0, 40, 90, 300]
    expected = ct.radon(image, angles)
    np.testing.assert_allclose(ct.emission_radon(image, angles), expected, atol=0.03 * expected.max())


@pytest.mark.parametrize("mu", [0.005, 0.03, 0.15])
def test_emission_of_an_attenuating_disk(mu):
    """On a chord of length L of a uniform disk: activity · (1 − exp(−μ L)) / μ."""
    body = disk(radius=30, mu=1)
    sinogram = ct.emission_radon(2 * body, [0, 70, 180], mu_per_mm=mu * body)
    s = offset(sinogram.shape[1])
    inside = np.abs(s) < 27
    chord = 2 * np.sqrt(30**2 - s[inside] ** 2)
    expected = np.broadcast_to(2 * -np.expm1(-mu * chord) / mu, (3, inside.sum()))
    np.testing.assert_allclose(sinogram[:, inside], expected, rtol=0.02)


def test_the_camera_sees_what_is_near_it_best():
    body = disk(radius=40, mu=0.015)
    low = disk(radius=4, center=(30, 0), mu=1)  # y > 0: near the camera at 0
    near, far = ct.emission_radon(low, [0, 180], mu_per_mm=body).sum(axis=1)
    assert near / far == pytest.approx(math.exp(0.015 * 60), rel=0.05)
    transmitted = ct.radon(body, [0, 180])
    np.testing.assert_allclose(transmitted[0], transmitted[1, ::-1], atol=1e-4)  # which transmission never does


# ---- Arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ct.radon(np.zeros((4, 4, 4)), [0]), r"image must hold real numbers with axes \(rows, columns\)"),
        (lambda: ct.radon(np.zeros((4, 4)), [np.nan]), "angles_deg must be finite"),
        (lambda: ct.radon(np.zeros((4, 4)), [0], pixel_mm=0), "pixel_mm must be a positive number of mm; got 0"),
        (lambda: ct.radon(np.zeros((4, 4)), [0], n_detectors=0), "n_detectors must be a whole number above 0; got 0"),
        (lambda: ct.fan_radon(np.zeros((4, 4)), [0], source_mm=2), "source_mm must be more than 3 mm, outside"),
        (lambda: ct.fan_radon(np.zeros((4, 4)), [0], source_mm=math.inf), "and finite; got inf"),
        (
            lambda: ct.fbp(np.zeros((3, 9)), [0, 1], shape=(4, 4)),
            r"got shape \(3, 9\) \(views, detectors\) and 2 angles",
        ),
        (lambda: ct.fbp(np.zeros((1, 9)), [0], shape=(4,)), "shape must be whole numbers above 0"),
        (
            lambda: ct.filter_views(np.zeros((1, 9)), window="hamm"),
            "window must be one of 'none', 'ramp', 'shepp-logan'",
        ),
        (lambda: ct.add_photon_noise(-np.ones((2, 2)), photons=5), r"sinogram must be 0 or more everywhere; got -1"),
        (lambda: ct.to_hounsfield(0.02, water_per_mm=0), "water_per_mm must be a positive number of 1/mm"),
        (lambda: ct.ultrasound_delays(np.zeros((4, 4)), [0], water_m_per_s=1500), "speed_m_per_s must be above 0 m/s"),
        (
            lambda: ct.emission_radon(np.zeros((4, 4)), [0], mu_per_mm=np.zeros((4, 5))),
            r"must have one shape; got \(4, 4\) and \(4, 5\)",
        ),
        (
            lambda: ct.polyenergetic_radon(-np.ones((1, 4, 4)), [0], mu_per_mm=[[1]], spectrum=[1]),
            "materials must be 0 or more",
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_nothing_and_one_pixel():
    assert not ct.fbp(ct.radon(np.zeros((5, 7)), [0, 90]), [0, 90], shape=(5, 7)).any()
    np.testing.assert_allclose(ct.radon([[2.0]], [0, 90], pixel_mm=3, n_detectors=1), 6)
