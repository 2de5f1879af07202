"""The training doctor in JupyterLab and on a page without a kernel: it tells and draws what Python knows."""

import numpy as np
import pytest

from medlearn.widgets import TrainingDoctor

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser tests").expect

SOURCE = "from medlearn.widgets import TrainingDoctor\ndoctor = TrainingDoctor(cases=2)\ndoctor"
BLUE, ORANGE = (0, 114, 178), (179, 89, 0)  # of _picture.js on a light page
LEFT, RIGHT, HIGH, LOW, TOP = 52, 12, 16, 34, 1.4  # margins and range of the chart


class Hands:
    """What a student does to the doctor on a page."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".medlearn-explorer").first
        self.chart = self.root.locator("canvas.medlearn-chart")
        self.chart.wait_for()

    def slide(self, caption, *keys):
        for key in keys:
            self.root.get_by_role("slider", name=caption, exact=True).press(key)

    def click(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()

    def shows(self, **state):
        """The words are those of these settings."""
        curves = TrainingDoctor(cases=2).curves(**state)
        last, best = {name: values[-1] for name, values in curves.items()}, curves["held_out"].argmax()
        for words in (
            f"after {last['step']} steps",
            f"Dice {last['training']:.2f} in training, {last['held_out']:.2f} held out",
            f"best held-out Dice {curves['held_out'][best]:.2f} at step {curves['step'][best]}",
        ):
            expect(self.root).to_contain_text(words)


def distance(picture, color):
    return np.abs(picture.astype(int) - color).max(-1)


def assert_drawn(hands, pixels, **state):
    """At every mark the chart is blue (or what lies over it) where the training Dice is."""
    hands.root.page.wait_for_timeout(100)
    picture, curves = pixels(hands.chart), TrainingDoctor(cases=2).curves(**state)
    height, width = picture.shape[:2]
    for step, value in zip(curves["step"], curves["training"], strict=True):
        x = LEFT + step / curves["step"][-1] * (width - LEFT - RIGHT)
        y = height - LOW - value / TOP * (height - HIGH - LOW)
        around = picture[max(int(y) - 3, 0) : int(y) + 4, int(x) - 3 : int(x) + 4]
        assert distance(around, BLUE).min() < 40, f"no mark at step {step}"
    assert (distance(picture, ORANGE) < 40).sum() > 50, "the held-out curve is missing"


@pytest.fixture(scope="module")
def opened(notebook):
    return notebook(SOURCE)


def test_every_control_leads_to_its_curves(opened, pixels):
    hands = Hands(opened)
    hands.shows()
    assert_drawn(hands, pixels)
    hands.slide("patients", "End")
    hands.shows(cases=20)
    hands.slide("learning rate", "Home")
    hands.shows(cases=20, log_rate=-4)
    hands.slide("learning rate", "ArrowRight", "ArrowRight")
    hands.slide("width", "Home")
    hands.shows(cases=20, width=4)
    hands.click("augmentation")
    hands.shows(cases=20, width=4, augmentation=True)
    hands.click("1")
    hands.shows(cases=20, width=4, augmentation=True, draw=1)
    assert_drawn(hands, pixels, cases=20, width=4, augmentation=True, draw=1)
    assert hands.page.locator(".jp-Notebook .jp-Cell").count() == 1  # and no key ran a command of JupyterLab


def test_every_control_has_a_name_and_the_chart_a_description(opened):
    hands = Hands(opened)
    for control in hands.root.locator("input").all():
        assert control.get_attribute("aria-label")
    assert hands.chart.get_attribute("role") == "img"
    assert hands.chart.get_attribute("aria-label")


def test_works_on_a_page_without_a_kernel(static_page, pixels):
    hands = Hands(static_page(TrainingDoctor(cases=2)))
    hands.shows()
    hands.slide("patients", "ArrowRight")
    hands.shows(cases=5)
    assert_drawn(hands, pixels, cases=5)
    hands.page.close()
