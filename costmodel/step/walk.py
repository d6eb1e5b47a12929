"""The only walker: it reads a strategy's graph once and prices it. Nothing is run."""

from __future__ import annotations

from functools import partial

from ..conventions import Elementwise, Kept, find
from ..errors import CostmodelError
from ..graph.checkpointing import RNG_STATE, STATE, Rerun, reruns
from ..graph.graph import Graph, Node
from ..graph.memory_formats import layouts_of
from ..graph.network import Network
from ..graph.op import Extra
from ..sizes.size import LARGEST, Shape, same, uniform
from ..strategies import STRATEGIES, apply, read
from ..targets.setting import Setting
from .estimate import Estimate, Memory, NodeWork
from .highest import stack
from .memo import Formulas
from .request import Request
from .timeline import Moves, compile


def analyze(network: Network, request: Request, formulas: Formulas = Formulas()) -> Estimate:
    """The cost of one step: shapes, then what is kept, then work and memory.

    The request's batch and resolution are ints, or arrays over a grid (batch (1, B), resolution (R, 1)), the batch also
    a line: so are all sizes then. formulas: evaluates those of the ops. Raises CostmodelError for a bad request, and
    Uneven where the course of the step is not the same in a whole grid. Of a grid the caller must know that its largest
    corner fits into 64 bits.
    """
    chosen = find(request.convention)
    try:
        text = read(request.strategy, network.graph)
        graph = chosen.lower(apply(text, network.graph))
    except CostmodelError as error:
        raise CostmodelError(f"{network.name}: {error}") from None
    batch, side = request.batch, request.resolution
    single = isinstance(batch, int) and isinstance(side, int)
    where = f"{network.name}, batch {batch}, resolution {side}" if single else network.name
    try:
        shapes = shapes_of(graph, formulas.images(batch, network.channels, side), formulas)
    except Misfit as error:
        raise CostmodelError(f"{where}: {error}{STRATEGIES[text.name].advice(error.node)}") from None
    kept = chosen.kept(graph)
    kept_shapes, kept_bytes = price(graph, kept, shapes, request.dtype.bits, formulas)
    again = reruns(graph, chosen.measurable)
    work = partial(work_of, graph, shapes, again, chosen.elementwise, formulas)
    memory = partial(memory_of, graph, kept, kept_bytes, shapes, request, formulas) if chosen.measurable else None
    first = sum(one.rerun is None for one in kept)  # the others are made anew in the backward pass
    kept, kept_shapes, kept_bytes = kept[:first], kept_shapes[:first], kept_bytes[:first]
    count = chosen.memory
    own = partial(count, graph, shapes, kept, kept_bytes, request.dtype.bits // 8) if count else None
    notes = tuple(STRATEGIES[text.name].notes(graph))
    estimate = Estimate(network.name, request, graph, shapes, kept, kept_shapes, kept_bytes, work, memory, own, notes)
    if single and max(*map(sum, zip(*estimate.work)), sum(kept_bytes)) > LARGEST // 16:
        raise CostmodelError(f"{where}: the cost exceeds 64 bits")
    return estimate


class Misfit(CostmodelError):
    """An op does not take the shapes that it is given. node: whose op."""

    def __init__(self, node: Node, error: CostmodelError) -> None:
        super().__init__(f"node {node.name!r} ({node.op.kind}): {error}")
        self.node = node


def shapes_of(
    graph: Graph, images: Shape, formulas: Formulas = Formulas(), nodes: int | None = None
) -> tuple[Shape, ...]:
    """The shape of every value, for a batch of images (N, C, H, W). Raises Misfit, which names the node.

    nodes: only those of so many nodes.
    """
    shapes: list[Shape] = [images]
    try:
        for node, reads in zip(graph.nodes[:nodes], graph.reads):
            shapes.append(formulas.shape(node.op, *[shapes[v] for v in reads]))
    except CostmodelError as error:
        raise Misfit(node, error) from None
    return tuple(shapes)


def price(
    graph: Graph, kept: tuple[Kept, ...], shapes: tuple[Shape, ...], item_bits: int, formulas: Formulas = Formulas()
) -> tuple[tuple, tuple]:
    """Shapes and bytes of what is kept; `item_bits` are those of the network's data type."""
    found, sizes = [], []
    extras_of = -1
    bits: int | None
    extras: dict[str, Extra] = {}
    for one in kept:
        node, operand, value = one.node, one.operand, one.value
        if value is not None:
            shape, bits = shapes[value], graph.bits[value]
        elif operand == RNG_STATE:
            shape, bits = STATE
        else:
            if node != extras_of:
                extras_of, extras = node, formulas.extras(graph.nodes[node].op, *[shapes[v] for v in graph.reads[node]])
            shape, bits = extras[operand]
        found.append(shape)
        sizes.append(formulas.nbytes(shape, bits or item_bits))
    return tuple(found), tuple(sizes)


def work_of(
    graph: Graph,
    shapes: tuple[Shape, ...],
    again: tuple[Rerun, ...] = (),
    counted: Elementwise | None = None,
    formulas: Formulas = Formulas(),
) -> tuple[NodeWork, ...]:
    """The arithmetic of every node: its forward pass, and the gradients that are demanded.

    again: the reruns. counted: a convention's own elementwise work.
    """
    works = []
    twice = {i for rerun in again for i in rerun.again}
    for i, (node, reads, demanded) in enumerate(zip(graph.nodes, graph.reads, graph.demanded)):
        op = node.op
        work = formulas.work(op, shapes[i + 1], *[shapes[v] for v in reads])
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
        operations, elementwise = own or (operations, elementwise)
        if i in twice:
            works.append(NodeWork(macs, inputs, weights, macs, operations, elementwise + operations))
        else:
            works.append(NodeWork(macs, inputs, weights, 0, operations, elementwise))
    return tuple(works)


def broadcast_inputs(graph: Graph, shapes: tuple[Shape, ...]) -> frozenset[tuple[int, str]]:
    """(node, input) of all inputs that are smaller than the output."""
    return frozenset(
        (i, name)
        for i, (node, reads) in enumerate(zip(graph.nodes, graph.reads))
        if node.op.broadcasts
        for name, v in zip(node.op.inputs, reads)
        if not same(shapes[v], shapes[i + 1])
    )


def memory_of(
    graph: Graph,
    kept: tuple[Kept, ...],
    kept_bytes: tuple,
    shapes: tuple[Shape, ...],
    request: Request,
    formulas: Formulas = Formulas(),
) -> Memory:
    """The timeline of the step and the size of each of its storages."""
    bits, target = request.dtype.bits, request.target
    item = bits // 8
    prefix, images = graph.prefix, -(-request.batch // graph.prefix_slices)
    sliced = bool(prefix) and uniform(images < request.batch)
    part = shapes_of(graph, formulas.images(images, *shapes[0][1:3]), formulas, prefix) if sliced else shapes
    joins = broadcast_inputs(graph, shapes)
    layouts = None if target.channels_last else layouts_of(graph, tuple(map(len, shapes)), joins)
    scratches, recast, copied = [], [], []
    for i, (node, reads, demanded) in enumerate(zip(graph.nodes, graph.reads, graph.demanded)):
        here = part if i < prefix else shapes
        xs, y = [here[v] for v in reads], here[i + 1]
        setting = Setting(target, item, bool(demanded), demanded, *(layouts.around(i, reads) if layouts else ()))
        scratches.append(formulas.scratch(node.op, setting, y, *xs))
        if demanded and setting.layouts:
            recast += [(i, name) for name in node.op.recast(setting)]
            if setting.gradient and uniform(node.op.copies_gradient(setting.gradient, y)):
                copied.append(i)
    moves = Moves(joins, frozenset(recast), frozenset(copied))
    compiled = compile(graph, kept, request.optimizer, request.accumulate > 1, moves, sliced)
    trained = [formulas.nbytes(shape, bits) for shape, trains in graph.parameters.values() if trains]
    number = Setting(target, item, True, ()).python_number
    of_values = zip((*part[: prefix + 1], *shapes[prefix + 1 :]), graph.bits)
    values = [formulas.nbytes(shape, own or bits) for shape, own in of_values]
    whole = formulas.nbytes(shapes[prefix], bits)
    stopped = []
    for rerun in reruns(graph):
        if rerun.whole:  # the dispatcher never sees the output of an op that is left while it runs
            stopped.append(values[rerun.last + 1] if target.counts_unseen else 0)
        else:
            stopped.append(scratches[rerun.last].stopped)
    forward, backward, after, _ = zip(*scratches)
    sizes = compiled.slots.filled(
        {
            "values": values,
            "kept": kept_bytes,
            "parameters": trained,
            "forward": forward,
            "backward": backward,
            "after": after,
            "stopped": stopped,
            "item": [item],
            "number": [number],
            "whole": [whole],
        }
    )
    return Memory(compiled, stack(sizes, target))
