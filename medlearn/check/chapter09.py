"""Checks of chapter 9: sizes without padding, the paper's parameters, one step of the decoder."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ._core import Exercise, Wrong, describe_error


def _walk(n: int, *, down: int = 4, up: int = 4, poolings: int = 4) -> int:
    """Size after the network, if each level takes `down` and `up` pixels off; odd sizes are rounded down."""
    for _ in range(poolings):
        n = (n - down) // 2
    n -= down
    for _ in range(poolings):
        n = 2 * n - up
    return n


def _valid_output(n: int) -> int:
    size = n
    for _ in range(4):
        size -= 4
        if size % 2:
            raise ValueError(f"{n} does not fit: a map of {size} cannot be halved")
        size //= 2
    if _walk(n) < 1:
        raise ValueError(f"{n} does not fit: nothing is left")
    return _walk(n)


@dataclass(frozen=True)
class _Sizes(Exercise):
    """An exercise whose function must raise a ``ValueError`` for the sizes that are `refused`."""

    refused: tuple[int, ...] = ()

    def verdict(self, function: Callable) -> str:
        verdict = super().verdict(function)
        if not verdict.startswith("right!"):
            return verdict
        for n in self.refused:
            try:
                answer = function(n)
            except ValueError:
                continue
            except Exception as error:
                return f"not yet. For {n} a ValueError was expected. {describe_error(error, function)}"
            return (
                f"not yet. Right where the network fits. But for {n} you returned {answer}, and {n} does not fit: an "
                "odd map cannot be pooled (which pixel is lost?), and a map of no pixels is none. Raise a ValueError."
            )
        return verdict


OUTPUT = _Sizes(
    number="9.1",
    right=_valid_output,
    probes=((572,), (188,), (700,)),
    refused=(570, 573, 576, 172, 12),
    praise="184 pixels are lost, 92 at each end, whatever the size.",
    unit="pixels",
    wrong={
        "one_conv_a_level": Wrong(
            lambda n: _walk(n, down=2, up=2),
            "You took one convolution a level. There are two, and each takes one pixel off at either end: 4 in all.",
        ),
        "decoder_loses_nothing": Wrong(
            lambda n: _walk(n, up=0),
            "Your decoder loses nothing. The two convolutions of each of its levels have no padding either.",
        ),
        "encoder_loses_nothing": Wrong(
            lambda n: _walk(n, down=0),
            "Your encoder loses nothing. Each of its levels takes 4 pixels off before it is pooled.",
        ),
        "bottom_forgotten": Wrong(
            lambda n: _walk(n) + 4 * 16,
            "You forgot the two convolutions at the bottom. They take 4 pixels off, and a pixel there is 16 wide.",
        ),
        "both_ends_twice": Wrong(
            lambda n: _walk(n, down=8, up=8),
            "A convolution of 3 takes one pixel off at either end. That is 2, and 4 for two of them; not 8.",
        ),
        "same_padding": Wrong(
            lambda n: n,
            "That is the network with padding. The paper's has none: its maps shrink with every convolution.",
        ),
        "one_level_less": Wrong(
            lambda n: _walk(n, poolings=3),
            "You went down three times. Five levels have four poolings between them.",
        ),
        "one_level_more": Wrong(
            lambda n: _walk(n, poolings=5),
            "You went down five times. Five levels have four poolings between them: the last one is the bottom.",
        ),
    },
)


def _count(
    widths,
    *,
    bias: bool = True,
    joined: int = 2,
    up: int = 4,
    convolutions: int = 2,
    out_channels: int = 2,
    last: bool = True,
    kernel: int = 9,
) -> int:
    """Parameters of the paper's network; the keywords make the usual mistakes."""

    def layer(weights: int, inputs: int, outputs: int) -> int:
        return weights * inputs * outputs + (outputs if bias else 0)

    def block(inputs: int, outputs: int) -> int:
        return layer(kernel, inputs, outputs) + (convolutions - 1) * layer(kernel, outputs, outputs)

    total = sum(block(i, o) for i, o in zip((1, *widths[:-1]), widths, strict=True))
    for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True):
        total += (layer(up, coarse, fine) if up else 0) + block(joined * fine, fine)
    return total + (layer(1, widths[0], out_channels) if last else 0)


PARAMETERS = Exercise(
    number="9.2",
    right=_count,
    probes=(((64, 128, 256, 512, 1024),), ((8, 20, 30),), ((16, 24, 40, 64),)),
    praise="31,030,658 for the paper. Nearly half of them sit in the two convolutions at the bottom.",
    unit="parameters",
    rtol=1e-9,  # every single one
    wrong={
        "biases_forgotten": Wrong(
            lambda w: _count(w, bias=False),
            "You forgot the biases: every convolution has one number for each channel that it makes.",
        ),
        "skips_added_not_concatenated": Wrong(
            lambda w: _count(w, joined=1),
            "The first convolution after a skip sees twice the channels: those of the skip, and those from below.",
        ),
        "up_convolutions_forgotten": Wrong(
            lambda w: _count(w, up=0),
            "You forgot the transposed convolutions, which double the map and halve its channels: 2·2 weights for "
            "each pair of channels.",
        ),
        "up_convolutions_of_3": Wrong(
            lambda w: _count(w, up=9),
            "The kernel of the transposed convolutions is 2×2, not 3×3.",
        ),
        "up_convolutions_as_1": Wrong(
            lambda w: _count(w, up=1),
            "That is the library's usual way up, a 1×1 convolution and interpolation. The paper has a transposed "
            "convolution with 2·2 weights for each pair of channels.",
        ),
        "one_convolution_a_level": Wrong(
            lambda w: _count(w, convolutions=1), "There are two convolutions in each block, on the way up as well."
        ),
        "kernel_not_squared": Wrong(
            lambda w: _count(w, kernel=3), "A kernel of 3×3 has 9 weights for each pair of channels."
        ),
        "one_output": Wrong(
            lambda w: _count(w, out_channels=1),
            "You have one logit per pixel. The paper has two, one for each class.",
        ),
        "last_layer_forgotten": Wrong(
            lambda w: _count(w, last=False), "You forgot the last layer, the 1×1 convolution that makes the logits."
        ),
        "keras_variant": Wrong(
            lambda w: _count(w, last=False) + (9 * w[0] * 2 + 2) + 3,
            "That is a popular program of the same name (31,031,685). It makes two channels with a 3×3 convolution, "
            "and one logit of them. The paper has one 1×1 convolution to two logits.",
        ),
    },
)


def _middle(skip: Tensor, like: Tensor) -> Tensor:
    (h, w), (rows, columns) = like.shape[2:], skip.shape[2:]
    top, left = (rows - h) // 2, (columns - w) // 2
    return skip[:, :, top : top + h, left : left + w]


def _corner(skip: Tensor, like: Tensor) -> Tensor:
    return skip[:, :, : like.shape[2], : like.shape[3]]


def _pooled(skip: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(F.max_pool2d(_middle(skip, like), 2), scale_factor=2)


def _squeezed(skip: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(skip, size=like.shape[2:])


def _step(x: Tensor, skip: Tensor, *, fit: Callable = _middle) -> Tensor:
    x = F.interpolate(x, scale_factor=2)
    return torch.cat([fit(skip, x), x], dim=1)


def _swapped(x: Tensor, skip: Tensor) -> Tensor:
    x = F.interpolate(x, scale_factor=2)
    return torch.cat([x, _middle(skip, x)], dim=1)


def _added(x: Tensor, skip: Tensor) -> Tensor:
    x = F.interpolate(x, scale_factor=2)
    return _middle(skip, x) + x


def _on_the_batch(x: Tensor, skip: Tensor) -> Tensor:
    x = F.interpolate(x, scale_factor=2)
    return torch.cat([_middle(skip, x), x], dim=0)


def _not_doubled(x: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([_middle(skip, x), x], dim=1)


def _bilinear(x: Tensor, skip: Tensor) -> Tensor:
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.cat([_middle(skip, x), x], dim=1)


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


DECODER = Exercise(
    number="9.3",
    right=_step,
    probes=(
        (_random(0, 2, 3, 4, 5), _random(1, 2, 3, 12, 14)),
        (_random(2, 1, 2, 3, 4), _random(3, 1, 2, 12, 10)),
    ),
    praise="Doubled, cut from the middle, joined along the channels, the skip first: the weights can be exchanged.",
    wrong={
        "added": Wrong(
            _added,
            "You added the maps, as a residual block does. The U-Net puts them side by side, and the next convolution "
            "decides what to take from which: the result has twice the channels.",
        ),
        "concatenated_on_batch": Wrong(
            _on_the_batch,
            "You joined along axis 0, the batch: now there are twice as many images. The channels are axis 1.",
        ),
        "skip_after_pooling": Wrong(
            _pooled,
            "Right shape, but your skip was pooled first: four pixels have one value. The skip leaves the encoder "
            "before the pooling. Detail is what it is for.",
        ),
        "cropped_top_left": Wrong(
            lambda x, s: _step(x, s, fit=_corner),
            "You cut the upper left part of the skip. The convolutions eat the border on all four sides: cut the "
            "middle, or the detail lies beside its place, by the width of the margin.",
        ),
        "squeezed": Wrong(
            lambda x, s: _step(x, s, fit=_squeezed),
            "You resized the skip. Its pixels are as large as those of the doubled map; it only shows more of the "
            "surroundings. Cut, do not shrink.",
        ),
        "order_swapped": Wrong(
            _swapped,
            "It runs, and has the right shape. But weights that were trained for the other order give nonsense: the "
            "order is part of the architecture. Here the skip's channels come first.",
        ),
        "not_doubled": Wrong(
            _not_doubled,
            "Your map has not been doubled: it still has the coarse level's size.",
        ),
        "bilinear": Wrong(
            _bilinear,
            "You interpolated between the pixels. Usual, but another network: here each pixel is to be repeated.",
        ),
    },
)


def valid_output(function: Callable) -> None:
    """Check exercise 9.1: ``function(n)`` returns the output size of the paper's U-Net, or raises ``ValueError``."""
    OUTPUT.check(function)


def count_parameters(function: Callable) -> None:
    """Check exercise 9.2: ``function(widths)`` counts the parameters of the paper's U-Net with these widths."""
    PARAMETERS.check(function)


def decoder_step(function: Callable) -> None:
    """Check exercise 9.3: ``function(x, skip)`` doubles x, and joins it to the middle of the skip."""
    DECODER.check(function)
