"""Checks of chapter 14a: nnU-Net's voxel size, the cost of a 3-D convolution, windows that overlap, V-Net's Dice."""

from collections.abc import Callable, Sequence

import numpy as np

from ._core import Exercise, Wrong

# ---- 14a.1: the voxel size


def _target_spacing(
    spacings: np.ndarray,
    shapes: np.ndarray,
    *,
    middle: Callable = np.median,
    percentile: float = 10,
    compare_with: Callable = np.max,
    ask_spacing: bool = True,
    ask_shape: bool = True,
    floor: bool = True,
) -> np.ndarray:
    """nnU-Net's rule; the keywords make the usual mistakes."""
    target, size = middle(spacings, axis=0), np.median(shapes, axis=0)
    axis = int(np.argmax(target))
    others = np.delete(np.arange(3), axis)
    coarse = target[axis] > 3 * compare_with(target[others]) or not ask_spacing
    few = 3 * size[axis] < size[others].min() or not ask_shape
    if coarse and few:
        target[axis] = np.percentile(spacings[:, axis], percentile)
        if floor:
            target[axis] = max(target[axis], target[others].max())
    return target


def _tenth_everywhere(spacings: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    return np.percentile(spacings, 10, axis=0)


def _isotropic(spacings: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    return np.full(3, np.median(spacings, axis=0).min())


def _set(z: Sequence[float], y: Sequence[float], x: Sequence[float], *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Five images: their voxels as columns, their sizes about one shape."""
    shapes = np.array(shape) + np.outer([0, -2, 0, 2, 6], [1, 4, 4])
    return np.column_stack([z, y, x]), shapes


_PROSTATES = _set([3.6, 2.2, 3.6, 4.0, 3.0], [0.6, 0.3, 0.6, 0.7, 0.7], [0.6, 0.3, 0.6, 0.7, 0.7], 24, 320, 320)
_LONG = _set([5.0, 4.0, 5.0, 5.0, 6.0], [0.8, 0.7, 0.8, 0.9, 0.9], [0.8, 0.7, 0.8, 0.9, 0.9], 200, 512, 512)
_MILD = _set([1.5, 1.0, 1.5, 1.6, 1.5], [0.7, 0.7, 0.7, 0.8, 0.9], [0.7, 0.7, 0.7, 0.8, 0.9], 40, 256, 256)
_NEARLY = _set([2.5, 1.0, 2.5, 2.5, 3.0], [0.7, 0.7, 0.7, 0.8, 0.9], [0.9, 0.9, 0.9, 0.9, 1.0], 30, 300, 300)
_TILTED = _set([1.0, 1.0, 1.0, 1.0, 1.1], [4.0, 0.6, 4.0, 0.5, 4.4], [0.9, 0.9, 0.9, 0.8, 1.0], 256, 20, 256)
_TILTED = _TILTED[0], np.array([256, 20, 256]) + np.outer([0, -2, 0, 2, 6], [4, 1, 4])

SPACING = Exercise(
    number="14a.1",
    right=_target_spacing,
    probes=(_PROSTATES, _LONG, _MILD, _NEARLY, _TILTED),
    praise="Thick slices are made thinner, up to what a tenth of the images really have; nothing else is touched.",
    unit="mm",
    wrong={
        "always_median": Wrong(
            lambda s, n: np.median(s, axis=0),
            "That is the median along every axis. Where one axis is more than 3 times as coarse as the others and has "
            "less than a third of their voxels, the rule takes its 10th percentile.",
        ),
        "mean_not_median": Wrong(
            lambda s, n: _target_spacing(s, n, middle=np.mean),
            "You averaged. One odd scanner moves a mean; the rule takes the median of each axis.",
        ),
        "tenth_percentile_everywhere": Wrong(
            _tenth_everywhere,
            "You took the 10th percentile along all axes: most images would be enlarged. The rule does that to the "
            "one coarse axis only.",
        ),
        "ninetieth_percentile": Wrong(
            lambda s, n: _target_spacing(s, n, percentile=90),
            "You took the 90th percentile: slices thicker than almost all that were scanned. It is the 10th: thin "
            "slices must not lose what they show.",
        ),
        "smallest_for_all_axes": Wrong(
            _isotropic,
            "You made the voxels cubes. From 3.6 mm to 0.6 mm that invents five slices between any two, and costs "
            "six times the memory.",
        ),
        "voxel_count_forgotten": Wrong(
            lambda s, n: _target_spacing(s, n, ask_shape=False),
            "You asked for the spacing only. The second probe has thick slices, but 200 of them: nothing is scarce "
            "there. The axis must also have less than a third of the voxels of each other axis.",
        ),
        "spacing_forgotten": Wrong(
            lambda s, n: _target_spacing(s, n, ask_spacing=False),
            "You asked for the number of voxels only. In the third probe there are few slices, but they are less than "
            "3 times as thick as a pixel is wide: nothing is to be done.",
        ),
        "compared_with_finest": Wrong(
            lambda s, n: _target_spacing(s, n, compare_with=np.min),
            "You compared the coarse axis with the finest of the others. It must be more than 3 times as coarse as "
            "*both*: compare with the coarser one.",
        ),
        "finer_than_the_others": Wrong(
            lambda s, n: _target_spacing(s, n, floor=False),
            "In the last probe the 10th percentile is finer than another axis. The coarse axis stops at the coarser "
            "of the other two.",
        ),
        "slices_always_first": Wrong(
            lambda s, n: _z_only(s, n),
            "You took axis 0 for the coarse one. In the last probe the slices lie across axis 1: ask for the largest "
            "median.",
        ),
    },
)


def _z_only(spacings: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    target, size = np.median(spacings, axis=0), np.median(shapes, axis=0)
    if target[0] > 3 * target[1:].max() and 3 * size[0] < size[1:].min():
        target[0] = max(np.percentile(spacings[:, 0], 10), target[1:].max())
    return target


# ---- 14a.2: what one convolution costs


def _conv_cost(
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int, int],
    shape: tuple[int, int, int],
    *,
    bias: bool = True,
    axes: slice = slice(None),
    value_bytes: int = 4,
    mib: int = 2**20,
) -> tuple[float, float, float]:
    """Parameters, multiply-adds, MiB of the result; the keywords make the usual mistakes."""
    weights = in_channels * out_channels * int(np.prod(kernel[axes]))
    voxels = int(np.prod(shape))
    return weights + bias * out_channels, weights * voxels, value_bytes * out_channels * voxels / mib


def _input_kept(i, o, kernel, shape):
    parameters, work, _ = _conv_cost(i, o, kernel, shape)
    return parameters, work, 4 * i * int(np.prod(shape)) / 2**20


def _work_of_one_slice(i, o, kernel, shape):
    parameters, work, memory = _conv_cost(i, o, kernel, shape)
    return parameters, work / shape[0], memory


def _work_without_channels(i, o, kernel, shape):
    parameters, work, memory = _conv_cost(i, o, kernel, shape)
    return parameters, work / i, memory


def _cube_of_first(i, o, kernel, shape):
    return _conv_cost(i, o, (kernel[0],) * 3, shape)


def _sum_of_kernel(i, o, kernel, shape):
    weights = i * o * sum(kernel)
    return weights + o, weights * int(np.prod(shape)), 4 * o * int(np.prod(shape)) / 2**20


COST = Exercise(
    number="14a.2",
    right=_conv_cost,
    probes=(
        (16, 32, (3, 5, 5), (16, 96, 80)),
        (1, 8, (1, 3, 3), (20, 64, 64)),
    ),
    praise="Weights do not care how large the image is; work and memory grow with every voxel.",
    rtol=1e-9,
    wrong={
        "biases_forgotten": Wrong(
            lambda *a: _conv_cost(*a, bias=False),
            "The parameters lack the biases: one for each channel that comes out.",
        ),
        "kernel_of_a_slice": Wrong(
            lambda *a: _conv_cost(*a, axes=slice(1, None)),
            "Your kernel is flat. In 3-D it has kernel[0] × kernel[1] × kernel[2] weights for each pair of channels.",
        ),
        "kernel_taken_as_cube": Wrong(
            _cube_of_first, "You took the kernel for a cube of its first side. Its three sides may differ."
        ),
        "kernel_added_up": Wrong(
            _sum_of_kernel, "You added the sides of the kernel. Its volume is their product: 3 × 3 × 3 = 27, not 9."
        ),
        "half_precision": Wrong(
            lambda *a: _conv_cost(*a, value_bytes=2), "Two bytes a number is half precision. float32 takes four."
        ),
        "bits_not_bytes": Wrong(
            lambda *a: _conv_cost(*a, value_bytes=32), "You counted bits. A float32 has 32 bits, which is 4 bytes."
        ),
        "megabytes": Wrong(
            lambda *a: _conv_cost(*a, mib=10**6), "Those are MB, of a million bytes. One MiB is 2²⁰ = 1,048,576 bytes."
        ),
        "memory_of_input": Wrong(
            _input_kept, "You counted the memory of what goes in. The question is what comes out: out_channels maps."
        ),
        "work_of_one_slice": Wrong(
            _work_of_one_slice, "Your multiply-adds are those of one slice. The kernel visits every voxel, z included."
        ),
        "input_channels_forgotten": Wrong(
            _work_without_channels,
            "Every output channel looks at *all* input channels: multiply-adds are weights (without biases) × voxels.",
        ),
    },
)


# ---- 14a.3: windows that overlap


def _profile(size: int, *, width: float = 8, center: float | None = None) -> np.ndarray:
    center = (size - 1) / 2 if center is None else center
    return np.exp(-0.5 * ((np.arange(size) - center) / (size / width)) ** 2)


def _blend(windows: np.ndarray, starts: Sequence[int], length: int, *, profile: Callable = _profile) -> np.ndarray:
    size = windows.shape[1]
    weights = profile(size)
    sums, total = np.zeros(length), np.zeros(length)
    for window, start in zip(windows, starts, strict=True):
        sums[start : start + size] += weights * window
        total[start : start + size] += weights
    return sums / total


def _not_divided(windows: np.ndarray, starts: Sequence[int], length: int) -> np.ndarray:
    sums, size = np.zeros(length), windows.shape[1]
    for window, start in zip(windows, starts, strict=True):
        sums[start : start + size] += _profile(size) * window
    return sums


def _divided_by_count(windows: np.ndarray, starts: Sequence[int], length: int) -> np.ndarray:
    count, size = np.zeros(length), windows.shape[1]
    for start in starts:
        count[start : start + size] += 1
    return _not_divided(windows, starts, length) / count


def _last_wins(windows: np.ndarray, starts: Sequence[int], length: int) -> np.ndarray:
    result, size = np.zeros(length), windows.shape[1]
    for window, start in zip(windows, starts, strict=True):
        result[start : start + size] = window
    return result


def _largest(windows: np.ndarray, starts: Sequence[int], length: int) -> np.ndarray:
    result, size = np.zeros(length), windows.shape[1]
    for window, start in zip(windows, starts, strict=True):
        result[start : start + size] = np.maximum(result[start : start + size], window)
    return result


def _windows(seed: int, n: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 0.95, (n, size))


BLEND = Exercise(
    number="14a.3",
    right=_blend,
    probes=((_windows(0, 3, 8), (0, 4, 8), 16), (_windows(1, 4, 5), (0, 2, 5, 6), 11)),
    praise="Who sees a voxel from the middle of the window has most to say about it, and the shares sum to one.",
    wrong={
        "plain_mean": Wrong(
            lambda *a: _blend(*a, profile=np.ones),
            "You gave all windows an equal say. Where one window ends, a jump remains; and a rim is what a network "
            "knows least about. Weigh by the Gaussian.",
        ),
        "last_window_wins": Wrong(
            _last_wins, "Each window overwrote the one before. The overlap was computed and thrown away: seams."
        ),
        "largest_wins": Wrong(
            _largest, "You took the largest value of the windows. One that is wrong at its rim then always wins."
        ),
        "not_divided": Wrong(
            _not_divided,
            "You added weighted windows, and did not divide by the sum of their weights: near the ends of the line "
            "the probabilities sink towards 0.",
        ),
        "divided_by_number_of_windows": Wrong(
            _divided_by_count,
            "You divided by the number of windows. They do not count equally: divide by the sum of their weights.",
        ),
        "weights_from_first_voxel": Wrong(
            lambda *a: _blend(*a, profile=lambda n: _profile(n, center=0)),
            "Your Gaussian is highest at the first voxel of the window. It belongs in the middle, at (size − 1) / 2.",
        ),
        "half_a_voxel_off": Wrong(
            lambda *a: _blend(*a, profile=lambda n: _profile(n, center=n / 2)),
            "Half a voxel off: the middle of the indices 0 … size − 1 is (size − 1) / 2, not size / 2.",
        ),
        "variance_for_deviation": Wrong(
            lambda *a: _blend(*a, profile=lambda n: np.exp(-0.5 * (np.arange(n) - (n - 1) / 2) ** 2 / (n / 8))),
            "size / 8 is the standard deviation, and you used it as the variance: divide the distance by it, then "
            "square.",
        ),
    },
)


# ---- 14a.4: V-Net's Dice and its gradient


def _squared_dice(p: np.ndarray, g: np.ndarray) -> tuple[float, np.ndarray]:
    overlap, sizes = (p * g).sum(), (p**2).sum() + (g**2).sum()
    return float(2 * overlap / sizes), 2 * (g * sizes - 2 * p * overlap) / sizes**2


def _linear(p, g):
    overlap, sizes = (p * g).sum(), p.sum() + g.sum()
    return float(2 * overlap / sizes), 2 * (g * sizes - overlap) / sizes**2


def _squares_of_sums(p, g):
    overlap, sizes = (p * g).sum(), p.sum() ** 2 + g.sum() ** 2
    return float(2 * overlap / sizes), 2 * (g * sizes - 2 * p.sum() * overlap) / sizes**2


def _without_the_two(p, g):
    d, gradient = _squared_dice(p, g)
    return d / 2, gradient / 2


def _as_loss(p, g):
    d, gradient = _squared_dice(p, g)
    return 1 - d, -gradient


def _loss_with_gradient_of_dice(p, g):
    d, gradient = _squared_dice(p, g)
    return 1 - d, gradient


def _sizes_held_fixed(p, g):
    d, _ = _squared_dice(p, g)
    return d, 2 * g / ((p**2).sum() + (g**2).sum())


def _two_forgotten_inside(p, g):
    d, _ = _squared_dice(p, g)
    overlap, sizes = (p * g).sum(), (p**2).sum() + (g**2).sum()
    return d, 2 * (g * sizes - p * overlap) / sizes**2


def _linear_gradient(p, g):
    return _squared_dice(p, g)[0], _linear(p, g)[1]


def _mean_over_voxels(p, g):
    d, gradient = _squared_dice(p, g)
    return d, gradient / p.size


DICE = Exercise(
    number="14a.4",
    right=_squared_dice,
    probes=(
        (np.array([0.9, 0.6, 0.2, 0.1, 0.7]), np.array([1.0, 1.0, 1.0, 0.0, 0.0])),
        (np.array([[0.3, 0.8], [0.5, 0.05]]), np.array([[0.0, 1.0], [1.0, 0.0]])),
    ),
    praise="In the background the push grows with p: a voxel that is surely wrong is pushed hardest.",
    wrong={
        "linear_denominator": Wrong(
            _linear,
            "That is the Dice with p + g below, chapter 10b's. V-Net squares them: all background voxels of the "
            "linear one get the same gradient.",
        ),
        "squares_of_sums": Wrong(_squares_of_sums, "Square each voxel, then add. You added first: (Σp)² is not Σp²."),
        "two_forgotten": Wrong(_without_the_two, "Your Dice of a perfect prediction is ½: the overlap counts twice."),
        "loss_instead_of_dice": Wrong(
            _as_loss, "That is the loss 1 − D with its gradient. Asked for is D itself, which is to grow."
        ),
        "loss_and_gradient_of_dice": Wrong(
            _loss_with_gradient_of_dice,
            "You returned the loss 1 − D, but the gradient of D. Asked for is D; either way their signs must fit.",
        ),
        "denominator_held_fixed": Wrong(
            _sizes_held_fixed,
            "D is right. Your gradient is 0 in the background: p stands below the line as well. Use the quotient rule.",
        ),
        "gradient_of_square_halved": Wrong(
            _two_forgotten_inside, "D is right. In the gradient, the derivative of p² is 2p: a factor 2 is missing."
        ),
        "gradient_of_linear": Wrong(
            _linear_gradient, "D is right, but the gradient belongs to the denominator with p + g."
        ),
        "gradient_averaged": Wrong(
            _mean_over_voxels, "D is right. You divided its gradient by the number of voxels; D is no mean over voxels."
        ),
    },
)


def target_spacing(function: Callable) -> None:
    """Check exercise 14a.1: ``function(spacings, shapes)`` returns nnU-Net's target spacing (z, y, x) in mm."""
    SPACING.check(function)


def conv_cost(function: Callable) -> None:
    """Check exercise 14a.2: ``function(in_channels, out_channels, kernel, shape)`` → parameters, multiply-adds, MiB."""
    COST.check(function)


def blend_windows(function: Callable) -> None:
    """Check exercise 14a.3: ``function(windows, starts, length)`` blends windows with Gaussian weights."""
    BLEND.check(function)


def squared_dice(function: Callable) -> None:
    """Check exercise 14a.4: ``function(p, g)`` returns V-Net's Dice coefficient and its gradient."""
    DICE.check(function)
