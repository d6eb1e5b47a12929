"""A convolution of a frozen prefix that does the work of the frozen norm after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Casts, Result, Scratch, op
from ..sizes.size import Shape, numel, where
from ..targets.setting import Setting
from ._cast import casts_of
from ._gradients import OwnGradients
from .conv import Conv2d
from .norm import BatchNorm


@op("folded_conv2d")
class FoldedConv2d(OwnGradients):
    """A convolution without a backward pass, into which the scale and shift of the frozen norm after it are folded.

    norm: path of the norm's module, which still holds the norm's parameters.
    """

    norm: str = ""

    casts = Casts.INSIDE

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        biased = Conv2d(*self.arguments()[:-1], True)
        # The scaled weight and the bias are made anew in every call, and cast.
        scaled, shift = (setting.parameter_item * n for n in (numel(self.params()["weight"]), self.out_channels))
        inside = where(self._is_product(setting, x), 0, biased.scratch(setting, y, x).forward)
        return Scratch(inside + scaled + shift + casts_of(biased, setting))

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return self._is_product(setting, x) | super().modelled(setting, y, x)

    def _is_product(self, setting: Setting, x: Shape) -> Any:
        """Whether the forward pass is a product of matrices."""
        return self.may_be_product(setting) and setting.contiguous_copy_of_input(x) == 0

    def module(self, library: Any) -> Callable:
        module = library.lean.FoldedConv2d(*self.arguments())
        return library.standardised_once(module) if self.fixed else module


@op("folded_norm")
class FoldedNorm(BatchNorm):
    """A frozen norm whose scale and shift are folded into the convolution before it. It returns its input."""

    result = Result.VIEW

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch()

    def module(self, library: Any) -> Callable:
        return library.lean.FoldedNorm2d(self.channels, self.eps, self.momentum)


FoldedConv2d.examples = (
    (FoldedConv2d(3, 8, 3, stride=2, padding=1), (2, 3, 9, 9)),
    (FoldedConv2d(8, 16, 1), (2, 8, 5, 3)),
)
FoldedNorm.examples = ((FoldedNorm(8, "frozen"), (2, 8, 5, 3)),)
