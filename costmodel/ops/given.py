"""Tensors that the caller gives beside the first input: further inputs, and the targets of a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Op, Result, Sizes, Work, check, op
from ..sizes.size import Shape, require
from ..targets.memory_order import MemoryOrder, contiguous

CLASSES, VALUES = "classes", "values"
CLASS_BITS = 64  # of the number of a class, an int64


class Given(Op):
    """A tensor of the caller's, which is there before the step. The input is read only for its shape."""

    shape_only = ("x",)
    result = Result.GIVEN
    in_16_bits = True

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work()}

    def module(self, library: Any) -> Callable:
        kind = getattr(library.torch, f"int{self.bits}" if self.bits > 8 else "uint8") if self.bits else None
        return lambda x: library.torch.zeros(self.shape(tuple(x.shape)), dtype=kind)


@op("input")
class FurtherInput(Given):
    """An input beside the first: a tensor (N, *size). bits: of each number, 0 for the network's own data type."""

    size: Sizes
    bits: int = 0

    def shape(self, x: Shape) -> Shape:
        return (x[0], *self.size)


@op("targets")
class Targets(Given):
    """The targets of a loss, for the network's result (N, C, ...).

    of: "classes", the class of each example or pixel, int64 (N, ...), or "values", a number for each of the result's.
    """

    of: str = CLASSES

    def __post_init__(self) -> None:
        check(self.of in (CLASSES, VALUES), f"of is {self.of!r}; allowed: {CLASSES}, {VALUES}")

    @property
    def bits(self) -> int:
        return CLASS_BITS if self.of == CLASSES else 0

    def shape(self, x: Shape) -> Shape:
        if self.of == VALUES:
            return x
        require(len(x) >= 2, "the targets of classes are for (N, classes, ...), the result is {}", x)
        return (x[0], *x[2:])


FurtherInput.examples = ((FurtherInput((5, 7)), (3, 4)),)
Targets.examples = ((Targets(), (3, 10)), (Targets(VALUES), (3, 10)))
