"""MRI: signal equations, k-space and its artefacts, noise and coil against closed forms; the direction of controls."""

import math

import numpy as np
import pytest

from medlearn.modalities import mri

# T1 and T2 in ms, round numbers in the order that tissues have
FAT, WHITE, GRAY, FLUID = (350, 80), (800, 80), (1300, 100), (4000, 2000)


def picture(shape=(64, 48)):
    """A bright ellipse with a dark hole and a bright dot; positive, not symmetric."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    image = 1.0 * (np.hypot(y[:, None] / (shape[0] * 0.3), x / (shape[1] * 0.25)) < 1)
    image[shape[0] // 2 - 6 : shape[0] // 2, shape[1] // 2 - 8 : shape[1] // 2 - 4] = 0.2
    image[shape[0] // 2 + 7, shape[1] // 2 + 3] = 2
    return image


# ---- Signal


def test_t2_decay_and_t1_recovery():
    echoes = np.array([mri.spin_echo(1, 1e-3, 80, tr_ms=1000, te_ms=te) for te in (0, 80, 160)])
    np.testing.assert_allclose(echoes, [1, math.exp(-1), math.exp(-2)])
    recovered = [mri.spin_echo(2, 1000, 1e9, tr_ms=tr, te_ms=0) for tr in (1000 * math.log(2), 1000, 5000)]
    np.testing.assert_allclose(recovered, [1, 2 * (1 - math.exp(-1)), 2 * (1 - math.exp(-5))])
    half = mri.spin_echo(1, 1e-3, 80, tr_ms=1000, te_ms=80 * math.log(2))
    assert half == pytest.approx(0.5)


def spin_echoes(tr_ms, te_ms):
    t1, t2 = np.array([FAT, WHITE, GRAY, FLUID]).T
    return mri.spin_echo(np.array([1.0, 0.7, 0.8, 1.0]), t1, t2, tr_ms=tr_ms, te_ms=te_ms)


def test_weightings_order_the_tissues():
    fat, white, gray, fluid = spin_echoes(tr_ms=500, te_ms=10)
    assert fat > white > gray > fluid  # T1: short T1 is bright
    _, white, gray, fluid = spin_echoes(tr_ms=6000, te_ms=100)
    assert fluid > gray > white  # T2: long T2 is bright
    density = spin_echoes(tr_ms=20000, te_ms=1)
    np.testing.assert_allclose(density, [1, 0.7, 0.8, 1], rtol=0.02)


def test_longer_te_darkens_and_longer_tr_brightens():
    assert (np.diff([spin_echoes(2000, te) for te in (5, 20, 80, 200)], axis=0) < 0).all()
    assert (np.diff([spin_echoes(tr, 20) for tr in (100, 400, 1600, 6400)], axis=0) > 0).all()


@pytest.mark.parametrize(("t1", "tr"), [(800, 10), (1300, 300), (300, 1000)])
def test_the_ernst_angle_gives_most_signal(t1, tr):
    angles = np.arange(0.5, 180, 0.5)
    signal = [mri.gradient_echo(1, t1, 40, tr_ms=tr, te_ms=3, flip_deg=a) for a in angles]
    best = mri.ernst_angle_deg(t1, tr_ms=tr)
    assert angles[np.argmax(signal)] == pytest.approx(best, abs=0.25)
    assert math.cos(math.radians(best)) == pytest.approx(math.exp(-tr / t1))
    e1 = math.exp(-tr / t1)  # the maximum in closed form
    highest = mri.gradient_echo(1, t1, 40, tr_ms=tr, te_ms=0, flip_deg=best)
    assert highest == pytest.approx(math.sqrt((1 - e1) / (1 + e1)))


def test_gradient_echo_at_90_degrees_is_saturation_recovery_with_t2_star():
    signal = mri.gradient_echo(3, 700, 25, tr_ms=400, te_ms=25, flip_deg=90)
    assert signal == pytest.approx(3 * (1 - math.exp(-400 / 700)) * math.exp(-1))
    assert mri.gradient_echo(3, 700, 25, tr_ms=400, te_ms=25, flip_deg=0) == 0


def test_gradient_echo_is_the_steady_state_of_pulses():
    """Pulse after pulse: tip the longitudinal magnetization, spoil what is transverse, recover."""
    flip, e1, along = math.radians(25), math.exp(-15 / 600), 1.0
    for _ in range(2000):
        transverse = along * math.sin(flip)
        along = 1 - (1 - along * math.cos(flip)) * e1
    assert mri.gradient_echo(1, 600, 50, tr_ms=15, te_ms=0, flip_deg=25) == pytest.approx(transverse)


def test_a_larger_flip_angle_turns_density_into_t1_contrast():
    contrast = []
    for flip in (2, 10, 30):
        short, long = mri.gradient_echo(1, np.array([400, 1500]), 40, tr_ms=10, te_ms=3, flip_deg=flip)
        contrast.append(short / long)
    assert contrast == sorted(contrast)
    assert contrast[0] < 1.1 < 2 < contrast[-1]


# ---- k-space


@pytest.mark.parametrize("shape", [(64, 48), (33, 50), (1, 1)])
def test_there_and_back(shape):
    image = np.random.default_rng(0).random(shape)
    k = mri.kspace(image)
    np.testing.assert_allclose(mri.reconstruct(k), image, atol=1e-12)
    assert (np.abs(k) ** 2).sum() == pytest.approx((image**2).sum())  # Parseval
    assert k[shape[0] // 2, shape[1] // 2] == pytest.approx(image.sum() / math.sqrt(image.size))


def test_a_wave_is_a_pair_of_samples():
    y = np.arange(64)
    image = 1 + np.cos(2 * np.pi * 5 * y / 64)[:, None] * np.ones(32)
    k = np.abs(mri.kspace(image))
    assert sorted(map(tuple, np.argwhere(k > 1e-9).tolist())) == [(27, 16), (32, 16), (37, 16)]
    assert k[27, 16] / k[32, 16] == pytest.approx(0.5)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_every_nth_line_wraps_copies_over_the_picture(step):
    image = picture()
    folded = mri.reconstruct(mri.keep_every(mri.kspace(image), step))
    copies = np.mean([np.roll(image, k * 64 // step, axis=0) for k in range(step)], axis=0)
    np.testing.assert_allclose(folded, copies, atol=1e-12)


def test_the_other_lines_hold_the_ghost_with_the_other_sign():
    image = picture()
    k = mri.kspace(image)
    even, odd = mri.keep_every(k, 2), mri.keep_every(k, 2, offset=1)
    np.testing.assert_allclose(even + odd, k)
    np.testing.assert_allclose(mri.reconstruct(odd), np.abs(image - np.roll(image, 32, axis=0)) / 2, atol=1e-12)


@pytest.mark.parametrize("rows", [33, 50, 66])
def test_the_middle_line_is_kept(rows):
    kept = np.flatnonzero(mri.keep_every(np.ones((rows, 3)), 4)[:, 1])
    assert rows // 2 in kept
    assert set(np.diff(kept)) == {4}
    moved = np.flatnonzero(mri.keep_every(np.ones((rows, 3)), 4, offset=1)[:, 1])
    assert rows // 2 + 1 in moved


def test_contrast_is_in_the_middle_and_edges_in_the_rim():
    image = picture()
    k = mri.kspace(image)
    center, rim = mri.keep_center(k, 0.3), mri.keep_rim(k, 0.3)
    np.testing.assert_allclose(center + rim, k)
    body, edges = image == 1, mri.reconstruct(rim)
    assert mri.reconstruct(center)[body].mean() == pytest.approx(1, rel=0.1)
    assert edges[body].mean() < 0.15
    flat, edge = np.s_[36:39, 20:26], np.s_[12:15, 20:26]  # inside the ellipse; across its upper rim
    assert edges[edge].max() > 4 * edges[flat].max()
    assert np.abs(np.diff(mri.reconstruct(center), axis=0)).max() < 0.6 * np.abs(np.diff(image, axis=0)).max()


def test_more_of_the_middle_is_sharper():
    image = picture()
    errors = [
        np.abs(mri.reconstruct(mri.keep_center(mri.kspace(image), r)) - image).mean() for r in (0, 0.2, 0.5, 1, 1.5)
    ]
    assert errors == sorted(errors, reverse=True)
    np.testing.assert_allclose(mri.reconstruct(mri.keep_center(mri.kspace(image), 0)), image.mean())
    assert errors[-1] < 1e-12


def test_cutting_k_space_rings_by_nine_percent_of_an_edge():
    """Gibbs: the overshoot is 8.9 % of the step, however much of k-space is kept; it only gets narrower."""
    image = 1.0 + (np.abs(np.arange(512) - 256) < 128)[:, None] * np.ones(4)
    for radius in (0.1, 0.2, 0.4):
        ringing = mri.reconstruct(np.where(np.abs(np.arange(512) - 256)[:, None] <= 256 * radius, mri.kspace(image), 0))
        assert ringing.max() - 2 == pytest.approx(0.0895, abs=0.01)


@pytest.mark.parametrize(("row", "column"), [(5, 0), (0, 7), (3, -4)])
def test_a_spike_is_a_wave_over_the_picture(row, column):
    image = 10 + picture()
    k = mri.kspace(image)
    striped = mri.reconstruct(mri.add_spike(k, row=row, column=column, amplitude=0.05))
    stripes = np.abs(mri.kspace(striped - image))
    places = {tuple(p) for p in np.argwhere(stripes > 0.5 * stripes.max()).tolist()}
    assert places == {(32 + row, 24 + column), (32 - row, 24 - column)}
    stronger = mri.reconstruct(mri.add_spike(k, row=row, column=column, amplitude=0.1))
    assert (stronger - image).std() / (striped - image).std() == pytest.approx(2, rel=0.05)


# ---- Motion


def test_a_body_that_rests_elsewhere_is_displaced_without_artefact():
    image = picture()
    moved = mri.reconstruct(mri.displace_lines(mri.kspace(image), np.tile([3, -5], (64, 1))))
    np.testing.assert_allclose(moved, np.roll(image, (3, -5), axis=(0, 1)), atol=1e-12)


def test_motion_in_every_second_line_makes_one_ghost_half_a_picture_away():
    image = picture()
    displacement = np.zeros((64, 2))
    displacement[::2] = 0, 2
    moved = mri.displace_lines(mri.kspace(image), displacement)
    # lines at rest and lines of the moved body, each wrapped: a half of both, and the difference as a ghost
    there = np.roll(image, 2, axis=1)
    expected = np.abs((image + there) / 2 + np.roll(there - image, 32, axis=0) / 2)
    np.testing.assert_allclose(mri.reconstruct(moved), expected, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("period", [4, 8])
def test_breathing_makes_ghosts_along_the_phase_encoding(axis, period):
    image = np.zeros((64, 64))
    image[30:34, 30:34] = 1
    displacement = np.zeros((64, 2))
    displacement[:, axis] = 1.5 * np.sin(2 * np.pi * np.arange(64) / period)
    ghosted = mri.reconstruct(mri.displace_lines(mri.kspace(image), displacement))
    first = (32 + 64 // period) % 64
    assert ghosted[first - 2 : first + 2, 28:36].max() > 0.1
    assert ghosted[:, :20].max() < 0.05  # none beside the body along the readout
    displacement *= 0.3
    calmer = mri.reconstruct(mri.displace_lines(mri.kspace(image), displacement))
    assert calmer[first - 2 : first + 2, 28:36].max() < 0.8 * ghosted[first - 2 : first + 2, 28:36].max()


# ---- Noise and coil


def test_noise_is_rician():
    silence = mri.reconstruct(mri.add_noise(mri.kspace(np.zeros((256, 256))), std=3))
    assert silence.mean() == pytest.approx(3 * math.sqrt(math.pi / 2), rel=0.01)  # Rayleigh
    assert silence.std() == pytest.approx(3 * math.sqrt(2 - math.pi / 2), rel=0.01)
    loud = mri.reconstruct(mri.add_noise(mri.kspace(np.full((256, 256), 100.0)), std=3))
    assert loud.std() == pytest.approx(3, rel=0.01)
    assert loud.mean() == pytest.approx(100 + 9 / 200, abs=0.03)  # A + σ² / 2A
    faint = mri.reconstruct(mri.add_noise(mri.kspace(np.full((256, 256), 3.0)), std=3))
    assert (faint**2).mean() == pytest.approx(3**2 + 2 * 3**2, rel=0.02)  # second moment of the Rice distribution


def test_averages_and_seeds():
    k = mri.kspace(np.full((128, 128), 50.0))
    single = mri.reconstruct(mri.add_noise(k, std=2))
    four = mri.reconstruct(sum(mri.add_noise(k, std=2, rng=seed) for seed in range(4)) / 4)
    assert single.std() / four.std() == pytest.approx(2, rel=0.05)
    np.testing.assert_array_equal(mri.add_noise(k, std=2, rng=1), mri.add_noise(k, std=2, rng=1))
    np.testing.assert_array_equal(mri.add_noise(k, std=0), k)


def test_the_coil_on_its_axis():
    """R³ / (R² + d²)^(3/2), relative to the middle of the picture."""
    field = mri.bias_field((81, 41), spacing=(2, 2), coil_mm=(100, 0), radius_mm=40)
    depth = 100 - (np.arange(81) - 40) * 2.0
    on_axis = 40**3 / (40**2 + depth**2) ** 1.5
    np.testing.assert_allclose(field[:, 20], on_axis / on_axis[40])
    assert field[40, 20] == pytest.approx(1)


def test_the_coil_off_its_axis_is_biot_and_savart():
    field = mri.bias_field((9, 11), spacing=(12, 10), coil_mm=(70, 15), radius_mm=30)
    turn = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    wire = np.stack([15 + 30 * np.cos(turn), np.full_like(turn, 70), 30 * np.sin(turn)], axis=1)  # (x, y, z)
    current = np.stack([-np.sin(turn), np.zeros_like(turn), np.cos(turn)], axis=1)

    def strength(y, x):
        away = np.array([x, y, 0]) - wire
        return np.linalg.norm(np.sum(np.cross(current, away) / np.linalg.norm(away, axis=1)[:, None] ** 3, axis=0))

    expected = [[strength((i - 4) * 12, (j - 5) * 10) for j in range(11)] for i in range(9)]
    np.testing.assert_allclose(field, np.array(expected) / strength(0, 0), rtol=1e-9)


def test_near_the_coil_is_brighter_and_a_larger_coil_sees_deeper():
    y_near, y_far = 60, 4
    ratio = []
    for radius in (20, 50, 100):
        field = mri.bias_field((64, 64), spacing=(3, 3), coil_mm=(110, 0), radius_mm=radius)
        ratio.append(field[y_near, 32] / field[y_far, 32])
    assert ratio == sorted(ratio, reverse=True)
    assert ratio[-1] > 1.5


# ---- Arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mri.spin_echo(1, 0, 80, tr_ms=500, te_ms=10), r"t1_ms must be above 0 ms everywhere; got 0\.0"),
        (
            lambda: mri.spin_echo(1, 900, [80, np.nan], tr_ms=500, te_ms=10),
            "t2_ms must be above 0 ms everywhere; got nan",
        ),
        (lambda: mri.spin_echo(-1, 900, 80, tr_ms=500, te_ms=10), "proton_density must be 0 or more everywhere"),
        (lambda: mri.spin_echo(1, 900, 80, tr_ms=0, te_ms=0), "tr_ms must be a positive number of ms; got 0"),
        (lambda: mri.spin_echo(1, 900, 80, tr_ms=50, te_ms=60), "te_ms must not be longer than tr_ms"),
        (lambda: mri.gradient_echo(1, 9, 8, tr_ms=5, te_ms=1, flip_deg=200), "flip_deg must be between 0 and 180"),
        (lambda: mri.ernst_angle_deg(-5, tr_ms=5), "t1_ms must be above 0 ms"),
        (lambda: mri.kspace(np.zeros(5)), r"image must hold real numbers with axes \(y, x\); got shape \(5,\)"),
        (lambda: mri.kspace(np.zeros((2, 2), complex)), "real numbers"),
        (lambda: mri.reconstruct(np.zeros((2, 2, 2))), r"kspace must hold finite numbers with axes \(rows, columns\)"),
        (lambda: mri.reconstruct([[np.inf]]), "kspace must hold finite numbers"),
        (lambda: mri.keep_every(np.ones((4, 4)), 0), "step must be a whole number above 0; got 0"),
        (lambda: mri.keep_center(np.ones((4, 4)), -1), r"radius must be 0 or more everywhere; got -1"),
        (lambda: mri.add_spike(np.ones((4, 4)), row=2, column=0, amplitude=1), "counted from its middle; got 2, 0"),
        (lambda: mri.displace_lines(np.ones((4, 4)), np.zeros((3, 2))), r"each of the 4 rows; got shape \(3, 2\)"),
        (lambda: mri.add_noise(np.ones((4, 4)), std=-1), "std must be 0 or more everywhere"),
        (lambda: mri.bias_field((4, 4), spacing=(1,), coil_mm=(9, 0), radius_mm=3), "spacing must be positive numbers"),
        (lambda: mri.bias_field((4, 4), spacing=(1, 1), coil_mm=(9, 0), radius_mm=0), "radius_mm must be a positive"),
        (lambda: mri.bias_field((5, 5), spacing=(1, 1), coil_mm=(0, 0), radius_mm=2), "wire of the coil goes through"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
