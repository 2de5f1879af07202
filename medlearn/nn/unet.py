"""The U-Net: an encoder that sees more and more, a decoder that says where, and skips that carry the detail across."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_choice
from .blocks import CONV, LINEAR, MAX_POOL, DoubleConv, expect_background


class UNet(nn.Module):
    """U-Net for 2-D or 3-D images of any size.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    in_channels : int
    out_channels : int
        Number of logits per voxel: 1 for one foreground label (sigmoid), K + 1 for K labels (softmax).
    widths : sequence of int
        Channels per level, from the finest to the coarsest; every level halves the resolution.
    norm : {"batch", "instance", "group"}
    dropout : float
        Probability of dropping a whole channel of the coarsest level during training.

    Notes
    -----
    After Ronneberger, Fischer and Brox (2015), doi:10.1007/978-3-319-24574-4_28, with three changes that became usual:
    padded convolutions, so that the output has the size of the input; normalization; bilinear up-sampling.
    """

    def __init__(
        self,
        *,
        ndim: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        norm: str = "batch",
        dropout: float = 0.0,
    ):
        super().__init__()
        check_choice("ndim", ndim, (2, 3))
        if len(widths) < 2:
            raise ValueError(f"widths must name at least two levels; got {tuple(widths)}")
        self.config = {
            "kind": "unet",
            "ndim": ndim,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "widths": list(widths),
            "norm": norm,
            "dropout": dropout,
        }
        inputs = [in_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(DoubleConv(ndim, i, o, norm) for i, o in zip(inputs, widths, strict=True))
        self.pool = MAX_POOL[ndim](2)
        self.dropout = nn.Dropout2d(dropout) if ndim == 2 else nn.Dropout3d(dropout)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # (coarse, fine), from the bottom up
        self.reduce = nn.ModuleList(CONV[ndim](coarse, fine, 1) for coarse, fine in pairs)
        self.decoder = nn.ModuleList(DoubleConv(ndim, 2 * fine, fine, norm) for _, fine in pairs)
        self.head = CONV[ndim](widths[0], out_channels, 1)
        expect_background(self.head)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, out_channels, [D,] H, W) of images (B, in_channels, [D,] H, W).

        A size that cannot be halved at every level is padded at the end of the axis by repeating the border, and the
        logits are cropped back.
        """
        ndim, shape = self.config["ndim"], images.shape[2:]
        if images.ndim != ndim + 2 or images.shape[1] != self.config["in_channels"]:
            axes = "(B, C, H, W)" if ndim == 2 else "(B, C, D, H, W)"
            raise ValueError(
                f"images must be {axes} with C = {self.config['in_channels']}; got shape {tuple(images.shape)}"
            )
        multiple = 2 ** len(self.decoder)
        missing = [-n % multiple for n in shape]
        if any(missing):
            images = F.pad(images, [p for m in reversed(missing) for p in (0, m)], mode="replicate")
        logits = self._forward(images)
        return logits[(..., *(slice(n) for n in shape))] if any(missing) else logits

    def _forward(self, x: Tensor) -> Tensor:
        skips = []
        for level in self.encoder[:-1]:
            x = level(x)  # (B, width, H / 2^k, W / 2^k)
            skips.append(x)
            x = self.pool(x)
        x = self.dropout(self.encoder[-1](x))
        for reduce, level, skip in zip(self.reduce, self.decoder, reversed(skips), strict=True):
            x = reduce(x)  # a 1×1 convolution commutes with interpolation, and costs a quarter before it
            x = F.interpolate(x, scale_factor=2, mode=LINEAR[self.config["ndim"]], align_corners=False)
            x = level(torch.cat([skip, x], dim=1))  # (B, 2 · width, H / 2^k, W / 2^k), the skip's channels first
        return self.head(x)
