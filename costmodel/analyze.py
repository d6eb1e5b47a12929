"""The only walker: it reads a strategy's graph once and prices it. Nothing is run."""

from __future__ import annotations

from typing import List, Tuple

from . import convention as conventions_
from . import conventions, optimizer as optimizers, strategies, strategy as strategies_  # noqa: F401
from .convention import Kept
from .errors import CostmodelError
from .estimates import Estimate, NodeWork
from .graph import Graph
from .network import Network
from .size import LARGEST, Shape, nbytes, numel

BITS = 32  # of the network's data type


def analyze(
    network: Network, strategy: str, batch: int, resolution: int, convention: str, optimizer: str
) -> Estimate:
    """The cost of one step: shapes, then what is kept, then the work. Raises CostmodelError for a bad request."""
    chosen = conventions_.find(convention)
    chosen_optimizer = optimizers.find(optimizer)
    try:
        graph = strategies_.apply(strategy, network.graph)
    except CostmodelError as error:
        raise CostmodelError(f"{network.name}: {error}") from None
    try:
        shapes = shapes_of(graph, (batch, network.channels, resolution, resolution))
    except CostmodelError as error:
        raise CostmodelError(f"{network.name}, batch {batch}, resolution {resolution}: {error}") from None
    kept = chosen.kept(graph)
    kept_shapes, kept_bytes = price(graph, kept, shapes)
    result = Estimate(
        network=network.name,
        strategy=strategy,
        convention=convention,
        optimizer=chosen_optimizer,
        batch=batch,
        graph=graph,
        shapes=shapes,
        kept=kept,
        kept_shapes=kept_shapes,
        kept_bytes=kept_bytes,
        work=work_of(graph, shapes),
    )
    if max(result.flops["total"], result.flops["elementwise_forward"], result.saved_bytes) > LARGEST:
        raise CostmodelError(f"{network.name}, batch {batch}, resolution {resolution}: the cost exceeds 64 bits")
    return result


def shapes_of(graph: Graph, images: Shape) -> Tuple[Shape, ...]:
    """The shape of every value, for a batch of images (N, C, H, W). Raises CostmodelError naming the node."""
    shapes: List[Shape] = [images]
    try:
        for node, reads in zip(graph.nodes, graph.reads):
            shapes.append(node.op.shape(*[shapes[v] for v in reads]))
    except CostmodelError as error:
        raise CostmodelError(f"node {node.name!r} ({node.op.kind}): {error}") from None
    return tuple(shapes)


def price(graph: Graph, kept: Tuple[Kept, ...], shapes: Tuple[Shape, ...]) -> Tuple[tuple, tuple]:
    """Shapes and bytes of what is kept."""
    found, sizes = [], []
    extras_of, extras = -1, {}
    for node, operand, value, _ in kept:
        if value is not None:
            shape, bits = shapes[value], BITS
        else:
            if node != extras_of:
                extras_of, extras = node, graph.nodes[node].op.extras(*[shapes[v] for v in graph.reads[node]])
            shape, bits = extras[operand]
        found.append(shape)
        sizes.append(nbytes(numel(shape), bits or BITS))
    return tuple(found), tuple(sizes)


def work_of(graph: Graph, shapes: Tuple[Shape, ...]) -> Tuple[NodeWork, ...]:
    """The arithmetic of every node: its forward pass, and the gradients that are demanded."""
    works = []
    for i, (node, reads, demanded) in enumerate(zip(graph.nodes, graph.reads, graph.demanded)):
        op = node.op
        work = op.work(shapes[i + 1], *[shapes[v] for v in reads])
        inputs = weights = elementwise = 0
        for gradient in demanded:
            macs, operations = work[gradient]
            elementwise += operations
            if gradient in op.inputs:
                inputs += macs
            else:
                weights += macs
        macs, operations = work["forward"]
        works.append(NodeWork(macs, inputs, weights, operations, elementwise))
    return tuple(works)
