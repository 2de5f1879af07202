"""The V-Net: a U-Net of residual stages with large kernels, made for volumes."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import check_choice
from .blocks import (
    CONV,
    TRANSPOSED_CONV,
    ConvNorm,
    check_images,
    check_statistics,
    crop_end,
    expect_background,
    initialize_without_norm,
    normalization,
    pad_to_multiple,
)


class VNet(nn.Module):
    """V-Net for 3-D or 2-D images of any size.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    in_channels : int
    out_channels : int
        Number of logits per voxel: 1 for one foreground label (sigmoid), K + 1 for K labels (softmax).
    widths : sequence of int
        Channels per level, from the finest to the coarsest; every level halves the resolution.
    convolutions : sequence of int, optional
        How many convolutions the stage of each level has; 1, 2, 3, 3, 3 … where it is not given.
    norm : {"batch", "instance", "group"} or None
        None, as in the paper, wants small learning rates.

    Attributes
    ----------
    config : dict
        ``kind`` and all keywords; `medlearn.nn.build` makes the same network from it.

    Notes
    -----
    Milletari, Navab and Ahmadi (2016), arXiv:1606.04797, figure 2: kernels of 5 voxels, strided convolutions instead of
    pooling, PReLU, and in every stage its input added to what its convolutions made of it. Normalization came later.
    """

    def __init__(
        self,
        *,
        ndim: int = 3,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        convolutions: Sequence[int] | None = None,
        norm: str | None = "batch",
    ):
        super().__init__()
        check_choice("ndim", ndim, (2, 3))
        convolutions = [min(k, 3) for k in range(1, len(widths) + 1)] if convolutions is None else list(convolutions)
        if len(widths) < 2 or len(convolutions) != len(widths) or min(convolutions) < 1:
            raise ValueError(
                "widths must name at least two levels, and convolutions as many, each at least 1; "
                f"got {tuple(widths)} and {tuple(convolutions)}"
            )
        self.config = {
            "kind": "vnet",
            "ndim": ndim,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "widths": list(widths),
            "convolutions": convolutions,
            "norm": norm,
        }
        inputs = [in_channels, *widths[1:]]
        self.encoder = nn.ModuleList(
            Stage(ndim, i, o, n, norm) for i, o, n in zip(inputs, widths, convolutions, strict=True)
        )
        self.down = nn.ModuleList(
            change_resolution(CONV, ndim, fine, coarse, norm) for fine, coarse in pairwise(widths)
        )
        fine = list(widths[-2::-1])  # from the bottom up
        coarse = [widths[-1], *(2 * width for width in fine[:-1])]
        self.up = nn.ModuleList(
            change_resolution(TRANSPOSED_CONV, ndim, i, o, norm) for i, o in zip(coarse, fine, strict=True)
        )
        self.decoder = nn.ModuleList(
            Stage(ndim, 2 * o, 2 * o, n, norm) for o, n in zip(fine, convolutions[-2::-1], strict=True)
        )
        self.head = CONV[ndim](2 * widths[0], out_channels, 1)
        if norm is None:
            initialize_without_norm(self, slope=0.25)
        expect_background(self.head)

    @classmethod
    def paper(cls, **changes) -> "VNet":
        """Build the network of the paper: 3-D, two logits per voxel, no normalization; `changes` replace keywords."""
        return cls(**({"ndim": 3, "out_channels": 2, "norm": None} | changes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, out_channels, [D,] H, W) of images (B, in_channels, [D,] H, W).

        A size that cannot be halved at every level is padded at the end of the axis by repeating the border, and the
        logits are cropped back.
        """
        check_images(images, self.config["ndim"], self.config["in_channels"])
        factors = (2 ** len(self.down),) * self.config["ndim"]
        x = pad_to_multiple(images, factors)
        check_statistics(x, factors, self.config["norm"], self.training)
        skips = []
        for stage, down in zip(self.encoder, self.down, strict=False):  # the coarsest level has no way down
            x = stage(x)  # (B, width, D / 2^k, H / 2^k, W / 2^k)
            skips.append(x)
            x = down(x)
        x = self.encoder[-1](x)
        for up, stage, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            x = stage(torch.cat([up(x), skip], dim=1))  # (B, 2 · width, D / 2^k, H / 2^k, W / 2^k)
        return crop_end(self.head(x), images.shape[2:])


class Stage(nn.Module):
    """Some convolutions of kernel 5 whose result is added to the input: PReLU(x + F(x)).

    An input of one channel is added to every channel; where the numbers of channels differ otherwise, it passes through
    a 1×1 convolution.
    """

    def __init__(self, ndim: int, in_channels: int, out_channels: int, n: int, norm: str | None):
        super().__init__()
        self.residual = nn.Sequential(ConvNorm(ndim, in_channels, out_channels, norm, kernel=5))
        for _ in range(n - 1):
            self.residual.append(nn.PReLU(out_channels))
            self.residual.append(ConvNorm(ndim, out_channels, out_channels, norm, kernel=5))
        fits = in_channels in (1, out_channels)
        self.shortcut = nn.Identity() if fits else ConvNorm(ndim, in_channels, out_channels, norm, kernel=1)
        self.activation = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.residual(x) + self.shortcut(x))


def change_resolution(kind: dict, ndim: int, in_channels: int, out_channels: int, norm: str | None) -> nn.Sequential:
    """Halve the resolution with a convolution of stride 2, or double it with a transposed one; `kind` says which."""
    conv = kind[ndim](in_channels, out_channels, 2, stride=2, bias=norm is None)
    norms = [] if norm is None else [normalization(norm, ndim, out_channels)]
    return nn.Sequential(conv, *norms, nn.PReLU(out_channels))
