"""The machines of the modality lab: every dial changes the picture in the direction that physics says."""

import numpy as np
import pytest
from scipy import ndimage

from medlearn import phantom
from medlearn.modalities import ct, mri
from medlearn.widgets import Interval, ModalityLab
from medlearn.widgets.machines import NAMES, Curves, Picture, _bodies, body_through_machines, comparison, machine
from medlearn.widgets.machines import angiography as angiography_machine
from medlearn.widgets.machines import fmri as machine_fmri
from medlearn.widgets.machines import ultrasound as ultrasound_machine


def panels(name, **state):
    """Panels of a machine whose other dials stand where they begin."""
    made = machine(name)
    return made.simulate(**{**made.defaults, **state}).panels


def image(name, panel=0, **state):
    return panels(name, **state)[panel].array


def rmse(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


def coherence(values, axis, lag):
    """Correlation of a texture with itself, `lag` pixels away along an axis: low where grains are fine."""
    values = values - ndimage.uniform_filter1d(values, 15, axis)  # without slow trends
    n = values.shape[axis]
    a, b = values.take(range(n - lag), axis), values.take(range(lag, n), axis)
    return float((a * b).mean() / (values**2).mean())


# ---- All machines


@pytest.mark.parametrize("name", NAMES)
def test_every_dial_changes_something_and_every_panel_can_be_shown(name):
    made = machine(name)
    assert 2 <= len(made.dials) <= 5
    options = [{}, *({d.name: v} for d in made.dials if type(d.allowed) is tuple for v in d.allowed)]
    for dial in made.dials:
        assert dial.default in dial.allowed or isinstance(dial.allowed, Interval)
        assert sorted(dial.stops) == dial.stops or type(dial.allowed) is tuple
        shown = {}
        for setting in options:
            for stop in {dial.stops[0], dial.stops[len(dial.stops) // 2], dial.stops[-1]}:
                answer = made.simulate(**{**made.defaults, **setting, dial.name: stop})
                for panel in answer.panels:
                    drawn = panel.array if isinstance(panel, Picture) else np.array([y for _, y in panel.lines])
                    assert np.isfinite(drawn).all(), (dial.name, stop, panel.title)
                assert answer.words
                shown.setdefault(str(setting), set()).add(b"".join(p.bytes.tobytes() for p in pictures(answer)))
        assert any(len(different) > 1 for different in shown.values()), f"{dial.name} changes no picture"


def pictures(answer):
    return [panel for panel in answer.panels if isinstance(panel, Picture)]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_settings_give_the_same_pictures(name):
    for first, again in zip(panels(name), panels(name), strict=True):
        if isinstance(first, Curves):
            np.testing.assert_array_equal(first.lines[0][1], again.lines[0][1])
        else:
            np.testing.assert_array_equal(first.array, again.array)
            assert np.ptp(first.bytes) > 100, "the picture is blank"


# ---- X-rays


def test_xray_more_photons_less_noise():
    clean = image("xray", photons=1e6)
    errors = [rmse(image("xray", photons=photons), clean) for photons in (100.0, 1e3, 1e4, 1e5)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] / errors[2] == pytest.approx(np.sqrt(10), rel=0.3)


def contrast(picture):
    """The vertebral column against the lungs beside it."""
    row = picture[40:50]
    return row[:, 76:84].mean() - np.concatenate([row[:, 35:50], row[:, 110:125]], axis=1).mean()


def test_xray_higher_voltage_less_contrast():
    values = [contrast(image("xray", tube_kv=kv, scatter=0.0, photons=1e6)) for kv in (60, 80, 125)]
    assert values == sorted(values, reverse=True)


def test_xray_scatter_takes_contrast():
    values = [contrast(image("xray", scatter=share, photons=1e6)) for share in (0.0, 0.5, 3.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.7 * values[0]


def test_xray_from_behind_is_mirrored():
    front, back, side = (image("xray", angle_deg=angle, photons=1e6) for angle in (0, 180, 90))

    def likeness(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    assert likeness(front, back[:, ::-1]) > 0.95
    assert likeness(front, back[:, ::-1]) > likeness(front, back)
    assert likeness(front, side) < 0.9


def test_angiography_shows_vessels_in_proportion_to_iodine():
    _, vessels = angiography_machine._lines()
    for strength in (10.0, 40.0):
        difference = image("angiography", 1, iodine_mg_per_ml=strength, photons=1e7)
        slope = np.polyfit(vessels.ravel(), difference.ravel(), 1)[0]
        assert slope == pytest.approx(strength * 1e-3 * angiography_machine.IODINE_CM2_PER_G / 10, rel=0.02)
    assert abs(image("angiography", 1, iodine_mg_per_ml=0.0, photons=1e7)).max() < 0.1


def test_angiography_noise_and_motion():
    _, vessels = angiography_machine._lines()
    still = vessels == 0

    def rest(**state):
        return np.std(image("angiography", 1, **state)[still])

    assert rest(photons=1e5) > 2 * rest(photons=1e6)
    assert rest(motion_mm=6.0) > rest(motion_mm=2.0) > 2 * rest(motion_mm=0.0)


# ---- CT


def hu_error(**state):
    """Of the reconstruction in the body."""
    truth, _, result = panels("ct", **state)
    return rmse(result.array[truth.array > -1000], truth.array[truth.array > -1000])


def test_ct_more_views_fewer_streaks():
    errors = [hu_error(views=views, photons=1e6) for views in (8, 30, 90, 360)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]


def test_ct_more_photons_less_noise():
    errors = [hu_error(views=360, photons=photons) for photons in (300.0, 3e3, 3e4, 1e6)]
    assert errors == sorted(errors, reverse=True)


def test_ct_a_smooth_filter_takes_noise():
    heart = _bodies.labels_of(_bodies.chest_slice().array, "heart_blood")

    def noise(window):
        states = [{"views": 360, "photons": photons, "window": window} for photons in (2000.0, 1e6)]
        noisy, clean = (image("ct", 2, **state) for state in states)
        return np.std((noisy - clean)[heart])

    assert noise("hann") < noise("shepp-logan") < noise("ramp")


def test_ct_without_filter_edges_are_lost():
    truth, _, sharp = panels("ct", views=360)
    blurred = image("ct", 2, views=360, window="none")
    likeness = [np.corrcoef(truth.array.ravel(), a.ravel())[0, 1] for a in (sharp.array, blurred)]
    assert likeness[0] > 0.99
    assert likeness[1] < 0.9


def test_ct_views_of_half_the_angles_are_worse_than_as_many_all_around():
    evenly, in_turn = (hu_error(views=90, order=order, photons=1e6) for order in machine("ct").controls["order"])
    assert in_turn > 2 * evenly


def test_ct_sinogram_fills():
    orders = machine("ct").controls["order"]
    evenly, in_turn = (image("ct", 1, views=90, order=order).any(axis=1).nonzero()[0] for order in orders)
    np.testing.assert_array_equal(evenly, np.arange(0, 360, 4))
    np.testing.assert_array_equal(in_turn, np.arange(90))
    np.testing.assert_array_equal(*(image("ct", 2, views=360, order=order) for order in orders))


# ---- MRI


def brightness(name, **state):
    """Mean of a tissue of the pelvis."""
    return image("mri", noise=0.0, **state)[_bodies.pelvis_slice() == phantom.TISSUES[name].label].mean()


def test_mri_longer_te_makes_long_t2_relatively_brighter():
    ratios = [brightness("peripheral_zone", te_ms=te) / brightness("muscle", te_ms=te) for te in (4.0, 50.0, 120.0)]
    assert ratios == sorted(ratios)
    assert ratios[-1] > 5 * ratios[0]


def test_mri_shorter_tr_makes_short_t1_relatively_brighter():
    times = [{"tr_ms": tr, "te_ms": 4.0} for tr in (6000.0, 1000.0, 200.0)]
    ratios = [brightness("fat", **time) / brightness("muscle", **time) for time in times]
    assert ratios == sorted(ratios)
    assert ratios[-1] > 2 * ratios[0]


def test_mri_gradient_echo_is_brightest_at_the_ernst_angle():
    angles = range(2, 91, 2)
    echo = {"sequence": "gradient echo", "tr_ms": 50.0, "te_ms": 4.0}
    values = [brightness("muscle", flip_deg=angle, **echo) for angle in angles]
    ernst = np.degrees(np.arccos(np.exp(-50 / phantom.TISSUES["muscle"].t1_ms)))
    assert abs(angles[int(np.argmax(values))] - ernst) <= 2


def test_mri_gradient_echo_dies_faster():
    sequences = machine("mri").controls["sequence"]
    spin, gradient = ([brightness("fat", sequence=name, te_ms=te) for te in (4.0, 40.0)] for name in sequences)
    assert gradient[1] / gradient[0] < 0.6 * spin[1] / spin[0]


def test_mri_noise():
    clean = image("mri", noise=0.0)
    errors = [rmse(image("mri", noise=std), clean) for std in (0.01, 0.03, 0.1)]
    assert errors == sorted(errors)


def test_kspace_center_has_contrast_and_rim_has_edges():
    whole = image("kspace", 1, keep="everything")
    center, rim = (image("kspace", 1, keep=keep, radius=0.1) for keep in ("the center", "the rim"))
    assert np.corrcoef(center.ravel(), whole.ravel())[0, 1] > 0.85
    assert abs(np.corrcoef(rim.ravel(), whole.ravel())[0, 1]) < 0.4
    edges, rim = (ndimage.gaussian_filter(a, 2) for a in (np.hypot(*np.gradient(whole)), rim))
    assert np.corrcoef(rim.ravel(), edges.ravel())[0, 1] > 0.5


def test_kspace_larger_center_is_sharper():
    whole = image("kspace", 1, keep="everything")
    errors = [rmse(image("kspace", 1, keep="the center", radius=r), whole) for r in (0.05, 0.2, 0.6, 1.42)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6 * whole.max()


def test_kspace_every_second_line_folds_the_picture():
    whole = image("kspace", 1, keep="everything")
    folded = image("kspace", 1, keep="every n-th line", every=2)
    np.testing.assert_allclose(folded, (whole + np.roll(whole, 96, axis=0)) / 2, atol=1e-6 * whole.max())


def test_kspace_more_lines_skipped_more_copies():
    """Of every n-th line n copies come, evenly spaced: the picture repeats itself after a share of 1/n."""
    for every in (2, 4, 8):
        folded = image("kspace", 1, keep="every n-th line", every=every)
        np.testing.assert_allclose(folded, np.roll(folded, 192 // every, axis=0), atol=1e-6 * folded.max())
        assert rmse(folded, np.roll(folded, 192 // (2 * every), axis=0)) > 0.02 * folded.max()


def test_kspace_spike_makes_as_many_stripes():
    whole = image("kspace", 1, keep="everything")
    for place in (10, 30):
        stripes = image("kspace", 1, keep="everything, and one spike", spike=place) - whole
        spectrum = np.abs(np.fft.fft2(stripes - stripes.mean()))[:96]
        row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
        assert (row, min(column, 192 - column)) == (place, place // 2)


# ---- Ultrasound

LIVER = (slice(110, 170), slice(60, 84))  # between the ribs, above the cyst


def test_ultrasound_higher_frequency_is_finer_and_sees_less_deep():
    low, high = (image("ultrasound", frequency_mhz=mhz, gain_db=0.0, range_db=90) for mhz in (2.0, 5.0))
    assert coherence(high[LIVER], 0, 1) < coherence(low[LIVER], 0, 1) - 0.2
    lost = [a[LIVER].mean() - a[330:, LIVER[1]].mean() for a in (low, high)]
    assert lost[1] > lost[0] + 0.1


def test_ultrasound_gain_brightens_what_is_deep():
    deep = [image("ultrasound", gain_db=gain, range_db=90)[330:, 60:84].mean() for gain in (0.0, 0.4, 0.8)]
    assert deep == sorted(deep)
    assert deep[-1] > deep[0] + 0.2


def test_ultrasound_is_sharpest_across_at_its_focus():
    here = slice(110, 140), slice(60, 84)  # 31 mm deep
    near, far = (image("ultrasound", focus_mm=mm)[here] for mm in (31, 80))
    assert coherence(near, 1, 2) < coherence(far, 1, 2) - 0.2


def test_ultrasound_a_wide_range_shows_weak_echoes():
    means = [image("ultrasound", range_db=db).mean() for db in (30, 60, 90)]
    assert means == sorted(means)


def test_ultrasound_rib_casts_a_shadow_and_cyst_has_no_echoes():
    picture = image("ultrasound")
    bone = phantom.CHEST_TISSUES["cortical_bone"].label
    behind = (_bodies.chest_wall() == bone).any(axis=0)
    free = np.zeros_like(behind)
    free[60:84] = True
    assert behind.any()
    assert picture[150:180][:, behind].mean() < 0.3 * picture[150:180][:, free].mean()
    depth, along, _ = (round(mm / step) for mm, step in zip(ultrasound_machine.CYST_MM, (0.25, 0.5, 1), strict=True))
    assert picture[depth - 10 : depth + 10, along - 5 : along + 5].mean() < 0.2 * picture[LIVER].mean()


def highest(**state):
    """Frequencies of most and least shift that blood has, Hz."""
    shown = panels("doppler", **state)[0]
    prf = state.get("prf_hz", machine("doppler").defaults["prf_hz"])
    rows = (shown.array > shown.limits[0] + 15).any(axis=1).nonzero()[0]
    frequency = (len(shown.array) / 2 - 1 - rows) * prf / len(shown.array)
    return frequency.max(), frequency.min()


def test_doppler_shift_follows_velocity_and_angle():
    one, two = (highest(peak_mm_per_s=v, angle_deg=60, prf_hz=8000)[0] for v in (400, 800))
    assert two / one == pytest.approx(2, rel=0.2)
    steep = highest(peak_mm_per_s=400, angle_deg=0, prf_hz=8000)[0]
    assert steep / one == pytest.approx(2, rel=0.2)
    assert max(map(abs, highest(peak_mm_per_s=400, angle_deg=90, prf_hz=8000))) < 0.25 * one
    away = highest(peak_mm_per_s=-400, angle_deg=60, prf_hz=8000)
    assert -away[1] == pytest.approx(one, rel=0.2)


def test_doppler_wraps_around_when_pulses_are_too_few():
    fits = highest(peak_mm_per_s=600, angle_deg=60, prf_hz=5000)
    assert fits[1] > -0.1 * fits[0]
    assert highest(peak_mm_per_s=600, angle_deg=60, prf_hz=2000)[1] < -500


# ---- Light


def test_oct_wider_band_is_sharper_and_longer_waves_are_not():
    def grain(**state):
        return coherence(10 ** (image("oct", noise=0.0, **state)[30:60, :40] / 20), 0, 2)

    values = [grain(bandwidth_nm=nm) for nm in (20.0, 60.0, 180.0)]
    assert values == sorted(values, reverse=True)
    assert grain(center_nm=780, bandwidth_nm=60.0) < grain(center_nm=1300, bandwidth_nm=60.0)


def test_oct_noise_fills_the_dark():
    dark = [image("oct", noise=noise)[:10].mean() for noise in (0.0, 0.001, 0.01)]
    assert dark == sorted(dark)
    assert dark[-1] > dark[1] + 10


def test_endoscope_light_and_wetness():
    means = [image("endoscope", light=light).mean() for light in (0.2, 1.0, 5.0)]
    assert means == sorted(means)
    dull, wet = (image("endoscope", gloss=gloss, light=0.3) for gloss in (0.0, 2.0))
    assert wet.max() > dull.max() + 0.1


def test_endoscope_moving_on_moves_the_wall_outward():
    """What is seen at the slope r / z from the axis is seen at r / (z − 2) when the camera has moved on by 2 mm."""
    before, after = (image("endoscope", position_mm=p, gloss=0.0, light=0.5).mean(axis=2) for p in (20, 22))
    pixels_per_slope = 90 / np.tan(np.radians(110 / 2))
    around = np.linspace(0, 2 * np.pi, 720)

    def ring(picture, slope):
        return ndimage.map_coordinates(
            picture, 89.5 + slope * pixels_per_slope * np.array([np.sin(around), np.cos(around)]), order=1
        )

    ahead = 18.0  # mm: the polyp is there
    old, new = ring(before, 15 / ahead), {z: ring(after, 15 / z) for z in (ahead - 2, ahead, ahead + 2)}
    likeness = {z: np.corrcoef(old, values)[0, 1] for z, values in new.items()}
    assert max(likeness, key=likeness.get) == ahead - 2, likeness


def test_endoscope_coarse_fibers_lose_detail():
    sharp = image("endoscope")
    fine, coarse = (image("endoscope", 1, pitch_pixels=pitch) for pitch in (2.0, 8.0))
    assert len(np.unique(coarse)) < 0.2 * len(np.unique(fine))  # one color a fiber
    assert rmse(coarse, sharp) > 0.1
    np.testing.assert_array_equal(image("endoscope", pitch_pixels=8.0), sharp)  # the chip has no fibers


def test_fluorescence_larger_aperture_parts_the_pairs():
    def dip(aperture, left=6.26, right=6.74):  # the pair 0.4 µm apart is at 6.5 µm
        y = panels("fluorescence", aperture=aperture, photons=5000.0, background=0.0)[1].lines[0][1]
        at = [round(x / 0.08) for x in (left, (left + right) / 2, right)]
        return y[at[1]] / max(y[at[0]], y[at[2]])

    assert dip(1.4) < 0.75 < dip(0.4)


def test_fluorescence_photons_background_bleaching():
    clean = image("fluorescence", photons=5000.0, background=0.0) / 5000
    noise = [rmse(image("fluorescence", photons=p, background=0.0) / p, clean) for p in (10.0, 100.0, 1000.0)]
    assert noise == sorted(noise, reverse=True)
    dark = [image("fluorescence", background=b)[:5, :5].mean() for b in (0.0, 0.3, 1.0)]
    assert dark == sorted(dark)
    glow = [image("fluorescence", bleaching=b, background=0.0).mean() for b in (0.0, 1.0, 2.0)]
    assert glow[1] / glow[0] == pytest.approx(np.exp(-1), rel=0.05)
    assert glow == sorted(glow, reverse=True)


# ---- Tracers


def test_gamma_camera_collimator_trades_sharpness_for_counts():
    far = {"distance_mm": 100, "counts": 1e7}
    wide, narrow = (image("gamma_camera", hole_mm=mm, **far) for mm in (3.0, 1.0))
    assert wide.sum() / narrow.sum() == pytest.approx(9, rel=0.02)
    assert edges(narrow) > edges(wide)
    short, long = (image("gamma_camera", length_mm=mm, **far) for mm in (12, 48))
    assert short.sum() / long.sum() == pytest.approx(16, rel=0.02)
    assert edges(long) > edges(short)
    near, distant = (image("gamma_camera", distance_mm=mm, counts=1e7) for mm in (0, 200))
    assert edges(near) > edges(distant)
    assert near.sum() == pytest.approx(distant.sum(), rel=0.01)  # parallel holes lose nothing with the distance


def edges(picture):
    """Strength of the steepest edges, of counts per mean count; the noise is smoothed away."""
    picture = ndimage.gaussian_filter(picture / picture.mean(), 1.5)
    return np.percentile(np.hypot(*np.gradient(picture)), 98)


def test_gamma_camera_and_pet_more_counts_less_noise():
    for name, panel in (("gamma_camera", 0), ("pet", 2)):
        pictures = [image(name, panel, counts=counts) for counts in (1e4, 1e5, 1e6, 1e7)]
        *shares, best = (a / a.mean() for a in pictures)
        errors = [rmse(a, best) for a in shares]
        assert errors == sorted(errors, reverse=True)


def nodule(**state):
    truth, _, result = panels("pet", counts=1e7, **state)
    return result.array[truth.array == truth.array.max()].max()


def test_pet_point_is_wider_with_range_crystal_and_ring():
    tissues = [nodule(nuclide=name) for name in machine("pet").controls["nuclide"]]  # from short to long range
    assert tissues == sorted(tissues, reverse=True)
    assert nodule(crystal_mm=2.0) > nodule(crystal_mm=12.0)
    assert nodule(ring_mm=400, crystal_mm=1.0) > nodule(ring_mm=1000, crystal_mm=1.0)


def test_pet_without_correction_the_middle_is_dark():
    heart = _bodies.labels_of(_bodies.chest_slice().array, "heart_blood")
    skin = _bodies.labels_of(_bodies.chest_slice().array, "skin")

    def ratio(correction):
        result = image("pet", 2, counts=1e7, correction=correction)
        return result[heart].mean() / result[skin].mean()

    assert ratio("none") < 0.6 * ratio("for attenuation")


# ---- The widget


def test_a_new_setting_brings_a_new_answer():
    lab = ModalityLab("ct", views=30)
    before = lab._pixels
    lab.settings = {**lab.settings, "views": 90}
    assert lab._answer["of"] == lab.settings
    assert lab._answer["words"].startswith("90 views")
    assert lab._pixels != before
    assert lab.answer(views=90).words == lab._answer["words"]


def test_errors_name_the_trouble():
    with pytest.raises(ValueError, match="machine must be one of 'xray'"):
        ModalityLab("toaster")
    with pytest.raises(ValueError, match="there is no control 'tr_ms'; ct has views, order, photons, window"):
        ModalityLab("ct", tr_ms=500)
    with pytest.raises(ValueError, match="views must be a whole number from 1 to 360; got 0"):
        ModalityLab("ct", views=0)
    lab = ModalityLab("mri")
    with pytest.raises(ValueError, match="te_ms must be a number from 4 to 200; got 500"):
        lab.settings = {"te_ms": 500}
    assert lab.settings["te_ms"] == 90


def test_what_a_notebook_stores_is_small():
    for name in NAMES:
        lab = ModalityLab(name)
        assert 4 / 3 * len(lab._pixels) + len(str(lab._answer)) + len(lab._esm) < 300_000, name


# ---- One body, nine machines


def test_body_through_machines_shows_nine_pictures_with_their_resolution():
    figure = body_through_machines(0)
    axes = figure.axes
    assert len(axes) == 9
    assert all("mm" in ax.get_xlabel() for ax in axes)
    assert sum("structure" in ax.get_title() for ax in axes) == 5
    for ax in axes:
        picture = ax.images[0]
        assert np.ptp(np.clip(picture.get_array(), *picture.get_clim())) > 0


def test_resolutions_are_those_of_points():
    """A point that was measured and reconstructed is as wide as the formulas say."""
    fine, angles = 0.125, np.arange(0, 180, 2.0)
    view = np.sinc(np.arange(-100, 101) * fine)  # what detectors 1 mm apart know of a point
    image = ct.fbp(np.tile(view, (len(angles), 1)), angles, shape=(65, 65), pixel_mm=fine)
    assert full_width(image[32]) * fine == pytest.approx(comparison.ramp_mm(1.0), rel=0.03)
    kspace = mri.kspace(np.pad([[1.0]], ((64, 63), (64, 63))))
    kept = np.zeros_like(kspace)
    kept[48:80] = kspace[48:80]  # 32 of 128 lines
    assert full_width(mri.reconstruct(kept)[:, 64]) == pytest.approx(comparison.kspace_mm(128, 32), rel=0.02)
    assert comparison.collimator_mm(250) > comparison.collimator_mm(50)
    assert comparison.coincidence_mm() < comparison.collimator_mm(comparison.ORBIT_MM)


def full_width(profile):
    """At half height, linear between samples."""
    fine = np.interp(np.linspace(0, len(profile) - 1, 100 * len(profile)), np.arange(len(profile)), profile)
    return np.count_nonzero(fine >= fine.max() / 2) / 100


# ---- Functional measurements


def t_map(**state):
    return image("fmri", 1, **{"threshold": 0.0, **state})


def test_fmri_more_scans_and_stronger_signals_raise_t_and_noise_lowers_it():
    _, share, _ = machine_fmri._slice()
    active = share > 0.5
    for dial, settings in (
        ("n_scans", (40, 100, 300)),
        ("percent", (0.5, 2.5, 5.0)),
        ("noise_percent", (10.0, 3.0, 0.5)),
    ):
        heights = [t_map(**{dial: value})[active].mean() for value in settings]
        assert heights == sorted(heights), dial


def test_fmri_a_higher_threshold_invents_less_and_misses_more():
    _, share, _ = machine_fmri._slice()
    maps = [image("fmri", 1, threshold=value) > 0 for value in (1.0, 3.0, 6.0)]
    false, found = ([int((m & where).sum()) for m in maps] for where in (share == 0, share > 0.5))
    assert false == sorted(false, reverse=True)
    assert found == sorted(found, reverse=True)
    assert false[0] > 50 > false[1]


def test_eeg_deeper_dipoles_are_weaker_and_wider():
    near, deep = (abs(image("eeg_meg", 0, depth_mm=depth, tilt_deg=0)) for depth in (20, 60))
    assert near.max() > 3 * deep.max()
    assert (near > near.max() / 2).mean() < (deep > deep.max() / 2).mean()


def test_eeg_meg_a_radial_dipole_is_silent_for_meg_alone():
    outward, along = (panels("eeg_meg", tilt_deg=tilt) for tilt in (0, 90))
    assert abs(outward[1].array).max() < 1e-6 < abs(along[1].array).max()
    assert abs(outward[0].array).max() > 5
    assert outward[0].array.max() > -5 * outward[0].array.min(), "one pole"
    assert along[0].array.max() == pytest.approx(-along[0].array.min(), rel=0.1), "two poles"


def test_eeg_noise_hides_the_dipole_from_the_eeg_only():
    clean, noisy = (panels("eeg_meg", noise_uv=noise) for noise in (0.0, 10.0))
    assert rmse(clean[0].array, noisy[0].array) > 3
    np.testing.assert_array_equal(clean[1].array, noisy[1].array)
