"""Which arithmetic is fastest here: measured, because the answer differs by a factor of fifty between CPUs."""

import copy
import logging
import math
import statistics
import time

import torch
from torch import nn

from ..inference import autocast

_CLEARLY = 1.2  # a choice must not flip with the noise of the clock
_log = logging.getLogger("medlearn.train")


def choose_arithmetic(model: nn.Module, images: torch.Tensor, precision: str) -> tuple[str, torch.memory_format]:
    """Return the precision ("fp32", "bf16" or "fp16") and the memory format to train in.

    A precision that was asked for is kept, in channels-last layout: such a run repeats bit by bit. "auto" takes, on
    CUDA, bf16 where the device computes it natively, else fp16; on a CPU, what a few steps show to be faster, for
    slices; volumes stay in fp32 there. A type or a layout that departs from fp32 and channels-last must be 1.2 times
    faster.

    Parameters
    ----------
    model : nn.Module
        On its device; not changed.
    images : (B, C, [D,] H, W) Tensor
        One batch of the real size, on the same device.
    precision : str
        "auto", or the one to keep.
    """
    device = images.device
    channels_last = torch.channels_last_3d if images.ndim == 5 else torch.channels_last
    if precision != "auto":
        return precision, channels_last
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return ("bf16" if native else "fp16"), channels_last
    if device.type != "cpu" or not _has_forward(model):
        return "fp32", channels_last
    probe = images[:2]  # the wrong type can take many seconds for a whole batch
    # torch 2.13's 3-D convolutions in bf16 on a CPU (seen on AMD with AVX-512) use memory that was never written: at
    # some sizes their gradients differ from call to call, or are not finite.
    candidates = ("fp32", "bf16") if images.ndim == 4 else ("fp32",)
    seconds = {precision: _seconds(model, probe, precision, channels_last) for precision in candidates}
    precision = "bf16" if seconds.get("bf16", math.inf) * _CLEARLY < seconds["fp32"] else "fp32"
    plain = _seconds(model, probe, precision, torch.contiguous_format)
    layout = torch.contiguous_format if plain * _CLEARLY < seconds[precision] else channels_last
    _log.info(
        "a small step takes %s: training in %s, %s",
        ", ".join(f"{1e3 * s:.0f} ms in {name}" for name, s in seconds.items()),
        precision,
        str(layout).removeprefix("torch."),
    )
    return precision, layout


def _has_forward(model: nn.Module) -> bool:
    """Whether the model can be called; a detector such as Mask R-CNN only knows its loss."""
    return type(model).forward is not nn.Module.forward


def _seconds(
    model: nn.Module, images: torch.Tensor, precision: str, layout: torch.memory_format, repeats: int = 3
) -> float:
    """Median time of forward and backward pass, after one to warm up."""
    model = copy.deepcopy(model).to(memory_format=layout).train()
    images = images.contiguous(memory_format=layout)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with autocast(images.device, precision):
            logits = model(images)
        logits.float().square().mean().backward()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
