"""Runs each distinct call of a step's kernels alone, and writes down what the allocator did beside the results.

A call is an op with its shapes, data type, memory orders and demanded gradients. Only one runs at a time, so a probe
needs the memory of the largest op alone: a step that does not fit can still be told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import nn

from ..errors import CostmodelError
from ..graph.graph import Node
from ..ops.lean import FoldedConv2d
from ..ops.mask import MASK
from ..sizes.size import Shape
from ..step.dry_estimate import DryEstimate
from ..step.estimate import Estimate
from ..step.kernels import runs_kernels, settings_of
from ..step.memo import Formulas
from ..step.memory import slices_of
from ..step.scratch import call_of
from ..step.shapes import broadcast_inputs
from ..targets.cpu import Cpu
from ..targets.machine import AVX512_BF16, UNKNOWN, here_isa
from ..targets.memory_order import CHANNELS_LAST, MemoryOrder
from ..targets.probed import FORMAT, torch_version
from ..targets.setting import Setting
from ..version import __version__
from . import library
from .allocations import blocks, not_freed, recorded

#: Runs a function, and gives its result and a number.
Observer = Callable[[Callable[[], Any]], tuple[Any, float]]


class Call(NamedTuple):
    """A call of an op's kernels in a step: the node that makes it first, and what it depends on."""

    key: str
    node: Node
    setting: Setting
    y: Shape
    xs: tuple[Shape, ...]


class Probe(NamedTuple):
    """What was measured of a call.

    forward, backward: bytes beside the results. forward_seconds, backward_seconds: of one warm run. missed: why it
    could not be run, else "".
    """

    call: Call
    forward: int = 0
    backward: int = 0
    forward_seconds: float = 0.0
    backward_seconds: float = 0.0
    missed: str = ""


def calls_of(estimate: Estimate) -> list[Call]:
    """The distinct calls of a step, in the order in which they are first made."""
    graph, shapes, request = estimate.graph, estimate.shapes, estimate.request
    settings = settings_of(graph, shapes, broadcast_inputs(graph, shapes), request)
    found: dict[str, Call] = {}
    for part in (shapes, *slices_of(graph, shapes, request, Formulas())):
        for i, (node, reads, setting) in enumerate(zip(graph.nodes[: len(part) - 1], graph.reads, settings)):
            if not runs_kernels(node.op):
                continue
            xs = tuple(part[v] for v in reads)
            key = call_of(node.op, setting, part[i + 1], *xs)
            found.setdefault(key, Call(key, node, setting, part[i + 1], xs))
    return list(found.values())


def probe(estimate: Estimate) -> Iterator[Probe]:
    """Run the calls of a step, one after the other. Raises CostmodelError if it does not run on this machine's CPU."""
    if isinstance(estimate, DryEstimate):
        raise CostmodelError(f"{estimate.network}: a probe needs the layer graph, and this module does something else")
    target = estimate.request.target
    if not isinstance(target, Cpu):
        raise CostmodelError(f"target {target.text!r}; allowed for a probe: cpu, on which it runs")
    wide = here_isa() == AVX512_BF16 and estimate.request.dtype.bits > 16 and not estimate.request.amp
    if target.isa not in (here_isa(), UNKNOWN, "avx512" if wide else UNKNOWN):  # the same kernels, in 32 bits
        raise CostmodelError(f"target {target.text!r}; allowed for a probe: isa={here_isa()}, this machine's")
    threads = torch.get_num_threads()
    torch.set_num_threads(target.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            for call in calls_of(estimate):
                try:
                    yield measured(call)
                except Exception as error:  # of any kind: torch may lack a kernel
                    yield Probe(call, missed=f"{type(error).__name__}: {error}".split("\n")[0])
    finally:
        torch.set_num_threads(threads)


def measured(call: Call) -> Probe:
    """What the allocator does beside the results of a call. It runs twice before: the first run fills caches."""
    setting, op = call.setting, call.node.op
    if setting.narrow or setting.parameter_item != setting.item or op.has_epilogue or isinstance(op, FoldedConv2d):
        raise CostmodelError("a call of several kernels")
    layer = layer_of(call)
    once(call, layer, timed)
    seconds = once(call, layer, timed)
    forward, backward = once(call, layer, watched)
    return Probe(call, int(forward), int(backward), *seconds)


def once(call: Call, layer: Any, observe: Observer) -> tuple[float, float]:
    """What is observed of a forward and of a backward pass, 0 if there is none."""
    setting = call.setting
    leaves, inputs = inputs_of(call)
    with torch.set_grad_enabled(setting.recorded):
        y, forward = observe(lambda: layer(*inputs))
    wanted = [leaves[name] for name in setting.demanded if name in leaves]
    wanted += [own for name, own in parameters(layer) if name in setting.demanded]
    if not wanted:
        return forward, 0
    gradient = like(y, setting.gradient or (CHANNELS_LAST if setting.target.channels_last else None))
    _, backward = observe(lambda: torch.autograd.grad(y, wanted, gradient, allow_unused=True))
    return forward, backward


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a function, and its seconds."""
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def watched(run: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a function, and how far the allocator's level rose above what the function made and left, in bytes.

    An op of several parts frees what the first one kept before the next one runs, and so does a step.
    """
    result, found = recorded(run)
    peak = max(accumulate(size for _, size in blocks(found)), default=0)
    return result, max(peak - sum(not_freed(found).values()), 0)


def layer_of(call: Call) -> Any:
    """The op's module in its data type and memory format, or its function; what is not demanded does not train."""
    layer, setting = call.node.op.module(library), call.setting
    if isinstance(layer, nn.Module):
        layer = layer.to(getattr(torch, setting.dtype)).train()
        if setting.target.channels_last:
            layer = layer.to(memory_format=torch.channels_last)
        for name, parameter in parameters(layer):
            parameter.requires_grad_(name in setting.demanded)
    return layer


def parameters(layer: Any) -> Iterable[tuple[str, nn.Parameter]]:
    return layer.named_parameters() if isinstance(layer, nn.Module) else ()


def inputs_of(call: Call) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """The tensors that get gradients, by the op's names, and its inputs: copies of them, which may be written over."""
    op, setting = call.node.op, call.setting
    leaves: dict[str, torch.Tensor] = {}
    inputs = []
    for i, (name, shape) in enumerate(zip(op.inputs, call.xs)):
        bits = op.input_bits.get(name, 64 if name in op.shape_only else 0)
        order = setting.layouts[i] if setting.layouts else CHANNELS_LAST if setting.target.channels_last else None
        if bits == MASK:
            inputs.append(torch.zeros(shape, dtype=torch.bool))
        elif bits:
            inputs.append(torch.zeros(shape, dtype=torch.int64))
        else:
            x = placed(torch.rand(shape).to(getattr(torch, setting.dtype)), order)
            if name in setting.demanded:
                leaves[name] = x.requires_grad_()
            inputs.append(x.clone())  # autograd treats an op in place on a view otherwise
    return leaves, inputs


def placed(x: torch.Tensor, layout: MemoryOrder | None) -> torch.Tensor:
    """A tensor with its axes in this order in memory. Raises CostmodelError for a slice of a larger one."""
    if layout is None or len(layout.order) != x.dim():
        return x
    if layout.outside:
        raise CostmodelError("a slice of a larger tensor")
    back = sorted(range(x.dim()), key=layout.order.__getitem__)
    return x.permute(layout.order).contiguous().permute(back)


def like(y: torch.Tensor, layout: MemoryOrder | None) -> torch.Tensor:
    """A gradient for a result."""
    return placed(torch.ones(y.shape, dtype=y.dtype), layout) if layout is not None else torch.ones_like(y)


def document(estimate: Estimate, probes: Iterable[Probe]) -> dict[str, Any]:
    """A probe's file: what `--target FILE.json` reads."""
    target = estimate.request.target
    assert isinstance(target, Cpu)
    return {
        "format": FORMAT,
        "costmodel": __version__,
        "torch": torch_version(),
        "device": target.device,
        "isa": target.isa,
        "threads": target.threads,
        "cores": target.cores,
        "channels_last": target.channels_last,
        "calls": {
            one.call.key: [one.forward, one.backward, one.forward_seconds, one.backward_seconds]
            for one in probes
            if not one.missed
        },
    }
