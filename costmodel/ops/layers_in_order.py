"""The convolutions and linear layers of a network, in forward order, each with the norm that goes with it."""

from __future__ import annotations

from typing import NamedTuple

from ..graph.graph import Graph
from .conv import ConvolutionLayer
from .linear import Linear

#: Layers with a weight of their own that multiplies their input.
MULTIPLY = (ConvolutionLayer, Linear)


class Layer(NamedTuple):
    """A module that convolves or multiplies: its path, and the names of its nodes and of its norm's."""

    owner: str
    nodes: frozenset[str]
    norms: frozenset[str]


def layers_of(graph: Graph) -> list[Layer]:
    """The convolutions and linear layers, each module once, in the order in which they first run."""
    readers: dict[int, list[int]] = {}
    for i, reads in enumerate(graph.reads):
        for v in reads:
            readers.setdefault(graph.content[v], []).append(i)
    found: dict[str, Layer] = {}
    for i, node in enumerate(graph.nodes):
        if isinstance(node.op, MULTIPLY):
            norms = {graph.nodes[n].name for n in readers.get(i + 1, ()) if graph.nodes[n].op.is_norm}
            before = found.get(node.owner, Layer(node.owner, frozenset(), frozenset()))
            found[node.owner] = before._replace(nodes=before.nodes | {node.name}, norms=before.norms | norms)
    return list(found.values())
