"""The phantom's nuclei: deterministic, numbered without gaps, touching, and hard to tell apart by components."""

import numpy as np
import pytest
from scipy import ndimage

from medlearn import phantom


def test_same_seed_same_picture():
    one, other, next_one = phantom.nuclei(5), phantom.nuclei(5), phantom.nuclei(6)
    np.testing.assert_array_equal(one.image.array, other.image.array)
    np.testing.assert_array_equal(one.mask.array, other.mask.array)
    assert (one.mask.array != next_one.mask.array).any()
    assert one.id == "nuclei-0005"
    assert (one.image.axes, one.image.array.dtype, one.mask.array.dtype) == ("yx", np.uint8, np.uint8)


@pytest.mark.parametrize("seed", range(6))
def test_numbers_have_no_gaps_and_nuclei_touch(seed):
    labels = phantom.nuclei(seed, shape=(160, 200)).mask.array
    assert labels.shape == (160, 200)
    n = labels.max()
    assert np.array_equal(np.unique(labels), np.arange(n + 1))
    assert 0.08 < (labels > 0).mean() < 0.45
    assert ndimage.label(labels > 0)[1] < n, "some touch: fewer connected parts than nuclei"


def test_nuclei_are_brighter_than_the_ground():
    case = phantom.nuclei(2)
    inside = case.mask.array > 0
    assert case.image.array[inside].mean() > 3 * case.image.array[~inside].mean()


def test_most_nuclei_are_of_one_piece():
    labels = phantom.nuclei(1).mask.array
    pieces = [ndimage.label(labels == k, np.ones((3, 3)))[1] for k in range(1, labels.max() + 1)]
    assert np.mean(np.array(pieces) == 1) > 0.9


@pytest.mark.parametrize(("arguments", "words"), [({"seed": -1}, "seed"), ({"shape": (32, 128)}, "at least 64")])
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        phantom.nuclei(**arguments)
