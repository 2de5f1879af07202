"""What training minimizes. One signature: ``loss(logits, target)``.

`logits` are (B, C, [D,] H, W); `target` holds integer labels (B, [D,] H, W). C = 1 means one foreground label
(sigmoid), C > 1 means labels 0 … C-1 (softmax). Losses are computed in float32, whatever the type of the logits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over all voxels; binary where there is one logit."""
    _check(logits, target)
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0].float(), target.float())
    return F.cross_entropy(logits.float(), target.long())


def dice_loss(logits: Tensor, target: Tensor, *, smooth: float = 1e-5, batch: bool = True) -> Tensor:
    """One minus the soft Dice coefficient of the foreground labels, mean over labels.

    Parameters
    ----------
    logits, target : Tensor
        See the module's first lines.
    smooth : float
        Added to numerator and denominator; makes an empty mask predicted empty a perfect 1.
    batch : bool
        Sum over the whole batch before dividing. False: one Dice per image, then their mean; images without foreground
        then push every probability down with a tiny gradient (Tilborghs et al. 2022, doi:10.1007/978-3-031-16443-9_51).

    Notes
    -----
    Milletari, Navab and Ahmadi (2016), arXiv:1606.04797, with the linear denominator Σp + Σg.
    """
    _check(logits, target)
    if logits.shape[1] == 1:
        probabilities, truth = logits.float().sigmoid(), target.unsqueeze(1).float()
    else:
        probabilities = logits.float().softmax(1)[:, 1:]  # the background would dominate the mean
        truth = torch.stack([target == k for k in range(1, logits.shape[1])], dim=1).float()
    axes = [0] * batch + list(range(2, logits.ndim))
    intersection = (probabilities * truth).sum(axes)
    total = probabilities.sum(axes) + truth.sum(axes)
    return 1 - ((2 * intersection + smooth) / (total + smooth)).mean()


def dice_ce_loss(logits: Tensor, target: Tensor, *, smooth: float = 1e-5, batch: bool = True) -> Tensor:
    """Sum of `dice_loss` and `cross_entropy_loss`: the one for the overlap, the other for a gradient everywhere."""
    return dice_loss(logits, target, smooth=smooth, batch=batch) + cross_entropy_loss(logits, target)


def _check(logits: Tensor, target: Tensor) -> None:
    if logits.ndim != target.ndim + 1 or logits.shape[:1] + logits.shape[2:] != target.shape:
        raise ValueError(
            "logits must be (B, C, [D,] H, W) and target (B, [D,] H, W) with the same B and sizes; got "
            f"{tuple(logits.shape)} and {tuple(target.shape)}"
        )
