"""A frozen convolution that does the work of the norm after it, whose scale and statistics are frozen.

Words:
- A stretch is the part of a frozen prefix that runs in channels_last though the network is contiguous: kernels of
  convolutions copy contiguous maps into an order of their own and back, which often takes longer than the convolution,
  and more memory. Its first convolution brings its input into channels_last, and its last layer gives a contiguous map.
  (conventions/_stretch.py)
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from typing import Any

from ..graph.op import Casts, Op, Result, Scratch, Stock, op, shared_fields
from ..sizes.size import Shape, Size, beyond, maximum, numel, where
from ..targets.memory_order import CHANNELS_LAST, MemoryOrder, contiguous
from ..targets.setting import Setting
from ._cast import casts_of
from ._gradients import OwnGradients
from .arithmetic import Add
from .conv import Conv2d
from .norm import BatchNorm

#: The data type in which stretches run so.
STRETCH_DTYPE = "float32"


@shared_fields
class InStretch(OwnGradients):
    """A frozen convolution that may stand in a stretch. stretch: path of the network's first convolution, or "".

    In a stretch a pointwise one is a product of matrices on several threads, too, whose scratch is known to the byte.
    """

    stretch: str = ""

    @property
    def flat_forward(self) -> bool:
        return bool(self.stretch)

    def result_beside(self, setting: Setting, x: Shape, stock: Size) -> Size:
        """Bytes beside its result. stock: of the stock kernel, which runs if no product does."""
        return where(self.is_made_as_product(setting, x), self.transposed(setting, x), stock)


@op("frozen_conv2d")
class FrozenConv2d(InStretch):
    """A frozen pointwise convolution in a stretch, without a norm: of a gate, say."""

    examples = ()  # elsewhere its module does what a stock one does

    def in_one_format(self) -> Op:
        return Conv2d(*self.arguments())

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(self.result_beside(setting, x, super().scratch(setting, y, x).forward))

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return self.is_made_as_product(setting, x) | super().modelled(setting, y, x)

    def module(self, library: Any) -> Callable:
        return library.lean.FrozenConv2d(*self.arguments())


@op("folded_conv2d")
class FoldedConv2d(InStretch):
    """A frozen convolution, into which the scale and shift of the norm after it are folded.

    norm: path of the norm's module, which still holds the norm's parameters. enters, leaves: it is the first, the last
    layer of a stretch.
    """

    norm: str = ""
    enters: bool = False
    leaves: bool = False

    stock = Stock(in_python=True)
    casts = Casts.INSIDE

    def in_one_format(self) -> Op:
        return replace(self, stretch="", enters=False, leaves=False) if self.stretch else self

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes) if self.leaves else CHANNELS_LAST if self.enters else super().layout(axes, *xs)

    def saves_late(self, operands: Set[str]) -> bool:
        return True

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        copied, setting = setting.item * numel(x) * self.enters, self._entered(setting)
        biased = Conv2d(*self.arguments()[:-1], True)
        # The scaled weight and the bias are made anew in every call, and cast.
        scaled, shift = (setting.parameter_item * n for n in (numel(self.params()["weight"]), self.out_channels))
        inside = self.result_beside(setting, x, biased.scratch(setting, y, x).forward)
        forward = copied + inside + scaled + shift + casts_of(biased, setting)
        result = setting.item * numel(y)
        # The shift is made of the norm's scale, and of its mean less the convolution's bias, which are gone then.
        forward = maximum(forward, copied + scaled + (2 + self.bias) * shift - result)
        if self.leaves:  # then its result is copied
            forward = maximum(forward, result)
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
        setting = self._entered(setting)
        return self.is_made_as_product(setting, x) | super().modelled(setting, y, x)

    def bounded(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().bounded(self._entered(setting), y, x)

    def _entered(self, setting: Setting) -> Setting:
        """The setting of the convolution itself, after it has copied its input to enter a stretch."""
        return setting._replace(layouts=(CHANNELS_LAST,)) if self.enters else setting

    def module(self, library: Any) -> Callable:
        if self.stretch:
            return library.lean.FoldedConv2d(*self.arguments(), enters=self.enters, leaves=self.leaves)
        module = library.lean.FoldedConv2d(*self.arguments())
        return library.standardised_once(module) if self.fixed else module


@op("leaving_add")
class LeavingAdd(Add):
    """The sum at the end of a stretch, written as a contiguous map. stretch: as of InStretch."""

    stretch: str = ""

    examples = ()  # elsewhere its module does what a stock sum does
    result = Result.NEW

    def in_one_format(self) -> Op:
        return Add(self.inplace)

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def module(self, library: Any) -> Callable:
        return library.lean.LeavingAdd(self.inplace)


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

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) if setting.demanded else True

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
