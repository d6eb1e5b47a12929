"""Stand-ins for pricing a single part: one op for all parts below it, and one for all parts above it and the loss."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.op import Op, Work
from ..graph.recompute import Terms
from ..sizes.size import Shape
from ..targets.memory_order import MemoryOrder


@dataclass(frozen=True, eq=False, repr=False)
class Below(Op):
    """Stand-in for all parts below; its output is theirs.

    keeps: whether their backward pass reads that output too. lies: the output's memory order. terms: what it can be
    made again of, if that is kept there.
    """

    keeps: bool
    lies: MemoryOrder
    terms: Terms | None = None
    kind = "below"

    def params(self) -> dict[str, tuple[int, ...]]:
        return {"value": (1,)}

    def shape(self, x: Shape) -> Shape:
        return x

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return self.lies

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": (), "value": ("y",) if self.keeps else ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return dict.fromkeys(("forward", "x", "value"), Work())


@dataclass(frozen=True, eq=False, repr=False)
class Above(Op):
    """Stand-in for all parts above and the loss.

    keeps: whether they save this part's output. shared: whether the gradient that they return may alias another. lies:
    the memory order of that gradient. makes_again: they make the output again if they can, and save it else. adds_up:
    the gradient is a sum. terms: what the output is made again of, as the lean form of the part tells.
    """

    keeps: bool
    shared: bool
    lies: MemoryOrder
    makes_again: bool = False
    adds_up: bool = False
    terms: Terms | None = None
    kind = "above"
    is_stand_in = True

    def hands_over(self, name: str) -> bool:
        return not self.shared

    def shape(self, x: Shape) -> Shape:
        return ()

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x",) if self.keeps or self.makes_again else ()}

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return self.lies

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return dict.fromkeys(("forward", "x"), Work())
