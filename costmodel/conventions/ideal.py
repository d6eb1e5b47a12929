"""`ideal`: what the demanded gradients' formulas read, at the fewest bits: the lower bound."""

from __future__ import annotations

from typing import List

from ..convention import Read, convention, each_read, value_of
from ..graph import Graph


@convention("ideal", "what the demanded gradients' formulas read, at the fewest bits")
def ideal(graph: Graph) -> List[Read]:
    reads = list(each_read(graph, torch=False))
    kept = {value_of(graph, read.node, read.operand) for read in reads} - {None}
    return [read for read in reads if not read_off(graph, read, kept)]


def read_off(graph: Graph, read: Read, kept: set) -> bool:
    """Whether an extra need not be stored because a value that is kept anyway carries the same information."""
    carrier = graph.nodes[read.node].op.carriers().get(read.operand)
    return carrier is not None and value_of(graph, read.node, carrier) in kept
