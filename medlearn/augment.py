"""Data augmentation for whole batches, on the device: image and labels move in one warp.

Randomness comes in as uniform numbers, one row per sample, so that sample 7 of step 1000 gets the same change
wherever and in however many processes it is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from math import ceil, inf, pi, prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import check_positive

_BIAS_GRID = 4  # control points per axis of the bias field
_BSPLINE_POWER = 151 / 315  # mean over all positions of the sum of squared cubic B-spline weights
_FOLD_FREE = 0.4  # control points that move less than this share of their distance never fold a cubic B-spline


@dataclass(frozen=True, slots=True)
class Augment:
    """How strongly slices or volumes are changed in training.

    Every strength is 0 or more, and 0 switches the change off. Unless it says otherwise, a strength s is the half-width
    of a uniform distribution around "no change", -s to s. A factor with strength s lies between 1 / (1 + s) and 1 + s,
    and its logarithm is uniform. In volumes (z, y, x) all changes act in the plane as they do on slices; the last three
    rows tell what happens along z.

    Parameters
    ----------
    rotation_deg : float
        In-plane rotation in degrees.
    translation_mm : float
        Along x and along y, in mm.
    scale : float
        A factor along x and another one along y.
    shear : float
        Without unit: 0.1 shifts neighboring rows by up to a tenth of their distance.
    flip : float
        Probability of exchanging left and right, 0 to 1. Set it to 0 where the label depends on the side.
    contrast : float
        A factor for the gray values.
    brightness : float
        A shift of the gray values, in standard deviations of the image.
    gamma : float
        The exponent, a factor around 1, applied to the gray values scaled to 0...1.
    bias : float
        Natural logarithm of the smooth factor by which a receiving coil brightens one side, at each of its 4×4 control
        points.
    elastic_mm : float
        Standard deviation of an elastic displacement, in mm along each axis; normal distribution.
    elastic_grid_mm : float
        Distance of the control points of that displacement, a cubic B-spline. Control points are held back at 0.4 of
        it, so that nothing folds.
    noise : float
        Standard deviation of white noise, uniform between 0 and this, in standard deviations of the image.
    blur_mm : float
        Standard deviation of a Gaussian, uniform between 0 and this, in mm, in the plane.
    low_resolution : float
        The image is averaged over pixels up to 1 + this times as large and interpolated again, in the plane.
    tilt_deg : float
        Rotation of a volume about the x and the y axis, in degrees.
    translation_z_mm, scale_z : float
        As `translation_mm` and `scale`, along z.

    Notes
    -----
    B-splines that do not fold: Choi and Lee (2000), "Injectivity conditions of 2D and 3D uniform cubic B-spline
    functions", doi:10.1006/gmod.2000.0531. Their bounds, 0.48 in the plane and 0.40 in space, are in control-point
    distances.
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
    elastic_mm: float = 0.0
    elastic_grid_mm: float = 24.0
    noise: float = 0.0
    blur_mm: float = 0.0
    low_resolution: float = 0.0
    tilt_deg: float = 5.0
    translation_z_mm: float = 4.0
    scale_z: float = 0.1

    def __post_init__(self):
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if not 0 <= value < inf:
                raise ValueError(f"{name} must be 0 or more, and finite; got {value!r}")
        if self.flip > 1:
            raise ValueError(f"flip is a probability, 0 to 1; got {self.flip!r}")
        check_positive("elastic_grid_mm", self.elastic_grid_mm)

    def scaled(self, factor: float) -> "Augment":
        """All strengths times `factor`; the probability of a flip and the distance of control points stay."""
        names = {f.name for f in fields(self)} - {"flip", "elastic_grid_mm"}
        return replace(self, **{name: factor * getattr(self, name) for name in names})

    def n_random(self, shape: Sequence[int], spacing: Sequence[float]) -> int:
        """Uniform numbers that one sample of this shape needs: (y, x) or (z, y, x)."""
        return sum(self._parts(shape, spacing).values())

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        random: Tensor,
        spacing: Sequence[float],
        *,
        crop: Sequence[int] | None = None,
        center: Tensor | None = None,
    ):
        """Change a batch.

        Parameters
        ----------
        images : (B, C, [D,] H, W) float Tensor
            With mean 0 and standard deviation 1, as `Preprocess` makes them.
        labels : (B, [D,] H, W) Tensor
        random : (B, n_random) Tensor
            Uniform numbers in 0...1; of the shape of `crop` where that is given.
        spacing : ([z,] y, x)
            Voxel size in mm.
        crop : ([D,] H, W), optional
            Return only so many voxels around `center`, about which everything turns. Only they cost time; what moves
            in from beyond them is there.
        center : (B, n) Tensor, optional
            As in `warp`.

        Returns
        -------
        images, labels : Tensors of the same shapes and dtypes, or of the size of `crop`.
            Image values come from linear, labels from nearest-neighbor interpolation, at the same positions. Outside
            of the image the image repeats its border and the label is 0.
        """
        shape = crop or images.shape[2:]
        draws = self._draws(random, shape, spacing)
        matrices = self._matrices(draws["plane"], draws["z"], shape, spacing)
        elastic = self._displacement(draws["elastic"], shape, spacing)
        images, labels = warp(images, labels, matrices, elastic, crop=crop, center=center)
        images = self._intensity(images, draws["gray"], draws["bias"])
        return self._quality(images, draws["quality"], spacing), labels

    def displacement(self, random: Tensor, shape: Sequence[int], spacing: Sequence[float]) -> Tensor:
        """Where each voxel of the result is taken from: input minus output position, all motions composed.

        Returns
        -------
        (B, [D,] H, W, n) Tensor
            In mm, (x, y[, z]) last.
        """
        draws = self._draws(random, shape, spacing)
        matrices = self._matrices(draws["plane"], draws["z"], shape, spacing)
        matrices = matrices - torch.eye(*matrices.shape[1:]).to(matrices)  # what is left is motion
        moved = F.affine_grid(matrices, [len(random), 1, *shape], align_corners=False)
        elastic = self._displacement(draws["elastic"], shape, spacing)
        return (moved if elastic is None else moved + elastic) * _half_widths(shape, spacing, random)

    def _draws(self, random: Tensor, shape: Sequence[int], spacing: Sequence[float]) -> dict[str, Tensor]:
        """The numbers of each kind of change."""
        parts = self._parts(shape, spacing)
        if random.ndim != 2 or random.shape[1] != sum(parts.values()):
            raise ValueError(
                f"random must be (B, {sum(parts.values())}), what n_random({tuple(shape)}, {tuple(spacing)}) tells; "
                f"got {tuple(random.shape)}"
            )
        return dict(zip(parts, random.split(list(parts.values()), dim=1), strict=True))

    def _parts(self, shape: Sequence[int], spacing: Sequence[float]) -> dict[str, int]:
        """How many numbers each kind of change needs."""
        ndim = len(shape)
        if ndim not in (2, 3) or len(spacing) != ndim:
            raise ValueError(
                f"images are (B, C, H, W) or (B, C, D, H, W) and have a spacing in mm for each axis of space; got a "
                f"shape {tuple(shape)} and a spacing {tuple(spacing)}"
            )
        elastic = ndim * prod(self._control_points(shape, spacing)) if self.elastic_mm else 0
        return {"plane": 7, "gray": 3, "bias": _BIAS_GRID**2, "z": 4 * (ndim - 2), "quality": 4, "elastic": elastic}

    def _control_points(self, shape: Sequence[int], spacing: Sequence[float]) -> list[int]:
        return [ceil(n * s / self.elastic_grid_mm) + 3 for n, s in zip(shape, spacing, strict=True)]

    def _matrices(self, plane: Tensor, z: Tensor, shape: Sequence[int], spacing: Sequence[float]) -> Tensor:
        """(B, n, n + 1) matrices for `warp`: tilt · rotation · shear · scale · flip in mm, then a shift."""
        u = 2 * plane - 1  # (B, 7) in -1...1
        one = torch.ones_like(u[:, 0])
        sx, sy = (1 + self.scale) ** u[:, 1], (1 + self.scale) ** u[:, 2]
        sx = torch.where(plane[:, 3] < self.flip, -sx, sx)
        linear = _rotation(u[:, 0] * self.rotation_deg) @ _matrix([[one, u[:, 4] * self.shear], [0 * one, one]])
        linear = linear @ torch.diag_embed(torch.stack([sx, sy], dim=1))
        shift = u[:, 5:7] * self.translation_mm
        if len(shape) == 3:
            u = 2 * z - 1  # (B, 4)
            linear = F.pad(linear, (0, 1, 0, 1))  # (B, 3, 3), axes x, y, z
            linear[:, 2, 2] = (1 + self.scale_z) ** u[:, 2]
            tilt = _rotation(u[:, 0] * self.tilt_deg), _rotation(u[:, 1] * self.tilt_deg)
            linear = _in_plane(tilt[0], 1, 2) @ _in_plane(tilt[1], 0, 2) @ linear
            shift = torch.cat([shift, u[:, 3:4] * self.translation_z_mm], dim=1)
        half = _half_widths(shape, spacing, plane)  # grid_sample measures in half widths of the image
        return torch.cat([linear * half / half[:, None], (shift / half)[:, :, None]], dim=2)

    def _displacement(self, random: Tensor, shape: Sequence[int], spacing: Sequence[float]) -> Tensor | None:
        """Elastic displacement (B, [D,] H, W, n) in half widths of the image, (x, y[, z]) last."""
        if not self.elastic_mm:
            return None
        ndim = len(shape)
        std = self.elastic_mm / _BSPLINE_POWER ** (ndim / 2)  # the spline averages over control points
        points = torch.erfinv((2 * random - 1).clamp(-0.9999, 0.9999)) * (sqrt(2) * std)
        limit = _FOLD_FREE * self.elastic_grid_mm
        field = points.clamp(-limit, limit).view(-1, ndim, *self._control_points(shape, spacing))
        return spline_field(field, shape, spacing, self.elastic_grid_mm) / _half_widths(shape, spacing, random)

    def _intensity(self, images: Tensor, gray: Tensor, bias: Tensor) -> Tensor:
        axes = tuple(range(1, images.ndim))
        u = (2 * gray - 1).view(len(gray), 3, *[1] * (images.ndim - 1)).unbind(1)  # three of (B, 1, ...)
        low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
        if self.gamma:
            span = (high - low).clamp(min=1e-6)
            images = ((images - low) / span).clamp(min=1e-6).pow((1 + self.gamma) ** u[0]) * span + low
        if self.contrast or self.brightness:
            images = images * (1 + self.contrast) ** u[1] + self.brightness * u[2]
        if self.bias:
            control = self.bias * (2 * bias - 1).view(-1, 1, _BIAS_GRID, _BIAS_GRID)
            field = F.interpolate(control, size=images.shape[-2:], mode="bicubic", align_corners=True).exp()
            field = field[:, :, None] if images.ndim == 5 else field  # the same in every slice
            images = (images - low) * field + low  # a coil brightens signal, and signal starts at the darkest value
        return images

    def _quality(self, images: Tensor, random: Tensor, spacing: Sequence[float]) -> Tensor:
        """Blur and lower resolution by one matrix per sample and axis, then noise."""
        if self.blur_mm or self.low_resolution:
            batch, height, width = len(images), *images.shape[-2:]
            flat = images.reshape(batch, -1, height, width)  # (B, C · D, H, W)
            rows = self._smoothing(random, height, spacing[-2])  # (B, H, H)
            columns = self._smoothing(random, width, spacing[-1])
            images = (rows[:, None] @ flat @ columns[:, None].mT).view_as(images)
        if self.noise:
            std = (self.noise * random[:, 2]).view(-1, *[1] * (images.ndim - 1))
            images = images + std * _white_noise(random[:, 3], images)
        return images

    def _smoothing(self, random: Tensor, n: int, spacing: float) -> Tensor:
        """(B, n, n) matrices that blur one axis and lower its resolution; every row sums to 1."""
        position = torch.arange(n, device=random.device, dtype=random.dtype)
        distance = position[:, None] - position  # (n, n), pixels
        sigma = (self.blur_mm / spacing * random[:, 0]).clamp(min=1e-3)[:, None, None]
        blur = torch.exp(-0.5 * (distance / sigma) ** 2)
        pixel = (1 + self.low_resolution * random[:, 1])[:, None, None]
        center = pixel * (position[:, None] + 0.5) - 0.5  # (B, n, 1): of the k-th large pixel; those beyond n are none
        average = (1 - (position - center).abs() / pixel).clamp(min=0)
        interpolate = (1 - (position[:, None] - center.mT).abs() / pixel).clamp(min=0) * (center.mT < n)
        return _rows_to_one(interpolate) @ _rows_to_one(average) @ _rows_to_one(blur)


def warp(
    images: Tensor,
    labels: Tensor,
    matrices: Tensor,
    displacement: Tensor | None = None,
    *,
    crop: Sequence[int] | None = None,
    center: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Move a batch by affine maps and displacements, image (linear) and labels (nearest) through one sampling grid.

    Parameters
    ----------
    images : (B, C, [D,] H, W) float Tensor
    labels : (B, [D,] H, W) Tensor
    matrices : (B, n, n + 1) Tensor
        From output to input positions, (x, y[, z]), in half widths of the image with 0 at its center (as
        ``grid_sample``).
    displacement : (B, [D,] H, W, n) Tensor, optional
        Added to the input positions, in the same units.
    crop : ([D,] H, W), optional
        Size of the result, if it is not that of the image. `matrices` and `displacement` are then in half widths of the
        crop, with 0 at its center.
    center : (B, n) Tensor, optional
        With `crop`: where its center lies in the image, (x, y[, z]) in half widths of the image; in the middle where it
        is not given.
    """
    shape = images.shape[2:]
    grid = F.affine_grid(matrices, [len(images), 1, *(crop or shape)], align_corners=False)  # (B, [D,] H, W, n)
    if displacement is not None:
        grid = grid + displacement
    if crop:
        share = torch.tensor([n / size for n, size in zip(crop, shape, strict=True)][::-1], device=grid.device)
        grid = grid * share
        if center is not None:
            grid = grid + center.view(len(grid), *[1] * len(shape), -1)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    moved = F.grid_sample(labels[:, None].to(images.dtype), grid, mode="nearest", align_corners=False)
    return images, moved[:, 0].to(labels.dtype)


def spline_field(points: Tensor, shape: Sequence[int], spacing: Sequence[float], grid_mm: float) -> Tensor:
    """Interpolate control points by a uniform cubic B-spline.

    Parameters
    ----------
    points : (B, n, [Z,] Y, X) Tensor
        Displacements of the control points, in any unit; along each axis ceil(size in mm / grid_mm) + 3 of them.
    shape : ([D,] H, W)
    spacing : ([z,] y, x)
        Voxel size in mm.
    grid_mm : float
        Distance of the control points.

    Returns
    -------
    (B, [D,] H, W, n) Tensor
    """
    for n, s in zip(shape, spacing, strict=True):  # a cubic B-spline is separable
        weights = _bspline_weights(n, s / grid_mm, points.shape[2]).to(points)
        points = torch.tensordot(points, weights, dims=([2], [1]))  # the axis goes to the end: all come round
    return points.movedim(1, -1)


def jacobian_determinant(displacement: Tensor, spacing: Sequence[float]) -> Tensor:
    """Determinant of the Jacobian of x → x + displacement(x), by finite differences.

    Above 1 the map takes its voxels from further apart, so that content shrinks; at 0 and below it folds.

    Parameters
    ----------
    displacement : (B, [D,] H, W, n) Tensor
        In mm, (x, y[, z]) last, as `Augment.displacement` returns it.
    spacing : ([z,] y, x)
        Voxel size in mm.

    Returns
    -------
    (B, [D,] H, W) Tensor
    """
    n = len(spacing)
    field = displacement.flip(-1)  # ([z,] y, x), as the axes are ordered
    slopes = torch.stack(torch.gradient(field, spacing=list(spacing), dim=list(range(1, n + 1))), dim=-1)
    return torch.linalg.det(slopes + torch.eye(n).to(slopes))


def _half_widths(shape: Sequence[int], spacing: Sequence[float], like: Tensor) -> Tensor:
    """Half the image's size in mm, (x, y[, z])."""
    return torch.tensor([n * s / 2 for n, s in zip(shape, spacing, strict=True)][::-1], device=like.device)


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (B, n, n)


def _rotation(degrees: Tensor) -> Tensor:
    cos, sin = (degrees * (pi / 180)).cos(), (degrees * (pi / 180)).sin()
    return _matrix([[cos, -sin], [sin, cos]])


def _in_plane(rotation: Tensor, i: int, j: int) -> Tensor:
    """A rotation (B, 2, 2) in the plane of the axes i and j, as (B, 3, 3)."""
    full = torch.eye(3, device=rotation.device, dtype=rotation.dtype).repeat(len(rotation), 1, 1)
    full[:, [[i, i], [j, j]], [[i, j], [i, j]]] = rotation
    return full


@lru_cache(maxsize=32)
def _bspline_weights(n: int, step: float, n_points: int) -> Tensor:
    """Weights (n, n_points) of the control points of a uniform cubic B-spline at n positions, `step` points apart."""
    position = (torch.arange(n, dtype=torch.float64) + 0.5) * step + 1
    distance = (position[:, None] - torch.arange(n_points)).abs()
    near, far = 2 / 3 - distance**2 + distance**3 / 2, (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far).float()


def _rows_to_one(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-6)


def _white_noise(seed: Tensor, like: Tensor) -> Tensor:
    """Standard normal noise of the shape of `like`; what a sample gets depends on its own seed alone, a (B,) uniform.

    Box and Muller's transform of two integer hashes of (seed, voxel): a generator per sample would have to be seeded
    from the CPU, which waits for the device.
    """
    n = like[0].numel()
    voxel = torch.arange(n, device=like.device)
    key = (seed.double() * 2**31).long()[:, None] * 2654435761 + voxel  # (B, n)
    u, v = (_hash(key + salt) for salt in (0x9E3779B9, 0x85EBCA6B))
    return ((-2 * (u + 2.0**-25).log()).sqrt() * (2 * pi * v).cos()).view_as(like).to(like.dtype)


def _hash(key: Tensor) -> Tensor:
    """Uniform float32 numbers in 0...1 from whole numbers, all bits of which count."""
    for factor in (0x45D9F3B, 0x45D9F3B):
        key = ((key ^ (key >> 16)) * factor) & 0xFFFFFFFF
    return ((key ^ (key >> 16)) >> 8).float() / 2**24
