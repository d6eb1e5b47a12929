"""Runs one call of an op's kernels alone: its layer, its inputs, and what is observed of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import accumulate
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


class Call(NamedTuple):
    """A call of an op's kernels in a step: the node that makes it first, and what it depends on.

    left: bytes that its forward pass makes and leaves; None if that is not known.
    """

    key: str
    node: Node
    setting: Setting
    y: Shape
    xs: tuple[Shape, ...]
    left: int | None


class Seen(NamedTuple):
    """What was seen of a run: seconds, or bytes beside what it made and left, and bytes that it left."""

    seconds: float = 0.0
    beside: int = 0
    left: int = 0


#: Runs a function, and gives its result and what was seen.
Observer = Callable[[Callable[[], Any]], tuple[Any, Seen]]


def observed(call: Call, device: Device) -> tuple[Seen, Seen]:
    """What a device does in the forward and in the backward pass of a call. It runs twice before: that fills caches.

    Raises CostmodelError for a call that does not run alone as it does in a step.
    """
    setting, op = call.setting, call.node.op
    if setting.narrow or setting.parameter_item != setting.item or op.has_epilogue:
        raise CostmodelError("it runs in several autograd nodes, between which a step does something else")
    layer = layer_of(call, device.place)
    timed, watched = observers(device)
    once(call, layer, device, timed)
    seconds = once(call, layer, device, timed)
    forward, backward = (
        seen._replace(seconds=took.seconds) for seen, took in zip(once(call, layer, device, watched), seconds)
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
    gradient = like(y, setting.gradient or (CHANNELS_LAST if setting.target.channels_last else None))
    _, backward = observe(lambda: torch.autograd.grad(y, wanted, gradient, allow_unused=True))
    return forward, backward


def observers(device: Device) -> tuple[Observer, Observer]:
    """What takes the time of a run on a device, and what watches its allocator."""

    def timed(run: Callable[[], Any]) -> tuple[Any, Seen]:
        device.wait()
        start = time.perf_counter()
        result = run()
        device.wait()
        return result, Seen(time.perf_counter() - start)

    def watched(run: Callable[[], Any]) -> tuple[Any, Seen]:
        # An op of several parts frees what the first one kept before the next one runs, and so does a step.
        result, found = device.recorded(run)
        peak, left = max(accumulate(size for _, size in found), default=0), sum(not_freed(found).values())
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
    if layout.outside:
        raise CostmodelError("a slice of a larger tensor")
    strides, stride = [0] * x.dim(), 1
    for axis in reversed(layout.order):
        strides[axis], stride = stride, stride * x.shape[axis]
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)


def like(y: torch.Tensor, layout: MemoryOrder | None) -> torch.Tensor:
    """A gradient for a result."""
    return (
        placed(torch.ones(y.shape, dtype=y.dtype, device=y.device), layout)
        if layout is not None
        else torch.ones_like(y)
    )
