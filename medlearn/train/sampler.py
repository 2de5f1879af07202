"""The training set, all of it on the device, and the draw of a batch: no worker processes, no per-sample Python.

`SliceSampler` serves networks for slices, `PatchSampler` networks for volumes. Both draw in two steps, so that many
processes can draw the same batch and each gather its own part: uniform random numbers → `draw` → index → `gather`.
"""

import hashlib
import logging
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..inference import relative_heights

_log = logging.getLogger("medlearn.train")


def generator(seed: int, step: int, purpose: str = "draw") -> torch.Generator:
    """A random generator that depends on its arguments alone: resuming and splitting over processes are then exact."""
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


class _Store:
    """Images in half precision and their labels, flat or stacked, on the device where they fit.

    A set that would fill more than half of a GPU's free memory stays in main memory; batches are gathered there into
    pinned memory and copied while the GPU computes.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, device: torch.device):
        self.device = device
        fits = fits_on(images.nbytes + labels.nbytes, device)
        if not fits:
            _log.warning("the set takes %.1f GB: it stays in main memory", (images.nbytes + labels.nbytes) / 1e9)
        self.home = device if fits else torch.device("cpu")
        self.images = torch.from_numpy(images).to(self.home)
        self.labels = torch.from_numpy(labels).to(self.home)

    def take(self, index: Tensor, label_index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images, float32, and labels at `index`, on the device."""
        images, labels = self.images[index], self.labels[index if label_index is None else label_index]
        if self.home != self.device:
            images, labels = (self._pinned(part).to(self.device, non_blocking=True) for part in (images, labels))
        return images.float(), labels

    @staticmethod
    def _pinned(part: Tensor) -> Tensor:
        return part.pin_memory() if torch.cuda.is_available() else part


def fits_on(n_bytes: int, device: torch.device) -> bool:
    """Whether a training set takes at most half of the device's free memory; other devices than CUDA's have no own."""
    return device.type != "cuda" or 2 * n_bytes <= torch.cuda.mem_get_info(device)[0]


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
        Share of a batch drawn from slices that show a label, every label equally often; the rest is drawn from all.
    crop : (y, x), optional
        Size in pixels of the part of a slice that is trained on.
    device : torch.device
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        *,
        adjacent_slices: int,
        foreground: float,
        crop: tuple[int, int] | None = None,
        device: torch.device,
    ):
        self._store = _Store(
            np.concatenate([image.astype(np.float16) for image in images]), np.concatenate(masks), device
        )
        self.foreground, self.crop = foreground, crop
        self.n_draw = 5 if crop else 3  #: uniform numbers that the draw of one sample takes
        # the rows of every sample's channels, (N, 1 + 2 · adjacent_slices)
        offsets = np.arange(-adjacent_slices, adjacent_slices + 1)
        starts = np.cumsum([0, *(len(image) for image in images)])
        rows = [np.clip(np.arange(a, b)[:, None] + offsets, a, b - 1) for a, b in pairwise(starts)]
        self.channels = torch.from_numpy(np.concatenate(rows)).to(self._store.home)
        self.heights = torch.cat([relative_heights(len(image)) for image in images]).to(device)
        present = [np.unique(mask) for volume in masks for mask in volume]
        labels = sorted(set(np.concatenate(present)) - {0})
        self.with_label = [torch.tensor([i for i, p in enumerate(present) if k in p]) for k in labels]
        self.middles = torch.from_numpy(np.concatenate([_middles(mask) for mask in masks])) if crop else None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def images(self) -> Tensor:
        """All slices, (N, H, W) float16."""
        return self._store.images

    @property
    def labels(self) -> Tensor:
        """Labels of all slices, (N, H, W) uint8."""
        return self._store.labels

    def draw(self, random: Tensor) -> Tensor:
        """Choose slices: random (B, n_draw) uniform numbers on the CPU → (B,) indices."""
        everywhere = (random[:, 2] * len(self)).long()
        if not self.with_label:
            return everywhere
        shown = _one_of_each(self.with_label, random[:, 1], random[:, 2])
        return torch.where(random[:, 0] < self.foreground, shown, everywhere)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Slices (B, C, H, W) as float32 and their labels (B, H, W)."""
        index = index.to(self._store.home, non_blocking=True)
        return self._store.take(self.channels[index], index)

    def centers(self, index: Tensor, random: Tensor) -> Tensor:
        """Where the crops of drawn slices lie, by the same uniform numbers (B, n_draw).

        A crop lies around the labels of a slice that was drawn for them, at most a quarter of its size off; otherwise
        anywhere. It never leaves its slice, and begins at a whole pixel.

        Returns
        -------
        (B, 2) Tensor
            The centers, (x, y) in half widths of the slice, for `medlearn.augment.warp`.
        """
        size, crop = torch.tensor(self.images.shape[1:]), torch.tensor(self.crop)
        middle, where = self.middles[index], random[:, 3:5]
        around = middle + (where - 0.5) * crop / 2
        anywhere = where * (size - crop + 1) + crop / 2 - 0.5
        chosen = (random[:, :1] < self.foreground) & middle.isfinite()
        first = (torch.where(chosen, around, anywhere) - crop / 2).round()  # (y, x)
        first = torch.minimum(first.clamp(min=0), (size - crop).float())
        return ((2 * first + crop) / size - 1).flip(1).to(self._store.device)

    def heights_of(self, index: Tensor) -> Tensor:
        """How high the slices lie in their scans: (B,) from -1 to 1."""
        return self.heights[index.to(self.heights.device, non_blocking=True)]


class PatchSampler:
    """Pre-processed volumes of all training cases, in half precision in one flat buffer on the device.

    Parameters
    ----------
    images : sequence of (z, y, x) float arrays
        One per case, from `Preprocess.image`; sizes may differ. Volumes smaller than the patch are padded with their
        smallest value.
    masks : sequence of (z, y, x) uint8 arrays
    patch : (z, y, x)
        Size of a sample in voxels.
    foreground : float
        Share of a batch whose patches hold a voxel that was drawn from the labeled ones, every label equally often; it
        lies anywhere in the patch. The rest is drawn from all places of all cases, the larger ones more often.
    device : torch.device
    """

    crop = None  #: windows are cut out, not cropped
    n_draw = 6  #: uniform numbers that the draw of one sample takes

    def __init__(
        self,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        *,
        patch: Sequence[int],
        foreground: float,
        device: torch.device,
    ):
        images = [_at_least(image, patch, float(image.min())).astype(np.float16) for image in images]
        masks = [_at_least(mask, patch, 0) for mask in masks]
        self._store = _Store(
            np.concatenate([i.ravel() for i in images]), np.concatenate([m.ravel() for m in masks]), device
        )
        self.patch, self.foreground = torch.tensor(patch), foreground
        self.shapes = torch.tensor([image.shape for image in images])  # (N, 3)
        sizes = self.shapes.prod(1)
        self.starts = sizes.cumsum(0) - sizes  # of the cases in the buffer
        self.shares = sizes.cumsum(0) / sizes.sum()
        flat = np.concatenate([m.ravel() for m in masks])
        self.with_label = [torch.from_numpy(np.flatnonzero(flat == k)) for k in range(1, int(flat.max()) + 1)]
        self.with_label = [voxels for voxels in self.with_label if len(voxels)]

    def __len__(self) -> int:
        """How many patches it takes to cover all cases, rounded down, and at least one for each."""
        return max(len(self.shapes), int(self.shapes.prod(1).sum() // self.patch.prod()))

    def draw(self, random: Tensor) -> Tensor:
        """Choose patches: random (B, 6) uniform numbers on the CPU → (B, 4): case, and first voxel (z, y, x)."""
        case = torch.searchsorted(self.shares, random[:, 2].contiguous(), right=True).clamp(max=len(self.shapes) - 1)
        first = (random[:, 3:6] * (self.shapes[case] - self.patch + 1)).long()
        everywhere = torch.cat([case[:, None], first], 1)
        if not self.with_label:
            return everywhere
        voxel = _one_of_each(self.with_label, random[:, 1], random[:, 2])
        case = torch.searchsorted(self.starts, voxel, right=True) - 1
        _, ny, nx = self.shapes[case].unbind(1)
        inside = voxel - self.starts[case]
        place = torch.stack([inside // (ny * nx), inside // nx % ny, inside % nx], 1)
        first = place - (random[:, 3:6] * self.patch).long()
        first = torch.minimum(first.clamp(min=0), self.shapes[case] - self.patch)
        shown = torch.cat([case[:, None], first], 1)
        return torch.where(random[:, :1] < self.foreground, shown, everywhere)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (B, 1, D, H, W) as float32 and their labels (B, D, H, W), in one indexing operation."""
        case, first = index[:, 0], index[:, 1:]
        _, ny, nx = self.shapes[case].unbind(1)
        steps = torch.stack([ny * nx, nx, torch.ones_like(nx)], 1)  # voxels from one to the next along each axis
        origin = self.starts[case] + (first * steps).sum(1)
        origin, steps = (part.to(self._store.home, non_blocking=True) for part in (origin, steps))
        z, y, x = (torch.arange(n, device=self._store.home) for n in self.patch.tolist())
        where = (
            origin[:, None, None, None]
            + steps[:, 0, None, None, None] * z[:, None, None]
            + steps[:, 1, None, None, None] * y[:, None]
            + x
        )
        images, labels = self._store.take(where)
        return images[:, None], labels


def _middles(mask: np.ndarray) -> np.ndarray:
    """Middle of the box around all labels of each slice of a mask: (z, 2) float32, (y, x) in pixels; NaN without."""
    middles = np.full((len(mask), 2), np.nan, np.float32)
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        places = np.nonzero(mask[z])
        middles[z] = [(axis.min() + axis.max() + 1) / 2 for axis in places]
    return middles


def _one_of_each(groups: Sequence[Tensor], group: Tensor, member: Tensor) -> Tensor:
    """Members of groups, (B,): which group and which of its members two uniform numbers (B,) each decide."""
    chosen = [groups[k] for k in (group * len(groups)).long().tolist()]
    sizes = torch.tensor([len(c) for c in chosen])
    return torch.stack([c[i] for c, i in zip(chosen, (member * sizes).long().clamp(max=sizes - 1), strict=True)])


def _at_least(volume: np.ndarray, patch: Sequence[int], value: float) -> np.ndarray:
    missing = [max(0, size - n) for n, size in zip(volume.shape, patch, strict=True)]
    return np.pad(volume, [(m // 2, m - m // 2) for m in missing], constant_values=value)
