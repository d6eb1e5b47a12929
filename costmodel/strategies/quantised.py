"""`quantised[,bits=4]`: layers keep their input rounded at random to a few bits. Alone, everything trains.

Convolutions, linear layers, batch norms of images, h-swish, SiLU and GELU; other activations keep a bit per number.
"""

from __future__ import annotations

from dataclasses import replace

from ..graph.graph import Graph, Node
from ..ops.activation import GELU, Hardswish, SiLU
from ..ops.conv import Conv2d
from ..ops.forms.quantised import BITS, QuantisedActivation, QuantisedBatchNorm, QuantisedConv2d, QuantisedLinear
from ..ops.lean import as_op
from ..ops.linear import Linear
from ..ops.norm import BatchNorm
from ._forms import in_form
from ._registry import modifier
from .full import full


def bits_of(text: str) -> int:
    """Parser of `bits`."""
    if text not in map(str, BITS):
        raise ValueError(", ".join(map(str, BITS)))
    return int(text)


@modifier(
    "quantised",
    "layers keep their input rounded at random to a few bits a number; alone, everything trains",
    alone=full,
    options={"bits": bits_of},
)
def quantised(graph: Graph, bits: int = 4) -> Graph:
    """bits: of a number. Norms and activations that would keep their input are in the form, too."""
    found = in_form(graph, {Conv2d: QuantisedConv2d, Linear: QuantisedLinear}, quantised_bits=bits)
    nodes = zip(found.nodes, found.demanded)
    return replace(found, nodes=tuple(rounded(node, demanded, bits) for node, demanded in nodes))


def rounded(node: Node, demanded: tuple[str, ...], bits: int) -> Node:
    """A norm or an activation in the form, if it would keep its input."""
    op = node.op
    if type(op) is BatchNorm and op.is_plain and demanded and (op.statistics == "batch" or "weight" in demanded):
        return replace(node, op=as_op(QuantisedBatchNorm, op, quantised_bits=bits))
    if isinstance(op, (Hardswish, SiLU, GELU)) and demanded and not op.signed:
        approximate = getattr(op, "approximate", "none")
        return replace(node, op=QuantisedActivation(bits, op.kind, approximate))
    return node
