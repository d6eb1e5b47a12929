"""Stock modules that torch.nn lacks, each for the op of the same name, and the frames that run a graph's nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Union

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..errors import CostmodelError
from ..graph.op import Extra
from ..ops.conv import EPS

OF_CHANNELS = (1, 2, 3)  # the axes over which a convolution's weight is standardised


def recorded(*tensors: torch.Tensor | None) -> bool:
    """Whether autograd records operations on these tensors."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def pads_zeros(conv: nn.Conv2d) -> bool:
    """Whether a convolution's padding is of zeros, and given in numbers."""
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


class FrozenStatistics(nn.Module):
    """Mixin for a batch norm that uses its running statistics and never updates them, even in training mode."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eval()

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


class FrozenBatchNorm1d(FrozenStatistics, nn.BatchNorm1d):
    """Frozen batch norm of (N, C) or (N, C, L)."""


class FrozenBatchNorm2d(FrozenStatistics, nn.BatchNorm2d):
    """Frozen batch norm of images (N, C, H, W)."""


class FrozenBatchNorm3d(FrozenStatistics, nn.BatchNorm3d):
    """Frozen batch norm of volumes (N, C, D, H, W)."""


class StandardisedConv2d(nn.Conv2d):
    """A convolution that standardises its weight per output channel in every forward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, standardised(self.weight), self.bias)


def standardised(weight: torch.Tensor) -> torch.Tensor:
    """(weight - mean) / (std + eps), with mean and std over all axes but the first."""
    centred = weight - weight.mean(OF_CHANNELS, keepdim=True)
    return centred / (centred.std(OF_CHANNELS, keepdim=True) + EPS)


class FixedConv2d(nn.Conv2d):
    """A convolution with a frozen weight that was standardised beforehand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.standardised, self.bias)


def standardised_once(module: nn.Conv2d) -> nn.Conv2d:
    """The convolution, with its weight standardised now and again after each loading of a state dict.

    The weight itself stays unchanged; the forward pass uses a buffer that is not part of state dicts.
    """
    if type(module) is nn.Conv2d:
        module.__class__ = FixedConv2d
    module.register_buffer("standardised", torch.empty_like(module.weight), persistent=False)
    _standardise(module)
    module.register_load_state_dict_post_hook(_standardise)
    return module


def _standardise(module: nn.Conv2d, *_: object) -> None:
    with torch.no_grad():
        module.standardised.copy_(standardised(module.weight))


class StochasticDepth(nn.Module):
    """torchvision.ops.StochasticDepth: x (N, ...) times noise of shape (N, 1, ...) ("row") or (1, 1, ...) ("batch")."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.is_off else x * self.noise_for(x)

    @property
    def is_off(self) -> bool:
        """Whether it returns its input."""
        return not self.training or self.p == 0

    def noise_for(self, x: torch.Tensor) -> torch.Tensor:
        """The noise by which x is multiplied, drawn at random."""
        size = [x.shape[0] if self.mode == "row" else 1] + [1] * (x.ndim - 1)
        noise = torch.empty(size, dtype=x.dtype, device=x.device).bernoulli_(1 - self.p)
        return noise.div_(1 - self.p) if self.p < 1 else noise

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"


class Tensors(nn.Module):
    """Holds a parameter or buffer that a network uses outside a layer. Buffers of 8 bits are masks, of 64 indices."""

    def __init__(self, parameters: dict[str, tuple], buffers: dict[str, Extra]) -> None:
        super().__init__()
        for name, shape in parameters.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        for name, extra in buffers.items():
            dtype = {8: torch.bool, 64: torch.int64}.get(extra.bits or 0)
            self.register_buffer(name, torch.zeros(extra.shape, dtype=dtype))
        self.name = next(iter((*parameters, *buffers)), "")


def computed(size: tuple, held: bool) -> Callable:
    """Raise CostmodelError: a constant that is no buffer can be priced, but its numbers are unknown."""
    where = "x".join(str(n) if n else "N" for n in size)
    what = "reads a tensor" if held else "computes a constant"
    why = (
        "that is no buffer, which cannot be realised; register_buffer makes it one"
        if held
        else ("in its forward, which cannot be realised")
    )
    raise CostmodelError(f"the network {what} of shape ({where}) {why}")


class Owned(NamedTuple):
    """A parameter or buffer of a submodule, looked up in each run, so that a copy of the frame uses its own."""

    path: str
    name: str


def unknown(name: str) -> Callable:
    """Raise CostmodelError: an unknown op that was allowed can be priced, but not run."""
    raise CostmodelError(f"the network has the unknown op {name!r}, which can be priced as nothing but not be run")


#: (what to call, values read, value made, values freed). What to call: a submodule's path, a function, a parameter,
#: pieces, steps that run again, something without autograd, or None for the frame's own layer.
Step = tuple[Union[str, Callable, Owned, "Pieces", "Again", "Silent", None], Sequence[str], str, list[str]]


class Pieces(NamedTuple):
    """Pieces of one value that are made at once. ops: the op of each piece; outputs: their names."""

    ops: tuple[Any, ...]
    outputs: tuple[str, ...]


class Silent(NamedTuple):
    """What a step calls, run without autograd."""

    call: Any


class Again(NamedTuple):
    """Steps that save only their inputs, and run again in the backward pass.

    is_random: whether they draw random numbers, which must be the same both times.
    """

    inputs: tuple[str, ...]
    steps: list[Step]
    is_random: bool


class Frame(nn.Module):
    """A module whose forward runs the steps of one scope of a graph.

    Its call frame holds the inputs until it returns, as in the reference implementation; every other value is freed
    after its last reader.
    """

    _slices = 1

    def set_steps(self, inputs: Sequence[str], steps: Sequence[Step], output: str) -> None:
        """Set what forward runs. inputs, output: names of the values that it takes and returns."""
        self._inputs, self._steps, self._output = tuple(inputs), tuple(steps), output

    def slice_prefix(self, last: str, slices: int) -> None:
        """Run the steps up to the one that makes the value `last` on slices of the batch, where autograd records none.

        Where it does (of images, or since something there trains after all), they run on the whole batch.
        """
        self._prefix = 1 + next(i for i, step in enumerate(self._steps) if step[2] == last)
        self._slices = slices

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        values = dict(zip(self._inputs, args))
        if self._slices == 1 or recorded(args[0], *self._of_prefix()):
            return self._run(self._steps, values)[self._output]
        prefix, rest = self._steps[: self._prefix], self._steps[self._prefix :]
        handed = prefix[-1][2]
        values[handed] = sliced(lambda x: self._run(prefix, {self._inputs[0]: x})[handed], args[0], self._slices)
        return self._run(rest, values)[self._output]

    def _of_prefix(self) -> Iterator[torch.Tensor]:
        """The parameters of the steps that run on slices."""
        for call, *_ in self._steps[: self._prefix]:
            if isinstance(call, str):
                yield from self._at(call).parameters()
            elif isinstance(call, Owned):
                yield getattr(self._at(call.path), call.name)

    def _run(self, steps: Sequence[Step], values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        for call, reads, output, done in steps:
            if isinstance(call, Silent):
                with torch.no_grad():
                    self._call(call.call, reads, output, values)
            else:
                self._call(call, reads, output, values)
            for name in done:
                values.pop(name, None)  # what a sliced prefix made is gone
        return values

    def _call(self, call: Any, reads: Sequence[str], output: str, values: dict[str, torch.Tensor]) -> None:
        """Run what a step calls, and put what it makes among the values."""
        if isinstance(call, Owned):
            values[output] = getattr(self._at(call.path), call.name)
        elif isinstance(call, Pieces):
            values.update(zip(call.outputs, call.ops[0].cut(values[reads[0]], call.ops)))
        elif isinstance(call, Again):
            values[output] = self._run_again(call, *[values[name] for name in reads])
        else:
            if call is None:
                call = super().forward
            elif isinstance(call, str):
                call = self._at(call)
            values[output] = call(*[values[name] for name in reads])

    def _at(self, path: str) -> nn.Module:
        """A submodule. torch's get_submodule checks each name, which shows in a step on small maps."""
        module: Any = self
        for name in path.split(".") if path else ():
            module = module._modules[name]
        return module

    def _run_again(self, again: Again, *args: torch.Tensor) -> torch.Tensor:
        def run(*args: torch.Tensor) -> torch.Tensor:
            return self._run(again.steps, dict(zip(again.inputs, args)))[again.steps[-1][2]]

        calls = [call.call if isinstance(call, Silent) else call for call, *_ in again.steps]
        called = [self._at(call) for call in calls if isinstance(call, str)]
        layers = (layer for module in called for layer in module.modules())
        norms = [layer for layer in layers if getattr(layer, "running_mean", None) is not None]
        result = checkpoint(
            run,
            *args,
            use_reentrant=False,
            preserve_rng_state=again.is_random,
            context_fn=lambda: (nullcontext(), Still(norms)),
        )
        # What reads it keeps it whole. How a lean layer makes it again would hold what the second run makes.
        result.__dict__.pop("recipe", None)
        return result


class Still:
    """A context in which running statistics do not change: a second run must not count the batch again."""

    def __init__(self, norms: list[nn.Module]) -> None:
        self.norms = norms

    def __enter__(self) -> None:
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]
        for norm in self.norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, batches) in zip(self.norms, self.before):
            norm.momentum, norm.num_batches_tracked = momentum, batches


@torch.no_grad()
def sliced(run: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, slices: int) -> torch.Tensor:
    """run(x) without autograd, on ceil(N / slices) of the N images at a time (the last slice may be smaller).

    The results of the slices are written into one tensor.
    """
    size = -(-len(x) // slices)
    if size == len(x):
        return run(x)
    made = run(x[:size])
    channels_last = made.ndim == 4 and not made.is_contiguous()
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    y = torch.empty((len(x), *made.shape[1:]), dtype=made.dtype, device=made.device, memory_format=memory_format)
    y[:size] = made
    for i in range(size, len(x), size):
        del made  # before the next one is made
        made = run(x[i : i + size])
        y[i : i + size] = made
    return y


def with_frame(own: nn.Module) -> Frame:
    """The layer `own`, turned into a Frame as well: a composite such as timm's BatchNormAct2d, which is a norm itself.

    Among its steps, the call None is the layer itself.
    """
    own.__class__ = type(f"{type(own).__name__}Frame", (Frame, type(own)), {})
    return own
