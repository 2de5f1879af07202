"""The loss field in JupyterLab and on a page without a kernel: its pixels and steps equal those of autograd."""

import numpy as np
import pytest
from browser.test_slice_explorer import kernel_value

from medlearn.widgets import LossField
from medlearn.widgets.loss_field import GAP, LOSSES, SIDE, STARTS, start_map

EXAMPLE = "from medlearn.widgets import LossField\nfield = LossField.example()\nfield"


class Hands:
    """What a student does to the field on a page."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".medlearn-explorer").first
        self.canvases = self.root.locator("canvas.medlearn-picture")
        self.canvases.first.wait_for()

    def choose(self, loss):
        self.root.get_by_label("loss", exact=True).select_option(loss)

    def slide(self, caption, *keys):
        for key in keys:
            self.root.get_by_role("slider", name=caption, exact=True).press(key)

    def click(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()

    def picture(self, pixels):
        """All panels side by side, as `render` draws them."""
        first, *others = (pixels(canvas) for canvas in self.canvases.all())
        gap = np.full((len(first), GAP, 3), 128, np.uint8)
        return np.concatenate([first, *(part for other in others for part in (gap, other))], axis=1)


@pytest.fixture(scope="module")
def twin():
    return LossField.example()


@pytest.fixture(scope="module")
def page(notebook):
    return notebook(EXAMPLE)


def logits_of(page):
    """The map as the kernel knows it, after the browser has told it."""
    page.wait_for_timeout(300)
    return np.array(eval(kernel_value(page, "field.logits.tolist()"), {}))


def assert_same(shown, drawn):
    assert np.ptp(shown) > 100, "the picture is blank"
    np.testing.assert_array_equal(shown, drawn)


@pytest.mark.parametrize("loss", LOSSES)
def test_pixels_and_step_are_those_of_autograd(page, twin, pixels, loss):
    hands = Hands(page)
    hands.choose(loss)
    for start in STARTS:
        hands.click(start)
        assert_same(hands.picture(pixels), twin.render(loss=loss, start=start))
        hands.click("one step")
        before = LossField(loss=loss, gland=12).push(start=start)
        np.testing.assert_allclose(
            logits_of(page), np.clip(start_map(start) + 2 * before, -10, 10), rtol=1e-12, atol=1e-13
        )
        assert_same(hands.picture(pixels), twin.render(loss=loss, start=start, steps=1))


def test_sliders_change_gland_and_epsilon(page, twin, pixels):
    hands = Hands(page)
    hands.choose("Dice, linear")
    hands.click("undecided")
    hands.slide("gland", "Home")
    empty = {"loss": "Dice, linear", "start": "undecided", "gland": 0}
    assert_same(hands.picture(pixels), twin.render(**empty))
    hands.slide("ε", "End")
    assert_same(hands.picture(pixels), twin.render(**empty, log_epsilon=2))
    hands.slide("gland", "End")
    assert_same(hands.picture(pixels), twin.render(**{**empty, "gland": 30}, log_epsilon=2))
    hands.slide("ε", "Home")
    hands.slide("gland", *["ArrowLeft"] * 18)
    assert_same(hands.picture(pixels), twin.render(**{**empty, "gland": 12}))


def test_the_brush_raises_and_lowers(page, twin):
    hands = Hands(page)
    hands.click("undecided")
    canvas = hands.canvases.first
    box = canvas.bounding_box()
    hands.click("raise p")
    hands.page.mouse.move(box["x"] + 5.5 / SIDE * box["width"], box["y"] + 3.5 / SIDE * box["height"])
    hands.page.mouse.down()
    hands.page.mouse.move(box["x"] + 6.5 / SIDE * box["width"], box["y"] + 3.5 / SIDE * box["height"])
    hands.page.mouse.up()
    expected = np.zeros((SIDE, SIDE))
    expected[2:5, 4:7] += 1  # three by three cells around row 3, column 5
    expected[2:5, 5:8] += 1
    np.testing.assert_array_equal(logits_of(page), expected)
    hands.click("lower p")
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        canvas.press(key)
    expected[3:6, 6:9] -= 1
    np.testing.assert_array_equal(logits_of(page), expected)


def test_every_control_has_a_name_and_every_picture_a_description(page):
    hands = Hands(page)
    for control in hands.root.locator("input, select").all():
        assert control.get_attribute("aria-label")
    for canvas in hands.canvases.all():
        assert canvas.get_attribute("aria-label")


def test_works_on_a_page_without_a_kernel(static_page, twin, pixels):
    hands = Hands(static_page(LossField.example()))
    assert_same(hands.picture(pixels), twin.render())
    hands.click("one step")
    assert_same(hands.picture(pixels), twin.render(steps=1))
    hands.page.close()
