"""One process per device, started by torchrun: the few things that the processes have to agree on.

    torchrun --nproc-per-node 4 -m medlearn train DATA --out RUN

Every process holds the same network and the same data. In each step it computes its slice of the batch, the gradients
are added up over all processes, and everybody takes the same step. Nothing here costs a process that runs alone.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..inference import choose_device


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started with this one; nothing happens in a process alone or already joined."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or dist.is_initialized():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, rank, world_size = next(dist.rendezvous("env://"))
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    store = dist.PrefixStore(f"attempt {attempt}", store)  # or the addresses of the processes that died would be found
    patience = timedelta(hours=2)  # the others wait while rank 0 predicts the held-out cases
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=patience)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process; 0 writes the files and talks to the user."""
    return dist.get_rank() if _joined() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _joined() else 1


def restarted() -> bool:
    """Whether torchrun runs the command again because a process failed (``--max-restarts``)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def own_device(name: str) -> torch.device:
    """As `medlearn.inference.choose_device`; on CUDA, every process of a machine takes another device."""
    if world_size() > 1 and torch.cuda.is_available() and name in ("auto", "cuda"):
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    device = choose_device(name)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def own_slice(batch_size: int) -> slice:
    """Which samples of the batch this process computes.

    Raises
    ------
    ValueError
        If there are fewer samples than processes.
    """
    if batch_size < world_size():
        raise ValueError(f"a batch of {batch_size} cannot be shared by {world_size()} processes: raise batch_size")
    return slice(rank() * batch_size // world_size(), (rank() + 1) * batch_size // world_size())


def from_rank_0(function: Callable[[], Any]) -> Any:
    """What `function` returns on rank 0, where alone it is called; an error of files or values is raised everywhere."""
    if world_size() == 1:
        return function()
    box = [None]
    if rank() == 0:
        try:
            box = [function()]
        except (OSError, ValueError) as error:
            box = [error]
    dist.broadcast_object_list(box)
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0]


def share_weights(model: nn.Module) -> None:
    """Give every process the weights of rank 0."""
    if world_size() > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, src=0)


def sum_gradients(parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
    """Add up the gradients and the loss of all processes, in one message; return the loss."""
    if world_size() == 1:
        return loss
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), loss.reshape(1)])
    dist.all_reduce(flat)
    *sums, loss = flat.split([*(gradient.numel() for gradient in gradients), 1])
    for gradient, total in zip(gradients, sums, strict=True):
        gradient.copy_(total.view(gradient.shape))
    return loss[0].clone()  # a view would keep the whole message in memory


def agree(share: float, stop: bool) -> tuple[float, bool]:
    """Rank 0's `share` of the budget, and whether any process wants to `stop`; waits for all.

    The two numbers travel between CPUs: no process waits for its device.
    """
    if world_size() == 1:
        return share, stop
    numbers = torch.tensor([share if rank() == 0 else 0.0, float(stop)], dtype=torch.float64)
    dist.all_reduce(numbers)
    return numbers[0].item(), numbers[1].item() > 0
