"""Which of torch's convolutions run in oneDNN, and the levels of memory that one reaches with some kernels.

What is common to all processors: the kernels themselves are chosen in onednn.py (x86) and neon.py (ARM).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..sizes.size import Shape, Size, maximum, where
from .onednn_facts import Facts
from .onednn_formulas import More, Sizes

THRESHOLDS = (2, 16)  # numbers of images from which on in_onednn follows other rules


class Kernel(NamedTuple):
    """What one of oneDNN's kernels allocates.

    x, y: channels of its copies of the input and the output, 0 where it uses the caller's tensor. weight: bytes of its
    copy of the weights. scratch: bytes of fixed scratch. more: scratch that depends on sizes. again: PyTorch copies the
    result once more. least, small: `small` runs instead if the input's height (in the forward pass the output's width)
    is below `least`.
    """

    x: int = 0
    y: int = 0
    weight: int = 0
    scratch: int = 0
    more: More | None = None
    again: bool = False
    least: int = 0
    small: Kernel | None = None

    def bytes(self, x: Size, y: Size, sizes: Sizes) -> Size:
        """Bytes of all copies and scratch. x, y: bytes of one channel of the input and the output."""
        total = self.x * x + self.y * y + (self.weight + self.scratch)
        return total + self.more(sizes) if self.more else total


class Levels(Facts):
    """The scratch of a convolution by its kernels."""

    #: Of the gradients that are demanded; None for the others.
    input: Kernel | None
    weight: Kernel | None

    def levels(self, y: Shape, x: Shape) -> tuple[Size, Size]:
        """Peak bytes beyond the results, in the forward and in the backward pass."""
        n, _, h, w = x
        sizes = (n, h, w, y[2], y[3])
        x, y = self.item * n * h * w, self.item * n * y[2] * y[3]
        forward = self.forward_level(x, y, sizes)
        backward = 0
        if self.weight:
            backward = self.weight_level(self.weight, x, y, sizes)
            if self.weight.small:
                backward = where(h < self.weight.least, self.weight_level(self.weight.small, x, y, sizes), backward)
            backward = backward - self.kept
        if self.input:
            # The input's gradient is computed first, and is alive while the weights' is computed.
            first = self.input_level(self.input, x, y, sizes) - self.inputs * x - self.kept
            backward = maximum(first, backward) if self.weight else first
        used = in_onednn(self.conv, self.threads, n, h * w, self.dtype)
        if used is True:
            return forward, backward
        own = self.loops(x, y, sizes)
        return where(used, forward, own[0]), where(used, backward, own[1])

    # Peak bytes of a call.

    def loops(self, x: Size, y: Size, sizes: Sizes) -> tuple[Size, Size]:
        """Peak bytes beyond the results of PyTorch's own loops. x, y: bytes of one channel of the input and the output.

        They gather columns, the inputs of every output position, per image if dilated. Of float16 they run for one
        group after the other, on copies; at last the groups' results are joined (ATen/native/Convolution.cpp).
        """
        columns = self.gathered() * sizes[3] * sizes[4]
        columns = columns if self.dilated else columns * sizes[0]
        gathers = "weight" in self.demanded or self.dilated and "x" in self.demanded
        if self.groups == 1 or self.dtype != "float16":
            return columns, columns if gathers else 0
        read, made = self.c * x, self.k * y
        results = self.kept + (self.inputs * x if "x" in self.demanded else 0)
        backward = maximum(read + made + (columns if gathers else 0), results)
        return maximum(read + columns, self.outputs * y), backward

    def forward_level(self, x: Size, y: Size, sizes: Sizes) -> Size:
        """Bytes beyond the result in the forward pass. x, y: bytes of one channel of the input and the output."""
        raise NotImplementedError

    def input_level(self, kernel: Kernel, x: Size, y: Size, sizes: Sizes) -> Size:
        if self.flat:
            return kernel.bytes(x, y, sizes) + self.inputs * x
        results = (2 if kernel.again else 1) * self.inputs
        return maximum(kernel.bytes(x, y, sizes), (kernel.x + results) * x)

    def weight_level(self, kernel: Kernel, x: Size, y: Size, sizes: Sizes) -> Size:
        # Both gradients are computed in the kernel's format and then copied, channels_last weights twice.
        results = kernel.weight + 2 * self.biases + (2 if self.flat else 1) * self.weights
        return maximum(kernel.bytes(x, y, sizes) + self.biases, results)

    # Bytes of buffers.

    def gathered(self) -> int:
        """Bytes of the columns for one output position; a plain product needs none."""
        return 0 if self.pixelwise and not self.strided else self.item * self.c * self.area


def in_onednn(conv: Any, threads: int, n: Size, pixels: Size, dtype: str = "float32") -> Any:
    """Whether a convolution of n images runs in oneDNN (ATen/native/Convolution.cpp: use_mkldnn).

    Small single images do not, nor do products on one thread. (Grouped products then loop over groups: not modelled.)
    bfloat16 always does, float16 never does: with AVX512, but not AVX512-FP16 (mkldnn_bf16_device_check and
    mkldnn_fp16_device_check).
    """
    if dtype != "float32":
        return dtype == "bfloat16"
    area = conv.kernel[0] * conv.kernel[1]
    busy = threads > 1 or area > 1 or max(*conv.stride, *conv.dilation) > 1 or (n >= 16)
    if conv.groups > 1 or min(conv.kernel) > 3:
        return busy
    large = n * conv.in_channels * pixels > where(n > 1, 0, 20480)  # several images always count as large
    return large if busy is True else busy & large
