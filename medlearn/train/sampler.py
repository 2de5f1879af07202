"""The training slices, all on the device, and the draw of a batch: no worker processes, no per-sample Python."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, step: int, purpose: str = "draw") -> torch.Generator:
    """A random generator that depends on its arguments alone: resuming and splitting over processes are then exact."""
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


class SliceSampler:
    """Pre-processed slices of all training cases, in half precision on the device.

    Parameters
    ----------
    images : sequence of (z, H, W) float arrays
        One per case, from `Preprocess.image`.
    masks : sequence of (z, H, W) uint8 arrays
        Labels, from `Preprocess.mask`.
    adjacent_slices : int
        Neighbors on each side that become extra channels; at the ends of a case the last slice is repeated.
    foreground : float
        Share of a batch drawn from slices that show a label.
    device : torch.device
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        *,
        adjacent_slices: int,
        foreground: float,
        device: torch.device,
    ):
        self.images = torch.from_numpy(np.concatenate([image.astype(np.float16) for image in images])).to(device)
        self.labels = torch.from_numpy(np.concatenate(masks)).to(device)
        self.foreground = foreground
        # the rows of every sample's channels, (N, 1 + 2 · adjacent_slices)
        offsets = np.arange(-adjacent_slices, adjacent_slices + 1)
        starts = np.cumsum([0, *(len(image) for image in images)])
        rows = [np.clip(np.arange(a, b)[:, None] + offsets, a, b - 1) for a, b in pairwise(starts)]
        self.channels = torch.from_numpy(np.concatenate(rows)).to(device)
        present = [np.unique(mask) for volume in masks for mask in volume]
        labels = sorted(set(np.concatenate(present)) - {0})
        self.with_label = [torch.tensor([i for i, p in enumerate(present) if k in p]) for k in labels]

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, random: Tensor) -> Tensor:
        """Choose slices: random (B, 3) uniform numbers on the CPU → (B,) indices."""
        everywhere = (random[:, 2] * len(self)).long()
        if not self.with_label:
            return everywhere
        label = (random[:, 1] * len(self.with_label)).long().tolist()
        chosen = [self.with_label[k] for k in label]
        sizes = torch.tensor([len(c) for c in chosen])
        shown = torch.stack([c[i] for c, i in zip(chosen, (random[:, 2] * sizes).long(), strict=True)])
        return torch.where(random[:, 0] < self.foreground, shown, everywhere)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Slices (B, C, H, W) as float32 and their labels (B, H, W)."""
        index = index.to(self.images.device, non_blocking=True)
        return self.images[self.channels[index]].float(), self.labels[index]
