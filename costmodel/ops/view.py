"""Ops that return a view of their input: no storage of their own, unless they copy."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from math import prod
from typing import Any, ClassVar

from ..graph.op import Axes, Op, Result, Work, check, op
from ..sizes.size import LARGEST, Shape, Size, maximum, numel, require
from ..targets.memory_order import MemoryOrder, around, contiguous, differs, of_images
from ..targets.setting import Setting


class View(Op):
    """An op without arithmetic, whose gradient is the output's gradient in the input's shape."""

    result = Result.VIEW
    passes: ClassVar[tuple[str, ...]] = ("x",)
    gradient_views = True
    in_16_bits = True

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work()}


def _renamed(layout: MemoryOrder, names: dict[int, int]) -> MemoryOrder:
    """A layout with renumbered axes. names: old axis -> new axis; axes that are not in it are left out."""
    return MemoryOrder(*(tuple(names[axis] for axis in axes if axis in names) for axes in layout))


@op("flatten")
class Flatten(View):
    """torch.flatten(x, 1): (N, ...) -> (N, features), a view."""

    grid = "none"

    def shape(self, x: Shape) -> Shape:
        check(len(x) >= 2, "flatten takes (N, ...)")
        return (x[0], numel(x[1:]))

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        # A slice along the second axis, as a part of a concatenation, is a slice still: images have gaps between them.
        rows = gradient.order == (0, 1) and gradient.outside == (0,)
        return contiguous(len(x.order))._replace(outside=(0,) if rows else ())

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return len(x) != 4 or not setting.target.channels_last or (x[1] == 1) | (x[2] * x[3] == 1)  # else it copies

    def module(self, library: Any) -> Callable:
        return library.nn.Flatten(1)


@op("reshape")
class Reshape(View):
    """x.reshape. to: the output's axes, each a product of input axes xK and numbers: "x0 4 x1/4 x2*x3".

    copy: the input's strides do not allow a view, so torch makes a copy.
    """

    to: str
    copy: bool = False

    def __post_init__(self) -> None:
        tokens = self.to.split()
        fits = bool(tokens) and all(map(_TOKEN.fullmatch, tokens))
        check(fits, f'to is {self.to!r}; allowed: axes such as "x0 4 x1/4 x2*x3"')

    @cached_property
    def _axes(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Of each axis of the output, the factors and the divisor."""
        found = filter(None, map(_TOKEN.fullmatch, self.to.split()))
        return tuple((tuple(axis[1].split("*")), int(axis[2] or 1)) for axis in found)

    @property
    def result(self) -> Result:
        return Result.NEW if self.copy else Result.VIEW

    def sources(self) -> list[int]:
        """For each axis of the output, the first of the input's axes from which it is made."""
        named = [[int(f[1:]) for f in factors if f[0] == "x"] for factors, _ in self._axes]
        split = [j for j, (_, divisor) in enumerate(self._axes) if divisor > 1]
        found: list[int] = []
        for j, axes in enumerate(named):
            if not axes:  # a number: a factor of a split axis next to it, or an axis of size 1
                after = next((k for k in split if k > j), None)
                near = after if after is not None and not any(named[j + 1 : after]) else j - 1
                axes = named[near] if 0 <= near else [0]
                axes = axes or found[near : near + 1]
            found.append(axes[0])
        return found

    def named(self, j: int) -> set[int]:
        """The input's axes that are named in an axis of the output."""
        return {int(factor[1:]) for factor in self._axes[j][0] if factor[0] == "x"}

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        if self.copy or not xs[0].order:
            return contiguous(axes)
        place = {axis: i for i, axis in enumerate(xs[0].order)}
        sources = self.sources()
        outside = tuple(j for j in range(axes) if (self.named(j) or {sources[j]}) & {*xs[0].outside})
        return MemoryOrder(tuple(sorted(range(axes), key=lambda j: (place[sources[j]], j))), outside)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        if self.gathers(gradient):
            return contiguous(len(x.order))
        place, sources = {axis: i for i, axis in enumerate(gradient.order)}, self.sources()
        first = {}  # input axis -> the output axis that it has become, or of which it has become a part
        for axis in range(len(x.order)):
            first[axis] = max((j for j, s in enumerate(sources) if s <= axis), key=lambda j: (sources[j], -j))
        outside = tuple(axis for axis in sorted(first) if first[axis] in gradient.outside)
        return MemoryOrder(tuple(sorted(first, key=lambda axis: (place[first[axis]], axis))), outside)

    def gathers(self, gradient: MemoryOrder) -> bool:
        """Whether the parts of a split axis are not consecutive in the gradient's order."""
        place, sources = {axis: i for i, axis in enumerate(gradient.order)}, self.sources()
        parts = [[j for j, s in enumerate(sources) if s == axis] for axis in set(sources)]
        return any(place[b] != place[a] + 1 for axes in parts for a, b in zip(axes, axes[1:]))

    def copies_gradient(self, gradient: MemoryOrder, y: Shape) -> Any:
        return self.gathers(gradient) and differs(gradient, y, contiguous(len(y)).order)

    def shape(self, x: Shape) -> Shape:
        for factors, _ in self._axes:
            known = all(f[0] != "x" or int(f[1:]) < len(x) for f in factors)
            check(known, f"{self.to!r} names axes that are not there")
        y = tuple(
            prod(x[int(f[1:])] if f[0] == "x" else int(f) for f in factors) // divisor
            for factors, divisor in self._axes
        )
        require(numel(y) == numel(x), "{} cannot take the shape {}", x, y)
        return y

    def module(self, library: Any) -> Callable:
        return lambda x: x.reshape(self.shape(tuple(x.shape)))


_TOKEN = re.compile(r"((?:x\d|\d{1,9})(?:\*(?:x\d|\d{1,9}))*)(?:/([1-9]\d{0,8}))?")


@op("detach")
class Detach(View):
    """x.detach(): the same memory, without a way back for gradients."""

    differentiable = False

    def shape(self, x: Shape) -> Shape:
        return x

    def module(self, library: Any) -> Callable:
        return lambda x: x.detach()


@op("permute")
class Permute(View):
    """x.permute(axes)."""

    axes: Axes

    def __post_init__(self) -> None:
        check(sorted(self.axes) == list(range(len(self.axes))), f"axes is {self.axes}; allowed: each axis once")

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return _renamed(xs[0], {axis: j for j, axis in enumerate(self.axes)})

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return _renamed(gradient, dict(enumerate(self.axes)))

    def shape(self, x: Shape) -> Shape:
        require(len(x) == len(self.axes), "axes {} do not fit the input {}", self.axes, x)
        return tuple(x[a] for a in self.axes)

    def module(self, library: Any) -> Callable:
        return lambda x: x.permute(self.axes)


@op("slice")
class Slice(View):
    """x[..., start:stop:step, ...] along an axis, by Python's rules. `drop` takes a single element and drops the axis.

    The gradient is a map of the input's size, zero elsewhere. split: a piece of torch.split, torch.chunk or
    torch.unbind; the gradients of all pieces are assembled at once. parts: start and stop count parts of the axis as
    torch.chunk makes so many of them, for an axis whose size depends on the batch.
    """

    axis: int
    start: int = 0
    stop: int = LARGEST
    step: int = 1
    drop: bool = False
    split: bool = False
    parts: int = 0

    passes = ()
    gradient_views = False

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        cut = around(xs[0], self.axis)
        if self.step > 1:
            cut = cut._replace(outside=(*cut.outside, self.axis))
        if not self.drop:
            return cut
        kept = {axis: axis - (axis > self.axis) for axis in cut.order if axis != self.axis}
        return _renamed(cut, kept)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        # A contiguous map of zeros around the gradient; pieces are assembled as torch.cat does.
        return of_images(gradient) if self.split and not self.drop else contiguous(len(x.order))

    @property
    def result(self) -> Result:
        return Result.PIECE if self.split else Result.VIEW

    def __post_init__(self) -> None:
        check(self.axis >= 0 and self.step >= 1, f"axis {self.axis}, step {self.step}; allowed: >= 0, >= 1")
        counted = 0 <= self.start < self.parts and self.stop > self.start and self.step == 1 and not self.drop
        check(not self.parts or counted, f"parts is {self.parts}; allowed: more than start, without step and drop")

    def bounds(self, size: Size) -> tuple[Size, Size]:
        """Start and stop on an axis of this size, by Python's rules."""
        if not self.parts:
            return self.start, self.stop
        part = -(-size // self.parts)
        return part * self.start, size if self.stop >= self.parts else part * self.stop

    def shape(self, x: Shape) -> Shape:
        require(self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        size = x[self.axis]
        bounds = self.bounds(size)
        if not self.parts:
            bounds = tuple(bound if bound >= 0 else maximum(size + bound, 0 * size) for bound in bounds)
        start, stop = (-maximum(-size, -bound) for bound in bounds)
        kept = maximum(-(-(stop - start) // self.step), 0 * size)
        require(not self.drop or kept == 1, "no element {} along an axis of {}", (self.start,), (size,))
        return (*x[: self.axis], *(() if self.drop else (kept,)), *x[self.axis + 1 :])

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work(0, numel(x))}

    def module(self, library: Any) -> Callable:
        aten = library.torch.ops.aten  # x[:, part] may be a slice of each axis to autograd
        if self.drop:
            return lambda x: aten.select.int(x, self.axis, self.start)
        return lambda x: aten.slice.Tensor(x, self.axis, *self.bounds(x.shape[self.axis]), self.step)

    def cut(self, x: Any, parts: list[Slice]) -> list:
        """Several pieces of one tensor at once, as torch.split and torch.unbind make them. self: one of `parts`."""
        if self.drop:
            pieces = x.unbind(self.axis)
            return [pieces[part.start] for part in parts]
        size = x.shape[self.axis]
        if self.parts:
            pieces = x.chunk(self.parts, self.axis)
            return [pieces[part.start] for part in parts]
        bounds = sorted({0, size, *(min(b, size) for part in parts for b in (part.start, part.stop))})
        pieces = dict(zip(bounds, x.split([b - a for a, b in zip(bounds, bounds[1:])], self.axis)))
        return [pieces[part.start] for part in parts]


@op("expand")
class Expand(View):
    """x.expand: repeats axes of size 1 without a copy. to: the output's axes, xK (from x), n (the batch) or a number.

    `images` is read only for its batch.
    """

    to: str

    inputs = ("x", "images")
    shape_only = ("images",)
    passes = ()
    gradient_views = False
    in_16_bits = False

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return MemoryOrder(xs[0].order, xs[0].order)  # repeated elements: no axis counts as dense

    def __post_init__(self) -> None:
        axes = re.fullmatch(r"(x\d|n|\d{1,9})( (x\d|n|\d{1,9}))*", self.to)
        check(bool(axes), f"to is {self.to!r}; allowed: axes as in 'n x1 4'")

    def shape(self, x: Shape, images: Shape) -> Shape:
        axes = self.to.split()
        check(all(a[0] != "x" or int(a[1:]) < len(x) for a in axes), f"{self.to!r} names axes that are not there")
        return tuple(x[int(a[1:])] if a[0] == "x" else images[0] if a == "n" else int(a) for a in axes)

    def work(self, y: Shape, x: Shape, images: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work(0, numel(y))}

    def module(self, library: Any) -> Callable:
        return lambda x, images: x.expand(self.shape(tuple(x.shape), tuple(images.shape)))


Flatten.examples = ((Flatten(), (2, 3, 4, 5)), (Flatten(), (2, 8, 1, 1)))
Reshape.examples = (
    (Reshape("x0 2 x1/2 x2 x3"), (2, 6, 4, 5)),
    (Reshape("x0 x1 x2*x3"), (2, 6, 4, 5)),
    (Reshape("x0 x1 1 1"), (2, 6)),
)
Detach.examples = ()  # its gradient is none: what a generic test of views cannot hold
Permute.examples = ((Permute((0, 2, 3, 1)), (2, 6, 4, 5)), (Permute((0, 2, 1)), (2, 6, 4)))
Expand.examples = ((Expand("n x1 4"), (1, 3, 1), (2, 5)),)
Slice.examples = (
    (Slice(1, 2, 5), (2, 6, 4, 5)),
    (Slice(2, stop=-1), (2, 6, 4, 5)),
    (Slice(1, 0, 1, drop=True), (2, 6, 4)),
    (Slice(3, step=2), (2, 6, 4, 5)),
    (Slice(0, 1, 2, parts=2), (5, 6, 4)),
)
