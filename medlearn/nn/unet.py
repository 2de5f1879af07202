"""The U-Net: an encoder that sees more and more, a decoder that says where, and skips that carry the detail across."""

from collections.abc import Sequence
from itertools import count
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_choice
from .blocks import (
    AXES,
    CONV,
    DROPOUT,
    LINEAR,
    MAX_POOL,
    TRANSPOSED_CONV,
    DoubleConv,
    ResidualBlock,
    Size,
    check_images,
    check_statistics,
    crop_center,
    crop_end,
    expect_background,
    initialize_without_norm,
    pad_to_multiple,
    per_level,
)


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
        Channels per level, from the finest to the coarsest.
    norm : {"batch", "instance", "group"} or None
    dropout : float
        Probability of dropping a whole channel of the coarsest level during training.
    residual : bool
        Residual blocks instead of two plain convolutions at every level.
    up : {"linear", "transposed"}
        How the decoder doubles the resolution: interpolation after a 1×1 convolution that halves the channels, or one
        transposed convolution that does both.
    strides : int or sequence
        By how much each level is coarser than the one before: a number, or one entry for each step down. An entry may
        name the axes, so that thick slices are not merged before the pixels have grown as large:
        ``strides=((1, 2, 2), (1, 2, 2), 2, 2)`` for five levels in 3-D.
    kernels : int or sequence
        Odd size of the convolutions, in the same way with one entry for each level.
    deep_supervision : bool
        Heads at the coarser levels of the decoder as well; see `forward_scales`.
    padding : bool
        False: convolutions use no zeros from outside the image, and the logits are smaller than the image; see
        `output_size`.

    Attributes
    ----------
    config : dict
        ``kind`` and all keywords; `medlearn.nn.build` makes the same network from it.

    Notes
    -----
    After Ronneberger, Fischer and Brox (2015), doi:10.1007/978-3-319-24574-4_28, with three changes that became usual:
    padded convolutions, so that the output has the size of the input; normalization; bilinear up-sampling.
    `UNet.paper` has none of them.
    """

    def __init__(
        self,
        *,
        ndim: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        norm: str | None = "batch",
        dropout: float = 0.0,
        residual: bool = False,
        up: str = "linear",
        strides: int | Sequence[Size] = 2,
        kernels: int | Sequence[Size] = 3,
        deep_supervision: bool = False,
        padding: bool = True,
    ):
        super().__init__()
        check_choice("ndim", ndim, (2, 3))
        check_choice("up", up, ("linear", "transposed"))
        if len(widths) < 2:
            raise ValueError(f"widths must name at least two levels; got {tuple(widths)}")
        if not padding and (residual or deep_supervision):
            raise ValueError("residual and deep_supervision need padding=True: without it, a block changes the size")
        self.strides = per_level("strides", strides, len(widths) - 1, ndim)
        self.kernels = per_level("kernels", kernels, len(widths), ndim)
        if any(k % 2 == 0 for kernel in self.kernels for k in kernel):
            raise ValueError(f"kernels must be odd, or the maps of a level would not fit each other; got {kernels!r}")
        self.config = {
            "kind": "unet",
            "ndim": ndim,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "widths": list(widths),
            "norm": norm,
            "dropout": dropout,
            "residual": residual,
            "up": up,
            "strides": strides if isinstance(strides, int) else [list(s) for s in self.strides],
            "kernels": kernels if isinstance(kernels, int) else [list(k) for k in self.kernels],
            "deep_supervision": deep_supervision,
            "padding": padding,
        }

        def block(i: int, o: int, kernel: tuple[int, ...]) -> nn.Module:
            if residual:
                return ResidualBlock(ndim, i, o, norm, kernel=kernel)
            return DoubleConv(ndim, i, o, norm, kernel=kernel, padding=padding)

        inputs = [in_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(block(*level) for level in zip(inputs, widths, self.kernels, strict=True))
        self.pools = nn.ModuleList(MAX_POOL[ndim](stride) for stride in self.strides)
        self.dropout = DROPOUT[ndim](dropout)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # (coarse, fine), from the bottom up
        self.reduce = nn.ModuleList(
            CONV[ndim](coarse, fine, 1) if up == "linear" else TRANSPOSED_CONV[ndim](coarse, fine, stride, stride)
            for (coarse, fine), stride in zip(pairs, reversed(self.strides), strict=True)
        )
        self.decoder = nn.ModuleList(
            block(2 * fine, fine, kernel) for (_, fine), kernel in zip(pairs, self.kernels[-2::-1], strict=True)
        )
        self.head = CONV[ndim](widths[0], out_channels, 1)
        coarser = [fine for _, fine in pairs[:-1]] if deep_supervision else []
        self.coarse_heads = nn.ModuleList(CONV[ndim](fine, out_channels, 1) for fine in coarser)
        if norm is None:
            initialize_without_norm(self)
        for head in (self.head, *self.coarse_heads):
            expect_background(head)

    @classmethod
    def paper(cls, **changes) -> "UNet":
        """Build the network of the paper's figure 1: 31,030,658 parameters, an image of 572×572 in, 388×388 logits out.

        `changes` replace keywords of the class; ``UNet.paper(out_channels=1)`` has one logit per pixel.
        """
        keywords = {
            "out_channels": 2,
            "widths": (64, 128, 256, 512, 1024),
            "norm": None,
            "up": "transposed",
            "padding": False,
        }
        return cls(**(keywords | changes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, out_channels, [D,] H, W) of images (B, in_channels, [D,] H, W).

        A size that cannot be halved at every level is padded at the end of the axis by repeating the border, and the
        logits are cropped back. Without `padding` it is refused.
        """
        x = self._fit(images)
        return crop_end(self.head(self._decode(x)[0]), self.output_size(images.shape[2:]))

    def forward_scales(self, images: Tensor) -> list[Tensor]:
        """Logits of every level of the decoder, the finest first, each at its own resolution.

        Only the finest where the network was built without ``deep_supervision``. An axis of n voxels has n / f, rounded
        up, at a level that is coarser by f.
        """
        maps = self._decode(self._fit(images))
        heads = [self.head, *reversed(self.coarse_heads)]
        size, scales = self.output_size(images.shape[2:]), []
        for head, x, stride in zip(heads, maps, self.strides, strict=False):  # without deep supervision, one head
            scales.append(crop_end(head(x), size))
            size = [-(-n // s) for n, s in zip(size, stride, strict=True)]
        return scales

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Size of the logits for images of this size; the same, unless the network was built with ``padding=False``.

        Raises
        ------
        ValueError
            Without padding, if a map would have to be pooled whose size is no multiple of the stride: a voxel would be
            lost. The message names the nearest sizes that fit.
        """
        if self.config["padding"]:
            return tuple(size)
        names = AXES[self.config["ndim"]].split(", ")
        return tuple(self._valid_size(n, axis, name) for axis, (n, name) in enumerate(zip(size, names, strict=True)))

    def _valid_size(self, n: int, axis: int, name: str) -> int:
        margins = [2 * (kernel[axis] - 1) for kernel in self.kernels]
        strides = [stride[axis] for stride in self.strides]
        if result := _valid_size(n, margins, strides):
            return result
        smaller = next((m for m in range(n - 1, 0, -1) if _valid_size(m, margins, strides)), None)
        larger = next(m for m in count(n + 1) if _valid_size(m, margins, strides))
        sizes = larger if smaller is None else f"{smaller} or {larger}"
        raise ValueError(
            f"images of {n} voxels along {name} do not fit this U-Net without padding: some level would have no voxel "
            f"left, or one too many to be pooled; use {sizes}, or padding=True"
        )

    def _fit(self, images: Tensor) -> Tensor:
        """`images` checked, and padded to a size that can be halved at every level."""
        check_images(images, self.config["ndim"], self.config["in_channels"])
        if not self.config["padding"]:
            self.output_size(images.shape[2:])  # raises for sizes that do not fit
            return images
        factors = [prod(stride) for stride in zip(*self.strides, strict=True)]
        images = pad_to_multiple(images, factors)
        check_statistics(images, factors, self.config["norm"], self.training)
        return images

    def _decode(self, x: Tensor) -> list[Tensor]:
        """Maps of the decoder's levels, the finest first."""
        skips, maps = [], []
        for level, pool in zip(self.encoder, self.pools, strict=False):  # the coarsest level has no pool
            x = level(x)  # (B, width, H / 2^k, W / 2^k)
            skips.append(x)
            x = pool(x)
        x = self.dropout(self.encoder[-1](x))
        for reduce, level, skip, stride in zip(
            self.reduce, self.decoder, reversed(skips), reversed(self.strides), strict=True
        ):
            x = reduce(x)  # a transposed convolution doubles the resolution as well
            if self.config["up"] == "linear":
                # A 1×1 convolution commutes with interpolation, and costs a quarter before it.
                mode = LINEAR[self.config["ndim"]]
                x = F.interpolate(x, scale_factor=tuple(map(float, stride)), mode=mode, align_corners=False)
            if not self.config["padding"]:
                skip = crop_center(skip, x.shape[2:])  # unpadded convolutions have eaten the border meanwhile
            x = level(torch.cat([skip, x], dim=1))  # (B, 2 · width, H / 2^k, W / 2^k), the skip's channels first
            maps.insert(0, x)
        return maps


def _valid_size(n: int, margins: Sequence[int], strides: Sequence[int]) -> int | None:
    """Size of an axis after a U-Net without padding; None if it does not fit.

    The two convolutions of level k take `margins[k]` voxels off, on the way down and on the way up.
    """
    for margin, stride in zip(margins, strides, strict=False):
        n -= margin
        if n < stride or n % stride:
            return None
        n //= stride
    n -= margins[-1]
    for margin, stride in zip(margins[-2::-1], reversed(strides), strict=True):
        n = n * stride - margin
        if n < 1:
            return None
    return n
