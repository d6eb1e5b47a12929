"""Products of two activations, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.aspects.memory_format import ContiguousOnly
from ..graph.op import Op, Scratch, Work, op
from ..sizes.size import Shape, broadcast, numel, require
from ..targets.memory_order import MemoryOrder, differs
from ..targets.setting import Setting


@op("matmul")
class Matmul(ContiguousOnly, Op):
    """torch.matmul: (..., L, K) and (..., K, M) -> (..., L, M); the axes before the last two broadcast."""

    inputs = ("a", "b")

    def shape(self, a: Shape, b: Shape) -> Shape:
        require(len(a) >= 2 and len(b) >= 2, "matmul takes matrices, the inputs are {} and {}", a, b)
        require(a[-1] == b[-2], "matrices {} and {} do not fit", a, b)
        return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1])

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("b",), "b": ("a",)}

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        each = Work(numel(y) * a[-1])
        return {"forward": each, "a": each, "b": each}

    def modelled(self, setting: Setting, y: Shape, a: Shape, b: Shape) -> Any:
        # BLAS takes matrices with an axis without gaps; others are copied, as are maps in channels_last.
        expanded = setting.gradient is not None and bool(setting.gradient.outside)
        strided = any(x.order[-1] in (*x.outside, *range(len(x.order) - 2)) for x in setting.layouts)
        flat = setting.channels_last and 4 in (len(a), len(b))
        return super().modelled(setting, y, a, b) and not (expanded or strided or flat)

    def copies_gradient(self, gradient: MemoryOrder, y: Shape) -> Any:
        # Backward takes the gradient as (batch, L, M): the batch's axes must follow one another in memory.
        batch = range(len(y) - 2)
        first = next((place for place, axis in enumerate(gradient.order) if axis in batch), 0)
        before, after = gradient.order[:first], [axis for axis in gradient.order[first:] if axis not in batch]
        gaps = tuple(axis for axis in gradient.outside if axis in batch[:-1])
        return differs(MemoryOrder(gradient.order, gaps), y, (*before, *batch, *after))

    def module(self, library: Any) -> Callable:
        return library.torch.matmul


@op("softmax")
class Softmax(ContiguousOnly, Op):
    """torch.softmax along an axis. Its gradient, dx = y * (g - sum(g * y)), reads the output."""

    axis: int = -1

    def shape(self, x: Shape) -> Shape:
        require(-len(x) <= self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("y",)}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(y)  # max, subtract, exp, sum, divide
        return {"forward": Work(0, 5 * n), "x": Work(0, 4 * n)}

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and not (setting.channels_last and len(x) == 4)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(setting.copy_of_input(x), setting.copy_of_gradient(y)) if setting.kernels else Scratch()

    def module(self, library: Any) -> Callable:
        return library.nn.Softmax(self.axis)


@op("log_softmax")
class LogSoftmax(Softmax):
    """torch.log_softmax along an axis. Its gradient, dx = g - exp(y) * sum(g), reads the output as softmax's does."""

    def module(self, library: Any) -> Callable:
        return library.nn.LogSoftmax(self.axis)


LogSoftmax.examples = ((LogSoftmax(), (2, 3, 5)), (LogSoftmax(1), (2, 4, 3, 3)))
Matmul.examples = ((Matmul(), (2, 3, 5, 4), (2, 3, 4, 6)), (Matmul(), (2, 5, 4), (2, 4, 6)))
Softmax.examples = ((Softmax(), (2, 3, 5)), (Softmax(1), (2, 4, 3, 3)))
