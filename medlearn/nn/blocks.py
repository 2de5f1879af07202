"""Building blocks, one definition for 2-D and 3-D."""

import torch
from torch import nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


def normalization(kind: str, ndim: int, channels: int) -> nn.Module:
    """Batch, instance or group normalization with a learned scale and shift per channel."""
    if kind == "batch":
        return BATCH_NORM[ndim](channels)
    if kind == "instance":
        return INSTANCE_NORM[ndim](channels, affine=True)
    if kind == "group":
        return nn.GroupNorm(min(8, channels), channels)
    raise ValueError(f"norm must be 'batch', 'instance' or 'group'; got {kind!r}")


class ConvNormAct(nn.Sequential):
    """Convolution (kernel 3, size stays), normalization, ReLU."""

    def __init__(self, ndim: int, in_channels: int, out_channels: int, norm: str):
        super().__init__(
            CONV[ndim](in_channels, out_channels, 3, padding=1, bias=False),  # the norm's shift replaces the bias
            normalization(norm, ndim, out_channels),
            nn.ReLU(inplace=True),
        )


class DoubleConv(nn.Sequential):
    """The block of every U-Net level: two convolutions, each with normalization and ReLU."""

    def __init__(self, ndim: int, in_channels: int, out_channels: int, norm: str):
        super().__init__(
            ConvNormAct(ndim, in_channels, out_channels, norm), ConvNormAct(ndim, out_channels, out_channels, norm)
        )


def expect_background(head: nn.Module) -> None:
    """Let the last convolution start with a foreground probability of about 0.1 everywhere.

    Foreground is rare. A head that starts at one half spends its first hundred steps on learning that alone.
    Lin et al. (2017), arXiv:1708.02002, section 3.3.
    """
    nn.init.zeros_(head.bias)
    with torch.no_grad():
        if head.out_channels == 1:
            head.bias[0] = -2.0  # sigmoid(-2) = 0.12
        else:
            head.bias[0] = 2.0  # the background's logit
