"""`full`: everything trains, with batch statistics."""

from __future__ import annotations

from ..graph.graph import Graph
from ._registry import everything, strategy, train


@strategy("full", "everything trains, batch statistics")
def full(graph: Graph) -> Graph:
    return train(graph, everything)
