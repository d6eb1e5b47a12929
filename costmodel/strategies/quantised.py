"""`quantised[,bits=4]`: layers keep their input rounded at random to a few bits. Alone, everything trains."""

from __future__ import annotations

from ..graph.graph import Graph
from ..ops.conv import Conv2d
from ..ops.forms.quantised import BITS, QuantisedConv2d, QuantisedLinear
from ..ops.linear import Linear
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
    return in_form(graph, {Conv2d: QuantisedConv2d, Linear: QuantisedLinear}, quantised_bits=bits)
