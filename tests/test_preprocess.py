import math
from dataclasses import replace

import numpy as np
import pytest
from blobs import blob_case
from scipy.spatial.transform import Rotation

from medlearn import Volume
from medlearn.geometry import orient
from medlearn.preprocess import Preprocess


def scan(shape=(5, 40, 50), spacing=(3.0, 0.5, 0.6), direction=None):
    array = np.random.default_rng(0).normal(size=shape)
    return Volume(
        array=array, spacing=spacing, origin=(5, 6, 7), direction=np.eye(3) if direction is None else direction
    )


def test_fit_takes_the_median_pixel_and_a_canvas_that_holds_every_image():
    images = [scan(), scan(spacing=(3, 1, 1)), scan(spacing=(3, 0.5, 0.5), shape=(2, 100, 20))]
    recipe = Preprocess.fit(images, multiple=16)
    assert recipe.spacing == (0.5, 0.6)
    # 40 rows of 1 mm and 100 rows of 0.5 mm; 50 columns of 1 mm are 83.3 pixels of 0.6 mm
    assert recipe.canvas == (112, 96)
    assert Preprocess.fit(images, spacing=(1, 1), multiple=1).canvas == (50, 50)
    with pytest.raises(ValueError, match="at least one image"):
        Preprocess.fit([])


def test_image_and_mask_stay_on_one_canvas():
    case = blob_case(3)
    recipe = Preprocess(spacing=(0.5, 0.8), canvas=(112, 48))
    image, mask = recipe.image(case.image), recipe.mask(case.mask)
    assert image.shape == mask.shape == (6, 112, 48)
    assert image.dtype == np.float32
    assert mask.dtype == np.uint8
    assert image[mask == 1].mean() > image[mask == 0].mean() + 1  # bright blob under its mask


def test_image_is_clipped_and_normalized():
    image = scan(spacing=(3, 0.5, 0.6)).map(lambda a: a * 300 + 5000)
    image.array[0, 0, 0] = 1e9
    result = Preprocess(spacing=(0.5, 0.6), canvas=(40, 50)).image(image)
    assert abs(result.mean()) < 1e-5
    assert result.max() < 5


@pytest.mark.parametrize("canvas", [(48, 64), (32, 32)])
def test_restore_undoes_the_way_to_the_canvas(canvas):
    """A mask sent through the recipe and back must cover itself wherever the canvas reached."""
    case = blob_case(5)
    recipe = Preprocess(spacing=(0.7, 0.7), canvas=(80, 80))
    tilt = Rotation.from_euler("xyz", [8, -5, 183], degrees=True).as_matrix()
    mask = replace(case.mask, direction=tilt)
    probabilities = recipe.mask(mask)[..., None].astype(np.float32)
    restored = recipe.restore(probabilities, mask)
    assert restored.grid_distance(mask) == 0
    assert restored.axes == "zyx"
    overlap = ((restored.array >= 0.5) == (mask.array == 1)).mean()
    assert overlap > 0.99


def test_restore_without_any_change_of_grid_is_exact():
    image = scan()
    recipe = Preprocess(spacing=(0.5, 0.6), canvas=(40, 50))
    probabilities = np.random.default_rng(1).random((5, 40, 50, 3)).astype(np.float32)
    restored = recipe.restore(probabilities, image)
    assert restored.axes == "zyxc"
    np.testing.assert_array_equal(restored.array, probabilities)


def test_outside_of_the_canvas_is_background():
    image = scan()
    probabilities = np.full((5, 16, 16, 3), 1 / 3, np.float32)
    restored = Preprocess(spacing=(0.5, 0.6), canvas=(16, 16), labels=("a", "b")).restore(probabilities, image)
    np.testing.assert_allclose(restored.array.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(restored.array[0, 0, 0], [1, 0, 0])
    np.testing.assert_allclose(restored.array[2, 20, 25], [1 / 3] * 3, atol=1e-6)


def test_an_image_stored_in_another_order_gives_the_same_slices():
    image = scan()
    recipe = Preprocess.fit([image])
    np.testing.assert_allclose(recipe.image(orient(image, "RAI")), recipe.image(image), atol=1e-5)


def test_a_picture_is_a_stack_of_one_slice():
    picture = Volume(array=np.random.default_rng(0).normal(size=(20, 30)), spacing=(1, 1), axes="yx")
    recipe = Preprocess.fit([picture])
    assert recipe.canvas == (32, 32)
    slices = recipe.image(picture)
    assert slices.shape == (1, 32, 32)
    restored = recipe.restore(slices[..., None], picture)
    assert (restored.axes, restored.shape) == ("yx", (20, 30))


def test_colors_are_refused():
    with pytest.raises(ValueError, match="one gray volume"):
        Preprocess.fit([Volume(array=np.zeros((4, 4, 3)), spacing=(1, 1), axes="yxc")])


def test_json_round_trip():
    recipe = Preprocess(spacing=(0.5, math.pi), canvas=(16, 32), labels=("gland", "tumor"), adjacent_slices=2)
    assert Preprocess.from_json(recipe.to_json()) == recipe
