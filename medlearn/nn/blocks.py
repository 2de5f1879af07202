"""Building blocks, one definition for 2-D and 3-D."""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_CONV = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}  # of whole channels
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
AXES = {2: "H, W", 3: "D, H, W"}

Size = int | Sequence[int]  # the same along every axis, or one number per axis


def normalization(kind: str, ndim: int, channels: int) -> nn.Module:
    """Batch, instance or group normalization with a learned scale and shift per channel."""
    if kind == "batch":
        return BATCH_NORM[ndim](channels)
    if kind == "instance":
        return INSTANCE_NORM[ndim](channels, affine=True)
    if kind == "group":
        return nn.GroupNorm(min(8, channels), channels)
    raise ValueError(f"norm must be 'batch', 'instance', 'group' or None; got {kind!r}")


class ConvNorm(nn.Sequential):
    """Convolution and normalization; a convolution with a bias where `norm` is None.

    Parameters
    ----------
    ndim : {2, 3}
    in_channels, out_channels : int
    norm : {"batch", "instance", "group"} or None
    kernel, stride, dilation : int or sequence of int
        A dilation of d leaves d - 1 voxels out between two that the kernel looks at: an atrous convolution.
    groups : int
        With as many groups as channels, each channel is filtered alone: a depthwise convolution.
    padding : bool
        Surround the image with zeros, so that its size stays (at stride 1). Otherwise every axis of n voxels becomes
        n - dilation · (kernel - 1).
    """

    def __init__(
        self,
        ndim: int,
        in_channels: int,
        out_channels: int,
        norm: str | None,
        *,
        kernel: Size = 3,
        stride: Size = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: bool = True,
    ):
        kernel = per_axis(kernel, ndim)
        conv = CONV[ndim](
            in_channels,
            out_channels,
            kernel,
            stride=per_axis(stride, ndim),
            padding=tuple(dilation * (k - 1) // 2 if padding else 0 for k in kernel),
            dilation=dilation,
            groups=groups,
            bias=norm is None,  # the norm's shift replaces the bias
        )
        super().__init__(conv, *([] if norm is None else [normalization(norm, ndim, out_channels)]))


class ConvNormAct(ConvNorm):
    """`ConvNorm`, then ReLU; the same parameters."""

    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.append(nn.ReLU(inplace=True))


class DoubleConv(nn.Sequential):
    """The block of every U-Net level: two convolutions, each with normalization and ReLU."""

    def __init__(self, ndim: int, in_channels: int, out_channels: int, norm: str | None, **keywords):
        super().__init__(
            ConvNormAct(ndim, in_channels, out_channels, norm, **keywords),
            ConvNormAct(ndim, out_channels, out_channels, norm, **keywords),
        )


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to the input: ReLU(x + F(x)).

    Where channels or size change, x passes through a 1×1 convolution with the same stride. He et al. (2016),
    arXiv:1512.03385, figure 2.
    """

    def __init__(
        self,
        ndim: int,
        in_channels: int,
        out_channels: int,
        norm: str | None,
        *,
        kernel: Size = 3,
        stride: Size = 1,
        dilation: int = 1,
    ):
        super().__init__()
        self.residual = nn.Sequential(
            ConvNormAct(ndim, in_channels, out_channels, norm, kernel=kernel, stride=stride, dilation=dilation),
            ConvNorm(ndim, out_channels, out_channels, norm, kernel=kernel, dilation=dilation),
        )
        same = in_channels == out_channels and set(per_axis(stride, ndim)) == {1}
        self.shortcut = (
            nn.Identity() if same else ConvNorm(ndim, in_channels, out_channels, norm, kernel=1, stride=stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x), inplace=True)


class SeparableConvNormAct(nn.Sequential):
    """Depthwise-separable convolution: filter each channel alone, then mix the channels at each voxel.

    k^ndim + out_channels weights for each input channel, where a full convolution has k^ndim · out_channels.
    Chollet (2017), arXiv:1610.02357; normalization and ReLU after both steps as Chen et al. (2018), arXiv:1802.02611.
    """

    def __init__(self, ndim: int, in_channels: int, out_channels: int, norm: str | None, **keywords):
        super().__init__(
            ConvNormAct(ndim, in_channels, in_channels, norm, groups=in_channels, **keywords),
            ConvNormAct(ndim, in_channels, out_channels, norm, kernel=1),
        )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: one map looked at through several fields of view at once.

    A 1×1 convolution, one 3×3 convolution for every dilation of `rates`, and the mean over the whole image, side by
    side, then mixed by a 1×1 convolution. Chen et al. (2017), arXiv:1706.05587, section 3.3.
    """

    def __init__(
        self,
        ndim: int,
        in_channels: int,
        out_channels: int,
        norm: str | None,
        *,
        rates: Sequence[int],
        separable: bool = False,
    ):
        super().__init__()
        Conv = SeparableConvNormAct if separable else ConvNormAct
        self.branches = nn.ModuleList([ConvNormAct(ndim, in_channels, out_channels, norm, kernel=1)])
        self.branches.extend(Conv(ndim, in_channels, out_channels, norm, dilation=rate) for rate in rates)
        # One number per image and channel: there is nothing to normalize over, so this branch has a bias instead.
        self.image = ConvNormAct(ndim, in_channels, out_channels, None, kernel=1)
        self.mix = ConvNormAct(ndim, (len(self.branches) + 1) * out_channels, out_channels, norm, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        spatial = tuple(range(2, x.ndim))
        image = self.image(x.mean(spatial, keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.mix(torch.cat([*(branch(x) for branch in self.branches), image], dim=1))


def upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear or trilinear interpolation to `size`."""
    return F.interpolate(x, size=tuple(size), mode=LINEAR[x.ndim - 2], align_corners=False)


def per_axis(value: Size, ndim: int) -> tuple[int, ...]:
    """One number for each spatial axis."""
    return (value,) * ndim if isinstance(value, int) else tuple(value)


def per_level(name: str, value: int | Sequence[Size], n: int, ndim: int) -> list[tuple[int, ...]]:
    """One tuple of `ndim` numbers for each of `n` levels, from one number for all or one entry for each level."""
    entries = [value] * n if isinstance(value, int) else list(value)
    levels = [per_axis(entry, ndim) for entry in entries]
    if len(levels) != n or any(len(level) != ndim or min(level) < 1 for level in levels):
        raise ValueError(
            f"{name} must be one positive number, or {n} entries, each a positive number or {ndim} of them "
            f"({AXES[ndim]}); got {value!r}"
        )
    return levels


def check_images(images: Tensor, ndim: int, in_channels: int) -> None:
    """Raise ``ValueError`` unless `images` are (B, in_channels, [D,] H, W) and not empty."""
    if images.ndim != ndim + 2 or images.shape[1] != in_channels or 0 in images.shape:
        raise ValueError(
            f"images must be (B, C, {AXES[ndim]}) with C = {in_channels} and no empty axis; "
            f"got shape {tuple(images.shape)}"
        )


def check_statistics(images: Tensor, factors: Sequence[int], norm: str | None, training: bool) -> None:
    """Raise ``ValueError`` where normalization would have a single voxel to average over at the coarsest level.

    `factors` say by how much each axis shrinks until there. Batch normalization averages in training only.
    """
    voxels = prod([n // factor for n, factor in zip(images.shape[2:], factors, strict=True)])
    if (norm == "instance" and voxels == 1) or (norm == "batch" and training and voxels * len(images) == 1):
        size, smallest = ("×".join(map(str, sizes)) for sizes in (images.shape[2:], factors))
        raise ValueError(
            f"images of {size} shrink to a single voxel at the coarsest level, where {norm} normalization has nothing "
            f"to average over; use images larger than {smallest}, fewer levels"
            + (", larger batches" if norm == "batch" else "")
            + " or norm='group'"
        )


def pad_to_multiple(images: Tensor, multiples: Sequence[int]) -> Tensor:
    """Repeat the border at the end of each axis until its size is a multiple of the axis's number."""
    missing = [-n % multiple for n, multiple in zip(images.shape[2:], multiples, strict=True)]
    if not any(missing):
        return images
    return F.pad(images, [p for m in reversed(missing) for p in (0, m)], mode="replicate")


def crop_end(x: Tensor, size: Sequence[int]) -> Tensor:
    """Cut off what `pad_to_multiple` has added."""
    return x if x.shape[2:] == tuple(size) else x[(..., *(slice(n) for n in size))]


def crop_center(x: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of a map, `size` large."""
    starts = [(n - m) // 2 for n, m in zip(x.shape[2:], size, strict=True)]
    return x[(..., *(slice(start, start + m) for start, m in zip(starts, size, strict=True)))]


def initialize_without_norm(model: nn.Module, slope: float = 0.0) -> None:
    """Gaussian weights of variance 2 / fan-in, zero biases: without normalization this keeps the signal's size.

    He et al. (2015), arXiv:1502.01852; `slope` is that of the activation for negative values.
    """
    for module in model.modules():
        if isinstance(module, tuple(CONV.values())):
            nn.init.kaiming_normal_(module.weight, a=slope)
            nn.init.zeros_(module.bias)


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
