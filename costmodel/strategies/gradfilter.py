"""`gradfilter:K[,r=2]`: the last K convolutions compute their gradients on patches (Gradient Filter: Yang et al. 2023).

Alone, the last K convolutions train with the norms after them, and the classifier, on frozen statistics. After another
strategy, the last K of the convolutions that it trains are filtered.
"""

from __future__ import annotations

import re

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..ops.conv import Conv2d
from ..ops.layers_in_order import Layer, layers_of
from ._edits import everything, freeze_statistics, in_classifier, nothing, train
from ._forms import FILTERED, in_form, names_of_maps
from ._option_values import at_least
from ._registry import modifier


def last(graph: Graph, code: str | None, trained: bool) -> list[Layer]:
    """The last K convolutions of maps. trained: of those whose weight trains. Raises CostmodelError for a bad K."""
    nodes = {node.name: node for node in graph.nodes}
    maps = names_of_maps(graph)
    found = [
        layer
        for layer in layers_of(graph)
        if any(isinstance(nodes[name].op, Conv2d) and name in maps for name in layer.nodes)
        and (not trained or any("weight" in nodes[name].trains for name in layer.nodes))
    ]
    which = " whose weight trains" if trained else ""
    if not found:
        raise CostmodelError(f"found no convolution of two-dimensional maps{which}; allowed: networks with some")
    if code is None or not re.fullmatch("[0-9]{1,9}", code) or not 1 <= int(code) <= len(found):
        told = f"convolutions of two-dimensional maps{which}"
        raise CostmodelError(f"found {code or 'no'} convolutions; allowed: 1 to {len(found)}, the {told}")
    return found[-int(code) :]


def last_convolutions(graph: Graph, code: str | None) -> Graph:
    """The graph in which the last K convolutions, their norms and the classifier train, on frozen statistics."""
    names = {name for layer in last(graph, code, trained=False) for name in layer.nodes | layer.norms}
    in_head = in_classifier(graph)

    def trains(node: Node) -> frozenset[str]:
        return everything(node) if node.name in names or in_head(node) else nothing(node)

    return freeze_statistics(train(graph, trains))


@modifier(
    "gradfilter",
    "the last K convolutions compute gradients on patches of r x r pixels; alone, they and the classifier train"
    " (Gradient Filter)",
    alone=last_convolutions,
    options={"r": at_least(1, "the pixels of a patch's side")},
    takes="K",
    of_classifiers=True,
)
def gradfilter(graph: Graph, code: str | None, r: int = 2) -> Graph:
    names = {name for layer in last(graph, code, trained=True) for name in layer.nodes}
    return in_form(graph, FILTERED, names, r=r)
