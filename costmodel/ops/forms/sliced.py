"""Sparse update: of a convolution, the weights of some input channels train, and their part of the input is kept.

MCUNetV3 (Lin et al., NeurIPS 2022, arXiv 2206.15472). The channels are those whose weights have the largest norm when
the module is made, or its weights are loaded. The weight's gradient is 0 for all others; the input's is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from ...graph.op import Extra, Scratch, Work, check, op
from ...sizes.size import Shape, beyond, numel
from ...targets.setting import Setting
from .._cast import casts_of
from .._gradients import OwnGradients
from ..conv import Conv2d
from ._formed import Formed

INDEX_BITS = 64  # of a channel's number


@op("sliced_conv2d")
class SlicedConv2d(Formed, OwnGradients):
    """A convolution of which some input channels' weights train, and that keeps these channels alone (MCUNetV3)."""

    ratio: float = 0.5

    form = ("slice",)
    in_words = "of the channels that train"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 < self.ratio <= 1, f"ratio is {self.ratio}; allowed: above 0 and at most 1")
        check(not self.standardise, "a standardised weight has no such form; allowed: an ordinary one")
        alone = self.groups in (1, self.in_channels)
        check(
            alone, f"a convolution of {self.groups} groups has no such form; allowed: 1 group, or one for each channel"
        )

    @property
    def trained_channels(self) -> int:
        """Input channels whose weights train."""
        return max(int(Fraction(str(self.ratio)) * self.in_channels), 1)

    @property
    def of_slice(self) -> Conv2d:
        """The convolution of these channels alone."""
        channels, rest = self.trained_channels, (self.kernel, self.stride, self.padding, self.dilation)
        if self.groups == 1:
            return Conv2d(channels, self.out_channels, *rest)
        return Conv2d(channels, self.out_channels // self.groups * channels, *rest, channels)

    def buffers(self) -> dict[str, Extra]:
        return {**super().buffers(), "chosen": Extra((self.trained_channels,), INDEX_BITS)}

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {**super().extras(x), "slice": Extra((x[0], self.trained_channels, *x[2:]))}

    def carriers(self) -> dict[str, str]:
        return {"slice": "x"}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        work, macs = super().work(y, x), numel(y) * self.macs_per_output
        return {**work, "weight": Work(macs * self.trained_channels // self.in_channels)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        item, own = setting.item, self.of_slice
        slice_, part = (x[0], self.trained_channels, *x[2:]), (y[0], own.out_channels, *y[2:])
        trains, passes = "weight" in setting.demanded, "x" in setting.demanded
        forward, _ = self.kernels(setting, y, x)
        cast = casts_of(self, setting, bias=False)  # of the weight
        forward = beyond(item * numel(slice_) * trains, forward + casts_of(self, setting))
        map_, weight = item * numel(x) * passes, setting.parameter_item * numel(self.params()["weight"]) * trains
        bias = setting.parameter_item * y[1] if "bias" in setting.demanded else 0
        levels = []
        if trains:
            _, backward = own.kernels(setting._replace(demanded=("weight",)), part, slice_)
            made = item * numel(own.params()["weight"])
            gradient = item * numel(part) if self.groups > 1 else 0  # of these channels, copied
            # Zeros as the kernel's weight is, into which the gradients go, are cast when the weight's cast is done.
            levels += [cast + gradient + made + backward, cast + made + (cast or weight), cast + weight]
        if passes:
            _, backward = self.kernels(setting._replace(demanded=("x",)), y, x)
            levels.append(weight + cast + map_ + backward)
        return Scratch(forward, beyond(map_ + weight + bias, *levels))

    def module(self, library: Any) -> Callable:
        return library.lean.SlicedConv2d(*self.arguments(), channels=self.trained_channels)


SlicedConv2d.examples = (
    (SlicedConv2d(8, 12, 3, padding=1), (2, 8, 7, 5)),
    (SlicedConv2d(8, 16, 3, 2, 1, groups=8, bias=True, ratio=0.25), (3, 8, 9, 7)),
    (SlicedConv2d(8, 16, 1, ratio=0.125), (2, 8, 7, 7)),
)
