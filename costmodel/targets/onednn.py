"""What PyTorch's convolution allocates on a CPU beside its results: copies in other memory formats, and scratch.

Nothing here needs torch: it is facts about it, each with its reason. Most convolutions run in oneDNN, some small ones
in PyTorch's own loops. oneDNN's vectors hold 16 channels with AVX512, 8 with AVX2. From contiguous tensors it copies
images and weights into blocks of so many channels, padded, and copies the result back; channels_last images it takes
as they are, and copies the weights only. Sizes may be arrays; channels, kernels and the target are plain numbers.

Checked against the allocator's events in real calls (torch 2.13, oneDNN 3.12). Of 7991 calls of all convolutions of
nine networks it is exact to the byte in 7991 with one thread or with AVX2, 7988 with two threads, 7970 with four; with
channels_last in 95 of 100 (all, with one thread). What is not exact is marked "estimated": where oneDNN searches for
the fastest among ways that differ little. tests/targets/test_onednn.py holds the bounds, and
tests/pytorch/test_peaks.py those of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial
from math import ceil
from typing import Any, NamedTuple

from ..sizes.size import Shape, Size, maximum, minimum, where
from .setting import Setting

PAGE = 4096
BOOKED = 128  # every buffer in a kernel's scratch is booked with the alignment that it may need
CACHE = 2**20  # of a core, as on the machine of the measurements: only rare kernels look at it

Sizes = tuple[Size, Size, Size, Size, Size]  # batch, height and width of the input, height and width of the output
Job = tuple[int, int, bool]  # how many, bytes of one, summed up over all positions and not over images only
More = Callable[[Sizes], Size]
Steps = tuple[tuple[int, int], ...]  # (least number of output positions, threads that share the images), ascending


class Kernel(NamedTuple):
    """What one of oneDNN's kernels needs.

    x, y: channels of its copies of the images, 0 where it takes the caller's own. weight: bytes of its copy of the
    weights. scratch: bytes. more: scratch that depends on sizes. again: PyTorch copies the result once more.
    least, small: `small` runs instead where the input's height is below `least`; forward: the output's width.
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
        """All of it, given the bytes of one channel of input and output."""
        total = self.x * x + self.y * y + (self.weight + self.scratch)
        return total + self.more(sizes) if self.more else total


class ConvolutionScratch:
    """The scratch of one convolution in one setting. What depends on no size is worked out here, once."""

    def __init__(self, conv: Any, setting: Setting) -> None:
        target, item = setting.target, setting.item
        self.item, self.threads, self.flat = item, target.threads, setting.channels_last
        self.lanes = 16 if target.isa == "avx512" else 8
        self.conv = conv
        self.inputs, self.outputs, self.groups = conv.in_channels, conv.out_channels, conv.groups
        self.c, self.k = self.inputs // self.groups, self.outputs // self.groups  # of one group
        self.kernel, self.stride, self.padding = conv.kernel, conv.stride, conv.padding
        self.reach = tuple(d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel))
        self.area = self.kernel[0] * self.kernel[1]
        self.strided, self.dilated = conv.stride != (1, 1), conv.dilation != (1, 1)
        self.depthwise = self.groups > 1 and self.c == self.k == 1
        self.pixelwise = self.area == 1 and conv.padding == (0, 0)
        self.product = self.pixelwise and self.groups == 1  # of two matrices
        self.picked = self.product and self.strided  # of some pixels only
        self.outside = any(p >= r for p, r in zip(self.padding, self.reach))  # some outputs read padding only
        self.bias, self.demanded = conv.bias, setting.demanded
        self.weights = item * self.outputs * self.c * self.area
        self.biases = item * self.outputs if "bias" in setting.demanded else 0
        self.kept = self.biases + (self.weights if "weight" in setting.demanded else 0)
        self.forward = self.forward_kernel()
        self.input = self.input_kernel() if "x" in setting.demanded else None
        # oneDNN makes the weights' gradient also where the bias's alone is wanted.
        self.weight = self.weight_kernel() if self.kept else None

    def __call__(self, y: Shape, x: Shape) -> tuple[Size, Size]:
        """Bytes beyond the results at the highest, in the forward and in the backward pass."""
        n, _, h, w = x
        sizes = (n, h, w, y[2], y[3])
        x, y = self.item * n * h * w, self.item * n * y[2] * y[3]
        forward = self.forward_level(self.forward, x, y, sizes)
        if self.forward.small:
            forward = where(sizes[4] < self.forward.least, self.forward_level(self.forward.small, x, y, sizes), forward)
        backward = 0
        if self.weight:
            backward = self.weight_level(self.weight, x, y, sizes)
            if self.weight.small:
                backward = where(h < self.weight.least, self.weight_level(self.weight.small, x, y, sizes), backward)
            backward = backward - self.kept
        if self.input:
            # The input's gradient is made first, and lives on while the weights' is made.
            first = self.input_level(self.input, x, y, sizes) - self.inputs * x - self.kept
            backward = maximum(first, backward) if self.weight else first
        used = in_onednn(self.conv, self.threads, n, h * w)
        if used is True:
            return forward, backward
        columns = self.loops(sizes)
        gathers = "weight" in self.demanded or self.dilated and "x" in self.demanded
        return where(used, forward, columns), where(used, backward, columns if gathers else 0)

    # What a call takes at its highest.

    def loops(self, sizes: Sizes) -> Size:
        """PyTorch's own loops gather the inputs of every output position; dilated ones go image by image."""
        columns = self.gathered() * sizes[3] * sizes[4]
        return columns if self.dilated else columns * sizes[0]

    def forward_level(self, kernel: Kernel, x: Size, y: Size, sizes: Sizes) -> Size:
        if self.flat:
            return kernel.bytes(x, y, sizes)
        # Everything else is let go before the result is copied out of its blocks.
        return maximum(kernel.bytes(x, y, sizes) - self.outputs * y, kernel.y * y)

    def input_level(self, kernel: Kernel, x: Size, y: Size, sizes: Sizes) -> Size:
        if self.flat:
            return kernel.bytes(x, y, sizes) + self.inputs * x
        results = (2 if kernel.again else 1) * self.inputs
        return maximum(kernel.bytes(x, y, sizes), (kernel.x + results) * x)

    def weight_level(self, kernel: Kernel, x: Size, y: Size, sizes: Sizes) -> Size:
        # Both gradients are made in the kernel's format and then copied; channels_last weights twice.
        results = kernel.weight + 2 * self.biases + (2 if self.flat else 1) * self.weights
        return maximum(kernel.bytes(x, y, sizes) + self.biases, results)

    # Bytes of weights and buffers.

    def padded(self, outputs: int, inputs: int) -> int:
        """Weights with each group's channels padded to multiples of these."""
        return self.item * self.groups * up(self.k, outputs) * up(self.c, inputs) * self.area

    def vectors(self) -> int:
        """Weights of a depthwise convolution, one channel in each place of a vector."""
        return self.item * up(self.outputs, self.lanes) * self.area

    def narrow(self) -> int:
        """Weights of groups with few channels, in channels_last."""
        few = self.lanes == 16 > max(self.c, self.k)
        block = next((b for b in (8, 4) if few and self.c % b == self.k % b == 0), self.lanes)
        return self.padded(block, block)

    def block(self) -> int:
        """Channels to a block: dense images are padded, each group must fit. 0: it does not."""
        if self.groups == 1:
            return self.lanes
        allowed = (16, 8, 4) if self.lanes == 16 else (8,)
        return next((b for b in allowed if self.c % b == self.k % b == 0), 0)

    def blocked(self, block: int) -> tuple[int, int]:
        """Channels of the copies of both images; channels_last images are not copied."""
        return (0, 0) if self.flat else (up(self.inputs, block), up(self.outputs, block))

    def lists(self) -> int:
        """Each thread's list of the operands of products, of 40 bytes each in whole pages."""
        return self.threads * up(PAGE, 40) + PAGE

    def gathered(self) -> int:
        """Columns for each output position of one image; a plain product needs none."""
        return 0 if self.pixelwise and not self.strided else self.item * self.c * self.area

    def gather(self, most: int = 2**62) -> More:
        return partial(_gather, self.threads, self.gathered(), most)

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
        # The kernels treat the left padding in one go, which must not be wider than the output.
        small = {"least": self.padding[1], "small": columns} if self.padding[1] > 1 else {}
        x, y = self.blocked(lanes if self.depthwise else block)
        ragged = self.bias and self.outputs % lanes and (self.depthwise or self.groups == 1)
        bias = self.item * up(self.outputs, lanes) + BOOKED if ragged else 0
        if self.depthwise:
            return Kernel(x, y, self.vectors(), bias, **small)
        if self.product:
            copy = self.threads * self.item * x
            return Kernel(x, y, self.padded(block, block), bias, partial(_pick, self, copy) if self.picked else None)
        if self.groups == 1 and self.inputs < lanes:  # so few channels, an image's, are read where they are
            return Kernel(0, y, self.padded(lanes, 1), bias, **small)
        return Kernel(x, y, self.padded(block, block), bias, **small)

    def input_kernel(self) -> Kernel:
        lanes, block = self.lanes, self.block()
        if self.strided and not self.dilated and (self.groups == 1 or self.k > lanes):
            # Channels innermost, whatever the caller's format. Estimated: weights may be padded further, to 64 inputs.
            weight, more = self.padded(1, lanes), partial(_strided, self)
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
        (kh, kw), (ph, pw), (sh, sw) = self.kernel, self.padding, self.stride
        # Sums of weights that each thread keeps are booked with their bytes for their number, four times too much.
        image = self.item * self.c if self.flat else 0
        more = partial(_gather_and_sum, self.threads, self.groups > 2, self.gathered(), self.item * self.weights, image)
        columns = Kernel(weight=self.weights, more=more)
        if self.depthwise and not self.dilated and sw <= kw <= 3 and ph <= min(kh // 2, 1) and pw <= kw // 2:
            own = self.vectors() + self.item * bias * (self.outputs if self.flat else up(self.outputs, lanes))
            # Contiguous images are shared only where there are fewer blocks of channels than threads.
            sharing = threads if self.flat else threads // min(threads, -(-self.outputs // lanes))
            parts = max(1, self.outputs // (4 * lanes)) if self.flat else 0
            sums = partial(_own_sums, own, BOOKED * (1 + bias), sharing, parts) if sharing > 1 else None
            return Kernel(*self.blocked(lanes), self.vectors(), more=sums, least=kh + -ph % sh, small=columns)
        if self.product:
            return self.summing(lanes, first=False)
        if self.dilated and self.strided or self.outside:
            return columns
        # In channels_last it takes depthwise weights too, and pads every one to a block of 16x16 (8x8).
        first = self.groups == 1 and self.inputs < 16
        fits = self.flat or self.inputs <= 3 or not first and self.block() == 16
        if lanes == 16 and fits and ph <= self.reach[0] // 2:
            return self.summing(16, first)
        if self.dilated or not (self.flat or self.groups == 1 or self.c % 8 == self.k % 8 == 0):
            return columns
        return self.summing(8, self.c == 3)._replace(least=kh, small=columns)

    def summing(self, block: int, first: bool) -> Kernel:
        """The kernels of the weight gradient that sum up blocks. first: the image's few channels are one block."""
        x, y = self.blocked(block)
        weight = self.padded(block, 1 if first else block)
        bias = self.item * self.groups * up(self.k, block) + BOOKED if self.biases and self.k % block else 0
        return Kernel(0 if first else x, y, weight, bias, self.sums(block, weight, self.c if first else block))

    def sums(self, block: int, weight: int, width: int) -> More | None:
        """How threads share the work: where they share images, they keep sums of their own.

        With AVX512 a thread sums up all weights, with AVX2 a part of them; the bias's gradient is always in parts.
        """
        if self.threads == 1 and not self.picked:
            return None
        inputs, outputs = -(-self.c // block), -(-self.k // block)
        jobs = [(self.groups * outputs, self.item * block, False)] if self.biases else []
        steps: Steps = ()
        own, many = weight, 0
        if block == 16:
            factor = 12 if self.product else 8 * self.area
            steps = steps_of(max(1, self.threads // self.groups), inputs, outputs, width, factor, not self.product)
            own += 0 if self.product else self.item * self.groups * up(self.k, 16)
            many = next(d for d in range(min(5, inputs), inputs + 1) if inputs % d == 0)
        elif self.product:
            many, b = _thin(inputs, 17 if self.flat else 9), _thin(outputs, 32)
            jobs.append((-(-inputs // many) * -(-outputs // b), self.item * many * b * block * block, True))
        else:
            jobs.append((self.groups * inputs * outputs, self.item * self.area * width * block, False))
        copy = self.threads * self.item * (self.inputs if self.flat else many * block)
        pick = partial(_pick, self, copy) if self.picked else None
        rows = 16 if self.product else 0 if self.flat else -9
        return partial(_sums, self.threads, steps, own, rows, tuple(jobs), pick)


def in_onednn(conv: Any, threads: int, n: Size, pixels: Size) -> Any:
    """Whether a convolution of n images runs there. ATen/native/Convolution.cpp: use_mkldnn.

    Small single images do not, nor do products on one thread. (Grouped ones loop over groups then: not modelled.)
    """
    area = conv.kernel[0] * conv.kernel[1]
    busy = threads > 1 or area > 1 or max(*conv.stride, *conv.dilation) > 1 or (n >= 16)
    if conv.groups > 1 or min(conv.kernel) > 3:
        return busy
    large = n * conv.in_channels * pixels > where(n > 1, 0, 20480)  # several images always are
    return large if busy is True else busy & large


def up(number: Size, multiple: int) -> Size:
    """The least multiple that is not below the number."""
    return -(-number // multiple) * multiple


# Scratch that depends on sizes.


def _gather(threads: int, columns: int, most: int, sizes: Sizes) -> Size:
    """Columns of an image for each thread, or of as much of it as fits a cache."""
    *_, oh, ow = sizes
    each = minimum(columns * oh * ow, most)
    return where(each > 0, threads * each + BOOKED, 0)


def _gather_and_sum(threads: int, many: bool, columns: int, own: int, image: int, sizes: Sizes) -> Size:
    """The same and sums of its own for each thread; on large maps only one works."""
    n, h, w, oh, ow = sizes
    shared = (oh * ow < 256 * threads) & (many | (n > 1))
    each = own + columns * oh * ow + image * h * w
    return where(shared, threads, 1) * each + BOOKED * (1 + (columns > 0) + (image > 0))


def _pick(conv: ConvolutionScratch, each: int, sizes: Sizes) -> Size:
    """The pixels that a strided product reads, where the stride divides the map."""
    _, h, w, oh, ow = sizes
    return where((h == oh * conv.stride[0]) & (w == ow * conv.stride[1]), each * oh * ow + BOOKED, 0)


def _strided(conv: ConvolutionScratch, sizes: Sizes) -> Size:
    """Each thread's copy of one image of the output's gradient with the zeros that are read around it, and the like."""
    _, h, w, oh, ow = sizes
    padded = []
    for size, out, reach, padding, stride in zip((h, w), (oh, ow), conv.reach, conv.padding, conv.stride):
        after = size + padding - 1 - (out - 1) * stride  # how far the kernel reaches beyond the last output
        padded.append(out + max(0, reach - 1 - padding) // stride + maximum(after, 0) // stride)
    images = conv.threads * (conv.item * up(padded[0] * padded[1] * conv.outputs, PAGE) + PAGE) + 2 * PAGE
    stride = conv.stride[1]
    line = conv.item * up(up(w, stride) * stride * conv.inputs, PAGE)  # of results, where they do not come in strides
    return conv.lists() + images + where(w % stride > 0, conv.threads * line + PAGE, 0)


def _own_sums(own: int, booked: int, sharing: int, parts: int, sizes: Sizes) -> Size:
    """All threads but one that share the images of a depthwise convolution keep sums of their own."""
    n, _, _, oh, _ = sizes
    others = minimum(n * oh * parts if parts else n, sharing) - 1
    return where(others > 0, others * own + booked, 0)


def _sums(
    threads: int, steps: Steps, own: int, rows: int, jobs: tuple[Job, ...], pick: More | None, sizes: Sizes
) -> Size:
    """The same of a dense one. Threads share the images by 16 pixels, or 9 rows (rows: -9), or whole."""
    n, _, _, oh, ow = sizes
    pixels, sharing, total = n * oh * ow, 1, 0
    for least, share in steps:
        sharing = where(pixels >= least, share, sharing)
    if steps:
        units = -(-oh * ow // rows) if rows > 0 else maximum(oh // -rows, 1) if rows else 1
        others = minimum(sharing, n * units) - 1
        total = where(others > 0, others * own + (BOOKED + 2 * PAGE), 0)
    for count, job, flat in jobs:
        total = total + _teams(threads, count, job, pixels if flat else n, flat)
    return total + pick(sizes) if pick else total


@cache
def steps_of(threads: int, inputs: int, outputs: int, width: int, factor: int, inclined: bool) -> Steps:
    """How many threads share images rather than channels, in steps of the number of output positions.

    A split into (images, outputs, inputs) is taken for how little data each thread touches: its part of both images,
    and `factor` times its part of the weights. inclined: images alone are shared though it be up to a tenth more.
    inputs, outputs: blocks of channels; width: channels of a block of inputs. Estimated: as if all parts were equal.
    """
    splits = []
    for images in range(1, threads + 1):
        for k in range(1, min(threads // images, outputs) + 1):
            a, b = -(-inputs // min(threads // images // k, inputs)), -(-outputs // k)
            less = Fraction(10, 11) if inclined and images == threads else Fraction(1)
            splits.append((less * (a * width + b * 16) / images, less * a * b * factor * width * 16, images))
    best, at, steps = min(splits, key=lambda s: (s[1], s[0])), Fraction(0), []
    while True:  # from each split to the one that is the first to cost less as the positions grow
        steps.append((ceil(at), threads if best[2] > threads // 2 else best[2]))
        later = [((s[1] - best[1]) / (best[0] - s[0]), s) for s in splits if s[0] < best[0]]
        if not later:
            return tuple(steps)
        at, best = min(later)


def _thin(blocks: int, most: int) -> int:
    """Blocks of one job: all, or halves and thirds of them until they are few enough."""
    while blocks > most and (blocks % 2 == 0 or blocks % 3 == 0):
        blocks //= 2 if blocks % 2 == 0 else 3
    return blocks


def _teams(threads: int, jobs: int, job: int, terms: Size, flat: bool) -> Size:
    """Sums of the threads that work on one job. They team up such that the longest takes least time."""
    least, total = jobs * terms + 1, 0
    for teams in range(min(threads, jobs), 0, -1):
        each, share = -(-jobs // teams), minimum(terms, threads // teams)
        time = each * (-(-terms // share) + (share > 1))
        # The first of a team sums up in the result itself, unless the sums are flat.
        own = teams * each * job * (share - (not flat)) + (teams + 1) * PAGE + (BOOKED if flat else PAGE)
        total = where(time < least, where(share > 1, own, 0), total)
        least = minimum(time, least)
    return total
