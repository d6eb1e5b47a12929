"""`sparse`: biases of the last convolutions and weights of chosen ones train (MCUNetV3: Lin et al., NeurIPS 2022).

`sparse,bias=N,weights=I:Q/I:Q` trains the biases of the last N convolutions (the shifts of the norms after them, which
a deployed network has in its biases), of convolution I the weights of the share Q of its input channels, and the
classifier, on frozen statistics. `sparse:SCHEME` takes a scheme of specs/schemes, or of your own .yaml file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..ops.conv import Conv2d
from ..ops.forms.sliced import SlicedConv2d
from ..ops.layers_in_order import Layer, layers_of
from ._edits import biases, everything, freeze_statistics, in_classifier, nothing, train
from ._forms import formed
from ._option_values import at_least
from ._registry import strategy
from ._scheme import Scheme, read, shares


@strategy(
    "sparse",
    "biases of the last convolutions, and weights of some input channels of chosen ones, train (MCUNetV3)",
    options={"bias": at_least(0, "the number of the last convolutions whose bias trains"), "weights": shares},
    code="SCHEME",
    of_classifiers=True,
)
def sparse(
    graph: Graph, code: str | None, bias: int | None = None, weights: Mapping[int, float] | None = None
) -> Graph:
    """code: a scheme. bias, weights: the same as options. Raises CostmodelError for both or neither."""
    if (code is None) == (bias is None and weights is None):
        raise CostmodelError("found a scheme and options, or neither; allowed: sparse:SCHEME, or bias=N and weights=")
    scheme = read(code) if code is not None else Scheme(bias or 0, weights or {})
    layers = convolutions(graph)
    if scheme.convolutions not in (None, len(layers)):
        raise CostmodelError(
            f"{code} is for {scheme.convolutions} convolutions; allowed: {len(layers)}, this network's"
        )
    if scheme.bias > len(layers):
        count = f"{len(layers)}, the network's convolutions of two-dimensional maps"
        raise CostmodelError(f"bias is {scheme.bias}; allowed: 0 to {count}")
    missing = [index for index in scheme.weights if index >= len(layers)]
    if missing:
        raise CostmodelError(f"weights has convolution {missing[0]}; allowed: 0 to {len(layers) - 1}, in forward order")
    shifted = {name for layer in layers[len(layers) - scheme.bias :] for name in layer.nodes | layer.norms}
    share = {name: q for index, q in scheme.weights.items() for name in layers[index].nodes}
    in_head = in_classifier(graph)

    def trains(node: Node) -> frozenset[str]:
        if in_head(node):
            return everything(node)
        own = biases(node) if node.name in shifted else nothing(node)
        return own | {"weight"} if node.name in share else own

    def in_slices(node: Node) -> Node:
        if share.get(node.name, 1) == 1:
            return node
        return replace(node, op=formed(node, {Conv2d: SlicedConv2d}, {"ratio": share[node.name]}))

    return freeze_statistics(train(graph, trains)).map(in_slices)


def convolutions(graph: Graph) -> list[Layer]:
    """The convolutions, in forward order."""
    kinds = {node.name: node.op for node in graph.nodes}
    return [layer for layer in layers_of(graph) if any(isinstance(kinds[name], Conv2d) for name in layer.nodes)]
