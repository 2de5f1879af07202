"""A whole image through one trained network or several."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage
from torch import nn

from ..errors import check_choice
from ..postprocess import largest_component as keep_largest
from ..preprocess import Preprocess
from ..volume import Volume
from .passes import DTYPES, choose_device, predict_slices
from .windows import predict_patches


def predict(
    run,
    image: Volume,
    *,
    preprocess: Preprocess | None = None,
    overlap: float = 0.5,
    flip: bool | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    precision: str = "fp32",
) -> Volume:
    """Probabilities on the image's own grid.

    Parameters
    ----------
    run : Run, sequence of Run, or nn.Module
        A finished training; or several, whose probabilities are averaged (an ensemble); or a bare network together
        with `preprocess`.
    image : Volume
        With axes zyx or yx.
    overlap : float
        Of the windows of a network for volumes (see `predict_patches`); networks for slices have no use for it.
    flip : bool, optional
        Average the prediction with that of the left-right mirrored image: twice the time, a little more Dice. Where
        it is not given, this is done if training exchanged left and right too (`Preprocess.mirror`).
    device : str
    batch_size : int, optional
        Slices (default: 16) or windows (default: 1) per forward pass.
    precision : {"fp32", "bf16", "fp16"}
        In which convolutions run.

    Returns
    -------
    Volume of float32
        One label: probability of the foreground, axes as the image's. K labels: axes with ``c``, K + 1 components
        that sum to 1, the background first.

    Raises
    ------
    ValueError
        If a bare network comes without `preprocess`, or the runs of an ensemble were trained on different labels.
    """
    networks = networks_of(run, preprocess, device)
    options = {"overlap": overlap, "flip": flip, "batch_size": batch_size, "precision": precision}
    members = [predict_one(*network, image, **options) for network in networks]
    if len(members) == 1:
        return members[0]
    return replace(members[0], array=np.mean([member.array for member in members], axis=0))


def networks_of(run, preprocess: Preprocess | None, device: str) -> list[tuple[nn.Module, Preprocess]]:
    """Each network on the device and in evaluation mode, with its pre-processing."""
    if isinstance(run, nn.Module):
        if preprocess is None:
            raise ValueError("a bare network needs preprocess=...; a Run brings its own")
        networks = [(run, preprocess)]
    else:
        runs = run if isinstance(run, Sequence) else [run]
        if not runs:
            raise ValueError("run must hold at least one run; got an empty sequence")
        networks = [(one.model, one.preprocess) for one in runs]
    labels = [recipe.labels for _, recipe in networks]
    if len(set(labels)) > 1:
        raise ValueError(
            f"the runs of an ensemble must know the same labels; got {' and '.join(map(str, set(labels)))}"
        )
    where = choose_device(device)
    return [(model.to(where).eval(), recipe) for model, recipe in networks]


def predict_one(model: nn.Module, preprocess: Preprocess, image: Volume, **options) -> Volume:
    """Probabilities of one network on the grid of `image`."""
    return next(predict_repeatedly(model, preprocess, image, **options))


def predict_repeatedly(
    model: nn.Module,
    preprocess: Preprocess,
    image: Volume,
    *,
    overlap: float,
    flip: bool | None,
    batch_size: int | None,
    precision: str,
) -> Iterator[Volume]:
    """The same image again and again, prepared once, for a network that decides by chance; without end."""
    check_choice("precision", precision, ("fp32", *DTYPES))
    prepared = preprocess.image(image)
    flip = preprocess.mirror if flip is None else flip
    while True:
        probabilities = predict_prepared(
            model, preprocess, prepared, overlap=overlap, flip=flip, batch_size=batch_size, precision=precision
        )
        yield preprocess.restore(probabilities, image)


def predict_prepared(
    model: nn.Module,
    preprocess: Preprocess,
    prepared: np.ndarray,
    *,
    overlap: float = 0.5,
    flip: bool = False,
    batch_size: int | None = None,
    precision: str = "fp32",
) -> np.ndarray:
    """Probabilities (z, y, x, c) of what `Preprocess.image` returned: in slices, or in windows that overlap."""
    common = {"flip": flip, "precision": precision}
    if preprocess.patch:
        return predict_patches(
            model, prepared, patch=preprocess.patch, overlap=overlap, batch_size=batch_size or 1, **common
        )
    return predict_slices(
        model,
        prepared,
        adjacent_slices=preprocess.adjacent_slices,
        slice_position=preprocess.slice_position,
        batch_size=batch_size or 16,
        **common,
    )


def to_labels(
    probabilities: Volume, *, threshold: float = 0.5, smooth_slices: float = 0.0, largest_component: bool = False
) -> Volume:
    """Turn probabilities into labels, uint8: the likeliest one, or 1 from `threshold` on where there is one label.

    Parameters
    ----------
    probabilities : Volume
        As `predict` returns them.
    threshold : float
        Where there is one label.
    smooth_slices : float
        First smooth the probabilities across the slices, with a Gaussian of this standard deviation in slices: an organ
        does not come and go from one slice to the next. 0 does not; pictures (yx) have nothing to smooth.
    largest_component : bool
        Keep of every label only the largest connected part, through faces: for organs of which there is one.

    Returns
    -------
    Volume
    """
    array = probabilities.array
    if smooth_slices and probabilities.axes.startswith("z"):
        array = ndimage.gaussian_filter1d(array, smooth_slices, axis=0, mode="nearest")
    labels = (array.argmax(-1) if "c" in probabilities.axes else array >= threshold).astype(np.uint8)
    if largest_component:
        for label in np.unique(labels[labels > 0]):
            mask = labels == label
            labels[mask & ~keep_largest(mask)] = 0
    return Volume(
        array=labels,
        spacing=probabilities.spacing,
        origin=probabilities.origin,
        direction=probabilities.direction,
        axes=probabilities.axes.removesuffix("c"),
    )
