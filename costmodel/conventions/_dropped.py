"""Which convolutions' outputs `recompute=mixed` makes again, so that a block keeps one wide map instead of two.

Of a depthwise convolution at stride 1, input and output have the same size, and to run it again is cheap: its output is
let go. At other strides its input is the larger one: what makes that runs again, the expansion of the block.
"""

from __future__ import annotations

from typing import TypeGuard

from ..graph.dropping import level_of, part_numbers
from ..graph.graph import Graph
from ..graph.op import Op
from ..graph.recompute import MIXED
from ..ops.activation import Activation
from ..ops.conv import Conv2d
from ..ops.norm import BatchNorm


def to_drop(graph: Graph) -> list[int]:
    """The convolutions, in order, whose outputs are to be made again, if what makes them is kept."""
    found = set()
    part = part_numbers(graph)
    for i, node in enumerate(graph.nodes):
        if is_depthwise(node.op) and level_of(graph, i) == MIXED:
            chosen = i if node.op.stride == (1, 1) else _maker(graph, i)
            if chosen is None or part.get(chosen) != part.get(i):
                continue
            if "weight" in graph.demanded[chosen] and level_of(graph, chosen) == MIXED:
                found.add(chosen)
    return sorted(found)


def is_depthwise(op: Op) -> TypeGuard[Conv2d]:
    """Whether an op is a convolution that mixes no channels, of more than one pixel."""
    return isinstance(op, Conv2d) and op.groups == op.in_channels == op.out_channels > 1 and op.kernel != (1, 1)


def _maker(graph: Graph, i: int) -> int | None:
    """The convolution that makes what a node reads, with a norm after it and perhaps an activation."""
    v = graph.reads[i][0]
    if v and isinstance(graph.nodes[v - 1].op, Activation):
        v = graph.reads[v - 1][0]
    if not (v and isinstance(graph.nodes[v - 1].op, BatchNorm)):
        return None
    v = graph.reads[v - 1][0]
    op = graph.nodes[v - 1].op if v else None
    return v - 1 if isinstance(op, Conv2d) and not is_depthwise(op) else None
