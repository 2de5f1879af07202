"""Checks of chapter 10b: the soft Dice loss, a cross-entropy that survives large logits, the Tversky loss."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ._core import Exercise, Wrong


@dataclass(frozen=True)
class _OfLogits(Exercise):
    """A loss that must also know the way back to the logits."""

    def verdict(self, function: Callable) -> str:
        """Say what is wrong, also where the value is right and the gradient is lost."""
        said = super().verdict(function)
        if not said.startswith("right!"):
            return said
        logits, target = self.probes[0]
        answer = function(logits.clone().requires_grad_(), target.clone())
        if torch.is_tensor(answer) and answer.requires_grad:
            return said
        return (
            "not yet. The value is right, but no gradient leads back to the logits. Stay with PyTorch's operations: "
            "no `.item()`, no `.detach()`, no NumPy."
        )


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    """A large gland that is found well and a small one that is nearly missed: 200 pixels, and 8."""
    target = torch.zeros(2, 24, 24)
    target[0, 4:14, 2:22] = 1
    target[1, 10:12, 10:14] = 1
    logits = torch.full((2, 1, 24, 24), -4.0)
    logits[0, 0, 4:14, 3:22] = 3.0
    logits[1, 0, 10, 10:12] = 1.0
    return logits, target


def _second_pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Two glands of middle size, both unsure."""
    target = torch.zeros(2, 12, 12)
    target[0, 2:8, 2:8] = 1
    target[1, 5:8, 4:9] = 1
    logits = torch.linspace(-3, 2, 288).reshape(2, 1, 12, 12)
    return logits, target


def _empty_pair() -> tuple[torch.Tensor, torch.Tensor]:
    """No gland, and none predicted: the loss should be next to nothing."""
    return torch.full((2, 1, 8, 8), -200.0), torch.zeros(2, 8, 8)


EPSILON = 1e-5


def _soft_dice(logits, target, *, convert=torch.sigmoid, power=1, axes=(1, 2), factor=2, above=EPSILON, below=EPSILON):
    p = convert(logits[:, 0])
    overlap = factor * (p * target).sum(axes) + above
    dice = overlap / ((p**power).sum(axes) + (target**power).sum(axes) + below)
    return 1 - dice.mean()


SOFT_DICE = _OfLogits(
    number="10b.1",
    right=_soft_dice,
    probes=(_pair(), _second_pair(), _empty_pair()),
    praise="One Dice for each image, so the small gland counts as much as the large one, and empty meets empty without "
    "a loss.",
    rtol=1e-4,
    wrong={
        "whole_batch": Wrong(
            lambda z, g: _soft_dice(z, g, axes=(0, 1, 2)),
            "You summed over the whole batch: the small gland vanished in the sum. Sum over rows and columns only, "
            "then take the mean of the images. (As a loss for training that is a fair choice too; here, one each.)",
        ),
        "sigmoid_forgotten": Wrong(
            lambda z, g: _soft_dice(z, g, convert=lambda x: x),
            "Logits are no probabilities: they are negative for background, and your denominator can be anything. "
            "Take their sigmoid first.",
        ),
        "sigmoid_twice": Wrong(
            lambda z, g: _soft_dice(z, g, convert=lambda x: x.sigmoid().sigmoid()),
            "You took the sigmoid twice. All your probabilities lie between 0.5 and 0.73: no pixel can be background.",
        ),
        "thresholded": Wrong(
            lambda z, g: _soft_dice(z, g, convert=lambda x: (x > 0).float()),
            "You rounded the probabilities to 0 and 1. That is the Dice of masks: its gradient is zero everywhere. "
            "Print logits.grad.",
        ),
        "coefficient_returned": Wrong(
            lambda z, g: 1 - _soft_dice(z, g),
            "That is the coefficient. Training makes the loss fall, so falling must mean better: return one minus it.",
        ),
        "squared_denominator": Wrong(
            lambda z, g: _soft_dice(z, g, power=2),
            "You squared the probabilities in the denominator. That is V-Net's loss: correct, but another one. "
            "Here, sum p and g as they are.",
        ),
        "factor_2_forgotten": Wrong(
            lambda z, g: _soft_dice(z, g, factor=1),
            "A perfect prediction has a loss of one half with yours: the overlap counts twice, because the sum of the "
            "sizes counts it twice.",
        ),
        "epsilon_only_below": Wrong(
            lambda z, g: _soft_dice(z, g, above=0.0),
            "Nothing there and nothing found should cost nothing. With ε only below the fraction line, empty against "
            "empty has a loss of 1. Add it above as well.",
        ),
        "no_epsilon": Wrong(
            lambda z, g: _soft_dice(z, g, above=0.0, below=0.0),
            "Two empty images give 0/0, which is nan. Add ε above and below the fraction line.",
        ),
    },
)


def _stable(z, g):
    return np.maximum(z, 0) - z * g + np.log1p(np.exp(-np.abs(z)))


@np.errstate(all="ignore")
def _naive(z, g):
    p = 1 / (1 + np.exp(-z))
    return -(g * np.log(p) + (1 - g) * np.log(1 - p))


@np.errstate(all="ignore")
def _log_of_exp(z, g):
    return np.log(1 + np.exp(z)) - z * g


def _clipped(z, g):
    p = (1 / (1 + np.exp(-np.clip(z, -700, 700)))).clip(1e-7, 1 - 1e-7)
    return -(g * np.log(p) + (1 - g) * np.log(1 - p))


_LOGITS = np.array([-800.0, -40.0, -2.0, 0.0, 1.5, 40.0, 800.0])

CROSS_ENTROPY = Exercise(
    number="10b.2",
    right=lambda z, g: (_stable(z, g), 1 / (1 + np.exp(-np.clip(z, -700, 700))) - g),
    probes=(
        (_LOGITS, np.array([1.0, 1, 0, 1, 1, 0, 0])),
        (_LOGITS[::-1].copy(), np.array([0.0, 0, 0, 0, 1, 1, 1])),
    ),
    praise="No logit is too large, and the gradient is the plainest there is: what you said, minus what is true.",
    wrong={
        "naive": Wrong(
            lambda z, g: (_naive(z, g), _right_gradient(z, g)),
            "Right near 0. Far out the sigmoid is exactly 0 or 1, and its logarithm is −∞ (0 · ∞ gives nan). Put the "
            "sigmoid into the logarithm first and simplify: log p = −log(1 + e^(−z)).",
        ),
        "overflows": Wrong(
            lambda z, g: (_log_of_exp(z, g), _right_gradient(z, g)),
            "log(1 + e^z) − z·g is the right formula, but e^800 is infinite. Use log(1 + e^z) = max(z, 0) + "
            "log(1 + e^(−|z|)).",
        ),
        "clipped": Wrong(
            lambda z, g: (_clipped(z, g), _right_gradient(z, g)),
            "You clipped the probability. No infinity any more, but every loss beyond 16 is cut off, and the logits "
            "there get no gradient: the worst mistakes teach nothing.",
        ),
        "mean_taken": Wrong(
            lambda z, g: (_stable(z, g).mean(), _right_gradient(z, g)),
            "You returned the mean. Return one loss for each pixel.",
        ),
        "gradient_sign": Wrong(
            lambda z, g: (_stable(z, g), -_right_gradient(z, g)),
            "Your gradient is g − p. That is the way DOWN. The gradient points up: where p is too large, it is "
            "positive.",
        ),
        "gradient_in_p": Wrong(
            lambda z, g: (_stable(z, g), _gradient_in_p(z, g)),
            "That is ∂L/∂p. By the chain rule multiply it with ∂p/∂z = p(1 − p): almost everything cancels.",
        ),
        "slope_of_sigmoid_left": Wrong(
            lambda z, g: (_stable(z, g), _right_gradient(z, g) * _slope(z)),
            "One factor p(1 − p) too many. That is the gradient of the SQUARED error: a pixel that is sure and wrong "
            "gets no push. In the cross-entropy the factor cancels.",
        ),
        "target_swapped": Wrong(
            lambda z, g: (_stable(z, 1 - g), _right_gradient(z, 1 - g)),
            "You mixed up g and 1 − g: your loss is small where the prediction is wrong.",
        ),
    },
)


def _right_gradient(z, g):
    return 1 / (1 + np.exp(-np.clip(z, -700, 700))) - g


def _slope(z):
    p = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    return p * (1 - p)


@np.errstate(all="ignore")
def _gradient_in_p(z, g):
    p = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    return (p - g) / (p * (1 - p))


def _tversky(p, g, alpha, beta, *, hits=1.0):
    found = (p * g).sum()
    extra, missed = (p * (1 - g)).sum(), ((1 - p) * g).sum()
    return 1 - hits * found / (hits * found + alpha * extra + beta * missed)


def _tversky_probe(seed: int, alpha: float, beta: float) -> tuple:
    rng = np.random.default_rng(seed)
    g = np.zeros((8, 8))
    g[2:6, 3:6] = 1
    return rng.uniform(0, 1, g.shape), g, alpha, beta


TVERSKY = Exercise(
    number="10b.3",
    right=_tversky,
    probes=(_tversky_probe(0, 0.3, 0.7), _tversky_probe(1, 0.5, 0.5), _tversky_probe(2, 0.9, 0.4)),
    praise="With α = β = ½ it is the Dice loss, and with β > α a missed pixel is dearer than one too many.",
    wrong={
        "alpha_and_beta_swapped": Wrong(
            lambda p, g, a, b: _tversky(p, g, b, a),
            "α belongs to what is too much (false positives), β to what is missing (false negatives). With β = 0.7 "
            "yours would rather miss a gland than mark too much.",
        ),
        "dice_whatever_the_weights": Wrong(
            lambda p, g, a, b: _tversky(p, g, 0.5, 0.5),
            "That is the Dice loss: α and β change nothing in it.",
        ),
        "hits_twice": Wrong(
            lambda p, g, a, b: _tversky(p, g, a, b, hits=2),
            "You counted the overlap twice, as in Dice. Dice has 2·TP because there FP and FN have weight 1; here the "
            "weights stand at FP and FN, and TP counts once.",
        ),
        "sums_for_mistakes": Wrong(
            lambda p, g, a, b: 1 - (p * g).sum() / ((p * g).sum() + a * p.sum() + b * g.sum()),
            "Σp is not what is too much: it holds the overlap as well. Too much is p where g is 0: p·(1 − g).",
        ),
        "index_returned": Wrong(
            lambda p, g, a, b: 1 - _tversky(p, g, a, b),
            "That is the index. The loss is one minus it.",
        ),
        "thresholded": Wrong(
            lambda p, g, a, b: _tversky((p >= 0.5).astype(float), g, a, b),
            "You rounded the probabilities. Then no small change of p changes the loss: nothing can be learned.",
        ),
    },
)


def soft_dice_loss(function: Callable) -> None:
    """Check exercise 10b.1: ``function(logits, target)`` returns the soft Dice loss, mean over the images."""
    SOFT_DICE.check(function)


def cross_entropy_and_gradient(function: Callable) -> None:
    """Check exercise 10b.2: ``function(logits, target)`` returns loss and gradient of every pixel."""
    CROSS_ENTROPY.check(function)


def tversky_by_hand(function: Callable) -> None:
    """Check exercise 10b.3: ``function(p, g, alpha, beta)`` returns the Tversky loss of one image."""
    TVERSKY.check(function)
