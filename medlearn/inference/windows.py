"""A network over a volume that is larger than its patch: windows side by side, blended where they overlap."""

import math
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from .passes import autocast, forward


def windows_along(length: int, size: int, overlap: float) -> list[tuple[slice, Tensor]]:
    """Windows of `size` along an axis of `length` >= `size`, each with the weights (size,) of its voxels.

    Windows are spread evenly, touch both ends, and share at least `overlap` of their voxels with their neighbors, but
    for rounding. The weights are a Gaussian around the window's center with a standard deviation of size / 8, since a
    network sees least around the voxels at a window's rim; 0.0003 there for 1 at the center, it is never 0. Divided by
    their sum over all windows, the weights of the windows that hold a voxel sum to 1.
    """
    step = max(1, int(size * (1 - overlap)))
    n_windows = math.ceil((length - size) / step) + 1
    starts = np.linspace(0, length - size, n_windows).round().astype(int).tolist()
    profile = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (size / 8)) ** 2)
    total = np.zeros(length)
    for start in starts:
        total[start : start + size] += profile
    windows = [slice(start, start + size) for start in starts]
    return [(window, torch.from_numpy((profile / total[window]).astype(np.float32))) for window in windows]


@torch.inference_mode()
def predict_patches(
    model: nn.Module,
    volume: np.ndarray,
    *,
    patch: tuple[int, int, int],
    overlap: float = 0.5,
    flip: bool = False,
    batch_size: int = 1,
    precision: str = "fp32",
) -> np.ndarray:
    """Probabilities of a pre-processed volume, from windows that overlap.

    Every voxel gets the mean of the windows that hold it, weighted by a Gaussian around each window's center. The
    weights are products of one factor an axis and are normalized beforehand, so one array of sums is all that is
    kept. Volume and sums lie on the network's device where they fit, else in main memory.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, from (B, 1, *patch) to logits (B, c, *patch).
    volume : (z, y, x) float32
        Where it is smaller than the patch it is padded with its smallest value, equally on both sides.
    patch : (z, y, x)
        Size of a window in voxels.
    overlap : float
        Share of a window, along each axis, that its neighbor covers again: 0 <= overlap < 1. At 0.5 a volume that is
        large beside the patch costs 8 times the forward passes of windows that merely touch.
    flip : bool
        Average with the prediction of the left-right mirrored windows: twice the time.
    batch_size : int
        Windows per forward pass.
    precision : {"fp32", "bf16", "fp16"}
        In which convolutions run; sums are float32.

    Returns
    -------
    (z, y, x, c) float32
        c = 1 (sigmoid) or K + 1 that sum to 1 (softmax).

    Raises
    ------
    ValueError
        If volume and patch do not have three axes each, or `overlap` is out of range.
    """
    if volume.ndim != 3 or len(patch) != 3:
        raise ValueError(f"volume and patch need axes (z, y, x); got shape {volume.shape} and patch {tuple(patch)}")
    check_overlap(overlap)
    padding = [
        ((short := max(0, size - n)) // 2, short - short // 2) for n, size in zip(volume.shape, patch, strict=True)
    ]
    inside = tuple(slice(before, before + n) for (before, _), n in zip(padding, volume.shape, strict=True))
    padded = np.pad(volume, padding, constant_values=volume.min())

    axes = [windows_along(n, size, overlap) for n, size in zip(padded.shape, patch, strict=True)]
    windows = [tuple(zip(*window, strict=True)) for window in product(*axes)]  # (slices, weights), each (z, y, x)
    device = next(model.parameters()).device
    image, sums = torch.from_numpy(padded).float().to(_home(device, padded.size)), None
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        images = torch.stack([image[where] for where, _ in batch])[:, None].to(device)  # (B, 1, D, H, W)
        with autocast(device, precision):
            probabilities = forward(model, images, flip=flip)  # (B, c, D, H, W)
        if sums is None:
            n_channels = probabilities.shape[1]
            sums = torch.zeros(n_channels, *padded.shape, device=_home(device, n_channels * padded.size))
        for (where, (z, y, x)), one in zip(batch, probabilities, strict=True):
            weights = (z[:, None, None] * y[:, None] * x).to(device)
            sums[:, *where] += (one * weights).to(sums.device)
    return sums[:, *inside].permute(1, 2, 3, 0).cpu().contiguous().numpy()


def _home(device: torch.device, n_values: int) -> torch.device:
    """The network's device where half of its free memory holds this many float32 values, else the CPU."""
    if device.type != "cuda" or 2 * 4 * n_values < torch.cuda.mem_get_info(device)[0]:
        return device
    return torch.device("cpu")


def check_overlap(overlap: float) -> None:
    """Raise ValueError where windows could not overlap by this share."""
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must be at least 0 and below 1; got {overlap}")
