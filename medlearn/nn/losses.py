"""What training minimizes. One signature: ``loss(logits, target)``.

`logits` are (B, C, [D,] H, W); `target` holds integer labels (B, [D,] H, W). C = 1 means one foreground label
(sigmoid, labels 0 and 1), C > 1 means labels 0 … C-1 (softmax). Losses are computed in float32, whatever the type of
the logits; float64 stays float64. Every loss is one number, 0 for a perfect and certain prediction.

Voxels whose target is `ignore_label` count in no sum and get no gradient: nobody has said what is right there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy_loss(logits: Tensor, target: Tensor, *, ignore_label: int | None = None) -> Tensor:
    """Mean cross-entropy over all voxels; binary where there is one logit.

    Parameters
    ----------
    logits, target : Tensor
        See the module's first lines.
    ignore_label : int, optional
        The mean is over the other voxels; 0 if there are none.
    """
    _check(logits, target)
    if ignore_label is not None:
        return _mean_of_known(_voxel_cross_entropy(logits, target, ignore_label), target, ignore_label)
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(_wide(logits[:, 0]), target.to(_wide_type(logits)))
    return F.cross_entropy(_wide(logits), target.long())


def focal_loss(logits: Tensor, target: Tensor, *, gamma: float = 2.0, ignore_label: int | None = None) -> Tensor:
    """Cross-entropy in which a voxel counts the less the surer its label already is: mean of −(1 − p)^γ · log p.

    p is the probability of the right label. Of the many easy voxels of the background only little is left.

    Parameters
    ----------
    logits, target : Tensor
        See the module's first lines.
    gamma : float
        0 is the cross-entropy; at 2 a voxel with p = 0.9 counts 1/100.
    ignore_label : int, optional

    Notes
    -----
    Lin et al. (2017), arXiv:1708.02002, equation 4; without the weight α of equation 5.
    """
    _check(logits, target)
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"gamma must be 0 or a positive number; got {gamma!r}")
    cross_entropy = _voxel_cross_entropy(logits, target, ignore_label)
    doubt = -torch.expm1(-cross_entropy)  # 1 - p, exact where p is almost 1
    doubt = doubt.clamp(min=torch.finfo(doubt.dtype).tiny)  # gamma < 1 has an infinite slope at 0
    return _mean_of_known(doubt**gamma * cross_entropy, target, ignore_label)


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 1e-5,
    batch: bool = True,
    squared: bool = False,
    ignore_label: int | None = None,
) -> Tensor:
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
    squared : bool
        Sum p² and g² in the denominator, as the paper does, instead of p and g. With the linear denominator all voxels
        of one label share one gradient; with the squared one a voxel's gradient depends on its probability.
    ignore_label : int, optional

    Notes
    -----
    Milletari, Navab and Ahmadi (2016), arXiv:1606.04797, by default with the linear denominator Σp + Σg.
    """
    probabilities, truth = _foreground(logits, target, ignore_label)
    axes = _summed_axes(logits, batch)
    intersection = (probabilities * truth).sum(axes)
    if squared:
        total = (probabilities**2).sum(axes) + (truth**2).sum(axes)
    else:
        total = probabilities.sum(axes) + truth.sum(axes)
    return 1 - ((2 * intersection + smooth) / (total + smooth)).mean()


def dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 1e-5,
    batch: bool = True,
    squared: bool = False,
    ignore_label: int | None = None,
) -> Tensor:
    """Sum of `dice_loss` and `cross_entropy_loss`: the one for the overlap, the other for a gradient everywhere."""
    overlap = dice_loss(logits, target, smooth=smooth, batch=batch, squared=squared, ignore_label=ignore_label)
    return overlap + cross_entropy_loss(logits, target, ignore_label=ignore_label)


def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1e-5,
    batch: bool = True,
    ignore_label: int | None = None,
) -> Tensor:
    """Dice loss that weighs what is too much (α) and what is missing (β): 1 − TP / (TP + α·FP + β·FN).

    Parameters
    ----------
    logits, target : Tensor
        See the module's first lines.
    alpha, beta : float
        Weights of false positives and false negatives; β > α trades precision for sensitivity. Both 0.5: Dice.
    smooth, batch, ignore_label
        As in `dice_loss`.

    Notes
    -----
    Salehi, Erdogmus and Gholipour (2017), arXiv:1706.05721.
    """
    probabilities, truth = _foreground(logits, target, ignore_label)
    axes = _summed_axes(logits, batch)
    found = (probabilities * truth).sum(axes)
    too_much, missed = probabilities.sum(axes) - found, truth.sum(axes) - found
    return 1 - ((found + smooth) / (found + alpha * too_much + beta * missed + smooth)).mean()


def generalized_dice_loss(
    logits: Tensor, target: Tensor, *, smooth: float = 1e-5, batch: bool = True, ignore_label: int | None = None
) -> Tensor:
    """One Dice loss over all labels, background included, each weighted by one over its squared volume.

    A small organ then counts as much as a large one. Weights are relative to the rarest label that is there; a label
    that is not gets that one's weight.

    Parameters
    ----------
    logits, target : Tensor
        See the module's first lines; with one logit the labels are background and foreground.
    smooth, batch, ignore_label
        As in `dice_loss`; there is one ratio per batch or per image.

    Notes
    -----
    Sudre et al. (2017), arXiv:1707.03237.
    """
    probabilities, truth = _foreground(logits, target, ignore_label)
    probabilities, truth = (
        _with_background(probabilities, target, ignore_label),
        _with_background(truth, target, ignore_label),
    )
    axes = _summed_axes(logits, batch)
    volume = truth.sum(axes)  # (C,) or (B, C)
    rarest = volume.where(volume > 0, torch.inf).amin(-1, keepdim=True)
    weight = torch.where(volume > 0, (rarest / volume.clamp(min=1)) ** 2, 1)
    intersection = (weight * (probabilities * truth).sum(axes)).sum(-1)
    total = (weight * (probabilities.sum(axes) + volume)).sum(-1)
    return 1 - ((2 * intersection + smooth) / (total + smooth)).mean()


def _foreground(logits: Tensor, target: Tensor, ignore_label: int | None) -> tuple[Tensor, Tensor]:
    """Probabilities and truth of every label but 0, (B, K, [D,] H, W); both 0 where the target is to be ignored."""
    _check(logits, target)
    wide = _wide(logits)
    if logits.shape[1] == 1:
        probabilities, truth = wide.sigmoid(), target.unsqueeze(1).to(wide.dtype)
    else:
        probabilities = wide.softmax(1)[:, 1:]  # the background would dominate the mean
        truth = torch.stack([target == k for k in range(1, logits.shape[1])], dim=1).to(wide.dtype)
    if ignore_label is None:
        return probabilities, truth
    known = (target != ignore_label).unsqueeze(1)
    return probabilities * known, truth * known


def _with_background(foreground: Tensor, target: Tensor, ignore_label: int | None) -> Tensor:
    background = 1 - foreground.sum(1, keepdim=True)
    if ignore_label is not None:
        background = background * (target != ignore_label).unsqueeze(1)
    return torch.cat([background, foreground], 1)


def _voxel_cross_entropy(logits: Tensor, target: Tensor, ignore_label: int | None) -> Tensor:
    """Cross-entropy of each voxel, (B, [D,] H, W); of voxels to be ignored it is that of some valid label."""
    if ignore_label is not None:
        target = target.masked_fill(target == ignore_label, 0)
    if logits.shape[1] == 1:
        wide = _wide(logits[:, 0])
        return F.binary_cross_entropy_with_logits(wide, target.to(wide.dtype), reduction="none")
    return F.cross_entropy(_wide(logits), target.long(), reduction="none")


def _mean_of_known(values: Tensor, target: Tensor, ignore_label: int | None) -> Tensor:
    if ignore_label is None:
        return values.mean()
    known = target != ignore_label
    return (values * known).sum() / known.sum().clamp(min=1)


def _summed_axes(logits: Tensor, batch: bool) -> list[int]:
    return [0] * batch + list(range(2, logits.ndim))


def _wide(logits: Tensor) -> Tensor:
    return logits.to(_wide_type(logits))  # sums over many voxels do not fit into half precision


def _wide_type(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _check(logits: Tensor, target: Tensor) -> None:
    if logits.ndim != target.ndim + 1 or logits.shape[:1] + logits.shape[2:] != target.shape:
        raise ValueError(
            "logits must be (B, C, [D,] H, W) and target (B, [D,] H, W) with the same B and sizes; got "
            f"{tuple(logits.shape)} and {tuple(target.shape)}"
        )
