"""The skip switchboard in JupyterLab and on a page without a kernel: pixels equal to Python's."""

import re
import statistics

import numpy as np
import pytest

from medlearn.metrics import dice
from medlearn.widgets import SkipSwitchboard
from medlearn.widgets.skip_switchboard import GAP, HALF

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser tests").expect

EXAMPLE = "from medlearn.widgets import SkipSwitchboard\nSkipSwitchboard.example()"
N_PRESSES = 15


class Hands:
    """What a student does to the switchboard on a page."""

    def __init__(self, page):
        self.root = page.locator(".medlearn-explorer").first
        self.canvases = self.root.locator("canvas.medlearn-picture")
        self.canvases.first.wait_for()
        self.note = self.root.locator(".medlearn-note")

    def slide(self, caption, *keys):
        for key in keys:
            self.root.get_by_role("slider", name=caption, exact=True).press(key)

    def press(self, preset):
        self.root.get_by_role("button", name=preset, exact=True).click()

    def picture(self, pixels):
        """Both panels side by side, as `render` draws them."""
        left, right = (pixels(canvas) for canvas in self.canvases.all())
        return np.concatenate([left, np.zeros((len(left), GAP, 3), np.uint8), right], axis=1)


@pytest.fixture(scope="module")
def explorer():
    return SkipSwitchboard.example()


def assert_same(shown, drawn):
    assert np.ptp(shown) > 100, "the picture is blank"
    np.testing.assert_array_equal(shown, drawn)


def test_the_board_shows_what_python_draws(notebook, explorer, pixels):
    hands = Hands(notebook(EXAMPLE))
    assert_same(hands.picture(pixels), explorer.render())
    hands.press("no skips")  # a switch: nothing has to be asked
    cut = dict.fromkeys(("skip_1", "skip_2", "skip_3", "skip_4"), 0.0)
    assert_same(hands.picture(pixels), explorer.render(**cut))
    expect(hands.root).to_contain_text(f"Dice of this slice {explorer.dice(**cut):.3f}")
    hands.slide("skip 3", "ArrowRight", "ArrowRight", "ArrowRight")
    hands.slide("bottleneck", "ArrowLeft")
    state = cut | {"skip_3": 0.3, "bottleneck": 0.9}
    expect(hands.root).to_contain_text(f"Dice of this slice {explorer.dice(**state):.3f}")
    expect(hands.note).to_be_hidden()
    assert_same(hands.picture(pixels), explorer.render(**state))
    hands.press("no bottleneck")
    assert_same(hands.picture(pixels), explorer.render(bottleneck=0))
    hands.press("everything on")
    assert_same(hands.picture(pixels), explorer.render())


def test_every_control_has_a_name_and_every_picture_a_description(notebook):
    hands = Hands(notebook(EXAMPLE))
    for control in hands.root.locator("input").all():
        assert control.get_attribute("aria-label")
    for canvas in hands.canvases.all():
        assert "Dice of this slice 0." in canvas.get_attribute("aria-label")


def test_sliders_are_switches_without_a_kernel(static_page, explorer, pixels):
    page = static_page(SkipSwitchboard.example())
    hands = Hands(page)
    assert_same(hands.picture(pixels), explorer.render())
    expect(hands.note).to_have_text(re.compile("No kernel is running"))
    hands.slide("skip 2", "ArrowLeft")
    assert_same(hands.picture(pixels), explorer.render(skip_2=0))
    hands.slide("skip 4", "Home")
    hands.slide("skip 2", "ArrowRight")
    assert_same(hands.picture(pixels), explorer.render(skip_4=0))
    hands.press("no skips")
    assert_same(hands.picture(pixels), explorer.render(skip_1=0, skip_2=0, skip_3=0, skip_4=0))
    page.close()


def test_dice_is_that_of_the_pixels_sent(explorer):
    probability = np.frombuffer(explorer._probability, np.uint8).reshape(explorer._scene["shape"])
    assert explorer.dice() == dice(probability >= HALF, explorer._truth)


def test_latency_of_a_key_press(notebook, capsys):
    """Measured, not asserted: how long after a key press, through Python and its network, the pixels have changed."""
    page = notebook(EXAMPLE)
    hands = Hands(page)
    times = []
    hands.slide("bottleneck", "Home")
    for _ in range(N_PRESSES // 3):  # 0.1 … 0.9 of three sliders: everything between the ends asks Python
        for name in ("bottleneck", "skip 4", "skip 3"):
            hands.canvases.nth(1).evaluate(WATCH_PIXELS)
            hands.slide(name, "ArrowRight" if name == "bottleneck" else "ArrowLeft")
            times.append(page.evaluate("() => window.changed"))
    assert None not in times
    with capsys.disabled():
        print(f"\nkey press to changed pixels, 128×128, U-Net in Python: median {statistics.median(times):.1f} ms")


# From the event of the key to the first frame in which the probability differs.
WATCH_PIXELS = """canvas => {
    const look = () => canvas.getContext('2d').getImageData(0, 180, canvas.width, 1).data.join();  // through the gland
    const before = look();
    window.changed = new Promise(resolve => window.addEventListener('keydown', () => {
        const start = performance.now();
        const watch = () => {
            const elapsed = performance.now() - start;
            if (look() !== before) resolve(elapsed);
            else if (elapsed > 5000) resolve(null);
            else requestAnimationFrame(watch);
        };
        requestAnimationFrame(watch);
    }, { capture: true, once: true }));
}"""
