"""The explorers of CLAHE and of denoising in Python: what they compute, send, keep and refuse."""

import base64
import json
import zlib

import numpy as np
import pytest

from medlearn import contrast, denoise
from medlearn.volume import Volume
from medlearn.widgets import ClaheExplorer, DenoiseExplorer, denoise_explorer
from medlearn.widgets.clahe_explorer import GAP


@pytest.fixture
def noisy():
    rng = np.random.default_rng(0)
    y, x = np.indices((40, 48))
    return np.where((y - 20) ** 2 + (x - 24) ** 2 < 150, 200.0, 80.0) + rng.normal(0, 15, y.shape)


@pytest.fixture
def volume(noisy):
    return Volume(array=np.stack([noisy + 100 * z for z in range(5)]), spacing=(3, 0.5, 0.5))


def stored_bytes(explorer):
    """Bytes of the widget's state in a notebook, where binary parts are base64."""
    state = explorer.get_state()
    parts = [value for value in state.values() if isinstance(value, bytes)]
    rest = {name: value for name, value in state.items() if not isinstance(value, bytes)}
    return len(json.dumps(rest, default=str)) + sum(len(base64.b64encode(part)) for part in parts)


# ---- CLAHE ----


def test_clahe_explorer_shows_the_pixels_of_clahe():
    image = np.random.default_rng(0).integers(0, 256, (520, 700), np.uint8)
    explorer = ClaheExplorer(image)
    picture = explorer.render(clip_limit=3.5, tiles=6)
    np.testing.assert_array_equal(picture[:, :700, 0], image)
    np.testing.assert_array_equal(picture[:, 700 + GAP :, 2], contrast.clahe(image, clip_limit=3.5, tiles=(6, 6)))


def test_other_types_are_brought_to_eight_bits_and_it_is_said(volume):
    explorer = ClaheExplorer(volume, index=3)
    low, high = np.percentile(volume.array[3], [0.5, 99.5])
    expected = np.rint(255 * np.clip((volume.array[3] - low) / (high - low), 0, 1))
    np.testing.assert_array_equal(explorer._gray, expected)
    assert "percentiles 0.5–99.5" in explorer._scene["note"]
    assert ClaheExplorer(explorer._gray)._scene["note"] == "gray values as they are"
    assert (ClaheExplorer(np.full((20, 20), 7.0)).render() <= 255).all()


def test_pins_begin_on_equal_grays_that_end_farthest_apart(noisy):
    explorer = ClaheExplorer(noisy)
    before, after = explorer._gray, explorer._equalize(2.0, 8, 256).astype(int)
    (a, b) = (tuple(pin) for pin in (explorer.pin_a, explorer.pin_b))
    assert before[a] == before[b]
    assert after[a] - after[b] == max(np.ptp(after[before == value]) for value in np.unique(before))


def test_pins_stay_inside(noisy):
    explorer = ClaheExplorer(noisy)
    explorer.pin_a = [39, 47]
    with pytest.raises(ValueError, match="pin_a row must be a whole number from 0 to 39; got 40"):
        explorer.pin_a = [40, 47]
    with pytest.raises(ValueError, match=r"pin_b must be \[row, column\]; got \[1\]"):
        explorer.pin_b = [1]


def test_a_small_picture_gets_few_tiles():
    explorer = ClaheExplorer(np.arange(30, dtype=np.uint8).reshape(5, 6))
    assert explorer.controls["tiles"] == range(1, 3)
    assert explorer.render(tiles=2).shape == explorer.render(tiles=1).shape


# ---- denoising ----


def frames_sent(explorer):
    """The iterates as the browser unpacks them."""
    differences = np.frombuffer(zlib.decompress(explorer._frames), np.uint8).reshape(explorer._scene["shape"])
    return np.cumsum(differences, axis=0, dtype=np.uint8)


def test_iterates_are_those_of_curvature_flow(volume):
    explorer = DenoiseExplorer(volume, n_iterations=6)
    image, step = volume.array[2], explorer.time_step
    assert step == 0.5**2 / 8
    low, high = np.percentile(image, [0.5, 99.5])
    for n in (0, 1, 6):
        flowed = denoise.curvature_flow(image, spacing=(0.5, 0.5), n_iterations=n, time_step=step)
        expected = 255 * np.clip((flowed - low) / (high - low), 0, 1)
        np.testing.assert_allclose(frames_sent(explorer)[n], expected, atol=0.5 + 1e-6)


def test_the_gaussian_filter_of_the_same_time(noisy):
    explorer = DenoiseExplorer(noisy, truth=noisy, n_iterations=4)
    explorer.method = "Gaussian filter"
    smooth = denoise.gaussian(noisy, spacing=(1, 1), std_mm=np.sqrt(2 * 3 * explorer.time_step))
    assert explorer._scene["errors"][3] == pytest.approx(np.sqrt(np.mean((smooth - noisy) ** 2)))


@pytest.mark.parametrize("method", [name for name, step in denoise_explorer.METHODS.items() if step])
def test_time_is_that_of_the_equation_whatever_the_spacing(noisy, method):
    """Twice the spacing needs four times the time: the steps of all methods are in mm²."""
    step = denoise_explorer.METHODS[method]
    fine, coarse = step(noisy, (0.5, 0.5), 0.5**2 / 8), step(noisy, (1.0, 1.0), 1 / 8)
    assert np.abs(fine - noisy).max() > 1
    np.testing.assert_allclose(fine, coarse, atol=1e-9)


def test_iterates_are_computed_once(noisy, monkeypatch):
    explorer = DenoiseExplorer(noisy, n_iterations=3)
    explorer.render(method="min/max curvature flow")
    first = explorer._frames
    monkeypatch.setattr(denoise_explorer, "METHODS", {})  # nothing can be computed any more
    explorer.method = "min/max curvature flow"
    assert explorer._scene["setting"]["method"] == "min/max curvature flow"
    assert explorer._frames != first
    explorer.method = "curvature flow"
    assert explorer._frames == first


def test_a_question_for_the_kernel_is_answered(noisy, monkeypatch):
    explorer, answers = DenoiseExplorer(noisy, n_iterations=1), []
    monkeypatch.setattr(explorer, "send", answers.append)
    explorer._handle_custom_msg("is there a kernel?", [])
    assert answers == ["there is a kernel"]


def test_what_was_taken_away_is_shown_around_middle_gray(noisy):
    explorer = DenoiseExplorer(np.pad(noisy, ((0, 0), (0, 16)), mode="edge"), size=64, n_iterations=4)
    assert (explorer.render(iterations=0)[:, 64 + GAP : 128 + GAP] == 128).all()
    removed = explorer.render(iterations=4)[:, 64 + GAP : 128 + GAP, 0].astype(float)
    assert abs(removed.mean() - 128) < 4
    assert removed.std() > 20


def test_isophotes_of_a_disk_shrink():
    y, x = np.indices((48, 48))
    disk = 255.0 * ((y - 24) ** 2 + (x - 24) ** 2 <= 9**2)
    explorer = DenoiseExplorer(disk.astype(np.uint8), size=480, n_iterations=40)
    widths = []
    for iterations in (4, 40):
        panel = explorer.render(iterations=iterations)[:, -480:]
        columns = (panel == denoise_explorer.LINE).all(-1)[245].nonzero()[0]
        widths.append(columns[-2] - columns[1])  # of the middle level
    shrunk = (widths[0] / 20) ** 2 - (widths[1] / 20) ** 2  # radius² in px²
    assert shrunk == pytest.approx(2 * 36 / 8, rel=0.15)


def test_both_fit_the_book():
    from medlearn.phantom import prostate

    image = prostate(0, shape=(3, 256, 256), spacing=(3.6, 0.625, 0.625)).image
    assert stored_bytes(ClaheExplorer(image)) < 300_000
    explorer = DenoiseExplorer(image)
    for method in explorer.controls["method"]:
        explorer.method = method
        assert stored_bytes(explorer) < 1_000_000, method


def test_errors_name_the_trouble(noisy, volume):
    for explorer in (ClaheExplorer, DenoiseExplorer):
        with pytest.raises(ValueError, match=r"shape \(height, width\); got \(5, 40, 48\)"):
            explorer(volume.array)
        with pytest.raises(ValueError, match="image must hold finite numbers"):
            explorer(np.full((9, 9), np.nan))
        with pytest.raises(ValueError, match="index must be a whole number from 0 to 4; got 5"):
            explorer(volume, index=5)
        with pytest.raises(ValueError, match="image must have axes zyx or yx; got 'tzyx'"):
            explorer(Volume(array=volume.array[None], spacing=volume.spacing, axes="tzyx"))
    with pytest.raises(ValueError, match="spacing belongs to an array"):
        DenoiseExplorer(volume, spacing=(1, 1))
    with pytest.raises(ValueError, match="spacing must be two positive numbers"):
        DenoiseExplorer(noisy, spacing=(1, 0))
    with pytest.raises(ValueError, match=r"truth must have the shape of image, \(40, 48\); got \(40, 47\)"):
        DenoiseExplorer(noisy, truth=noisy[:, 1:])
    with pytest.raises(ValueError, match="n_iterations must be a whole number from 1 to 100; got 0"):
        DenoiseExplorer(noisy, n_iterations=0)
    with pytest.raises(ValueError, match="tiles must be a whole number from 1 to 16; got 17"):
        ClaheExplorer(noisy).tiles = 17
