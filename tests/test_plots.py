"""Figures: physical proportions, outlines where the masks are, and no trace left in pyplot."""

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from medlearn import plots
from medlearn.errors import GridMismatchError
from medlearn.volume import Volume

SPACING = (3.6, 0.5, 0.75)


def make(array, spacing=SPACING, **kwargs):
    return Volume(array=array, spacing=spacing, **kwargs)


@pytest.fixture
def image():
    return make(np.random.default_rng(0).normal(100, 10, (10, 40, 30)))


@pytest.fixture
def mask():
    array = np.zeros((10, 40, 30), np.uint8)
    array[3:6, 10:20, 8:14] = 2
    array[5, 10:30, 8:14] = 1
    return make(array)


def outlines(panel):
    """Vertices (x, y) of every outline in a panel, and of no filled area."""
    contours = [artist for artist in panel.collections if not artist.filled]
    return [np.concatenate([path.vertices for path in contour.get_paths()]) for contour in contours]


@pytest.mark.parametrize(
    ("axis", "extent", "names"),
    [
        ("z", (-0.375, 22.125, 19.75, -0.25), ("x", "y")),
        ("y", (-0.375, 22.125, -1.8, 34.2), ("x", "z")),
        ("x", (-0.25, 19.75, -1.8, 34.2), ("y", "z")),
    ],
)
def test_axes_are_in_mm_with_equal_scales(image, axis, extent, names):
    panel = plots.show_slices(image, axis=axis, slices=[2]).axes[0]
    assert panel.images[0].get_extent() == pytest.approx(extent)
    assert panel.get_aspect() == 1
    assert (panel.get_xlabel(), panel.get_ylabel()) == tuple(f"{name} (mm)" for name in names)


def test_drawn_proportions_are_those_of_the_patient(image):
    figure = plots.show_slices(image, slices=[0])
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(40 * 0.5 / (30 * 0.75), rel=0.01)


def test_the_head_is_at_the_top_and_the_front_too(image):
    bottom, top = plots.show_slices(image, axis="y", slices=[0]).axes[0].get_ylim()
    assert top > bottom  # z grows upwards
    bottom, top = plots.show_slices(image, axis="z", slices=[0]).axes[0].get_ylim()
    assert top < bottom  # y grows downwards, to the back


def test_pixels_are_the_slice_itself(image):
    panel = plots.show_slices(image, slices=[7]).axes[0]
    np.testing.assert_array_equal(panel.images[0].get_array(), image.array[7])
    assert panel.images[0].get_clim() == tuple(np.percentile(image.array, [0.5, 99.5]))
    assert panel.get_title() == "slice z = 7"


def test_six_slices_by_default_and_fewer_of_a_thin_volume(image):
    assert len(plots.show_slices(image).axes) == 6
    assert len(plots.show_slices(make(np.arange(24.0).reshape(2, 3, 4))).axes) == 2
    assert len(plots.show_slices(make(np.eye(5), spacing=(1, 1), axes="yx")).axes) == 1
    assert len(plots.show_slices(image, slices=[1, 2, 3, 4]).axes) == 4  # two panels of the second row are taken away


def test_outline_lies_on_the_border_of_the_mask_in_mm(image, mask):
    (vertices,) = outlines(plots.show_slices(image, mask, slices=[4]).axes[0])
    assert vertices.min(0) == pytest.approx([7.5 * 0.75, 9.5 * 0.5])
    assert vertices.max(0) == pytest.approx([13.5 * 0.75, 19.5 * 0.5])


def test_outline_in_a_vertical_cut(image, mask):
    (vertices,) = outlines(plots.show_slices(image, mask, slices=[12], axis="y").axes[0])
    assert vertices.min(0) == pytest.approx([7.5 * 0.75, 2.5 * 3.6])
    assert vertices.max(0) == pytest.approx([13.5 * 0.75, 5.5 * 3.6])


def test_slice_without_mask_has_no_outline(image, mask):
    assert outlines(plots.show_slices(image, mask, slices=[0]).axes[0]) == []


def test_probabilities_are_outlined_at_one_half(image, mask):
    probabilities = mask.map(lambda array: np.where(array > 0, 0.51, 0.49))
    drawn, expected = (outlines(plots.show_slices(image, m, slices=[4]).axes[0])[0] for m in (probabilities, mask))
    np.testing.assert_array_equal(drawn, expected)


def test_overlay_tells_masks_apart_by_color_and_line_style(image, mask):
    other = mask.map(lambda array: np.roll(array, 4, axis=2))
    figure = plots.show_overlay(image, mask, other, labels=["truth", "prediction"])
    lines = [artist for artist in figure.axes[0].collections if not artist.filled]
    assert len({to_hex(line.get_edgecolor()[0]) for line in lines}) == 2
    styles = [handle.get_linestyle() for handle in figure.legends[0].legend_handles]
    assert styles == ["-", "--"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["truth", "prediction"]
    assert lines[0].get_linestyle() != lines[1].get_linestyle()


def test_overlay_takes_the_slice_with_most_of_the_first_mask(image, mask):
    panel = plots.show_overlay(image, mask, labels=["gland"]).axes[0]
    np.testing.assert_array_equal(panel.images[0].get_array(), image.array[5])
    panel = plots.show_overlay(image, mask, labels=["gland"], z=3).axes[0]
    np.testing.assert_array_equal(panel.images[0].get_array(), image.array[3])


def test_margin_shows_the_surroundings_of_the_masks(image, mask):
    panel = plots.show_overlay(image, mask, labels=["gland"], z=4, margin_mm=2).axes[0]
    assert panel.get_xlim() == pytest.approx((7.5 * 0.75 - 2, 13.5 * 0.75 + 2))
    assert panel.get_ylim() == pytest.approx((19.5 * 0.5 + 2, 9.5 * 0.5 - 2))


def test_without_margin_the_whole_slice_is_shown(image, mask):
    panel = plots.show_overlay(image, mask, labels=["gland"], z=4).axes[0]
    assert panel.get_xlim() == pytest.approx((-0.375, 22.125))
    assert panel.get_ylim() == pytest.approx((19.75, -0.25))
    empty = plots.show_overlay(image, mask, labels=["gland"], z=0, margin_mm=2).axes[0]  # no mask to look around
    assert empty.get_xlim() == pytest.approx((-0.375, 22.125))


def test_comparison_has_a_titled_panel_per_entry(image, mask):
    nothing = mask.map(np.zeros_like)
    figure = plots.show_comparison(image, {"early": (mask, nothing), "late": (mask, mask)}, labels=["truth", "U-Net"])
    assert [panel.get_title() for panel in figure.axes] == ["early", "late"]
    assert [len(outlines(panel)) for panel in figure.axes] == [1, 2]


def test_errors_name_the_trouble(image, mask):
    with pytest.raises(ValueError, match="there is no slice z = 10; the volume has 10, from 0 to 9"):
        plots.show_slices(image, slices=[10])
    with pytest.raises(ValueError, match="axis must be one of"):
        plots.show_slices(image, axis="t")
    with pytest.raises(ValueError, match="axes zyx or yx can be shown; got 'tzyx'"):
        plots.show_slices(make(np.zeros((2, 3, 4, 5)), axes="tzyx"))
    with pytest.raises(ValueError, match="got 1 masks, 2 labels"):
        plots.show_overlay(image, mask, labels=["a", "b"])
    with pytest.raises(ValueError, match="got 0 masks"):
        plots.show_overlay(image, labels=[])
    shifted = make(mask.array, origin=(5, 0, 0))
    with pytest.raises(GridMismatchError):
        plots.show_slices(image, shifted)


def test_curves_show_loss_and_measured_dice():
    history = pd.DataFrame({"step": [10, 20, 30], "train_loss": [1.0, 0.5, 0.4], "val_dice": [None, 0.6, 0.7]})
    loss, score = plots.plot_curves(history).axes
    np.testing.assert_array_equal(loss.lines[0].get_xydata(), [[10, 1.0], [20, 0.5], [30, 0.4]])
    np.testing.assert_array_equal(score.lines[0].get_xydata(), [[20, 0.6], [30, 0.7]])
    assert score.get_ylim() == (0, 1)
    nobody_held_out = history.assign(val_dice=None)
    assert len(plots.plot_curves(nobody_held_out).axes[1].lines[0].get_xydata()) == 0


def test_picture_is_stable_and_pyplot_stays_out_of_it(image, mask):
    first, second = (plots.show_overlay(image, mask, labels=["gland"])._repr_png_() for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_flow_draws_a_box_for_each_step_and_an_arrow_between_them():
    rows = {"first": [("a", "person"), None, ("b", "machine")], "second": [("c", "data"), None, ("d", "data")]}
    figure = plots.draw_flow(rows, upward=["second"])
    [axes] = figure.axes
    kinds = [type(patch).__name__ for patch in axes.patches]
    assert kinds.count("FancyBboxPatch") == 4
    assert kinds.count("FancyArrowPatch") == 1 + 2  # along the first row, and up from the second
    assert {text.get_text() for text in axes.texts} == {"a", "b", "c", "d", "first", "second"}
    with pytest.raises(ValueError, match="actor must be one of 'data', 'person', 'machine'; got 'robot'"):
        plots.draw_flow({"row": [("a", "robot")]})
