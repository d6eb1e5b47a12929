"""Arithmetic on sizes: Python ints, int64 arrays or lines (by_batch.py). One formula prices one case or a grid."""

from __future__ import annotations

from math import prod
from operator import index
from typing import Any

import numpy as np

from ..errors import CostmodelError

Size = Any  # int | numpy.ndarray of int64 | by_batch.Line
Shape = tuple[Size, ...]

LARGEST = 2**63 - 1  # every count is a signed 64-bit integer, here and in torch


def is_int(value: object) -> bool:
    """Whether a value is an integer that fits in 64 bits; True and False do not count as integers."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def as_int(value: Any) -> Any:
    """A numpy integer, or another one that can be an index, as an int; anything else unchanged."""
    return value if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__") else index(value)


def numel(shape: Shape) -> Size:
    """Number of elements; 1 for a scalar's shape ()."""
    return prod(shape)


def nbytes(elements: Size, bits: int) -> Size:
    """Bytes of a packed tensor of `elements` values of `bits` bits: ceil(elements * bits / 8)."""
    return -(-elements * bits // 8)


def require(condition: Any, message: str, *shapes: Shape) -> None:
    """Raise CostmodelError unless the condition holds, an array in every element.

    The shapes fill the message's {}; they are formatted only if the error is raised.
    """
    if not (condition if isinstance(condition, bool) else np.all(condition)):
        raise CostmodelError(message.format(*map(show, shapes)))


class Uneven(Exception):
    """A condition that must have one answer for a whole grid has two; `condition` is its value in every cell."""

    def __init__(self, condition: np.ndarray) -> None:
        super().__init__("a condition on sizes holds in a part of the grid only")
        self.condition = condition


def uniform(condition: Any) -> bool:
    """Whether a condition on sizes holds. Raises Uneven if it holds in some cells of a grid and not in others."""
    if isinstance(condition, bool):
        return condition
    holds = bool(np.all(condition))
    if not holds and np.any(condition):
        raise Uneven(condition)
    return holds


def same(a: Shape, b: Shape) -> bool:
    """Whether two shapes are equal. Raises Uneven if they are equal in some cells of a grid and not in others."""
    return a is b or len(a) == len(b) and all(m is n or uniform(m == n) for m, n in zip(a, b))


def maximum(a: Size, b: Size) -> Size:
    """The larger of two sizes, element by element for arrays."""
    if isinstance(a, int) and isinstance(b, int):
        return a if a >= b else b
    return np.maximum(a, b)


def beyond(results: Size, *levels: Size) -> Size:
    """Bytes of scratch: by how much the highest of some levels is above that of the results."""
    highest: Size = 0
    for level in levels:
        highest = maximum(highest, level - results)
    return highest


def minimum(a: Size, b: Size) -> Size:
    """The smaller of two sizes, element by element for arrays."""
    if isinstance(a, int) and isinstance(b, int):
        return a if a <= b else b
    return np.minimum(a, b)


def where(condition: Any, a: Size, b: Size) -> Size:
    """`a` where the condition holds, else `b`; element by element if the condition is an array."""
    if isinstance(condition, (bool, np.bool_)):
        return a if condition else b
    return np.where(condition, a, b)


def window(size: Size, kernel: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False) -> Size:
    """Output size of a sliding window along one axis (torch.nn.Conv2d's and AvgPool2d's formula).

    With `ceil` the last window may hang over the padded edge, but never starts in the padding beyond it.
    """
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil:
        return reach // stride + 1
    out = -(-reach // stride) + 1
    return out - ((out - 1) * stride >= size + padding)


def broadcast(a: Shape, b: Shape) -> Shape:
    """The shape that two operands broadcast to (numpy's and torch's rule). Raises CostmodelError if they do not fit."""
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    short = (1,) * (len(long) - len(short)) + tuple(short)
    out = []
    for m, n in zip(long, short):
        if m is n:
            out.append(m)
        elif isinstance(m, int) and m == 1:
            out.append(n)
        elif isinstance(n, int) and n == 1:
            out.append(m)
        else:
            # A spatial size may be an array, with a 1 in it where the other operand is larger.
            require((m == n) | (m == 1) | (n == 1), "shapes {} and {} do not broadcast", a, b)
            out.append(maximum(m, n))
    return tuple(out)


def show(shape: Shape) -> str:
    """A shape as text: 8x32x112x112; an array shows as its range."""
    return "x".join(str(s) if isinstance(s, (int, np.integer)) else f"[{s.min()}..{s.max()}]" for s in shape)
