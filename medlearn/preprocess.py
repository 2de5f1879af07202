"""The recipe between a case and the network, stored with every run so that prediction repeats training's steps."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from .geometry import crop_or_pad, orient, resample, resample_like
from .intensity import clip_percentiles, normalize
from .volume import Volume


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a volume becomes network input: slices of one pixel size, one canvas, and comparable gray values.

    Parameters
    ----------
    spacing : (y, x)
        Pixel size in mm that slices are resampled to. The distance between slices stays as it was scanned.
    canvas : (y, x)
        Number of pixels that every slice is cropped or padded to, around its center.
    labels : tuple of str
        Names of the foreground labels 1, 2, ... that the network predicts.
    adjacent_slices : int
        How many neighbors on each side enter as extra channels ("2.5-D").
    mirror : bool
        Whether left and right may be exchanged, because training did so too; prediction then averages both views.
    percentiles : (float, float)
        Gray values are clipped to these percentiles of the volume, then brought to mean 0 and standard deviation 1.
    """

    spacing: tuple[float, float]
    canvas: tuple[int, int]
    labels: tuple[str, ...] = ("foreground",)
    adjacent_slices: int = 0
    mirror: bool = True
    percentiles: tuple[float, float] = (0.5, 99.5)

    @classmethod
    def fit(
        cls,
        images: Iterable[Volume],
        *,
        spacing: Sequence[float] | None = None,
        multiple: int = 16,
        labels: Sequence[str] = ("foreground",),
        adjacent_slices: int = 0,
        mirror: bool = True,
    ) -> "Preprocess":
        """Choose pixel size and canvas for a training set.

        Parameters
        ----------
        images : iterable of Volume
        spacing : (y, x), optional
            In mm; the median over `images` where it is not given.
        multiple : int
            The canvas is the smallest one that holds every image and is a multiple of this along both axes.
        labels, adjacent_slices, mirror
            Kept as they are.
        """
        grids = [(image.spacing[1:], image.spatial_shape[1:]) for image in map(_to_slices, images)]
        if not grids:
            raise ValueError("at least one image is needed to choose a pixel size")
        spacings, shapes = (np.array(column) for column in zip(*grids, strict=True))
        spacing = np.median(spacings, axis=0) if spacing is None else np.array(spacing, float)
        largest = (shapes * spacings / spacing).max(axis=0).round()
        canvas = np.ceil(largest / multiple).astype(int) * multiple
        return cls(tuple(spacing.tolist()), tuple(canvas.tolist()), tuple(labels), adjacent_slices, mirror)

    def image(self, image: Volume) -> np.ndarray:
        """Slices of `image` as the network wants them: float32 (z, *canvas), mean 0, standard deviation 1."""
        image = _to_slices(image).map(clip_percentiles, *self.percentiles).map(normalize)
        return self._to_canvas(image, "linear", value=float(image.array.min())).array

    def mask(self, mask: Volume) -> np.ndarray:
        """Labels on the same canvas: uint8 (z, *canvas), nearest neighbor."""
        return self._to_canvas(_to_slices(mask), "nearest", value=0).array.astype(np.uint8)

    def restore(self, probabilities: np.ndarray, image: Volume) -> Volume:
        """Bring network output (z, *canvas, c) back to the grid of `image`, float32; a single component loses its axis.

        Outside of the canvas all is background: component 0 where there are several components.
        """
        stack = _as_stack(image)
        canvas = self._to_canvas(orient(stack.map(np.zeros_like, dtype=np.uint8), "LPS"), "nearest", value=0)
        result = replace(canvas, array=probabilities, axes="zyxc")
        if result.grid_distance(stack) > 0:
            result = resample_like(result, stack, interpolation="linear")
            if probabilities.shape[-1] > 1:
                result.array[..., 0] += 1 - result.array.sum(axis=-1)
        array = result.array if image.axes == "zyx" else result.array[0]
        if probabilities.shape[-1] == 1:
            return replace(image, array=array[..., 0])
        return replace(image, array=array, axes=image.axes + "c")

    def _to_canvas(self, volume: Volume, interpolation: str, value: float) -> Volume:
        spacing = (volume.spacing[0], *self.spacing)
        if not np.allclose(volume.spacing, spacing, rtol=1e-6):
            volume = resample(volume, spacing, interpolation=interpolation)
        return crop_or_pad(volume, (volume.shape[0], *self.canvas), value=value)

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
