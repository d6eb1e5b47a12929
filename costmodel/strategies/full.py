"""`full`: everything trains, with batch statistics."""

from __future__ import annotations

from ..graph import Graph
from ..strategy import everything, strategy, train


@strategy("full", "everything trains, batch statistics")
def full(graph: Graph) -> Graph:
    return train(graph, everything)
