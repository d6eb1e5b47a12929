"""One real training step, and what it costs: bytes saved, bytes allocated, FLOPs dispatched, seconds."""

from __future__ import annotations

import copy
import time
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import AbstractSet, Any, Callable, Dict, List, NamedTuple, Set

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import CostmodelError
from ..op import is_int

aten = torch.ops.aten


@dataclass(frozen=True)
class Measurement:
    """What one step of a module really cost.

    saved_bytes: distinct storages that autograd kept for the backward pass, parameters and buffers left out.
    step_peak_bytes: the CPU allocator's highest level above the level before the step.
    tensor_peak_bytes: the same without what kernels allocate inside: of tensors alone.
    left_bytes: the level after the step: gradients, the loss.
    forward_flops, backward_flops: of the convolutions and matrix products dispatched, 2 per multiply-add.
    seconds: of the fastest of a few steps.
    """

    parameters: int
    trainable_parameters: int
    saved_bytes: int
    step_peak_bytes: int
    tensor_peak_bytes: int
    left_bytes: int
    forward_flops: int
    backward_flops: int
    seconds: float


def measure(
    module: nn.Module, batch: int = 8, resolution: int = 224, channels: int = 3, repeats: int = 1
) -> Measurement:
    """Run real steps of cross_entropy(module(x), y) on a copy of the module, float32 on the CPU, and measure them.

    The module's own flags and modes hold; where nothing trains, a step is the forward pass under no_grad. Raises
    CostmodelError for a bad request, or where the saved bytes disagree with the allocator's level after the forward
    pass: then something is kept that autograd does not know of.
    """
    for name, value in (("batch", batch), ("resolution", resolution), ("channels", channels), ("repeats", repeats)):
        if not is_int(value) or value < 1:
            raise CostmodelError(f"{name} is {value!r}; allowed: an integer >= 1")
    step = _Step(copy.deepcopy(module), torch.randn(batch, channels, resolution, resolution))
    with torch.random.fork_rng():
        saved = step.saved_storages()
        after_forward = trace(step.forward).left
        counter = step.dispatched()
        whole = trace(step, counter.ops)
        step.reset()
        seconds = min(_seconds(step) for _ in range(repeats))
    if step.trains:
        given = {step.images.untyped_storage().data_ptr(), step.targets.untyped_storage().data_ptr()}
        made = sum(size for pointer, size in saved.items() if pointer not in given)
        loss = 4
        if after_forward != made + loss:
            raise CostmodelError(
                f"{made} bytes made in the forward pass are saved, but {after_forward - loss} are still allocated"
            )
    parameters = list(module.parameters())
    return Measurement(
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        saved_bytes=sum(saved.values()),
        step_peak_bytes=whole.peak,
        tensor_peak_bytes=whole.tensor_peak,
        left_bytes=whole.left,
        forward_flops=counter.flops["forward"],
        backward_flops=counter.flops["backward"],
        seconds=seconds,
    )


class _Step:
    """A training step of a module on given images; calling it runs one."""

    def __init__(self, module: nn.Module, images: torch.Tensor) -> None:
        self.module, self.images = module, images
        self.targets = torch.zeros(len(images), dtype=torch.int64)
        self.trains = any(p.requires_grad for p in module.parameters())

    def forward(self) -> torch.Tensor:
        """The loss, or where nothing trains the logits."""
        if not self.trains:
            with torch.no_grad():
                return self.module(self.images)
        return cross_entropy(self.module(self.images), self.targets)

    def __call__(self) -> torch.Tensor:
        result = self.forward()
        if self.trains:
            result.backward()
        return result

    def reset(self) -> None:
        """Let the gradients go."""
        self.module.zero_grad(set_to_none=True)

    def saved_storages(self) -> Dict[int, int]:
        """Bytes by address of the distinct storages that one forward pass keeps, those of the module left out."""
        own = {t.untyped_storage().data_ptr() for t in [*self.module.parameters(), *self.module.buffers()]}
        kept: Dict[int, Any] = {}  # holding the storages keeps their addresses distinct

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            self.forward()
        return {pointer: storage.nbytes() for pointer, storage in kept.items()}

    def dispatched(self) -> "FlopCounter":
        """What the dispatcher sees of one step."""
        with FlopCounter() as counter:
            result = self.forward()
            counter.phase = "backward"
            if self.trains:
                result.backward()
        self.reset()
        return counter


class Trace(NamedTuple):
    """The CPU allocator's events while something ran.

    deltas: bytes of every allocation (+) and release (-), in order. calls: for each, the number of the op call inside
    which it happened, of those that the dispatcher sees; its own number where it was in none.
    """

    deltas: List[int]
    calls: List[int]

    @property
    def peak(self) -> int:
        """The highest level above the one before."""
        return max(accumulate(self.deltas), default=0)

    @property
    def tensor_peak(self) -> int:
        """The highest level between op calls: of tensors alone, without what kernels allocate inside."""
        ends = [this != following for this, following in zip(self.calls, [*self.calls[1:], None])]
        return max((level for level, end in zip(accumulate(self.deltas), ends) if end), default=0)

    @property
    def left(self) -> int:
        """The level at the end above the one before."""
        return sum(self.deltas)


def trace(run: Callable[[], Any], ops: AbstractSet[str] = frozenset()) -> Trace:
    """Run something under torch's profiler and read off what the CPU allocator did. What it returns lives on.

    ops: names of the ops that the dispatcher sees ("aten::convolution").
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = run()
    deltas, calls, call, end = [], [], 0, 0
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda e: (e.start_ns(), -e.duration_ns()))
    for number, event in enumerate(events):
        if event.name() == "[memory]":
            deltas.append(event.nbytes())
            calls.append(call if event.start_ns() <= end else number)
        elif event.start_ns() >= end and event.name() in ops:
            call, end = number, event.start_ns() + event.duration_ns()
    del result
    return Trace(deltas, calls)


class FlopCounter(TorchDispatchMode):
    """Counts 2 FLOPs per multiply-add of each convolution and matrix product that reaches the dispatcher.

    torch.utils.flop_counter does the same but takes the weight gradient of a grouped convolution for a dense one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase = "forward"
        self.flops: Counter = Counter()
        self.ops: Set[str] = set()  # the names of all ops seen

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        self.ops.add(func._schema.name)
        if packet is aten.convolution:
            self._add(_convolution(result, args[1]))
        elif packet is aten.convolution_backward:
            # The gradients of input and weight meet each pair of output position and weight once, as the output does.
            gradient, _, weight = args[:3]
            self._add(_convolution(gradient, weight) * sum(args[-1][:2]))
        elif packet is aten.mm or packet is aten.bmm:
            self._add(result.numel() * args[0].shape[-1])
        elif packet is aten.addmm or packet is aten.baddbmm:
            self._add(result.numel() * args[1].shape[-1])
        return result

    def _add(self, macs: int) -> None:
        self.flops[self.phase] += 2 * macs


def _convolution(output: torch.Tensor, weight: torch.Tensor) -> int:
    return output.numel() * prod(weight.shape[1:])


def _seconds(run: _Step) -> float:
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    run.reset()
    return seconds

