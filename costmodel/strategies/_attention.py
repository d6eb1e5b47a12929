"""Attention whose mask trains: torch's kernel makes no gradient of a mask, so torch runs attention in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache

from ..graph.checkpointing import SPAN
from ..graph.graph import Graph, Node
from ..graph.op import Op
from ..ops.attention import Attention, in_parts
from ..ops.layout import Copy
from ..ops.matmul import Matmul


@lru_cache(maxsize=512)
def in_parts_where_masks_train(graph: Graph) -> Graph:
    """The graph in which attention is in parts wherever its mask's gradient is demanded."""
    trained = frozenset(
        node.name
        for node, reads in zip(graph.nodes, graph.reads)
        if isinstance(node.op, Attention) and node.op.masked and graph.wants_gradient[reads[-1]]
    )
    return split(graph, trained) if trained else graph


def as_in(other: Graph, graph: Graph) -> Graph:
    """The graph in which attention is in parts where it is so in another one."""
    whole = {node.name for node in other.nodes if isinstance(node.op, Attention)}
    named = {node.name for node in other.nodes} - whole
    return split(graph, frozenset(n.name for n in graph.nodes if isinstance(n.op, Attention) and n.name in named))


def split(graph: Graph, names: frozenset[str]) -> Graph:
    """The graph in which the attention of the named nodes is in parts. The last part has the node's name."""
    nodes: list[Node] = []
    first: dict[str, str] = {}
    taken = {node.name for node in graph.nodes}
    for node in graph.nodes:
        if node.name in names:
            parts = _parts(node, taken)
            first[node.name] = parts[0].name
            nodes += parts
        else:
            nodes.append(node)
    return replace(
        graph,
        nodes=tuple(nodes),
        checkpointed=tuple(_begun(scope, first) for scope in graph.checkpointed),
        stateful=frozenset(_begun(scope, first) for scope in graph.stateful),
    )


def _begun(scope: str, first: Mapping[str, str]) -> str:
    """A scope that runs again; if it is from one node to another, the first one by the name of its first part."""
    begin, span, end = scope.partition(SPAN)
    return f"{first.get(begin, begin)}{span}{end}" if span else scope


class _Value:
    """The name of a value. When nobody holds it any more, the last node by then ends its life."""

    def __init__(self, name: str, ends: Callable[[str], None] = lambda name: None) -> None:
        self.name, self.ends = name, ends

    def __del__(self) -> None:
        self.ends(self.name)


def _parts(node: Node, taken: set[str]) -> list[Node]:
    """The nodes of attention in parts."""
    op = node.op
    assert isinstance(op, Attention)
    nodes: list[Node] = []
    ends: dict[str, str] = {}

    def do(op: Op, *values: _Value) -> _Value:
        base, number = f"{node.name}_{op.kind}", 1
        name = base
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        nodes.append(Node(name, op, tuple(value.name for value in values), records=node.records))
        return _Value(name, lambda name: ends.__setitem__(name, nodes[-1].name))

    copied = iter((0, 1, None, 2))  # the operands of both products

    def product(a: _Value, b: _Value) -> _Value:
        a, b = (do(Copy(), x) if next(copied) in op.copied else x for x in (a, b))
        return do(Matmul(), a, b)

    q, k, v, mask = map(_Value, node.inputs)
    result = in_parts(do, product, 4, op.scale, q, k, v, mask)
    last = nodes.pop()
    ends = {name: node.name if end == result.name else end for name, end in ends.items()} if node.until else {}
    parts = [replace(part, until=ends.get(part.name, "")) for part in nodes]
    return [*parts, replace(last, name=node.name, owner=node.name, until=node.until)]
