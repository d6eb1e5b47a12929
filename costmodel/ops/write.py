"""Ops that write into a part of a tensor, as x[:, 1:] = value does."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, reduce
from typing import Any

from ..graph.op import Axes, Op, Result, Scratch, Work, check, op, shared_fields
from ..sizes.size import LARGEST, Shape, numel, require
from ..targets.setting import Setting
from .view import Slice


@shared_fields
class Writing(Op):
    """Base class of what is written into x[at]. `at` has five numbers for each slice, one after the other: its axis,
    start, stop and step, and 1 if it takes a single element and drops the axis (Slice). Without slices all is written.

    Backward works on a copy of the gradient (CopySlices in torch/csrc/autograd/functions/tensor.cpp): the part is
    cloned out of it, then overwritten with zeros, which are a tensor of their own.
    """

    at: Axes = ()

    result = Result.INPLACE

    def __post_init__(self) -> None:
        check(len(self.at) % 5 == 0, f"at is {list(self.at)}; allowed: five numbers for each slice")

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        parts = (self.at[i : i + 5] for i in range(0, len(self.at), 5))
        return tuple(Slice(axis, start, stop, step, bool(drop)) for axis, start, stop, step, drop in parts)

    def part(self, x: Shape) -> Shape:
        """The shape of the part of x that is written."""
        for one in self.slices:
            x = one.shape(x)
        return x

    def scratch(self, setting: Setting, y: Shape, x: Shape, *values: Shape) -> Scratch:
        part = numel(self.part(x)) if self.at else 0
        zeros = part if "x" in setting.demanded else numel(x)  # or else the copy of the gradient
        clone = 0 if "value" in setting.demanded else part
        return Scratch(backward=setting.item * (zeros + clone) if self.at else 0)

    def view(self, library: Any) -> Callable:
        """A function: the part of a tensor that is written, as a view."""
        cuts = [one.module(library) for one in self.slices]
        return lambda x: reduce(lambda seen, cut: cut(seen), cuts, x)


@op("write")
class Write(Writing):
    """x[at] = value, in place; the value's shape is that of the part."""

    inputs = ("x", "value")

    @property
    def passes(self) -> tuple[str, ...]:
        return () if self.at else ("value",)

    def shape(self, x: Shape, value: Shape) -> Shape:
        part = self.part(x)
        fits = (numel(part) == numel(value)) & (len(part) == len(value))
        require(fits, "a part {} cannot take the value {}", part, value)
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": (), "value": ()}

    def work(self, y: Shape, x: Shape, value: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work(), "value": Work()}

    def module(self, library: Any) -> Callable:
        part = self.view(library)

        def write(x: Any, value: Any) -> Any:
            part(x).copy_(value)
            return x

        return write


@op("fill")
class Fill(Writing):
    """x[at] = number, in place."""

    number: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.at), "fill takes a part; at is empty")

    def shape(self, x: Shape) -> Shape:
        self.part(x)
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work()}

    def scratch(self, setting: Setting, y: Shape, x: Shape, *values: Shape) -> Scratch:
        return super().scratch(setting, y, x)._replace(forward=setting.item)  # the number as a tensor

    def module(self, library: Any) -> Callable:
        part = self.view(library)

        def fill(x: Any) -> Any:
            part(x)[...] = self.number
            return x

        return fill


Write.examples = (
    (Write((1, 1, LARGEST, 1, 0)), (2, 3, 4, 5), (2, 2, 4, 5)),
    (Write((1, 0, 1, 1, 1)), (2, 3, 4, 5), (2, 4, 5)),
    (Write(), (2, 3, 4), (2, 3, 4)),
)
Fill.examples = ((Fill((1, 0, 1, 1, 1), 2.0), (2, 3, 4, 5)),)
