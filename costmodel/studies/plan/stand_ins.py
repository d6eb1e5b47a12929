"""Stand-ins between which a part is priced: one op for all parts below it, one for all above and the loss."""

from __future__ import annotations

from dataclasses import dataclass

from ...graph.op import Op, Work
from ...sizes.size import Shape
from ...targets.memory_order import MemoryOrder


@dataclass(frozen=True, eq=False, repr=False)
class Below(Op):
    """Stands for the parts below, and hands on what they make.

    keeps: their backward pass reads it too. lies: how it lies in memory.
    """

    keeps: bool
    lies: MemoryOrder
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
    """Stands for all parts above, and the loss.

    keeps: they save what they are given. shared: the gradient that they return may alias another one. lies: how that
    gradient lies in memory.
    """

    keeps: bool
    shared: bool
    lies: MemoryOrder
    kind = "above"
    is_loss = True

    def hands_over(self, name: str) -> bool:
        return not self.shared

    def shape(self, x: Shape) -> Shape:
        return ()

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x",) if self.keeps else ()}

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return self.lies

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return dict.fromkeys(("forward", "x"), Work())
