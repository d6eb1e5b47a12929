"""Norms over the last axes: every position has statistics of its own."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from ..graph.aspects.memory_format import ContiguousOnly
from ..graph.op import Extra, Op, Scratch, Sizes, Stock, Work, check, op
from ..sizes.size import Shape, maximum, numel, require
from ..targets.memory_order import contiguous
from ..targets.setting import Setting
from .norm import of_own, statistics_bits, with_statistics


@op("layer_norm")
class LayerNorm(ContiguousOnly, Op):
    """torch.nn.LayerNorm over the last axes, whose shape is `size`. Each position has its own statistics."""

    timed_as = ("group_norm",)

    size: Sizes
    eps: float = 1e-5
    affine: bool = True
    bias: bool = True

    is_norm = True

    def __post_init__(self) -> None:
        check(bool(self.size) and min(self.size) >= 1, f"size is {self.size}; allowed: a list of integers >= 1")
        object.__setattr__(self, "size", tuple(self.size))

    def params(self) -> dict[str, tuple[int, ...]]:
        names = ("weight", "bias") if self.affine and self.bias else ("weight",) if self.affine else ()
        return dict.fromkeys(names, self.size)

    def shape(self, x: Shape) -> Shape:
        for size, given in zip(self.size, x[-len(self.size) :] if len(x) > len(self.size) else [-1]):
            require(given == size, "the norm takes (..., {}), the input is {}", self.size, x)
        return x

    stock = Stock(joint=True)  # aten::native_layer_norm_backward, as for batch norm

    def needs(self) -> dict[str, tuple[str, ...]]:
        weight = ("weight",) if self.affine else ()
        return of_own(self, {"x": ("x", "mean", "rstd", *weight), "weight": ("x", "mean", "rstd"), "bias": ()})

    def extras(self, x: Shape) -> dict[str, Extra]:
        rows = (*x[: -len(self.size)], *(1 for _ in self.size))
        return dict.fromkeys(("mean", "rstd"), Extra(rows, statistics_bits(self)))

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return of_own(self, with_statistics(numel(y)))

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # aten/src/ATen/native/layer_norm.cpp: mean and rstd are results; each thread sums the parameters' gradients.
        item = setting.parameter_item if self.affine else setting.item
        statistics = 0 if setting.recorded else 2 * item * numel(x[: -len(self.size)])
        sums = 2 * setting.target.threads * setting.item * numel(self.size)
        trained = bool({"weight", "bias"} & set(setting.demanded))
        if not setting.kernels:
            return Scratch(statistics)
        # The kernel takes contiguous tensors; others are copied.
        order = contiguous(len(x)).order
        copies = setting.copies(order, None, x), setting.copies(order, y, x)
        return Scratch(statistics + copies[0], (sums if trained else 0) + copies[1])

    def module(self, library: Any) -> Callable:
        return library.nn.LayerNorm(self.size, self.eps, self.affine, self.bias)


@op("rms_norm")
class RmsNorm(Op):
    """torch.nn.functional.rms_norm over the last axes: x / sqrt(mean(x ** 2) + eps) * weight.

    On a CPU torch runs these functions one after the other, so a scale that trains keeps the tensor that it multiplies.
    eps: None is what torch takes for the data type, the distance from 1 to its next number.
    """

    timed_as = ("group_norm",)

    size: Sizes
    eps: float | None = 1e-6
    affine: bool = True

    is_norm = True
    mixes = False
    frees_gradient = True
    widens = True

    def __post_init__(self) -> None:
        check(bool(self.size) and min(self.size) >= 1, f"size is {self.size}; allowed: a list of integers >= 1")
        object.__setattr__(self, "size", tuple(self.size))

    def params(self) -> dict[str, tuple[int, ...]]:
        return {"weight": self.size} if self.affine else {}

    def shape(self, x: Shape) -> Shape:
        require(x[-len(self.size) :] == self.size, "the norm takes (..., {}), the input is {}", self.size, x)
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return of_own(self, {"x": ("x", "rrms", *self.params()), "weight": ("normalised",)})

    def extras(self, x: Shape) -> dict[str, Extra]:
        rows = (*x[: -len(self.size)], *(1 for _ in self.size))
        return {"rrms": Extra(rows), "normalised": Extra(x)}

    def saves_late(self, operands: Set[str]) -> bool:
        return False  # its last product saves only its inputs

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(y)  # squares and their sum, two products; backward: two products and the gradient of the mean
        return of_own(self, {"forward": Work(0, 4 * n), "x": Work(0, 6 * n), "weight": Work(0, 2 * n)})

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        # Each of these functions keeps the order of its operands' axes, and copies where they differ.
        return super().modelled(setting, y, x) and not setting.layouts

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        n, rows = numel(x), numel(x[: -len(self.size)])
        wants, trains = "x" in setting.demanded, "weight" in setting.demanded
        forward = (0 if trains or not self.affine else n) + (0 if wants else rows)
        if not self.affine:  # the mean's square is alive beside its root
            forward = forward + rows
        # Before that the squares and their mean are alive while eps is added.
        number = setting.python_number if setting.kernels else 0
        early = setting.item * ((0 if wants else rows) - (n if trains else 0)) + number
        forward = maximum(setting.item * forward, early)
        if not wants:
            return Scratch(forward, setting.item * n)
        # The peak is at the squares: the gradient's first part, the mean's, x, 2 * x and their product are alive.
        return Scratch(forward, setting.item * ((3 if trains else 4) * n - rows))

    def module(self, library: Any) -> Callable:
        return library.nn.RMSNorm(self.size, self.eps, self.affine)


LayerNorm.examples = (
    (LayerNorm((8,)), (2, 5, 8)),
    (LayerNorm((3, 4), bias=False), (2, 3, 4)),
    (LayerNorm((8,), affine=False), (2, 8)),
)
RmsNorm.examples = ((RmsNorm((8,)), (2, 5, 8)), (RmsNorm((8,), None, affine=False), (2, 5, 8)))
