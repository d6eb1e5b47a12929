"""A convolution with a standardised weight of which nothing is kept: it is made again of the raw weight.

costmodel/pytorch/lean/standardised.py runs it; the scratch here is of what is written there, line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, NamedTuple

from ..graph.op import Casts, Op, Scratch, Stock, op
from ..sizes.size import Shape, Size, maximum, numel
from ..targets.setting import SUM_BYTES, Setting
from .conv import Conv2d


class Standardising(NamedTuple):
    """Bytes of what the functions make that standardise a weight; nothing if it is used as it is.

    made: of the standardised weight. held: of that, with mean, deviation and divisor of each output channel, which are
    alive throughout the backward pass. beside: of two more numbers per channel, and one by which a sum is divided,
    while the gradient of the raw weight is made in place of the standardised one's.
    """

    made: Size
    held: Size
    beside: Size

    @classmethod
    def of(cls, conv: Conv2d, setting: Setting) -> Standardising:
        """Those of a convolution in a setting."""
        if not conv.standardises:
            return cls(0, 0, 0)
        made, per_channel = setting.item * numel(conv.params()["weight"]), setting.item * conv.out_channels
        return cls(made, made + 3 * per_channel, 2 * per_channel + setting.scalar)

    def forward(self, kernels: Size, setting: Setting, y: Shape) -> Size:
        """Scratch of the forward pass. kernels: of the convolution itself. y: shape of the result."""
        first = self.held + setting.python_number - setting.item * numel(y)  # which is not there yet
        return maximum(self.made + kernels, first) if self.made else kernels


@op("lean_standardised_conv2d")
class LeanStandardisedConv2d(Conv2d):
    """A convolution that keeps its input, standardises its weight anew in either pass, and keeps nothing of that.

    drops: its output is made again by the first that reads it backward.
    """

    drops: bool = False

    stock = Stock(in_python=True)
    casts = Casts.INSIDE
    has_epilogue = False

    def trained(self, names: Set[str]) -> Op:
        return self

    def saves_late(self, operands: Set[str]) -> bool:
        return True

    def work_again(self, y: Shape, x: Shape) -> Size:
        return self.standardising

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return setting.item >= SUM_BYTES and super().modelled(setting, y, x)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        forward, backward = self.kernels(setting, y, x)
        weight = Standardising.of(self, setting)
        forward = weight.forward(forward, setting, y)
        if not {"x", "weight"} & {*setting.demanded}:  # the bias's gradient is a sum
            return Scratch(forward)
        beside = weight.beside if "weight" in setting.demanded else 0
        return Scratch(forward, weight.held + maximum(backward, beside), again=forward * self.drops)

    def module(self, library: Any) -> Callable:
        return library.lean.LeanStandardisedConv2d(*self.arguments(), drops=self.drops)


LeanStandardisedConv2d.examples = (
    (LeanStandardisedConv2d(8, 16, 3, padding=1, groups=2, standardise=True), (2, 8, 7, 5)),
    (LeanStandardisedConv2d(8, 4, 1, bias=True, standardise=True), (3, 8, 5, 5)),
)
