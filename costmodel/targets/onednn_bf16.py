"""Convolutions of bfloat16 in oneDNN, on processors with AVX512's instructions for bfloat16 and without AMX.

The copies are those of float32 (onednn.py), of half as many bytes. Sums are in 32 bits, and what is multiplied lies in
pairs: what that takes is in onednn_bf16_products.py and onednn_bf16_windows.py, which repeat oneDNN's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..sizes.size import Shape, Size, where
from . import onednn_bf16_products as products
from . import onednn_bf16_windows as windows
from .onednn import ConvolutionScratch
from .onednn_bf16_products import each
from .onednn_bf16_windows import Window
from .onednn_bits_limits import MANY, channels_of, loops_within, searched, within
from .onednn_formulas import BOOKED, More, Sizes, up
from .onednn_levels import Kernel
from .setting import Setting

PAIR = 2  # channels that lie beside each other in weights
#: Places in Sizes of what a formula reads: all, the batch and the output, the batch and the lines of the output.
ALL, OUTPUTS, LINES = (0, 1, 2, 3, 4), (0, 3, 4), (0, 3)


def at(places: tuple[int, ...], function: Callable[..., int], sizes: Sizes) -> Size:
    """A function of the sizes at some places."""
    return each(function, *(sizes[place] for place in places))


def where_many(more: int, sizes: Sizes) -> Size:
    """Bytes, negative ones too, that come in on maps of many pixels."""
    return where(sizes[3] * sizes[4] >= MANY, more, 0)


class Bfloat16Scratch(ConvolutionScratch):
    """The scratch of a convolution of bfloat16."""

    def __init__(self, conv: Any, setting: Setting, lanes: int = 16, window: bool = False) -> None:
        more = setting.channels_last, conv.groups, conv.in_channels // conv.groups, conv.out_channels // conv.groups
        window_of = conv.kernel, conv.stride, conv.padding, "bias" in setting.demanded
        self.window = Window(setting.target.threads, *more, *window_of)
        super().__init__(conv, setting, lanes, window)

    def modelled(self, y: Shape, x: Shape) -> Any:
        return within(self, y, x)

    def bounded(self, y: Shape, x: Shape) -> Any:
        return within(self, y, x)

    def forward_kernel(self) -> Kernel:
        kernel = super().forward_kernel()
        if self.flat:
            return self.flat_kernel(self.k, self.c, kernel.scratch) if searched(self) else kernel
        if self.depthwise:  # the bias is brought into 32 bits
            return kernel._replace(scratch=products.SUM * up(self.outputs, self.lanes) + BOOKED if self.bias else 0)
        if self.product:
            return kernel._replace(more=self.of_product(self.inputs, self.outputs))
        if self.groups == 1 and self.inputs < self.lanes:
            return kernel._replace(weight=self.padded(self.lanes, PAIR))
        return kernel

    def input_kernel(self) -> Kernel:
        if self.strided and not self.dilated and (self.groups == 1 or self.depthwise or self.k > self.lanes):
            block = windows.strided_block(self.c) or self.lanes
            more = partial(at, ALL, partial(windows.strided_copies, self.window, block))
            weight = self.padded(PAIR, block)
            if self.flat:
                return Kernel(weight=weight, more=more)
            return Kernel(self.inputs, self.outputs, weight, more=more, again=self.inputs > 1)
        kernel = super().input_kernel()
        if self.flat:
            return self.flat_kernel(self.c, self.k, kernel.scratch) if searched(self) else kernel
        return kernel._replace(more=self.of_product(self.outputs, self.inputs)) if self.product else kernel

    def flat_kernel(self, written: int, read: int, scratch: int) -> Kernel:
        """The kernel in channels_last, by the channels of a group that it writes and reads."""
        per_channel = self.item * self.groups * up(read, PAIR) * self.area
        small, large = (per_channel * channels for channels in channels_of(written, self.product))
        if small == large:
            return Kernel(weight=small, scratch=scratch)
        more = partial(where_many, large - small)
        return Kernel(weight=small, scratch=scratch, more=more)

    def weight_kernel(self) -> Kernel:
        kernel = super().weight_kernel()
        kernel = kernel._replace(more=None, scratch=0)
        if self.product:
            channels = self.inputs, self.outputs, bool(self.biases)
            sums = partial(products.weight_sums, self.threads, self.flat, *channels)
            return kernel._replace(more=partial(at, OUTPUTS, sums))
        if self.groups == 1 and self.inputs < self.lanes and not self.flat:  # read in place, as an image
            if self.outputs % self.lanes:
                return Kernel(weight=self.weights, more=self.of_columns())
            more = partial(at, ALL, partial(windows.weight_sums, self.window))
            return Kernel(0, self.outputs, self.padded(self.lanes, 1), more=more)
        if kernel.x or kernel.y or self.flat:
            if self.depthwise and max(self.kernel) <= 3:
                sums = partial(windows.depthwise_sums, self.window)
                return kernel._replace(more=partial(at, LINES, sums), least=0, small=None)
            return kernel._replace(more=partial(at, ALL, partial(windows.weight_sums, self.window)))
        return kernel._replace(more=self.of_columns())

    def of_columns(self) -> More:
        """Bytes of a weight gradient of columns."""
        return partial(at, OUTPUTS, partial(windows.gathered, self.window))

    def of_product(self, reduce: int, load: int) -> More:
        """Bytes of a product's sums, by sizes."""
        sums = partial(products.sums, self.threads, up(reduce, self.lanes), up(load, self.lanes))
        return partial(at, OUTPUTS, sums)


class Float16Scratch(ConvolutionScratch):
    """The scratch of a convolution of float16: PyTorch's own loops run, on processors without AVX512-FP16."""

    def modelled(self, y: Shape, x: Shape) -> Any:
        return loops_within(self, y, x)

    def bounded(self, y: Shape, x: Shape) -> Any:
        return loops_within(self, y, x)
