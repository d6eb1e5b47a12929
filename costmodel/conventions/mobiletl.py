"""`mobiletl`: as MobileTL's authors count (Chiang et al., AAAI 2023). All of it is inferred from figures.

What is saved, layer by layer where a gradient passes through (an input that two layers save counts twice):
- A convolution, linear layer or norm saves its input if its weight trains, and no statistics.
- ReLU saves a bit per element, ReLU6 two (below 0, between, above 6: the one-block figure fits no other width), every
  activation under MobileTL's approximation one. H-swish and squeeze-and-excite's hard sigmoid save their input.
- Squeeze-and-excite's product saves the map that it scales. Dropout and pooling save nothing.

`peak` is the peak in the ProxylessNAS figure: the bytes of the parameters, and the larger of two terms. One is TinyTL's
forward peak of the layers alone (see tinytl.py). The other is what is saved, here with a bit per element of ReLU6 too,
and the widest trained layer's weight gradient, once for each image. This gives the figure's eight bars of 1 to 4 blocks
within 0.25 MB; nothing else says that the authors count so.

FLOPs: the elementwise work of this package's ops, except for norms with batch statistics and for h-swish. Their terms
are fitted to the 8 bars of the FLOPs figure.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..graph.graph import Graph, Node
from ..ops.activation import Activation, Hardswish
from ..ops.norm import BatchNorm
from ..sizes.size import Shape, Size, maximum, nbytes, numel
from ._kept import Kept, Read, value_of
from ._registry import Counted, convention
from .tinytl import forward_peak, parameter_bytes, reads_of_weight

#: Operations per element, forward and backward.
NORM = (5, 15)
HARDSWISH = (7, 9)


def memory(
    graph: Graph, shapes: tuple[Shape, ...], kept: tuple[Kept, ...], sizes: tuple[Size, ...], item: int
) -> dict[str, Size]:
    """`peak`, the training memory of the ProxylessNAS figure, and the parameters in it; in bytes."""
    saved: Size = 0
    for one, size in zip(kept, sizes):
        by_bits = graph.nodes[one.node].op.kind == "relu6" and one.operand == "sides"
        saved = saved + (nbytes(numel(shapes[one.node + 1]), 1) if by_bits else size)
    weights = (numel(node.op.params()["weight"]) for node in graph.nodes if "weight" in node.trains)
    widest = item * max(weights, default=0) * shapes[0][0]
    parameters, highest = parameter_bytes(graph, item), maximum(forward_peak(graph, shapes, {}, item), saved + widest)
    return {"parameters": parameters, "peak": parameters + highest}


def work(node: Node, y: Shape, xs: tuple[Shape, ...], demanded: tuple[str, ...]) -> Counted | None:
    """Operations of a node, forward and backward; None to take the op's own."""
    op = node.op
    if isinstance(op, BatchNorm) and op.statistics == "batch":
        forward, backward = NORM
    elif isinstance(op, Hardswish) and not op.signed:
        forward, backward = HARDSWISH
    else:
        return None
    return Counted(forward * numel(y), backward * numel(y) if demanded else 0)


@convention("mobiletl", "MobileTL's own arithmetic, inferred from its figures", memory=memory, work=work)
def mobiletl(graph: Graph) -> Iterator[Read]:
    for i, (node, demanded) in enumerate(zip(graph.nodes, graph.demanded)):
        op = node.op
        if "weight" in node.trains:
            yield from (Read(i, operand, ("weight",)) for operand in reads_of_weight(node.op))
        elif "x" in demanded and isinstance(op, Activation):
            exact = {"relu": "mask", "relu6": "sides"}.get(op.kind, "x")
            yield Read(i, "mask" if op.signed else exact, ("x",))
        elif demanded and op.kind == "mul":
            yield Read(i, _scaled(graph, i), ("a", "b"))


def _scaled(graph: Graph, i: int) -> str:
    """Name of a product's operand that is the map: the operand that no gate makes."""
    a = value_of(graph, i, "a")
    return "b" if a and isinstance(graph.nodes[a - 1].op, Activation) and graph.nodes[a - 1].op.kind in GATES else "a"


GATES = ("hardsigmoid", "sigmoid")
