"""How tensors lie in memory, in networks that mix memory formats: permuted maps, slices, and what follows from them.

A torch function that wants its operand otherwise copies it. Where something is copied follows from the order of the
axes alone, so it is found once per graph: forward from op to op (Op.layout), then backward (Op.gradient_layout).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Dict, FrozenSet, NamedTuple, Optional, Tuple

from ..sizes.size import Shape, Size, where


class Layout(NamedTuple):
    """The axes from the one with the largest stride to the one with the smallest.

    outside: of a part of a larger tensor, the axes between whose steps something lies that is no part of it.
    """

    order: Tuple[int, ...]
    outside: Tuple[int, ...] = ()


CHANNELS_LAST = Layout((0, 2, 3, 1))


@lru_cache(maxsize=None)
def contiguous(axes: int) -> Layout:
    """That of a new tensor of so many axes."""
    return Layout(tuple(range(axes)))


def dense(layout: Layout) -> Layout:
    """That of an elementwise result: its operand's, without what lies between."""
    return Layout(layout.order)


def of_images(layout: Layout) -> Layout:
    """That of a function's result that knows two formats: channels_last if its input is (suggest_memory_format)."""
    return CHANNELS_LAST if layout.order == CHANNELS_LAST.order else contiguous(len(layout.order))


def around(layout: Layout, axis: int) -> Layout:
    """That of a part which is cut out along an axis."""
    outer = layout.order[: layout.order.index(axis)]
    return Layout(layout.order, tuple(sorted({*layout.outside, *outer})))


def differs(layout: Layout, shape: Shape, order: Tuple[int, ...]) -> Any:
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


def copy_of(layout: Layout, shape: Shape, order: Tuple[int, ...], nbytes: Size) -> Size:
    """Bytes of the copy that brings a tensor into this order, 0 where it lies so."""
    return where(differs(layout, shape, order), nbytes, 0)


class Layouts(NamedTuple):
    """Of every value, and of the gradient of every value that has one."""

    values: Tuple[Layout, ...]
    gradients: Tuple[Optional[Layout], ...]

    def around(self, i: int, reads: Tuple[int, ...]) -> Tuple[Tuple[Layout, ...], Optional[Layout]]:
        """What concerns a node: its inputs' layouts, () where all is contiguous, and its gradient's."""
        inputs, gradient = tuple(self.values[v] for v in reads), self.gradients[i + 1]
        if all(map(_plain, inputs)) and (gradient is None or _plain(gradient)):
            return (), None
        return inputs, gradient


def _plain(layout: Layout) -> bool:
    return layout == contiguous(len(layout.order))


@lru_cache(maxsize=512)
def layouts_of(graph: Any, axes: Tuple[int, ...], broadcast: FrozenSet[Tuple[int, str]]) -> Layouts:
    """The layouts in a graph that takes contiguous images.

    axes: of every value, how many it has; broadcast: (node, input) of inputs that are smaller than the output.
    """
    values = [contiguous(axes[0])]
    for i, (node, reads) in enumerate(zip(graph.nodes, graph.reads)):
        named = zip(node.op.inputs, reads)
        values.append(node.op.layout(axes[i + 1], *[values[v] for name, v in named if (i, name) not in broadcast]))
    gradients: Dict[int, Layout] = {len(graph): contiguous(axes[-1])}
    for i in range(len(graph) - 1, -1, -1):
        node, reads, demanded = graph.nodes[i], graph.reads[i], graph.demanded[i]
        for name, v in zip(node.op.inputs, reads):
            if name in demanded:
                made = contiguous(axes[v])  # as a sum over broadcast axes comes
                if (i, name) not in broadcast:
                    made = node.op.gradient_layout(gradients[i + 1], values[i + 1], values[v])
                gradients.setdefault(v, made)  # the first one is what others are added to
    return Layouts(tuple(values), tuple(gradients.get(v) for v in range(len(axes))))
