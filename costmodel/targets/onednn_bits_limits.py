"""Where the rules for convolutions of 16 bits hold: found by measuring random convolutions.

Outside, other kernels run, or PyTorch takes other paths. What holds for float32 (onednn_limits.py) says nothing here.
"""

from __future__ import annotations

from typing import Any

from ..sizes.size import Shape
from .onednn_bf16_windows import strided_block
from .onednn_facts import Facts

WIDEST = 7  # kernels up to this width were studied
FEW = 3  # depthwise convolutions of so few channels take the kernels for images


def loops_within(facts: Facts, y: Shape, x: Shape) -> Any:
    """Whether the rules hold for PyTorch's own loops of float16."""
    if facts.dilated or "bias" in facts.demanded:
        return False
    return x[0] > 1 if facts.groups > 1 else True


def within(facts: Facts, y: Shape, x: Shape) -> Any:
    """Whether the rules hold for a convolution of bfloat16, with an output and an input of these shapes."""
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
        if not facts.depthwise and not strided_block(facts.c):
            return False
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
