"""A frozen convolution that does the work of the norm after it, whose scale and statistics are frozen."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from ..graph.op import Casts, Result, Scratch, Stock, op
from ..sizes.size import Shape, beyond, numel, where
from ..targets.memory_order import MemoryOrder
from ..targets.setting import Setting
from ._cast import casts_of
from ._gradients import OwnGradients
from .conv import Conv2d
from .norm import BatchNorm


@op("folded_conv2d")
class FoldedConv2d(OwnGradients):
    """A frozen convolution, into which the scale and shift of the norm after it are folded.

    norm: path of the norm's module, which still holds the norm's parameters.
    """

    norm: str = ""

    stock = Stock(in_python=True)
    casts = Casts.INSIDE

    def saves_late(self, operands: Set[str]) -> bool:
        return True

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        biased = Conv2d(*self.arguments()[:-1], True)
        # The scaled weight and the bias are made anew in every call, and cast.
        scaled, shift = (setting.parameter_item * n for n in (numel(self.params()["weight"]), self.out_channels))
        inside = where(self.is_made_as_product(setting, x), 0, biased.scratch(setting, y, x).forward)
        forward = inside + scaled + shift + casts_of(biased, setting)
        if "x" not in setting.demanded:
            return Scratch(forward)
        # The scale, of which first the variance meets a number; the scaled weight, which may be cast; the gradient.
        map_, scale = setting.item * numel(x), setting.parameter_item * self.out_channels
        cast = casts_of(self, setting, bias=False)
        called = scale + (cast or scaled) + map_ + self.kernels(setting, y, x)[1]
        return Scratch(forward, beyond(map_, scale + setting.scalar, scale + scaled + cast, called))

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        if "x" in setting.demanded:
            return super().modelled(setting, y, x)
        return self.is_made_as_product(setting, x) | super().modelled(setting, y, x)

    def module(self, library: Any) -> Callable:
        module = library.lean.FoldedConv2d(*self.arguments())
        return library.standardised_once(module) if self.fixed else module


@op("folded_norm")
class FoldedNorm(BatchNorm):
    """A frozen norm whose scale and shift are folded into the convolution before it. It returns its input.

    To autograd that is no view of its input, but as if it had written over it.
    """

    stock = Stock()
    result = Result.INPLACE
    passes = ("x",)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return gradient

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # The convolution's function makes the shift's gradient first.
        return Scratch(0, setting.channel_sums(y) if "bias" in setting.demanded else 0)

    def module(self, library: Any) -> Callable:
        return library.lean.FoldedNorm2d(self.channels, self.eps, self.momentum)


FoldedConv2d.examples = (
    (FoldedConv2d(3, 8, 3, stride=2, padding=1), (2, 3, 9, 9)),
    (FoldedConv2d(8, 16, 1), (2, 8, 5, 3)),
)
FoldedNorm.examples = ((FoldedNorm(8, "frozen"), (2, 8, 5, 3)),)
