"""What the kernels of a graph's ops depend on, and which of them are not modelled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..graph.checkpointing import rerun_of
from ..graph.graph import Graph, Node
from ..graph.memory_formats import layouts_of
from ..graph.op import Op, Result
from ..sizes.size import Shape
from ..targets.setting import Setting
from ..targets.target import Target
from .request import Request
from .scratch import call_of
from .shapes import broadcast_inputs

NAMED = 3  # as many of the nodes without a rule are named


def settings_of(
    graph: Graph, shapes: tuple[Shape, ...], joins: frozenset[tuple[int, str]], request: Request
) -> list[Setting]:
    """The setting of each node's kernels. joins: (node, input) of broadcast inputs."""
    target, own = request.target, request.dtype
    layouts = layouts_of(graph, tuple(map(len, shapes)), joins, target.channels_last)
    found, again = [], rerun_of(graph)
    for i, (demanded, reads, bits) in enumerate(zip(graph.demanded, graph.reads, graph.kernel_bits)):
        numbers = request.amp if request.amp and bits == request.amp.bits else own
        around = layouts.around(i, reads)
        item = numbers.bits // 8
        late = i in again  # as in Backward
        narrow = graph.narrow[i]
        found.append(
            Setting(target, item, bool(demanded), demanded, *around, numbers.name, own.bits // 8, late, narrow)
        )
    return found


def without_rule(graph: Graph, shapes: tuple[Shape, ...], request: Request) -> dict[Node, Any]:
    """Nodes whose kernels allocate what no rule tells -> where: one bool, or one for each cell of a grid of sizes."""
    target = request.target
    if target.is_confirmed and not target.counts_kernels:
        return {}
    if not (target.is_modelled and target.is_confirmed or target.is_probed):
        return {node: True for node in graph.nodes if runs_kernels(node.op)}
    settings = settings_of(graph, shapes, broadcast_inputs(graph, shapes), request)
    numbers = other_numbers(graph)
    found = {}
    for i, (node, reads, setting) in enumerate(zip(graph.nodes, graph.reads, settings)):
        xs = [shapes[v] for v in reads]
        if target.is_probed and target.measured(call_of(node.op, setting, shapes[i + 1], *xs)) is not None:
            continue
        if target.has_rules and target.is_confirmed:
            known = node.op.modelled(setting, shapes[i + 1], *xs)
        else:
            known = not runs_kernels(node.op)
        expected = {*node.op.shape_only, *node.op.input_bits}
        read = (v for name, v in zip(node.op.inputs, reads) if name not in expected)
        if not node.op.result.is_view and any(graph.content[v] in numbers for v in read):
            known = False  # the op converts them
        if setting.narrow:
            known = False
        if not (known is True or np.all(known)):
            found[node] = np.logical_not(known)
    return found


def is_probed(graph: Graph, shapes: tuple[Shape, ...], request: Request) -> bool:
    """Whether the target has measured some of a step's kernels."""
    if not request.target.is_probed:
        return False
    settings = settings_of(graph, shapes, broadcast_inputs(graph, shapes), request)
    calls = zip(graph.nodes, graph.reads, settings, shapes[1:])
    return any(
        request.target.measured(call_of(node.op, setting, y, *[shapes[v] for v in reads])) is not None
        for node, reads, setting, y in calls
    )


def runs_kernels(op: Op) -> bool:
    """Whether an op's result is made by kernels: not a view, nor there before the step."""
    return not op.result.is_view and op.result not in (Result.RESIDENT, Result.GIVEN)


def other_numbers(graph: Graph) -> frozenset[int]:
    """The values in another data type than the network's: masks, and constants."""
    return frozenset(v for v, bits in enumerate(graph.bits) if bits)


def in_words(nodes: tuple[Node, ...]) -> str:
    """A sentence that names nodes without a rule."""
    return f"The allocator's peak is at least this: what kernels allocate inside is not modelled for {_named(nodes)}."


def in_words_of_unknown(target: Target) -> str:
    """A sentence for a processor of which nothing is known."""
    return f"The allocator's peak is at least this: {target} is not modelled, so only the tensors are counted."


def in_words_of_unconfirmed(target: Target, nodes: tuple[Node, ...]) -> Iterator[str]:
    """Sentences for a device whose bytes no real run has confirmed. nodes: of the graph."""
    yield (
        f"At least this: no GPU has confirmed the bytes for {target}, and what kernels allocate inside (cuDNN's"
        " workspaces) is left out; costmodel probe measures it on one."
    )
    other = tuple(node for node in nodes if node.op.of_cpus)
    if other:
        yield f"On CUDA other kernels run, which keep and allocate something else, for {_named(other)}."


def _named(nodes: tuple[Node, ...]) -> str:
    named = ", ".join(f"{node.name} ({node.op.kind})" for node in nodes[:NAMED])
    return f"{named} and {len(nodes) - NAMED} more" if len(nodes) > NAMED else named
