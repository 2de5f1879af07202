"""What one step minimizes, how fast it goes, and by which rule the weights move."""

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn import dice_ce_loss
from .config import TrainConfig

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]


def segmentation_objective(model: nn.Module, images: Tensor, labels: Tensor, *, dice_batch: bool = True) -> Tensor:
    """Dice plus cross-entropy of the model's logits: the default of `fit`.

    A network that was built with ``deep_supervision`` is judged at every level of its decoder: level i counts 1/2^i,
    and the weights sum to 1.

    Parameters
    ----------
    model : nn.Module
    images : (B, C, H, W) Tensor
    labels : (B, H, W) Tensor
    dice_batch : bool
        One Dice over the whole batch, or one per image.
    """
    if not model.config.get("deep_supervision"):
        return dice_ce_loss(model(images), labels, batch=dice_batch)
    scales = model.forward_scales(images)
    weights = [0.5**i for i in range(len(scales))]
    losses = [dice_ce_loss(logits, _shrink(labels, logits.shape[2:]), batch=dice_batch) for logits in scales]
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
