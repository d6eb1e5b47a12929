"""`lean`: what this package's own memory-lean modules keep and allocate.

The graph is rewritten first: every op becomes its lean form. This graph is priced, and the same graph is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from ..errors import CostmodelError
from ..graph.checkpointing import rerun_of
from ..graph.graph import Graph, Node
from ..graph.op import Result
from ..graph.recompute import NOTHING
from ..ops.conv import Conv2d
from ..ops.lean import LeanConv2d, Place, ShiftNorm, as_op
from ..ops.lean import lean as lean_form
from ..ops.lean_folded import FoldedConv2d, FoldedNorm
from ..ops.norm import BatchNorm
from ._kept import Read, each_read, kept_values
from ._registry import convention
from ._stretch import with_stretch
from ._units import with_units
from .ideal import reads_of


@lru_cache(maxsize=512)
def lower(graph: Graph) -> Graph:
    """The graph with every op in its lean form.

    A module with several calls of which lean modules would keep something else each stays as it is. Raises
    CostmodelError if its calls differ then, too.
    """
    lowered = lowered_but(graph, frozenset())
    several = different_calls(lowered)
    if several:
        lowered = lowered_but(graph, frozenset(several))
        several = different_calls(lowered)
    for owner, (one, other) in several.items():
        raise CostmodelError(
            f"module {owner!r} is called more than once ({one}, {other}), and lean modules would keep something else of"
            " each call; allowed: a module of its own for each call, or another convention"
        )
    return lowered


def different_calls(graph: Graph) -> dict[str, tuple[str, str]]:
    """Owner -> two calls, for modules that would be two things at once: their calls' ops differ."""
    ops: dict[str, Node] = {}
    found: dict[str, tuple[str, str]] = {}
    for node in graph.nodes:
        if (node.op.params() or node.op.buffers()) and node.op.result is not Result.RESIDENT:
            first = ops.setdefault(node.owner, node)
            if first.op != node.op:
                found.setdefault(node.owner, (first.name, node.name))
    return found


def lowered_but(graph: Graph, stock: frozenset[str]) -> Graph:
    """The graph with every op in its lean form but those of some owners."""
    rerun = rerun_of(graph)
    kept = kept_values(graph, reads_of(graph, again=False), stock=True)
    anyhow = {value for _, value in kept}
    readers: dict[int, int] = {}
    shared = {*results(graph)}  # values whose gradient may not be overwritten
    for node, reads in zip(graph.nodes, graph.reads):
        for name, v in zip(node.op.inputs, reads):
            readers[v] = readers.get(v, 0) + 1
            if not node.op.hands_over(name):
                shared.add(v)
    partner = folded(graph, readers, stock)
    nodes = []
    for i, (node, reads, demanded) in enumerate(zip(graph.nodes, graph.reads, graph.demanded)):
        v = reads[0]
        maker = graph.nodes[v - 1].op if v else None
        place = Place(
            demanded=demanded,
            trains=node.trains,
            alone=isinstance(maker, Conv2d) and readers[v] == 1 and graph.content[v] not in anyhow,
            carried=(rerun.get(i), graph.content[i + 1]) in kept,
            owns=readers.get(i + 1) == 1 and i + 1 not in shared,
            partner=partner.get(i, ""),
            again=graph.recompute != NOTHING,
        )
        trains = node.trains if demanded else frozenset()  # what gets no gradient needs no autograd
        op = node.op if node.owner in stock else lean_form(node.op, place)
        nodes.append(replace(node, op=op, trains=trains))
    lowered = replace(graph, nodes=tuple(nodes))
    if graph.recompute != NOTHING:
        lowered = with_folded_norms(graph, with_units(graph, lowered, results(graph)))
    lowered = with_stretch(lowered)
    return uncall(lowered) if graph.prefix_slices > 1 else lowered


def results(graph: Graph) -> list[int]:
    """The values that the network returns. Their gradients are the caller's: a module knows nothing of the loss."""
    if graph.nodes[-1].op.is_stand_in:
        return []
    names = {graph.result, graph.body[-1].name, *graph.outputs}
    return [i + 1 for i, node in enumerate(graph.nodes) if node.name in names]


def uncall(graph: Graph) -> Graph:
    """The graph in which modules that are partly in the frozen prefix are not called: the root runs their parts."""
    inside, outside = (
        {scope for node in part for scope in graph.frames(node)}
        for part in (graph.nodes[: graph.prefix], graph.nodes[graph.prefix :])
    )
    return replace(graph, containers=graph.containers | (inside & outside))


def folded(graph: Graph, readers: dict[int, int], stock: frozenset[str]) -> dict[int, str]:
    """Node -> path of its partner, for pairs of a convolution and the frozen norm after it that run without autograd.

    readers: value -> number of its readers. stock: owners that are in no pair.
    """
    pairs = {}
    for i, (node, reads) in enumerate(zip(graph.nodes, graph.reads)):
        v = reads[0]
        if graph.demanded[i] or v == 0 or not isinstance(node.op, BatchNorm) or node.op.statistics != "frozen":
            continue
        before = graph.nodes[v - 1]
        if {node.owner, before.owner} & stock:
            continue
        if type(before.op) is Conv2d and readers[v] == 1 and node.op.is_plain:
            pairs[v - 1], pairs[i] = node.owner, before.owner
    return pairs


def with_folded_norms(graph: Graph, lowered: Graph) -> Graph:
    """The lean graph, where frozen convolutions that pass gradients on do the work of norms that train a shift at most.

    graph: the stock one. A norm that overwrites its input is the only one that reads it. Their weights times the norms'
    scales are made again in the backward pass.
    """
    nodes, found = [*lowered.nodes], False
    for i, (node, reads) in enumerate(zip(lowered.nodes, lowered.reads)):
        v = reads[0]
        if type(node.op) is not ShiftNorm or not node.op.inplace or "x" not in lowered.demanded[i]:
            continue
        before = lowered.nodes[v - 1]
        if type(before.op) is LeanConv2d and not before.op.drops and not before.trains:
            nodes[v - 1] = replace(before, op=as_op(FoldedConv2d, graph.nodes[v - 1].op, norm=node.owner))
            nodes[i] = replace(node, op=as_op(FoldedNorm, graph.nodes[i].op))
            found = True
    return replace(lowered, nodes=tuple(nodes)) if found else lowered


@convention(
    "lean",
    "what this package's own memory-lean modules keep and allocate",
    measurable=True,
    lower=lower,
    makes_again=True,
)
def lean(graph: Graph) -> Iterator[Read]:
    return each_read(graph, stock=True)
