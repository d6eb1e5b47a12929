"""What PyTorch's convolution allocates on 64-bit ARM without SVE: Raspberry Pi 3 to 5, Jetson Nano to Orin.

The forward pass runs in Arm Compute Library (compute_library.py) on channels_last copies, both gradients in oneDNN's
plain products of matrices, on columns in the caller's own format. Found by running torch 2.13's wheel for aarch64
(oneDNN 3.12, Compute Library 52.6) under emulation, and read in oneDNN's source (src/cpu/gemm_convolution_utils.cpp).
tests/targets/test_neon.py holds it against the events of single calls.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..sizes.size import Shape, Size, maximum, minimum, where
from .compute_library import ITEM, depthwise_bytes, product_bytes
from .onednn_formulas import BOOKED, Sizes, gather_and_sum, input_columns, up
from .onednn_levels import Kernel, Levels
from .setting import Setting

LANES = 4  # channels of a vector


class NeonScratch(Levels):
    """The scratch of one convolution in one setting."""

    def __init__(self, conv: Any, setting: Setting, cores: int) -> None:
        super().__init__(conv, setting, LANES)
        self.cores, self.dtype = cores, setting.dtype
        self.input = self.weight = None
        if "x" in setting.demanded:
            more = partial(input_columns, self)
            self.input = Kernel(0 if self.flat else self.inputs, weight=self.weights * self.flat, more=more)
        if self.kept:
            image = ITEM * self.c if self.flat else 0
            sums = partial(gather_and_sum, self.threads, self.groups > 2, self.gathered(), ITEM * self.weights, image)
            self.weight = Kernel(weight=self.weights, more=sums)

    def __call__(self, y: Shape, x: Shape) -> tuple[Size, Size]:
        return self.levels(y, x)

    def modelled(self, y: Shape, x: Shape) -> Any:
        if self.groups > 1 and not self.depthwise:  # oneDNN searches for the size of the forward pass' columns
            return False
        return self.bounded(y, x)

    def bounded(self, y: Shape, x: Shape) -> Any:
        odd = self.depthwise and (len({*self.kernel}) > 1 or len({*self.stride}) > 1)
        odd = odd or self.area == 1 and not self.pixelwise  # padded: oneDNN's own
        both = self.flat and min(self.inputs, self.outputs) == 1  # one channel is in both memory formats
        if odd or both or self.dtype != "float32":
            return False
        return self.fits(y, x) if self.input or self.weight else True

    def fits(self, y: Shape, x: Shape) -> Any:
        """Whether oneDNN's limit of scratch has room for the gradients' columns and sums; else it cuts them."""
        n, _, h, w = x
        columns = self.gathered() * y[2] * y[3] + (ITEM * self.c * h * w if self.flat else 0)
        tensors = self.weights + self.item * n * (self.inputs * h * w + self.outputs * y[2] * y[3])
        limit = minimum(2**30, 15 * self.threads * tensors)
        return self.threads * (columns + ITEM * self.weights) < limit

    def forward_level(self, x: Size, y: Size, sizes: Sizes) -> Size:
        n, h, w, oh, ow = sizes
        result = self.outputs * y
        if self.depthwise:
            scratch = depthwise_bytes(self.inputs, self.kernel[0], self.stride[0], w, oh, ow, self.cores)
            weight = self.weights
        elif self.groups > 1:  # not modelled: at least a copy of the result
            return 0 if self.flat else result
        else:
            scratch = product_bytes(n, oh * ow, self.outputs, self.inputs * self.area, self.cores)
            weight = ITEM * up(self.outputs, LANES) * self.c * self.area
            if self.pixelwise or self.dilated:  # others read their windows in place
                columns = self.item * self.c * self.area * n * oh * ow + BOOKED
                scratch = scratch + result + BOOKED + (columns if self.area > 1 or self.strided else 0)
        if self.flat:
            return scratch + weight
        copy = where(h * w > 1, self.inputs * x, 0)  # a map of one pixel is in both formats
        return maximum(scratch + copy + weight + result, 3 * result) - result
