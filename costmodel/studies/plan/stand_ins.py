"""Stand-ins between which a part is priced: one op for all parts below it, one for all above and the loss."""

from __future__ import annotations

from dataclasses import dataclass

from ...graph.op import Op, Work
from ...targets.memory_order import MemoryOrder


@dataclass(frozen=True, eq=False, repr=False)
class Below(Op):
    """Stands for the parts below, and hands on what they make.

    keeps: their backward pass reads it too. lies: how it lies in memory.
    """

    keeps: bool
    lies: MemoryOrder
    kind = "below"

    def params(self):
        return {"value": (1,)}

    def shape(self, x):
        return x

    def layout(self, axes, *xs):
        return self.lies

    def needs(self):
        return {"x": (), "value": ("y",) if self.keeps else ()}

    def work(self, y, x):
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

    def hands_over(self, name):
        return not self.shared

    def shape(self, x):
        return ()

    def needs(self):
        return {"x": ("x",) if self.keeps else ()}

    def gradient_layout(self, gradient, y, x):
        return self.lies

    def work(self, y, x):
        return dict.fromkeys(("forward", "x"), Work())
