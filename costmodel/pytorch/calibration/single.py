"""Single layers, pass by pass: how much longer each takes than its arithmetic and its bytes say."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...devices.kinds import BACKWARD, FORWARD, INPUT, UPDATE, WEIGHT
from ...graph.op import Op
from ...sizes.size import Shape, nbytes, numel
from ...step.passes import Layer, Pass, own_bytes
from .. import library
from .cases import cases
from .clock import Clock, Rates, rates, seconds_of

BITS = 32
#: Layers after which the reference kernels run again.
ROUND = 20
#: Shapes of the parameters that are updated.
UPDATED = ((1280, 1000), (960, 160, 1, 1), (192, 1, 3, 3), (192,))
TINY = (4,)
MAP = 4  # axes of one


class Timed(NamedTuple):
    """A pass of a layer alone, and its seconds."""

    one: Pass
    seconds: float


class Single(NamedTuple):
    """What was measured of single layers. rounds: of the reference kernels. overhead: seconds of a pass of next to no
    work.
    """

    timed: list[Timed]
    rounds: list[Rates]
    overhead: float


def measured(clock: Clock, memory_format: torch.memory_format) -> Single:
    """Measure all single layers. memory_format: of maps and of convolutions' weights."""
    rounds, timed = [rates(clock)], list[Timed]()
    for number, (op, xs) in enumerate(cases()):
        timed += passes_of_layer(op, xs, clock, memory_format)
        if number % ROUND == ROUND - 1:
            rounds.append(rates(clock))
    timed.append(update(clock))
    return Single(timed, [*rounds, rates(clock)], overhead(clock))


def passes_of_layer(
    op: Op, xs: tuple[Shape, ...], clock: Clock, memory_format: torch.memory_format = torch.contiguous_format
) -> list[Timed]:
    """The passes of one layer."""
    made = op.module(library)
    inputs = [drawn(x, memory_format) for x in xs]
    if isinstance(made, nn.Module):
        made.to(memory_format=memory_format)
    parameters = list(made.parameters()) if isinstance(made, nn.Module) else []
    y = op.shape(*xs)
    sizes = [nbytes(numel(x), BITS) for x in xs]
    layer = Layer(op, 0, op.work(y, *xs), nbytes(numel(y), BITS), sum(sizes), own_bytes(op, BITS))
    calls = {FORWARD: lambda: made(*inputs), **backward_calls(made, inputs, parameters, drawn(y, memory_format))}
    passes = [*layer.forward(), *layer.backward((*op.inputs, *op.params()))]
    return [Timed(one, seconds_of(calls[one.name], clock)) for one in passes]


def drawn(shape: Shape, memory_format: torch.memory_format) -> Tensor:
    """Random numbers; maps in a memory format."""
    numbers = torch.randn(shape)
    return numbers.contiguous(memory_format=memory_format) if len(shape) == MAP else numbers


def backward_calls(made: Any, inputs: list[Tensor], parameters: list[Tensor], gradient: Tensor) -> dict[str, Callable]:
    """What computes each of a layer's gradients alone. gradient: of its output."""

    def call(of: list[Tensor], frozen: list[Tensor]) -> Callable[[], Any]:
        for one in (*of, *frozen):
            one.requires_grad_(any(one is other for other in of))
        result = made(*inputs)
        return lambda: torch.autograd.grad(result, of, gradient, retain_graph=True)

    found = {INPUT: call(inputs, parameters)}
    if parameters:
        found[WEIGHT] = call(parameters, inputs)
    return {**found, BACKWARD: call([*inputs, *parameters], [])}


def update(clock: Clock) -> Timed:
    """An update of some parameters by plain SGD."""
    parameters = [torch.randn(shape, requires_grad=True) for shape in UPDATED]
    for one in parameters:
        one.grad = torch.zeros_like(one)
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    size = 3 * sum(one.nbytes for one in parameters)
    return Timed(Pass(-1, UPDATE, UPDATE, 0, size), seconds_of(optimizer.step, clock))


def overhead(clock: Clock) -> float:
    """Seconds of a pass of a layer with next to no work: the mean of its forward and its backward pass."""
    x, gradient = torch.randn(TINY, requires_grad=True), torch.randn(TINY)
    return seconds_of(lambda: torch.autograd.grad(torch.relu(x), x, gradient), clock) / 2


def factors_of(single: Single, best: Rates) -> dict[str, float]:
    """By kind of kernels and pass, how much longer single layers take than their arithmetic and bytes: the medians."""
    found: dict[str, list[float]] = {}
    for one, seconds in single.timed:
        bound = max(2 * one.macs / best.arithmetic, one.nbytes / best.bandwidth)
        found.setdefault(f"{one.kernels}.{one.name}", []).append(max(seconds - single.overhead, bound / 100) / bound)
    return {key: median(values) for key, values in found.items()}
