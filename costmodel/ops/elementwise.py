"""Elementwise functions of one tensor that are no activations: absolute values, logarithms, sines, rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..graph.op import Op, Scratch, Work, op
from ..sizes.size import Shape, numel
from ..targets.setting import Setting


class Elementwise(Op):
    """A function of each element, by the name that torch gives it: any shape -> the same.

    The gradient's formulas are those of torch's derivatives.yaml.
    """

    reads: ClassVar[tuple[str, ...]] = ("x",)  # by the gradient
    #: Maps that the gradient's formula holds at most besides its result, and per element its operations.
    maps: ClassVar[int] = 0
    operations: ClassVar[tuple[int, int]] = (1, 1)  # forward, backward
    in_16_bits = True

    def shape(self, x: Shape) -> Shape:
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": self.reads}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(y)
        forward, backward = self.operations
        return {"forward": Work(0, forward * n), "x": Work(0, backward * n)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(backward=self.maps * setting.item * numel(x))

    def module(self, library: Any) -> Callable:
        return getattr(library.torch, self.kind)


@op("sqrt")
class Sqrt(Elementwise):
    """The square root: dx = g / (2 * y)."""

    reads = ("y",)
    maps = 1


@op("rsqrt")
class Rsqrt(Elementwise):
    """One over the square root: dx = -g / 2 * y ** 3."""

    reads = ("y",)
    maps = 2


@op("exp")
class Exp(Elementwise):
    """e to the x: dx = g * y."""

    reads = ("y",)


@op("neg")
class Neg(Elementwise):
    """-x."""

    reads = ()


@op("abs")
class Abs(Elementwise):
    """The absolute value: dx = g * sign(x)."""

    maps = 1
    operations = (1, 2)


@op("log")
class Log(Elementwise):
    """The natural logarithm: dx = g / x."""


@op("log1p")
class Log1p(Elementwise):
    """The logarithm of 1 + x: dx = g / (x + 1)."""

    maps = 1
    operations = (2, 2)


@op("expm1")
class Expm1(Elementwise):
    """e to the x, minus 1: dx = g * (y + 1)."""

    reads = ("y",)
    maps = 1
    operations = (2, 2)


@op("sin")
class Sin(Elementwise):
    """The sine: dx = g * cos(x)."""

    maps = 1
    operations = (1, 2)


@op("cos")
class Cos(Elementwise):
    """The cosine: dx = g * -sin(x)."""

    maps = 2
    operations = (1, 3)


@op("reciprocal")
class Reciprocal(Elementwise):
    """1 / x: dx = -g * (y * y)."""

    reads = ("y",)
    maps = 2
    operations = (1, 3)


@op("erf")
class Erf(Elementwise):
    """The error function: dx = 2 / sqrt(pi) * exp(-x ** 2) * g."""

    maps = 4
    operations = (4, 5)


class Steps(Elementwise):
    """A function of steps. Its gradient is a map of zeros."""

    reads = ()
    operations = (1, 0)


@op("sign")
class Sign(Steps):
    """-1, 0 or 1."""


@op("floor")
class Floor(Steps):
    """The largest integer below."""


@op("ceil")
class Ceil(Steps):
    """The smallest integer above."""


@op("round")
class Round(Steps):
    """The nearest integer."""


@op("trunc")
class Trunc(Steps):
    """The integer part."""


for _cls in (Sqrt, Rsqrt, Exp, Neg, Abs, Log, Log1p, Expm1, Sin, Cos, Reciprocal, Erf, Sign, Floor, Ceil, Round, Trunc):
    _cls.examples = ((_cls(), (2, 5)), (_cls(), (2, 4, 3, 5)))
