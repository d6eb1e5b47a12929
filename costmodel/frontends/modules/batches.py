"""Tells sizes of constants that follow the batch from sizes that do not, by a second run at another batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...errors import CostmodelError
from ...graph.graph import Graph, Node
from ...ops.parameter import Constant


def for_any_batch(run: Callable[[int], Graph], batch: int) -> Graph:
    """The graph of a run at a batch, with sizes of constants as multiples of the batch where a run at another says so.

    A contrastive loss of two views makes torch.eye(2 * batch): 26 in a run at 13, as the letters of an alphabet are.
    """
    graph = run(batch)
    if not any(size % batch == 0 for node in graph.nodes for size in sizes_of(node)):
        return graph
    try:
        other = run(batch + 1)
    except CostmodelError:  # the module runs at some batches alone
        return graph
    if [node.name for node in graph.nodes] != [node.name for node in other.nodes]:
        return graph

    def told(size: int, there: int) -> int:
        if size == 0:  # the batch, if it is so at the other one
            return 0 if there == 0 else batch
        times = size // batch
        return -times if (size, there) == (times * batch, times * (batch + 1)) else size

    nodes = []
    for node, twin in zip(graph.nodes, other.nodes):
        if sizes_of(node):
            node = replace(node, op=replace(node.op, size=tuple(map(told, sizes_of(node), sizes_of(twin)))))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def sizes_of(node: Node) -> tuple[int, ...]:
    """The sizes of a constant that is made in the run; none of another node."""
    op = node.op
    return tuple(op.size) if isinstance(op, Constant) and not (op.buffer or op.held) else ()
