"""Networks and losses, for one batch on one device; nothing here knows about files or millimeters."""

from .losses import dice_ce_loss, dice_loss
from .unet import UNet

#: `kind` in a model's ``config`` → class
NETWORKS = {"unet": UNet}


def build(config: dict):
    """Rebuild a network, with fresh weights, from the ``config`` of another one."""
    keywords = dict(config)
    return NETWORKS[keywords.pop("kind")](**keywords)


__all__ = ["NETWORKS", "UNet", "build", "dice_ce_loss", "dice_loss"]
