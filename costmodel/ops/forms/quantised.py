"""A layer keeps its input in a few bits a number, rounded at random so that its mean is right.

Per image, each group of 256 numbers in the order of memory has its lowest number and its step in 32 bits; a number is
the lowest plus a whole number of steps (as ActNN does: Chen et al., ICML 2021). The input's gradient is exact, the
weight's right on average.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.op import Extra, check, op, shared_fields
from ...sizes.size import Shape, Size, minimum, numel
from ...targets.setting import SUM_BYTES, Setting
from ._restored import Restored, RestoredConv2d, RestoredLinear

GROUP = 256  # numbers
#: Numbers that are rounded at a time.
CHUNK = 1 << 16
BITS = (1, 2, 4, 8)


@shared_fields
class Quantised(Restored):
    """A layer that keeps its input rounded. bits: of each number."""

    quantised_bits: int = 4

    form = ("codes", "lows", "steps")
    in_words = "rounded to a few bits"
    makes = 6  # lowest, highest, difference, quotient, noise, rounding
    restores = 2
    is_random = True

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = ", ".join(map(str, BITS))
        check(self.quantised_bits in BITS, f"bits is {self.quantised_bits}; allowed: {allowed}")

    def made(self, x: Shape) -> dict[str, Extra]:
        numbers, in_a_byte = numel(x[1:]), 8 // self.quantised_bits
        groups = Extra((x[0], -(-numbers // GROUP)), 8 * SUM_BYTES)
        return {"codes": Extra((x[0], -(-numbers // in_a_byte)), 8), "lows": groups, "steps": groups}

    def making(self, setting: Setting, x: Shape) -> Size:
        groups = minimum(-(-numel(x[1:]) // GROUP), CHUNK // GROUP)
        return 2 * SUM_BYTES * GROUP * groups  # numbers, and noise

    def restoring(self, setting: Setting, x: Shape) -> Size:
        in_a_byte = 8 // self.quantised_bits
        several = -(-minimum(numel(x[1:]), CHUNK) // in_a_byte) * in_a_byte
        return several + in_a_byte if in_a_byte > 1 else 0  # a byte for each number, and the shifts


@op("quantised_conv2d")
class QuantisedConv2d(Quantised, RestoredConv2d):
    """A convolution that keeps its input rounded to a few bits."""

    def module(self, library: Any) -> Callable:
        return library.lean.QuantisedConv2d(*self.arguments(), bits=self.quantised_bits)


@op("quantised_linear")
class QuantisedLinear(Quantised, RestoredLinear):
    """A linear layer that keeps its input rounded to a few bits."""

    def module(self, library: Any) -> Callable:
        return library.lean.QuantisedLinear(self.in_features, self.out_features, self.bias, bits=self.quantised_bits)


QuantisedConv2d.examples = (
    (QuantisedConv2d(8, 12, 3, padding=1), (2, 8, 7, 5)),
    (QuantisedConv2d(8, 8, 3, 2, 1, groups=8, bias=True, quantised_bits=2), (3, 8, 9, 7)),
    (QuantisedConv2d(8, 16, 1, quantised_bits=8), (2, 8, 7, 7)),
)
QuantisedLinear.examples = (
    (QuantisedLinear(300, 6), (3, 300)),
    (QuantisedLinear(9, 6, False, quantised_bits=1), (2, 9)),
)
