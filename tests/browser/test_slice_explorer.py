"""The slice explorer in JupyterLab and on a page without a kernel: what a student's hands do to the pixels."""

import re
import statistics

import numpy as np
import pytest

OBLIQUE = """
import numpy as np
from medlearn.volume import Volume
from medlearn.widgets import SliceExplorer

def tilted(array, axes="zyx"):
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return Volume(array=array, spacing=(3.0, 0.5, 0.75), origin=(-20, 10, 5), direction=turn, axes=axes)

z, y, x = np.indices((9, 60, 50))
image = (1000 * np.exp(-((z - 4) ** 2 / 9 + (y - 25) ** 2 / 400 + (x - 30) ** 2 / 200)) + 3 * y - 100).astype(np.int16)
gland = ((z - 4) ** 2 / 9 + (y - 25) ** 2 / 300 + (x - 30) ** 2 / 100 < 1).astype(np.uint8)
zones = np.where((z > 1) & (z < 7) & (abs(x - 20) < 9) & (y > 20) & (y < 50), 1 + (y > 30), 0).astype(np.uint8)
explorer = SliceExplorer(tilted(image), tilted(gland), tilted(zones), labels=["gland", "zone"])
"""
MOVIE = """
movie = np.stack([image + 200 * t for t in range(4)])
explorer = SliceExplorer(tilted(movie, "tzyx"), tilted(gland), labels=["gland"], size=128)
"""
PICTURE = """
picture = Volume(array=(np.indices((512, 512)).sum(0) % 256).astype(np.uint8), spacing=(1, 1), axes="yx")
explorer = SliceExplorer(picture)
"""
LARGE = """
volume = Volume(array=np.random.default_rng(0).integers(0, 256, (32, 512, 512), np.uint8), spacing=(2, 0.5, 0.5))
explorer = SliceExplorer(volume)
"""
N_PRESSES = 30


def twin(*sources):
    """The widget that the last of the sources makes, in this process."""
    names = {}
    for source in sources:
        exec(source, names)
    return names["explorer"]


class Hands:
    """What a student does to one explorer on a page."""

    def __init__(self, page, number=0):
        self.page = page
        self.root = page.locator(".medlearn-explorer").nth(number)
        self.canvas = self.root.locator("canvas.medlearn-picture")
        self.canvas.wait_for()

    def choose(self, caption, value):
        self.root.get_by_label(caption, exact=True).select_option(value)

    def slide(self, caption, key):
        self.root.get_by_role("slider", name=caption, exact=True).press(key)

    def point(self, row, column, pixels):
        """Move the pointer over a pixel of the picture."""
        self.canvas.scroll_into_view_if_needed()
        height, width = pixels(self.canvas).shape[:2]
        box = self.canvas.bounding_box()
        self.page.mouse.move(
            box["x"] + (column + 0.5) * box["width"] / width, box["y"] + (row + 0.5) * box["height"] / height
        )

    @property
    def text(self):
        return self.root.locator(".medlearn-read-out").inner_text()

    @property
    def slice(self):
        return int(self.canvas.get_attribute("aria-valuenow"))


def assert_same(shown, drawn):
    assert shown.shape == drawn.shape
    assert np.ptp(shown) > 100, "the picture is blank"
    difference = int(np.abs(shown.astype(int) - drawn.astype(int)).max())
    assert difference <= 1


@pytest.fixture(scope="module")
def opened(notebook):
    return notebook(OBLIQUE + "explorer", MOVIE + "explorer", PICTURE + "explorer")


@pytest.fixture
def hands(opened):
    return Hands(opened)


@pytest.fixture(scope="module")
def oblique():
    return twin(OBLIQUE)


@pytest.mark.parametrize("axis", ["y", "x", "z"])
def test_canvas_shows_what_python_draws(hands, oblique, pixels, axis):
    hands.choose("slices across", axis)
    assert_same(pixels(hands.canvas), oblique.render(axis=axis))
    hands.choose("window", "full range")
    assert_same(pixels(hands.canvas), oblique.render(axis=axis, preset="full range"))
    hands.choose("window", "percentiles 0.5–99.5")


def test_keys_change_slices_also_when_held(hands, oblique, pixels):
    hands.canvas.focus()
    hands.page.keyboard.press("Home")
    assert hands.slice == 0
    for key in ["ArrowRight"] * 2 + ["ArrowUp"]:
        hands.page.keyboard.down(key)  # again and again without `up`: as a key that is held
    assert hands.slice == 3
    assert_same(pixels(hands.canvas), oblique.render(z=3))
    for key, slice_ in [("ArrowLeft", 2), ("PageDown", 0), ("PageUp", 8), ("ArrowUp", 8), ("Home", 0), ("End", 8)]:
        hands.page.keyboard.press(key)
        assert hands.slice == slice_, key
    assert hands.page.locator(".jp-Notebook .jp-Cell").count() == 3  # and no command of JupyterLab was run
    assert hands.canvas.evaluate("canvas => document.activeElement === canvas")


def test_arrow_keys_on_a_native_slider_are_not_eaten(hands):
    hands.canvas.focus()
    hands.page.keyboard.press("Home")
    hands.slide("slice", "ArrowRight")
    hands.slide("slice", "ArrowRight")
    hands.slide("slice", "ArrowLeft")
    assert hands.slice == 1


def test_wheel_changes_slices_once_the_picture_has_the_focus(hands, pixels):
    hands.canvas.focus()
    hands.page.keyboard.press("Home")
    hands.point(20, 20, pixels)
    hands.page.mouse.wheel(0, -100)
    hands.page.mouse.wheel(0, -100)
    hands.page.wait_for_timeout(200)
    assert hands.slice == 2
    hands.canvas.evaluate("canvas => canvas.blur()")
    hands.page.mouse.wheel(0, -100)
    hands.page.wait_for_timeout(200)
    assert hands.slice == 2


def test_drag_changes_the_window(hands, oblique, pixels):
    before = pixels(hands.canvas)
    level, width = (float(hands.root.get_by_label(f"window {n}").input_value()) for n in ("level", "width"))
    hands.point(60, 60, pixels)
    hands.page.mouse.down()
    hands.point(90, 210, pixels)
    hands.page.mouse.up()
    now = {n: float(hands.root.get_by_label(f"window {n}").input_value()) for n in ("level", "width")}
    assert now["width"] == pytest.approx(2 * width, rel=0.01)
    assert now["level"] == pytest.approx(level + 0.1 * width, rel=0.01)
    assert np.abs(before.astype(int) - pixels(hands.canvas)).max() > 30
    assert_same(pixels(hands.canvas), oblique.render(z=hands.slice, **now))
    hands.choose("window", "percentiles 0.5–99.5")


def test_overlay_opacity(hands, oblique, pixels):
    hands.canvas.focus()
    hands.page.keyboard.press("Home")
    for _ in range(4):
        hands.page.keyboard.press("ArrowUp")
    assert_same(pixels(hands.canvas), oblique.render(z=4))
    for _ in range(10):
        hands.slide("overlay", "ArrowLeft")
    assert_same(pixels(hands.canvas), oblique.render(z=4, opacity=0.5))
    hands.slide("overlay", "Home")
    shown = pixels(hands.canvas)
    assert_same(shown, oblique.render(z=4, opacity=0.0))
    assert (shown == shown[..., :1]).all()  # gray, nothing else
    hands.slide("overlay", "End")


def test_cursor_tells_index_place_value_and_label_of_a_voxel(hands, pixels):
    names = {}
    exec(OBLIQUE, names)
    volume = names["tilted"](names["image"])
    hands.canvas.focus()
    hands.page.keyboard.press("Home")
    for _ in range(5):
        hands.page.keyboard.press("ArrowUp")
    zoom = pixels(hands.canvas).shape[0] / 60  # pixels per voxel downwards
    index = (5, 22, 33)
    hands.point(int(22.5 * zoom), int(33.5 * zoom * 1.5), pixels)
    expected = ", ".join(f"{v:.2f}" for v in volume.to_world(index)).replace("-", "−")
    assert hands.text == (
        f"voxel (z, y, x) = (5, 22, 33) · (x, y, z) = ({expected}) mm LPS · value {volume.array[index]} · gland"
    )
    hands.page.mouse.down()
    hands.page.mouse.up()
    hands.choose("slices across", "x")
    assert hands.slice == 33  # the click moved the cursor there
    hands.choose("slices across", "z")


def test_state_reaches_python(opened, hands):
    hands.canvas.focus()
    hands.page.keyboard.press("Home")
    hands.page.keyboard.press("PageUp")
    widgets = "__import__('ipywidgets').Widget.widgets.values()"
    oblique = f"[w.z for w in {widgets} if 'masks' in getattr(w, '_scene', {{}}) and w._scene['masks'] == (2, 1)]"
    opened.wait_for_timeout(300)  # the browser tells the kernel what it has long drawn
    assert kernel_value(opened, oblique) == "[8]"


def kernel_value(page, expression):
    """`repr` of an expression, evaluated in the kernel of the open notebook."""
    script = """async code => {
        const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
        const reply = await kernel.requestExecute({ code: '', user_expressions: { it: code } }).done;
        return reply.content.user_expressions.it;
    }"""
    answer = page.evaluate(script, expression)
    assert answer["status"] == "ok", answer
    return answer["data"]["text/plain"]


def test_time_slider(opened, pixels):
    hands, movie = Hands(opened, 1), twin(OBLIQUE, MOVIE)
    assert_same(pixels(hands.canvas), movie.render())
    hands.slide("time", "End")
    assert_same(pixels(hands.canvas), movie.render(t=3))
    hands.slide("time", "ArrowLeft")
    assert_same(pixels(hands.canvas), movie.render(t=2))


def test_picture_without_a_patient(opened, pixels):
    hands, picture = Hands(opened, 2), twin(OBLIQUE, PICTURE)
    assert_same(pixels(hands.canvas), picture.render())
    assert hands.root.get_by_label("slices across").count() == 0
    hands.point(100, 7, pixels)
    assert hands.text == "voxel (y, x) = (100, 7) · (x, y) = (7.00, 100.00) mm · value 107"


def test_accessible_names_and_visible_focus(hands):
    assert hands.canvas.get_attribute("role") == "slider"
    assert "Arrow keys" in hands.canvas.get_attribute("aria-label")
    assert re.fullmatch(r"z = \d of 0–8", hands.canvas.get_attribute("aria-valuetext"))
    hands.canvas.focus()
    assert hands.canvas.evaluate("canvas => getComputedStyle(canvas).outlineStyle") == "solid"
    for control in hands.root.locator("input, select").all():
        assert control.get_attribute("aria-label")


def test_works_on_a_page_without_a_kernel(static_page, pixels):
    explorer = twin(OBLIQUE)
    hands = Hands(static_page(explorer))
    assert_same(pixels(hands.canvas), explorer.render())
    hands.canvas.focus()
    hands.page.keyboard.press("Home")
    hands.page.keyboard.press("ArrowRight")
    assert_same(pixels(hands.canvas), explorer.render(z=1))
    hands.choose("slices across", "y")
    hands.slide("overlay", "Home")
    assert_same(pixels(hands.canvas), explorer.render(axis="y", opacity=0.0))
    hands.page.close()


def test_latency_of_a_key_press(notebook, capsys):
    """Measured, not asserted: how long after a key press the pixels of a 512×512 slice have changed."""
    hands = Hands(notebook(OBLIQUE + LARGE + "explorer"))
    hands.canvas.focus()
    hands.page.keyboard.press("Home")
    times = []
    for _ in range(N_PRESSES):
        hands.canvas.evaluate(WATCH_PIXELS)
        hands.page.keyboard.press("ArrowRight")
        times.append(hands.page.evaluate("() => window.changed"))
    assert hands.slice == N_PRESSES
    assert None not in times
    with capsys.disabled():
        print(f"\nkey press to changed pixels, 512×512: median {statistics.median(times):.1f} ms of {N_PRESSES}")


# From the event of the key to the first frame in which a row of the picture differs.
WATCH_PIXELS = """canvas => {
    const row = () => canvas.getContext('2d').getImageData(0, 256, canvas.width, 1).data.join();
    const before = row();
    window.changed = new Promise(resolve => window.addEventListener('keydown', () => {
        const start = performance.now();
        const look = () => {
            const elapsed = performance.now() - start;
            if (row() !== before) resolve(elapsed);
            else if (elapsed > 5000) resolve(null);
            else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    }, { capture: true, once: true }));
}"""
