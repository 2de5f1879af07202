"""The recipe between a case and the network, stored with every run so that prediction repeats training's steps."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from .contrast import clahe
from .denoise import curvature_flow
from .geometry import crop_or_pad, orient, resample, resample_like
from .intensity import clip_percentiles, normalize
from .volume import Volume


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a volume becomes network input: one voxel size, and comparable gray values.

    A network for slices gets them on one canvas, with the distance between them as it was scanned. A network for
    volumes (`patch`) gets the whole volume in one voxel size; its windows are cut out of that.

    Parameters
    ----------
    spacing : (y, x) or (z, y, x)
        Size of a pixel, or with `patch` of a voxel, in mm that images are resampled to.
    canvas : (y, x) or ()
        Number of pixels that every slice is cropped or padded to, around its center; () with `patch`.
    labels : tuple of str
        Names of the foreground labels 1, 2, ... that the network predicts.
    adjacent_slices : int
        How many neighbors on each side enter as extra channels ("2.5-D").
    mirror : bool
        Whether left and right may be exchanged, because training did so too; prediction then averages both views.
    percentiles : (float, float)
        Gray values are clipped to these percentiles of the volume, then brought to mean 0 and standard deviation 1.
    patch : (z, y, x), optional
        Size in voxels of the windows of a network for volumes.
    slice_position : bool
        Whether one more channel tells how high a slice lies in the scan: -1 for the lowest, 1 for the highest.
    clahe_clip_limit : float, optional
        Equalize the contrast of every slice first (`medlearn.clahe`), with this clip limit.
    curvature_flow : (float, int), optional
        Denoise every resampled slice (`medlearn.curvature_flow`): time step in squared pixels, number of iterations.
    """

    spacing: tuple[float, ...]
    canvas: tuple[int, ...]
    labels: tuple[str, ...] = ("foreground",)
    adjacent_slices: int = 0
    mirror: bool = True
    percentiles: tuple[float, float] = (0.5, 99.5)
    patch: tuple[int, int, int] | None = None
    slice_position: bool = False
    clahe_clip_limit: float | None = None
    curvature_flow: tuple[float, int] | None = None

    @classmethod
    def fit(
        cls,
        images: Iterable[Volume],
        *,
        spacing: Sequence[float] | None = None,
        multiple: int | Sequence[int] = 16,
        patch: Sequence[int] | None = None,
        labels: Sequence[str] = ("foreground",),
        **others,
    ) -> "Preprocess":
        """Choose voxel size and canvas, or the size of the windows, for a training set.

        Parameters
        ----------
        images : iterable of Volume
        spacing : (y, x) or (z, y, x), optional
            In mm; the median over `images` where it is not given.
        multiple : int or one for each axis
            The canvas is the smallest one that holds every image and is a multiple of this along both axes. Windows
            are multiples, too.
        patch : (z, y, x), optional
            Largest windows of a network for volumes; along an axis where the median image has fewer voxels, a window
            is the smallest multiple that holds it.
        labels, others
            Kept as they are.
        """
        grids = [(image.spacing, image.spatial_shape) for image in map(_to_slices, images)]
        if not grids:
            raise ValueError("at least one image is needed to choose a pixel size")
        spacings, shapes = (np.array(column) for column in zip(*grids, strict=True))
        n_axes = 3 if patch else 2
        spacings, shapes = spacings[:, -n_axes:], shapes[:, -n_axes:]
        spacing = np.median(spacings, axis=0) if spacing is None else np.array(spacing, float)
        if spacing.shape != (n_axes,):
            raise ValueError(f"spacing must be {'(z, y, x)' if patch else '(y, x)'} in mm; got {tuple(spacing)}")
        sizes = (shapes * spacings / spacing).round()
        spacing, multiple = tuple(spacing.tolist()), np.array(multiple)

        def up_to_multiple(size: np.ndarray) -> tuple[int, ...]:
            return tuple((np.ceil(size / multiple).astype(int) * multiple).tolist())

        if patch:
            largest = np.ceil(np.array(patch) / multiple) * multiple
            window = np.minimum(largest, up_to_multiple(np.median(sizes, axis=0)))
            return cls(spacing, (), tuple(labels), patch=tuple(window.astype(int).tolist()), **others)
        return cls(spacing, up_to_multiple(sizes.max(axis=0)), tuple(labels), **others)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of what the network is trained on: the canvas (y, x), or a window (z, y, x)."""
        return self.patch or self.canvas

    def image(self, image: Volume) -> np.ndarray:
        """The image as the network wants it: float32, (z, *canvas) or (z, y, x), mean 0, standard deviation 1.

        Raises
        ------
        ValueError
            If it has other axes than zyx or yx, or holds NaN, with which nothing can be computed.
        """
        image = _to_slices(image)
        if self.clahe_clip_limit is not None:
            image = image.map(clahe, clip_limit=self.clahe_clip_limit, n_bins=256)
        image = image.map(clip_percentiles, *self.percentiles).map(normalize)  # one NaN makes all of them NaN
        if not np.isfinite(image.array).all():
            raise ValueError("the image holds values that are not finite (NaN): replace them, by 0 say, and save it")
        image = self._resampled(image, "linear", value=float(image.array.min()))
        if self.curvature_flow is None:
            return image.array
        time_step, n_iterations = self.curvature_flow
        keywords = {"spacing": (1.0, 1.0), "time_step": time_step, "n_iterations": n_iterations}
        return np.stack([curvature_flow(piece, **keywords) for piece in image.array]).astype(np.float32)

    def mask(self, mask: Volume) -> np.ndarray:
        """Labels on the same grid: uint8, nearest neighbor."""
        return self._resampled(_to_slices(mask), "nearest", value=0).array.astype(np.uint8)

    def restore(self, probabilities: np.ndarray, image: Volume) -> Volume:
        """Bring network output (z, y, x, c) back to the grid of `image`, float32; a single component loses its axis.

        Outside of the canvas all is background: component 0 where there are several components.
        """
        stack = _as_stack(image)
        canvas = self._resampled(orient(stack.map(np.zeros_like, dtype=np.uint8), "LPS"), "nearest", value=0)
        result = replace(canvas, array=probabilities, axes="zyxc")
        if result.grid_distance(stack) > 0:
            result = resample_like(result, stack, interpolation="linear")
            if probabilities.shape[-1] > 1:
                result.array[..., 0] += 1 - result.array.sum(axis=-1)
        array = result.array if image.axes == "zyx" else result.array[0]
        if probabilities.shape[-1] == 1:
            return replace(image, array=array[..., 0])
        return replace(image, array=array, axes=image.axes + "c")

    def _resampled(self, volume: Volume, interpolation: str, value: float) -> Volume:
        spacing = self.spacing if self.patch else (volume.spacing[0], *self.spacing)
        if not np.allclose(volume.spacing, spacing, rtol=1e-6):
            volume = resample(volume, spacing, interpolation=interpolation)
        return volume if self.patch else crop_or_pad(volume, (volume.shape[0], *self.canvas), value=value)

    def to_json(self) -> str:
        """Write as JSON text; `from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Preprocess":
        """Read what `to_json` wrote."""
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in json.loads(text).items()})


def _as_stack(volume: Volume) -> Volume:
    """A picture becomes a stack of one slice."""
    if volume.axes == "yx":
        return replace(volume, array=volume.array[None], spacing=(1.0, *volume.spacing), axes="zyx")
    if volume.axes != "zyx":
        raise ValueError(f"the network wants one gray volume with axes zyx or yx; this one is {volume!r}")
    return volume


def _to_slices(volume: Volume) -> Volume:
    """A stack of slices whose axes run left, back and up."""
    return orient(_as_stack(volume), "LPS")
