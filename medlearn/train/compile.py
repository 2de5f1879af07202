"""torch.compile where it pays, and training without it where it fails."""

import logging

import torch
from torch import nn

_log = logging.getLogger("medlearn.train")


def compiled(model: nn.Module, choice: str | bool, *, backend: str = "inductor") -> nn.Module:
    """Return `model` compiled (it shares its weights), or itself.

    Parameters
    ----------
    model : nn.Module
        On its device.
    choice : "auto" or bool
        "auto" compiles on CUDA: on a CPU compiling takes half a minute for a few per cent.
    backend : str
        Of torch.compile.

    Returns
    -------
    nn.Module
        What fails to compile runs as it is, with a line in the log: dynamo falls back graph by graph.
    """
    on_cuda = next(model.parameters()).device.type == "cuda"
    if choice is False or (choice == "auto" and not on_cuda) or type(model).forward is nn.Module.forward:
        return model
    try:
        return _Compiled(model, backend)
    except RuntimeError as error:  # no compiler, or a Python that dynamo does not know
        return _without(model, error)


class _Compiled(nn.Module):
    """Calls the compiled network until that fails for the first time, then the plain one."""

    def __init__(self, model: nn.Module, backend: str):
        super().__init__()
        ways = [name for name in ("forward", "forward_scales") if hasattr(model, name)]  # compiled when first called
        fast = {name: torch.compile(getattr(model, name), backend=backend) for name in ways}
        # not as submodules: the weights belong to `model` alone
        self.__dict__.update(plain=model, fast=fast, config=model.config)

    def __getattr__(self, name: str):
        return getattr(self.__dict__["plain"], name)

    def forward(self, images):
        """As the network's."""
        return self._call("forward", images)

    def forward_scales(self, images):
        """As the network's, for deep supervision."""
        return self._call("forward_scales", images)

    def _call(self, name: str, images):
        if name in self.fast:
            try:
                return self.fast[name](images)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # compilers fail in many ways; a real mistake comes up again without them
                self.fast.clear()
                _without(self.plain, error)
        return getattr(self.plain, name)(images)


def _without(model: nn.Module, error: Exception) -> nn.Module:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    _log.warning("torch.compile failed (%s); training goes on without it", reason)
    return model
