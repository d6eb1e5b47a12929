"""Ops that overwrite a part of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..graph.op import Axes, Op, Scratch, Work, check, op, shared_fields
from ..sizes.size import LARGEST, Shape, numel, require
from ..targets.memory_order import MemoryOrder
from ..targets.setting import Setting
from .view import Slice


@shared_fields
class Write(Op):
    """x[start:stop:step, ...] = something: slices of the first axes, by Python's rules."""

    timed_as = ("copy",)

    starts: Axes
    stops: Axes
    steps: Axes

    inplace: ClassVar[bool] = True

    def __post_init__(self) -> None:
        axes = len(self.starts)
        check(axes == len(self.stops) == len(self.steps), "starts, stops and steps are not of one length; allowed: one")
        self._slices()  # check themselves

    def _slices(self) -> list[Slice]:
        bounds = zip(self.starts, self.stops, self.steps)
        return [Slice(axis, *one) for axis, one in enumerate(bounds)]

    def shape(self, x: Shape, *_: Shape) -> Shape:
        require(len(x) >= len(self.starts), "{} has fewer axes than are written to", x)
        return x

    def part(self, x: Shape) -> Shape:
        """Shape of what is overwritten."""
        for one in self._slices():
            x = one.shape(x)
        return x

    def index(self) -> tuple[slice, ...]:
        """The part as Python's index."""
        bounds = zip(self.starts, self.stops, self.steps)
        return tuple(slice(a, None if b == LARGEST else b, step) for a, b, step in bounds)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return x


@op("write_number")
class WriteNumber(Write):
    """x[...] = number."""

    number: float = 0.0

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work()}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # CopySlices (torch/csrc/autograd/functions/tensor.cpp): a clone of the part, and its gradient, zeros.
        number = setting.item if setting.kernels else 0  # as a tensor
        return Scratch(number, 2 * setting.item * numel(self.part(x)))

    def module(self, library: Any) -> Callable:
        def write(x: Any) -> Any:
            x[self.index()] = self.number
            return x

        return write


@op("write_part")
class WritePart(Write):
    """x[...] = part."""

    inputs = ("x", "part")

    def shape(self, x: Shape, part: Shape) -> Shape:
        fits = numel(part) == numel(self.part(super().shape(x)))
        require(fits, "{} cannot be written into a part of {}", part, x)
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": (), "part": ()}

    def work(self, y: Shape, x: Shape, part: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work(), "part": Work()}

    def scratch(self, setting: Setting, y: Shape, x: Shape, part: Shape) -> Scratch:
        # A map of x's, a clone of the part, which is the gradient of what is written, and zeros for x.
        own, whole = setting.item * numel(part), setting.item * numel(x)
        made = own if "x" in setting.demanded else whole
        return Scratch(backward=made if "part" in setting.demanded else made + own)

    def module(self, library: Any) -> Callable:
        def write(x: Any, part: Any) -> Any:
            seen = x[self.index()]
            seen.copy_(part.view(seen.shape))
            return x

        return write


_MAP = (2, 4, 5, 3)
WriteNumber.examples = (
    (WriteNumber((0, 0), (LARGEST, 1), (1, 1)), _MAP),
    (WriteNumber((0, 0, 1), (LARGEST, LARGEST, -1), (1, 1, 2), 2.0), _MAP),
)
WritePart.examples = (
    (WritePart((0, 1), (LARGEST, 3), (1, 1)), _MAP, (2, 2, 5, 3)),
    (WritePart((0, 0, 1), (LARGEST, LARGEST, LARGEST), (1, 1, 1)), _MAP, (2, 4, 4, 3)),
)
