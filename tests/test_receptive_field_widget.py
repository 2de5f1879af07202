"""The receptive field explorer in Python: its arithmetic against torch's gradients, and what it refuses."""

import numpy as np
import pytest
import torch
from torch import nn

from medlearn.nn import receptive_field
from medlearn.widgets import ReceptiveFieldExplorer
from medlearn.widgets.receptive_field_explorer import GAP, path_counts, stages

CHAINS = [
    [(3, 1, 1)],
    [(3, 1, 1), (3, 1, 1), (2, 2, 1), (3, 2, 1)],
    [(3, 1, 2), (3, 1, 2), (5, 2, 3)],
    [(1, 3, 4), (7, 3, 4), (4, 1, 3), (6, 2, 2)],
    [(7, 3, 4)] * 4,
    [(2, 3, 4), (6, 3, 3), (2, 3, 3), (4, 3, 1)],
]
chains = pytest.mark.parametrize("layers", CHAINS, ids=str)


def ones(layers):
    """The chain as torch's convolutions, with weights of one."""
    chain = nn.Sequential(
        *(nn.Conv1d(1, 1, k, s, padding=d * (k - 1) // 2, dilation=d, bias=False) for k, s, d in layers)
    ).double()
    for layer in chain:
        nn.init.ones_(layer.weight)
    return chain


@chains
@pytest.mark.parametrize("n", [64, 97])
def test_paths_are_the_gradient_of_equal_weights(layers, n):
    signal = torch.ones(1, 1, n, dtype=torch.float64, requires_grad=True)
    output = ones(layers)(signal)[0, 0]
    last = stages(layers, n)[-1]
    assert last.size == len(output)
    for index in {0, len(output) // 2, len(output) - 1}:
        (gradient,) = torch.autograd.grad(output[index], signal, retain_graph=True)
        counts = path_counts(layers, n, index)
        np.testing.assert_array_equal(counts, gradient[0, 0].numpy())
        first, end = last.box(index)
        assert not counts[: max(first, 0)].any()
        assert not counts[end:].any()


@chains
def test_box_is_that_of_the_library(layers):
    assert stages(layers, 200)[-1].field == receptive_field(layers)


def test_hiding_blackens_what_lies_outside():
    explorer = ReceptiveFieldExplorer(np.full((64, 80), 200, np.uint8), size=640)
    explorer.row, explorer.column = 30, 40  # three layers of 3: a box of 7

    def panel(number, **state):
        """Middle of every pixel of the slice, away from the line of the box."""
        left = number * (640 + GAP)
        return explorer.render(**state)[4::8, left + 4 : left + 640 : 8, 0]

    box = np.zeros((64, 80), int)
    box[27:34, 37:44] = 200
    np.testing.assert_array_equal(panel(0, hide="all outside the box"), box)
    half = np.zeros((64, 80), int)
    half[28:33, 38:43] = 200
    np.testing.assert_array_equal(panel(0, hide="all outside half the box"), half)
    assert (panel(0) == 200).all()
    heat = panel(1)
    assert heat[30, 40] == 255
    np.testing.assert_array_equal(heat > 0, box > 0)


def test_dilation_leaves_holes():
    explorer = ReceptiveFieldExplorer(np.zeros((64, 64), np.uint8), size=64)
    explorer.n_layers, explorer.dilation_1, explorer.dilation_2 = 2, 2, 2
    assert explorer.layers == [(3, 1, 2), (3, 1, 2)]
    heat = explorer.render()[:, 64 + GAP :]
    gray = (heat != (86, 180, 233)).any(-1) & heat.any(-1)  # without the line of the box
    assert gray[29:36, 29:36].sum() == 9  # of the inner 7 × 7 only every second row and column
    assert not gray[31, 32]


def test_errors_name_the_trouble():
    with pytest.raises(ValueError, match=r"at least 64 pixels along each side.* got 40 × 64"):
        ReceptiveFieldExplorer(np.zeros((40, 64), np.uint8))
    explorer = ReceptiveFieldExplorer(np.zeros((64, 64), np.uint8))
    with pytest.raises(ValueError, match="kernel_2 must be a whole number from 1 to 7; got 9"):
        explorer.kernel_2 = 9
    with pytest.raises(ValueError, match="hide must be one of"):
        explorer.hide = "everything"
