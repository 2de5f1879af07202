"""Cases made ready: the training slices on the device, the held-out cases in memory."""

import logging
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from ..errors import BadCasesError
from ..inference import predict_slices, to_labels
from ..metrics import dice
from ..preprocess import Preprocess
from ..volume import Case
from .config import TrainConfig
from .sampler import SliceSampler

_log = logging.getLogger("medlearn.train")


def fit_preprocess(model: nn.Module, cases: Sequence[Case], config: TrainConfig, labels: Sequence[str]) -> Preprocess:
    """Pixel size and canvas from the training cases; the canvas can be halved at every level of the network."""
    return Preprocess.fit(
        (case.image for case in cases),
        spacing=config.spacing,
        multiple=2 ** (len(model.config["widths"]) - 1),
        labels=labels,
        adjacent_slices=config.adjacent_slices,
        mirror=config.augment is not None and config.augment.flip > 0,
    )


def load_slices(
    cases: Sequence[Case], preprocess: Preprocess, config: TrainConfig, device: torch.device
) -> SliceSampler:
    """Pre-process every case once and put its slices on the device."""
    images, masks = [], []
    for case in _with_masks(cases):
        if (highest := case.mask.array.max()) > len(preprocess.labels):
            raise ValueError(
                f"case {case.id} holds label {highest}, but there are {len(preprocess.labels)} to learn; "
                "medlearn.cases(..., labels={...}) chooses and merges labels"
            )
        images.append(preprocess.image(case.image).astype(np.float16))
        masks.append(preprocess.mask(case.mask))
    _log.info(
        "%d slices of %d cases, %d×%d pixels of %.3g mm",
        sum(map(len, images)),
        len(images),
        *preprocess.canvas,
        preprocess.spacing[1],
    )
    return SliceSampler(
        images, masks, adjacent_slices=config.adjacent_slices, foreground=config.foreground, device=device
    )


def _with_masks(cases: Sequence[Case]) -> Iterator[Case]:
    for case in cases:
        if case.mask is None:
            raise BadCasesError({case.id: "it has no mask"})
        yield case


class Validation:
    """The held-out cases, pre-processed once; their Dice is measured on their own grids."""

    def __init__(self, cases: Sequence[Case], preprocess: Preprocess):
        self.preprocess = preprocess
        self.cases = [(case, preprocess.image(case.image).astype(np.float16)) for case in _with_masks(cases)]
        self.n_slices = sum(len(slices) for _, slices in self.cases)
        self._times: list[float] = []

    @property
    def seconds(self) -> float | None:
        """How long a prediction of these cases takes; None before the first.

        The shortest of the last three: the longer ones met a busy machine, which says little about the next.
        """
        if not self.cases:
            return 0.0
        return min(self._times[-3:]) if self._times else None

    def dice(self, model: nn.Module, precision: str) -> float:
        """Mean over cases and labels."""
        started = time.monotonic()
        scores = []
        for case, slices in self.cases:
            probabilities = predict_slices(
                model, slices, adjacent_slices=self.preprocess.adjacent_slices, precision=precision
            )
            pred = to_labels(self.preprocess.restore(probabilities, case.image)).array
            labels = range(1, len(self.preprocess.labels) + 1)
            scores += [dice(pred == k, case.mask.array == k) for k in labels]
        self._times.append(time.monotonic() - started)
        return float(np.nanmean(scores))
