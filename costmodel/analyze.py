"""The only walker: it reads a strategy's graph once and prices it. Nothing is run."""

from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np

from . import branches, convention as conventions_
from . import conventions, strategies, strategy as strategies_, timeline  # noqa: F401
from .convention import Elementwise, Kept
from .errors import CostmodelError
from .estimates import Estimate, Memory, NodeWork, Request
from .graph import Graph
from .network import Network
from .size import LARGEST, Shape, nbytes, numel
from .target import Setting

def analyze(network: Network, request: Request) -> Estimate:
    """The cost of one step: shapes, then what is kept, then work and memory. Raises CostmodelError for a bad request."""
    chosen = conventions_.find(request.convention)
    try:
        graph = chosen.lower(strategies_.apply(request.strategy, network.graph))
    except CostmodelError as error:
        raise CostmodelError(f"{network.name}: {error}") from None
    where = f"{network.name}, batch {request.batch}, resolution {request.resolution}"
    try:
        shapes = shapes_of(graph, (request.batch, network.channels, request.resolution, request.resolution))
    except CostmodelError as error:
        raise CostmodelError(f"{where}: {error}{branches.advice(str(error))}") from None
    kept = chosen.kept(graph)
    kept_shapes, kept_bytes = price(graph, kept, shapes, request.dtype.bits)
    work = work_of(graph, shapes, chosen.elementwise)
    if max(*map(sum, zip(*work)), sum(kept_bytes)) > LARGEST // 16:
        raise CostmodelError(f"{where}: the cost exceeds 64 bits")
    memory = memory_of(graph, kept, kept_bytes, shapes, request) if chosen.measurable else None
    return Estimate(network.name, request, graph, shapes, kept, kept_shapes, kept_bytes, work, memory)


def shapes_of(graph: Graph, images: Shape) -> Tuple[Shape, ...]:
    """The shape of every value, for a batch of images (N, C, H, W). Raises CostmodelError naming the node."""
    shapes: List[Shape] = [images]
    try:
        for node, reads in zip(graph.nodes, graph.reads):
            shapes.append(node.op.shape(*[shapes[v] for v in reads]))
    except CostmodelError as error:
        raise CostmodelError(f"node {node.name!r} ({node.op.kind}): {error}") from None
    return tuple(shapes)


def price(graph: Graph, kept: Tuple[Kept, ...], shapes: Tuple[Shape, ...], item_bits: int) -> Tuple[tuple, tuple]:
    """Shapes and bytes of what is kept; `item_bits` are those of the network's data type."""
    found, sizes = [], []
    extras_of, extras = -1, {}
    for node, operand, value, _ in kept:
        if value is not None:
            shape, bits = shapes[value], item_bits
        else:
            if node != extras_of:
                extras_of, extras = node, graph.nodes[node].op.extras(*[shapes[v] for v in graph.reads[node]])
            shape, bits = extras[operand]
        found.append(shape)
        sizes.append(nbytes(numel(shape), bits or item_bits))
    return tuple(found), tuple(sizes)


def work_of(
    graph: Graph, shapes: Tuple[Shape, ...], counted: Optional[Elementwise] = None
) -> Tuple[NodeWork, ...]:
    """The arithmetic of every node: its forward pass, and the gradients that are demanded.

    counted: a convention's own elementwise work.
    """
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
        own = counted(node, shapes[i + 1], demanded) if counted else None
        works.append(NodeWork(macs, inputs, weights, *(own or (operations, elementwise))))
    return tuple(works)


def memory_of(
    graph: Graph, kept: Tuple[Kept, ...], kept_bytes: tuple, shapes: Tuple[Shape, ...], request: Request
) -> Memory:
    """The timeline of the step and the size of each of its storages."""
    item = request.dtype.bits // 8
    prefix, images = graph.prefix, -(-request.batch // graph.prefix_slices)
    sliced = bool(prefix) and images < request.batch
    part = shapes_of(graph, (images, *shapes[0][1:])) if sliced else shapes
    forward, backward, epilogue, joins = [], [], [], []
    for i, (node, reads, demanded) in enumerate(zip(graph.nodes, graph.reads, graph.demanded)):
        here = part if i < prefix else shapes
        xs, y = [here[v] for v in reads], here[i + 1]
        setting = Setting(request.target, item, bool(demanded), demanded)
        first, second = node.op.transients(setting, y, *xs)
        forward.append(first)
        backward.append(second)
        epilogue.append(node.op.epilogue(setting, y, *xs))
        if node.op.broadcasts:
            joins += [(i, name) for name, x in zip(node.op.inputs, xs) if x != y]
    compiled = timeline.compile(graph, kept, request.optimizer, request.accumulate > 1, frozenset(joins), sliced)
    trained = [item * numel(shape) for shape, trains in graph.parameters.values() if trains]
    scalar = Setting(request.target, item, True, ()).scalar
    values = [item * numel(shape) for shape in (*part[: prefix + 1], *shapes[prefix + 1 :])]
    whole = item * numel(shapes[prefix])
    slots = [*values, *kept_bytes, *trained, *forward, *backward, *epilogue, item, scalar, whole]
    sizes = np.array(slots, dtype=np.int64)
    block = request.target.block_bytes
    return Memory(compiled, -(-sizes // block) * block)
