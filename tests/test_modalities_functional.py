"""fMRI, EEG and MEG against closed forms and independent computations."""

import math

import numpy as np
import pytest
from scipy import special, stats

from medlearn.modalities import functional

RNG = np.random.default_rng(0)
SENSORS = functional.cap_positions(60)


# ---- fMRI


def test_response_peaks_after_5_seconds_and_undershoots():
    time = np.linspace(-2, 32, 3401)
    response = functional.hemodynamic_response(time)
    assert response.max() == pytest.approx(1)
    assert 4.9 < time[response.argmax()] < 5.1
    assert 14 < time[response.argmin()] < 17
    assert -0.2 < response.min() < -0.05
    assert (response[time <= 0] == 0).all()


def test_response_is_the_difference_of_two_gamma_densities():
    time = np.linspace(0.1, 30, 300)
    both = stats.gamma.pdf(time, 6) - stats.gamma.pdf(time, 16) / 6
    np.testing.assert_allclose(functional.hemodynamic_response(time), both / both.max(), rtol=2e-4, atol=1e-5)


def test_blocks_and_their_response():
    stimulus = functional.block_design(100, tr_s=2.0, block_s=20.0)
    assert stimulus[:25].tolist() == [0] * 10 + [1] * 10 + [0] * 5
    response = functional.bold_response(np.ones(60), tr_s=1.0)
    assert response[-1] == pytest.approx(1), "a lasting stimulus settles at its strength"
    delayed = functional.bold_response(stimulus, tr_s=2.0)
    assert np.correlate(delayed - delayed.mean(), stimulus - stimulus.mean(), "full").argmax() - 99 == 3  # scans


@pytest.mark.parametrize("tr_s", [0.1, 0.7, 0.72, 2.0])
@pytest.mark.parametrize("scans", [2, 3, 7, 13])
def test_blocks_are_all_of_one_length(tr_s, scans):
    stimulus = functional.block_design(200, tr_s=tr_s, block_s=round(scans * tr_s, 6))
    np.testing.assert_array_equal(stimulus, np.arange(200) // scans % 2)


@pytest.mark.parametrize("value", [0.0, 0.1, 100.0, 700.3])
def test_t_of_a_constant_series_is_0(value):
    design = functional.design_matrix(functional.block_design(60, tr_s=2.0, block_s=16.0), tr_s=2.0)
    _, t = functional.glm_t_map(np.full((60, 2), value), design)
    assert t.tolist() == [0, 0]


def test_series_without_noise_follows_the_model():
    stimulus = functional.block_design(80, tr_s=2.0, block_s=20.0)
    image, active = np.full((4, 5), 100.0), np.zeros((4, 5))
    active[1, 2] = 3.0
    series = functional.bold_series(image, active, stimulus, tr_s=2.0, drift_percent=2.0)
    design = functional.design_matrix(stimulus, tr_s=2.0)
    effect, _ = functional.glm_t_map(series, design)
    np.testing.assert_allclose(effect, active, atol=1e-3)


def test_t_map_equals_an_independent_least_squares():
    stimulus = functional.block_design(60, tr_s=2.0, block_s=16.0)
    series = functional.bold_series(np.full((3, 3), 50.0), np.eye(3) * 4, stimulus, tr_s=2.0, noise=2.0, rng=3)
    design = functional.design_matrix(stimulus, tr_s=2.0)
    effect, t = functional.glm_t_map(series, design)
    for place in np.ndindex(3, 3):
        y = series[(slice(None), *place)].astype(float)
        weights, rest, _, _ = np.linalg.lstsq(design, y, rcond=None)
        variance = rest[0] / (len(y) - design.shape[1])
        error = math.sqrt(variance * np.linalg.pinv(design.T @ design)[0, 0])
        assert effect[place] == pytest.approx(weights[0])
        assert t[place] == pytest.approx(weights[0] / error)


def test_t_of_noise_is_student_distributed():
    stimulus = functional.block_design(40, tr_s=2.0, block_s=16.0)
    series = functional.bold_series(np.zeros(4000), np.zeros(4000), stimulus, tr_s=2.0, noise=1.0, rng=1)
    design = functional.design_matrix(stimulus, tr_s=2.0)
    _, t = functional.glm_t_map(series, design)
    assert stats.kstest(t, stats.t(40 - design.shape[1]).cdf).pvalue > 0.001
    assert 0.0 <= (t > stats.t(36).isf(0.001)).mean() < 0.004


def test_more_scans_find_weaker_activity():
    found = []
    for n in (40, 160):
        stimulus = functional.block_design(n, tr_s=2.0, block_s=20.0)
        series = functional.bold_series(np.full(300, 100.0), np.full(300, 1.0), stimulus, tr_s=2.0, noise=2.0)
        _, t = functional.glm_t_map(series, functional.design_matrix(stimulus, tr_s=2.0))
        found.append(t.mean())
    assert found[1] == pytest.approx(2 * found[0], rel=0.15), "t grows with the root of the number of scans"


# ---- EEG


def test_dipole_in_the_middle_of_the_sphere():
    """3 p cos θ / (4 π σ R²), three times that without a boundary."""
    moment = np.array([0, 0, 10.0])
    found = functional.eeg_potential_uv(SENSORS, (0, 0, 0), moment)
    cosine = SENSORS[:, 2] / 90
    expected = 3 * 10e-9 * cosine / (4 * np.pi * 0.33 * 0.09**2) * 1e6
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("depth", [0.3, 0.7])
def test_radial_dipole_against_the_series_of_legendre_polynomials(depth):
    found = functional.eeg_potential_uv(SENSORS, (0, 0, depth * 90), (0, 0, 10.0))
    n = np.arange(1, 400)
    legendre = special.eval_legendre(n[:, None], SENSORS[:, 2] / 90)
    series = ((2 * n + 1) * depth ** (n - 1)) @ legendre
    np.testing.assert_allclose(found, 10e-9 * series / (4 * np.pi * 0.33 * 0.09**2) * 1e6, rtol=1e-6)


def test_tangential_dipole_against_its_series():
    depth = 0.6
    found = functional.eeg_potential_uv(SENSORS, (0, 0, depth * 90), (10.0, 0, 0))
    cosine = SENSORS[:, 2] / 90
    azimuth = np.arctan2(SENSORS[:, 1], SENSORS[:, 0])
    n = np.arange(1, 300)
    associated = np.array([-special.lpmv(1, k, cosine) for k in n])  # without the Condon-Shortley sign
    series = ((2 * n + 1) / n * depth ** (n - 1)) @ associated * np.cos(azimuth)
    np.testing.assert_allclose(found, 10e-9 * series / (4 * np.pi * 0.33 * 0.09**2) * 1e6, rtol=1e-6, atol=1e-9)


def test_potential_has_mean_zero_over_the_sphere():
    everywhere = functional.cap_positions(20_000, lowest_deg=180)
    found = functional.eeg_potential_uv(everywhere, (20, -10, 50), (5, 3, 8))
    assert abs(found.mean()) < 1e-3 * abs(found).max()


# ---- MEG


def test_radial_dipole_is_silent_outside():
    position = np.array([20.0, 10, 60])
    field = functional.meg_field_ft(1.2 * SENSORS, position, 10 * position / np.linalg.norm(position))
    assert abs(field).max() < 1e-9


def test_radial_component_is_that_of_the_dipole_alone():
    """Currents in the sphere add nothing to it: Biot and Savart's law of the primary current."""
    position, moment = np.array([20.0, 10, 60]), np.array([5.0, -8, 3])
    sensors = 1.2 * SENSORS
    field = functional.meg_field_ft(sensors, position, moment)
    way = (sensors - position) * 1e-3
    primary = 1e-7 * np.cross(moment * 1e-9, way) / np.linalg.norm(way, axis=1, keepdims=True) ** 3 * 1e15
    outward = sensors / np.linalg.norm(sensors, axis=1, keepdims=True)
    np.testing.assert_allclose((field * outward).sum(1), (primary * outward).sum(1), rtol=1e-9, atol=1e-9)


def test_field_outside_has_neither_curl_nor_divergence():
    point, h = np.array([30.0, 40, 95]), 0.01
    moves = h * np.eye(3)
    arguments = ((20.0, 10, 60), (5.0, -8, 3))
    difference = functional.meg_field_ft(point + moves, *arguments) - functional.meg_field_ft(point - moves, *arguments)
    jacobian = difference / (2 * h)  # row: derivative along an axis, column: component
    scale = abs(jacobian).max()
    assert abs(np.trace(jacobian)) < 1e-5 * scale
    assert abs(jacobian - jacobian.T).max() < 1e-5 * scale


def test_deeper_sources_are_weaker_and_wider():
    widths, heights = [], []
    for depth in (75, 50):
        potential = abs(functional.eeg_potential_uv(SENSORS, (0, 0, depth), (0, 0, 10.0)))
        heights.append(potential.max())
        widths.append((potential > potential.max() / 2).sum())
    assert heights[0] > 2 * heights[1]
    assert widths[0] < widths[1]


def test_lead_field_and_why_it_cannot_be_inverted():
    positions = functional.cap_positions(200, radius_mm=70)
    moments = positions / 7
    eeg = functional.lead_field(SENSORS, positions, moments, kind="eeg")
    assert eeg.shape == (60, 200)
    np.testing.assert_allclose(eeg[:, 3], functional.eeg_potential_uv(SENSORS, positions[3], moments[3]))
    assert abs(functional.lead_field(1.2 * SENSORS, positions, moments, kind="meg")).max() < 1e-9, "radial: silent"
    other = np.linalg.svd(eeg)[2][-1]  # a pattern of currents that no electrode notices
    assert abs(eeg @ other).max() < 1e-9 * abs(eeg).max()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: functional.block_design(10, tr_s=0, block_s=5), "tr_s"),
        (lambda: functional.bold_response([], tr_s=2), "stimulus"),
        (lambda: functional.bold_response(np.ones(5), tr_s=16), "too long"),
        (lambda: functional.bold_response(np.ones(5), tr_s=32), "too long"),
        (lambda: functional.bold_series(np.ones(3), np.ones(2), np.ones(9), tr_s=1), "one shape"),
        (lambda: functional.glm_t_map(np.ones((4, 2)), np.ones((4, 5))), "4 scans for 5 columns"),
        (lambda: functional.glm_t_map(np.ones((9, 2)), np.ones((9, 2))), "depend on each other"),
        (lambda: functional.eeg_potential_uv(SENSORS * [[1, 1, 2]], (0, 0, 0), (1, 0, 0)), "one sphere"),
        (lambda: functional.eeg_potential_uv(SENSORS, (0, 0, 95), (1, 0, 0)), "inside the sphere"),
        (lambda: functional.meg_field_ft(SENSORS / 2, (0, 0, 60), (1, 0, 0)), "farther out"),
        (lambda: functional.meg_field_ft(SENSORS, (0, 0), (1, 0, 0)), r"\(x, y, z\)"),
        (lambda: functional.lead_field(SENSORS, [[0, 0, 1]], [[1, 0, 0]], kind="ecg"), "'eeg' or 'meg'"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
