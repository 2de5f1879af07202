"""Forward passes: the device, the precision, logits turned into probabilities, and slices in batches."""

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

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


def forward(model: nn.Module, images: Tensor, *, flip: bool = False) -> Tensor:
    """Probabilities (B, c, ...), float32, of images (B, C, ...); `flip` averages with the left-right mirrored view."""
    probabilities = _probabilities(model(images))
    if flip:
        probabilities = (probabilities + _probabilities(model(images.flip(-1))).flip(-1)) / 2
    return probabilities


@torch.inference_mode()
def predict_slices(
    model: nn.Module,
    slices: np.ndarray,
    *,
    adjacent_slices: int = 0,
    slice_position: bool = False,
    flip: bool = False,
    batch_size: int = 16,
    precision: str = "fp32",
) -> np.ndarray:
    """Probabilities (z, H, W, c), float32, of pre-processed slices (z, H, W); c = 1 (sigmoid) or K + 1 (softmax)."""
    device = next(model.parameters()).device
    stack = torch.from_numpy(slices).to(device)
    rows = torch.arange(-adjacent_slices, adjacent_slices + 1) + torch.arange(len(stack))[:, None]
    rows = rows.clamp(0, len(stack) - 1).to(device)  # (z, C)
    heights, batches = relative_heights(len(stack)).to(device), []
    for part in rows.split(batch_size):
        images = stack[part].float()  # (B, C, H, W)
        if slice_position:
            images = with_position(images, heights[part[:, adjacent_slices]])
        images = images.contiguous(memory_format=torch.channels_last)
        with autocast(device, precision):
            probabilities = forward(model, images, flip=flip)
        batches.append(probabilities.permute(0, 2, 3, 1).cpu())
    return torch.cat(batches).contiguous().numpy()


def relative_heights(n_slices: int) -> Tensor:
    """How high each slice of a scan lies: (n_slices,) float32 from -1 to 1; 0 for a single one."""
    return torch.linspace(-1, 1, n_slices) if n_slices > 1 else torch.zeros(n_slices)


def with_position(images: Tensor, heights: Tensor) -> Tensor:
    """Add a channel to (B, C, H, W) that holds one of the `heights` (B,) everywhere."""
    return torch.cat([images, heights[:, None, None, None].expand(-1, 1, *images.shape[2:])], dim=1)


def _probabilities(logits: Tensor) -> Tensor:
    logits = logits.float()
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
