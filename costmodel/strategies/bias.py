"""`bias`: every bias and shift and the classifier train, on frozen statistics (TinyTL-B: Cai et al. 2020)."""

from __future__ import annotations

from ..graph.graph import Graph
from ._edits import about_heads, biases, everything, freeze_statistics, in_classifier, train
from ._registry import strategy


@strategy(
    "bias",
    "every bias and shift and the classifier train, frozen statistics and scales (TinyTL-B)",
    of_classifiers=True,
    notes=about_heads,
)
def bias(graph: Graph) -> Graph:
    chosen = in_classifier(graph)
    return freeze_statistics(train(graph, lambda node: everything(node) if chosen(node) else biases(node)))
