"""The augment explorer in JupyterLab and on a page without a kernel: pixels equal to Python's."""

import re
import statistics

import numpy as np
import pytest

from medlearn.widgets import AugmentExplorer
from medlearn.widgets.augment_explorer import GAP

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser tests").expect

EXAMPLE = "from medlearn.widgets import AugmentExplorer\nAugmentExplorer.example()"
N_PRESSES = 15


class Hands:
    """What a student does to the explorer on a page."""

    def __init__(self, page):
        self.root = page.locator(".medlearn-explorer").first
        self.canvases = self.root.locator("canvas.medlearn-picture")
        self.canvases.first.wait_for()
        self.note = self.root.locator(".medlearn-note")

    def slide(self, caption, *keys):
        for key in keys:
            self.root.get_by_role("slider", name=caption, exact=True).press(key)

    def choose(self, caption, value):
        self.root.get_by_label(caption, exact=True).select_option(label=value)

    def draw_anew(self):
        self.root.get_by_role("button", name="new draw", exact=True).click()

    def picture(self, pixels):
        """Both panels side by side, as `render` draws them."""
        left, right = (pixels(canvas) for canvas in self.canvases.all())
        return np.concatenate([left, np.zeros((len(left), GAP, 3), np.uint8), right], axis=1)

    def shows(self, explorer, **state):
        """Wait for Python's words about this state."""
        for name, value in state.items():
            setattr(explorer, name, value)
        expect(self.root.locator(".medlearn-read-out")).to_have_text(explorer._words)


@pytest.fixture
def explorer():
    return AugmentExplorer.example()


def assert_same(shown, drawn):
    assert np.ptp(shown) > 100, "the picture is blank"
    np.testing.assert_array_equal(shown, drawn)


def test_the_explorer_shows_what_python_draws(notebook, explorer, pixels):
    hands = Hands(notebook(EXAMPLE))
    hands.shows(explorer)
    assert_same(hands.picture(pixels), explorer.render())
    hands.draw_anew()
    hands.shows(explorer, number=1)
    assert_same(hands.picture(pixels), explorer.render())
    hands.slide("rotation, degrees", "Home")
    hands.shows(explorer, rotation_deg=0.0)
    hands.slide("elastic, mm", "End")
    hands.shows(explorer, elastic_mm=12.0)
    hands.slide("blur, mm", "End")
    hands.slide("coarse pixels", "End")
    hands.slide("contrast", "Home")
    explorer.blur_mm, explorer.low_resolution, explorer.contrast = 4.0, 4.0, 0.0
    hands.slide("number of the draw", "End", "ArrowLeft")
    hands.shows(explorer, number=48)
    assert_same(hands.picture(pixels), explorer.render())
    hands.choose("control points", "free")
    hands.shows(explorer, control_points="free")
    hands.slide("dial: all strengths ×", "End")
    hands.shows(explorer, strength=4.0)
    assert explorer.folded() > 0.1
    held = explorer.render()
    hands.choose("view", "Jacobian determinant")
    expect(hands.canvases.nth(1)).to_have_attribute("aria-label", re.compile("Jacobian determinant"))
    assert_same(hands.picture(pixels), explorer.render(view="Jacobian determinant"))
    assert not np.array_equal(held, explorer.render(view="Jacobian determinant"))


def test_every_control_has_a_name_and_every_picture_a_description(notebook):
    hands = Hands(notebook(EXAMPLE))
    controls = hands.root.locator("input, select").all()
    assert len(controls) == len(AugmentExplorer.example().controls)
    for control in controls:
        assert control.get_attribute("aria-label")
    for canvas in hands.canvases.all():
        expect(canvas).to_have_attribute("aria-label", re.compile("det J from"))


def test_without_a_kernel_the_last_picture_stays(static_page, explorer, pixels):
    explorer.number = 7
    page = static_page(explorer)
    hands = Hands(page)
    expect(hands.note).to_have_text(re.compile("No kernel is running"))
    assert_same(hands.picture(pixels), explorer.render())
    expect(hands.root.get_by_role("slider", name="shear", exact=True)).to_be_disabled()
    expect(hands.root.get_by_role("button", name="new draw")).to_be_disabled()
    page.close()


def test_latency_of_a_key_press(notebook, capsys):
    """Measured, not asserted: how long after a key press, through Python's warp, the pixels have changed."""
    page = notebook(EXAMPLE)
    hands = Hands(page)
    times = []
    for _ in range(N_PRESSES):
        hands.canvases.nth(1).evaluate(WATCH_PIXELS)
        hands.slide("number of the draw", "ArrowRight")
        times.append(page.evaluate("() => window.changed"))
    assert None not in times
    with capsys.disabled():
        print(f"\nkey press to changed pixels, 256×256, warp in Python: median {statistics.median(times):.1f} ms")


# From the event of the key to the first frame in which the changed slice differs.
WATCH_PIXELS = """canvas => {
    const look = () => canvas.getContext('2d').getImageData(0, 90, canvas.width, 1).data.join();  // through the gland
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
