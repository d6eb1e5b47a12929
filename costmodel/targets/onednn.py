"""What PyTorch's convolution allocates on a CPU besides its results: copies in other memory formats, and scratch.

This file states facts about torch, each with its reason, and does not import it. Most convolutions run in oneDNN, some
small ones in PyTorch's own loops. oneDNN's vectors hold 16 channels with AVX512, 8 with AVX2. It copies contiguous
images and weights into blocks of 16 or 8 channels, padded, and copies the result back. It reads channels_last images
in place and copies only the weights. Sizes may be arrays; channels, kernels and the target are plain numbers.

Checked against the allocator's events in real calls (torch 2.13, oneDNN 3.12). Of 7991 calls of all convolutions of
nine networks the model is exact to the byte in all with one thread or with AVX2; with channels_last in 95 of 100 (with
one thread in all). What is not exact is marked "estimated": there oneDNN searches for the fastest of several ways that
differ little. How threads divide a weight gradient is in onednn_split.py, and where these rules hold in
onednn_limits.py. tests/targets/test_onednn.py holds the bounds for single calls, tests/pytorch/test_peaks.py those for
steps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..sizes.size import Shape, Size, maximum, where
from .onednn_formulas import (
    BOOKED,
    PAGE,
    More,
    Sizes,
    dense_sums,
    depthwise_sums,
    gather,
    gather_and_sum,
    picked_pixels,
    strided_copies,
    thin,
    up,
)
from .onednn_levels import Kernel, Levels
from .onednn_limits import bounded, within
from .onednn_split import Split
from .setting import Setting

CACHE = 2**20  # cache of a core on the machine of the measurements; only rare kernels depend on it


class ConvolutionScratch(Levels):
    """The scratch of one convolution in one setting. What does not depend on sizes is computed on construction."""

    def __init__(self, conv: Any, setting: Setting, lanes: int, window: bool = False) -> None:
        super().__init__(conv, setting, lanes, window)
        # The kernels of products read every s-th pixel only where the stride s divides the map.
        self.undivided = type(self)(conv, setting, lanes, True) if self.picked else None
        self.forward = self.forward_kernel()
        self.input = self.input_kernel() if "x" in setting.demanded else None
        # oneDNN computes the weights' gradient even if only the bias's is demanded.
        self.weight = self.weight_kernel() if self.kept else None

    def __call__(self, y: Shape, x: Shape) -> tuple[Size, Size]:
        """Peak bytes beyond the results, in the forward and in the backward pass. y, x: shapes of output and input."""
        found = self.levels(y, x)
        if self.undivided is None:
            return found
        divided, other = self.divides(y, x), self.undivided.levels(y, x)
        return where(divided, found[0], other[0]), where(divided, found[1], other[1])

    def modelled(self, y: Shape, x: Shape) -> Any:
        return self._divided(y, x, within) if self.undivided else within(self, y, x)

    def bounded(self, y: Shape, x: Shape) -> Any:
        return self._divided(y, x, bounded) if self.undivided else bounded(self, y, x)

    def _divided(self, y: Shape, x: Shape, limits: Any) -> Any:
        """Whether limits hold for a strided product: threads' own sums are known where the stride divides the map."""
        if self.threads == 1 or "weight" not in self.demanded:
            return limits(self, y, x)
        return limits(self, y, x) & self.divides(y, x)

    def divides(self, y: Shape, x: Shape) -> Any:
        """Whether the stride divides the map."""
        return (x[2] == y[2] * self.stride[0]) & (x[3] == y[3] * self.stride[1])

    def forward_level(self, x: Size, y: Size, sizes: Sizes) -> Size:
        level = self._forward(self.forward, x, y, sizes)
        if self.forward.small:
            level = where(sizes[4] < self.forward.least, self._forward(self.forward.small, x, y, sizes), level)
        return level

    def _forward(self, kernel: Kernel, x: Size, y: Size, sizes: Sizes) -> Size:
        if self.flat:
            return kernel.bytes(x, y, sizes)
        # Everything else is freed before the result is copied out of its blocks.
        return maximum(kernel.bytes(x, y, sizes) - self.outputs * y, kernel.y * y)

    # Bytes of weights and buffers.

    def padded(self, outputs: int, inputs: int) -> int:
        """Bytes of the weights, with each group's channels padded to multiples of `outputs` and `inputs`."""
        return self.item * self.groups * up(self.k, outputs) * up(self.c, inputs) * self.area

    def vectors(self) -> int:
        """Bytes of a depthwise convolution's weights, with one channel in each lane of a vector."""
        return self.item * up(self.outputs, self.lanes) * self.area

    def narrow(self) -> int:
        """Bytes of the weights of groups with few channels, in channels_last."""
        few = self.lanes == 16 > max(self.c, self.k)
        block = next((b for b in (8, 4) if few and self.c % b == self.k % b == 0), self.lanes)
        return self.padded(block, block)

    def blocked(self, block: int) -> tuple[int, int]:
        """Channels of the copies of input and output; channels_last tensors are not copied."""
        return (0, 0) if self.flat else (up(self.inputs, block), up(self.outputs, block))

    def lists(self) -> int:
        """Bytes of the threads' lists of a product's operands: entries of 40 bytes, in whole pages."""
        return self.threads * up(PAGE, 40) + PAGE

    def gather(self, most: int = 2**62) -> More:
        return partial(gather, self.threads, self.gathered(), most)

    # The kernels.

    def forward_kernel(self) -> Kernel:
        lanes, block = self.lanes, self.block()
        if self.flat and self.depthwise:
            return Kernel(weight=self.vectors())
        if self.flat:
            if self.groups > 1 and self.c <= lanes == 16:
                return Kernel(weight=self.narrow())
            # Estimated: 1 in 6 kernels pads further, to 32, 48 or 64 outputs.
            return Kernel(weight=self.padded(lanes, 1), scratch=self.lists())
        columns = Kernel(y=self.outputs, more=self.gather(most=CACHE))  # estimated
        if self.outside or not (block or self.depthwise):
            return columns
        # The kernels handle the left padding in one step, and it must not be wider than the output.
        small = {"least": self.padding[1], "small": columns} if self.padding[1] > 1 else {}
        x, y = self.blocked(lanes if self.depthwise else block)
        ragged = self.bias and self.outputs % lanes and (self.depthwise or self.groups == 1)
        bias = self.item * up(self.outputs, lanes) + BOOKED if ragged else 0
        if self.depthwise:
            return Kernel(x, y, self.vectors(), bias, **small)
        if self.product:
            copy = self.threads * self.item * x
            more = partial(picked_pixels, self, copy) if self.picked else None
            return Kernel(x, y, self.padded(block, block), bias, more)
        if self.groups == 1 and self.inputs < lanes:  # as few channels as an image has are read in place
            return Kernel(0, y, self.padded(lanes, 1), bias, **small)
        return Kernel(x, y, self.padded(block, block), bias, **small)

    def input_kernel(self) -> Kernel:
        lanes, block = self.lanes, self.block()
        if self.strided and not self.dilated and (self.groups == 1 or self.k > lanes):
            # Channels are innermost in any format. Estimated: the weights may be padded further, to 64 inputs.
            weight, more = self.padded(1, lanes), partial(strided_copies, self)
            if self.flat:
                return Kernel(weight=weight, more=more)
            return Kernel(self.inputs, self.outputs, weight, more=more, again=self.inputs > 1)
        if self.depthwise and not self.dilated:
            return Kernel(*self.blocked(lanes), self.vectors())
        if self.outside or self.dilated and self.strided or not (self.flat or block):
            return Kernel(0 if self.flat else self.inputs, weight=self.weights * self.flat, more=self.gather())
        if not self.flat:
            return Kernel(*self.blocked(block), self.padded(block, block))
        if self.strided or self.groups > 1 and self.k <= lanes == 16:
            return Kernel(weight=self.narrow())
        return Kernel(weight=self.padded(1, lanes), scratch=self.lists() + BOOKED)  # estimated, as in the forward pass

    def weight_kernel(self) -> Kernel:
        lanes, threads, bias = self.lanes, self.threads, "bias" in self.demanded
        (kh, kw), (ph, pw), (_, sw) = self.kernel, self.padding, self.stride
        # oneDNN books each thread's sums of the weights with their bytes as their number: four times too much.
        image = self.item * self.c if self.flat else 0
        more: More | None
        more = partial(gather_and_sum, self.threads, self.groups > 2, self.gathered(), self.item * self.weights, image)
        columns = Kernel(weight=self.weights, more=more)
        if self.depthwise and not self.dilated and sw <= kw <= 3 and ph <= min(kh // 2, 1) and pw <= kw // 2:
            own = self.vectors() + self.item * bias * (self.outputs if self.flat else up(self.outputs, lanes))
            # Threads share contiguous images only if there are fewer blocks of channels than threads.
            sharing = threads if self.flat else threads // min(threads, -(-self.outputs // lanes))
            parts = max(1, self.outputs // (4 * lanes)) if self.flat else 0
            more = partial(depthwise_sums, own, BOOKED * (1 + bias), sharing, parts) if sharing > 1 else None
            return Kernel(*self.blocked(lanes), self.vectors(), more=more, least=self.least_height(), small=columns)
        if self.product:
            return self.summing(lanes, first=False)
        # There is no kernel for windows wider than 14 (AVX512) or 13 (AVX2), as a vision transformer's patches are.
        if self.dilated and self.strided or self.outside or kw > (14 if lanes == 16 else 13):
            return columns
        # In channels_last this kernel takes depthwise weights too, and pads each to a block of 16x16 (8x8).
        first = self.groups == 1 and self.inputs < 16
        fits = self.flat or self.inputs <= 3 or not first and self.block() == 16
        if lanes == 16 and fits and ph <= self.reach[0] // 2:
            return self.summing(16, first)
        if self.dilated or kw > 13 or not (self.flat or self.groups == 1 or self.c % 8 == self.k % 8 == 0):
            return columns
        return self.summing(8, self.c == 3)._replace(least=kh, small=columns)

    def summing(self, block: int, first: bool) -> Kernel:
        """The kernels of the weight gradient that sum up blocks. first: the few channels of an image are one block."""
        x, y = self.blocked(block)
        weight = self.padded(block, 1 if first else block)
        bias = self.item * self.groups * up(self.k, block) + BOOKED if self.biases and self.k % block else 0
        return Kernel(0 if first else x, y, weight, bias, self.sums(block, weight, self.c if first else block))

    def sums(self, block: int, weight: int, width: int) -> More | None:
        """Bytes of the threads' own sums: threads that share images each keep their own. None: there are no such sums.

        With AVX512 a thread sums up all weights, with AVX2 a part of them; the bias's gradient is always split.
        """
        if self.threads == 1 and not self.picked:
            return None
        inputs, outputs = -(-self.c // block), -(-self.k // block)
        jobs = [(self.groups * outputs, self.item * block, False)] if self.biases else []
        split = None
        own, many = weight, 0
        if block == 16:
            by_rows = not self.flat and self.conv.dilation[0] == 1
            split = Split(
                self.threads, self.groups, inputs, outputs, width, self.area, self.stride, self.product, by_rows
            )
            own += 0 if self.product else self.item * self.groups * up(self.k, 16)
            many = next(d for d in range(min(5, inputs), inputs + 1) if inputs % d == 0)
        elif self.product:
            many, b = thin(inputs, 17 if self.flat else 9), thin(outputs, 32)
            jobs.append((-(-inputs // many) * -(-outputs // b), self.item * many * b * block * block, True))
        else:
            jobs.append((self.groups * inputs * outputs, self.item * self.area * width * block, False))
        copy = self.threads * self.item * (self.inputs if self.flat else many * block)
        pick = partial(picked_pixels, self, copy) if self.picked else None
        return partial(dense_sums, self.threads, split, own, tuple(jobs), pick)
