"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.aspects.memory_format import ContiguousOnly
from ..graph.op import Casts, Extra, Op, Scratch, Work, check, op
from ..sizes.size import Shape, maximum, numel, require
from ..targets.memory_order import MemoryOrder, contiguous, differs
from ..targets.setting import SUM_BYTES, Setting


class Affine(Op):
    """x times the transposed weight, plus the bias: (N, ..., in_features) -> (N, ..., out_features).

    strided: the input's strides do not allow a view of its rows as one matrix. Then torch multiplies a copy of the
    input, keeps the copy for the weight's gradient, and adds the bias in place (aten/src/ATen/native/Linear.cpp;
    LinearAlgebra.cpp: should_fold).
    """

    timed_as = ("linear",)

    bias: bool
    strided: bool

    casts = Casts.LOWER
    is_product = True

    def needs(self) -> dict[str, tuple[str, ...]]:
        # addmm keeps its input only for the weight's gradient: it is the one stock layer that freezing makes cheaper.
        needs: dict[str, tuple[str, ...]] = {"x": ("weight",), "weight": ("x",)}
        return {**needs, "bias": ()} if self.bias else needs

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {**self.needs(), "weight": ("copy",)} if self.strided else self.needs()

    def extras(self, x: Shape, *_: Shape) -> dict[str, Extra]:
        return {"copy": Extra(x)} if self.strided else {}

    def work(self, y: Shape, x: Shape, *_: Shape) -> dict[str, Work]:
        n = numel(y)
        macs = n * x[-1]
        work = {"forward": Work(macs, n if self.bias else 0), "x": Work(macs), "weight": Work(macs)}
        return {**work, "bias": Work(0, n)} if self.bias else work

    def scratch(self, setting: Setting, y: Shape, x: Shape, *_: Shape) -> Scratch:
        # With a frozen weight rows are not folded: bmm reads an input of three axes in place, and copies one of more.
        copied = self.strided and len(x) > 3 and "weight" not in setting.demanded
        forward, backward = setting.target.linear(setting, numel(x[:-1]), x[-1], y[-1])
        if "bias" in setting.demanded:  # whose gradient is summed last
            backward = maximum(backward, setting.shared_sum(y, y[-1]))
        return Scratch(setting.item * numel(x) if copied else forward, backward)

    def modelled(self, setting: Setting, y: Shape, x: Shape, *_: Shape) -> Any:
        # Maps in channels_last are copied first, and so is a matrix of gradients whose rows have gaps.
        flat = setting.target.channels_last and len(x) == 4
        gaps = setting.gradient is not None and setting.gradient.order[-1] in setting.gradient.outside
        known = not self.strided or setting.target.linear(setting, 2, x[-1], y[-1]) == (0, 0)
        narrow = setting.item >= SUM_BYTES or self.in_narrow(setting, y, x)
        return narrow and not flat and not (gaps and len(y) == 2) and known

    def in_narrow(self, setting: Setting, y: Shape, x: Shape) -> Any:
        """Whether the layer is modelled in 16 bits, where kernels of matrices of two axes were measured."""
        plain = len(x) == 2 and not setting.layouts and setting.gradient is None
        return plain and setting.target.knows_linear(setting, x[0])

    def is_gradient_viewed(self, y: Shape) -> bool:
        return len(y) > 2  # of a matrix, which is what the kernel multiplies

    def copies_gradient(self, gradient: MemoryOrder, y: Shape) -> Any:
        # With more than two axes it is a matrix product between two views; the second view's backward makes a matrix.
        return len(y) > 2 and differs(gradient, y, contiguous(len(y)).order)


@op("linear")
class Linear(ContiguousOnly, Affine):
    """torch.nn.Linear: (N, ..., in_features) -> (N, ..., out_features)."""

    in_features: int
    out_features: int
    bias: bool = True
    strided: bool = False

    grid = "none"
    parameter_gradient_views = True  # of a transposed matrix, and of a sum

    def __post_init__(self) -> None:
        for name in ("in_features", "out_features"):
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; allowed: >= 1")

    @classmethod
    def infer(cls, x: Shape) -> dict[str, int]:
        return {"in_features": x[-1]}

    def params(self) -> dict[str, tuple[int, ...]]:
        weight = (self.out_features, self.in_features)
        return {"weight": weight, "bias": (self.out_features,)} if self.bias else {"weight": weight}

    def shape(self, x: Shape) -> Shape:
        require(len(x) >= 2, "linear takes (N, ..., features), the input is {}", x)
        fits = x[-1] == self.in_features
        require(fits, "the input has {} features, the layer takes {}", x[-1:], (self.in_features,))
        return (*x[:-1], self.out_features)

    def module(self, library: Any) -> Callable:
        return library.nn.Linear(self.in_features, self.out_features, self.bias)


@op("linear_by")
class LinearBy(Affine):
    """torch.nn.functional.linear whose weight and bias are inputs: computed, or parameters of another name."""

    bias: bool = True
    strided: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("x", "weight", "bias") if self.bias else ("x", "weight")

    def shape(self, x: Shape, weight: Shape, bias: Shape | None = None) -> Shape:
        fits = len(x) >= 2 and len(weight) == 2
        require(fits, "linear_by takes (N, ..., features) and a matrix, not {} and {}", x, weight)
        require(x[-1] == weight[1], "the input has {} features, the weight is {}", x[-1:], weight)
        require(bias is None or bias[0] == weight[0], "the weight {} and the bias {} do not fit", weight, bias or ())
        return (*x[:-1], weight[0])

    def module(self, library: Any) -> Callable:
        return library.torch.nn.functional.linear


Linear.examples = ((Linear(6, 4), (3, 6)), (Linear(5, 7, bias=False), (2, 5)), (Linear(6, 4), (3, 5, 6)))
LinearBy.examples = ((LinearBy(), (3, 5, 6), (4, 6), (4,)), (LinearBy(bias=False), (3, 6), (4, 6)))
