"""Our losses against MONAI's on random logits and labels, one image without foreground among them."""

import warnings

import pytest
import torch

from medlearn.nn.losses import dice_loss, focal_loss, generalized_dice_loss, tversky_loss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI's own deprecations, when it is imported
    from monai.losses import DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss


@pytest.fixture(params=[(1, (8, 9)), (3, (8, 9)), (1, (4, 5, 6)), (4, (4, 5, 6))], ids=str)
def case(request):
    """Logits, labels, and what MONAI wants to know about them."""
    channels, size = request.param
    torch.manual_seed(0)
    logits, target = torch.randn(3, channels, *size), torch.randint(0, max(channels, 2), (3, *size))
    target[1] = 0
    arguments = {"sigmoid": True} if channels == 1 else {"softmax": True, "to_onehot_y": True}
    return logits, target, arguments


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("squared", [False, True])
def test_dice(case, batch, squared):
    logits, target, arguments = case
    foreground = logits.shape[1] == 1  # a single channel is the foreground
    reference = DiceLoss(batch=batch, squared_pred=squared, include_background=foreground, **arguments)
    expected = reference(logits, target[:, None].float())
    torch.testing.assert_close(dice_loss(logits, target, batch=batch, squared=squared), expected)


@pytest.mark.parametrize("batch", [False, True])
def test_tversky(case, batch):
    logits, target, arguments = case
    foreground = logits.shape[1] == 1
    reference = TverskyLoss(alpha=0.3, beta=0.7, batch=batch, include_background=foreground, **arguments)
    torch.testing.assert_close(tversky_loss(logits, target, batch=batch), reference(logits, target[:, None]))


def test_focal(case):
    """MONAI's multi-class focal loss averages over channels too, where all but the right one are zero."""
    logits, target, _ = case
    channels = logits.shape[1]
    reference = FocalLoss(gamma=2.0, use_softmax=channels > 1, to_onehot_y=channels > 1)
    expected = reference(logits, target[:, None]) * channels
    torch.testing.assert_close(focal_loss(logits, target), expected)


@pytest.mark.parametrize("batch", [False, True])
def test_generalized_dice(case, batch):
    """Without smoothing the scale of the weights cancels out. MONAI has no background where there is one channel."""
    logits, target, arguments = case
    if logits.shape[1] == 1:
        logits, arguments = torch.cat([torch.zeros_like(logits), logits], 1), {"softmax": True, "to_onehot_y": True}
    reference = GeneralizedDiceLoss(batch=batch, smooth_nr=0, smooth_dr=0, **arguments)
    found = generalized_dice_loss(logits, target, batch=batch, smooth=0)
    torch.testing.assert_close(found, reference(logits, target[:, None]))
