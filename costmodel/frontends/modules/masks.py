"""Translates torch's functions of masks into ops: comparisons, logic, and what selects by a mask."""

from __future__ import annotations

from math import inf

from ...graph.op import OPS
from ...ops.mask import RELATIONS
from .functions import FUNCTIONS, function

NAMES = {"greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le", "not_equal": "ne"}
NAMES |= {f"__{name}__": name for name in RELATIONS}


@function(*RELATIONS, *NAMES)
def compare(t, a, b):
    relation = NAMES.get(t.name, t.name)
    if not isinstance(b, t.torch.Tensor):
        return t.emit(OPS["compare_number"](relation, float(b)), [a], t.run(getattr(t.torch, relation), a, b))
    if a.dtype != b.dtype:
        raise t.error(f"{t.name} of tensors of {a.dtype} and {b.dtype}")
    return t.emit(OPS["compare"](relation), [a, b], t.run(getattr(t.torch, relation), a, b))


@function("isnan")
def is_nan(t, x):
    """torch compares x with itself (aten/src/ATen/native/TensorCompare.cpp)."""
    return compare(t.named("ne"), x, x)


@function("isfinite")
def is_finite(t, x):
    """Written in torch with other functions. So is isinf, but in one kernel, which has no rule."""
    equal = compare(t.named("eq"), x, x)
    size = FUNCTIONS["abs"](t.named("abs"), x)
    finite = compare(t.named("ne"), size, inf)
    return combine(t.named("logical_and"), equal, finite)


LOGIC = {
    f"{before}{how}{after}": how
    for how in ("and", "or", "xor")
    for before, after in (("__", "__"), ("logical_", ""), ("bitwise_", ""), ("__r", "__"))
}


@function(*LOGIC)
def combine(t, a, b):
    for mask in (a, b):
        of_masks(t, mask)
    return t.emit(OPS["combine_masks"](LOGIC[t.name]), [a, b], t.run(t.torch.logical_and, a, b))


@function("__invert__", "logical_not", "bitwise_not")
def opposite(t, mask):
    of_masks(t, mask)
    return t.emit(OPS["not_mask"](), [mask], t.run(t.torch.logical_not, mask))


def of_masks(t, mask) -> None:
    """Raise CostmodelError for logic of anything but masks."""
    if getattr(mask, "dtype", None) is not t.torch.bool:
        raise t.error(f"{t.name} of anything but masks")


@function("masked_fill")
def masked_fill(t, x, mask, value, inplace=False):
    if isinstance(value, t.torch.Tensor):
        raise t.error("masked_fill with a tensor")
    y = x if inplace else t.run(t.torch.masked_fill, x, mask, 0)
    return t.emit(OPS["masked_fill"](float(value), inplace), [x, mask], y)


@function("where")
def where(t, condition, x=None, other=None):
    if t.function is t.torch.Tensor.where:  # x.where(condition, other)
        condition, x = x, condition
    of_masks(t, condition)
    values = [value for value in (x, other) if isinstance(value, t.torch.Tensor)]
    y = t.run(t.torch.where, condition, x, other)
    if len(values) == 2:
        if x.dtype != other.dtype:
            raise t.error(f"where of tensors of {x.dtype} and {other.dtype}")
        return t.emit(OPS["where"](), [condition, x, other], y)
    if len(values) == 1:
        number = float(other if values[0] is x else x)
        return t.emit(OPS["where_number"](number, values[0] is not x), [values[0], condition], y)
    raise t.error("where of a condition alone, or of two numbers")


def mul_mask(t, a, b, inplace: bool):
    """The product of numbers and a mask, in either order."""
    x, mask = (b, a) if a.dtype is t.torch.bool else (a, b)
    if inplace and x is b:
        raise t.error("a mask times numbers, in place")
    return t.emit(OPS["mul_mask"](inplace), [x, mask], x if inplace else t.run(t.torch.mul, x, mask))


def as_numbers(t, mask, y):
    """A mask as numbers of the network's data type."""
    return t.emit(OPS["mask_as_numbers"](), [mask], y)
