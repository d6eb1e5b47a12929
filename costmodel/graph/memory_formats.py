"""The memory order of every value and gradient of a graph, for networks that mix memory formats.

A torch function that needs its operand in another order copies it. The order of the axes alone decides where copies are
made, so it is found once per graph: forward from op to op (Op.layout), then backward (Op.gradient_layout).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from ..targets.memory_order import CHANNELS_LAST, MemoryOrder, contiguous, dense
from .graph import Graph


class Layouts(NamedTuple):
    """The memory orders of all values, and of their gradients; None for a value without one."""

    channels_last: bool  # whether the images are
    values: tuple[MemoryOrder, ...]
    gradients: tuple[MemoryOrder | None, ...]

    def around(self, i: int, reads: tuple[int, ...]) -> tuple[tuple[MemoryOrder, ...], MemoryOrder | None]:
        """Layouts of node i's inputs and of its output's gradient; ((), None) if all of them are plain.

        Plain are tensors of four axes that lie as the images do, and other tensors if they are contiguous.
        """
        inputs, gradient = tuple(self.values[v] for v in reads), self.gradients[i + 1]
        if all(map(self._plain, inputs)) and (gradient is None or self._plain(gradient)):
            return (), None
        return inputs, gradient

    def _plain(self, layout: MemoryOrder) -> bool:
        return layout == plain(len(layout.order), self.channels_last)


def plain(axes: int, channels_last: bool) -> MemoryOrder:
    """The order of a tensor with this number of axes in a network whose images are contiguous, or channels_last."""
    return CHANNELS_LAST if channels_last and axes == 4 else contiguous(axes)


@lru_cache(maxsize=512)
def in_one_format(graph: Graph) -> Graph:
    """The graph as it runs where frozen maps lie as all others do (ops/lean_folded.py: a stretch)."""
    ops = [node.op.in_one_format() for node in graph.nodes]
    if all(op is node.op for op, node in zip(ops, graph.nodes)):
        return graph
    return replace(graph, nodes=tuple(replace(node, op=op) for op, node in zip(ops, graph.nodes)))


@lru_cache(maxsize=512)
def layouts_of(
    graph: Graph, axes: tuple[int, ...], broadcast: frozenset[tuple[int, str]], channels_last: bool
) -> Layouts:
    """The layouts in a graph whose images are contiguous, or channels_last.

    axes: the number of axes of every value; broadcast: (node, input) of inputs that are smaller than the output.
    """
    values = [plain(axes[0], channels_last)]
    for i, (node, reads) in enumerate(zip(graph.nodes, graph.reads)):
        named = zip(node.op.inputs, reads)
        found = node.op.layout(axes[i + 1], *[values[v] for name, v in named if (i, name) not in broadcast])
        values.append(plain(axes[i + 1], True) if channels_last and node.op.follows_weight else found)
    gradients: dict[int, MemoryOrder] = {len(graph): contiguous(axes[-1])}
    for i in range(len(graph) - 1, -1, -1):
        node, reads, demanded = graph.nodes[i], graph.reads[i], graph.demanded[i]
        for name, v in zip(node.op.inputs, reads):
            if name in demanded:
                made = contiguous(axes[v])  # as a sum over broadcast axes is
                if (i, name) not in broadcast:
                    made = node.op.gradient_layout(gradients[i + 1], values[i + 1], values[v])
                    made = plain(axes[v], True) if channels_last and node.op.follows_weight else made
                # Later gradients are added to the first one; where that is a view, into a new tensor.
                gradients[v] = dense(gradients[v]) if v in gradients else made
    return Layouts(channels_last, tuple(values), tuple(gradients.get(v) for v in range(len(axes))))
