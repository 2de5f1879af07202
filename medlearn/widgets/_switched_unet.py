"""A trained U-Net with a gain on each skip and on the bottleneck. A file of its own: no other widget needs torch."""

import copy
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..nn import UNet


class SwitchedUNet:
    """A copy of a U-Net whose skips and bottleneck are multiplied by gains, for one image.

    Parameters
    ----------
    model : UNet
        In 2-D, with one logit per pixel, and padded, so that the picture fits the image. It is not changed.
    image : (C, H, W) float32 ndarray
        As the network wants it.
    """

    def __init__(self, model: UNet, image: np.ndarray):
        self._model = copy.deepcopy(model).cpu().eval()
        self._image = torch.from_numpy(image)[None]
        self._gains = torch.ones(1, len(model.encoder))
        for level, block in enumerate(reversed(self._model.decoder)):
            block.register_forward_pre_hook(partial(self._turn_skip, level))
        self._model.encoder[-1].register_forward_hook(self._turn_bottleneck)

    @torch.inference_mode()
    def __call__(self, gains: np.ndarray) -> np.ndarray:
        """Probabilities (n, H, W), uint8 with 255 for 1, for n rows of gains: skips, finest first, then bottleneck."""
        self._gains = torch.as_tensor(gains, dtype=torch.float32)
        logits = self._model(self._image.expand(len(gains), -1, -1, -1))
        return (255 * logits.sigmoid()[:, 0]).round().byte().numpy()

    def _turn_skip(self, level: int, _block, inputs: tuple[Tensor]) -> Tensor:
        """Scale the half of the concatenated channels that came over the skip; they are the first ones."""
        (x,) = inputs  # (B, 2 · width, H / 2^k, W / 2^k)
        skip, below = x.chunk(2, dim=1)
        return torch.cat([skip * self._column(level), below], dim=1)

    def _turn_bottleneck(self, _block, _inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output * self._column(-1)

    def _column(self, k: int) -> Tensor:
        return self._gains[:, k, None, None, None]  # (B, 1, 1, 1)
