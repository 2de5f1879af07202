"""DeepLabV3+: an encoder that stops shrinking early and widens its view by atrous convolutions, and a small decoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import check_choice
from .blocks import (
    ASPP,
    CONV,
    DROPOUT,
    ConvNormAct,
    ResidualBlock,
    SeparableConvNormAct,
    check_images,
    check_statistics,
    crop_end,
    expect_background,
    initialize_without_norm,
    pad_to_multiple,
    upsample,
)

#: Stride and dilation of the encoder's four stages, for each output stride: where one stops halving, the next dilate.
STAGES = {16: [(2, 1), (2, 1), (2, 1), (1, 2)], 8: [(2, 1), (2, 1), (1, 2), (1, 4)]}
LOW_LEVEL_CHANNELS = 48  # few, so that they do not outweigh what the encoder understood (the paper's table 1)


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ for 2-D or 3-D images of any size, with a small residual encoder of its own.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    in_channels : int
    out_channels : int
        Number of logits per voxel: 1 for one foreground label (sigmoid), K + 1 for K labels (softmax).
    widths : sequence of four int
        Channels of the encoder's stages.
    output_stride : {16, 8}
        By how much the encoder's last map is coarser than the image. 8 takes about twice the
        multiply-adds of 16.
    rates : sequence of int, optional
        Dilations in the pyramid, in voxels of that map; 6, 12 and 18, or twice that with an output stride of 8.
        A rate as large as the map leaves only the middle of its kernel inside: take smaller ones for small images.
    channels : int
        Channels of the pyramid and the decoder.
    separable : bool
        Depthwise-separable convolutions in the pyramid and the decoder.
    norm : {"batch", "instance", "group"} or None
    dropout : float
        Probability of dropping a whole channel of the pyramid's result during training.

    Attributes
    ----------
    config : dict
        ``kind`` and all keywords; `medlearn.nn.build` makes the same network from it.

    Notes
    -----
    Chen et al. (2018), arXiv:1802.02611, figure 2. The paper's encoders are a pre-trained ResNet-101 and Xception; this
    one has two residual blocks per stage, as a ResNet-18, and starts from nothing.
    """

    def __init__(
        self,
        *,
        ndim: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256),
        output_stride: int = 16,
        rates: Sequence[int] | None = None,
        channels: int = 128,
        separable: bool = False,
        norm: str | None = "batch",
        dropout: float = 0.0,
    ):
        super().__init__()
        check_choice("ndim", ndim, (2, 3))
        check_choice("output_stride", output_stride, (16, 8))
        if len(widths) != 4:
            raise ValueError(f"widths must name the four stages of the encoder; got {tuple(widths)}")
        rates = [rate * 16 // output_stride for rate in (6, 12, 18)] if rates is None else list(rates)
        self.config = {
            "kind": "deeplabv3plus",
            "ndim": ndim,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "widths": list(widths),
            "output_stride": output_stride,
            "rates": rates,
            "channels": channels,
            "separable": separable,
            "norm": norm,
            "dropout": dropout,
        }
        self.stem = ConvNormAct(ndim, in_channels, widths[0], norm, stride=2)
        self.encoder = nn.ModuleList(
            nn.Sequential(
                ResidualBlock(ndim, i, o, norm, stride=stride, dilation=dilation),
                ResidualBlock(ndim, o, o, norm, dilation=dilation),
            )
            for i, o, (stride, dilation) in zip([widths[0], *widths[:-1]], widths, STAGES[output_stride], strict=True)
        )
        self.aspp = ASPP(ndim, widths[-1], channels, norm, rates=rates, separable=separable)
        self.dropout = DROPOUT[ndim](dropout)
        self.low_level = ConvNormAct(ndim, widths[0], LOW_LEVEL_CHANNELS, norm, kernel=1)
        Conv = SeparableConvNormAct if separable else ConvNormAct
        self.decoder = nn.Sequential(
            Conv(ndim, LOW_LEVEL_CHANNELS + channels, channels, norm), Conv(ndim, channels, channels, norm)
        )
        self.head = CONV[ndim](channels, out_channels, 1)
        if norm is None:
            initialize_without_norm(self)
        expect_background(self.head)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, out_channels, [D,] H, W) of images (B, in_channels, [D,] H, W).

        A size that is no multiple of the output stride is padded at the end of the axis by repeating the border, and
        the logits are cropped back.
        """
        check_images(images, self.config["ndim"], self.config["in_channels"])
        factors = (self.config["output_stride"],) * self.config["ndim"]
        padded = pad_to_multiple(images, factors)
        check_statistics(padded, factors, self.config["norm"], self.training)
        low = self.encoder[0](self.stem(padded))  # (B, width, H / 4, W / 4): still sharp
        x = low
        for stage in self.encoder[1:]:
            x = stage(x)  # in the end (B, width, H / 16, W / 16)
        x = upsample(self.dropout(self.aspp(x)), low.shape[2:])
        x = self.decoder(torch.cat([self.low_level(low), x], dim=1))  # (B, channels, H / 4, W / 4)
        return crop_end(upsample(self.head(x), padded.shape[2:]), images.shape[2:])
