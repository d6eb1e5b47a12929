"""Back Razor: a layer keeps the largest numbers of its input, and where they are.

Jiang et al., NeurIPS 2022. Of each image the share rho of the numbers with the smallest magnitudes is left out: the
others are kept as they are, with a bit for each number that tells whether it is there. The weight's gradient takes the
others as 0. The input's gradient is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from ...graph.op import Extra, check, op, shared_fields
from ...sizes.size import Shape, Size, maximum, numel
from ...targets.setting import Setting
from ._restored import Restored, RestoredConv2d, RestoredLinear

USUAL_RHO = 0.9


@shared_fields
class Pruned(Restored):
    """A layer that keeps the largest numbers of its input. rho: the share of each image that is left out."""

    rho: float = USUAL_RHO

    form = ("values", "map")
    in_words = "the largest numbers of it"
    makes = 3  # magnitude, selection, comparison
    restores = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 < self.rho < 1, f"rho is {self.rho}; allowed: above 0 and below 1")

    def kept_of(self, numbers: Size) -> Size:
        """How many of an image's numbers are kept."""
        left_out = Fraction(str(self.rho))
        return maximum(numbers - numbers * left_out.numerator // left_out.denominator, 1)

    def made(self, x: Shape) -> dict[str, Extra]:
        numbers = numel(x[1:])
        return {"values": Extra((x[0], self.kept_of(numbers))), "map": Extra((x[0], -(-numbers // 8)), 8)}

    def making(self, setting: Setting, x: Shape) -> Size:
        # The magnitudes of an image, which are partitioned, and the number by which signs are cut off.
        return setting.item * numel(x[1:]) + setting.scalar


@op("pruned_conv2d")
class PrunedConv2d(Pruned, RestoredConv2d):
    """A convolution that keeps the largest numbers of its input (Back Razor)."""

    def module(self, library: Any) -> Callable:
        return library.lean.PrunedConv2d(*self.arguments(), rho=self.rho)


@op("pruned_linear")
class PrunedLinear(Pruned, RestoredLinear):
    """A linear layer that keeps the largest numbers of its input (Back Razor)."""

    def module(self, library: Any) -> Callable:
        return library.lean.PrunedLinear(self.in_features, self.out_features, self.bias, rho=self.rho)


PrunedConv2d.examples = (
    (PrunedConv2d(8, 12, 3, padding=1), (2, 8, 7, 5)),
    (PrunedConv2d(8, 8, 3, 2, 1, groups=8, bias=True, rho=0.5), (3, 8, 9, 7)),
    (PrunedConv2d(8, 16, 1, rho=0.97), (2, 8, 7, 7)),
)
PrunedLinear.examples = ((PrunedLinear(40, 6), (3, 40)), (PrunedLinear(9, 6, False, rho=0.25), (2, 9)))
