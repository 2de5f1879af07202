"""Networks and losses, for one batch on one device; nothing here knows about files or millimeters."""

from .deeplab import DeepLabV3Plus
from .inspect import Summary, gradient_support, receptive_field, summary
from .losses import (
    cross_entropy_loss,
    dice_ce_loss,
    dice_loss,
    focal_loss,
    generalized_dice_loss,
    tversky_loss,
)
from .mask_rcnn import Detections, MaskRCNN
from .unet import UNet
from .vision import VisionNet
from .vnet import VNet

#: `kind` in a model's ``config`` → class
NETWORKS = {"unet": UNet, "vnet": VNet, "deeplabv3plus": DeepLabV3Plus, "mask_rcnn": MaskRCNN, "vision": VisionNet}


def build(config: dict):
    """Rebuild a network, with fresh weights, from the ``config`` of another one."""
    keywords = dict(config)
    return NETWORKS[keywords.pop("kind")](**keywords)


__all__ = [
    "NETWORKS",
    "DeepLabV3Plus",
    "Detections",
    "MaskRCNN",
    "Summary",
    "UNet",
    "VNet",
    "VisionNet",
    "build",
    "cross_entropy_loss",
    "dice_ce_loss",
    "dice_loss",
    "focal_loss",
    "generalized_dice_loss",
    "gradient_support",
    "receptive_field",
    "summary",
    "tversky_loss",
]
