"""Checks of chapter 8c: batch normalization, group normalization, a residual block, dropout."""

from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong

EPS, MOMENTUM = 1e-5, 0.1
PER_CHANNEL = (0, 2, 3)  # the axes that batch normalization averages over


def _normalize(x, mean, variance):
    return (x - mean) / np.sqrt(variance + EPS)


def _over(x, axes):
    """Mean and variance over these axes, in a shape that fits x."""
    return x.mean(axes, keepdims=True), x.var(axes, keepdims=True)


def _each_channel(values):
    return values[:, None, None]


def _scaled(x, scale, shift, mean, variance):
    return _each_channel(scale) * _normalize(x, mean, variance) + _each_channel(shift)


def _mixed(old, new, momentum=MOMENTUM):
    return (1 - momentum) * old + momentum * new


def _batch_norm(
    x,
    scale,
    shift,
    mean,
    variance,
    training,
    *,
    axes=PER_CHANNEL,
    ddof_here=0,
    ddof_running=1,
    momentum=MOMENTUM,
    batch_at_test=False,
    running_in_training=False,
):
    """Result, running mean and running variance; the keywords are there for the mistakes."""
    batch = x.mean(axes, keepdims=True), x.var(axes, ddof=ddof_here, keepdims=True)
    running = _each_channel(mean), _each_channel(variance)
    own = batch_at_test or (training and not running_in_training)
    result = _scaled(x, scale, shift, *(batch if own else running))
    if training:
        mean = _mixed(mean, x.mean(PER_CHANNEL), momentum)
        variance = _mixed(variance, x.var(PER_CHANNEL, ddof=ddof_running), momentum)
    return result, mean, variance


def _eps_outside_root(x, scale, shift, mean, variance, training):
    _, new_mean, new_variance = _batch_norm(x, scale, shift, mean, variance, training)
    m, v = _over(x, PER_CHANNEL) if training else (_each_channel(mean), _each_channel(variance))
    return _each_channel(scale) * (x - m) / (np.sqrt(v) + EPS) + _each_channel(shift), new_mean, new_variance


def _not_scaled(x, scale, shift, mean, variance, training):
    return _batch_norm(x, np.ones_like(scale), np.zeros_like(shift), mean, variance, training)


def _variance_not_root(x, scale, shift, mean, variance, training):
    _, new_mean, new_variance = _batch_norm(x, scale, shift, mean, variance, training)
    m, v = _over(x, PER_CHANNEL) if training else (_each_channel(mean), _each_channel(variance))
    return _each_channel(scale) * (x - m) / (v + EPS) + _each_channel(shift), new_mean, new_variance


def _never_updated(x, scale, shift, mean, variance, training):
    return _batch_norm(x, scale, shift, mean, variance, training)[0], mean, variance


def _updated_at_test(x, scale, shift, mean, variance, training):
    result = _batch_norm(x, scale, shift, mean, variance, training)[0]
    return result, *_batch_norm(x, scale, shift, mean, variance, True)[1:]


def _maps(seed: int, *shape: int) -> np.ndarray:
    """Feature maps whose channels and images differ in mean and spread; the last channel is almost empty."""
    rng = np.random.default_rng(seed)
    spread = np.linspace(1.5, 0.01, shape[1])[:, None, None] * np.linspace(1, 2, shape[0])[:, None, None, None]
    return spread * rng.normal(size=shape) + rng.normal(size=(*shape[:2], 1, 1)) * spread


_SETTINGS = (
    np.array([1.5, 0.5, 2.0]),
    np.array([0.2, -1.0, 0.4]),
    np.array([0.3, 0.1, 0.0]),
    np.array([2.0, 0.7, 0.1]),
)

BATCH_NORM = Exercise(
    number="8c.1",
    right=_batch_norm,
    probes=(
        (_maps(0, 4, 3, 5, 5), *_SETTINGS, True),
        (_maps(1, 4, 3, 5, 5), *_SETTINGS, False),
        (_maps(2, 2, 3, 3, 4), *_SETTINGS, True),
    ),
    praise="This is nn.BatchNorm2d, running averages included.",
    wrong={
        "per_image": Wrong(
            lambda *a: _batch_norm(*a, axes=(2, 3)),
            "In training you took mean and variance of each image alone. That is instance normalization: average over "
            "the batch as well.",
        ),
        "batch_axis_only": Wrong(
            lambda *a: _batch_norm(*a, axes=0),
            "You averaged over the batch only, at each pixel. All pixels of a channel share one mean: axes 0, 2 and 3.",
        ),
        "all_channels": Wrong(
            lambda *a: _batch_norm(*a, axes=(0, 1, 2, 3)),
            "You took one mean and one variance for all channels together. Each channel has its own.",
        ),
        "eps_outside_root": Wrong(
            _eps_outside_root,
            "You added 1e-5 to the root. It belongs under the root, to the variance; in the channel that is almost "
            "empty you can see the difference.",
        ),
        "biased_running_variance": Wrong(
            lambda *a: _batch_norm(*a, ddof_running=0),
            "Your running variance divides by n. For the running average torch divides by n − 1 (`ddof=1`); only the "
            "batch itself is normalized with n.",
        ),
        "unbiased_everywhere": Wrong(
            lambda *a: _batch_norm(*a, ddof_here=1),
            "You normalized with the variance that divides by n − 1. That one is for the running average; the batch is "
            "normalized with n.",
        ),
        "momentum_swapped": Wrong(
            lambda *a: _batch_norm(*a, momentum=1 - MOMENTUM),
            "Your running averages forget nearly everything at each step. In torch's words the momentum is the share "
            "of the *new* value: 0.9 · old + 0.1 · new.",
        ),
        "batch_statistics_at_test": Wrong(
            lambda *a: _batch_norm(*a, batch_at_test=True),
            "Your answer for a patient depends on who else is in the batch: run it alone and beside a bright one. When "
            "`training` is False, use the running mean and variance.",
        ),
        "running_in_training": Wrong(
            lambda *a: _batch_norm(*a, running_in_training=True),
            "You normalized with the running averages in training too. There, the batch's own mean and variance are "
            "used.",
        ),
        "never_updated": Wrong(
            _never_updated,
            "The running averages came back unchanged. In training they move a tenth of the way to the batch's.",
        ),
        "updated_at_test": Wrong(
            _updated_at_test,
            "You updated the running averages when `training` is False. Then each patient who is examined would change "
            "the network for the next one.",
        ),
        "not_scaled": Wrong(
            _not_scaled,
            "Scale and shift are missing: scale · normalized + shift, channel by channel.",
        ),
        "variance_not_root": Wrong(
            _variance_not_root,
            "You divided by the variance. Divide by its root.",
        ),
    },
)


def _group_norm(x, groups, *, axes=(2, 3, 4)):
    """Normalize over `axes` of (batch, group, channel within it, row, column)."""
    split = x.reshape(len(x), groups, -1, *x.shape[2:])
    return _normalize(split, *_over(split, axes)).reshape(x.shape)


def _interleaved(x, groups):
    split = x.reshape(len(x), -1, groups, *x.shape[2:])
    return _normalize(split, *_over(split, (1, 3, 4))).reshape(x.shape)


def _group_variance_not_root(x, groups):
    split = x.reshape(len(x), groups, -1, *x.shape[2:])
    mean, variance = _over(split, (2, 3, 4))
    return ((split - mean) / (variance + EPS)).reshape(x.shape)


GROUP_NORM = Exercise(
    number="8c.2",
    right=_group_norm,
    probes=((_maps(3, 3, 6, 4, 4), 2), (_maps(4, 2, 6, 3, 5), 3)),
    praise="With one group this is layer normalization, with as many groups as channels instance normalization.",
    wrong={
        "instance": Wrong(
            lambda x, groups: _normalize(x, *_over(x, (2, 3))),
            "You normalized each channel alone: instance normalization. The channels of a group share mean and "
            "variance.",
        ),
        "one_group": Wrong(
            lambda x, groups: _normalize(x, *_over(x, (1, 2, 3))),
            "You normalized each image over all channels, as if there were one group.",
        ),
        "batch": Wrong(
            lambda x, groups: _normalize(x, *_over(x, PER_CHANNEL)),
            "That is batch normalization. Here every image is normalized by itself.",
        ),
        "over_the_batch_too": Wrong(
            lambda x, groups: _group_norm(x, groups, axes=(0, 2, 3, 4)),
            "Your groups are right, but you averaged over the batch as well. Then a patient's result depends on the "
            "batch-mates again.",
        ),
        "pixel_by_pixel": Wrong(
            lambda x, groups: _group_norm(x, groups, axes=2),
            "You averaged over the channels of a group at each pixel. All its pixels share one mean.",
        ),
        "groups_are_sizes": Wrong(
            lambda x, groups: _group_norm(x, x.shape[1] // groups),
            "You made groups *of* `groups` channels. `groups` is how many there are.",
        ),
        "interleaved": Wrong(
            _interleaved,
            "You dealt the channels out like cards. A group is made of neighbors: the first C / groups channels, then "
            "the next.",
        ),
        "variance_not_root": Wrong(
            _group_variance_not_root,
            "You divided by the variance. Divide by its root.",
        ),
    },
)


def _relu(x):
    return np.maximum(x, 0)


def _branch(x, first, second):
    return _relu(x @ first) @ second


_X = np.array([[1.0, -2.0, 0.5], [-1.0, 0.4, 2.0], [0.3, 1.2, -0.7]])
_FIRST = np.array([[0.6, -1.0, 0.2], [0.5, 0.3, -0.9], [-0.4, 0.8, 1.1]])
_SECOND = np.array([[0.7, -0.2, -0.6], [0.1, 0.9, -0.3], [-0.8, 0.4, 0.5]])

RESIDUAL = Exercise(
    number="8c.3",
    right=lambda x, first, second: _relu(x + _branch(x, first, second)),
    probes=((_X, _FIRST, _SECOND), (_X[:2] - 0.3, _SECOND, _FIRST), (_X, _FIRST, np.zeros((3, 3)))),
    praise="With the second matrix at zero the block hands on relu(x): to do nothing is easy for it.",
    wrong={
        "shortcut_forgotten": Wrong(
            lambda x, f, s: _relu(_branch(x, f, s)),
            "Where is x? Without the shortcut this is a plain block; with a second matrix of zeros nothing comes out.",
        ),
        "relu_before_addition": Wrong(
            lambda x, f, s: x + _relu(_branch(x, f, s)),
            "You bent F(x) before the addition. Then a block can only add, never subtract. Add first, then ReLU.",
        ),
        "last_relu_forgotten": Wrong(
            lambda x, f, s: x + _branch(x, f, s),
            "The ReLU after the addition is missing. (Some later designs leave it out on purpose; this block has it.)",
        ),
        "inner_relu_forgotten": Wrong(
            lambda x, f, s: _relu(x + x @ f @ s),
            "There is no ReLU between the two matrices. Then they are one matrix.",
        ),
        "concatenated": Wrong(
            lambda x, f, s: np.concatenate([x, _branch(x, f, s)], axis=-1),
            "You put x beside F(x). That is concatenation, as in the skips of a U-Net. A residual block adds.",
        ),
        "middle_added": Wrong(
            lambda x, f, s: _relu(_relu(x @ f) + _branch(x, f, s)),
            "You added the result of the first matrix. The shortcut begins at the input of the block.",
        ),
        "matrices_swapped": Wrong(
            lambda x, f, s: _relu(x + _branch(x, s, f)),
            "You used the second matrix first.",
        ),
        "subtracted": Wrong(
            lambda x, f, s: _relu(_branch(x, f, s) - x),
            "You subtracted x. F is what is to be *added* to x; the subtraction, F = H − x, is only how its goal is "
            "described.",
        ),
        "residual_returned": Wrong(
            _branch,
            "You returned F(x), the residual. The block returns relu(x + F(x)).",
        ),
    },
)


def _dropout(x, p, random, training):
    return np.where(random < p, 0, x / (1 - p)) if training else x


_RANDOM = np.random.default_rng(5).random((3, 4))
_VALUES = np.arange(1.0, 13.0).reshape(3, 4)

DROPOUT = Exercise(
    number="8c.4",
    right=_dropout,
    probes=((_VALUES, 0.2, _RANDOM, True), (_VALUES, 0.2, _RANDOM, False), (_VALUES**2, 0.6, _RANDOM[::-1], True)),
    praise="On average nothing changes, and at test nothing has to be done.",
    wrong={
        "no_rescaling": Wrong(
            lambda x, p, r, training: np.where(r < p, 0, x) if training else x,
            "You dropped values and left the others as they are. The next layer would get less in training than at "
            "test: divide by 1 − p.",
        ),
        "scaled_at_test": Wrong(
            lambda x, p, r, training: np.where(r < p, 0, x) if training else (1 - p) * x,
            "You multiply by 1 − p at test instead of dividing in training: so the first paper did it, and on average "
            "it is the same. Here, as in torch, divide in training and leave the test alone.",
        ),
        "rescaled_twice": Wrong(
            lambda x, p, r, training: _dropout(x, p, r, True) if training else (1 - p) * x,
            "You rescaled twice: divided in training and multiplied at test. One of them is enough; here divide in "
            "training.",
        ),
        "p_instead_of_1_minus_p": Wrong(
            lambda x, p, r, training: np.where(r < p, 0, x / p) if training else x,
            "You divided by p, the share that was dropped. Divide by the share that is kept, 1 − p.",
        ),
        "keeps_p": Wrong(
            lambda x, p, r, training: np.where(r < p, x / p, 0) if training else x,
            "You kept what had to be dropped: p is the probability of being dropped.",
        ),
        "same_mask_for_batch": Wrong(
            lambda x, p, r, training: _dropout(x, p, np.broadcast_to(r[0], x.shape), training),
            "All rows lost the same values: you used the random numbers of the first row for the whole batch.",
        ),
        "dropped_at_test": Wrong(
            lambda x, p, r, training: _dropout(x, p, r, True),
            "You drop values at test too. Then the same patient gets another answer each time.",
        ),
        "never_dropped": Wrong(
            lambda x, p, r, training: x,
            "Nothing was dropped. When `training` is True, set x to 0 where `random` is below p.",
        ),
    },
)


def batch_norm(function: Callable) -> None:
    """Check exercise 8c.1: ``function(x, scale, shift, mean, variance, training)`` returns y, mean, variance."""
    BATCH_NORM.check(function)


def group_norm(function: Callable) -> None:
    """Check exercise 8c.2: ``function(x, groups)`` returns x normalized group by group."""
    GROUP_NORM.check(function)


def residual_block(function: Callable) -> None:
    """Check exercise 8c.3: ``function(x, first, second)`` returns the result of a residual block."""
    RESIDUAL.check(function)


def dropout(function: Callable) -> None:
    """Check exercise 8c.4: ``function(x, p, random, training)`` returns x with some values dropped."""
    DROPOUT.check(function)
