"""Arithmetic of a tensor with a Python number, and of two tensors beside add and mul."""

from __future__ import annotations

from ..op import Op, Work, op
from ..size import numel, where
from ..target import NUMBER_BYTES
from .join import Join, reduction, summed


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
        return (setting.python_number, 0)

    def module(self, library):
        return (lambda x: x.add_(self.number)) if self.inplace else (lambda x: x + self.number)


@op("mul_number")
class MulNumber(WithNumber):
    """x * number, or x / number where `divide`.

    Of Python's operators torch keeps the number as a tensor, which saved-tensor hooks do not show, so that it counts
    for the peak but not as saved. scalar: aten::mul.Scalar, which C++ calls, keeps the number itself.
    """

    number: float
    divide: bool = False
    inplace: bool = False
    scalar: bool = False

    @property
    def keeps_number(self):
        return not self.scalar

    def transients(self, setting, y, x):
        number = setting.scalar if self.scalar else setting.python_number
        there = NUMBER_BYTES if number and setting.recorded and self.keeps_number else 0
        return (number - there, number - there)

    def module(self, library):
        if self.scalar:
            return lambda x: library.torch.ops.aten.mul.Scalar(x, self.number)
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

    def transients(self, setting, y, a, b):
        # The gradient is negated before it is summed over the axes along which b was broadcast.
        small = numel(b) < numel(y) if "b" in setting.demanded else False
        return (0, where(small, setting.item * numel(y), 0))

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

    def transients(self, setting, y, a, b):
        # The divisor's gradient comes first, by way of -g, a / b and its quotient (FunctionsManual.cpp:
        # div_tensor_other_grad).
        return (0, summed(self, setting, y, a, b, most=4 if "b" in setting.demanded else 0))

    def module(self, library):
        return library.torch.Tensor.div_ if self.inplace else library.torch.div


AddNumber.examples = ((AddNumber(3.0), (2, 5)), (AddNumber(3.0, inplace=True), (2, 5)))
MulNumber.examples = ((MulNumber(0.5), (2, 5)), (MulNumber(0.5, scalar=True), (2, 5)),
                      (MulNumber(6.0, divide=True), (2, 5)))  # fmt: skip
RsubNumber.examples = ((RsubNumber(1.0), (2, 5)),)
PowNumber.examples = ((PowNumber(2.0), (2, 5)),)
Sub.examples = ((Sub(), (2, 8, 5, 3), (2, 8, 5, 3)), (Sub(), (2, 8, 5, 3), (8, 1, 1)))
Div.examples = ((Div(), (2, 8, 5, 3), (2, 8, 5, 3)), (Div(), (2, 8, 5, 3), (8, 1, 1)))
