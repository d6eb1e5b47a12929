"""Values that need not be kept, since elementwise work makes them again from others that are kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..graph.checkpointing import rerun_of
from ..graph.graph import INPUT, Graph
from ..ops.activation import Activation
from ..ops.arithmetic import Add, Mul
from ..ops.noise import Noise
from ..ops.norm import BatchNorm, GroupNorm
from ._dropped import to_drop
from ._kept import each_read, kept_values, value_of


def without_derived(graph: Graph) -> Graph:
    """The graph in which what norms, activations, sums and products make of kept values is made again from these.

    So are outputs of convolutions, where the strategy drops them.
    """
    again = {i + 1 for i in to_drop(graph)}
    reads = list(each_read(graph, stock=False))
    rerun = rerun_of(graph, stock=False)
    readers: dict[int, set[int | None]] = {}
    for read in reads:
        value = value_of(graph, read.node, read.operand)
        if value:
            readers.setdefault(value, set()).add(rerun.get(read.node))
    fixed = {v for _, v in kept_values(graph, [], stock=False) if v is not None}
    kept = {*readers, *fixed, 0}
    remade: dict[int, tuple[int, ...]] = {}
    for v in sorted(readers, reverse=True):
        if v in fixed or len(readers[v]) > 1:
            continue
        roots = roots_of(graph, v, kept - {v}, rerun.get(v - 1), rerun, again)
        if roots is not None and readers[v] == {rerun.get(v - 1)}:
            kept.discard(v)
            remade[v] = roots
    names = [INPUT, *(node.name for node in graph.nodes)]
    dropped = frozenset(names[v] for v in again & remade.keys())
    made = tuple((names[v], tuple(names[r] for r in roots)) for v, roots in remade.items())
    return replace(graph, remade=made, dropped=dropped)


def roots_of(
    graph: Graph, v: int, kept: set[int], run: int | None, rerun: Mapping[int, int], again: Collection[int] = ()
) -> tuple[int, ...] | None:
    """The kept values from which a value is made by elementwise ops alone; None if it is not.

    run: the rerun in which it must be made. rerun: of each node that is in one. again: outputs of convolutions that may
    be made, too.
    """
    if v in kept:
        return (v,)
    if not v:
        return None
    node = graph.nodes[v - 1]
    if rerun.get(v - 1) != run:
        return None
    sources = graph.reads[v - 1]
    if node.op.result.is_view:
        sources = sources[:1]
    elif v not in again and not _is_elementwise(graph, v - 1):
        return None
    found: list[int] = []
    for source in sources:
        inner = roots_of(graph, graph.content[source], kept, run, rerun, again)
        if inner is None:
            return None
        found += inner
    return tuple(dict.fromkeys(found))


def _is_elementwise(graph: Graph, i: int) -> bool:
    """Whether a node makes its result of its inputs element by element, with numbers that are kept anyway."""
    op = graph.nodes[i].op
    kept = bool({"x", "weight"} & {*graph.demanded[i]})  # whether a norm's statistics are
    if isinstance(op, BatchNorm):
        return op.is_plain and (op.statistics == "frozen" or kept)
    if isinstance(op, GroupNorm):
        return kept
    if isinstance(op, Noise):
        return bool(graph.demanded[i])  # the noise is kept
    return isinstance(op, (Activation, Add, Mul)) and not op.params()
