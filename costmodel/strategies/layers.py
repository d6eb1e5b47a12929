"""`layers:MASK`: the convolutions and linear layers with a 1 train, each with the norm after it; holes included.

Freezing schedules (SmartFRZ, EdgeOL) and searches choose so: a layer and its norm freeze together.
"""

from __future__ import annotations

import re

from ..errors import CostmodelError
from ..graph.graph import Graph
from ..ops.layers_in_order import layers_of
from ._edits import everything, freeze_statistics, nothing, train
from ._registry import strategy


@strategy(
    "layers",
    "the convolutions and linear layers with a 1 train, each with the norm after it; statistics frozen elsewhere",
    code="MASK",
)
def layers(graph: Graph, code: str | None) -> Graph:
    chosen = chosen_names(graph, code)
    if not chosen:
        raise CostmodelError("found no 1, so that nothing trains; allowed: one or more, or the strategy inference")
    trained = train(graph, lambda node: everything(node) if node.name in chosen else nothing(node))
    return freeze_statistics(trained, lambda node: node.name not in chosen)


def chosen_names(graph: Graph, mask: str | None) -> frozenset[str]:
    """Names of the nodes that a mask chooses, one 0 or 1 for each layer. Raises CostmodelError for a bad mask."""
    found = layers_of(graph)
    if mask is None or not re.fullmatch("[01]+", mask) or len(mask) != len(found):
        told = "no mask" if mask is None else f"{mask!r}, of {len(mask)}"
        ends = f"from {found[0].owner} to {found[-1].owner}" if found else "of which there are none"
        raise CostmodelError(
            f"found {told}; allowed: {len(found)} digits 0 or 1, one for each convolution and linear layer, {ends}"
        )
    return frozenset(name for one, digit in zip(found, mask) if digit == "1" for name in one.nodes | one.norms)
