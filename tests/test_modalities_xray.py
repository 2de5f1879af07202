"""X-ray projection: spheres, cubes and spectra with known answers, the direction of every control, arguments."""

import math
import subprocess
import sys

import numpy as np
import pytest

from medlearn.modalities import xray

ENERGIES = np.array(xray.ENERGIES_KEV)
WATER, BONE = (np.array(xray.MU_PER_MM[name]) for name in ("water", "cortical_bone"))


def ball(shape=(40, 44, 48), spacing=(1.0, 1.0, 1.0), radius=12.0, center=(0, 0, 0), mu=0.02):
    """A ball with a soft rim of one mm, centered (z, y, x) mm from the middle of the volume."""
    axes = [(np.arange(n) - (n - 1) / 2) * h - c for n, h, c in zip(shape, spacing, center, strict=True)]
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    return mu * np.clip(radius + 0.5 - distance, 0, 1)


def offset(n, h=1.0):
    return (np.arange(n) - (n - 1) / 2) * h


# ---- Geometry


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 200, -75])
def test_the_shadow_of_a_ball_is_its_chord_from_every_side(angle):
    shadow = xray.project(ball(), spacing=(1, 1, 1), angle_deg=angle, shape=(40, 44))
    distance = np.hypot(offset(40)[:, None], offset(44))
    chord = 0.02 * 2 * np.sqrt(np.maximum(12**2 - distance**2, 0))
    inside = distance < 10  # the rim of 12 mm is soft
    np.testing.assert_allclose(shadow[inside], chord[inside], atol=0.02 * 0.4)  # less than half a voxel
    np.testing.assert_array_equal(shadow[distance > 15], 0)
    mass = ball().sum()  # seen from anywhere, the same
    assert shadow.sum() == pytest.approx(mass, rel=0.002)


def test_without_angle_it_is_the_sum_along_y():
    volume = np.random.default_rng(0).random((6, 7, 9))
    shadow = xray.project(volume, spacing=(3, 0.5, 2))
    np.testing.assert_allclose(shadow, volume.sum(axis=1) * 0.5, rtol=1e-5)
    behind = xray.project(volume, spacing=(3, 0.5, 2), angle_deg=180)
    np.testing.assert_allclose(behind, shadow[:, ::-1], rtol=1e-4)
    side = xray.project(volume, spacing=(3, 0.5, 2), angle_deg=90, shape=(6, 7), pixel_mm=(3, 0.5))
    np.testing.assert_allclose(side, volume.sum(axis=2)[:, ::-1] * 2, rtol=1e-4)


@pytest.mark.parametrize(("angle", "column"), [(0, 8), (90, -5), (180, -8), (270, 5)])
def test_columns_run_to_the_left_of_the_patient_at_angle_0(angle, column):
    volume = ball(radius=3, center=(-10, 5, 8))
    shadow = xray.project(volume, spacing=(1, 1, 1), angle_deg=angle, shape=(40, 48))
    row, col = np.average(offset(40), weights=shadow.sum(1)), np.average(offset(48), weights=shadow.sum(0))
    assert (row, col) == pytest.approx((-10, column), abs=0.05)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 0.8, 1.25)])
@pytest.mark.parametrize("angle", [0, 35, 90, 135])
def test_magnification_of_a_point_source(angle, spacing):
    """A thing at some depth behind the center is enlarged by source-detector / source-thing distance."""
    a = math.radians(angle)
    ahead, right = np.array((math.cos(a), math.sin(a))), np.array((-math.sin(a), math.cos(a)))  # (y, x)
    for depth in (-8, 0, 8):
        y, x = depth * ahead + 6 * right
        shadow = xray.project(
            ball([round(48 / h) for h in spacing], spacing, radius=4, center=(7, y, x)),
            spacing=spacing,
            angle_deg=angle,
            source_to_center_mm=100,
            center_to_detector_mm=25,
            shape=(64, 64),
            pixel_mm=(1, 1),
        )
        row, col = (np.average(offset(64), weights=shadow.sum(axis)) for axis in (1, 0))
        assert row == pytest.approx(7 * 125 / (100 + depth), abs=0.12)
        assert col == pytest.approx(6 * 125 / (100 + depth), abs=0.12)


def test_oblique_rays_through_a_slab_are_longer():
    slab = np.full((60, 4, 60), 0.1)
    shadow = xray.project(
        slab, spacing=(1, 1, 1), source_to_center_mm=40, center_to_detector_mm=0, shape=(31, 31), pixel_mm=(1, 1)
    )
    slope = np.hypot(offset(31)[:, None], offset(31)) / 40
    np.testing.assert_allclose(shadow, 0.4 * np.sqrt(1 + slope**2), rtol=1e-5)


def test_far_source_gives_parallel_rays():
    near_parallel = xray.project(ball(), spacing=(1, 1, 1), angle_deg=20, source_to_center_mm=1e6)
    np.testing.assert_allclose(near_parallel, xray.project(ball(), spacing=(1, 1, 1), angle_deg=20), atol=1e-4)


def test_a_heart_near_the_front_is_larger_in_ap_than_in_pa():
    """Angle 0: rays enter in front, so the front is farther from the detector and is enlarged more."""
    heart = ball((40, 64, 64), radius=10, center=(0, -15, 0))
    options = {"spacing": (1, 1, 1), "source_to_center_mm": 150, "center_to_detector_mm": 50, "shape": (64, 64)}
    ap, pa = (np.count_nonzero(xray.project(heart, angle_deg=angle, **options) > 0.05) for angle in (0, 180))
    assert ap > 1.2 * pa


# ---- Photons


def test_beer_lambert():
    assert xray.transmission(0.0) == 1
    assert xray.transmission(0.02 * 100) == pytest.approx(math.exp(-2))


def test_half_value_layer_and_beam_hardening():
    spectrum = np.array([1, 2, 3, 2, 1.0])
    thickness = np.linspace(0, 300, 31)
    mono = xray.polyenergetic_transmission(thickness[None], WATER[None, 2:3], [1])
    np.testing.assert_allclose(mono, np.exp(-WATER[2] * thickness))
    poly = -np.log(xray.polyenergetic_transmission(thickness[None], WATER[None], spectrum))
    first = (spectrum * WATER).sum() / spectrum.sum()
    assert poly[1] / thickness[1] == pytest.approx(first, rel=0.01)  # a thin layer: the mean attenuation
    assert (np.diff(poly) > 0).all()
    assert (np.diff(poly, 2) < 0).all()  # each further cm counts less
    assert poly[-1] - poly[-2] > WATER.min() * 10  # but never less than for the hardest photons


def test_materials_on_one_ray_multiply():
    thickness = np.array([[100.0, 100.0], [0.0, 10.0]])
    one, both = xray.polyenergetic_transmission(thickness, np.stack([WATER, BONE])[:, 2:3], [7])
    assert both / one == pytest.approx(math.exp(-BONE[2] * 10))


def test_bone_stands_out_less_at_higher_energy():
    assert (np.diff(BONE / WATER) < 0).all()
    assert (np.diff(WATER) < 0).all()


@pytest.mark.parametrize("photons", [30, 1000])
def test_noise_is_poisson(photons):
    counts = xray.expose(np.full((300, 300), 0.4), photons=photons)
    assert counts.mean() == pytest.approx(0.4 * photons, rel=0.01)
    assert counts.var() == pytest.approx(0.4 * photons, rel=0.03)
    electronic = xray.expose(np.full((300, 300), 0.4), photons=photons, electronic_noise=5)
    assert electronic.var() == pytest.approx(0.4 * photons + 25, rel=0.03)


def test_noise_by_seed_and_by_generator():
    flat = np.full((5, 5), 0.5)
    np.testing.assert_array_equal(xray.expose(flat, photons=50, rng=3), xray.expose(flat, photons=50, rng=3))
    rng = np.random.default_rng(3)
    first, second = (xray.expose(flat, photons=50, rng=rng) for _ in range(2))
    assert (first != second).any()


def test_a_hundred_times_the_dose_is_a_tenth_of_the_noise():
    flat = np.full((200, 200), 0.3)
    low, high = (xray.attenuation_image(xray.expose(flat, photons=n), photons=n).std() for n in (1e3, 1e5))
    assert low / high == pytest.approx(10, rel=0.05)


def test_attenuation_image_undoes_the_exposure_and_survives_no_photons():
    line = np.linspace(0, 4, 9)
    counts = 1e5 * xray.transmission(line)
    np.testing.assert_allclose(xray.attenuation_image(counts, photons=1e5), line, atol=1e-12)
    assert xray.attenuation_image([0, -3], photons=100) == pytest.approx([math.log(200)] * 2)


@pytest.mark.parametrize("ratio", [0, 1, 4])
def test_scatter_lowers_the_contrast_of_small_things(ratio):
    primary = np.full((101, 101), 0.5)
    primary[50, 50] = 0.4
    scattered = xray.add_scatter(primary, scatter_to_primary=ratio, std_mm=20, pixel_mm=(1, 1))
    seen = 1 - scattered[50, 50] / scattered[30, 50]
    assert seen == pytest.approx(0.1 / 0.5 / (1 + ratio), rel=0.01)
    assert scattered.mean() == pytest.approx((1 + ratio) * primary.mean(), rel=0.001)


def test_scatter_comes_from_the_body_and_is_as_wide_in_mm_along_both_axes():
    primary = np.ones((121, 61))
    primary[60, 30] = 0.5
    scatter = xray.add_scatter(primary, scatter_to_primary=3, std_mm=6, pixel_mm=(1, 2)) - primary
    assert scatter.sum() == pytest.approx(3 * 0.5)
    for axis, spacing in ((0, 1), (1, 2)):
        profile, place = scatter.sum(axis=1 - axis), offset(primary.shape[axis], spacing)
        assert math.sqrt(np.average(place**2, weights=profile)) == pytest.approx(6, rel=0.02)
    for nothing in (np.ones((4, 4)), np.zeros((4, 4))):
        np.testing.assert_array_equal(
            xray.add_scatter(nothing, scatter_to_primary=3, std_mm=6, pixel_mm=(1, 2)), nothing
        )


def test_scatter_for_each_primary_photon_grows_with_thickness():
    line = np.repeat([1.0, 3.0], 50)[:, None] * np.ones(40)
    primary = np.exp(-line)
    scattered = xray.add_scatter(primary, scatter_to_primary=1, std_mm=3, pixel_mm=(1, 1))
    ratio = scattered / primary - 1
    assert ratio[80, 20] / ratio[20, 20] == pytest.approx(3)  # far from the step: as ∫μ ds


# ---- Angiography


def anatomy_and_vessel():
    rng = np.random.default_rng(1)
    anatomy = 2 + rng.random((40, 40))
    vessel = np.zeros((40, 40))
    vessel[:, 18:21] = 0.3
    return anatomy, vessel


def test_subtraction_leaves_the_contrast_agent():
    anatomy, vessel = anatomy_and_vessel()
    mask, filled = (1e6 * xray.transmission(line) for line in (anatomy, anatomy + vessel))
    np.testing.assert_allclose(xray.digital_subtraction(mask, filled), vessel, atol=1e-12)


def test_motion_between_the_exposures_leaves_anatomy():
    anatomy, vessel = anatomy_and_vessel()
    filled = 1e6 * xray.transmission(anatomy + vessel)
    masks = [1e6 * xray.transmission(np.roll(anatomy, shift, axis=1)) for shift in (0, 1)]
    errors = [np.abs(xray.digital_subtraction(mask, filled) - vessel).mean() for mask in masks]
    assert errors[0] < 1e-12
    assert errors[1] > 0.1


def test_the_noise_of_both_exposures_adds():
    flat = np.full((300, 300), 0.2)
    counts = [xray.expose(flat, photons=1e4, rng=seed) for seed in (0, 1)]
    one = xray.attenuation_image(counts[0], photons=1e4).std()
    assert xray.digital_subtraction(*counts).std() == pytest.approx(math.sqrt(2) * one, rel=0.02)


# ---- Arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mu_per_mm": np.zeros((4, 4))},
            r"mu_per_mm must hold real numbers with axes \(z, y, x\); got shape \(4, 4\)",
        ),
        ({"mu_per_mm": np.full((4, 4, 4), np.nan)}, "mu_per_mm must be finite"),
        ({"spacing": (1, 1)}, r"spacing must be positive numbers of mm, \(z, y, x\); got \(1, 1\)"),
        ({"spacing": 1}, r"spacing must be positive numbers of mm, \(z, y, x\); got 1"),
        ({"spacing": (1, 0, 1)}, "spacing must be positive"),
        ({"source_to_center_mm": 2}, "source_to_center_mm must be more than 3 mm, outside of the volume; got 2"),
        ({"source_to_center_mm": 10, "shape": (12, 3)}, "is larger than its distance from the source, 10 mm"),
        ({"center_to_detector_mm": -1}, "center_to_detector_mm must be 0 or more mm everywhere; got -1"),
        ({"angle_deg": math.nan}, "angle_deg must be a finite number of degrees; got nan"),
        ({"shape": (4, 0)}, r"shape must be whole numbers above 0, \(rows, columns\)"),
        ({"shape": 4}, "shape must be whole numbers above 0"),
        ({"pixel_mm": (1,)}, "pixel_mm must be positive numbers of mm"),
    ],
)
def test_project_refuses(options, message):
    options = {"mu_per_mm": np.zeros((4, 4, 4)), "spacing": (1, 1, 1), **options}
    with pytest.raises(ValueError, match=message):
        xray.project(options.pop("mu_per_mm"), **options)


def test_photons_refuse():
    with pytest.raises(ValueError, match=r"transmission must be 0 or more everywhere; got -0\.1"):
        xray.expose([0.5, -0.1], photons=100)
    with pytest.raises(ValueError, match="transmission must be a share of the photons, at most 1; got 5"):
        xray.add_scatter([[5.0]], scatter_to_primary=1, std_mm=5, pixel_mm=(1, 1))
    with pytest.raises(ValueError, match="photons must be a positive number; got 0"):
        xray.expose([0.5], photons=0)
    with pytest.raises(ValueError, match="photons must be a positive number"):
        xray.attenuation_image([5], photons=-1)
    with pytest.raises(ValueError, match=r"2 materials by the 3 energies of spectrum; got shape \(3, 2\)"):
        xray.polyenergetic_transmission(np.ones((2, 5)), np.ones((3, 2)), np.ones(3))
    with pytest.raises(ValueError, match="the sum of spectrum must be a positive number; got"):
        xray.polyenergetic_transmission(np.ones((2, 5)), np.ones((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="got a single number"):
        xray.polyenergetic_transmission(1.0, np.ones((1, 3)), np.ones(3))
    with pytest.raises(ValueError, match=r"must have one shape; got \(3,\) and \(4,\)"):
        xray.digital_subtraction(np.ones(3), np.ones(4))


def test_modules_are_loaded_when_used():
    code = (
        "import sys, medlearn.modalities as m; "
        "assert not any(n in sys.modules for n in ('scipy', 'numba', 'medlearn.modalities.xray')); "
        "m.mri.kspace; assert {'ct', 'mri', 'xray'} <= set(dir(m)), dir(m); "
        "assert 'medlearn.phantom' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
