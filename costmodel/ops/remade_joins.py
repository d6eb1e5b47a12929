"""Products with gates and noise, and sums, that are made again of those of which they are made."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, ClassVar

from ..graph.op import Scratch, Stock, op
from ..sizes.size import Shape, Size, maximum, numel, require
from ..targets.memory_order import MemoryOrder, dense
from ..targets.setting import Setting
from .arithmetic import Add, Mul
from .noise import StochasticDepth
from .remade import Remade, Unit, over_slices, work_of_activation


@op("remaking_mul")
class RemakingMul(Mul):
    """The product of a map, which is made again, and a gate (N, C, 1, 1). map: the map's name, "a" or "b".

    of, batch, kept: as of RemakingConv2d. owns: it overwrites its output's gradient. finished: what reads its output
    does its backward pass.
    """

    map: str = "a"
    of: str = ""
    batch: bool = True
    owns: bool = False
    finished: bool = False
    kept: bool = False

    examples = ()  # it does not run alone
    stock = Stock(in_python=True)
    again: ClassVar[int] = Remade.again

    @property
    def runs_alone(self) -> bool:
        return False

    @property
    def passes(self) -> tuple[str, ...]:
        return (self.map,) if self.owns or self.finished else ()

    def saves_late(self, operands: Set[str]) -> bool:
        return True

    def work_again(self, y: Shape, a: Shape, b: Shape) -> Size:
        return 0 if self.finished or self.kept else (self.again + work_of_activation(self.of)[0]) * numel(y)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(gradient) if len(gradient.order) == len(x.order) else super().gradient_layout(gradient, y, x)

    def scratch(self, setting: Setting, y: Shape, a: Shape, b: Shape) -> Scratch:
        if self.finished:
            return Scratch()
        unit = self.unit(setting, y)

        def one(images: Size) -> Size:
            return unit.map(images) + maximum(unit.making(images) * (not self.kept), setting.item * images * y[1])

        sums = over_slices(setting, y, one, one)
        if self.map in setting.demanded and not self.owns:  # the map's gradient is a new tensor, and made last
            sums = maximum(sums - unit.map(y[0]), 0)
        return Scratch(0, unit.held + sums)

    def unit(self, setting: Setting, y: Shape) -> Unit:
        """Bytes of what the norm is made again with."""
        return Unit(setting, y[1], self.batch, self.of, y)

    def module(self, library: Any) -> Callable:
        return library.lean.RemakingMul(self.map == "a", self.owns, self.kept)


@op("remaking_depth")
class RemakingDepth(StochasticDepth):
    """Stochastic depth of single images after a norm, whose result is made again."""

    def module(self, library: Any) -> Callable:
        return library.lean.RemakingDepth(self.p, self.mode)


@op("remaking_add")
class RemakingAdd(Add):
    """The sum of two maps of one shape, which is made again from those of which they are made."""

    def shape(self, a: Shape, b: Shape) -> Shape:
        for one, other in zip(a, b):
            require(one == other, "the maps {} and {} differ", a, b)
        return super().shape(a, b)

    def module(self, library: Any) -> Callable:
        return library.lean.RemakingAdd(self.inplace)


RemakingDepth.examples = ((RemakingDepth(0.2), (4, 8, 5, 3)),)
RemakingAdd.examples = ((RemakingAdd(), (2, 8, 5, 3), (2, 8, 5, 3)),)
