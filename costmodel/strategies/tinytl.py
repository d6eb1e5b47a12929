"""`tinytl-l`: lite residual branches train. `tinytl-lb`: every bias too (Cai et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Any

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ._edits import biases, everything, freeze_statistics, in_classifier, nothing, train
from ._lite_residual import advice, in_branch, insert, notes
from ._registry import strategy


def resolution(text: str) -> int:
    """Parser of `resolution`: pixels a side of the images for which the branches' kernels are chosen."""
    if not text.isdecimal() or not 1 <= int(text) <= 65536:
        raise ValueError("a resolution of images from 1 to 65536")
    return int(text)


SHARED: dict[str, Any] = {
    "options": {"resolution": resolution}, "least_blocks": 2, "of_classifiers": True, "advice": advice, "notes": notes,
}  # fmt: skip


@strategy("tinytl-l", "lite residual branches and the classifier train, the rest frozen (TinyTL-L)", **SHARED)
def lite(graph: Graph, resolution: int | None = None) -> Graph:
    graph = with_branches(graph, resolution)
    chosen = in_classifier(graph)
    trained = train(graph, lambda node: everything(node) if in_branch(node) or chosen(node) else nothing(node))
    return freeze_statistics(trained, lambda node: not in_branch(node))


@strategy("tinytl-lb", "as tinytl-l, and every bias and shift (TinyTL-L+B)", **SHARED)
def lite_bias(graph: Graph, resolution: int | None = None) -> Graph:
    graph = with_branches(graph, resolution)
    chosen = in_classifier(graph)

    def trains(node: Node) -> frozenset[str]:
        if in_branch(node):
            # The branch's last shift does not train, as in the authors' code: the main branch's has the same effect.
            return everything(node) - ({"bias"} if node.name.endswith(".final_bn") else set())
        return everything(node) if chosen(node) else biases(node)

    return freeze_statistics(train(graph, trains), lambda node: not in_branch(node))


def with_branches(graph: Graph, resolution: int | None) -> Graph:
    """The graph with lite residual branches: its own if it has some, else new ones."""
    if not any(map(in_branch, graph.nodes)):
        return insert(graph, resolution)
    if resolution is not None:
        raise CostmodelError("the network has its own lite residual branches; allowed: no option 'resolution'")
    return graph
