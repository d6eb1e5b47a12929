"""Arithmetic on one tensor, on a tensor and a Python number, and on tensors that broadcast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..graph.op import Extra, Op, Scratch, Stock, Work, op
from ..sizes.size import Shape, Size, broadcast, maximum, numel, require, same, where
from ..targets.setting import NUMBER_BYTES, SUM_BYTES, Setting
from .layout import Rewritten

NARROW = 2  # bytes of a number of a narrow input


class WithNumber(Rewritten):
    """An elementwise function of x and a Python number."""

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(y)), "x": Work(0, 0 if self.passes else numel(y))}


@op("add_number")
class AddNumber(WithNumber):
    """x + number."""

    number: float
    inplace: bool = False
    passes = ("x",)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(setting.python_number)

    def module(self, library: Any) -> Callable:
        return (lambda x: x.add_(self.number)) if self.inplace else (lambda x: x + self.number)


@op("mul_number")
class MulNumber(WithNumber):
    """x * number, or x / number with `divide`.

    For Python's operators torch keeps the number as a tensor, which saved-tensor hooks do not see. It keeps nothing if
    one of its own functions multiplies or divides by a `bare` number (aten::mul.Scalar, aten::div.Scalar).
    """

    number: float
    divide: bool = False
    inplace: bool = False
    bare: bool = False

    stock = Stock(unseen=("number",), excuse="torch keeps the number of a product as a tensor")

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": () if self.bare else ("number",)}

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {"number": Extra((), 64)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        number = setting.scalar if self.bare else setting.python_number
        kept = NUMBER_BYTES if number and setting.recorded and not self.bare else 0
        return Scratch(number - kept, number - kept)

    def module(self, library: Any) -> Callable:
        name = "div" if self.divide else "mul"
        if self.bare:
            return lambda x: getattr(library.torch.ops.aten, name).Scalar(x, self.number)
        return lambda x: getattr(x, name + "_" * self.inplace)(self.number)


@op("rsub_number")
class RsubNumber(WithNumber):
    """number - x; the gradient is negated."""

    number: float

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(setting.scalar)

    def module(self, library: Any) -> Callable:
        return lambda x: self.number - x


@op("pow_number")
class PowNumber(WithNumber):
    """x ** number."""

    number: float

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x",)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(backward=2 * setting.item * numel(x))  # g * (number * x ** (number - 1))

    def module(self, library: Any) -> Callable:
        return lambda x: x**self.number


class Join(Op):
    """An elementwise function of two inputs that broadcast. `inplace` overwrites a; its shape must be the output's."""

    timed_as = ("sum",)

    inplace: bool

    inputs = ("a", "b")
    broadcasts = True

    def shape(self, a: Shape, b: Shape) -> Shape:
        y = broadcast(a, b)
        if self.inplace:
            require(len(y) == len(a) and numel(y) == numel(a), "in place, {} cannot take the shape {}", a, y)
        return y

    @property
    def promotes(self) -> bool:
        return not self.inplace

    def maps(self, setting: Setting) -> int:
        """Maps of the output's shape that the gradients' formulas hold at most, before anything is summed."""
        return 0

    def modelled(self, setting: Setting, y: Shape, a: Shape, b: Shape) -> Any:
        # Sums of 16 bits are in 32, in a copy, unless one run of axes is summed.
        operands = [x for name, x in zip(self.inputs, (a, b)) if name in setting.demanded]
        usual = not setting.layouts and setting.takes_gradient_whole()
        return setting.item >= SUM_BYTES or usual and all(sums_one_run(y, x) for x in operands)

    def scratch(self, setting: Setting, y: Shape, a: Shape, b: Shape) -> Scratch:
        """That of formulas that make gradients in the output's shape and data type, or pass the output's.

        Then, for one input after the other, the gradient of a smaller input is summed and that of a narrow one cast.
        """
        full = numel(y)
        made = [
            (0 if name in self.passes else full, numel(x), name in setting.narrow)
            for name, x in zip(self.inputs, (a, b))
            if name in setting.demanded
        ]
        level = sum(first for first, *_ in made)
        highest = maximum(level, self.maps(setting) * full)
        if setting.summed_late:  # then the others' gradients alone are there
            others = sum(where(size == full, first, 0) for first, size, narrow in made if not narrow)
            return Scratch(backward=setting.item * (highest - others))
        level, highest = setting.item * level, setting.item * highest
        for first, size, narrow in made:
            summed = where(size == full, first, size)
            more = setting.item * size + setting.shared_sum(y, size)
            highest = maximum(highest, level + where(size == full, 0, more))
            level = level + setting.item * (summed - first)
            if narrow:
                highest = maximum(highest, level + NARROW * size)
                level = level + NARROW * size - setting.item * summed
        return Scratch(backward=highest - level)


@op("add")
class Add(Join):
    """a + b, as at the end of a residual block."""

    inplace: bool = False
    passes = ("a", "b")

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": (), "b": ()}

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        # The gradient is passed unchanged, or summed over the axes that were broadcast.
        return {"forward": Work(0, numel(y)), "a": reduction(y, a), "b": reduction(y, b)}

    def module(self, library: Any) -> Callable:
        return library.torch.Tensor.add_ if self.inplace else library.torch.add


@op("mul")
class Mul(Join):
    """a * b, as in squeeze-and-excite, which scales channels. The gradient of each input reads the other."""

    timed_as = ("product",)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("b",), "b": ("a",)}

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        n = numel(y)
        return {
            "forward": Work(0, n),
            "a": Work(0, n + reduction(y, a).elementwise),
            "b": Work(0, n + reduction(y, b).elementwise),
        }

    inplace: bool = False

    def module(self, library: Any) -> Callable:
        return library.torch.Tensor.mul_ if self.inplace else library.torch.mul


@op("sub")
class Sub(Join):
    """a - b."""

    inplace: bool = False
    passes = ("a",)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": (), "b": ()}

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        n = numel(y)
        return {"forward": Work(0, n), "a": reduction(y, a), "b": Work(0, n + reduction(y, b).elementwise)}

    def module(self, library: Any) -> Callable:
        return library.torch.Tensor.sub_ if self.inplace else library.torch.sub


@op("div")
class Div(Join):
    """a / b: da = g / b, db = -g * (a / b) / b."""

    timed_as = ("product",)

    inplace: bool = False

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("b",), "b": ("a", "b")}

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        n = numel(y)
        return {
            "forward": Work(0, n),
            "a": Work(0, n + reduction(y, a).elementwise),
            "b": Work(0, 4 * n + reduction(y, b).elementwise),
        }

    def maps(self, setting: Setting) -> int:
        # The divisor's gradient is computed first, from -g, a / b and (a / b) / b (FunctionsManual.cpp:
        # div_tensor_other_grad).
        return 4 if "b" in setting.demanded else 0

    def module(self, library: Any) -> Callable:
        return library.torch.Tensor.div_ if self.inplace else library.torch.div


@op("xlogy")
class XLogY(Join):
    """a * log(b) of equal shapes, 0 where a is 0: da = g * log(b), 0 where a and b are, and db = g * a / b."""

    timed_as = ("product",)
    inplace = False

    def shape(self, a: Shape, b: Shape) -> Shape:
        require(same(a, b), "xlogy takes equal shapes, the inputs are {} and {}", a, b)
        return a

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("a", "b"), "b": ("a", "b")}

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        n = numel(y)
        return {"forward": Work(0, 2 * n), "a": Work(0, 2 * n), "b": Work(0, 2 * n)}

    def scratch(self, setting: Setting, y: Shape, a: Shape, b: Shape) -> Scratch:
        # The second gradient needs three masks beside the product that it fills; the first, of b, a product.
        masks = 3 * numel(y) if "a" in setting.demanded else 0
        return Scratch(backward=setting.item * numel(y) + masks)

    def module(self, library: Any) -> Callable:
        return library.torch.xlogy


@op("addcmul")
class Addcmul(Op):
    """a + b * c with broadcasting, as for an affine map of each channel."""

    timed_as = ("product",)
    inputs = ("a", "b", "c")
    broadcasts = True
    passes = ("a",)

    def shape(self, a: Shape, b: Shape, c: Shape) -> Shape:
        return broadcast(a, broadcast(b, c))

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": (), "b": ("c",), "c": ("b",)}

    def work(self, y: Shape, a: Shape, b: Shape, c: Shape) -> dict[str, Work]:
        n = numel(y)
        work = {"forward": Work(0, 2 * n), "a": reduction(y, a)}
        return {**work, **{k: Work(0, n + reduction(y, x).elementwise) for k, x in (("b", b), ("c", c))}}

    def scratch(self, setting: Setting, y: Shape, a: Shape, b: Shape, c: Shape) -> Scratch:
        # First g * (c * 1) and g * (b * 1), then the sums for inputs that were broadcast.
        item, full, level, highest = setting.item, numel(y), 0, 0
        for name, other in (("b", c), ("c", b)):
            if name in setting.demanded:
                highest = maximum(highest, item * (level + full + numel(other)))
                level = level + full
        for name, x in zip(self.inputs, (a, b, c)):
            if name in setting.demanded:
                own = numel(x)
                made = where(own == full, 0, own)
                highest = maximum(highest, item * (level + made) + where(own == full, 0, setting.shared_sum(y, own)))
                level = level + (made if name == "a" else own - full)
        return Scratch(backward=highest - item * level)

    def module(self, library: Any) -> Callable:
        return library.torch.addcmul


def sums_one_run(y: Shape, operand: Shape) -> bool:
    """Whether the axes along which an operand was broadcast follow one another, after the batch's or before it."""
    own = (1,) * (len(y) - len(operand)) + tuple(operand)
    summed = [i for i, (size, n) in enumerate(zip(own, y)) if isinstance(size, int) and size == 1 and n is not size]
    summed = [i for i in summed if not (isinstance(y[i], int) and y[i] == 1)]
    return not summed or summed == list(range(max(summed[0], 1), len(y)))


def summed(setting: Setting, y: Shape, operands: Mapping[str, Shape], beside: Size = 0) -> Size:
    """Scratch of a backward that makes each gradient in the output's shape, then sums those of smaller inputs.

    operands: the inputs that may get a gradient, by name. beside: bytes that are alive at once beside all gradients
    before the sums.
    """
    full = setting.item * numel(y)
    sizes = [numel(operand) for name, operand in operands.items() if name in setting.demanded]
    level = full * len(sizes)
    highest = level + beside
    for numbers in sizes:
        size = setting.item * numbers
        highest = maximum(highest, level + where(size == full, 0, size + setting.shared_sum(y, numbers)))
        level = level - full + size
    return highest - level


def reduction(y: Shape, operand: Shape) -> Work:
    """Work of summing a gradient of y's shape over the axes along which the operand was broadcast."""
    n = numel(y)
    return Work(0, where(numel(operand) == n, 0, n))


XLogY.examples = ((XLogY(), (2, 5), (2, 5)),)
Addcmul.examples = ((Addcmul(), (8, 1, 1), (8, 1, 1), (2, 8, 5, 3)), (Addcmul(), (2, 5), (2, 5), (2, 5)))
AddNumber.examples = ((AddNumber(3.0), (2, 5)), (AddNumber(3.0, inplace=True), (2, 5)))
MulNumber.examples = tuple(
    (op, (2, 5))
    for op in (MulNumber(0.5), MulNumber(0.5, bare=True), MulNumber(6.0, True), MulNumber(6.0, True, bare=True))
)
RsubNumber.examples = ((RsubNumber(1.0), (2, 5)),)
PowNumber.examples = ((PowNumber(2.0), (2, 5)),)
Sub.examples = ((Sub(), (2, 8, 5, 3), (2, 8, 5, 3)), (Sub(), (2, 8, 5, 3), (8, 1, 1)))
Div.examples = ((Div(), (2, 8, 5, 3), (2, 8, 5, 3)), (Div(), (2, 8, 5, 3), (8, 1, 1)))
Add.examples = (
    (Add(), (2, 8, 5, 3), (2, 8, 5, 3)),
    (Add(inplace=True), (2, 8, 5, 3), (2, 8, 5, 3)),
    (Add(), (2, 8, 5, 3), (8, 1, 1)),
)
Mul.examples = ((Mul(), (2, 8, 1, 1), (2, 8, 5, 3)), (Mul(), (2, 8, 5, 3), (2, 8, 5, 3)), (Mul(), (2, 8, 5, 3), (3,)))
