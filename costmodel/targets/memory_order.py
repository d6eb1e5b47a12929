"""The order of a tensor's axes in memory: contiguous, channels_last, permuted, or cut out of a larger tensor.

A torch function that needs its operand in another order copies it, so the order decides where copies are made.
graph/memory_formats.py finds the order of every value and gradient of a graph.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from ..sizes.size import Shape, Size, where


class MemoryOrder(NamedTuple):
    """The axes of a tensor, from the largest stride to the smallest.

    outside: for a slice of a larger tensor, the axes along which consecutive elements have foreign data between them.
    """

    order: tuple[int, ...]
    outside: tuple[int, ...] = ()


CHANNELS_LAST = MemoryOrder((0, 2, 3, 1))


@cache
def contiguous(axes: int) -> MemoryOrder:
    """Order of a newly allocated tensor with `axes` axes."""
    return MemoryOrder(tuple(range(axes)))


def dense(layout: MemoryOrder) -> MemoryOrder:
    """Order of an elementwise result: its operand's, without gaps."""
    return MemoryOrder(layout.order)


def of_images(layout: MemoryOrder) -> MemoryOrder:
    """Order of an image function's result: channels_last if its input is, else contiguous (suggest_memory_format)."""
    return CHANNELS_LAST if layout.order == CHANNELS_LAST.order else contiguous(len(layout.order))


def around(layout: MemoryOrder, axis: int) -> MemoryOrder:
    """Order of a slice along an axis."""
    outer = layout.order[: layout.order.index(axis)]
    return MemoryOrder(layout.order, tuple(sorted({*layout.outside, *outer})))


def differs(layout: MemoryOrder, shape: Shape, order: tuple[int, ...]) -> Any:
    """Whether a tensor is not in this order. Axes of size 1 do not count."""
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
    """Bytes of the copy that brings a tensor into this order; 0 if it is in it already."""
    return where(differs(layout, shape, order), nbytes, 0)
