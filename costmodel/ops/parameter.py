"""Values that exist before the step: parameters and buffers that a network uses outside a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Axes, Extra, Op, Result, Sizes, Work, check, op
from ..sizes.size import Shape
from ..targets.memory_order import MemoryOrder, contiguous
from .layout import MOST_INPUTS


class Resident(Op):
    """A value that does not depend on the images' pixels. The input is read only for its batch."""

    result = Result.RESIDENT
    in_16_bits = True

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), **dict.fromkeys(self.needs(), Work())}

    def module(self, library: Any) -> Callable:
        return library.Tensors(self.params(), self.buffers())


@op("parameter")
class Parameter(Resident):
    """A parameter outside a layer: a layer scale, a position embedding, a class token. `parameter` is its name."""

    parameter: str
    size: Sizes

    @property
    def passes(self) -> tuple[str, ...]:
        return (self.parameter,)

    def params(self) -> dict[str, tuple[int, ...]]:
        return {self.parameter: tuple(self.size)}

    def shape(self, x: Shape) -> Shape:
        return tuple(self.size)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": (), self.parameter: ()}


@op("constant")
class Constant(Resident):
    """A tensor without a gradient. In `size` 0 stands for the batch, -2 for twice the batch, and so on.

    buffer: its name if the module holds it as a buffer; without a name it is made anew in each step, unless somebody
    holds it: an attribute, the weights of a loss. bits: 0 for the network's own. order: of its axes, from the largest
    stride to the smallest, if it is not contiguous.
    """

    size: Sizes
    buffer: str = ""
    bits: int = 0
    order: Axes = ()
    held: bool = False

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        if self.buffer:
            return super().layout(axes, *xs)
        return MemoryOrder(self.order) if self.order else contiguous(axes)

    @property
    def result(self) -> Result:
        if self.buffer:
            return Result.RESIDENT
        return Result.GIVEN if self.held else Result.NEW

    def buffers(self) -> dict[str, Extra]:
        return {self.buffer: Extra(tuple(self.size), self.bits or None)} if self.buffer else {}

    def shape(self, x: Shape) -> Shape:
        return tuple(size if size > 0 else (-size or 1) * x[0] for size in self.size)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def module(self, library: Any) -> Callable:
        return super().module(library) if self.buffer else library.computed(self.size, self.held)


@op("unknown")
class Unknown(Op):
    """An op that the package does not know, allowed on request. It counts as keeping nothing and costing nothing.

    So the results are lower bounds. of: torch's name. size: shape of the output, with 0 for the batch.
    """

    of: str
    size: Sizes
    count: int = 1

    def __post_init__(self) -> None:
        check(0 <= self.count <= MOST_INPUTS, f"count is {self.count}; allowed: 0 to {MOST_INPUTS}")

    @classmethod
    def infer(cls, *xs: Shape) -> dict[str, int]:
        return {"count": len(xs)}

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.count))

    def shape(self, *xs: Shape) -> Shape:
        return tuple(size or xs[0][0] for size in self.size)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(self.inputs, ())

    def work(self, y: Shape, *xs: Shape) -> dict[str, Work]:
        return {"forward": Work(), **dict.fromkeys(self.inputs, Work())}

    def module(self, library: Any) -> Callable:
        return library.unknown(self.of)
