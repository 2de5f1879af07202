"""Nuclear medicine against closed forms: resolutions, attenuation, Poisson counts, and what MLEM promises."""

import numpy as np
import pytest

from medlearn.modalities import ct, nuclear

ANGLES = np.arange(0, 180, 4.0)


@pytest.fixture(scope="module")
def slice_():
    picture = np.zeros((48, 48))
    y, x = np.indices(picture.shape) - 23.5
    picture[np.hypot(y, x) < 18] = 1
    picture[np.hypot(y + 6, x - 7) < 4] = 4
    return picture


def width_at_half(profile, step):
    """Full width at half maximum by linear interpolation."""
    half = profile.max() / 2
    above = np.flatnonzero(profile >= half)
    a, b = above[0], above[-1]
    left = a - (profile[a] - half) / (profile[a] - profile[a - 1])
    right = b + (profile[b] - half) / (profile[b] - profile[b + 1])
    return step * (right - left)


# ---- resolution


def test_collimator_of_the_textbook():
    width = nuclear.collimator_resolution_mm([0, 100], hole_mm=1.5, length_mm=25, septa_per_mm=np.inf)
    np.testing.assert_allclose(width, [1.5, 1.5 * 125 / 25])
    penetrated = nuclear.collimator_resolution_mm(100, hole_mm=1.5, length_mm=25, septa_per_mm=2.0)
    np.testing.assert_allclose(penetrated, 1.5 * 124 / 24)


def test_finer_holes_are_paid_with_counts():
    coarse, fine = ({"hole_mm": d, "length_mm": 25} for d in (2.0, 1.0))
    ratio = nuclear.collimator_efficiency(**coarse, septum_mm=0) / nuclear.collimator_efficiency(**fine, septum_mm=0)
    assert ratio == pytest.approx(4)
    assert nuclear.collimator_efficiency(hole_mm=1.5, length_mm=25, septum_mm=0.2) < 3e-4  # a few in ten thousand
    assert nuclear.collimator_resolution_mm(100, **coarse) > nuclear.collimator_resolution_mm(100, **fine)


@pytest.mark.parametrize("depth", [10, 60])
def test_point_in_the_planar_view_is_as_wide_as_the_formula_says(depth):
    activity = np.zeros((3, 40, 121))
    activity[1, depth // 2, 60] = 1000
    settings = {"hole_mm": 1.5, "length_mm": 25.0, "intrinsic_mm": 3.5}
    view = nuclear.planar_view(activity, spacing=(1e3, 2.0, 0.5), distance_mm=50, **settings)
    collimator = nuclear.collimator_resolution_mm(50 + depth, hole_mm=1.5, length_mm=25)
    assert width_at_half(view[1], 0.5) == pytest.approx(np.hypot(collimator, 3.5), rel=0.01)


def test_planar_view_is_weakened_exponentially():
    activity = np.zeros((20, 30, 20))
    activity[10, 15, 10] = 1
    mu = np.full(activity.shape, 0.015)
    settings = {"spacing": (2.0, 2.0, 2.0), "hole_mm": 0.5}
    plain = nuclear.planar_view(activity, **settings).sum()
    assert plain == pytest.approx(1, rel=0.01)
    left = nuclear.planar_view(activity, mu_per_mm=mu, **settings).sum()
    assert left / plain == pytest.approx(np.exp(-0.015 * 15.5 * 2.0))


def test_positron_range_of_the_formula_and_of_nuclides():
    assert nuclear.electron_range_mm(1.0) == pytest.approx(4.12)
    ranges = [float(nuclear.electron_range_mm(nuclear.POSITRON_MEV[n][0])) for n in ("fluorine-18", "rubidium-82")]
    assert 0.5 < ranges[0] < 0.7
    assert ranges[1] > 10 * ranges[0]


def test_three_causes_add_as_squares():
    assert nuclear.coincidence_resolution_mm(crystal_mm=6, ring_mm=1000, range_mm=0) == pytest.approx(np.hypot(3, 2.2))
    parts = {"crystal_mm": 4, "ring_mm": 800}
    assert nuclear.coincidence_resolution_mm(**parts, range_mm=3) > nuclear.coincidence_resolution_mm(**parts)


def test_point_in_pet_is_as_wide_as_the_formula_says():
    activity = np.zeros((61, 61))
    activity[30, 30] = 1
    lines = nuclear.pet_sinogram(activity, [0.0], pixel_mm=1.0, resolution_mm=8.0)
    assert width_at_half(lines[0], 1.0) == pytest.approx(8.0, rel=0.02)


# ---- measuring


def test_spect_without_blur_and_attenuation_is_radon(slice_):
    sharp = {"hole_mm": 1e-6, "intrinsic_mm": 1e-6}
    views = nuclear.spect_sinogram(slice_, ANGLES, pixel_mm=2.0, **sharp)
    lines = ct.radon(slice_, ANGLES, pixel_mm=2.0)
    assert views.shape == lines.shape
    assert np.abs(views - lines).max() < 0.06 * lines.max()
    assert np.abs(views - lines).mean() < 0.01 * lines.max()


def test_spect_weakens_as_emission_radon_does(slice_):
    mu = np.where(slice_ > 0, 0.015, 0.0)
    angles = np.arange(0, 360, 30.0)
    sharp = {"hole_mm": 1e-6, "intrinsic_mm": 1e-6}
    views = nuclear.spect_sinogram(slice_, angles, pixel_mm=2.0, mu_per_mm=mu, **sharp)
    lines = ct.emission_radon(slice_, angles, mu_per_mm=mu, pixel_mm=2.0)
    np.testing.assert_allclose(views.sum(1), lines.sum(1), rtol=0.02)


def test_spect_is_sharper_where_the_camera_is_near():
    activity = np.zeros((81, 81))
    activity[70, 40] = 1
    near, far = nuclear.spect_sinogram(activity, [0.0, 180.0], pixel_mm=2.0, orbit_mm=120)
    assert width_at_half(near, 2.0) < 0.8 * width_at_half(far, 2.0)
    assert width_at_half(near, 2.0) == pytest.approx(
        np.hypot(nuclear.collimator_resolution_mm(60, hole_mm=1.5, length_mm=25), 3.5), rel=0.02
    )


def test_pairs_do_not_care_where_on_the_line_they_begin():
    mu = np.full((40, 40), 0.01)
    sums = []
    for row in (5, 20, 34):
        activity = np.zeros(mu.shape)
        activity[row, 20] = 1
        sums.append(nuclear.pet_sinogram(activity, [0.0], pixel_mm=1.0, resolution_mm=0, mu_per_mm=mu).sum())
    np.testing.assert_allclose(sums, np.exp(-0.01 * 40), rtol=1e-5)


def test_randoms_are_spread_evenly(slice_):
    plain = nuclear.pet_sinogram(slice_, ANGLES, pixel_mm=1.0, resolution_mm=4)
    more = nuclear.pet_sinogram(slice_, ANGLES, pixel_mm=1.0, resolution_mm=4, randoms=0.5)
    assert more.sum() == pytest.approx(1.5 * plain.sum())
    assert np.ptp(more - plain) < 1e-9


def test_counts_have_the_variance_of_their_mean():
    expected = np.linspace(1, 4, 5)
    draws = np.stack([nuclear.count(expected, total=500, rng=k) for k in range(4000)])
    mean = 500 * expected / expected.sum()
    np.testing.assert_allclose(draws.mean(0), mean, rtol=0.01)
    np.testing.assert_allclose(draws.var(0), mean, rtol=0.08)
    assert (nuclear.count(expected, total=500, rng=1) == nuclear.count(expected, total=500, rng=1)).all()


def test_attenuation_from_ct():
    mu = nuclear.mu_at_511([-1000, 0, 47, 1000, -1100])
    np.testing.assert_allclose(mu[:2], [0, nuclear.WATER_511_PER_MM], atol=1e-7)
    assert nuclear.mu_at_511(48) - mu[2] < 2e-4, "both lines meet"
    assert mu[2] < mu[3] < 2 * mu[1], "bone is not as much denser as at 70 keV"
    assert mu[4] == 0


# ---- reconstruction


def test_system_matrix_measures_what_radon_measures(slice_):
    lines = ct.radon(slice_, ANGLES, pixel_mm=1.5)
    system = nuclear.system_matrix(ANGLES, shape=slice_.shape, pixel_mm=1.5)
    ours = (system @ slice_.ravel()).reshape(lines.shape)
    assert np.abs(ours - lines).max() < 0.08 * lines.max(), "a pixel is no square here but a point"
    assert np.abs(ours - lines).mean() < 0.01 * lines.max()
    np.testing.assert_allclose(ours.sum(1), lines.sum(1), rtol=3e-3)


def test_mlem_keeps_counts_and_gets_likelier(slice_):
    counts = nuclear.count(nuclear.pet_sinogram(slice_, ANGLES, pixel_mm=1.0, resolution_mm=0), total=1e5)
    system = nuclear.system_matrix(ANGLES, shape=slice_.shape)
    before = -np.inf
    for n in (1, 2, 3, 10, 30):
        image = nuclear.mlem(counts, ANGLES, shape=slice_.shape, n_iterations=n)
        expected = system @ image.ravel()
        assert image.min() >= 0
        assert expected.sum() == pytest.approx(counts.sum(), rel=1e-9)
        likelihood = nuclear.poisson_log_likelihood(counts.ravel(), expected)
        assert likelihood > before
        before = likelihood


def test_mlem_finds_the_slice_and_beats_fbp_at_few_counts(slice_):
    lines = nuclear.pet_sinogram(slice_, ANGLES, pixel_mm=1.0, resolution_mm=0)
    truth = slice_ / slice_.sum()

    def error(image):
        return np.sqrt(np.mean((image / image.sum() - truth) ** 2)) / truth.max()

    assert error(nuclear.mlem(lines, ANGLES, shape=slice_.shape, n_iterations=100)) < 0.05
    counts = nuclear.count(lines, total=3e4)
    by_mlem = nuclear.mlem(counts, ANGLES, shape=slice_.shape, n_iterations=12)
    by_fbp = ct.fbp(counts, ANGLES, shape=slice_.shape)
    assert error(by_mlem) < 0.7 * error(by_fbp)


def test_attenuation_and_randoms_belong_into_the_model(slice_):
    mu = np.where(slice_ > 0, 0.02, 0.0)
    left = nuclear.survival(mu, ANGLES, pixel_mm=2.0)
    lines = nuclear.pet_sinogram(slice_, ANGLES, pixel_mm=2.0, resolution_mm=0, mu_per_mm=mu, randoms=0.3)
    extra = np.full(lines.shape, lines.mean() * 0.3 / 1.3)
    options = {"shape": slice_.shape, "pixel_mm": 2.0, "n_iterations": 60}
    good = nuclear.mlem(lines, ANGLES, survival=left, randoms=extra, **options)
    naive = nuclear.mlem(lines, ANGLES, **options)
    middle, rim = slice_[22:26, 22:26].mean(), slice_[22:26, 8:11].mean()
    assert good[22:26, 22:26].mean() == pytest.approx(middle, rel=0.1)
    assert good[22:26, 8:11].mean() == pytest.approx(rim, rel=0.2)
    assert naive[22:26, 22:26].mean() < 0.8 * naive[22:26, 8:11].mean(), "the middle looks empty"


def test_subsets_get_as_far_in_fewer_rounds(slice_):
    counts = nuclear.count(nuclear.pet_sinogram(slice_, ANGLES, pixel_mm=1.0, resolution_mm=0), total=1e6)
    system = nuclear.system_matrix(ANGLES, shape=slice_.shape)

    def likelihood(**options):
        image = nuclear.mlem(counts, ANGLES, shape=slice_.shape, **options)
        return nuclear.poisson_log_likelihood(counts.ravel(), system @ image.ravel())

    assert likelihood(n_iterations=3, n_subsets=5) > likelihood(n_iterations=10)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nuclear.collimator_resolution_mm(-1, hole_mm=1, length_mm=20), "distance_mm"),
        (lambda: nuclear.collimator_resolution_mm(1, hole_mm=1, length_mm=0.5), "length_mm must be more than"),
        (lambda: nuclear.electron_range_mm(0), "energy_mev"),
        (lambda: nuclear.count(np.zeros(3), total=10), "not be 0 everywhere"),
        (lambda: nuclear.count(np.ones(3), total=0), "total"),
        (lambda: nuclear.planar_view(np.ones((2, 2)), spacing=(1, 1, 1)), "z, y, x"),
        (lambda: nuclear.spect_sinogram(np.ones((4, 5)), [0.0], pixel_mm=1), "square"),
        (lambda: nuclear.spect_sinogram(np.ones((40, 40)), [0.0], pixel_mm=20), "orbit_mm"),
        (lambda: nuclear.mlem(np.ones((2, 5)), [0.0, 90.0], shape=(8, 8)), "counts must have shape"),
        (lambda: nuclear.mlem(-np.ones((1, 12)), [0.0], shape=(8, 8)), "counts"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
