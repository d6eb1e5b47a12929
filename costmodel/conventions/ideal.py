"""`ideal`: what the demanded gradients' formulas read, at the fewest bits: the lower bound.

With `recompute=maps` norms, activations, sums and products of kept values are made again, and what is made of
parameters alone; with `none` nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from ..graph.checkpointing import rerun_of
from ..graph.dropping import nodes_dropped
from ..graph.graph import Graph
from ..graph.recompute import NOTHING
from ._kept import Read, each_read, kept_values, value_of
from ._made_again import roots_of, without_derived
from ._registry import convention


@lru_cache(maxsize=512)
def lower(graph: Graph) -> Graph:
    """The graph in which what can be made again is not kept, if the strategy allows that."""
    return graph if graph.recompute == NOTHING else without_derived(graph)


@convention("ideal", "what the demanded gradients' formulas read, at the fewest bits", lower=lower, makes_again=True)
def ideal(graph: Graph) -> list[Read]:
    return reads_of(graph, again=graph.recompute != NOTHING)


def reads_of(graph: Graph, again: bool) -> list[Read]:
    """What the formulas read, without extras that follow from what is kept anyway.

    again: such extras may be made of values that are made again, and of parameters, too.
    """
    reads = list(each_read(graph, stock=False))
    kept = kept_values(graph, reads, stock=False)
    rerun = rerun_of(graph, stock=False)
    return [read for read in reads if not read_off(graph, read, rerun, kept, again)]


def read_off(graph: Graph, read: Read, rerun: Mapping[int, int], kept: set, again: bool) -> bool:
    """Whether an extra need not be stored, because what tells it is kept anyway."""
    run, op = rerun.get(read.node), graph.nodes[read.node].op
    if again and read.operand in op.of_parameters:
        return True
    carrier = op.carriers().get(read.operand)
    if carrier is not None and (run, value_of(graph, read.node, carrier)) in kept:
        return True
    if not (again and read.operand == "mask"):
        return False
    here = {value for k, value in kept if k == run and value is not None}
    dropped = {i + 1 for i in nodes_dropped(graph)}
    return roots_of(graph, graph.content[graph.reads[read.node][0]], here, run, rerun, dropped) is not None
