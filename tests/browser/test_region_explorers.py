"""The explorers of thresholds and region growing: what a student's hands do, and whether their pixels are Python's."""

import re
import statistics

import numpy as np
import pytest
from browser.test_slice_explorer import N_PRESSES, WATCH_PIXELS, Hands, kernel_value, twin

from medlearn.classical import leak_curve, region_grow
from medlearn.metrics import dice

CASE = """
import numpy as np
from medlearn.phantom import prostate
from medlearn.volume import Volume
from medlearn.widgets import RegionGrowExplorer, ThresholdExplorer

case = prostate(7, shape=(12, 96, 80), spacing=(7.2, 1.5, 2.0))
"""
THRESHOLD = CASE + "explorer = ThresholdExplorer(case.image, case.mask)\n"
GROW = CASE + "explorer = RegionGrowExplorer(case.image, case.mask, size=256)\n"
BYTES = """
y, x = np.indices((70, 90))
picture = (60 + 50 * np.sin(y / 9) * np.cos(x / 11) + np.random.default_rng(0).normal(0, 12, y.shape)).astype(np.uint8)
explorer = {kind}(picture)
"""
FLOATS = """
smooth = np.sin(y / 9) * np.cos(x / 11) + np.random.default_rng(1).normal(0, 0.1, y.shape)
explorer = {kind}(smooth, smooth > 0.4)
"""
LARGE = """
large = (np.random.default_rng(0).normal(0, 25, (512, 512)) + 300 + np.indices((512, 512)).sum(0) / 2).astype(np.int16)
explorer = {kind}(Volume(array=large, spacing=(0.5, 0.5), axes="yx"))
"""


class Keys(Hands):
    """`Hands` that also know the buttons."""

    def click(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()

    def click_pixel(self, row, column, pixels):
        self.point(row, column, pixels)
        self.page.mouse.down()
        self.page.mouse.up()

    def value(self, caption):
        """The words beside a slider."""
        return self.root.locator("label", has_text=caption).locator("output").inner_text()


def sources(kind):
    """Cells for one explorer with a phantom, a picture of bytes, and one of floating-point numbers."""
    first = THRESHOLD if kind == "ThresholdExplorer" else GROW
    small, floats = BYTES.format(kind=kind), FLOATS.format(kind=kind)
    return first, small, floats


def test_large_volumes_stay_small_on_a_page(kind):
    explorer = twin(CASE + f"explorer = {kind}(prostate(3).image, prostate(3).mask)")
    packed = sum(len(value) for value in explorer.get_state().values() if isinstance(value, bytes))
    code = len(explorer._esm) + len(explorer._css)
    n, z = explorer._scene["shape"][0], explorer.controls["z"]
    assert 1 < n < 24
    assert len(z) == n
    assert explorer.z in z
    assert "of 24" in explorer._scene["note"]
    assert 4 / 3 * packed + code < 1e6


@pytest.fixture(scope="module", params=["ThresholdExplorer", "RegionGrowExplorer"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def opened(notebook, kind):
    return notebook(*(cell + "explorer" for cell in sources(kind)))


@pytest.fixture(scope="module")
def twins(kind):
    cells = sources(kind)
    return [twin(*cells[: n + 1]) for n in range(len(cells))]


threshold_only = pytest.mark.parametrize("kind", ["ThresholdExplorer"], indirect=True)
grow_only = pytest.mark.parametrize("kind", ["RegionGrowExplorer"], indirect=True)


def shown_state(page, kind, number):
    """What the kernel knows of the explorer in a cell: every setting, after the browser has told it."""
    page.wait_for_timeout(300)
    names = ["z", "lower", "upper", "revealed"]
    if kind == "RegionGrowExplorer":
        names = ["z", "y", "x", "tolerance", "connectivity", "revealed"]
    own = f"[w for w in __import__('ipywidgets').Widget.widgets.values() if type(w).__name__ == {kind!r}][{number}]"
    return eval(kernel_value(page, f"{{n: getattr({own}, n) for n in {names}}}"), {})


@pytest.mark.parametrize("number", [0, 1, 2])
def test_canvas_shows_what_python_draws(opened, twins, pixels, kind, number):
    hands, explorer = Keys(opened, number), twins[number]
    assert_identical(pixels(hands.canvas), explorer.render())
    settings = []
    for caption, key in STEPS[kind]:
        if caption == "picture":
            hands.canvas.press(key)
        else:
            hands.slide(caption, key)
        settings.append(shown_state(opened, kind, number))
        assert_identical(pixels(hands.canvas), explorer.render(**settings[-1]))
    assert len({str(s) for s in settings}) > len(settings) // 2


STEPS = {
    "ThresholdExplorer": [
        *(("lower limit", key) for key in ("PageDown", "PageDown", "ArrowLeft", "Home", "PageUp", "End")),
        *(("upper limit", key) for key in ("PageDown", "ArrowUp", "Home", "End")),
    ],
    "RegionGrowExplorer": [
        *(("tolerance", key) for key in ("Home", "PageUp", "ArrowRight", "PageUp", "End", "PageDown")),
        *(("picture", key) for key in ("ArrowUp", "Shift+ArrowLeft", "ArrowDown", "ArrowRight")),
    ],
}


def assert_identical(shown, drawn):
    assert np.ptp(shown) > 100, "the picture is blank"
    np.testing.assert_array_equal(shown, drawn)


@threshold_only
def test_presets_are_those_of_python(opened, twins, pixels):
    for number, explorer in enumerate(twins):
        hands = Keys(opened, number)
        for name, (lower, upper) in explorer.presets(explorer.z).items():
            hands.click(name)
            state = shown_state(opened, "ThresholdExplorer", number)
            assert (state["lower"], state["upper"]) == (lower, upper)
            assert_identical(pixels(hands.canvas), explorer.render(preset=name))


@threshold_only
def test_presets_of_every_slice(opened, twins):
    hands, explorer = Keys(opened), twins[0]
    hands.canvas.focus()
    hands.page.keyboard.press("Home")
    for z in explorer.controls["z"]:
        hands.click("Otsu")
        state = shown_state(opened, "ThresholdExplorer", 0)
        assert (state["z"], (state["lower"], state["upper"])) == (z, explorer.presets(z)["Otsu"])
        hands.canvas.press("ArrowRight")
    for _ in range(6):
        hands.canvas.press("ArrowLeft")


@threshold_only
def test_one_limit_pushes_the_other(opened):
    hands = Keys(opened, 1)
    hands.slide("upper limit", "Home")
    assert hands.value("upper limit") == hands.value("lower limit")
    hands.slide("lower limit", "End")
    assert hands.value("upper limit") == hands.value("lower limit")


@threshold_only
def test_lines_of_the_histogram_can_be_dragged(opened, twins, pixels):
    hands, explorer = Keys(opened, 1), twins[1]
    hands.slide("lower limit", "Home")
    hands.slide("upper limit", "End")
    chart = hands.root.locator("canvas.medlearn-chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    opened.mouse.move(box["x"] + 60, box["y"] + 80)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 200, box["y"] + 80)
    opened.mouse.move(box["x"] + 260, box["y"] + 80)
    opened.mouse.up()
    state = shown_state(opened, "ThresholdExplorer", 1)
    low, high = (float(v) for v in (explorer.controls["lower"].low, explorer.controls["upper"].high))
    assert state["upper"] == high
    assert 0.3 < (state["lower"] - low) / (high - low) < 0.6
    assert_identical(pixels(hands.canvas), explorer.render(**state))


@grow_only
def test_click_puts_the_seed(opened, twins, pixels):
    hands, explorer = Keys(opened), twins[0]
    hands.slide("slice", "Home")
    hands.slide("slice", "PageUp")
    height, width = pixels(hands.canvas).shape[:2]
    hands.click_pixel(int(40.5 / 96 * height), int(30.5 / 80 * width), pixels)
    state = shown_state(opened, "RegionGrowExplorer", 0)
    assert (state["z"], state["y"], state["x"]) == (10, 40, 30)
    assert_identical(pixels(hands.canvas), explorer.render(**state))
    hands.click("8 (corners too)")
    state = shown_state(opened, "RegionGrowExplorer", 0)
    assert state["connectivity"] == "full"
    assert_identical(pixels(hands.canvas), explorer.render(**state))


@grow_only
def test_click_on_the_leak_curve_sets_the_tolerance(opened, twins, pixels):
    hands, explorer = Keys(opened, 1), twins[1]
    hands.slide("tolerance", "Home")
    chart = hands.root.locator("canvas.medlearn-chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    opened.mouse.click(box["x"] + box["width"] / 2, box["y"] + 60)
    state = shown_state(opened, "RegionGrowExplorer", 1)
    assert 0.3 < state["tolerance"] / explorer.controls["tolerance"].high < 0.6
    assert_identical(pixels(hands.canvas), explorer.render(**state))


@pytest.mark.parametrize("connectivity", ["4 (edges)", "8 (corners too)"])
@grow_only
def test_every_tolerance_has_the_area_of_python(opened, twins, connectivity):
    hands, explorer = Keys(opened, 1), twins[1]
    hands.click(connectivity)
    hands.slide("tolerance", "Home")
    areas = []
    for _ in range(60):
        areas.append(int(re.search(r"area (\d+) pixels", hands.text)[1]))
        hands.slide("tolerance", "ArrowRight")
    state = shown_state(opened, "RegionGrowExplorer", 1)
    names = {}
    exec(CASE + BYTES.format(kind="RegionGrowExplorer"), names)
    seed = state["y"], state["x"]
    expected = leak_curve(names["picture"], seed, range(60), connectivity=2 if state["connectivity"] == "full" else 1)
    np.testing.assert_array_equal(areas, expected)
    assert explorer.controls["tolerance"].high > 60


def test_truth_stays_hidden_until_it_is_revealed(opened, twins, pixels, kind):
    hands, explorer = Keys(opened), twins[0]
    hands.slide("slice", "Home")
    for _ in range(explorer.z):  # to the slice with most of the mask
        hands.slide("slice", "ArrowRight")
    assert "Dice" not in hands.text
    assert hands.root.get_by_text("truth (dashed line)").count() == 0
    hidden = pixels(hands.canvas)
    hands.click("reveal the truth")
    state = shown_state(opened, kind, 0)
    assert state["revealed"]
    assert_identical(pixels(hands.canvas), explorer.render(**state))
    assert not np.array_equal(hidden, pixels(hands.canvas))
    assert hands.root.get_by_text("truth (dashed line)").count() == 1
    names = {}
    exec(CASE, names)
    image, truth = names["case"].image.array[state["z"]], names["case"].mask.array[state["z"]] > 0
    if kind == "ThresholdExplorer":
        region = (image >= state["lower"]) & (image <= state["upper"])
    else:
        n = 1 if state["connectivity"] == "faces" else 2
        region = region_grow(image, (state["y"], state["x"]), tolerance=state["tolerance"], connectivity=n)
    assert f"area {region.sum()} pixels = {region.sum() * 1.5 * 2 / 100:.1f} cm²" in hands.text
    assert f"Dice {dice(region, truth):.3f}" in hands.text
    assert f"{100 * (region & ~truth).sum() / region.sum():.1f} %" in hands.text
    hands.click("reveal the truth")
    assert "Dice" not in hands.text


def test_keys_reach_the_explorer_and_not_jupyterlab(opened, kind):
    hands = Keys(opened, 1)
    caption = "lower limit" if kind == "ThresholdExplorer" else "tolerance"
    hands.slide(caption, "Home")
    values = [hands.value(caption)]
    slider = hands.root.get_by_role("slider", name=caption, exact=True)
    slider.focus()
    for _ in range(3):
        opened.keyboard.down("ArrowRight")  # again and again without `up`: as a key that is held
        values.append(hands.value(caption))
    assert len(set(values)) == 4
    assert opened.locator(".jp-Notebook .jp-Cell").count() == 3
    assert slider.evaluate("node => document.activeElement === node")


def test_accessible_names(opened):
    hands = Keys(opened)
    assert hands.canvas.get_attribute("aria-label")
    for control in hands.root.locator("input, select").all():
        assert control.get_attribute("aria-label")
    assert hands.root.locator("canvas.medlearn-chart").get_attribute("aria-label")
    assert hands.root.get_by_role("button", name="reveal the truth").get_attribute("aria-pressed") == "false"


def test_works_on_a_page_without_a_kernel(static_page, pixels, kind):
    explorer = twin(sources(kind)[0])
    hands = Keys(static_page(explorer))
    assert_identical(pixels(hands.canvas), explorer.render())
    hands.click("reveal the truth")
    assert_identical(pixels(hands.canvas), explorer.render(revealed=True))
    if kind == "ThresholdExplorer":
        hands.click("brightest of 3")
        assert_identical(pixels(hands.canvas), explorer.render(revealed=True, preset="brightest of 3"))
    else:
        hands.slide("tolerance", "End")
        most = explorer.controls["tolerance"].high
        assert_identical(pixels(hands.canvas), explorer.render(revealed=True, tolerance=most))
    hands.page.close()


def test_latency_of_a_key_press(notebook, kind, capsys):
    """Measured, not asserted: how long after a key press the pixels of a 512×512 slice have changed."""
    hands = Keys(notebook(CASE + LARGE.format(kind=kind) + "explorer"))
    for what in ["lower limit"] if kind == "ThresholdExplorer" else ["tolerance", "seed"]:
        node = hands.canvas if what == "seed" else hands.root.get_by_role("slider", name=what, exact=True)
        node.focus()
        times = []
        for _ in range(N_PRESSES):
            hands.canvas.evaluate(WATCH_PIXELS)
            hands.page.keyboard.press("ArrowRight")
            times.append(hands.page.evaluate("() => window.changed"))
        changed = [time for time in times if time is not None]
        assert changed
        with capsys.disabled():
            median = f"median {statistics.median(changed):.1f} ms of {len(changed)}"
            print(f"\n{kind}, {what}: key press to changed pixels, 512×512: {median}")
