"""Chapter 8b's exercises: answers of torch and of the library. `test_check.py` proves that all mistakes differ."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medlearn import nn
from medlearn.check import chapter08b


@pytest.mark.parametrize(("image", "kernel"), chapter08b.CONVOLUTION.probes)
def test_convolution_is_that_of_torch(image, kernel):
    expected = F.conv2d(torch.tensor(image)[None, None], torch.tensor(kernel)[None, None])[0, 0]
    np.testing.assert_allclose(chapter08b.CONVOLUTION.right(image, kernel), expected)


def test_convolution_by_hand():
    right, flipped = chapter08b.CONVOLUTION.right, chapter08b.CONVOLUTION.wrong["kernel_flipped"].compute
    probe = chapter08b.CONVOLUTION.probes[0]
    assert (right(*probe)[0, 0], flipped(*probe)[0, 0]) == (23, 49)


@pytest.mark.parametrize(("n", "kernel", "stride", "padding", "dilation"), chapter08b.SIZE.probes)
def test_size_is_that_of_torch(n, kernel, stride, padding, dilation):
    result = F.conv1d(torch.ones(1, 1, n), torch.ones(1, 1, kernel), None, stride, padding, dilation)
    assert chapter08b.SIZE.right(n, kernel, stride, padding, dilation) == result.shape[-1]


def test_field_is_that_of_the_library_and_its_mistakes_give_the_known_numbers():
    for (layers,) in chapter08b.FIELD.probes:
        assert chapter08b.FIELD.right(layers) == nn.receptive_field(layers)
    (chain,) = chapter08b.FIELD.probes[0]
    assert chapter08b.FIELD.right(chain) == 30
    numbers = {"adds_k": 45, "jump_forgotten": 14, "stride_before": 35, "dilation_forgotten": 22}
    assert {name: chapter08b.FIELD.wrong[name].compute(chain) for name in numbers} == numbers


@pytest.mark.parametrize(("values", "kernel", "stride"), chapter08b.TRANSPOSED.probes)
def test_transposed_convolution_is_that_of_torch(values, kernel, stride):
    expected = F.conv_transpose1d(torch.tensor(values)[None, None], torch.tensor(kernel)[None, None], stride=stride)
    np.testing.assert_allclose(chapter08b.TRANSPOSED.right(values, kernel, stride), expected[0, 0])
