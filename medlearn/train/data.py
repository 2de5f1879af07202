"""Cases made ready: the training set on the device, the held-out cases in memory."""

import logging
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from ..errors import BadCasesError
from ..inference import predict_prepared, to_labels
from ..metrics import dice
from ..preprocess import Preprocess
from ..volume import Case
from .config import TrainConfig
from .sampler import PatchSampler, SliceSampler

_log = logging.getLogger("medlearn.train")


def fit_preprocess(model: nn.Module, cases: Sequence[Case], config: TrainConfig, labels: Sequence[str]) -> Preprocess:
    """Voxel size and canvas, or windows, from the training cases; they can be divided by the strides of the network."""
    return Preprocess.fit(
        (case.image for case in cases),
        spacing=config.spacing,
        multiple=_multiple(model, 3 if config.patch else 2),
        patch=config.patch,
        labels=labels,
        adjacent_slices=config.adjacent_slices,
        slice_position=config.slice_position,
        mirror=config.augment is not None and config.augment.flip > 0,
        clahe_clip_limit=config.clahe_clip_limit,
        curvature_flow=config.curvature_flow,
    )


def crop_size(model: nn.Module, config: TrainConfig, preprocess: Preprocess) -> tuple[int, int] | None:
    """Pixels (y, x) of a crop: a multiple of the network's strides; None where that is the whole canvas."""
    if config.crop == 1:
        return None
    multiple, canvas = np.array(_multiple(model, 2)), np.array(preprocess.canvas)
    crop = (np.ceil(config.crop * canvas / multiple) * multiple).astype(int)
    return tuple(crop.tolist()) if (crop < canvas).any() else None


def _multiple(model: nn.Module, n_axes: int) -> int | tuple[int, ...]:
    """By how much the coarsest level of the network is coarser than the image, for each axis."""
    strides = getattr(model, "strides", None)
    if strides is None or len(strides[0]) != n_axes:
        return 2 ** (len(model.config["widths"]) - 1)
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


def load_cases(
    cases: Sequence[Case],
    preprocess: Preprocess,
    config: TrainConfig,
    device: torch.device,
    *,
    crop: tuple[int, int] | None = None,
    any_labels: bool = False,
) -> SliceSampler | PatchSampler:
    """Pre-process every case once and put all of them on the device; `any_labels` are for objectives of one's own."""
    images, masks = [], []
    for case in _with_masks(cases):
        highest = case.mask.array.max()
        if highest > len(preprocess.labels) and not any_labels:
            raise ValueError(
                f"case {case.id} holds label {highest}, but there are {len(preprocess.labels)} to learn; "
                "medlearn.cases(..., labels={...}) chooses and merges labels"
            )
        if highest > 255:
            raise ValueError(f"case {case.id} holds label {highest}; training takes labels up to 255")
        images.append(_prepared(case, preprocess))
        masks.append(preprocess.mask(case.mask))
    what = f"patches of {len(images)} volumes" if preprocess.patch else f"slices of {len(images)} cases"
    if preprocess.patch:
        sampler = PatchSampler(images, masks, patch=preprocess.patch, foreground=config.foreground, device=device)
    else:
        sampler = SliceSampler(
            images,
            masks,
            adjacent_slices=config.adjacent_slices,
            foreground=config.foreground,
            crop=crop,
            device=device,
        )
    size = "×".join(map(str, crop or preprocess.shape))
    spacing = " × ".join(f"{s:.3g}" for s in preprocess.spacing[-3 if preprocess.patch else -1 :])
    _log.info("%d %s, %s %s of %s mm", len(sampler), what, size, "voxels" if preprocess.patch else "pixels", spacing)
    return sampler


def _with_masks(cases: Sequence[Case]) -> Iterator[Case]:
    for case in cases:
        if case.mask is None:
            raise BadCasesError({case.id: "it has no mask"})
        yield case


def _prepared(case: Case, preprocess: Preprocess) -> np.ndarray:
    """The image as the network wants it, in half precision."""
    try:
        return preprocess.image(case.image).astype(np.float16)
    except ValueError as error:
        raise BadCasesError({case.id: str(error)}) from error


class Validation:
    """The held-out cases, pre-processed once; their Dice is measured on their own grids."""

    def __init__(self, cases: Sequence[Case], preprocess: Preprocess, postprocess: dict | None = None):
        self.preprocess, self.postprocess = preprocess, postprocess or {}
        self.cases = [(case, _prepared(case, preprocess)) for case in _with_masks(cases)]
        self.n_slices = sum(len(prepared) for _, prepared in self.cases)
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
        for case, prepared in self.cases:
            probabilities = predict_prepared(model, self.preprocess, prepared, precision=precision)
            probabilities = self.preprocess.restore(probabilities, case.image)
            pred = to_labels(probabilities, **self.postprocess).array
            labels = range(1, len(self.preprocess.labels) + 1)
            scores += [dice(pred == k, case.mask.array == k) for k in labels]
        self._times.append(time.monotonic() - started)
        return float(np.nanmean(scores))
