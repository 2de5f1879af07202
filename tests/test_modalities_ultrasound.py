"""Ultrasound: closed forms of pulse, beam, attenuation, speckle and Doppler; directions of every control; arguments."""

import math

import numpy as np
import pytest
from scipy import fft
from scipy import signal as scipy_signal

from medlearn.modalities import ultrasound
from medlearn.modalities.ultrasound import Probe

PROBE = Probe()


def width_at_half(values, step):
    """Full width at half of the maximum, with linear interpolation between samples."""
    values = np.asarray(values) / np.max(values)
    above = np.flatnonzero(values >= 0.5)
    first, last = above[0], above[-1]
    left = first - (values[first] - 0.5) / (values[first] - values[first - 1])
    right = last + (values[last] - 0.5) / (values[last] - values[last + 1])
    return (right - left) * step


def tissue(rows=128, lines=64, *, scattering=0.0, attenuation=0.0):
    """Homogeneous tissue: impedance, scattering, attenuation."""
    shape = (rows, lines) if lines else rows
    return np.full(shape, 1.6), np.full(shape, scattering), np.full(shape, attenuation)


def point_echo(probe, *, depth_row=120, rows=256, lines=257, pixel_mm=(0.25, 0.1)):
    """Envelope of one thin reflector in the middle line, and the depth between samples."""
    impedance, scattering, attenuation = tissue(rows, lines)
    impedance[depth_row:, lines // 2] = 1.7
    rf, sample_mm = ultrasound.rf_lines(impedance, scattering, attenuation, pixel_mm=pixel_mm, probe=probe)
    return ultrasound.envelope(rf), sample_mm


# ---- Pulse and beam


@pytest.mark.parametrize("bandwidth", [0.3, 0.6])
def test_the_spectrum_of_the_pulse_has_its_bandwidth(bandwidth):
    probe = Probe(frequency_mhz=4, bandwidth=bandwidth)
    time = np.arange(-4096, 4096) * 0.005
    spectrum = np.abs(np.fft.rfft(ultrasound.pulse(time, probe)))
    frequency = np.fft.rfftfreq(time.size, 0.005)
    assert frequency[spectrum.argmax()] == pytest.approx(4, abs=0.03)
    assert width_at_half(spectrum, frequency[1]) == pytest.approx(4 * bandwidth, rel=0.01)


@pytest.mark.parametrize(("frequency_mhz", "bandwidth"), [(3, 0.5), (5, 0.6), (7, 0.4)])
def test_axial_resolution_is_the_width_of_a_thin_reflector(frequency_mhz, bandwidth):
    probe = Probe(frequency_mhz=frequency_mhz, bandwidth=bandwidth)
    strength, sample_mm = point_echo(probe)
    closed_form = 2 * math.log(2) / math.pi * 1.54 / (bandwidth * frequency_mhz)
    assert probe.axial_resolution_mm == pytest.approx(closed_form)
    assert width_at_half(strength[:, 128], sample_mm) == pytest.approx(closed_form, rel=0.02)
    assert strength[:, 128].argmax() * sample_mm == pytest.approx(30, abs=sample_mm)


def test_a_higher_frequency_and_a_shorter_pulse_resolve_better():
    assert Probe(frequency_mhz=10).axial_resolution_mm < Probe(frequency_mhz=5).axial_resolution_mm
    assert Probe(bandwidth=0.8).axial_resolution_mm < Probe(bandwidth=0.4).axial_resolution_mm
    assert Probe(frequency_mhz=10).lateral_resolution_mm(30) < Probe(frequency_mhz=5).lateral_resolution_mm(30)
    assert Probe(aperture_mm=20).lateral_resolution_mm(30) < Probe(aperture_mm=10).lateral_resolution_mm(30)


@pytest.mark.parametrize("depth_mm", [12.0, 30.0, 55.0])
def test_beam_width_is_that_of_the_fresnel_integral_of_the_aperture(depth_mm):
    k = 2 * math.pi / PROBE.wavelength_mm
    source = np.linspace(-20, 20, 8001)
    lens = np.exp(-((source / (PROBE.aperture_mm / 2)) ** 2) - 0.5j * k * source**2 / PROBE.focus_mm)
    across = np.linspace(-8, 8, 1601)
    field = np.array([(lens * np.exp(0.5j * k * (x - source) ** 2 / depth_mm)).sum() for x in across])
    two_way = np.abs(field) ** 2  # amplitude on sending times sensitivity on receiving
    assert width_at_half(two_way, across[1] - across[0]) == pytest.approx(
        PROBE.lateral_resolution_mm(depth_mm), rel=0.005
    )


@pytest.mark.parametrize("depth_row", [60, 120, 180])
def test_a_point_is_as_wide_as_the_beam(depth_row):
    strength, _ = point_echo(PROBE, depth_row=depth_row)
    expected = PROBE.lateral_resolution_mm(depth_row * 0.25)
    assert width_at_half(strength.max(axis=0), 0.1) == pytest.approx(expected, rel=0.03)


def test_an_echo_at_one_edge_does_not_appear_at_the_other():
    impedance, scattering, attenuation = tissue(128, 100)
    impedance[60:, 0] = 1.7
    rf, _ = ultrasound.rf_lines(impedance, scattering, attenuation, pixel_mm=(0.25, 0.2), probe=PROBE)
    assert np.abs(rf[:, -1]).max() < 1e-3 * np.abs(rf[:, 0]).max()


def test_behind_what_stops_all_sound_the_picture_is_black():
    """No trace of the strong echoes at the transducer, not even where the gain for depth amplifies most."""
    impedance, scattering, attenuation = tissue(300, 32, scattering=0.1, attenuation=0.5)
    attenuation[40:50] = 1000
    options = {"gain_db_per_cm_mhz": 0.6, "reference": 0.05, "dynamic_range_db": 60}
    picture = ultrasound.b_mode(impedance, scattering, attenuation, pixel_mm=(0.3, 0.5), probe=PROBE, **options)
    assert picture[10:35].mean() > 0.3
    assert picture[60:].max() == 0


def test_the_picture_is_the_compressed_envelope_of_the_rf_lines():
    maps = tissue(100, 24, scattering=0.1, attenuation=0.5)
    options = {"pixel_mm": (0.3, 0.5), "probe": PROBE, "seed": 3}
    rf, _ = ultrasound.rf_lines(*maps, **options)
    power = (ultrasound.envelope(rf).reshape(100, -1, 24) ** 2).mean(axis=1)
    expected = ultrasound.log_compress(np.sqrt(power), dynamic_range_db=40, reference=0.1)
    picture = ultrasound.b_mode(*maps, **options, dynamic_range_db=40, reference=0.1)
    assert picture[5:-5] == pytest.approx(expected[5:-5], abs=0.005)  # at the ends the lines are cut off


# ---- Echo strength


def test_a_flat_interface_returns_its_reflection():
    impedance, scattering, attenuation = tissue()
    impedance[64:] = 1.7
    rf, sample_mm = ultrasound.rf_lines(impedance, scattering, attenuation, pixel_mm=(0.2, 0.3), probe=PROBE)
    assert np.abs(rf).max(axis=0) == pytest.approx(0.1 / 3.3, rel=1e-4)
    assert rf[:, 5].argmax() * sample_mm == pytest.approx(64 * 0.2)


def test_round_trip_loses_decibels_by_depth_and_frequency():
    _, _, attenuation = tissue(101, 1, attenuation=0.5)
    left = ultrasound.round_trip(np.ones((101, 1)), attenuation, row_mm=1.0, probe=Probe(frequency_mhz=3))
    assert -20 * np.log10(left[100, 0]) == pytest.approx(2 * 0.5 * 3 * 10)  # 10 cm there and back


def test_an_interface_lets_pass_what_it_does_not_reflect():
    impedance = np.array([1.0, 1.0, 3.0, 3.0])
    left = ultrasound.round_trip(impedance, np.zeros(4), row_mm=1.0, probe=PROBE)
    assert left == pytest.approx([1, 1, 1, 1 - 0.25])
    assert ultrasound.reflection(impedance) == pytest.approx([0, 0, 0.5, 0])


def test_speckle_has_the_expected_power_and_rayleigh_statistics():
    probe = Probe(focus_mm=25, aperture_mm=16)
    maps = tissue(240, 400, scattering=0.1)
    rf, _ = ultrasound.rf_lines(*maps, pixel_mm=(0.2, 0.3), probe=probe)
    rows = slice(len(rf) // 2 - 40, len(rf) // 2 + 40)  # around 24 mm
    expected = 0.05 * math.sqrt(probe.axial_resolution_mm / probe.lateral_resolution_mm(24))
    assert rf[rows].std() == pytest.approx(expected, rel=0.05)
    strength = ultrasound.envelope(rf)[rows]
    assert strength.mean() / strength.std() == pytest.approx(math.sqrt(math.pi / (4 - math.pi)), rel=0.05)


def test_speckle_strength_does_not_depend_on_the_grid():
    coarse, _ = ultrasound.rf_lines(*tissue(120, 200, scattering=0.1), pixel_mm=(0.4, 0.4), probe=PROBE)
    fine, _ = ultrasound.rf_lines(*tissue(300, 400, scattering=0.1), pixel_mm=(0.16, 0.2), probe=PROBE)
    line, _ = ultrasound.m_mode(
        *tissue(300, 0, scattering=0.1), displacement_mm=np.zeros((300, 1)), row_mm=0.16, probe=PROBE
    )
    assert coarse.std() == pytest.approx(fine.std(), rel=0.05)
    assert line.std() == pytest.approx(fine.std(), rel=0.2)  # a single line has few independent samples


def test_speckle_is_repeatable_and_changes_with_the_seed():
    maps = tissue(64, 32, scattering=0.1)
    first, again, other = (ultrasound.b_mode(*maps, pixel_mm=(0.2, 0.2), probe=PROBE, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("count", [300, 301, 315])
def test_envelope_is_that_of_scipy(count):
    rf = np.random.default_rng(0).normal(size=(count, 3))
    padded = fft.next_fast_len(count)  # 300, 308, 315
    expected = np.abs(scipy_signal.hilbert(rf, padded, axis=0))[:count]
    assert ultrasound.envelope(rf) == pytest.approx(expected, abs=1e-12)


# ---- Pictures


def mean_gray(picture, rows, columns):
    return picture[rows[0] : rows[1], columns[0] : columns[1]].mean()


def body_with(kind):
    """Soft tissue with a block at rows 60 to 90 of the lines 20 to 44."""
    impedance, scattering, attenuation = tissue(192, 64, scattering=0.05, attenuation=0.5)
    block = np.s_[60:90, 20:44]
    impedance[block], scattering[block], attenuation[block] = {"bone": (6.0, 0.05, 10.0), "fluid": (1.6, 0, 0)}[kind]
    return impedance, scattering, attenuation


def test_bone_casts_a_shadow_and_fluid_lets_more_pass():
    beside, behind = ((110, 180), (0, 8)), ((110, 180), (28, 36))
    for kind, sign in (("bone", -1), ("fluid", 1)):
        picture = ultrasound.b_mode(
            *body_with(kind), pixel_mm=(0.25, 0.5), probe=PROBE, gain_db_per_cm_mhz=0.5, reference=0.05
        )
        assert sign * (mean_gray(picture, *behind) - mean_gray(picture, *beside)) > 0.05
        assert picture.shape == (192, 64)
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_time_gain_makes_attenuated_tissue_even():
    maps = tissue(256, 128, scattering=0.05, attenuation=0.5)
    echoes, sample_mm = ultrasound.rf_lines(*maps, pixel_mm=(0.2, 0.4), probe=PROBE)
    # one lateral width everywhere is not to be had, so compare with tissue that does not attenuate
    clear, _ = ultrasound.rf_lines(*tissue(256, 128, scattering=0.05), pixel_mm=(0.2, 0.4), probe=PROBE)
    corrected = ultrasound.time_gain(echoes, sample_mm=sample_mm, db_per_cm_mhz=0.5, probe=PROBE)
    deep = slice(3 * len(echoes) // 4, None)
    assert echoes[deep].std() < 0.1 * clear[deep].std()
    assert corrected[deep].std() == pytest.approx(clear[deep].std(), rel=0.03)


def test_a_higher_frequency_reaches_less_deep():
    maps = tissue(192, 64, scattering=0.05, attenuation=0.7)
    deep = [
        mean_gray(
            ultrasound.b_mode(*maps, pixel_mm=(0.3, 0.4), probe=Probe(frequency_mhz=f), reference=0.05),
            (150, 190), (0, 64),
        )
        for f in (2, 4, 8)
    ]  # fmt: skip
    assert deep[0] > deep[1] > deep[2]


def test_log_compression_is_linear_in_decibels():
    strength = np.array([1, 10**-0.5, 0.1, 1e-3, 0])
    assert ultrasound.log_compress(strength, dynamic_range_db=40) == pytest.approx([1, 0.75, 0.5, 0, 0])
    assert ultrasound.log_compress(strength, dynamic_range_db=80)[2] > 0.5  # more range shows weak echoes brighter


def test_a_mode_shows_two_interfaces_at_their_depths():
    impedance, scattering, attenuation = tissue(200, 0)
    impedance[50:120] = 1.7
    rf, sample_mm = ultrasound.a_mode(impedance, scattering, attenuation, row_mm=0.2, probe=PROBE)
    peaks, _ = scipy_signal.find_peaks(ultrasound.envelope(rf), height=0.01)
    assert peaks * sample_mm == pytest.approx([10, 24], abs=1.5 * sample_mm)
    assert rf[peaks[0]] == pytest.approx(0.1 / 3.3, rel=0.01)
    assert rf[peaks[1]] < 0  # from hard to soft: the echo is inverted
    weak, _ = ultrasound.a_mode(impedance, scattering, attenuation + 0.5, row_mm=0.2, probe=PROBE)
    ratio = ultrasound.envelope(weak)[peaks] / ultrasound.envelope(rf)[peaks]
    assert 20 * np.log10(ratio) == pytest.approx([-5, -12], abs=0.01)  # 0.5 dB, 5 MHz, 1 and 2.4 cm, there and back


def test_m_mode_follows_a_moving_wall():
    impedance, scattering, attenuation = tissue(200, 0)
    impedance[100:] = 1.7
    motion = 3 * np.sin(np.linspace(0, 2 * math.pi, 40))
    rf, sample_mm = ultrasound.m_mode(
        impedance, scattering, attenuation, displacement_mm=np.tile(motion, (200, 1)), row_mm=0.2, probe=PROBE
    )
    depth_mm = np.arange(len(rf))[:, None] * sample_mm
    expected = 0.1 / 3.3 * ultrasound.pulse(2 * (depth_mm - 20 - motion) / 1.54, PROBE)
    assert rf == pytest.approx(expected, abs=0.1 * 0.1 / 3.3)  # what moving by parts of a sample may cost
    wall_mm = ultrasound.envelope(rf)[: 150 * len(rf) // 200].argmax(axis=0) * sample_mm
    assert wall_mm == pytest.approx(20 + motion, abs=1.5 * sample_mm)


# ---- Doppler


def test_doppler_shift_is_that_of_a_moved_phase():
    shift = ultrasound.doppler_shift_hz(500, angle_deg=60, probe=PROBE)
    assert shift == pytest.approx(2 * 5e6 * 0.5 * 0.5 / 1540)  # 2 f v cos θ / c in SI units
    assert abs(ultrasound.doppler_shift_hz(500, angle_deg=90, probe=PROBE)) < 1e-9
    assert ultrasound.doppler_shift_hz(-500, angle_deg=60, probe=PROBE) == -shift


def mean_frequency_and_width(velocity, *, prf_hz=8000, flatness=1000.0, **options):
    options = {"angle_deg": 30, "probe": PROBE, "prf_hz": prf_hz, "flatness": flatness} | options
    echoes = ultrasound.doppler_signal(np.full(4096, velocity), **options)
    frequency, _, power = ultrasound.doppler_spectrum(echoes, prf_hz=prf_hz, window=128)
    share = power.mean(axis=1) / power.mean(axis=1).sum()
    mean = (frequency * share).sum()
    return mean, math.sqrt(((frequency - mean) ** 2 * share).sum())


@pytest.mark.parametrize("velocity", [300.0, -200.0])
def test_plug_flow_has_one_frequency_and_a_parabola_all_below_it(velocity):
    shift = ultrasound.doppler_shift_hz(velocity, angle_deg=30, probe=PROBE)
    plug, width = mean_frequency_and_width(velocity)
    parabola, spread = mean_frequency_and_width(velocity, flatness=2.0)
    assert plug == pytest.approx(shift, rel=0.03)
    assert parabola == pytest.approx(shift / 2, rel=0.15)  # the mean velocity of a parabola is half of its peak
    assert spread > 2 * width


def test_a_short_gate_and_a_right_angle_change_the_spectrum():
    assert mean_frequency_and_width(300, gate_mm=0.5)[1] > 1.5 * mean_frequency_and_width(300, gate_mm=5)[1]
    means = [mean_frequency_and_width(300, angle_deg=angle)[0] for angle in (0, 45, 80)]
    assert means[0] > means[1] > means[2] > 0


def test_fast_flow_wraps_around_at_half_the_repetition_frequency():
    shift = ultrasound.doppler_shift_hz(600, angle_deg=30, probe=PROBE)
    assert 2000 < shift < 4000
    assert mean_frequency_and_width(600, prf_hz=4000)[0] == pytest.approx(shift - 4000, rel=0.05)


def test_spectrum_keeps_the_power_and_times():
    tone = np.exp(2j * math.pi * 1000 * np.arange(1000) / 8000)
    frequency, time, power = ultrasound.doppler_spectrum(tone, prf_hz=8000, window=64)
    assert frequency[power.argmax(axis=0)] == pytest.approx(1000)
    assert power.sum(axis=0) == pytest.approx(1)
    assert time[0] == pytest.approx(0.004)
    assert np.diff(time) == pytest.approx(0.002)
    echoes = ultrasound.doppler_signal(np.full(8000, 200.0), angle_deg=30, prf_hz=8000, probe=PROBE)
    assert np.mean(np.abs(echoes) ** 2) == pytest.approx(1, rel=0.3)


# ---- Arguments


def test_unfit_arguments_are_refused_by_name():
    z, s, a = tissue(20, 10)
    options = {"pixel_mm": (0.2, 0.2), "probe": PROBE}
    line = (z[:, 0], s[:, 0], a[:, 0])
    for call, words in (
        (lambda: Probe(bandwidth=1.5), "bandwidth"),
        (lambda: Probe(frequency_mhz=0), "frequency_mhz"),
        (lambda: PROBE.lateral_resolution_mm(-1), "depth_mm"),
        (lambda: ultrasound.rf_lines(0 * z, s, a, **options), "impedance"),
        (lambda: ultrasound.rf_lines(z, s - 1, a, **options), "scattering"),
        (lambda: ultrasound.rf_lines(z, s, a - 1, **options), "attenuation_db_per_cm_mhz"),
        (lambda: ultrasound.rf_lines(z[:-1], s, a, **options), "one shape"),
        (lambda: ultrasound.rf_lines(z[0], s[0], a[0], **options), "depth, lines"),
        (lambda: ultrasound.rf_lines(z, s, a, pixel_mm=(0.2,), probe=PROBE), "pixel_mm"),
        (lambda: ultrasound.m_mode(*line, displacement_mm=np.zeros((3, 2)), row_mm=1, probe=PROBE), "displacement_mm"),
        (lambda: ultrasound.m_mode(*line, displacement_mm=np.zeros((20, 2)), row_mm=0, probe=PROBE), "row_mm"),
        (lambda: ultrasound.log_compress(z, dynamic_range_db=0), "dynamic_range_db"),
        (lambda: ultrasound.log_compress(0 * z), "reference"),
        (lambda: ultrasound.doppler_signal([1.0], angle_deg=0, prf_hz=0, probe=PROBE), "prf_hz"),
        (lambda: ultrasound.doppler_spectrum(np.zeros(10), prf_hz=100, window=64), "window"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
