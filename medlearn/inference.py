"""From a trained network and an image to probabilities on the image's own grid."""

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from .preprocess import Preprocess
from .volume import Volume

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of this name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    ValueError
        If the name is unknown or the device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used here: {reason}. Try device='auto'.") from error
    return device


def autocast(device: torch.device, precision: str):
    """Context in which convolutions run in `precision`: "fp32", "bf16" or "fp16"."""
    return torch.autocast(device.type, DTYPES[precision]) if precision in DTYPES else nullcontext()


def predict(
    run,
    image: Volume,
    *,
    preprocess: Preprocess | None = None,
    flip: bool | None = None,
    device: str = "auto",
    batch_size: int = 16,
) -> Volume:
    """Probabilities on the image's own grid.

    Parameters
    ----------
    run : Run or nn.Module
        A finished training, or a bare network together with `preprocess`.
    image : Volume
        With axes zyx or yx.
    flip : bool, optional
        Average the prediction with that of the left-right mirrored image: twice the time, a little more Dice. Where
        it is not given, this is done if training exchanged left and right too (`Preprocess.mirror`).
    device : str
    batch_size : int
        Slices per forward pass.

    Returns
    -------
    Volume of float32
        One label: probability of the foreground, axes as the image's. K labels: axes with ``c``, K + 1 components
        that sum to 1, the background first.
    """
    if isinstance(run, nn.Module):
        if preprocess is None:
            raise ValueError("a bare network needs preprocess=...; a Run brings its own")
        model = run
    else:
        model, preprocess = run.model, run.preprocess
    model = model.to(choose_device(device)).eval()
    slices = preprocess.image(image)
    probabilities = predict_slices(
        model,
        slices,
        adjacent_slices=preprocess.adjacent_slices,
        flip=preprocess.mirror if flip is None else flip,
        batch_size=batch_size,
    )
    return preprocess.restore(probabilities, image)


@torch.inference_mode()
def predict_slices(
    model: nn.Module,
    slices: np.ndarray,
    *,
    adjacent_slices: int = 0,
    flip: bool = False,
    batch_size: int = 16,
    precision: str = "fp32",
) -> np.ndarray:
    """Probabilities (z, H, W, c), float32, of pre-processed slices (z, H, W); c = 1 (sigmoid) or K + 1 (softmax)."""
    device = next(model.parameters()).device
    stack = torch.from_numpy(slices).to(device)
    rows = torch.arange(-adjacent_slices, adjacent_slices + 1) + torch.arange(len(stack))[:, None]
    rows = rows.clamp(0, len(stack) - 1).to(device)  # (z, C)
    batches = []
    for part in rows.split(batch_size):
        images = stack[part].float().contiguous(memory_format=torch.channels_last)  # (B, C, H, W)
        with autocast(device, precision):
            probabilities = _probabilities(model(images))
            if flip:
                probabilities = (probabilities + _probabilities(model(images.flip(-1))).flip(-1)) / 2
        batches.append(probabilities.permute(0, 2, 3, 1).cpu())
    return torch.cat(batches).contiguous().numpy()


def _probabilities(logits: Tensor) -> Tensor:
    logits = logits.float()
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def to_labels(probabilities: Volume, *, threshold: float = 0.5) -> Volume:
    """Turn probabilities into labels, uint8: the likeliest one, or 1 from `threshold` on where there is one label."""
    if "c" in probabilities.axes:
        labels = probabilities.array.argmax(-1).astype(np.uint8)
    else:
        labels = (probabilities.array >= threshold).astype(np.uint8)
    return Volume(
        array=labels,
        spacing=probabilities.spacing,
        origin=probabilities.origin,
        direction=probabilities.direction,
        axes=probabilities.axes.removesuffix("c"),
    )
