"""`ideal`: what the demanded gradients' formulas read, at the fewest bits: the lower bound."""

from __future__ import annotations

from ..graph.checkpointing import rerun_of
from ..graph.graph import Graph
from ._kept import Read, each_read, kept_values, value_of
from ._registry import convention


@convention("ideal", "what the demanded gradients' formulas read, at the fewest bits")
def ideal(graph: Graph) -> list[Read]:
    reads = list(each_read(graph, stock=False))
    kept = kept_values(graph, reads, stock=False)
    rerun = rerun_of(graph, stock=False)
    return [read for read in reads if not read_off(graph, read, rerun.get(read.node), kept)]


def read_off(graph: Graph, read: Read, rerun: int | None, kept: set) -> bool:
    """Whether an extra need not be stored, because its carrier is kept anyway.

    rerun: number of the reader's rerun, if it is in one.
    """
    carrier = graph.nodes[read.node].op.carriers().get(read.operand)
    return carrier is not None and (rerun, value_of(graph, read.node, carrier)) in kept
