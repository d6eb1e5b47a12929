"""How tensors lie in memory, in networks that mix memory formats: permuted maps, slices, and what follows from them.

A torch function that wants its operand otherwise copies it. Where something is copied follows from the order of the
axes alone, so it is found once per graph: forward from op to op (Op.layout), then backward (Op.gradient_layout).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from ..sizes.size import Shape, Size, where


class MemoryOrder(NamedTuple):
    """The axes from the one with the largest stride to the one with the smallest.

    outside: of a part of a larger tensor, the axes between whose steps something lies that is no part of it.
    """

    order: tuple[int, ...]
    outside: tuple[int, ...] = ()


CHANNELS_LAST = MemoryOrder((0, 2, 3, 1))


@cache
def contiguous(axes: int) -> MemoryOrder:
    """That of a new tensor of so many axes."""
    return MemoryOrder(tuple(range(axes)))


def dense(layout: MemoryOrder) -> MemoryOrder:
    """That of an elementwise result: its operand's, without what lies between."""
    return MemoryOrder(layout.order)


def of_images(layout: MemoryOrder) -> MemoryOrder:
    """That of a function's result that knows two formats: channels_last if its input is (suggest_memory_format)."""
    return CHANNELS_LAST if layout.order == CHANNELS_LAST.order else contiguous(len(layout.order))


def around(layout: MemoryOrder, axis: int) -> MemoryOrder:
    """That of a part which is cut out along an axis."""
    outer = layout.order[: layout.order.index(axis)]
    return MemoryOrder(layout.order, tuple(sorted({*layout.outside, *outer})))


def differs(layout: MemoryOrder, shape: Shape, order: tuple[int, ...]) -> Any:
    """Whether a tensor does not lie in this order; axes of size 1 lie anywhere."""
    place = {axis: i for i, axis in enumerate(order)}
    found: Any = False
    for i, a in enumerate(layout.order):
        for b in layout.order[i + 1 :]:
            if place[a] > place[b]:
                found = found | ((shape[a] > 1) & (shape[b] > 1))
    for axis in layout.outside:
        found = found | (shape[axis] > 1)
    return found


def copy_of(layout: MemoryOrder, shape: Shape, order: tuple[int, ...], nbytes: Size) -> Size:
    """Bytes of the copy that brings a tensor into this order, 0 where it lies so."""
    return where(differs(layout, shape, order), nbytes, 0)
