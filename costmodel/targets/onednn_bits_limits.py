"""Where the rules for convolutions of 16 bits hold: found by measuring random convolutions.

Outside, other kernels run, or PyTorch takes other paths. What holds for float32 (onednn_limits.py) says nothing here.
"""

from __future__ import annotations

from typing import Any

from ..sizes.size import Shape
from .onednn_bf16_products import VECTOR
from .onednn_bf16_windows import strided_block
from .onednn_facts import Facts
from .onednn_formulas import up

WIDEST = 7  # kernels up to this width were studied
BIG = 81  # pixels of an output by a stride of 1, above which blocks of 48 channels are tried too
MANY = 64  # pixels of a map in channels_last, from which on products try blocks of 4 vectors
MOST_READ = 128  # channels that a window of several pixels reads, in channels_last; of more, sums are kept in buffers
FEW = 3  # depthwise convolutions of so few channels take the kernels for images


def loops_within(facts: Facts, y: Shape, x: Shape) -> Any:
    """Whether the rules hold for PyTorch's own loops of float16."""
    if facts.dilated:
        return False
    known: Any = x[0] > 1 if facts.groups > 1 else True  # of one image, the parts of groups need no copies
    # Of several pixels and images, the bias's gradient is summed in 32 bits (Setting.channel_sums), at some time.
    return known & (y[2] * y[3] == 1) if "bias" in facts.demanded else known


def within(facts: Facts, y: Shape, x: Shape) -> Any:
    """Whether the rules hold for a convolution of bfloat16, with an output and an input of these shapes."""
    return _within(facts, y, x) & _flat_within(facts, y, x) if facts.flat else _within(facts, y, x)


def _within(facts: Facts, y: Shape, x: Shape) -> Any:
    odd = all(k % 2 == 1 and p in (0, k // 2) for k, p in zip(facts.kernel, facts.padding))
    square = facts.kernel[0] == facts.kernel[1] and facts.stride[0] == facts.stride[1] <= 2
    if facts.dilated or not odd or not square or max(facts.kernel) > WIDEST:
        return False
    if facts.area == 1 and (facts.groups > 1 or facts.strided):
        return False
    # A map of one pixel is in both memory formats, and is not copied from one into the other.
    copied: Any = True
    if facts.strided and "x" in facts.demanded:
        copied = (y[2] * y[3] > 1) & (x[2] * x[3] > 1)
        block = strided_block(facts.c)
        if not facts.depthwise and block == 0:
            return False
        if not facts.depthwise and facts.c > 2 * VECTOR and block == 2 * VECTOR:
            copied = copied & (y[2] * y[3] <= BIG * facts.stride[0] * facts.stride[1])
    if facts.depthwise:
        lowest = facts.least_height() if facts.kept and facts.area <= 9 else facts.padding[0]
        wide = (x[2] >= lowest) & (y[2] >= facts.padding[0]) & (y[3] >= facts.padding[1])
        return (facts.inputs > FEW) & wide & copied
    if facts.groups > 1 and (facts.block() == 0 or facts.kept):
        return False
    if facts.area == 1:
        return True
    if facts.kept and min(facts.inputs, facts.outputs) == 1:
        return False  # other kernels take the weights' gradient
    wide = (y[2] >= facts.padding[0]) & (y[3] >= facts.padding[1]) & (x[2] * x[3] > 1) & copied
    return wide & (x[3] >= facts.kernel[1] - 1) if facts.kept else wide


def channels_of(written: int, product: bool) -> tuple[int, int]:
    """The channels to which weights in channels_last are padded, on maps below MANY pixels and on larger ones."""
    if written <= VECTOR:
        return VECTOR, VECTOR
    if not product or not _fits_in_threes(written):
        return up(written, 2 * VECTOR), up(written, 2 * VECTOR)
    padded = up(written, VECTOR)
    return up(written, 3 * VECTOR), padded if padded % (4 * VECTOR) == 0 else up(written, 3 * VECTOR)


def searched(facts: Facts) -> bool:
    """Whether oneDNN searches for the block of the weights, in channels_last, among 1 to 4 vectors."""
    return not facts.depthwise and (facts.groups == 1 or facts.c > facts.lanes)


def _fits_in_threes(channels: int) -> bool:
    return 20 * channels >= 19 * up(channels, 3 * VECTOR)


def _found(facts: Facts, written: int, read: int) -> bool:
    """Whether it is known which block oneDNN finds. written, read: channels of a group."""
    whole = up(written, VECTOR) % (2 * VECTOR) == 0 or written <= VECTOR
    if not facts.product:
        return whole and read <= MOST_READ
    alike = written <= VECTOR or not _fits_in_threes(written) or up(written, VECTOR) % (3 * VECTOR) == 0
    return facts.threads <= 2 or whole and alike


def _flat_within(facts: Facts, y: Shape, x: Shape) -> Any:
    """What is asked beside, in channels_last."""
    gradient = "x" in facts.demanded
    if searched(facts):
        if facts.groups > 1 or min(facts.inputs, facts.outputs) == 1:
            return False
        if (
            not _found(facts, facts.k, facts.c)
            or gradient
            and not facts.strided
            and not _found(facts, facts.c, facts.k)
        ):
            return False
    maps = (x[2] > 1) & (x[3] > 1) & (y[2] > 1) & (y[3] > 1)  # a line is in both memory formats
    return maps | (x[2] * x[3] == 1) if facts.area == 1 else maps
