"""Losses: answers worked by hand, empty masks, voxels to be ignored, gradients in double precision, half precision.

Dice and cross-entropy as training uses them are in test_nn.py; here is what goes beyond.
"""

import math
from functools import partial

import pytest
import torch

from medlearn.nn.losses import (
    cross_entropy_loss,
    dice_ce_loss,
    dice_loss,
    focal_loss,
    generalized_dice_loss,
    tversky_loss,
)

LOSSES = {
    "cross-entropy": cross_entropy_loss,
    "focal": focal_loss,
    "focal, steep": partial(focal_loss, gamma=0.5),
    "Dice": dice_loss,
    "Dice per image": partial(dice_loss, batch=False),
    "Dice, squared": partial(dice_loss, squared=True),
    "Dice + CE": dice_ce_loss,
    "Tversky": tversky_loss,
    "Tversky per image": partial(tversky_loss, batch=False),
    "generalized Dice": generalized_dice_loss,
    "generalized Dice per image": partial(generalized_dice_loss, batch=False),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def logit(*probabilities):
    """(1, 1, n) logits of foreground probabilities."""
    return torch.tensor(probabilities, dtype=torch.float64).logit()[None, None]


P, G = logit(0.9, 0.6, 0.2, 0.1), torch.tensor([[1, 1, 0, 0]])  # Σp = 1.8, Σp² = 1.22, Σpg = 1.5


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (partial(dice_loss, smooth=0), 1 - 3 / 3.8),
        (partial(dice_loss, smooth=1), 1 - 4 / 4.8),
        (partial(dice_loss, smooth=0, squared=True), 1 - 3 / 3.22),
        (partial(tversky_loss, smooth=0, alpha=0.3, beta=0.7), 1 - 1.5 / (1.5 + 0.3 * 0.3 + 0.7 * 0.5)),
        (partial(tversky_loss, smooth=0, alpha=0.5, beta=0.5), 1 - 3 / 3.8),
        (focal_loss, -(0.1**2 * math.log(0.9) * 2 + 0.4**2 * math.log(0.6) + 0.2**2 * math.log(0.8)) / 4),
        (partial(focal_loss, gamma=0), -(2 * math.log(0.9) + math.log(0.6) + math.log(0.8)) / 4),
        # background 2 voxels, Σ(1-p)(1-g) = 1.7, Σ(1-p) = 2.2: both weigh the same
        (partial(generalized_dice_loss, smooth=0), 1 - 2 * (1.5 + 1.7) / (1.8 + 2 + 2.2 + 2)),
    ],
)
def test_by_hand(loss, expected):
    assert loss(P, G).item() == pytest.approx(expected, rel=1e-12)


def test_generalized_dice_weighs_by_the_squared_volume():
    target = torch.tensor([[1, 0, 0, 0]])  # foreground 1 voxel, background 3: weights 1 and 1/9
    intersection, total = 0.9 + (0.4 + 0.8 + 0.9) / 9, (1.8 + 1) + (2.2 + 3) / 9
    assert generalized_dice_loss(P, target, smooth=0).item() == pytest.approx(1 - 2 * intersection / total)


def test_the_linear_denominator_has_one_gradient_for_each_label():
    for squared in (False, True):
        p = torch.tensor([0.9, 0.6, 0.2, 0.1], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(dice_loss(p.logit()[None, None], G, smooth=0, squared=squared), p)
        assert (len(set(gradient.numpy().round(12))) == 2) is not squared


@pytest.mark.parametrize("channels", [1, 3])
@every_loss
def test_gradients_in_double_precision(loss, channels):
    torch.manual_seed(0)
    logits = torch.randn(2, channels, 3, 2, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, max(2, channels), (2, 3, 2))
    assert loss(logits, target).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits)
    target[0, 0] = 255
    assert torch.autograd.gradcheck(lambda x: loss(x, target, ignore_label=255), logits)


@pytest.mark.parametrize("ignore_label", [255, -1, 2])
@pytest.mark.parametrize("channels", [1, 2])
@every_loss
def test_ignored_voxels_count_as_if_they_were_cut_away(loss, channels, ignore_label):
    torch.manual_seed(0)
    logits, target = torch.randn(2, channels, 6, 4), torch.randint(0, 2, (2, 6, 4))
    expected = loss(logits[:, :, :4], target[:, :4])
    target[:, 4:] = ignore_label
    logits.requires_grad_()
    found = loss(logits, target, ignore_label=ignore_label)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert (logits.grad[:, :, 4:] == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
@every_loss
def test_nothing_known_is_no_loss(loss, channels):
    logits = torch.randn(1, channels, 4, 4, requires_grad=True)
    found = loss(logits, torch.full((1, 4, 4), 255), ignore_label=255)
    found.backward()
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("label", [0, 1])
@every_loss
def test_empty_and_full_masks(loss, label):
    """A sure and right prediction costs nothing, whatever is empty; a sure and wrong one costs at least 1/2."""
    target = torch.full((2, 4, 4), label)
    right = torch.full((2, 1, 4, 4), 40.0 if label else -40.0)
    right, wrong = right.requires_grad_(), (-right).detach().requires_grad_()
    assert loss(right, target).item() == pytest.approx(0, abs=1e-5)
    assert loss(wrong, target).item() > 0.5
    for logits in (right, wrong):
        (gradient,) = torch.autograd.grad(loss(logits, target), logits)
        assert torch.isfinite(gradient).all()


@every_loss
def test_one_logit_is_two_of_which_one_is_zero(loss):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 4, 4), torch.randint(0, 2, (2, 4, 4))
    both = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(loss(both, target), loss(logits, target))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@every_loss
def test_half_precision_is_computed_in_single(loss, half):
    torch.manual_seed(0)
    logits, target = torch.randn(1, 3, 64, 64).to(half), torch.randint(0, 3, (1, 64, 64))
    found = loss(logits, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(logits.float(), target))


@every_loss
def test_shapes_that_do_not_fit_are_named(loss):
    with pytest.raises(ValueError, match=r"\(1, 1, 4, 4\) and \(1, 5, 4\)"):
        loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5, 4))


def test_gamma_must_be_positive():
    with pytest.raises(ValueError, match="gamma must be 0 or a positive number; got -1"):
        focal_loss(P, G, gamma=-1)
