"""Data augmentation for whole batches, on the device: image and labels move in one warp.

Randomness comes in as uniform numbers, one row per sample, so that sample 7 of step 1000 gets the same change
wherever and in however many processes it is computed.
"""

from dataclasses import dataclass
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

_BIAS_GRID = 4  # control points per axis of the bias field


@dataclass(frozen=True, slots=True)
class Augment:
    """How strongly slices are changed in training.

    Every strength is the half-width of a uniform distribution around "no change".

    Parameters
    ----------
    rotation_deg : float
        In-plane rotation in degrees.
    translation_mm : float
        Along both axes, in mm.
    scale, shear : float
        Relative: 0.2 means sizes between 1 / 1.2 and 1.2, and a shear of up to 0.2.
    flip : float
        Probability of exchanging left and right. Set it to 0 where the label depends on the side.
    contrast, brightness : float
        Factor between 1 / (1 + contrast) and 1 + contrast; shift in standard deviations of the image.
    gamma : float
        Exponent between 1 / (1 + gamma) and 1 + gamma, applied to the gray values scaled to 0...1.
    bias : float
        Natural logarithm of the smooth factor by which a receiving coil brightens one side.
    """

    rotation_deg: float = 15.0
    translation_mm: float = 8.0
    scale: float = 0.2
    shear: float = 0.1
    flip: float = 0.5
    contrast: float = 0.25
    brightness: float = 0.25
    gamma: float = 0.4
    bias: float = 0.3

    #: uniform numbers needed per sample
    n_random = 10 + _BIAS_GRID**2

    def __call__(self, images: Tensor, labels: Tensor, random: Tensor, spacing: tuple[float, float]):
        """Change a batch.

        Parameters
        ----------
        images : (B, C, H, W) float Tensor
            With mean 0 and standard deviation 1, as `Preprocess` makes them.
        labels : (B, H, W) Tensor
        random : (B, n_random) Tensor
            Uniform numbers in 0...1.
        spacing : (y, x)
            Pixel size in mm.

        Returns
        -------
        images, labels : Tensors of the same shapes and dtypes.
            Image values come from bilinear, labels from nearest-neighbor interpolation, at the same positions.
            Outside of the slice the image repeats its border and the label is 0.
        """
        geometric, intensity = random[:, :7], random[:, 7:]
        matrices = self._matrices(geometric, images.shape[-2:], spacing)
        images, labels = warp(images, labels, matrices)
        return self._intensity(images, intensity), labels

    def _matrices(self, random: Tensor, shape, spacing) -> Tensor:
        """(B, 2, 3) matrices for `warp`: rotation · shear · scale · flip in mm, then a shift."""
        u = 2 * random - 1  # (B, 7) in -1...1
        angle = u[:, 0] * (self.rotation_deg * pi / 180)
        cos, sin, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
        sx, sy = (1 + self.scale) ** u[:, 1], (1 + self.scale) ** u[:, 2]
        sx = torch.where(random[:, 3] < self.flip, -sx, sx)

        def matrix(a, b, c, d):
            return torch.stack([a, b, c, d], dim=1).view(-1, 2, 2)

        linear = matrix(cos, -sin, sin, cos) @ matrix(one, u[:, 4] * self.shear, zero, one) @ matrix(sx, zero, zero, sy)
        # grid_sample measures in half widths of the image: bring the mm matrix to these units
        half = torch.tensor([shape[1] * spacing[1], shape[0] * spacing[0]], device=random.device) / 2  # (x, y) in mm
        linear = linear * half / half[:, None]
        shift = u[:, 5:7] * self.translation_mm / half
        return torch.cat([linear, shift[:, :, None]], dim=2)

    def _intensity(self, images: Tensor, random: Tensor) -> Tensor:
        u = (2 * random - 1)[:, :, None, None]  # (B, 3 + grid, 1, 1)
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        span = (high - low).clamp(min=1e-6)
        images = ((images - low) / span).clamp(min=1e-6).pow((1 + self.gamma) ** u[:, :1]) * span + low
        images = images * (1 + self.contrast) ** u[:, 1:2] + self.brightness * u[:, 2:3]
        control = self.bias * u[:, 3:].view(-1, 1, _BIAS_GRID, _BIAS_GRID)
        field = F.interpolate(control, size=images.shape[-2:], mode="bicubic", align_corners=True).exp()
        return (images - low) * field + low  # a coil brightens signal, and signal starts at the darkest value


def warp(images: Tensor, labels: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Move a batch by affine maps, image (bilinear) and labels (nearest) through one sampling grid.

    Parameters
    ----------
    images : (B, C, H, W) float Tensor
    labels : (B, H, W) Tensor
    matrices : (B, 2, 3) Tensor
        From output to input positions, (x, y), in half widths of the image with 0 at its center (as ``grid_sample``).
    """
    grid = F.affine_grid(matrices, [len(images), 1, *images.shape[-2:]], align_corners=False)  # (B, H, W, 2)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    moved = F.grid_sample(labels[:, None].to(images.dtype), grid, mode="nearest", align_corners=False)
    return images, moved[:, 0].to(labels.dtype)
