"""The modality lab in JupyterLab and on a page without a kernel: dials turn by keys, and the pixels are Python's."""

import statistics

import numpy as np
import pytest
from browser.test_slice_explorer import kernel_value

from medlearn.widgets import ModalityLab
from medlearn.widgets.machines import NAMES, Picture, machine

N_PRESSES = 15
LATENCY_OF = {  # the dial of each machine whose answer takes longest
    **{"xray": "angle_deg", "angiography": "iodine_mg_per_ml", "ct": "views", "mri": "te_ms", "kspace": "radius"},
    **{"ultrasound": "frequency_mhz", "doppler": "peak_mm_per_s", "gamma_camera": "distance_mm", "pet": "crystal_mm"},
    **{"oct": "bandwidth_nm", "endoscope": "position_mm", "fluorescence": "aperture", "fmri": "n_scans"},
    **{"eeg_meg": "depth_mm"},
}
LAB = "from medlearn.widgets import ModalityLab\nlab = ModalityLab({name!r})\nlab"


class Hands:
    """What a student does to the lab on a page."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".medlearn-explorer").first
        self.canvases = self.root.locator("canvas.medlearn-picture")
        self.canvases.first.wait_for()

    def dial(self, label):
        return self.root.get_by_role("slider", name=label, exact=True)

    def shows(self, answer, pixels):
        """Whether each canvas shows the picture of the answer, after a while."""
        wanted = [panel.bytes for panel in answer.panels if isinstance(panel, Picture)]
        wanted = [a if a.ndim == 3 else np.repeat(a[..., None], 3, 2) for a in wanted]
        for _ in range(50):
            shown = [pixels(canvas) for canvas in self.canvases.all()]
            if all(map(np.array_equal, shown, wanted)):
                return np.ptp(shown[0]) > 100
            self.page.wait_for_timeout(100)
        return False


@pytest.fixture(scope="module")
def page(notebook):
    return notebook(LAB.format(name="ct"))


def settings(page):
    return eval(kernel_value(page, "lab.settings"), {})


def test_keys_turn_dials_and_the_pixels_are_those_of_python(page, pixels):
    hands, twin = Hands(page), ModalityLab("ct")
    assert hands.shows(twin.answer(), pixels)
    hands.dial("views").press("PageDown")
    hands.dial("views").press("ArrowLeft")
    hands.dial("photons per detector and view").press("Home")
    hands.root.get_by_label("filter", exact=True).select_option("hann")
    state = {"views": 49, "photons": 300.0, "window": "hann"}
    assert hands.shows(twin.answer(**state), pixels)
    assert settings(page) == {**twin.settings, **state}
    assert hands.root.get_by_text("49 views of").count() == 1


def test_python_turns_the_dials_too(page, pixels):
    hands, twin = Hands(page), ModalityLab("ct")
    kernel_value(page, "setattr(lab, 'settings', {'views': 120})")
    assert hands.shows(twin.answer(views=120), pixels)
    assert hands.root.locator("label", has_text="views").first.locator("output").inner_text() == "120"


def test_every_control_has_a_name_and_every_picture_a_description(page):
    hands = Hands(page)
    for control in hands.root.locator("input, select").all():
        assert control.get_attribute("aria-label")
    for canvas in hands.canvases.all():
        assert canvas.get_attribute("aria-label")


def test_works_on_a_page_without_a_kernel(static_page, pixels):
    shown = static_page(ModalityLab("endoscope"))
    hands = Hands(shown)
    assert hands.shows(ModalityLab("endoscope").answer(), pixels)
    hands.root.get_by_text("No kernel is running").wait_for()
    assert hands.dial("position (mm)").is_disabled()
    shown.close()


@pytest.mark.parametrize("name", NAMES)
def test_latency_of_a_key_press(notebook, name, capsys):
    """Measured, not asserted: how long after a key press the pixels of a machine have changed."""
    hands = Hands(notebook(LAB.format(name=name)))
    dial = next(dial for dial in machine(name).dials if dial.name == LATENCY_OF[name])
    hands.dial(dial.label).focus()
    hands.page.wait_for_timeout(300)
    times = []
    for _ in range(N_PRESSES):
        hands.root.evaluate(WATCH_PICTURES)
        hands.page.keyboard.press("ArrowRight")
        times.append(hands.page.evaluate("() => window.changed"))
    changed = [time for time in times if time is not None]
    assert changed
    with capsys.disabled():
        median = f"median {statistics.median(changed):.1f} ms of {len(changed)}"
        print(f"\nModalityLab {name}, {dial.name}: key press to changed pixels: {median}")


# From the event of the key to the first frame in which the pixels of any picture differ.
WATCH_PICTURES = """root => {
    const canvases = [...root.querySelectorAll('canvas.medlearn-picture')];
    const look = () => canvases.map(canvas => {
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let hash = 0;
        for (let i = 0; i < data.length; i++) hash = (hash * 31 + data[i]) | 0;
        return hash;
    }).join();
    const before = look();
    window.changed = new Promise(resolve => window.addEventListener('keydown', () => {
        const start = performance.now();
        const check = () => {
            const elapsed = performance.now() - start;
            if (look() !== before) resolve(elapsed);
            else if (elapsed > 1500) resolve(null);
            else requestAnimationFrame(check);
        };
        requestAnimationFrame(check);
    }, { capture: true, once: true }));
}"""
