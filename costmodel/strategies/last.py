"""`last`: the classifier trains, on frozen statistics."""

from __future__ import annotations

from ..graph.graph import Graph
from ._registry import everything, freeze_statistics, in_classifier, strategy, train


@strategy("last", "the classifier trains, frozen statistics everywhere")
def last(graph: Graph) -> Graph:
    chosen = in_classifier(graph)
    return freeze_statistics(train(graph, lambda node: everything(node) if chosen(node) else frozenset()))
