"""`norm+last`: every scale and shift and the classifier train, with batch statistics."""

from __future__ import annotations

from ..graph.graph import Graph
from ._edits import about_heads, everything, in_classifier, nothing, train
from ._registry import strategy


@strategy(
    "norm+last",
    "every scale and shift and the classifier train, batch statistics everywhere",
    of_classifiers=True,
    notes=about_heads,
)  # fmt: skip
def norm_last(graph: Graph) -> Graph:
    chosen = in_classifier(graph)
    return train(graph, lambda node: everything(node) if node.op.is_norm or chosen(node) else nothing(node))
