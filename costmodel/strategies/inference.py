"""`inference`: the forward pass alone, everything in evaluation mode."""

from __future__ import annotations

from dataclasses import replace

from ..graph.graph import Graph
from ._edits import nothing, train
from ._registry import strategy


@strategy("inference", "the forward pass alone, in evaluation mode", trains=False)
def inference(graph: Graph) -> Graph:
    evaluated = graph.map(lambda node: replace(node, op=node.op.evaluated()))
    return train(evaluated, nothing)
