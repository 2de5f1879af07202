"""Checks of chapter 8b: convolution, the size of its result, the receptive field, transposed convolution."""

import math
from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong


def _convolve(image, kernel, *, shrink=1):
    """Slide a kernel over an image; without padding the map is smaller by the kernel minus `shrink`."""
    rows, columns = (n - k + shrink for n, k in zip(image.shape, kernel.shape, strict=True))
    return np.array([[_at(image, kernel, r, c) for c in range(columns)] for r in range(rows)])


def _at(image, kernel, r, c):
    """Sum of the products of the kernel and what lies under it."""
    return float((image[r : r + kernel.shape[0], c : c + kernel.shape[1]] * kernel).sum())


def _with_border(image, kernel):
    around = [((k - 1) // 2, k // 2) for k in kernel.shape]
    return _convolve(np.pad(image, around), kernel)


def _by_blocks(image, kernel):
    (height, width), (down, over) = image.shape, kernel.shape
    return np.array(
        [
            [_at(image, kernel, r, c) for c in range(0, width - over + 1, over)]
            for r in range(0, height - down + 1, down)
        ]
    )


def _axes_swapped(image, kernel):
    """The window has as many rows as the kernel has columns; the kernel is turned to fit."""
    return _convolve(image, kernel.T)


def _array(rows) -> np.ndarray:
    return np.array(rows, float)


CONVOLUTION = Exercise(
    number="8b.1",
    right=_convolve,
    probes=(
        (_array([[13, 4, 1], [2, 5, 3], [0, 6, 8]]), _array([[0, 1], [2, 3]])),  # first value: 23, flipped 49
        (np.arange(20.0).reshape(4, 5) % 7, _array([[1, 0, -1], [2, 4, -2]])),
    ),
    praise="This is what nn.Conv2d computes, apart from channels and bias.",
    wrong={
        "kernel_flipped": Wrong(
            lambda i, k: _convolve(i, k[::-1, ::-1]),
            "You turned the kernel by 180°: the convolution of the mathematicians (49 instead of 23 in the first "
            "place). Deep learning's convolution is correlation: leave the kernel as it is.",
        ),
        "axes_swapped": Wrong(
            _axes_swapped,
            "You transposed the kernel. Its rows lie along the rows of the image.",
        ),
        "last_position_forgotten": Wrong(
            lambda i, k: _convolve(i, k, shrink=0),
            "The last row and the last column are missing. A kernel of k fits n − k + 1 times into n pixels: count it "
            "for n = 3 and k = 2.",
        ),
        "padded": Wrong(
            _with_border,
            "You padded, so that the map is as large as the image. Here the kernel stays inside the image.",
        ),
        "blocks": Wrong(
            _by_blocks,
            "Your window jumps by its own size, as in pooling. Move it by one pixel.",
        ),
        "mean_not_sum": Wrong(
            lambda i, k: _convolve(i, k) / k.size,
            "You took the mean of the products. Take their sum: the kernel decides about the scale.",
        ),
        "kernel_ignored": Wrong(
            lambda i, k: _convolve(i, np.ones_like(k)),
            "You added what lies under the window, without the weights of the kernel.",
        ),
    },
)


def _size(n, kernel, stride, padding, dilation):
    return (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


SIZE = Exercise(
    number="8b.2",
    right=_size,
    probes=((37, 3, 2, 1, 2), (38, 3, 3, 1, 2), (64, 5, 1, 2, 1), (64, 2, 2, 0, 1), (32, 3, 1, 4, 4)),
    praise="The same five numbers decide in every framework whether two maps fit together.",
    unit="voxels",
    wrong={
        "dilation_forgotten": Wrong(
            lambda n, k, s, p, d: _size(n, k, s, p, 1),
            "You forgot the dilation. A kernel of 3 with dilation 2 spans 5 pixels: d · (k − 1) + 1.",
        ),
        "d_times_k": Wrong(
            lambda n, k, s, p, d: (n + 2 * p - d * k) // s + 1,
            "A dilated kernel does not span d · k pixels: behind its last weight comes no gap. It spans "
            "d · (k − 1) + 1.",
        ),
        "rounded_up": Wrong(
            lambda n, k, s, p, d: math.ceil((n + 2 * p - d * (k - 1) - 1) / s) + 1,
            "You rounded up. A step for which the kernel would hang over the border is not made: round down.",
        ),
        "not_rounded": Wrong(
            lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) / s + 1,
            "There are no half voxels: round the number of steps down.",
        ),
        "padding_once": Wrong(
            lambda n, k, s, p, d: _size(n, k, s, p / 2, d),
            "You counted the padding once. It is added on both sides.",
        ),
        "padding_forgotten": Wrong(
            lambda n, k, s, p, d: _size(n, k, s, 0, d),
            "You left out the padding.",
        ),
        "first_position_forgotten": Wrong(
            lambda n, k, s, p, d: _size(n, k, s, p, d) - 1,
            "One too few. You counted steps; with m steps the kernel stands in m + 1 places.",
        ),
        "stride_on_everything": Wrong(
            lambda n, k, s, p, d: (n + 2 * p - d * (k - 1)) // s,
            "You divided the number of places by the stride. Divide the number of steps, which is one less, then add "
            "the first place.",
        ),
        "stride_forgotten": Wrong(
            lambda n, k, s, p, d: _size(n, k, 1, p, d),
            "You forgot the stride.",
        ),
    },
)


def _field(layers, *, extent=lambda k, d: (k - 1) * d, stride_first=False):
    size, step = 1, 1
    for kernel, stride, dilation in layers:
        step = step * stride if stride_first else step
        size += extent(kernel, dilation) * step
        step = step if stride_first else step * stride
    return size


def _strides_before(layers):
    return [1, *(stride for _, stride, _ in layers[:-1])]


_CHAIN = ((3, 1, 1), (3, 1, 1), (2, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 2))

FIELD = Exercise(
    number="8b.3",
    right=_field,
    probes=((_CHAIN,), (((5, 2, 1), (3, 1, 3)),), (((7, 1, 1),),)),
    praise="You can now say of any chain of layers how far it sees, before you train it.",
    unit="pixels",
    wrong={
        "adds_k": Wrong(
            lambda layers: _field(layers, extent=lambda k, d: k * d),
            "You added the whole kernel each time. One of its pixels was there already: add k − 1.",
        ),
        "jump_forgotten": Wrong(
            lambda layers: 1 + sum((k - 1) * d for k, _, d in layers),
            "You forgot the strides. After a stride of 2, one step is two input pixels.",
        ),
        "stride_before": Wrong(
            lambda layers: _field(layers, stride_first=True),
            "Your strides act one layer too early. The stride of a layer counts for the layers after it.",
        ),
        "dilation_forgotten": Wrong(
            lambda layers: _field(layers, extent=lambda k, d: k - 1),
            "You forgot the dilation. It stretches a kernel's reach from k − 1 to d · (k − 1).",
        ),
        "product": Wrong(
            lambda layers: math.prod(k for k, _, _ in layers),
            "You multiplied the kernels. Two convolutions of 3 see 5 pixels, not 9: reaches add up.",
        ),
        "first_pixel_forgotten": Wrong(
            lambda layers: _field(layers) - 1,
            "One too few: begin with the voxel itself, a field of 1.",
        ),
        "last_stride_only": Wrong(
            lambda layers: (
                1 + sum((k - 1) * d * before for (k, _, d), before in zip(layers, _strides_before(layers), strict=True))
            ),
            "Only the stride of the layer just before counts in yours. All strides so far multiply.",
        ),
        "backwards": Wrong(
            lambda layers: _field(layers[::-1]),
            "You walked from the last layer to the first with a rule for the other direction. Begin at the image.",
        ),
    },
)


def _transpose(values, kernel, stride, *, add=True):
    """Lay a kernel, times the value, at every `stride`-th place of the result."""
    result = np.zeros(stride * (len(values) - 1) + len(kernel))
    for i, value in enumerate(values):
        place = slice(i * stride, i * stride + len(kernel))
        result[place] = value * kernel + (result[place] if add else 0)
    return result


def _zeros_between(values, stride):
    spread = np.zeros(stride * (len(values) - 1) + 1)
    spread[::stride] = values
    return spread


def _divided(values, kernel, stride):
    return _transpose(values, kernel, stride) / _transpose(np.ones_like(values), np.ones_like(kernel), stride)


TRANSPOSED = Exercise(
    number="8b.4",
    right=_transpose,
    probes=(
        (_array([1, 2, 4]), _array([1, 3, 2]), 2),
        (_array([2, -1]), _array([1, 0, 5, 4]), 3),
        (_array([1, 0, 3, 1]), _array([2, 1, 4]), 1),
    ),
    praise="Where copies of the kernel overlap they add up, and that is where the checkerboard comes from.",
    wrong={
        "overwritten": Wrong(
            lambda v, k, s: _transpose(v, k, s, add=False),
            "Where two copies overlap the later one replaces the earlier one. Add them.",
        ),
        "kernel_flipped": Wrong(
            lambda v, k, s: _transpose(v, k[::-1], s),
            "Your copies of the kernel are reversed. In the first probe the result begins with 1 · (1, 3, 2).",
        ),
        "stride_forgotten": Wrong(
            lambda v, k, s: _transpose(v, k, 1),
            "You laid the copies side by side, one pixel apart. They stand `stride` pixels apart.",
        ),
        "convolution": Wrong(
            lambda v, k, s: np.convolve(v, k[::-1], "valid" if len(v) >= len(k) else "full")[::s],
            "That is the convolution itself: it reads several values and writes one. The transposed one reads one "
            "value and writes several.",
        ),
        "same_size_as_pytorch_padding_1": Wrong(
            lambda v, k, s: _transpose(v, k, s)[1:-1],
            "You cut off the first and the last value, as PyTorch does for padding=1. Here nothing is padded.",
        ),
        "zeros_not_filled": Wrong(
            lambda v, k, s: _zeros_between(v, s),
            "You spread the values and left zeros between them. The kernel has to fill these.",
        ),
        "overlap_divided": Wrong(
            _divided,
            "You divided by the number of copies that overlap. That would avoid the checkerboard, and it is not what "
            "the layer does.",
        ),
        "nearest": Wrong(
            lambda v, k, s: np.repeat(v, s),
            "You repeated the values: up-sampling by nearest neighbor, which has no weights.",
        ),
    },
)


def conv2d(function: Callable) -> None:
    """Check exercise 8b.1: ``function(image, kernel)`` returns the map of a kernel that slides inside an image."""
    CONVOLUTION.check(function)


def output_size(function: Callable) -> None:
    """Check exercise 8b.2: ``function(n, kernel, stride, padding, dilation)`` returns the size of the map."""
    SIZE.check(function)


def receptive_field(function: Callable) -> None:
    """Check exercise 8b.3: ``function(layers)``, of (kernel, stride, dilation), returns a number of pixels."""
    FIELD.check(function)


def transposed_convolution(function: Callable) -> None:
    """Check exercise 8b.4: ``function(values, kernel, stride)`` returns the transposed convolution of a row."""
    TRANSPOSED.check(function)
