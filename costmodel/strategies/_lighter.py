"""MobileTL's rule for a block: inner norms train only their shift, activations pass gradients by the input's sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..graph.paths import within


def lighter(graph: Graph, scopes: Sequence[str], norm: str = "shift", act: str = "signed") -> Graph:
    """The graph with MobileTL's rule applied to trained blocks. Raises CostmodelError for a block without a norm.

    norm: what inner norms train, on frozen statistics: "shift", or "scale" with it; "full": as before. act: "signed",
    or "exact", as before.
    """
    inner: set[str] = set()
    for scope in scopes:
        names = [node.name for node in graph.nodes if within(node.name, scope) and node.op.is_norm]
        if not names:
            raise CostmodelError(f"block {scope!r} has no norm whose shift could train")
        inner.update(names[:-1])
    gates = squeeze_excite(graph)

    def change(node: Node) -> Node:
        if norm != "full" and node.name in inner:
            trains = {"bias"} if norm == "shift" else node.op.params()
            return replace(node, op=node.op.frozen(), trains=frozenset(trains))
        in_block = any(within(node.name, scope) for scope in scopes)
        if act == "signed" and in_block and node.name not in gates and has_signed(node):
            return replace(node, op=replace(node.op, signed=True))
        return node

    return graph.map(change)


def has_signed(node: Node) -> bool:
    """Whether a node is an activation that can pass its gradient by sign."""
    return any(field.name == "signed" for field in fields(node.op))


def squeeze_excite(graph: Graph) -> frozenset[str]:
    """Names of the nodes in squeeze-and-excite branches, which compute one factor of a product from the other."""
    found: set[str] = set()
    for i, node in enumerate(graph.nodes):
        if node.op.kind != "mul":
            continue
        for gate, scaled in (graph.reads[i], graph.reads[i][::-1]):
            branch, value = [], gate
            while value and graph.content[value] != graph.content[scaled]:
                branch.append(graph.nodes[value - 1].name)
                if len(graph.reads[value - 1]) != 1:
                    break
                value = graph.reads[value - 1][0]
            if value and graph.content[value] == graph.content[scaled]:
                found.update(branch)
    return frozenset(found)
