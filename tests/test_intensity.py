import numpy as np
import pytest

from medlearn.intensity import clip_percentiles, normalize, window


def test_window_of_a_workstation():
    hounsfield = np.array([-1000, 0, 40, 80, 240, 3000], np.int16)
    np.testing.assert_allclose(window(hounsfield, level=40, width=400), [0, 0.4, 0.5, 0.6, 1, 1])
    with pytest.raises(ValueError, match="width"):
        window(hounsfield, level=40, width=0)


def test_clip_percentiles_tames_a_bright_voxel_and_keeps_the_dtype():
    image = np.arange(1000, dtype=np.int16)
    image[-1] = 30000
    clipped = clip_percentiles(image, 1, 99)
    assert clipped.dtype == np.int16
    assert (clipped.min(), clipped.max()) == (9, 989)
    with pytest.raises(ValueError, match="percentiles"):
        clip_percentiles(image, 50, 50)


def test_normalize():
    image = np.random.default_rng(0).uniform(5000, 9000, (4, 5, 6))
    result = normalize(image.astype(np.uint16))
    assert result.dtype == np.float32
    assert abs(result.mean()) < 1e-6
    assert abs(result.std() - 1) < 1e-6
    assert (normalize(np.full((2, 2), 7)) == 0).all()
