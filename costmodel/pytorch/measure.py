"""One real training step, and what it costs: bytes saved, bytes allocated, FLOPs dispatched, seconds."""

from __future__ import annotations

import copy
import time
import weakref
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import AbstractSet, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple
from unittest.mock import patch

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import CostmodelError, unknown
from ..sizes.size import is_int
from ..step.optimizer import find
from ..step.request import DTYPES
from ..targets.target import Target, parse

aten = torch.ops.aten


@dataclass(frozen=True)
class Measurement:
    """What one step of a module really cost.

    saved_bytes: distinct storages that autograd kept for the backward pass, parameters and buffers left out.
    step_peak_bytes: the allocator's highest level above the level before the step.
    tensor_peak_bytes: the same without what kernels allocate inside, of tensors alone (None on CUDA).
    left_bytes: the level after the step: gradients, the loss.
    forward_flops, backward_flops: of the convolutions and matrix products dispatched, 2 per multiply-add.
    seconds: of the fastest of a few steps.
    """

    parameters: int
    trainable_parameters: int
    saved_bytes: int
    step_peak_bytes: int
    tensor_peak_bytes: Optional[int]
    left_bytes: int
    forward_flops: int
    backward_flops: int
    seconds: float


def measure(
    module: nn.Module,
    batch: int = 8,
    resolution: int = 224,
    channels: int = 3,
    optimizer: str = "sgd",
    target: str = "cpu",
    dtype: str = "float32",
    accumulate: int = 1,
    repeats: int = 1,
) -> Measurement:
    """Run real steps of cross_entropy(module(x), y) on a copy of the module and measure them in the steady state.

    The module's own flags and modes hold; where nothing trains, a step is the forward pass under no_grad. target: cpu or
    cuda, either with channels_last; a `threads=N` of it is set while the steps run. Raises CostmodelError for a bad
    request, for CUDA where there is none, or where the saved bytes disagree with the allocator's level after the forward
    pass: then something is kept that autograd does not know of.
    """
    counts = {"batch": batch, "resolution": resolution, "channels": channels, "accumulate": accumulate}
    for name, value in {**counts, "repeats": repeats}.items():
        if not is_int(value) or value < 1:
            raise CostmodelError(f"{name} is {value!r}; allowed: an integer >= 1")
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    place = parse(target)
    if place.device == "none":
        raise CostmodelError("target 'none' counts and is nowhere to run; allowed: cpu, cuda")
    if place.device == "cuda" and not torch.cuda.is_available():
        raise CostmodelError("target 'cuda': torch finds no GPU here")
    threads = torch.get_num_threads()
    torch.set_num_threads(place.threads if place.device == "cpu" else threads)
    try:
        with torch.random.fork_rng():
            step = _Step(module, batch, channels, resolution, optimizer, place, getattr(torch, dtype), accumulate)
            return _measured(step, list(module.parameters()), repeats)
    finally:
        torch.set_num_threads(threads)


def _measured(step: "_Step", parameters: List[nn.Parameter], repeats: int) -> Measurement:
    step.prepare()
    saved = step.saved_storages()
    step.prepare()
    counter = step.dispatched()
    step.prepare()
    if step.images.is_cuda:
        peak, left = step.cuda_levels()
        tensor_peak = None
    else:
        after_forward = trace(step.forward).left
        step.prepare()
        whole = trace(step, counter.ops)
        peak, tensor_peak, left = whole.peak, whole.tensor_peak, whole.left
        if step.trains:
            given = {step.images.untyped_storage().data_ptr(), step.targets.untyped_storage().data_ptr()}
            made = sum(size for pointer, size in saved.items() if pointer not in given)
            loss = step.images.element_size()
            if after_forward != made + loss:
                raise CostmodelError(
                    f"{made} bytes made in the forward pass are saved, but {after_forward - loss} are still allocated"
                )
    return Measurement(
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        saved_bytes=sum(saved.values()),
        step_peak_bytes=peak,
        tensor_peak_bytes=tensor_peak,
        left_bytes=left,
        forward_flops=counter.flops["forward"],
        backward_flops=counter.flops["backward"],
        seconds=min(step.seconds() for _ in range(repeats)),
    )


class _Step:
    """A training step of a copy of a module on random images; calling it runs one, the update included."""

    def __init__(self, module: nn.Module, batch: int, channels: int, resolution: int, optimizer: str, place: Target,
                 dtype: torch.dtype, accumulate: int) -> None:  # fmt: skip
        layout = torch.channels_last if place.channels_last else torch.contiguous_format
        self.module = copy.deepcopy(module).to(place.device, dtype, memory_format=layout)
        images = torch.randn(batch, channels, resolution, resolution)
        self.images = images.to(place.device, dtype, memory_format=layout)
        self.targets = torch.zeros(batch, dtype=torch.int64, device=place.device)
        trained = [p for p in self.module.parameters() if p.requires_grad]
        self.trains = bool(trained)
        chosen = find(optimizer)
        make = getattr(torch.optim, chosen.torch_class)
        self.optimizer = make(trained, **dict(chosen.torch_options)) if trained else None
        self.accumulate = accumulate
        if self.trains:  # the optimizer's state is there from the first update on
            self()

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
            self.optimizer.step()
        return result

    def prepare(self) -> None:
        """The state before a step: no gradients, or those of the micro-batches before the last one."""
        self.module.zero_grad(set_to_none=True)
        if self.trains and self.accumulate > 1:
            self.forward().backward()

    def saved_storages(self) -> Dict[int, int]:
        """Bytes by address of the distinct storages that one forward pass keeps, those of the module left out."""
        own = {t.untyped_storage().data_ptr() for t in [*self.module.parameters(), *self.module.buffers()]}
        kept: Dict[int, Any] = {}  # holding the storages keeps their addresses distinct

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage
            return tensor.detach()  # a result itself would hold the graph that holds it

        states: List[Any] = []  # torch.utils.checkpoint keeps those of random numbers where no hook sees them
        draw = torch.get_rng_state

        def watched() -> torch.Tensor:
            state = draw()
            states.append(weakref.ref(state))
            return state

        with saved_tensors_hooks(pack, lambda tensor: tensor), patch.object(torch, "get_rng_state", watched):
            result = self.forward()
        for state in (ref() for ref in states):
            if state is not None:
                pack(state)
        for number in numbers_kept(result):
            pack(number)
        return {pointer: storage.nbytes() for pointer, storage in kept.items()}

    def dispatched(self) -> "FlopCounter":
        """What the dispatcher sees of one step."""
        with FlopCounter() as counter:
            result = self.forward()
            counter.phase = "backward"
            if self.trains:
                result.backward()
                self.optimizer.step()
        return counter

    def cuda_levels(self) -> Tuple[int, int]:
        """Highest level and level at the end of one step above the level before, of CUDA's caching allocator."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = self()
        torch.cuda.synchronize()
        levels = torch.cuda.max_memory_allocated() - before, torch.cuda.memory_allocated() - before
        del result
        return levels

    def seconds(self) -> float:
        """Wall time of one step."""
        self.prepare()
        start = time.perf_counter()
        self()
        if self.images.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start


def numbers_kept(result: torch.Tensor) -> Iterator[torch.Tensor]:
    """The Python numbers that products and quotients keep for the backward pass of a result, each as a tensor.

    Saved-tensor hooks are not shown them (torch/csrc/autograd/saved_variable.cpp: is_wrapped_number).
    """
    todo, seen = [result.grad_fn], {None}
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        todo += [following for following, _ in node.next_functions]
        if node.name() in ("MulBackward0", "DivBackward0"):
            other = node._saved_other
            if other is not None and other.dim() == 0:
                yield other


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
    profiler.profiler = None  # the profiler refers to itself: what it recorded would wait for the garbage collector
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
        elif packet is aten._scaled_dot_product_flash_attention_for_cpu:
            self._add(_attention(*args[:3]))
        elif packet is aten._scaled_dot_product_flash_attention_for_cpu_backward:
            # The weights are made again; then come the gradients of weights, queries, keys and values.
            query, key, value = args[1:4]
            self._add(3 * _attention(query, key, value[..., :0]) + 2 * _attention(query[..., :0], key, value))
        elif packet is aten.addmm or packet is aten.baddbmm:
            self._add(result.numel() * args[1].shape[-1])
        return result

    def _add(self, macs: int) -> None:
        self.flops[self.phase] += 2 * macs


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> int:
    """Multiply-adds of the products of queries and keys, and of weights and values."""
    return query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _convolution(output: torch.Tensor, weight: torch.Tensor) -> int:
    return output.numel() * prod(weight.shape[1:])

