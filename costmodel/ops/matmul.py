"""Products of two activations, and softmax."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from itertools import combinations
from typing import Any

from ..graph.aspects.memory_format import ContiguousOnly
from ..graph.op import Casts, Op, Scratch, Work, op
from ..sizes.size import Shape, broadcast, numel, require
from ..targets.memory_order import MemoryOrder
from ..targets.setting import Setting


@op("matmul")
class Matmul(ContiguousOnly, Op):
    """torch.matmul: (..., L, K) and (..., K, M) -> (..., L, M); the axes before the last two broadcast."""

    timed_as = ("matmul",)
    is_product = True
    inputs = ("a", "b")
    casts = Casts.LOWER

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
        place = {axis: i for i, axis in enumerate(gradient.order)}
        found: Any = False
        for a, b in combinations(range(len(y) - 2), 2):
            apart = [c for c in range(len(y)) if place[a] < place[c] < place[b]]
            follow = place[a] < place[b] and not (a in gradient.outside and b not in gradient.outside)
            next_to = (y[a] > 1) & (y[b] > 1) & all_of_size_1(y, range(a + 1, b))
            found = found | (next_to if not follow else next_to & (all_of_size_1(y, apart) ^ True))
        return found

    def module(self, library: Any) -> Callable:
        return library.torch.matmul


def all_of_size_1(shape: Shape, axes: Iterable[int]) -> Any:
    """Whether some axes all have size 1."""
    return reduce(lambda found, axis: found & (shape[axis] == 1), axes, True)


@op("mv")
class MatrixVector(ContiguousOnly, Op):
    """torch.matmul of a matrix and a vector, or torch.mv: (L, K) and (K) -> (L).

    The matrix's gradient is an outer product, da = g[:, None] * b.
    """

    timed_as = ("matmul",)
    is_product = True
    inputs = ("a", "b")
    casts = Casts.LOWER

    def shape(self, a: Shape, b: Shape) -> Shape:
        require(len(a) == 2 and len(b) == 1, "mv takes a matrix and a vector, the inputs are {} and {}", a, b)
        require(a[1] == b[0], "a matrix {} and a vector {} do not fit", a, b)
        return a[:1]

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("b",), "b": ("a",)}

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        n = numel(a)
        return {"forward": Work(n), "a": Work(0, n), "b": Work(n)}

    def modelled(self, setting: Setting, y: Shape, a: Shape, b: Shape) -> Any:
        # BLAS takes matrices with an axis without gaps, and vectors whose elements lie apart.
        expanded = setting.gradient is not None and bool(setting.gradient.outside)
        strided = any(x.outside for x in setting.layouts)
        return super().modelled(setting, y, a, b) and not (expanded or strided)

    def module(self, library: Any) -> Callable:
        return library.torch.matmul


@op("dot")
class Dot(ContiguousOnly, Op):
    """torch.matmul of two vectors, or torch.dot: (K) and (K) -> (). A gradient is the other vector times a number."""

    timed_as = ("matmul",)
    is_product = True
    inputs = ("a", "b")
    casts = Casts.LOWER

    def shape(self, a: Shape, b: Shape) -> Shape:
        require(len(a) == len(b) == 1, "dot takes vectors, the inputs are {} and {}", a, b)
        require(a[0] == b[0], "vectors {} and {} do not fit", a, b)
        return ()

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("b",), "b": ("a",)}

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        n = numel(a)
        return {"forward": Work(0, 2 * n), "a": Work(0, n), "b": Work(0, n)}

    def module(self, library: Any) -> Callable:
        return library.torch.matmul


@op("softmax")
class Softmax(ContiguousOnly, Op):
    """torch.softmax along an axis. Its gradient, dx = y * (g - sum(g * y)), reads the output."""

    timed_as = ("exponential",)

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
    """torch.log_softmax along an axis. Its gradient, dx = g - exp(y) * sum(g), reads the output as softmax's does.

    of_a_loss: it runs within cross-entropy, which autocast runs in 32 bits.
    """

    axis: int = -1
    of_a_loss: bool = False

    @property
    def casts(self) -> Casts | None:
        return Casts.FULL if self.of_a_loss else super().casts

    def module(self, library: Any) -> Callable:
        return library.nn.LogSoftmax(self.axis)


LogSoftmax.examples = ((LogSoftmax(), (2, 3, 5)), (LogSoftmax(1), (2, 4, 3, 3)))
Matmul.examples = ((Matmul(), (2, 3, 5, 4), (2, 3, 4, 6)), (Matmul(), (2, 5, 4), (2, 4, 6)))
MatrixVector.examples = ((MatrixVector(), (3, 4), (4,)),)
Dot.examples = ((Dot(), (5,), (5,)),)
Softmax.examples = ((Softmax(), (2, 3, 5)), (Softmax(1), (2, 4, 3, 3)))
