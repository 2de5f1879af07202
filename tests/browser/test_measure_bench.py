"""The measure bench in JupyterLab and on a page without a kernel: masks equal to Python's, and Python's measures."""

import statistics

import numpy as np
import pytest

from medlearn.widgets import MeasureBench

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser tests").expect

START = {"radius": 16, "right": 3, "down": -2, "grow": 1, "island": 4, "bite": 6}
BENCH = f"""
from medlearn.widgets import MeasureBench
bench = MeasureBench(**{START})
bench
"""
N_PRESSES = 20


class Hands:
    """What a student does to the bench on a page."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".medlearn-explorer").first
        self.canvas = self.root.locator("canvas.medlearn-picture")
        self.canvas.wait_for()

    def slide(self, caption, *keys):
        for key in keys:
            self.root.get_by_role("slider", name=caption, exact=True).press(key)

    def click(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()

    def shows(self, pixels, **state):
        """Gauges and masks are those that Python has for these settings, and no longer the ones before."""
        twin = MeasureBench(**state)
        column = self.root.locator("tbody td:nth-child(2)")
        expect(column).to_have_text([gauge["words"] for gauge in twin._gauges["rows"]])
        np.testing.assert_array_equal(pixels(self.canvas), twin.render())


@pytest.fixture(scope="module")
def opened(notebook):
    return notebook(BENCH)


def test_masks_and_measures_are_those_of_python(opened, pixels):
    hands, state = Hands(opened), dict(START)
    hands.shows(pixels, **state)
    for caption, keys, change in (
        ("gland radius", ["ArrowRight", "ArrowRight"], {"radius": 18}),
        ("move right", ["Home"], {"right": -20}),
        ("grow (below 0: erode)", ["PageDown", "ArrowRight"], {"grow": -8}),
        ("radius of an island", ["End"], {"island": 8}),
        ("its distance", ["ArrowLeft"], {"island_distance": 14}),
        ("radius of a bite", ["Home"], {"bite": 0}),
    ):
        hands.slide(caption, *keys)
        state |= change
        hands.shows(pixels, **state)
    hands.canvas.press("ArrowDown")
    hands.canvas.press("ArrowRight")
    hands.shows(pixels, **state | {"down": -1, "right": -19})
    hands.click("undo all")
    hands.shows(pixels, radius=18, island_distance=14)
    assert opened.locator(".jp-Notebook .jp-Cell").count() == 1  # no key ran a command of JupyterLab


def test_dragging_moves_the_prediction(opened, pixels):
    hands = Hands(opened)
    hands.click("undo all")
    hands.canvas.scroll_into_view_if_needed()
    box = hands.canvas.bounding_box()
    mm = box["width"] / 128
    mouse = opened.mouse
    mouse.move(box["x"] + 50 * mm, box["y"] + 60 * mm)
    mouse.down()
    mouse.move(box["x"] + 55 * mm, box["y"] + 53 * mm, steps=4)
    mouse.up()
    hands.shows(pixels, radius=18, island_distance=14, right=5, down=-7)
    hands.click("undo all")


def test_an_empty_prediction_has_no_distance(opened, pixels):
    hands = Hands(opened)
    hands.click("undo all")
    hands.slide("gland radius", "Home")
    hands.slide("grow (below 0: erode)", "Home")
    hands.shows(pixels, radius=3, grow=-10, island_distance=14)
    expect(hands.root.locator("tbody td", has_text="∞")).to_have_count(4)
    hands.click("undo all")


def test_the_task_is_judged(opened):
    hands = Hands(opened)
    hands.click("undo all")
    hands.slide("gland radius", "Home", *["PageUp"], *["ArrowRight"] * 7)  # 20
    hands.slide("move right", "ArrowRight", "ArrowRight", "ArrowRight")
    status = hands.root.locator(".medlearn-read-out")
    expect(status).to_contain_text("Task: keep a state")
    gauges = MeasureBench(radius=20, right=3)._gauges["rows"]
    expect(hands.root.locator("tbody td:nth-child(2)").first).to_have_text(gauges[0]["words"])
    hands.click("keep")
    expect(status).to_have_text("Not yet: Dice 0.000 apart, HD95 in the ratio 1.0 to 1.")
    hands.click("undo all")
    expect(status).to_have_text("Both need a Dice and an HD95 above 0.")
    solution = {"island": 6, "island_distance": 14, "grow": -1}
    a, b = (MeasureBench(radius=20).measures(**state) for state in ({"right": 3}, solution))
    name = "HD95, larger direction"
    assert abs(a["Dice"] - b["Dice"]) <= 0.005
    assert b[name] / a[name] >= 3
    hands.slide("radius of an island", "Home", *["ArrowRight"] * 6)
    hands.slide("grow (below 0: erode)", "ArrowLeft")
    expect(status).to_have_text(
        f"Solved: Dice {abs(a['Dice'] - b['Dice']):.3f} apart, HD95 in the ratio {b[name] / a[name]:.1f} to 1."
    )
    kept = hands.root.locator("tbody td:nth-child(4)")
    expect(kept).to_have_text([gauge["words"] for gauge in gauges])


def test_every_control_has_a_name(opened):
    hands = Hands(opened)
    for control in hands.root.locator("input, canvas.medlearn-picture").all():
        assert control.get_attribute("aria-label")
    assert hands.canvas.get_attribute("role") == "application"


def test_without_a_kernel_it_shows_the_stored_state(static_page, pixels):
    page = static_page(MeasureBench(**START))
    hands = Hands(page)
    hands.shows(pixels, **START)
    note = hands.root.locator(".medlearn-note")
    expect(note).to_be_visible()
    expect(note).to_contain_text("No kernel is running")
    assert hands.root.get_by_role("slider", name="move right", exact=True).is_disabled()
    hands.canvas.press("ArrowRight")
    hands.shows(pixels, **START)
    page.close()


def test_latency_of_a_key_press(opened, capsys):
    """Measured, not asserted: how long after a key press the masks have changed, and then the gauges."""
    hands = Hands(opened)
    hands.click("undo all")
    slider = hands.root.get_by_role("slider", name="move right", exact=True)
    slider.press("Home")
    medians = []
    for key, look in (("ArrowRight", MASKS), ("ArrowLeft", GAUGES)):
        times = []
        for _ in range(N_PRESSES):
            expect(hands.root.locator("table")).to_have_attribute("aria-busy", "false")
            hands.canvas.evaluate(WATCH % look)
            slider.press(key)
            times.append(opened.evaluate("() => window.changed"))
        assert None not in times
        medians.append(statistics.median(times))
    with capsys.disabled():
        print("\nkey press to changed masks, measure bench: median {:.1f} ms; to new gauges {:.1f} ms".format(*medians))


# From the event of the key to the first frame in which something differs: the middle row of the picture, the gauges.
MASKS = "canvas.getContext('2d').getImageData(0, canvas.height / 2, canvas.width, 1).data.join()"
GAUGES = "canvas.closest('.medlearn-explorer').querySelector('tbody').textContent"
WATCH = """canvas => {
    const look = () => %s;
    const before = look();
    window.changed = new Promise(resolve => window.addEventListener('keydown', () => {
        const start = performance.now();
        const wait = () => {
            const elapsed = performance.now() - start;
            if (look() !== before) resolve(elapsed);
            else if (elapsed > 5000) resolve(null);
            else requestAnimationFrame(wait);
        };
        requestAnimationFrame(wait);
    }, { capture: true, once: true }));
}"""
