"""What PyTorch's convolution allocates on a CPU beside its results: copies in other memory formats, and scratch.

Nothing here needs torch: it is facts about it, each with its reason. Most convolutions run in oneDNN, small ones in
PyTorch's own loops. oneDNN's vectors hold 16 channels with AVX512 and 8 with AVX2. From contiguous tensors it copies
images and weights into blocks of so many channels, padded, and copies the result back; channels_last images it takes as
they are, and copies only the weights. Sizes may be arrays; channels, kernels and the target are plain numbers.

Measured: the allocator's events inside 2199 convolutions of nine networks and 2800 others (torch 2.13, oneDNN 3.12).
tests/test_onednn.py holds this file against them; what is an approximation says so where it stands.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from .size import Shape, Size, maximum, where
from .target import Setting

PAGE = 4096
BOOKED = 128  # every buffer is booked with the alignment that it may need


class Kernel(NamedTuple):
    """What one of oneDNN's kernels needs.

    x, y: channels of the copies of the images, 0 where the kernel takes the caller's own. weight: bytes of the copy of the
    weights. scratch: bytes. more: scratch that depends on the sizes, a function of (batch, h, w, h', w'), the last two of
    the output. again: the result is in a format that PyTorch makes contiguous by a copy of its own.
    least, small: the output's width, or the weight gradient's input height, below which the kernel `small` runs instead.
    """

    x: int = 0
    y: int = 0
    weight: int = 0
    scratch: int = 0
    more: Optional[Callable[..., Size]] = None
    again: bool = False
    least: int = 0
    small: Optional["Kernel"] = None

    def bytes(self, x: Size, y: Size, sizes: Tuple[Size, ...]) -> Size:
        """All of it, given the bytes of one channel of the input and of the output."""
        total = self.x * x + self.y * y + (self.weight + self.scratch)
        return total + self.more(*sizes) if self.more else total


class Scratch:
    """The transients of one convolution in one setting. What depends on no size is worked out once, here."""

    def __init__(self, conv: Any, setting: Setting) -> None:
        target, item = setting.target, setting.item
        self.item, self.threads, self.flat = item, target.threads, target.channels_last
        self.lanes = 16 if target.isa == "avx512" else 8
        self.inputs, self.outputs, self.groups = conv.in_channels, conv.out_channels, conv.groups
        self.c, self.k = self.inputs // self.groups, self.outputs // self.groups  # of one group
        self.kernel, self.stride, self.padding = conv.kernel, conv.stride, conv.padding
        self.reach = tuple(d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel))
        self.area = self.kernel[0] * self.kernel[1]
        self.strided, self.dilated = conv.stride != (1, 1), conv.dilation != (1, 1)
        self.one = self.area == 1 and conv.padding == (0, 0)
        self.depthwise = self.groups > 1 and self.c == self.k == 1
        self.outside = any(p >= r for p, r in zip(self.padding, self.reach))  # an output that reads only padding
        self.demanded = setting.demanded
        self.bias = conv.bias
        self.weights = item * self.outputs * self.c * self.area
        self.biases = item * self.outputs if "bias" in setting.demanded else 0
        self.kept = self.biases + (self.weights if "weight" in setting.demanded else 0)
        self.forward = self.forward_kernel()
        self.input = self.input_kernel() if "x" in setting.demanded else None
        # oneDNN makes the gradient of the weights also where that of the bias alone is wanted.
        self.weight = self.weight_kernel() if self.kept else None

    # What the copies and scratch of a call come to, beyond its results.

    def __call__(self, y: Shape, x: Shape) -> Tuple[Size, Size]:
        """Bytes beyond the results at the highest, in the forward and in the backward pass."""
        n, _, h, w = x
        sizes = (n, h, w, y[2], y[3])
        x, y = self.item * n * h * w, self.item * n * y[2] * y[3]
        forward = self.level(self.forward_level, self.forward, x, y, sizes, sizes[4])
        backward = 0
        if self.weight:
            backward = self.level(self.weight_level, self.weight, x, y, sizes, h) - self.kept
        if self.input:
            # The input's gradient is made first, and lives on while the weights' is made.
            first = self.level(self.input_level, self.input, x, y, sizes, w) - self.inputs * x - self.kept
            backward = maximum(first, backward) if self.weight else first
        used = self.in_onednn(n, h * w)
        if used is True:
            return forward, backward
        loops = self.columns(sizes)
        return where(used, forward, loops), where(used, backward, loops if "weight" in self.demanded else 0)

    def level(self, of: Callable, kernel: Kernel, x: Size, y: Size, sizes: Tuple[Size, ...], extent: Size) -> Size:
        level = of(kernel, x, y, sizes)
        return where(extent < kernel.least, of(kernel.small, x, y, sizes), level) if kernel.small else level

    def forward_level(self, kernel: Kernel, x: Size, y: Size, sizes: Tuple[Size, ...]) -> Size:
        if self.flat:
            return kernel.bytes(x, y, sizes)
        # Contiguous: everything goes before the result is copied out of its blocks.
        return maximum(kernel.bytes(x, y, sizes) - self.outputs * y, kernel.y * y)

    def input_level(self, kernel: Kernel, x: Size, y: Size, sizes: Tuple[Size, ...]) -> Size:
        if self.flat:
            return kernel.bytes(x, y, sizes) + self.inputs * x
        results = 2 if kernel.again else 1
        return maximum(kernel.bytes(x, y, sizes), (kernel.x + results * self.inputs) * x)

    def weight_level(self, kernel: Kernel, x: Size, y: Size, sizes: Tuple[Size, ...]) -> Size:
        # The bias's gradient is made in a buffer of its own and then copied, and the weights' too; in channels_last that
        # one is copied once more, into channels_last.
        results = kernel.weight + 2 * self.biases + (2 if self.flat else 1) * self.weights
        return maximum(kernel.bytes(x, y, sizes) + self.biases, results)

    # Which code runs.

    def in_onednn(self, n: Size, pixels: Size) -> Any:
        """ATen/native/Convolution.cpp: use_mkldnn. Small single images, and plain products on one thread, do not run there.

        A grouped plain product on one thread loops over the groups: not modelled.
        """
        busy = self.strided or self.dilated or self.area > 1 or self.threads > 1 or (n >= 16)
        if self.groups > 1 or min(self.kernel) > 3:
            return busy
        large = (n > 1) | (n * self.inputs * pixels > 20480)
        return large if busy is True else busy & large

    def columns(self, sizes: Tuple[Size, ...]) -> Size:
        """PyTorch's own loops gather the inputs of every output position, except for a plain product."""
        if self.one and not self.strided:
            return 0
        columns = self.item * self.c * self.area * sizes[3] * sizes[4]
        return columns if self.dilated else columns * sizes[0]  # the dilated one goes image by image

    def block(self) -> int:
        """Channels to a block; 0: no block fits. Dense images are padded to one, groups must divide into it."""
        if self.groups == 1:
            return self.lanes
        return next((b for b in (16, 8, 4) if 8 <= self.lanes >= b and not self.c % b and not self.k % b), 0)

    def padded(self, outputs: int, inputs: int) -> int:
        """Bytes of the weights with the channels of each group padded to multiples of these."""
        return self.item * self.groups * up(self.k, outputs) * up(self.c, inputs) * self.area

    def vectors(self) -> int:
        """Bytes of a depthwise convolution's weights, of which vectors take as many channels as they hold."""
        return self.item * up(self.outputs, self.lanes) * self.area

    def lists(self) -> int:
        """oneDNN's batched products: each thread's list of operands, of 40 bytes each in whole pages."""
        return self.threads * up(PAGE, 40) + PAGE

    def gathered(self) -> int:
        """Bytes of columns for each output position of one image."""
        return 0 if self.one and not self.strided else self.item * self.c * self.area

    def forward_kernel(self) -> Kernel:
        lanes = self.lanes
        bias = self.item * up(self.outputs, lanes) + BOOKED if self.bias and self.outputs % lanes else 0
        plain = Kernel(y=0 if self.flat else self.outputs, more=partial(_gather, self.threads, 0, self.gathered(), False))
        if self.flat:
            if self.depthwise:
                return Kernel(weight=self.vectors())
            if self.groups > 1 and self.c <= lanes == 16:
                return Kernel(weight=self.narrow())
            return Kernel(weight=self.padded(self.wide(self.k), 1), scratch=self.lists())
        if self.outside:
            return plain
        small = dict(least=self.padding[1], small=plain) if self.padding[1] > 1 else {}
        if self.depthwise:
            x, y = up(self.inputs, lanes), up(self.outputs, lanes)
            return Kernel(x, y, self.vectors(), bias, **small)
        block = self.block()
        if self.one and self.groups == 1:
            copy = self.threads * self.item * up(self.inputs, lanes) if self.strided else 0
            more = partial(_picked, self.stride, copy) if copy else None
            return Kernel(up(self.inputs, block), up(self.outputs, block), self.padded(block, block), bias, more)
        if self.groups == 1 and self.inputs < lanes:
            # "First convolution": so few channels are read where they are.
            return Kernel(0, up(self.outputs, lanes), self.padded(lanes, 1), bias, **small)
        if block:
            x, y = up(self.inputs, block), up(self.outputs, block)
            return Kernel(x, y, self.padded(block, block), bias if self.groups == 1 else 0, **small)
        return plain

    def input_kernel(self) -> Kernel:
        lanes, block = self.lanes, self.block()
        if self.strided and not self.dilated and (self.groups == 1 or self.k > lanes):
            return self.strided_input()
        if self.depthwise and not self.dilated:
            if self.flat:
                return Kernel(weight=self.vectors())
            return Kernel(up(self.inputs, lanes), up(self.outputs, lanes), self.vectors())
        unfit = self.outside or (self.dilated and self.strided)
        if self.flat:
            if unfit:
                more = partial(_gather, self.threads, 0, self.gathered(), False)
                return Kernel(weight=self.weights, more=more)
            if self.strided or (self.groups > 1 and self.k <= lanes == 16):
                return Kernel(weight=self.narrow())
            return Kernel(weight=self.padded(1, self.wide(self.c)), scratch=self.lists() + BOOKED)
        if block and not unfit:
            return Kernel(up(self.inputs, block), up(self.outputs, block), self.padded(block, block))
        return Kernel(x=self.inputs, more=partial(_gather, self.threads, 0, self.gathered(), False))

    def strided_input(self) -> Kernel:
        """Each thread copies the output's gradient with a margin of the zeros that the kernel reads beyond it.

        The real kernel pads the weights' inputs to 16, 32, 48 or 64, whichever it estimates to run best: here to 16.
        """
        weight = self.padded(1, self.lanes)
        more = partial(_strided, self)
        if self.flat:
            return Kernel(weight=weight, more=more)
        return Kernel(self.inputs, 0 if self.outputs == 1 else self.outputs, weight, 0, more, again=self.inputs > 1)

    def narrow(self) -> int:
        """Bytes of channels_last weights of groups with few channels."""
        fits = (b for b in (8, 4) if max(self.c, self.k) < 16 == self.lanes and not self.c % b and not self.k % b)
        block = next(fits, self.lanes)
        return self.padded(block, block)

    def wide(self, channels: int) -> int:
        """Block of the channels_last weights. The real one is 16, 32, 48 or 64, whichever is estimated to run best."""
        return self.lanes

    def weight_kernel(self) -> Kernel:
        lanes, threads = self.lanes, self.threads
        (kh, kw), (ph, pw), stride = self.kernel, self.padding, self.stride
        bias = "bias" in self.demanded
        # Else columns are gathered, and each thread sums up weights of its own: booked with their bytes for their number,
        # four times too much.
        plain = Kernel(weight=self.weights, more=partial(_gather, threads, self.item * self.weights, self.gathered(), True))
        if self.depthwise and not self.dilated and stride[1] <= kw <= 3 and ph <= min(kh // 2, 1) and pw <= kw // 2:
            own = self.vectors() + self.item * bias * (self.outputs if self.flat else up(self.outputs, lanes))
            # Contiguous, threads share the images only where there are fewer blocks of channels than threads.
            sharing = threads if self.flat else threads // min(threads, -(-self.outputs // lanes))
            more = partial(_own_sums, own, BOOKED * (1 + bias), sharing, self.flat) if sharing > 1 else None
            x, y = self.blocked(lanes)
            return Kernel(x, y, self.vectors(), more=more, least=kh + -ph % stride[0], small=plain)
        if self.one and self.groups == 1:
            x, y = self.blocked(lanes)
            return Kernel(x, y, self.padded(lanes, lanes), self.bias_scratch(lanes), self.sums(lanes))
        if self.dilated and self.strided or ph > self.reach[0] // 2 or pw >= self.reach[1]:
            return plain
        if lanes == 16 and (self.flat or self.fits(16) and not 3 < self.inputs < 16):
            first = self.groups == 1 and self.inputs < 16  # so few channels are read where they are
            x, y = self.blocked(16)
            weight = self.padded(16, 1 if first else 16)
            return Kernel(0 if first else x, y, weight, self.bias_scratch(16), self.sums(16))
        if self.dilated or not (self.flat or self.fits(8)):
            return plain
        x, y = self.blocked(8)
        first = self.c == 3
        weight = self.padded(8, 1 if first else 8)
        return Kernel(0 if first else x, y, weight, self.bias_scratch(8), self.sums(8), least=kh, small=plain)

    def blocked(self, block: int) -> Tuple[int, int]:
        """Channels of both images' copies in blocks; channels_last images are not copied."""
        return (0, 0) if self.flat else (up(self.inputs, block), up(self.outputs, block))

    def fits(self, block: int) -> bool:
        """Whether the channels of each group come in whole blocks; dense images are padded to them."""
        return self.groups == 1 or not (self.c % block or self.k % block)

    def bias_scratch(self, block: int) -> int:
        """A padded buffer for the bias's gradient."""
        return self.item * self.groups * up(self.k, block) + BOOKED if self.biases and self.k % block else 0

    def sums(self, block: int) -> Optional[Callable[..., Size]]:
        """How threads share the work of a dense weight gradient: where they share images, they keep sums of their own."""
        if self.threads == 1 and not (self.one and self.strided):
            return None
        item, first = self.item, self.c <= 3
        inputs, outputs = -(-self.c // block), -(-self.k // block)
        width = self.c if first else block  # of a block of inputs
        jobs: List[Tuple[int, int, bool]] = [(self.groups * outputs, item * block, False)] if self.biases else []
        steps, picked = (), 0
        if block == 16:
            share = max(1, self.threads // self.groups)
            factor = 12 if self.one else 8 * self.area
            steps = _steps(share, inputs, outputs, width / 16, factor * width, not self.one)
            picked = self.threads * next(d for d in range(min(5, inputs), inputs + 1) if inputs % d == 0)
        elif self.one:
            a, b = _shrink(inputs, 17 if self.flat else 9), _shrink(outputs, 32)
            jobs.append((-(-inputs // a) * -(-outputs // b), item * a * b * block * block, True))
            picked = self.threads * a
        else:
            jobs.append((self.groups * inputs * outputs, item * self.area * width * block, False))
        picked = (item * (self.threads * self.inputs if self.flat else picked * block)) if self.one and self.strided else 0
        own = self.padded(16, 1 if first else 16) + (0 if self.one else item * self.groups * up(self.k, 16))
        return partial(_sums, self.threads, steps, own, not self.one, tuple(jobs), picked, self.stride)


# Scratch that depends on the sizes: each is told (batch, h, w, h', w').


def _gather(threads, own, columns, limited, n, h, w, oh, ow):
    """Columns of one image for each thread, and for a weight gradient sums of its own; on large maps one thread works."""
    each = own + columns * oh * ow + BOOKED * 0
    return where(oh * ow < 256 * threads, threads, 1) * each + (2 * BOOKED) if limited else threads * each + BOOKED


def _picked(stride, each, n, h, w, oh, ow):
    """A strided product whose stride divides the map works on a copy of the pixels that it reads."""
    return where((h == oh * stride[0]) & (w == ow * stride[1]), each * oh * ow + BOOKED, 0)


def _strided(conv, n, h, w, oh, ow):
    """Of the input gradient of a strided convolution; where the width is odd, each thread also keeps a line of results."""
    threads, item = conv.threads, conv.item
    beyond = [(r - 1 - p) // s for r, p, s in zip(conv.reach, conv.padding, conv.stride)]
    ends = [r - 1 - ((o - 1) * s + r - i - p) for r, p, s, o, i in
            zip(conv.reach, conv.padding, conv.stride, (oh, ow), (h, w))]  # fmt: skip
    oh, ow = (o + b + maximum(e, 0) // s for o, b, e, s in zip((oh, ow), beyond, ends, conv.stride))
    image = item * up(oh * ow * conv.outputs, PAGE)
    wide = conv.stride[1]
    line = where(w % wide != 0, threads * item * up(up(w, wide) * wide * conv.inputs, PAGE) + PAGE, 0)
    return conv.lists() + threads * (image + PAGE) + 2 * PAGE + line


def _own_sums(own, booked, sharing, flat, n, h, w, oh, ow):
    """All threads but one that share the images of a depthwise convolution keep sums of their own."""
    others = minimum(n * oh if flat else n, sharing) - 1
    return where(others > 0, others * own + booked, 0)


def _sums(threads, steps, own, rows, jobs, picked, stride, n, h, w, oh, ow):
    """The same of a dense one, and the copy of the pixels that a strided product reads."""
    pixels, sharing = n * oh * ow, 1
    for least, share in steps:
        sharing = where(pixels >= least, share, sharing)
    if rows and steps:
        sharing = minimum(sharing, n * maximum(oh // 9, 1))
    total = where(sharing > 1, (sharing - 1) * own + (BOOKED + 2 * PAGE), 0)
    for count, job, whole in jobs:
        total = total + _reduced(threads, count, job, pixels if whole else n, whole)
    return total + _picked(stride, picked, n, h, w, oh, ow) if picked else total


def _steps(threads: int, inputs: int, outputs: int, width: float, factor: int, slack: bool) -> tuple:
    """How many threads share the images rather than the channels: (least number of pixels, threads), in order.

    They split the work such that each touches the least: of both images its share of pixels and channels, and `factor`
    times its share of the weights.
    """
    splits = []
    for pixels in range(1, threads + 1):
        for k in range(1, min(threads // pixels, outputs) + 1):
            c = min(threads // pixels // k, inputs)
            a, b = -(-inputs // c), -(-outputs // k)
            gain = 1 / 1.1 if slack and pixels == threads else 1
            splits.append((pixels, gain * (a * width + b) / pixels, gain * a * b * factor))
    best = min(splits, key=lambda s: (s[2], s[1]))
    steps, at = [], 0
    while True:
        steps.append((at, threads if best[0] > threads // 2 else best[0]))
        # The next split, in the order of pixels, that is no worse: its slope is lower, its weights cost more.
        meets = [((s[2] - best[2]) / (best[1] - s[1]), s[1], s) for s in splits if s[1] < best[1]]
        if not meets:
            return tuple(steps)
        at, _, best = min(meets)


def _shrink(blocks: int, most: int) -> int:
    """Blocks that one job takes: halves and thirds of all until few enough."""
    while blocks > most and (blocks % 2 == 0 or blocks % 3 == 0):
        blocks //= 2 if blocks % 2 == 0 else 3
    return blocks


def _reduced(threads, jobs, job, terms, whole):
    """Sums that threads keep where several work on one job. They are split such that the longest takes least."""
    time, bytes_ = jobs * terms + 1, 0
    for teams in range(min(threads, jobs), 0, -1):
        each = -(-jobs // teams)
        share = minimum(terms, threads // teams)
        own = share if whole else share - 1  # the first sums up in the result itself, unless it is reduced by blocks
        takes = each * (-(-terms // share) + (share > 1))
        size = where(share > 1, teams * own * each * job + (teams + 1) * PAGE + (BOOKED if whole else PAGE), 0)
        better = takes < time
        time, bytes_ = where(better, takes, time), where(better, size, bytes_)
    return bytes_


def minimum(a: Size, b: Size) -> Size:
    return where(a < b, a, b)


def up(number: Size, multiple: int) -> Size:
    """The least multiple that is not below the number."""
    return -(-number // multiple) * multiple
