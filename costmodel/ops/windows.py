"""Ops that make windows of a map, each as a column, or add them up to a map."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ..graph.op import Op, Pair, Scratch, Work, check, op, pair, shared_fields, two
from ..sizes.size import Shape, Size, maximum, numel, require, where, window
from ..targets.memory_order import MemoryOrder, contiguous
from ..targets.setting import NUMBER_BYTES, Setting
from .view import View


@shared_fields
class Columns(Op):
    """Base class of unfold and fold, whose kernels (im2col, col2im) make a result as large as what they take, and
    resize it then.
    """

    timed_as = ("copy",)

    kernel: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1

    resizes = True

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(getattr(self, name), name, least))

    def places(self, sides: Shape) -> Size:
        """The number of windows in a map of these sides."""
        each = (two(self.kernel), two(self.stride), two(self.padding), two(self.dilation))
        counts = [window(*one) for one in zip(sides, *each)]
        fit = (counts[0] >= 1) & (counts[1] >= 1)
        require(fit, "no window {} fits into a map {}", two(self.kernel), tuple(sides))
        return prod(counts)

    def storage(self, y: Shape, x: Shape) -> Shape:
        return (maximum(numel(y), numel(x)),)

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    reads_channels_last = False

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        if not setting.kernels:
            return Scratch()
        # What the kernel makes first is let go of where the result does not fit into it.
        first, back = numel(x), numel(y)
        copies = setting.contiguous_copy_of_input(x), setting.contiguous_copy_of_gradient(y)
        return Scratch(
            setting.item * where(back > first, first, 0) + copies[0],
            setting.item * where(first > back, back, 0) + copies[1],
        )


@op("unfold")
class Unfold(Columns):
    """torch.nn.Unfold: (N, C, H, W) -> (N, C * kernel's pixels, windows). The gradient adds up what overlaps."""

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 4, "unfold takes (N, C, H, W), the input is {}", x)
        return (x[0], x[1] * prod(two(self.kernel)), self.places(x[2:]))

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work(0, numel(y))}

    def module(self, library: Any) -> Callable:
        return library.nn.Unfold(self.kernel, self.dilation, self.padding, self.stride)


@op("fold")
class Fold(Columns):
    """torch.nn.Fold: (N, C * kernel's pixels, windows) -> (N, C, H, W). Adds up what overlaps. size: H and W."""

    size: Pair = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "size", pair(self.size, "size"))

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 3, "fold takes (N, C * pixels of a window, windows), the input is {}", x)
        pixels, places = prod(two(self.kernel)), self.places(two(self.size))
        fits = (x[1] % pixels == 0) & (x[2] == places)
        require(fits, "columns {} are not those of {} windows of {} pixels", x, (places,), (pixels,))
        return (x[0], x[1] // pixels, *two(self.size))

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(x)), "x": Work()}

    def module(self, library: Any) -> Callable:
        return library.nn.Fold(self.size, self.kernel, self.dilation, self.padding, self.stride)


@op("windows")
class Windows(View):
    """x.unfold(axis, size, step): windows along an axis as a view, with a new last axis within each."""

    axis: int
    size: int
    step: int = 1

    passes = ()
    gradient_views = False
    in_16_bits = False

    def __post_init__(self) -> None:
        fits = self.axis >= 0 and self.size >= 1 and self.step >= 1
        check(fits, f"axis {self.axis}, size {self.size}, step {self.step}; allowed: >= 0, >= 1, >= 1")

    def shape(self, x: Shape) -> Shape:
        require(self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        require(x[self.axis] >= self.size, "axis {} of {} is too short for a window", (self.axis,), x)
        places = (x[self.axis] - self.size) // self.step + 1
        return (*x[: self.axis], places, *x[self.axis + 1 :], self.size)

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        order = tuple(one for axis in xs[0].order for one in ((axis, axes - 1) if axis == self.axis else (axis,)))
        return MemoryOrder(order, tuple(sorted(order)))  # windows overlap: no axis counts as dense

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work(0, numel(y))}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        covered = (y[self.axis] - 1) * self.step + self.size  # the kernel numbers these elements of the axis
        return Scratch(backward=NUMBER_BYTES * covered if setting.kernels else 0)

    def module(self, library: Any) -> Callable:
        return lambda x: x.unfold(self.axis, self.size, self.step)


Unfold.examples = (
    (Unfold(3, padding=1), (2, 3, 6, 5)),
    (Unfold((3, 2), stride=2, padding=1), (2, 3, 6, 5)),
    (Unfold(2, stride=4), (2, 3, 9, 9)),
    (Unfold(2, dilation=2), (1, 4, 5, 7)),
)
Fold.examples = ((Fold(3, padding=1, size=(6, 5)), (2, 27, 30)), (Fold(2, stride=4, size=9), (2, 12, 4)))
Windows.examples = ((Windows(2, 3, 2), (2, 3, 7, 5)), (Windows(3, 2), (2, 3, 4, 5)))
