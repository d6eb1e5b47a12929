"""`last`: the classifier trains, on frozen statistics."""

from __future__ import annotations

from ..graph.graph import Graph
from ._edits import about_heads, everything, freeze_statistics, in_classifier, nothing, train
from ._registry import strategy


@strategy("last", "the classifier trains, frozen statistics everywhere", of_classifiers=True, notes=about_heads)
def last(graph: Graph) -> Graph:
    chosen = in_classifier(graph)
    return freeze_statistics(train(graph, lambda node: everything(node) if chosen(node) else nothing(node)))
