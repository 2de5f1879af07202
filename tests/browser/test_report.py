"""The evaluation report in a real browser: drawn, readable on a phone, in the dark and on paper, without a request."""

import cv2
import numpy as np
import pytest
from blobs import blob_case

import medlearn as ml
from medlearn.datasets import Cases
from medlearn.report import Predictions, compare_tables, evaluate_cases, worst_cases, write_report

NASTY = "<img src='https://images.example.org/x.png' onerror='document.title = 1'> & \"b\""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a report: five cases held out, one of them empty and one with a hostile name; two seen in training."""
    folder = tmp_path_factory.mktemp("report")
    names = {f"blob-{seed}": seed for seed in range(6)} | {NASTY: 6}
    case = {name: blob_case(seed) for name, seed in names.items()}
    for name, seed in names.items():
        pred = np.roll(case[name].mask.array, (seed + 1) // 2, axis=2) * (seed != 3)
        ml.save(case[name].mask.map(lambda _, pred=pred: pred), folder / f"{seed}.mha")
    files = {name: f"{seed}.mha" for name, seed in names.items()}
    predictions = Predictions(folder, list(files), files, {"gland": [1]}, ["blob-0", "blob-1"])
    references = Cases(tuple(case), lambda i: case[i].image, lambda i: case[i].mask, None, {})
    table = evaluate_cases(predictions, references)
    worst = worst_cases(table, predictions, references)
    write_report(table, folder, worst=worst, comparison=compare_tables(table, table))
    return (folder / "report.html").as_uri()


@pytest.fixture
def page(watched, address):
    """The report, opened, and all that it asked for."""
    page = watched.context.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    yield page
    page.close()


def picture(element):
    """What the browser draws, (height, width, 3) uint8, red first."""
    return cv2.imdecode(np.frombuffer(element.screenshot(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def test_the_page_asks_for_nothing_but_itself(page, address):
    page.wait_for_load_state("networkidle")
    assert [url for url in page.asked if not url.startswith("data:")] == [address]
    assert page.title().startswith("Evaluation: 5 cases held out, 2 cases seen in training")
    assert page.locator("td", has_text=NASTY).count() == 1
    assert page.locator("img, script").count() == 0


def test_figures_are_drawn_with_their_text(page):
    figures = page.locator("figure svg")
    assert figures.count() == 2 * 8 + 3 + 2  # five boxes, two scatter plots and Bland-Altman a group; contours
    for i in range(figures.count()):
        box = figures.nth(i).bounding_box()
        assert box["width"] > 200
        assert box["height"] > 120
    for i in range(8):  # one of each kind
        assert picture(figures.nth(i)).std() > 5
    assert page.locator("figure svg text", has_text="infinite").first.is_visible()
    assert page.get_by_role("img", name="Bland-Altman plot of the volumes of 5 cases").is_visible()


def test_contours_lie_on_the_image_in_two_colors(page):
    figures = page.locator("figure", has_text="slice")
    assert figures.count() == 5
    assert "infinite" in figures.first.inner_text()  # the empty prediction comes first
    seen = picture(figures.nth(1).locator("svg"))
    for color in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)):  # reference, prediction
        assert (np.abs(seen - color).sum(2) < 30).sum() > 100
    gray = (np.ptp(seen, axis=2) < 12) & (seen[..., 0] > 40) & (seen[..., 0] < 220)
    assert gray.mean() > 0.2, "the image is missing behind the contours"


def test_nothing_is_wider_than_a_phone(page):
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    wide = page.locator(".scroll").last
    assert wide.evaluate("e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX == 'auto'")
    sizes = page.locator("figure svg text").evaluate_all("all => all.map(e => e.getBoundingClientRect().height)")
    assert min(sizes) > 9


def brightness(page):
    """Of the background and of the text in a figure, 0 to 255."""
    style = "e => getComputedStyle(e)"
    back = page.evaluate(f"({style})(document.body).backgroundColor")
    text = page.locator("figure svg text").first.evaluate(f"e => ({style})(e).fill")
    return [np.mean([float(x) for x in color[4:-1].split(",")]) for color in (back, text)]


def test_light_dark_and_paper(page):
    page.emulate_media(color_scheme="light")
    back, text = brightness(page)
    assert back > 240
    assert text < 60
    page.emulate_media(color_scheme="dark")
    back, text = brightness(page)
    assert back < 40
    assert text > 200
    page.emulate_media(color_scheme="dark", media="print")
    back, text = brightness(page)
    assert back == 255
    assert text == 0
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 at 96 dots an inch, less its margins
    assert page.evaluate("document.documentElement.scrollWidth") == 720
