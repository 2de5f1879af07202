"""The explorers of CLAHE and of denoising in JupyterLab and on a page without a kernel: pixels equal to Python's."""

import base64
import re
import statistics
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser.test_slice_explorer import WATCH_PIXELS

from medlearn import contrast, widgets
from medlearn.widgets.clahe_explorer import GAP

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser tests").expect

CLAHE = """
import numpy as np
from medlearn.volume import Volume
from medlearn.widgets import ClaheExplorer, DenoiseExplorer

z, y, x = np.indices((3, 61, 50))
waves = 300 * np.sin(y / 7) * np.cos(x / 5) + 12 * x + np.random.default_rng(0).normal(0, 20, x.shape)
volume = Volume(array=waves.astype(np.int16), spacing=(3.0, 0.5, 0.75))
explorer = ClaheExplorer(volume, index=1, size=128)
"""
DENOISE = CLAHE + "explorer = DenoiseExplorer(volume, index=1, size=128, n_iterations=8)\n"
LARGE = """
import numpy as np
from medlearn.widgets import ClaheExplorer, DenoiseExplorer
noise = np.random.default_rng(0).normal(0, 15, (512, 512))
large = (np.clip(np.indices((512, 512)).sum(0) / 5 + noise, 0, 255)).astype(np.uint8)
"""
N_PRESSES = 15


def twin(source):
    """The widget that a source makes, in this process."""
    names = {}
    exec(source, names)
    return names["explorer"]


class Hands:
    """What a student does to one explorer on a page."""

    def __init__(self, page, number=0):
        self.page = page
        self.root = page.locator(".medlearn-explorer").nth(number)
        self.canvases = self.root.locator("canvas.medlearn-picture")
        self.canvases.first.wait_for()

    def slide(self, caption, *keys):
        for key in keys:
            self.root.get_by_role("slider", name=caption, exact=True).press(key)

    def choose(self, caption, value):
        self.root.get_by_label(caption, exact=True).select_option(label=value)

    def picture(self, pixels):
        """All panels side by side, as `render` draws them."""
        panels = [pixels(canvas) for canvas in self.canvases.all()]
        gap = np.zeros((len(panels[0]), GAP, 3), np.uint8)
        return np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=1)

    def shows(self, words):
        expect(self.root).to_contain_text(words)


def assert_same(shown, drawn):
    assert np.ptp(shown) > 100, "the picture is blank"
    np.testing.assert_array_equal(shown, drawn)


# ---- the twin ----

TWIN = Path(widgets.__file__).with_name("_clahe_twin.js")
RUN_TWIN = """jobs => jobs.map(({ pixels, shape, clipLimit, tiles, bins }) => {
    const image = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
    const { result } = clahe(image, shape, { clipLimit, tiles, bins });
    return btoa(String.fromCharCode(...result));
})"""


def pictures(shape, rng):
    """Noise, something smooth, something constant, something black and white."""
    noise = rng.integers(0, 256, shape, np.uint8)
    yield noise
    yield cv2.GaussianBlur(noise, (0, 0), 3)
    yield np.full(shape, 77, np.uint8)
    yield np.where(noise > 230, 255, 0).astype(np.uint8)


def test_clahe_twin_equals_python_and_opencv_bit_for_bit(watched):
    page = watched.context.new_page()
    page.add_script_tag(content=TWIN.read_text(encoding="utf-8"))
    rng = np.random.default_rng(1)
    jobs = [
        (image, clip_limit, tiles, bins)
        for shape in ((64, 64), (61, 47), (40, 64), (33, 100), (9, 7))
        for image in pictures(shape, rng)
        for tiles in ((1, 1), (2, 3), (8, 8), (16, 5))
        for clip_limit, bins in ((0.0, 256), (1.0, 256), (2.0, 256), (3.7, 256), (40.0, 256), (2.0, 64), (0.0, 16))
        if max(tiles) <= min(shape)
    ]
    sent = [
        {
            "pixels": base64.b64encode(image.tobytes()).decode(),
            "shape": image.shape,
            "clipLimit": clip_limit,
            "tiles": tiles,
            "bins": bins,
        }
        for image, clip_limit, tiles, bins in jobs
    ]
    for (image, clip_limit, tiles, bins), text in zip(jobs, page.evaluate(RUN_TWIN, sent), strict=True):
        result = np.frombuffer(base64.b64decode(text), np.uint8).reshape(image.shape)
        what = f"{image.shape}, clip limit {clip_limit}, tiles {tiles}, {bins} bins"
        expected = contrast.clahe(image, clip_limit=clip_limit, tiles=tiles, n_bins=bins, engine="numpy")
        np.testing.assert_array_equal(result, expected, what)
        if bins == 256:
            opencv = cv2.createCLAHE(clip_limit, tiles[::-1]).apply(image)
            np.testing.assert_array_equal(result, opencv, what)
    assert len(jobs) > 400
    page.close()


def test_the_twin_is_short():
    assert len(TWIN.read_text(encoding="utf-8").splitlines()) <= 120


# ---- in JupyterLab ----


@pytest.fixture(scope="module")
def opened(notebook):
    return notebook(CLAHE + "explorer", DENOISE + "explorer", "ClaheExplorer.example()")


def test_clahe_canvases_show_what_python_draws(opened, pixels):
    hands, explorer = Hands(opened), twin(CLAHE)
    assert_same(hands.picture(pixels), explorer.render())
    hands.slide("clip limit", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft")
    assert_same(hands.picture(pixels), explorer.render(clip_limit=3.0))
    hands.slide("tiles along each side", "Home", *["ArrowRight"] * 4)
    assert_same(hands.picture(pixels), explorer.render(clip_limit=3.0, tiles=5))
    hands.choose("bins", "32")
    assert_same(hands.picture(pixels), explorer.render(clip_limit=3.0, tiles=5, bins=32))
    hands.slide("clip limit", "Home")
    hands.shows("0: no limit")
    assert_same(hands.picture(pixels), explorer.render(clip_limit=0.0, tiles=5, bins=32))
    assert hands.page.locator(".jp-Notebook .jp-Cell").count() == 3  # and no key ran a command of JupyterLab


def test_clahe_pins_tell_what_became_of_equal_grays(opened):
    hands, explorer = Hands(opened, 2), widgets.ClaheExplorer.example()
    after = explorer._equalize(4.0, 4, 256)
    left, right = after[48, 20], after[48, 75]
    hands.shows(f"120 → {left}")
    hands.shows(f"120 → {right}")
    hands.shows(f"A (48, 20), B (48, 75): the same gray before, {int(left) - int(right)} apart after CLAHE")
    hands.root.get_by_role("button", name="pin B").click()
    hands.canvases.first.press("ArrowDown")
    hands.canvases.first.press("Shift+ArrowLeft")
    hands.shows("B (49, 65)")
    hands.root.get_by_role("button", name="find equal grays").click()
    first, second = widgets.clahe_explorer._most_different(explorer._gray, after)
    hands.shows(f"A ({first[0]}, {first[1]}), B ({second[0]}, {second[1]}): the same gray before")


def test_clahe_pointer_tells_which_tiles_are_blended(opened, pixels):
    hands = Hands(opened, 2)
    canvas = hands.canvases.nth(1)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    row, column = 42, 30  # of tiles of 24 pixels: centers at 36 and 60, at 12 and 36
    hands.page.mouse.move(box["x"] + (column + 0.5) * box["width"] / 96, box["y"] + (row + 0.5) * box["height"] / 96)
    down, right = (row - 12) / 24 % 1, (column - 12) / 24 % 1
    assert (down, right) == (0.25, 0.75)
    hands.shows(f"pointer ({row}, {column})")
    hands.shows("tiles (1, 1) 56 %, (1, 0) 19 %, (2, 1) 19 %, (2, 0) 6 %")
    hands.page.mouse.move(0, 0)


def test_denoise_canvases_show_what_python_draws(opened, pixels):
    hands, explorer = Hands(opened, 1), twin(DENOISE)
    assert_same(hands.picture(pixels), explorer.render())
    hands.slide("iterations", "End")
    assert_same(hands.picture(pixels), explorer.render(iterations=8))
    hands.canvases.nth(2).press("ArrowLeft")
    assert_same(hands.picture(pixels), explorer.render(iterations=7))
    for method in ("Gaussian filter", "min/max curvature flow", "gradient anisotropic diffusion"):
        hands.choose("method", method)  # asks Python
        expect(hands.root.locator(".medlearn-note")).to_be_hidden()
        assert_same(hands.picture(pixels), explorer.render(method=method, iterations=7))
    step = explorer.controls["time_step"][1]
    hands.root.get_by_label("time step", exact=True).select_option(value=str(step))
    expect(hands.root.locator(".medlearn-note")).to_be_hidden()
    shown = explorer.render(method="gradient anisotropic diffusion", time_step=step, iterations=7)
    assert_same(hands.picture(pixels), shown)
    hands.slide("iterations", "Home")
    assert (hands.picture(pixels)[:, GAP + shown.shape[1] // 3 : shown.shape[1] // 2] == 128).all()  # nothing removed


def test_every_control_has_a_name_and_every_picture_a_role(opened):
    for number in range(3):
        root = Hands(opened, number).root
        for control in root.locator("input, select, canvas.medlearn-picture, canvas.medlearn-chart").all():
            assert control.get_attribute("aria-label")
        for canvas in root.locator("canvas.medlearn-picture").all():
            assert canvas.get_attribute("role") in ("slider", "application")


# ---- without a kernel ----


def test_both_work_on_a_page_without_a_kernel(static_page, pixels):
    clahe, denoise = twin(CLAHE), twin(DENOISE)
    page = static_page(clahe, denoise)
    hands = Hands(page)
    assert_same(hands.picture(pixels), clahe.render())
    hands.slide("clip limit", "End")
    hands.slide("tiles along each side", "ArrowLeft")
    assert_same(hands.picture(pixels), clahe.render(clip_limit=40.0, tiles=7))
    hands = Hands(page, 1)
    assert_same(hands.picture(pixels), denoise.render())
    expect(hands.root.locator(".medlearn-note")).to_have_text(re.compile("No kernel is running"))
    assert hands.root.get_by_label("method", exact=True).is_disabled()
    assert hands.root.get_by_label("time step", exact=True).is_disabled()
    hands.slide("iterations", "Home", "ArrowRight")
    assert_same(hands.picture(pixels), denoise.render(iterations=1))
    page.close()


# ---- how fast ----


def test_latency_of_a_key_press(notebook, capsys):
    """Measured, not asserted: how long after a key press the pixels of a 512×512 slice have changed."""
    page = notebook(LARGE + "ClaheExplorer(large)", "DenoiseExplorer(large)")
    for number, name, caption, panel in ((0, "CLAHE", "tiles along each side", 1), (1, "denoising", "iterations", 0)):
        hands = Hands(page, number)
        slider = hands.root.get_by_role("slider", name=caption, exact=True)
        slider.press("Home")
        times = []
        for _ in range(N_PRESSES):
            hands.canvases.nth(panel).evaluate(WATCH_PIXELS)
            slider.press("ArrowRight")
            times.append(page.evaluate("() => window.changed"))
        assert None not in times
        with capsys.disabled():
            print(f"\nkey press to changed pixels, 512×512, {name}: median {statistics.median(times):.1f} ms")
