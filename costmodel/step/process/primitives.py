"""The convolutions that oneDNN compiles code for: each distinct one keeps a primitive in its cache."""

from __future__ import annotations

from ...ops.conv import Convolution
from .priced import Priced


def primitives(estimate: Priced) -> tuple[int, int]:
    """Numbers of distinct convolutions in the forward and in the backward pass, one for each gradient but a bias's."""
    graph = estimate.graph
    forward: set[tuple] = set()
    backward: set[tuple] = set()
    for node, reads, demanded, y in zip(graph.nodes, graph.reads, graph.demanded, estimate.shapes[1:]):
        if isinstance(node.op, Convolution):
            call = (node.op, y, *(estimate.shapes[v] for v in reads))
            forward.add(call)
            backward.update((*call, gradient) for gradient in demanded if gradient != "bias")
    return len(forward), len(backward)
