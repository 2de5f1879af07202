"""Chapter 8c's exercises: answers of torch and of the library. `test_check.py` proves that all mistakes differ."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medlearn.check import chapter08c
from medlearn.nn.blocks import ResidualBlock


@pytest.mark.parametrize(("x", "scale", "shift", "mean", "variance", "training"), chapter08c.BATCH_NORM.probes)
def test_batch_norm_is_that_of_torch(x, scale, shift, mean, variance, training):
    layer = torch.nn.BatchNorm2d(3).double().train(training)
    values = {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}
    layer.load_state_dict({name: torch.tensor(value) for name, value in values.items()}, strict=False)
    expected = layer(torch.tensor(x)).detach(), layer.running_mean, layer.running_var
    answers = chapter08c.BATCH_NORM.right(x, scale, shift, mean, variance, training)
    for answer, right in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, right, rtol=1e-10)


@pytest.mark.parametrize(("x", "groups"), chapter08c.GROUP_NORM.probes)
def test_group_norm_is_that_of_torch(x, groups):
    expected = F.group_norm(torch.tensor(x), groups)
    np.testing.assert_allclose(chapter08c.GROUP_NORM.right(x, groups), expected, rtol=1e-10)
    mistake = chapter08c.GROUP_NORM.wrong["instance"].compute(x, groups)
    np.testing.assert_allclose(mistake, F.instance_norm(torch.tensor(x)), rtol=1e-10)


@pytest.mark.parametrize(("x", "first", "second"), chapter08c.RESIDUAL.probes)
def test_residual_block_is_that_of_the_library(x, first, second):
    block = ResidualBlock(2, 3, 3, None, kernel=1).double()
    for (convolution, *_), weights in zip(block.residual, (first, second), strict=True):
        convolution.weight.data = torch.tensor(weights.T.copy())[..., None, None]
        torch.nn.init.zeros_(convolution.bias)
    expected = block(torch.tensor(x)[..., None, None])[..., 0, 0].detach()
    np.testing.assert_allclose(chapter08c.RESIDUAL.right(x, first, second), expected)


def test_dropout_keeps_the_mean():
    random = np.random.default_rng(0).random((200, 500))
    dropped = chapter08c.DROPOUT.right(np.ones_like(random), 0.3, random, True)
    assert set(np.unique(dropped)) == {0, 1 / 0.7}
    assert dropped.mean() == pytest.approx(1, abs=0.01)
