"""Activations that are constant in a part of their range, and gates of one half of the channels by the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Extra, Op, Work, check, op
from ..sizes.size import Shape, numel, require
from ..targets.memory_order import MemoryOrder, contiguous
from ..targets.setting import Setting
from .elementwise import Elementwise


class Cut(Elementwise):
    """A function whose derivative is 1 or 0, which a bit tells. torch keeps the input."""

    operations = (2, 1)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("mask",)}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x",)}

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {"mask": Extra(x, 1)}


@op("hardshrink")
class Hardshrink(Cut):
    """x, but 0 between -bound and bound."""

    bound: float = 0.5

    def module(self, library: Any) -> Callable:
        return library.nn.Hardshrink(self.bound)


@op("softshrink")
class Softshrink(Cut):
    """x, nearer to 0 by the bound, and 0 between -bound and bound."""

    bound: float = 0.5

    def module(self, library: Any) -> Callable:
        return library.nn.Softshrink(self.bound)


@op("threshold")
class Threshold(Cut):
    """x where x > bound, else a number."""

    bound: float
    number: float
    inplace: bool = False

    def module(self, library: Any) -> Callable:
        return library.nn.Threshold(self.bound, self.number, self.inplace)


@op("glu")
class GLU(Op):
    """torch.nn.GLU: one half of the channels, or of another axis, times the sigmoid of the other."""

    axis: int = 1

    def __post_init__(self) -> None:
        check(self.axis >= 0, f"axis is {self.axis}; allowed: >= 0")

    def shape(self, x: Shape) -> Shape:
        require(self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        require(x[self.axis] % 2 == 0, "axis {} of {} has no halves", (self.axis,), x)
        return (*x[: self.axis], x[self.axis] // 2, *x[self.axis + 1 :])

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x",)}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(y)
        return {"forward": Work(0, 4 * n), "x": Work(0, 8 * n)}

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and not setting.layouts and not setting.channels_last

    def module(self, library: Any) -> Callable:
        return library.nn.GLU(self.axis)


for _cls in (Hardshrink, Softshrink):
    _cls.examples = ((_cls(), (2, 8, 5, 3)), (_cls(0.2), (2, 9)))
Threshold.examples = ((Threshold(0.1, 2.0), (2, 8, 5, 3)), (Threshold(0.1, 0.0, inplace=True), (2, 9)))
GLU.examples = ((GLU(), (2, 8, 5, 3)), (GLU(2), (2, 5, 4)))
