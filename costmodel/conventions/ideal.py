"""`ideal`: what the demanded gradients' formulas read, at the fewest bits: the lower bound."""

from __future__ import annotations

from typing import List, Optional

from ..graph.checkpointing import segments
from ..graph.graph import Graph
from ._registry import Read, convention, each_read, kept_values, value_of


@convention("ideal", "what the demanded gradients' formulas read, at the fewest bits")
def ideal(graph: Graph) -> List[Read]:
    reads = list(each_read(graph, torch=False))
    kept = kept_values(graph, reads, stock=False)
    inside = {i: k for k, segment in enumerate(segments(graph, stock=False)) for i in segment.run}
    return [read for read in reads if not read_off(graph, read, inside.get(read.node), kept)]


def read_off(graph: Graph, read: Read, part: Optional[int], kept: set) -> bool:
    """Whether an extra need not be stored because a value that is kept anyway carries the same information.

    part: number of the part that runs again in which the reader stands.
    """
    carrier = graph.nodes[read.node].op.carriers().get(read.operand)
    return carrier is not None and (part, value_of(graph, read.node, carrier)) in kept
