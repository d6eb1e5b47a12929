"""`full`: everything trains, with batch statistics."""

from __future__ import annotations

from ..graph.graph import Graph
from ._edits import everything, train
from ._registry import strategy


@strategy("full", "everything trains, batch statistics")
def full(graph: Graph) -> Graph:
    return train(graph, everything)
