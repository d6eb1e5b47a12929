"""Building blocks of strategies: changes to a graph, and choices among its nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..graph.paths import within


def everything(node: Node) -> frozenset:
    """All parameters of a node."""
    return frozenset(node.op.params())


def all_but_norms(node: Node) -> frozenset[str]:
    """What trains of a node: everything, but nothing of a norm."""
    return nothing(node) if node.op.is_norm else everything(node)


def biases(node: Node) -> frozenset:
    """A node's bias or shift, if it has one."""
    return everything(node) & {"bias"}


def nothing(node: Node) -> frozenset:
    """No parameter of a node."""
    return frozenset()


def train(graph: Graph, choose: Callable[[Node], frozenset]) -> Graph:
    """The graph in which, for each node, the parameters that `choose` returns train.

    Of a module with several calls, what trains in one of them trains in all: a parameter has one flag.
    """
    names: dict[str, frozenset] = {}
    for node in graph.nodes:
        names[node.owner] = names.get(node.owner, frozenset()) | choose(node)

    def chosen(node: Node) -> Node:
        own = names[node.owner] & everything(node)
        return replace(node, trains=own, op=node.op.trained(own))

    return graph.map(chosen)


def freeze_statistics(graph: Graph, where: Callable[[Node], bool] = lambda node: True) -> Graph:
    """The graph in which norms use frozen statistics, at all nodes for which `where` holds.

    A norm with several calls has one mode: it is frozen only where that holds for all of them.
    """
    moving = {node.owner for node in graph.nodes if node.op.params() and not where(node)}

    def change(node: Node) -> Node:
        moves = node.owner in moving if node.op.params() else not where(node)
        return node if moves else replace(node, op=node.op.frozen())

    return graph.map(change)


def in_classifier(graph: Graph) -> Callable[[Node], bool]:
    """A function: whether a node is in the classifier. Raises CostmodelError if the network has no classifier."""
    if not graph.classifier:
        raise CostmodelError("the network has no classifier to train")
    return lambda node: within(node.name, graph.classifier)


def from_block(graph: Graph, blocks: int) -> Callable[[Node], bool]:
    """A function: whether a node is in one of the last `blocks` blocks, or after them."""
    scope = graph.blocks[-blocks]
    first = next(i for i, node in enumerate(graph.nodes) if within(node.name, scope))
    names = {node.name for node in graph.nodes[first:]}
    return lambda node: node.name in names


def about_heads(graph: Graph) -> Sequence[str]:
    """A sentence if the network returns several tensors: one layer alone counts as its classifier."""
    if len(graph.outputs) < 2:
        return ()
    several = f"The network returns {len(graph.outputs)} tensors"
    return (f"{several}; {graph.classifier} counts as its classifier, other heads do not.",)
