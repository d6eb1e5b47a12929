"""Runs one call of an op's kernels alone: its layer, its inputs, and what is observed of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import accumulate
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import nn

from ..errors import CostmodelError
from ..graph.graph import Node
from ..ops.lean import FoldedConv2d
from ..ops.mask import MASK
from ..sizes.size import Shape
from ..targets.memory_order import CHANNELS_LAST, MemoryOrder
from ..targets.setting import Setting
from . import library
from .allocations import not_freed
from .devices import Device

#: Runs of a call of which the median is its seconds.
TIMED = 3


class Call(NamedTuple):
    """A call of an op's kernels in a step: the node that makes it first, and what it depends on.

    times: how often a step's forward and backward pass make it; a run again counts as a forward pass. left: bytes
    that its forward pass makes and leaves; None if that is not known.
    """

    key: str
    node: Node
    setting: Setting
    y: Shape
    xs: tuple[Shape, ...]
    left: int | None
    times: tuple[int, int] = (1, 1)


class Seen(NamedTuple):
    """What was seen of a run: seconds, or bytes beside what it made and left, and bytes that it left."""

    seconds: float = 0.0
    beside: int = 0
    left: int = 0


#: Runs a function, which may be handed a gradient, and gives its result and what was seen.
Observer = Callable[..., tuple[Any, Seen]]


def observed(call: Call, device: Device) -> tuple[Seen, Seen]:
    """What a device does in the forward and in the backward pass of a call. Seconds are the median of some warm runs.

    Raises CostmodelError for a call that does not run alone as it does in a step.
    """
    setting, op = call.setting, call.node.op
    if setting.narrow or setting.parameter_item != setting.item or op.has_epilogue:
        raise CostmodelError("it runs in several autograd nodes, between which a step does something else")
    layer = layer_of(call, device.place)
    timed, watched = observers(device)
    once(call, layer, device, timed)  # fills caches
    seconds = [once(call, layer, device, timed) for _ in range(TIMED)]
    forward, backward = (
        seen._replace(seconds=median(run.seconds for run in took))
        for seen, took in zip(once(call, layer, device, watched), zip(*seconds))
    )
    if call.left not in (None, forward.left):
        raise CostmodelError(f"it leaves {forward.left} bytes, and {call.left} are priced: another kernel runs")
    return forward, backward


def once(call: Call, layer: Any, device: Device, observe: Observer) -> tuple[Seen, Seen]:
    """What is seen of a forward and of a backward pass, nothing if there is none."""
    setting = call.setting
    leaves, inputs = inputs_of(call, device.place)
    with torch.set_grad_enabled(setting.recorded):
        y, forward = observe(lambda: layer(*inputs))
    wanted = [leaves[name] for name in setting.demanded if name in leaves]
    wanted += [own for name, own in parameters(layer) if name in setting.demanded]
    if not wanted:
        return forward, Seen()
    order = setting.gradient or (CHANNELS_LAST if setting.target.channels_last else None)
    handed = Handed(y, order)
    end = HandOver.apply(y, handed)
    one = torch.ones_like(end)
    _, backward = observe(lambda: torch.autograd.grad(end, wanted, one, allow_unused=True), handed)
    return forward, backward


class Handed:
    """A result's gradient, which is made when the backward pass asks for it, and held by nobody else, as in a step.

    address: of its memory, once it is made.
    """

    def __init__(self, y: torch.Tensor, order: MemoryOrder | None) -> None:
        self.shape, self.dtype, self.place = y.shape, y.dtype, y.device
        self.strides = y.stride() if order is None or len(order.order) != y.dim() else strides_of(y.shape, order)
        self.address = -1

    def make(self) -> torch.Tensor:
        """The gradient."""
        made = torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=self.place).fill_(1)
        self.address = made.untyped_storage().data_ptr()
        self.held = None if self.shape else made  # a loss's, which `backward` holds to its end
        return made


class HandOver(torch.autograd.Function):
    """A number that stands for the loss: its backward pass hands over the gradient of a result."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, handed: Handed) -> torch.Tensor:
        ctx.handed = handed
        return y.new_empty(())

    @staticmethod
    def backward(ctx: Any, _: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.handed.make(), None


def observers(device: Device) -> tuple[Observer, Observer]:
    """What takes the time of a run on a device, and what watches its allocator."""

    def timed(run: Callable[[], Any], handed: Handed | None = None) -> tuple[Any, Seen]:
        device.wait()
        start = time.perf_counter()
        result = run()
        device.wait()
        return result, Seen(time.perf_counter() - start)

    def watched(run: Callable[[], Any], handed: Handed | None = None) -> tuple[Any, Seen]:
        # An op of several parts frees what the first one kept before the next one runs, and so does a step. A gradient
        # that was handed over is there before the op, and may be what it returns.
        result, found = device.recorded(run)
        alive = not_freed(found)
        peak, left = max(accumulate(size for _, size in found), default=0), sum(alive.values())
        if handed is not None:
            peak -= next((size for address, size in found if address == handed.address and size > 0), 0)
            left -= alive.get(handed.address, 0)
        return result, Seen(beside=max(peak - left, 0), left=left)

    return timed, watched


def layer_of(call: Call, place: torch.device) -> Any:
    """The op's module in its data type and memory format, or its function; what is not demanded does not train."""
    layer: Any = call.node.op.module(library)
    setting = call.setting
    if isinstance(call.node.op, FoldedConv2d):
        norm = library.lean.FoldedNorm2d(call.node.op.out_channels).to(place, getattr(torch, setting.dtype))
        layer.fold(norm.eval().requires_grad_(False))
    if isinstance(layer, nn.Module):
        layer = layer.to(place, getattr(torch, setting.dtype)).train()
        if setting.target.channels_last:
            layer = layer.to(memory_format=torch.channels_last)
        for name, parameter in parameters(layer):
            parameter.requires_grad_(name in setting.demanded)
    return layer


def parameters(layer: Any) -> Iterable[tuple[str, nn.Parameter]]:
    return layer.named_parameters() if isinstance(layer, nn.Module) else ()


def inputs_of(call: Call, place: torch.device) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """The tensors that get gradients, by the op's names, and its inputs: copies of them, which may be written over."""
    op, setting = call.node.op, call.setting
    leaves: dict[str, torch.Tensor] = {}
    inputs = []
    for i, (name, shape) in enumerate(zip(op.inputs, call.xs)):
        bits = op.input_bits.get(name, 64 if name in op.shape_only else 0)
        order = setting.layouts[i] if setting.layouts else CHANNELS_LAST if setting.target.channels_last else None
        if bits == MASK:
            inputs.append(torch.zeros(shape, dtype=torch.bool, device=place))
        elif bits:
            inputs.append(torch.zeros(shape, dtype=torch.int64, device=place))
        else:
            x = placed(torch.rand(shape).to(place, getattr(torch, setting.dtype)), order)
            if name in setting.demanded:
                leaves[name] = x.requires_grad_()
            inputs.append(x.clone() if name in leaves else x)
    return leaves, inputs


def placed(x: torch.Tensor, layout: MemoryOrder | None) -> torch.Tensor:
    """A tensor with its axes in this order in memory. Raises CostmodelError for a slice of a larger one."""
    if layout is None or len(layout.order) != x.dim():
        return x
    return torch.empty_strided(x.shape, strides_of(x.shape, layout), dtype=x.dtype, device=x.device).copy_(x)


def strides_of(shape: torch.Size, layout: MemoryOrder) -> tuple[int, ...]:
    """The strides of a tensor with its axes in an order, as torch makes them. Raises CostmodelError for a slice."""
    if layout.outside:
        raise CostmodelError("a slice of a larger tensor")
    strides, stride = [0] * len(shape), 1
    for axis in reversed(layout.order):
        strides[axis], stride = stride, stride * shape[axis]
    return tuple(strides)
