"""Measures one real training step: bytes saved, bytes allocated, FLOPs dispatched, seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import CostmodelError
from ..frontends.draft import RESOLUTION
from ..frontends.modules.blame import run
from ..frontends.modules.compiled import as_written
from ..frontends.modules.criterion import Criterion
from ..frontends.modules.dry.flops import FlopCounter
from ..frontends.modules.dry.step import mixed_precision, recorded
from ..frontends.modules.dtypes import dtype_of
from ..frontends.modules.fused import by_parts
from ..frontends.modules.given import Objective, arguments, in_format, real
from ..graph.inputs import Inputs, images, read_inputs, read_resolution
from ..ops._loss import Loss
from ..ops._named_loss import USUAL_LOSS, find_loss
from ..sizes.dtype import DType, find_dtype
from ..sizes.size import as_int, is_int
from ..step.autocast import amp_of
from ..step.checking import STOCK
from ..step.optimizer import find
from ..targets import Target, parse
from .allocations import not_freed
from .copies import copy_of, gradients_of
from .devices import Device, device_of
from .resident_set import most_so_far
from .saved import Kept, kept_in_a_step
from .updates import InPlace, optimizer_of


@dataclass(frozen=True)
class Measurement:
    """The measured cost of one step of a module.

    saved_bytes: bytes of distinct storages that autograd kept for the backward pass, without parameters and buffers.
    step_peak_bytes: the allocator's highest level, in bytes above the level before the step.
    tensor_peak_bytes: the same for tensors only, without the scratch memory of kernels (None on CUDA).
    left_bytes: the level after the step, above the level before it: gradients, the loss.
    forward_flops, backward_flops: of the convolutions and matrix products dispatched, 2 per multiply-add.
    trainable_parameters: numbers in the parameters that get a gradient.
    seconds: wall time of the fastest of `repeats` steps.
    process_bytes: the most that the operating system counted for this process so far, whatever ran before included
    (None where it does not tell).
    allocated_bytes, reserved_bytes: of a GPU's memory, what tensors had at most and what the caching allocator took,
    the module and everything else counted (None on the CPU).
    """

    parameters: int
    trainable_parameters: int
    saved_bytes: int
    step_peak_bytes: int
    tensor_peak_bytes: int | None
    left_bytes: int
    forward_flops: int
    backward_flops: int
    seconds: float
    process_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None


def measure(
    module: nn.Module,
    batch: int = 8,
    resolution: Any = RESOLUTION,
    channels: int = 3,
    optimizer: str = "sgd",
    target: str = "cpu",
    dtype: str | None = None,
    accumulate: int = 1,
    repeats: int = 1,
    inputs: Any = None,
    loss: Any = None,
    targets: Any = None,
    amp: str | None = None,
) -> Measurement:
    """Measure real steps of loss(module(x), y) on a copy of the module, in the steady state.

    resolution, channels: of images; inputs: instead of images; loss, targets: as in `costmodel.estimate`.
    The module's own flags and modes hold; what torch.compile compiled runs as it was written, attention by its parts
    where torch would fuse them (torch.backends.mha). If nothing trains, a step is the forward pass under no_grad.
    target: cpu or cuda, either with channels_last; its `threads=N` is set while the steps run. amp: as in `estimate`;
    the backward pass runs outside autocast, as torch recommends. Raises CostmodelError for a
    bad request, for CUDA without a GPU, for a module that does not run, if the backward pass frees what the forward
    pass made and autograd does not know of, and if forward passes leave other numbers of bytes.
    """
    batch, channels, accumulate = map(as_int, (batch, channels, accumulate))
    counts = {"batch": batch, "channels": channels, "accumulate": accumulate}
    for name, value in {**counts, "repeats": repeats}.items():
        if not is_int(value) or value < 1:
            raise CostmodelError(f"{name} is {value!r}; allowed: an integer >= 1")
    given = images(read_resolution(resolution) or RESOLUTION, channels) if inputs is None else read_inputs(inputs)
    minimised = find_loss(loss) if isinstance(loss, str) else loss or USUAL_LOSS
    if not isinstance(minimised, (Loss, Objective)):
        minimised = Objective(minimised, targets)
    own, place = find_dtype(dtype, dtype_of(module)), parse(target)
    lower = amp_of(amp, own, STOCK, place)
    numbers = getattr(torch, own.name)
    device = device_of(place)
    with device.running_on(place.threads), torch.random.fork_rng(), recorded(), as_written(), by_parts():

        def steps() -> Measurement:
            device.start_over()
            step = _Step(module, given, batch, minimised, optimizer, place, device, numbers, accumulate, lower)
            return _measured(step, list(step.module.parameters()), repeats)

        shown = f"a batch of {batch} of {', '.join(map(str, given))}"
        return run(f"a real step of {type(module).__name__} on {shown}", steps)


def _measured(step: _Step, parameters: list[nn.Parameter], repeats: int) -> Measurement:
    step.prepare()
    device = step.device
    counter, _ = device.recorded(step.dispatched)
    trained = step.updated()
    step.prepare()
    kept, beside = kept_in_a_step(step.module, step.forward, device) if step.trains else (Kept({}, {}, 0), 0)
    step.prepare()
    # What the module holds from the step before is that of a whole one. On the CPU only the release of what was seen
    # allocated is noticed, so whatever comes before is watched too.
    device.levels(step)
    device.levels(step.prepare)
    whole = device.levels(step, counter.ops)
    if step.trains:
        refuse_what_is_kept_beside(beside)
        step.prepare()
        refuse_other_steps(kept.made, not_freed(device.recorded(step.forward)[1]))
    most = device.most()
    return Measurement(
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=trained,
        saved_bytes=sum(kept.saved.values()),
        step_peak_bytes=whole.peak,
        tensor_peak_bytes=whole.tensor_peak,
        left_bytes=whole.left,
        forward_flops=counter.flops["forward"],
        backward_flops=counter.flops["backward"],
        seconds=min(step.seconds() for _ in range(repeats)),
        process_bytes=most_so_far(),
        allocated_bytes=most and most.allocated,
        reserved_bytes=most and most.reserved,
    )


def refuse_what_is_kept_beside(size: int) -> None:
    """Raise CostmodelError if something is kept for the backward pass that autograd does not know of."""
    if size:
        raise CostmodelError(
            f"{size} bytes made in the forward pass are still allocated after it and freed by the backward pass, but"
            " autograd does not know of them: a hook, or the context of a torch.autograd.Function, may hold them"
        )


def refuse_other_steps(watched: dict[int, int], alone: dict[int, int]) -> None:
    """Raise CostmodelError if two forward passes leave other numbers of bytes. Both: bytes by address."""
    one, other = sum(watched.values()), sum(alone.values())
    if one != other:
        raise CostmodelError(
            f"a forward pass leaves {one} bytes allocated, and a later one {other}: the steps differ, so that none of"
            " them can be measured for all"
        )


class _Step:
    """A training step of a copy of a module on random inputs. Calling it runs the step, update included."""

    def __init__(
        self,
        module: nn.Module,
        inputs: Inputs,
        batch: int,
        loss: Loss | Objective,
        optimizer: str,
        target: Target,
        device: Device,
        dtype: torch.dtype,
        accumulate: int,
        amp: DType | None,
    ) -> None:
        self.amp = amp.name if amp else ""
        self.device, place = device, device.place
        memory_format = torch.channels_last if target.channels_last else torch.preserve_format
        # A module in its own data type may hold tensors of others too.
        cast = None if str(dtype) == f"torch.{dtype_of(module)}" else dtype
        self.module = copy_of(module).to(place, cast, memory_format=memory_format)
        args, named = in_format(arguments(inputs, batch, dtype, real), memory_format)
        self.args, self.named = [x.to(place) for x in args], {n: x.to(place) for n, x in named.items()}
        self.loss = Criterion(loss, batch, place, dtype)
        trained = [p for p in self.module.parameters() if p.requires_grad]
        self.trains = bool(trained)
        chosen = find(optimizer, accumulate)
        self.optimizer = optimizer_of(chosen, trained) if trained else None
        self.accumulate = accumulate
        before = gradients_of(module)
        for _ in range(chosen.settled_after if self.trains else 0):  # the first update makes the optimizer's state
            self()
        if gradients_of(module) != before:
            raise CostmodelError(
                f"a copy of {type(module).__name__} trains parameters of the module itself: a function that it holds, a"
                " lambda say, reads them there, so that its copy cannot be measured"
            )

    def forward(self) -> Any:
        """The loss, or what the module returns if nothing trains."""
        if not self.trains:
            with torch.no_grad(), mixed_precision(self.amp):
                return self.module(*self.args, **self.named)
        with mixed_precision(self.amp):
            return self.loss.of([self.module(*self.args, **self.named)])

    def __call__(self) -> Any:
        result = self.forward()
        if self.optimizer is not None:
            result.backward()
            self.optimizer.step()
        return result

    def prepare(self) -> None:
        """Restore the state before a step: no gradients, or those that the micro-batches before the last one left."""
        self.module.zero_grad(set_to_none=True)
        if self.trains and self.accumulate > 1:
            self.forward().backward()

    def updated(self) -> int:
        """Numbers in the parameters that got a gradient in a step that has run."""
        if isinstance(self.optimizer, InPlace):
            return self.optimizer.updated
        return sum(p.numel() for p in self.module.parameters() if p.grad is not None)

    def dispatched(self) -> FlopCounter:
        """The FLOPs and ops that the dispatcher sees during one step."""
        with FlopCounter() as counter:
            result = self.forward()
            counter.phase = "backward"
            if self.optimizer is not None:
                result.backward()
                self.optimizer.step()
        return counter

    def seconds(self) -> float:
        """Wall time of one step, in seconds."""
        self.prepare()
        self.device.wait()
        start = time.perf_counter()
        self()
        self.device.wait()
        return time.perf_counter() - start
