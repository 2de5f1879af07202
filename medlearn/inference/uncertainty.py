"""How sure a prediction is: several networks, or one network with dropout, asked again and again."""

from copy import deepcopy
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import entr
from torch import Tensor, nn

from ..preprocess import Preprocess
from ..volume import Volume
from .images import networks_of, predict_one, predict_repeatedly

_WHOLE_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class Uncertainty(NamedTuple):
    """Mean probabilities, and in bits how uncertain they are.

    Attributes
    ----------
    probabilities : Volume
        Mean over the members, as `predict` returns it.
    uncertainty : Volume of float32
        Entropy of the mean probabilities: 0 where they are 0 or 1, 1 at one label's 0.5; at most log2(K + 1) for K
        labels.
    disagreement : Volume of float32
        The part of it that comes from members contradicting each other (the mutual information between a voxel's
        label and the choice of the member): 0 where all say the same, even if that is 0.5.
    """

    probabilities: Volume
    uncertainty: Volume
    disagreement: Volume


def predict_uncertainty(
    run,
    image: Volume,
    *,
    n_samples: int = 20,
    seed: int = 0,
    preprocess: Preprocess | None = None,
    overlap: float = 0.5,
    flip: bool | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    precision: str = "fp32",
) -> Uncertainty:
    """Probabilities with their uncertainty, from an ensemble or from Monte-Carlo dropout.

    Several runs are the members of an ensemble. One run whose network has dropout is asked `n_samples` times with
    dropout at work, everything else as in evaluation. Either sees how much the answer depends on the training, or on
    single channels; none sees what all members have wrong in common.

    Parameters
    ----------
    run, image, preprocess, overlap, flip, device, batch_size, precision
        As for `predict`.
    n_samples : int
        Predictions with dropout, at least 2; an ensemble has no use for it.
    seed : int
        Of the dropout. The same seed, device and batch size give the same result; torch's own generator is not used.

    Returns
    -------
    Uncertainty
        ``probabilities, uncertainty, disagreement``, on the grid of `image`.

    Raises
    ------
    ValueError
        If there is only one network and it has no dropout, or `n_samples` is less than 2.

    References
    ----------
    Y. Gal, Z. Ghahramani, Dropout as a Bayesian approximation, ICML 2016, arXiv:1506.02142; B. Lakshminarayanan et al.,
    Simple and scalable predictive uncertainty estimation using deep ensembles, NeurIPS 2017, arXiv:1612.01474.
    """
    networks = networks_of(run, preprocess, device)
    options = {"overlap": overlap, "flip": flip, "batch_size": batch_size, "precision": precision}
    if len(networks) > 1:
        members = (predict_one(*network, image, **options) for network in networks)
    else:
        if n_samples < 2:
            raise ValueError(
                f"n_samples must be at least 2: one prediction has nothing to differ from; got {n_samples}"
            )
        model, recipe = networks[0]
        members = islice(predict_repeatedly(with_dropout(model, seed), recipe, image, **options), n_samples)
    return _summary(members)


def _summary(members) -> Uncertainty:
    """Running sums, so that memory does not grow with the number of members."""
    total, entropies, n = 0.0, 0.0, 0
    for member in members:
        total, entropies, n = total + member.array, entropies + _entropy(member), n + 1
    mean = Volume(
        array=total / n,
        spacing=member.spacing,
        origin=member.origin,
        direction=member.direction,
        axes=member.axes,
        meta=member.meta,
    )
    uncertainty = _entropy(mean)
    disagreement = np.maximum(uncertainty - entropies / n, 0)  # rounding may leave it below
    grid = {key: getattr(mean, key) for key in ("spacing", "origin", "direction", "meta")}
    axes = mean.axes.removesuffix("c")
    return Uncertainty(
        mean,
        Volume(array=uncertainty, axes=axes, **grid),
        Volume(array=disagreement, axes=axes, **grid),
    )


def _entropy(probabilities: Volume) -> np.ndarray:
    """Entropy in bits, float32, of the labels of every voxel."""
    p = np.clip(probabilities.array, 0, 1)  # interpolation may overshoot by rounding
    nats = entr(p).sum(axis=-1) if "c" in probabilities.axes else entr(p) + entr(1 - p)
    return (nats / np.log(2)).astype(np.float32)


def with_dropout(model: nn.Module, seed: int) -> nn.Module:
    """A copy in evaluation mode, with the weights of `model`, whose dropout is at work all the same.

    The copy has a random generator of its own: threads that share a network do not mix up their draws.

    Raises
    ------
    ValueError
        If no module drops anything.
    """
    weights = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    copy = deepcopy(model, weights)  # shares them: what is in the memo is not copied
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    dropouts = [m for m in copy.modules() if isinstance(m, (nn.Dropout, *_WHOLE_CHANNELS)) and m.p > 0]
    if not dropouts:
        raise ValueError(
            "this network has no dropout, so one run alone cannot tell how uncertain it is: give several runs (the "
            "folds of a cross-validation, or other seeds), or train a network with dropout > 0"
        )
    for module in dropouts:
        module.register_forward_hook(partial(_drop, generator))
    return copy


def _drop(generator: torch.Generator, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """What the module does in training: zero with probability p, the rest scaled to keep the mean."""
    whole = isinstance(module, _WHOLE_CHANNELS)  # (B, C, 1, ...) instead of (B, C, H, ...)
    shape = [*output.shape[:2], *[1] * (output.ndim - 2)] if whole else output.shape
    keep = torch.rand(shape, generator=generator, device=output.device) >= module.p
    return output * keep / (1 - module.p)
