"""`quantised[,bits=4]`: layers keep their input rounded at random to a few bits. Alone, everything trains.

Convolutions, linear layers, batch norms of images, h-swish, SiLU and GELU; other activations keep a bit per number.
"""

from __future__ import annotations

from dataclasses import replace

from ..graph.graph import Graph, Node
from ..ops.forms.quantised import BITS
from ._forms import ROUNDED, in_form, rounded
from ._option_values import one_of
from ._registry import modifier
from .full import full


@modifier(
    "quantised",
    "layers keep their input rounded at random to a few bits a number; alone, everything trains",
    alone=full,
    options={"bits": one_of(*BITS)},
)
def quantised(graph: Graph, bits: int = 4) -> Graph:
    """bits: of a number. Norms and activations that would keep their input are in the form, too."""
    found = in_form(graph, ROUNDED, quantised_bits=bits)
    nodes = [
        rounded(node, bits) if keeps_input(node, demanded) else node
        for node, demanded in zip(found.nodes, found.demanded)
    ]
    return replace(found, nodes=tuple(nodes))


def keeps_input(node: Node, demanded: tuple[str, ...]) -> bool:
    """Whether a norm or an activation would keep its input. demanded: its gradients."""
    return bool(demanded) and (getattr(node.op, "statistics", "batch") == "batch" or "weight" in demanded)
