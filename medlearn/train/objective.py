"""What one step minimizes, how fast it goes, and by which rule the weights move."""

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn import cross_entropy_loss, dice_ce_loss, dice_loss
from .config import TrainConfig

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]


def segmentation_objective(
    model: nn.Module, images: Tensor, labels: Tensor, *, loss: str = "dice_ce", dice_batch: bool = True
) -> Tensor:
    """Dice plus cross-entropy of the model's logits: the default of `fit`.

    A network that was built with ``deep_supervision`` is judged at every level of its decoder: level i counts 1/2^i,
    and the weights sum to 1.

    Parameters
    ----------
    model : nn.Module
    images : (B, C, [D,] H, W) Tensor
    labels : (B, [D,] H, W) Tensor
    loss : {"dice_ce", "dice", "cross_entropy"}
    dice_batch : bool
        One Dice over the whole batch, or one per image.
    """
    loss_of = {
        "dice_ce": partial(dice_ce_loss, batch=dice_batch),
        "dice": partial(dice_loss, batch=dice_batch),
        "cross_entropy": cross_entropy_loss,
    }[loss]
    if not model.config.get("deep_supervision"):
        return loss_of(model(images), labels)
    scales = model.forward_scales(images)
    weights = [0.5**i for i in range(len(scales))]
    losses = [loss_of(logits, _shrink(labels, logits.shape[2:])) for logits in scales]
    return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)


def _shrink(labels: Tensor, size: torch.Size) -> Tensor:
    """Labels at a coarser resolution, each that of the nearest voxel."""
    if labels.shape[1:] == size:
        return labels
    return F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].to(labels.dtype)


def make_optimizer(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD with Nesterov's momentum, as one fused kernel."""
    keywords = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, nesterov=config.momentum > 0, **keywords)
    return {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer](parameters, **keywords)


def learning_rate(config: TrainConfig, share: float) -> float:
    """The rate when `share` of the budget (0 ... 1) is used; 0 at its end."""
    share = min(share, 1.0)
    if config.schedule == "one-cycle":
        if share < 0.3:
            return config.learning_rate * (1 - 0.96 * 0.5 * (1 + math.cos(math.pi * share / 0.3)))
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (share - 0.3) / 0.7))
    rise = min(1.0, share / 0.03 + 1e-3)
    if config.schedule == "poly":
        return config.learning_rate * rise * (1 - share) ** 0.9
    return config.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * share))
