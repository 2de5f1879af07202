"""The receptive field explorer in JupyterLab and on a page without a kernel: pixels equal to Python's."""

import re

import numpy as np
import pytest

from medlearn.widgets.receptive_field_explorer import GAP

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser tests").expect

SOURCE = """
import numpy as np
from medlearn.volume import Volume
from medlearn.widgets import ReceptiveFieldExplorer

z, y, x = np.indices((3, 70, 66))
waves = 300 * np.sin(y / 7) * np.cos(x / 5) + 12 * x + np.random.default_rng(0).normal(0, 20, x.shape)
volume = Volume(array=waves.astype(np.int16), spacing=(3.0, 0.5, 0.75))
explorer = ReceptiveFieldExplorer(volume, index=1, size=256)
"""
SETTINGS = ("kernel", "stride", "dilation")


def twin():
    """The widget that the source makes, in this process."""
    names = {}
    exec(SOURCE, names)
    return names["explorer"]


class Hands:
    """What a student does to the explorer on a page."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".medlearn-explorer").first
        self.canvases = self.root.locator("canvas.medlearn-picture")
        self.canvases.first.wait_for()

    def slide(self, caption, *keys):
        for key in keys:
            self.root.get_by_role("slider", name=caption, exact=True).press(key)

    def hide(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()

    def click(self, row, column, shape=(70, 66)):
        canvas = self.canvases.nth(1)
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        down, right = (row + 0.5) / shape[0], (column + 0.5) / shape[1]
        self.page.mouse.click(box["x"] + right * box["width"], box["y"] + down * box["height"])

    def picture(self, pixels):
        """Both panels side by side, as `render` draws them."""
        panels = [pixels(canvas) for canvas in self.canvases.all()]
        gap = np.zeros((len(panels[0]), GAP, 3), np.uint8)
        return np.concatenate([panels[0], gap, panels[1]], axis=1)

    def shows(self, words):
        expect(self.root).to_contain_text(words)


def assert_same(shown, drawn):
    assert np.ptp(shown) > 100, "the picture is blank"
    np.testing.assert_array_equal(shown, drawn)


@pytest.fixture(scope="module")
def opened(notebook):
    return notebook(SOURCE + "explorer")


def test_canvases_show_what_python_draws(opened, pixels):
    hands, explorer = Hands(opened), twin()
    assert_same(hands.picture(pixels), explorer.render())
    state = {"kernel_1": 5, "stride_2": 2, "dilation_3": 3}
    hands.slide("kernel of layer 1", "ArrowRight", "ArrowRight")
    hands.slide("stride of layer 2", "ArrowRight")
    hands.slide("dilation of layer 3", "ArrowUp", "ArrowUp")
    assert_same(hands.picture(pixels), explorer.render(**state))
    hands.hide("all outside half the box")
    assert_same(hands.picture(pixels), explorer.render(**state, hide="all outside half the box"))
    hands.click(12, 57)
    state |= {"row": 12, "column": 57, "hide": "all outside the box"}
    hands.hide("all outside the box")
    assert_same(hands.picture(pixels), explorer.render(**state))
    hands.slide("layers", "End")
    hands.slide("kernel of layer 4", "End")
    hands.slide("dilation of layer 4", "End")
    hands.slide("stride of layer 4", "End")
    assert_same(hands.picture(pixels), explorer.render(**state, n_layers=4, kernel_4=7, dilation_4=4, stride_4=3))
    hands.shows("part of the box lies in the padding")
    hands.slide("layers", "Home")
    assert_same(hands.picture(pixels), explorer.render(**state, n_layers=1))
    assert hands.root.get_by_role("slider", name="kernel of layer 2", exact=True).is_hidden()
    assert hands.page.locator(".jp-Notebook .jp-Cell").count() == 1  # and no key ran a command of JupyterLab


def test_every_control_has_a_name_and_every_picture_a_role(opened):
    root = Hands(opened).root
    for control in root.locator("input, canvas.medlearn-picture, canvas.medlearn-chart").all():
        assert control.get_attribute("aria-label")
    for canvas in root.locator("canvas.medlearn-picture").all():
        assert canvas.get_attribute("role") == "application"


def test_words_and_keys_on_a_page_without_a_kernel(static_page, pixels):
    explorer = twin()
    hands = Hands(static_page(explorer))
    assert_same(hands.picture(pixels), explorer.render())
    hands.shows("sees 7 · step 1 · map 70 × 66")
    hands.shows("Voxel (35, 33) of the output sees 7 × 7 pixels = 3.5 × 5.25 mm; every pixel of the box counts.")
    hands.slide("layers", "ArrowLeft")
    for number in (1, 2):
        hands.slide(f"dilation of layer {number}", "ArrowRight")
    hands.shows("sees 9 × 9 pixels = 4.5 × 6.75 mm; only 25 of its 81 pixels count")
    hands.slide("stride of layer 2", "ArrowRight")
    hands.canvases.first.press("ArrowDown")
    hands.canvases.first.press("Shift+ArrowLeft")
    state = {"n_layers": 2, "dilation_1": 2, "dilation_2": 2, "stride_2": 2, "row": 37, "column": 13}
    assert_same(hands.picture(pixels), explorer.render(**state))
    hands.page.close()


def test_the_answer_stays_until_half_of_the_box_is_hidden(static_page):
    explorer = twin()
    hands = Hands(static_page(explorer))
    rows, columns = slice(32, 39), slice(30, 37)
    weights = np.array([1, 3, 6, 7, 6, 3, 1]) / 27  # three means of three
    seen = explorer._gray[rows, columns] * np.outer(weights, weights)
    hands.hide("all outside the box")
    whole, kept = answers(hands)
    assert whole == kept == pytest.approx(seen.sum(), rel=1e-3)
    hands.hide("all outside half the box")
    whole, kept = answers(hands)
    assert whole == pytest.approx(seen.sum(), rel=1e-3)
    assert kept == pytest.approx(seen[1:6, 1:6].sum(), rel=1e-3)
    assert kept < 0.95 * whole
    hands.page.close()


def answers(hands):
    words = hands.root.locator("div[role='status']").inner_text()
    return [float(number) for number in re.findall(r"(?<= )\d[\d.]*", words)]
