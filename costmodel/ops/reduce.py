"""Reductions over axes: mean, sum, vector norm, variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Axes, Op, Scratch, Work, check, op
from ..sizes.size import Shape, Size, numel, require, where
from ..targets.memory_order import MemoryOrder, contiguous, dense
from ..targets.setting import SUM_BYTES, Setting


class Reduction(Op):
    """Reduces some axes to one number; a number has none. With keepdim the axes stay, with size 1."""

    timed_as = ("pool",)

    axes: Axes
    keepdim: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", tuple(sorted(self.axes)))
        fit = all(axis >= 0 for axis in self.axes) and len(set(self.axes)) == len(self.axes)
        check(fit, f"axes is {self.axes}; allowed: each >= 0, and once")

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return xs[0] if self.keepdim else contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def shape(self, x: Shape) -> Shape:
        require(bool(self.axes) or not x, "axes is empty, which only a number without axes allows; the input is {}", x)
        require(not x or self.axes[-1] < len(x), "axes {} are not all there in the input {}", self.axes, x)
        left = (1,) if self.keepdim else ()
        return tuple(size for i, n in enumerate(x) for size in (left if i in self.axes else (n,)))

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = Work(0, numel(x))
        return {"forward": n, "x": n}


@op("mean")
class Mean(Reduction):
    """x.mean(axes)."""

    axes: Axes = (2, 3)
    keepdim: bool = False

    grid = "none"
    in_16_bits = True

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(setting.mean(y, x), setting.scalar)  # the gradient is divided by a number

    def module(self, library: Any) -> Callable:
        return lambda x: x.mean(self.axes, keepdim=self.keepdim)


@op("sum")
class Sum(Reduction):
    """x.sum(axes). The gradient is the output's, expanded: a view."""

    axes: Axes
    keepdim: bool = False

    passes = ("x",)
    gradient_views = True

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return MemoryOrder(contiguous(len(x.order)).order, self.axes)  # repeated elements: these axes are not dense

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(x)), "x": Work()}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(setting.shared_sum(x, numel(y)))

    def module(self, library: Any) -> Callable:
        return lambda x: x.sum(self.axes, keepdim=self.keepdim)


@op("vector_norm")
class VectorNorm(Reduction):
    """The square root of the sum of squares over axes: dx = x / y * g."""

    axes: Axes
    keepdim: bool = False

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(x)  # x times smaller tensors

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "y")}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(x)
        return {"forward": Work(0, 2 * n), "x": Work(0, 2 * n)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # FunctionsManual.cpp: linalg_vector_norm_backward: the quotient, and a mask of 0 / 0, besides the gradient.
        return Scratch(backward=setting.item * numel(x) + numel(y))

    def module(self, library: Any) -> Callable:
        return lambda x: library.torch.linalg.vector_norm(x, 2, self.axes, self.keepdim)


@op("var")
class Variance(Reduction):
    """x.var(axes): dx = 2 / (m - correction) * g * (x - mean), where the mean is computed again."""

    axes: Axes
    correction: int = 1
    keepdim: bool = False

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(x)  # x minus the means, times smaller tensors

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x",)}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(x)
        return {"forward": Work(0, 4 * n), "x": Work(0, 3 * n)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # FunctionsManual.cpp: var_backward: the means, the scaled gradient and the differences.
        return Scratch(self.of_all(setting, y, x), setting.item * (numel(x) + 2 * numel(y)))

    @staticmethod
    def of_all(setting: Setting, y: Shape, x: Shape) -> Size:
        """Bytes beside one variance of all numbers: their mean (ReduceOps.cpp: std_var_all_cpu)."""
        if not setting.kernels or setting.item < SUM_BYTES:
            return 0
        return where(numel(y) == 1, setting.item + setting.mean(y, x), 0)

    def module(self, library: Any) -> Callable:
        return lambda x: x.var(self.axes, correction=self.correction, keepdim=self.keepdim)


@op("std")
class Deviation(Variance):
    """x.std(axes): the square root of the variance. Its gradient reads the output too."""

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "y")}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(x)
        return {"forward": Work(0, 4 * n + numel(y)), "x": Work(0, 3 * n + 2 * numel(y))}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # FunctionsManual.cpp: std_backward: the variance's gradient, then as var_backward.
        return Scratch(self.of_all(setting, y, x), setting.item * (numel(x) + 3 * numel(y)))

    def module(self, library: Any) -> Callable:
        return lambda x: x.std(self.axes, correction=self.correction, keepdim=self.keepdim)


Deviation.examples = ((Deviation((2, 3), 0, keepdim=True), (2, 4, 5, 7)), (Deviation((1,)), (2, 4, 5)))
Mean.examples = ((Mean(), (2, 4, 5, 7)), (Mean(keepdim=True), (2, 4, 5, 7)), (Mean((3,)), (2, 4, 5, 7)))
Sum.examples = ((Sum((1,)), (2, 4, 5)), (Sum((2, 3), keepdim=True), (2, 4, 5, 7)))
VectorNorm.examples = ((VectorNorm((2,), keepdim=True), (2, 4, 5)), (VectorNorm((2, 3)), (2, 4, 5, 7)))
Variance.examples = ((Variance((2, 3), 0, keepdim=True), (2, 4, 5, 7)), (Variance((1,)), (2, 4, 5)))
