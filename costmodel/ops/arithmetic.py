"""Arithmetic of a tensor with a Python number, and of two tensors beside add and mul."""

from __future__ import annotations

from ..op import Extra, Op, Work, op
from ..size import numel
from .join import Join, reduction


class WithNumber(Op):
    """Elementwise in x and a Python number."""

    def shape(self, x):
        return x

    def needs(self):
        return {"x": ()}

    def work(self, y, x):
        return {"forward": Work(0, numel(y)), "x": Work(0, 0 if self.passes else numel(y))}


@op("add_number")
class AddNumber(WithNumber):
    """x + number."""

    number: float
    inplace: bool = False
    passes = ("x",)

    def transients(self, setting, y, x):
        return (setting.scalar, 0)

    def module(self, library):
        return (lambda x: x.add_(self.number)) if self.inplace else (lambda x: x + self.number)


@op("mul_number")
class MulNumber(WithNumber):
    """x * number, or x / number where `divide`.

    torch keeps the number as a tensor of 8 bytes, which it does not show to saved-tensor hooks.
    """

    torch_excuse = "torch keeps the number of a product as a tensor"

    number: float
    divide: bool = False
    inplace: bool = False

    def torch_needs(self):
        return {"x": ("number",)}

    def extras(self, x):
        return {"number": Extra((), 64)}

    def transients(self, setting, y, x):
        return (0 if setting.recorded else setting.scalar, 0)

    def module(self, library):
        name = ("div" if self.divide else "mul") + ("_" if self.inplace else "")
        return lambda x: getattr(x, name)(self.number)


@op("rsub_number")
class RsubNumber(WithNumber):
    """number - x; the gradient is negated."""

    number: float

    def module(self, library):
        return lambda x: self.number - x


@op("pow_number")
class PowNumber(WithNumber):
    """x ** number."""

    number: float

    def needs(self):
        return {"x": ("x",)}

    def module(self, library):
        return lambda x: x**self.number


@op("sub")
class Sub(Join):
    """a - b."""

    inplace: bool = False
    passes = ("a",)

    def needs(self):
        return {"a": (), "b": ()}

    def work(self, y, a, b):
        n = numel(y)
        return {"forward": Work(0, n), "a": reduction(y, a), "b": Work(0, n + reduction(y, b).elementwise)}

    def module(self, library):
        return library.torch.Tensor.sub_ if self.inplace else library.torch.sub


@op("div")
class Div(Join):
    """a / b: da = g / b, db = -g * (a / b) / b."""

    inplace: bool = False

    def needs(self):
        return {"a": ("b",), "b": ("a", "b")}

    def work(self, y, a, b):
        n = numel(y)
        return {
            "forward": Work(0, n),
            "a": Work(0, n + reduction(y, a).elementwise),
            "b": Work(0, 4 * n + reduction(y, b).elementwise),
        }

    def module(self, library):
        return library.torch.Tensor.div_ if self.inplace else library.torch.div


AddNumber.examples = ((AddNumber(3.0), (2, 5)), (AddNumber(3.0, inplace=True), (2, 5)))
MulNumber.examples = ((MulNumber(0.5), (2, 5)), (MulNumber(6.0, divide=True), (2, 5)))
RsubNumber.examples = ((RsubNumber(1.0), (2, 5)),)
PowNumber.examples = ((PowNumber(2.0), (2, 5)),)
Sub.examples = ((Sub(), (2, 8, 5, 3), (2, 8, 5, 3)), (Sub(), (2, 8, 5, 3), (8, 1, 1)))
Div.examples = ((Div(), (2, 8, 5, 3), (2, 8, 5, 3)), (Div(), (2, 8, 5, 3), (8, 1, 1)))
