"""Normalisation by the input's own statistics alone, and of weights by their norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Extra, Op, Scratch, Stock, Work, op
from ..sizes.size import Shape, numel, require
from ..targets.memory_order import MemoryOrder, contiguous
from ..targets.setting import Setting
from .norm import batch_norm_scratch, takes, with_statistics


@op("standardise")
class Standardise(Op):
    """torch.nn.functional.batch_norm without running statistics: the input's are taken in every mode.

    scaled, shifted: the scale and the shift are further inputs, `weight` and `bias`. timm's StdConv2d standardises each
    row of its weight this way.
    """

    scaled: bool = False
    eps: float = 1e-5
    shifted: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("x", *("weight",) * self.scaled, *("bias",) * self.shifted)

    def shape(self, x: Shape, *more: Shape) -> Shape:
        require(len(x) >= 2, "standardise takes (N, C, ...), the input is {}", x)
        for one in more:
            require(one[0] == x[1], "the input {} and the scale or shift {} do not fit", x, one)
        require(x[0] * numel(x[2:]) > 1, "statistics of one value per channel (input {})", x)
        return x

    stock = Stock(joint=True)  # as for batch norm

    def needs(self) -> dict[str, tuple[str, ...]]:
        weight = ("weight",) if self.scaled else ()
        needs = {"x": ("x", "mean", "invstd", *weight), "weight": ("x", "mean", "invstd"), "bias": ()}
        return {name: needs[name] for name in self.inputs}

    def extras(self, x: Shape, *_: Shape) -> dict[str, Extra]:
        return {"mean": Extra(x[1:2]), "invstd": Extra(x[1:2])}

    def work(self, y: Shape, x: Shape, *_: Shape) -> dict[str, Work]:
        work = with_statistics(numel(y))
        return {name: work[name] for name in ("forward", *self.inputs)}

    def scratch(self, setting: Setting, y: Shape, x: Shape, *_: Shape) -> Scratch:
        return batch_norm_scratch(setting, x[1], True, self.scaled, y, x)

    def modelled(self, setting: Setting, y: Shape, x: Shape, *_: Shape) -> Any:
        found = super().modelled(setting, y, x) and takes(setting, x)
        # An instance norm makes channels_last maps contiguous, and one image of them.
        return found & (x[0] > 1) if setting.target.channels_last and len(x) == 4 else found

    def module(self, library: Any) -> Callable:
        norm = library.torch.nn.functional.batch_norm
        if self.shifted and not self.scaled:
            return lambda x, bias: norm(x, None, None, None, bias, True, 0.0, self.eps)
        return lambda x, weight=None, bias=None: norm(x, None, None, weight, bias, True, 0.0, self.eps)


@op("weight_norm")
class WeightNorm(Op):
    """torch._weight_norm: v / |v| * g, with the norms over all axes but the first.

    torch.nn.utils.weight_norm computes a layer's weight by it.
    """

    inputs = ("v", "g")
    stock = Stock(joint=True)  # aten::_weight_norm_interface_backward

    def shape(self, v: Shape, g: Shape) -> Shape:
        require((g[0] == v[0]) & (numel(g) == v[0]), "{} are not the norms of {}", g, v)
        return v

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"v": ("v", "g", "norms"), "g": ("v", "norms")}

    def extras(self, v: Shape, g: Shape) -> dict[str, Extra]:
        return {"norms": Extra(g, 32)}

    def work(self, y: Shape, v: Shape, g: Shape) -> dict[str, Work]:
        n = numel(v)  # a sum of squares and a product; a sum of products, and v's gradient from it
        return {"forward": Work(0, 3 * n), "v": Work(0, 4 * n), "g": Work(0, 2 * n)}

    def modelled(self, setting: Setting, y: Shape, v: Shape, g: Shape) -> Any:
        last = setting.target.channels_last and len(v) == 4
        return super().modelled(setting, y, v, g) and not setting.layouts and not last

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def scratch(self, setting: Setting, y: Shape, v: Shape, g: Shape) -> Scratch:
        # The call makes both gradients, and lets go of the one that nobody wants.
        unasked = sum(setting.item * numel(x) for name, x in (("v", v), ("g", g)) if name not in setting.demanded)
        return Scratch(0 if setting.recorded else 4 * numel(g), unasked)

    def module(self, library: Any) -> Callable:
        return library.torch._weight_norm


WeightNorm.examples = ((WeightNorm(), (6, 4, 3, 3), (6, 1, 1, 1)), (WeightNorm(), (6, 4), (6, 1)))
Standardise.examples = (
    (Standardise(), (1, 6, 20)),
    (Standardise(scaled=True), (1, 6, 4, 5), (6,)),
    (Standardise(scaled=True, shifted=True), (2, 6, 4, 5), (6,), (6,)),
)
