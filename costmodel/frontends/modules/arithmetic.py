"""Translates torch's elementwise functions of tensors and numbers into ops."""

from __future__ import annotations

from ...graph.op import OPS
from ...ops.elementwise import Elementwise
from ..registry import Entry
from .functions import FUNCTIONS, function
from .masks import mul_mask


def _binary(kind: str) -> Entry:
    def entry(t, a, b, alpha=1, inplace=False):
        if alpha != 1:
            raise t.error(f"{kind} with alpha")
        if not isinstance(a, t.torch.Tensor) or not isinstance(b, t.torch.Tensor):
            return _with_number(t, kind, a, b, inplace)
        if kind == "mul" and a.dtype != b.dtype and t.torch.bool in (a.dtype, b.dtype):
            return mul_mask(t, a, b, inplace)
        y = a if inplace else t.run(getattr(t.torch, kind), a, b)
        return t.emit(OPS[kind](inplace), [a, b], y)

    return entry


def _with_number(t, kind: str, a, b, inplace: bool):
    if not isinstance(a, t.torch.Tensor):
        a, b = b, a
        if kind == "div":
            return _number_over(t, b, a)
        if kind == "sub":
            return t.emit(OPS["rsub_number"](float(b)), [a], t.like(a))
    number = float(b)
    if kind in ("add", "sub"):
        op = OPS["add_number"](number if kind == "add" else -number, inplace)
    else:
        op = OPS["mul_number"](number, kind == "div", inplace)
    return t.emit(op, [a], a if inplace else t.like(a))


for _kind in ("add", "mul", "sub", "div"):
    FUNCTIONS[_kind] = _binary(_kind)
FUNCTIONS["multiply"], FUNCTIONS["truediv"] = FUNCTIONS["mul"], FUNCTIONS["div"]


@function("__radd__", "__rmul__")
def _swapped(t, a, b):  # torch calls these only for a number on the left; a tensor's own operator comes first
    raise t.error("an operator of a number and a tensor")


@function("__rdiv__", "__rtruediv__")
def _number_over(t, x, number):
    """torch.Tensor's operator: the reciprocal times the number."""
    return FUNCTIONS["mul"](t.named("mul"), t.emit(OPS["reciprocal"](), [x], t.like(x)), number)


@function("__rsub__", "rsub")
def rsub(t, a, b):
    return FUNCTIONS["sub"](t, b, a)


@function(*(kind for kind, cls in OPS.items() if issubclass(cls, Elementwise) and not cls.__match_args__))
def elementwise(t, x):
    return t.emit(OPS[t.name](), [x], t.like(x))


@function("square")
def square(t, x):
    return power(t, x, 2)


@function("addcmul")
def addcmul(t, a, b, c, value=1):
    if value != 1:
        raise t.error("addcmul with a value")
    return t.emit(OPS["addcmul"](), [a, b, c], t.run(t.torch.addcmul, a, b, c))


@function("xlogy")
def xlogy(t, a, b):
    if not all(isinstance(x, t.torch.Tensor) for x in (a, b)) or a.shape != b.shape:
        raise t.error("xlogy of a number, or of different shapes,")
    return t.emit(OPS["xlogy"](), [a, b], t.run(t.torch.xlogy, a, b))


@function("pow")
def power(t, x, exponent):
    if isinstance(exponent, t.torch.Tensor) or not isinstance(x, t.torch.Tensor):
        raise t.error("a power that is a tensor")
    return t.emit(OPS["pow_number"](float(exponent)), [x], t.like(x))


@function("maximum", "minimum")
def larger(t, a, b):
    return t.emit(OPS[t.name](), [a, b], t.run(getattr(t.torch, t.name), a, b))
