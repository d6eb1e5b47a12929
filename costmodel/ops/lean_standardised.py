"""A convolution with a standardised weight of which nothing is kept: it is made again of the raw weight.

costmodel/pytorch/lean/standardised.py runs it; the scratch here is of what is written there, line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, NamedTuple

from ..graph.op import Casts, Op, Scratch, Stock, op
from ..sizes.size import Shape, Size, beyond, maximum, numel
from ..targets.setting import SUM_BYTES, Setting
from ._cast import casts_of
from ._gradients import OwnGradients
from .conv import Conv2d


class Standardising(NamedTuple):
    """Bytes of what a convolution's function makes of its weight: standardised, and under autocast cast.

    held: of the standardised weight, with mean, deviation and divisor of each output channel, which are alive
    throughout the backward pass. beside: of two more numbers per channel, and one by which a sum is divided, while the
    gradient of the raw weight is made in place of the standardised one's. first: most of all this in the forward pass
    before the kernel is called. used: of the weight and bias that are made for the kernel there.
    """

    held: Size
    beside: Size
    first: Size
    used: Size

    @classmethod
    def of(cls, conv: Conv2d, setting: Setting) -> Standardising:
        """Those of a convolution in a setting."""
        casts = casts_of(conv, setting)
        if not conv.standardises:
            return cls(0, 0, 0, casts)
        item = setting.parameter_item
        made, per_channel = item * numel(conv.params()["weight"]), item * conv.out_channels
        held = made + 3 * per_channel
        first = maximum(held + setting.target.python_number_bytes(item), made + casts_of(conv, setting, bias=False))
        return cls(held, 2 * per_channel + setting.target.number_bytes(item), first, casts or made)

    def forward(self, kernels: Size, setting: Setting, y: Shape) -> Size:
        """Scratch of the forward pass. kernels: of the convolution itself. y: shape of the result."""
        return maximum(self.used + kernels, self.first - setting.item * numel(y))  # at first the result is not there


@op("lean_standardised_conv2d")
class LeanStandardisedConv2d(OwnGradients):
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
        standardising, shapes = Standardising.of(self, setting), self.params()
        forward = standardising.forward(forward, setting, y)
        if not {"x", "weight"} & {*setting.demanded}:  # the bias's gradient is a sum
            return Scratch(forward)
        weight, bias = (numel(shapes[name]) if name in setting.demanded else 0 for name in ("weight", "bias"))
        made, own = setting.item, setting.parameter_item  # bytes of a gradient's number, first and in the end
        results = own * (weight + bias)
        # They are cast when the cast of the weight is gone.
        cast = made if setting.casts_parameters else 0
        levels = [cast * numel(shapes["weight"]) + made * (weight + bias) + backward, results + cast * bias]
        if weight:
            levels += [(cast + own) * weight + made * bias, own * weight + made * bias + standardising.beside]
        return Scratch(forward, standardising.held + beyond(results, *levels), again=forward * self.drops)

    def module(self, library: Any) -> Callable:
        return library.lean.LeanStandardisedConv2d(*self.arguments(), drops=self.drops)


LeanStandardisedConv2d.examples = (
    (LeanStandardisedConv2d(8, 16, 3, padding=1, groups=2, standardise=True), (2, 8, 7, 5)),
    (LeanStandardisedConv2d(8, 4, 1, bias=True, standardise=True), (3, 8, 5, 5)),
)
