"""Look into a network without running it on data: what a voxel sees, and what every layer costs."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .blocks import CONV, TRANSPOSED_CONV, per_axis

CONVOLUTIONS = tuple(CONV.values())
TRANSPOSED = tuple(TRANSPOSED_CONV.values())
POOLINGS = (nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d)
POINTWISE = (nn.ReLU, nn.PReLU, nn.LeakyReLU, nn.Identity, nn.modules.dropout._DropoutNd)
NORMALIZATIONS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)
#: functions that networks call outside of their layers, and whose results need memory
FUNCTIONS: dict[Callable, str] = {
    torch.cat: "concatenate",
    F.interpolate: "interpolate",
    F.pad: "pad",
    F.relu: "relu",
    torch.add: "add",
    Tensor.add: "add",
    Tensor.__add__: "add",
    Tensor.mean: "mean",
}


def receptive_field(layers: Sequence[tuple[int, int, int]] | nn.Sequential) -> int | tuple[int, ...]:
    """How many input voxels one output voxel of a chain of layers depends on.

    Parameters
    ----------
    layers : sequence of (kernel, stride, dilation), or nn.Sequential
        Of every convolution and pooling, along one axis, in the order in which they are applied; or the layers
        themselves.

    Returns
    -------
    int, or for torch's layers a tuple of int with one number for each axis

    Notes
    -----
    Every layer adds (kernel - 1) · dilation steps, and a step is as many input voxels long as the strides of the layers
    *before* it multiply to. Where paths of different length join, as in a U-Net, ask `gradient_support`.

    Examples
    --------
    Two convolutions of 3, pooling of 2, one more convolution:

    >>> receptive_field([(3, 1, 1), (3, 1, 1), (2, 2, 1), (3, 1, 1)])
    10
    """
    if isinstance(layers, nn.Module):
        return tuple(receptive_field(axis) for axis in zip(*_chain(layers), strict=True))
    size, step = 1, 1
    for kernel, stride, dilation in layers:
        size += (kernel - 1) * dilation * step
        step *= stride
    return size


def _chain(module: nn.Module) -> list[tuple[tuple[int, int, int], ...]]:
    """(kernel, stride, dilation) per axis of every layer of nested ``nn.Sequential`` that looks at neighbors."""
    if isinstance(module, nn.Sequential):
        return [layer for child in module for layer in _chain(child)]
    if isinstance(module, (*CONVOLUTIONS, *POOLINGS)):
        ndim = 2 if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) else 3
        settings = (module.kernel_size, module.stride, getattr(module, "dilation", 1))
        return [tuple(zip(*(per_axis(setting, ndim) for setting in settings), strict=True))]
    if isinstance(module, (*NORMALIZATIONS, *POINTWISE)):
        return []
    raise ValueError(
        f"receptive_field follows convolutions and poolings in nn.Sequential; got a {type(module).__name__}, whose "
        "paths it does not know: use gradient_support"
    )


def gradient_support(
    model: nn.Module, shape: Sequence[int], index: Sequence[int] | None = None
) -> tuple[tuple[int, int], ...]:
    """First and last input voxel, along each axis, that one output voxel of a network can depend on.

    Parameters
    ----------
    model : nn.Module
        Of torch's layers; it is not changed.
    shape : sequence of int
        Of the input: (B, C, [D,] H, W).
    index : sequence of int, optional
        The output voxel as ([z,] y, x); the middle one where it is not given.

    Returns
    -------
    tuple of (first, last)
        Per spatial axis, both inside. ``last - first + 1`` is the size of the receptive field, which may depend on the
        voxel: where levels are sampled at half the resolution, odd and even voxels see differently.

    Notes
    -----
    The gradient of the output voxel with respect to the image is not zero exactly where a path leads. So that nothing
    cancels or is switched off, a copy of the network is used in float64, on an image of ones, with positive weights and
    average pooling, without dropout and without normalization. (Instance and group normalization average over the
    image: strictly, every voxel then depends on all.) The cost is one step of training in float64.
    """
    copied = _positive(model)
    images = torch.ones(tuple(shape), dtype=torch.float64, requires_grad=True)
    output = copied(images)
    size = output.shape[2:]
    index = [n // 2 for n in size] if index is None else index
    if len(index) != len(size) or any(not 0 <= i < n for i, n in zip(index, size, strict=True)):
        raise ValueError(f"index must name a voxel of the output, which is {tuple(size)}; got {tuple(index)}")
    (gradient,) = torch.autograd.grad(output[(0, slice(None), *index)].sum(), images)
    seen = gradient[0].sum(0) > 0
    if not seen.any():
        raise ValueError("the output voxel depends on no voxel of the image")
    return tuple((int(i.min()), int(i.max())) for i in seen.nonzero(as_tuple=True))


def _positive(model: nn.Module) -> nn.Module:
    """A copy with positive weights that average, and without whatever would stop a gradient."""
    model = copy.deepcopy(model).cpu().double().eval()
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, NORMALIZATIONS):
                setattr(parent, name, nn.Identity())
            elif isinstance(layer, nn.MaxPool2d | nn.MaxPool3d):
                if set(per_axis(layer.dilation, 3)) != {1}:
                    raise ValueError(f"dilated pooling is not supported; {name} has dilation {layer.dilation}")
                average = nn.AvgPool2d if isinstance(layer, nn.MaxPool2d) else nn.AvgPool3d
                setattr(parent, name, average(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode))
            elif isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED)):
                nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One row of a `Summary`: a layer, a function, or a block of them.

    Attributes
    ----------
    name : str
        As in ``model.named_modules()``; a function bears its own name after that of the module that calls it.
    kind : str
        Class of the layer or block, or what the function does.
    shape : tuple of int
        Of the output, (B, C, [D,] H, W).
    parameters : int
        Weights that are used here for the first time.
    multiply_adds : int
        Of convolutions and linear layers; everything else costs little beside them.
    memory_bytes : int
        Of the results inside, which training keeps for the way back. What is done in place costs nothing.
    sources : tuple of int
        Rows whose results it works on; -1 is the image.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    memory_bytes: int
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a network consists of and costs for one input; shown as a table.

    Attributes
    ----------
    network : str
        Name of its class.
    input_shape : tuple of int
    rows : tuple of Layer
        In the order of execution; a layer that is called twice has two rows.
    parameters, multiply_adds, memory_bytes : int
        Totals. `parameters` counts all weights, also those of heads that this call did not use.
    """

    network: str
    input_shape: tuple[int, ...]
    rows: tuple[Layer, ...]
    parameters: int

    @property
    def multiply_adds(self) -> int:
        return sum(row.multiply_adds for row in self.rows)

    @property
    def memory_bytes(self) -> int:
        return sum(row.memory_bytes for row in self.rows)

    def _table(self) -> list[tuple[str, ...]]:
        """Header, rows and totals as text."""

        def costs(x: Layer | Summary) -> tuple[str, ...]:
            return f"{x.parameters:,}", f"{x.multiply_adds / 1e6:,.1f}", f"{x.memory_bytes / 2**20:,.1f}"

        header = ("layer", "kind", "output", "parameters", "multiply-adds (million)", "memory (MiB)")
        rows = [(row.name, row.kind, "×".join(map(str, row.shape)), *costs(row)) for row in self.rows]
        return [header, *rows, ("total", self.network, "", *costs(self))]

    def __str__(self) -> str:
        table = self._table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        rule = "-" * len(lines[0])
        return "\n".join(line.rstrip() for line in [lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def _repr_html_(self) -> str:
        header, *rows = self._table()
        cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def summary(model: nn.Module, shape: Sequence[int], *, depth: int | None = 1) -> Summary:
    """List the layers of a network with shapes, parameters, multiply-adds and memory.

    Parameters
    ----------
    model : nn.Module
        It is not changed; nothing is computed, so that large networks and inputs are no matter.
    shape : sequence of int
        Of the input: (B, C, [D,] H, W).
    depth : int or None
        One row for each block of the network (1), for each part of a block (2) …, or for every layer (None).

    Returns
    -------
    Summary
    """
    tracer = _Tracer(copy.deepcopy(model).to("meta").eval())
    rows = tracer.run(torch.empty(tuple(shape), device="meta"))
    if depth is not None:
        rows = _group(rows, depth, dict(model.named_modules()))
    n = sum(parameter.numel() for parameter in model.parameters())
    return Summary(network=type(model).__name__, input_shape=tuple(shape), rows=tuple(rows), parameters=n)


class _Tracer(TorchFunctionMode):
    """Writes down every layer, and every function of `FUNCTIONS` that is called outside of a layer."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.rows: list[Layer] = []
        self.scope = [""]  # names of the modules that are running
        self.in_layer = False
        self.counted: set[int] = set()  # weights that a row has
        self.made_by: dict[int, tuple[int, ...]] = {}  # id of a tensor → rows it comes from
        self.alive: list[Tensor] = []  # so that no id is given twice; on the meta device that costs nothing

    def run(self, images: Tensor) -> list[Layer]:
        self._made(images, (-1,))
        with self._hooks(), self, torch.no_grad():
            self.model(images)
        return self.rows

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        hooks = []
        for name, module in self.model.named_modules():
            is_layer = next(module.children(), None) is None
            hooks.append(module.register_forward_pre_hook(lambda *_, n=name, s=is_layer: self._enter(n, s)))
            hooks.append(module.register_forward_hook(lambda m, x, y, s=is_layer: self._leave(m, x, y, s)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, name: str, is_layer: bool) -> None:
        self.scope.append(name)
        self.in_layer = is_layer

    def _leave(self, module: nn.Module, inputs: tuple, output: Tensor, is_layer: bool) -> None:
        name = self.scope.pop()
        if not is_layer:
            return
        self.in_layer = False
        if output is inputs[0] and not isinstance(module, nn.ReLU):
            return  # identity, or dropout, which does nothing in evaluation
        new = [p for p in module.parameters() if id(p) not in self.counted]
        self.counted.update(map(id, new))
        self._record(
            name,
            type(module).__name__,
            inputs,
            output,
            parameters=sum(p.numel() for p in new),
            multiply_adds=_multiply_adds(module, inputs[0], output),
            in_place=getattr(module, "inplace", False),
        )

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not self.in_layer and isinstance(result, Tensor):
            inputs = [x for arg in args for x in (arg if isinstance(arg, list | tuple) else [arg])]
            if function in FUNCTIONS:
                name = ".".join(filter(None, [self.scope[-1], FUNCTIONS[function]]))
                in_place = any(result is x for x in inputs)
                self._record(name, FUNCTIONS[function], inputs, result, in_place=in_place)
            elif any(isinstance(x, Tensor) for x in inputs):  # a view, for example
                self._made(result, self._sources(inputs))
        return result

    def _record(self, name, kind, inputs, output, *, parameters=0, multiply_adds=0, in_place=False) -> None:
        memory = 0 if in_place else output.numel() * output.element_size()
        self.rows.append(
            Layer(
                name=name,
                kind=kind,
                shape=tuple(output.shape),
                parameters=parameters,
                multiply_adds=multiply_adds,
                memory_bytes=memory,
                sources=self._sources(inputs),
            )
        )
        self._made(output, (len(self.rows) - 1,))

    def _sources(self, inputs: Sequence) -> tuple[int, ...]:
        return tuple(sorted({row for x in inputs for row in self.made_by.get(id(x), ())}))

    def _made(self, tensor: Tensor, rows: tuple[int, ...]) -> None:
        self.made_by[id(tensor)] = rows
        self.alive.append(tensor)


def _multiply_adds(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    if isinstance(layer, CONVOLUTIONS):
        return output.numel() * layer.weight[0].numel()  # every output value is one kernel's scalar product
    if isinstance(layer, TRANSPOSED):
        return x.numel() * layer.weight[0].numel()  # every input value is spread by one kernel
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    return 0


def _group(rows: list[Layer], depth: int, modules: dict[str, nn.Module]) -> list[Layer]:
    """One row for neighbors that are parts of the same block."""
    blocks = [_block(row.name, depth, modules) for row in rows]
    keys = [name if name in modules else i for i, name in enumerate(blocks)]  # a function is a block by itself
    groups, group_of = [], {-1: -1}
    for _, members in groupby(range(len(rows)), keys.__getitem__):
        members = list(members)
        group_of.update(dict.fromkeys(members, len(groups)))
        inside, name = [rows[i] for i in members], blocks[members[0]]
        sources = {group_of[source] for row in inside for source in row.sources} - {len(groups)}
        groups.append(
            Layer(
                name=name,
                kind=type(modules[name]).__name__ if name in modules else inside[-1].kind,
                shape=inside[-1].shape,
                parameters=sum(row.parameters for row in inside),
                multiply_adds=sum(row.multiply_adds for row in inside),
                memory_bytes=sum(row.memory_bytes for row in inside),
                sources=tuple(sorted(sources)),
            )
        )
    return groups


def _block(name: str, depth: int, modules: dict[str, nn.Module]) -> str:
    """Name of the module, `depth` levels down, that a layer is part of; lists of modules are no level."""
    parts = name.split(".")
    prefixes = (".".join(parts[:n]) for n in range(1, len(parts) + 1))
    levels = [prefix for prefix in prefixes if not isinstance(modules.get(prefix), nn.ModuleList)]
    return levels[:depth][-1]
