"""`mobiletl:K`: as `blocks:K`, but cheaper in the trained blocks (Chiang, Frumkin, Liang, Marculescu, AAAI 2023).

In each trained block every norm but the last trains only its shift, on frozen statistics, so that its input is not
needed; every activation outside squeeze-and-excite passes the gradient where its input was >= 0, so that a bit per
element is needed at most. The block's last norm, squeeze-and-excite, the head and the classifier train as usual.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Callable, FrozenSet, Sequence, Set

from ..errors import CostmodelError
from ..graph.graph import Graph, Node, within
from ._registry import strategy
from .blocks import last_blocks


def one_of(*allowed: str) -> Callable[[str], str]:
    """Reader of an option that is one of a few words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(", ".join(allowed))
        return text

    return read


@strategy(
    "mobiletl",
    "as blocks:K, but inner norms train only their shift and activations pass gradients by sign (MobileTL)",
    blocks=True,
    options={"norm": one_of("shift", "full"), "act": one_of("signed", "exact")},
)
def mobiletl(graph: Graph, blocks: int, norm: str = "shift", act: str = "signed") -> Graph:
    """norm=full leaves the norms as in `blocks:K`, act=exact the activations: the method's two halves alone."""
    return lighter(last_blocks(graph, blocks=blocks), graph.blocks[-blocks:], norm, act)


def lighter(graph: Graph, scopes: Sequence[str], norm: str = "shift", act: str = "signed") -> Graph:
    """The graph with MobileTL's rule in some blocks, which train. Raises CostmodelError for a block without a norm."""
    inner: Set[str] = set()
    for scope in scopes:
        names = [node.name for node in graph.nodes if within(node.name, scope) and node.op.is_norm]
        if not names:
            raise CostmodelError(f"block {scope!r} has no norm whose shift could train")
        inner.update(names[:-1])
    gates = squeeze_excite(graph)

    def change(node: Node) -> Node:
        if norm == "shift" and node.name in inner:
            return replace(node, op=node.op.frozen(), trains=frozenset({"bias"}))
        in_block = any(within(node.name, scope) for scope in scopes)
        if act == "signed" and in_block and node.name not in gates and has_signed(node):
            return replace(node, op=replace(node.op, signed=True))
        return node

    return graph.map(change)


def has_signed(node: Node) -> bool:
    """Whether a node is an activation that can pass its gradient by sign."""
    return any(field.name == "signed" for field in fields(node.op))


def squeeze_excite(graph: Graph) -> FrozenSet[str]:
    """The nodes of squeeze-and-excite branches: between the pooling of a product's one factor and its other factor."""
    found: Set[str] = set()
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
