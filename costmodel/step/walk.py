"""The only walker: it reads a strategy's graph once and prices it, without running anything."""

from __future__ import annotations

from functools import partial
from types import NoneType

from ..conventions import Kept, OwnWork, find
from ..errors import CostmodelError
from ..graph.aspects.formula import OF_PARAMETERS
from ..graph.checkpointing import RNG_STATE, STATE, Rerun, reruns
from ..graph.graph import Graph
from ..graph.inputs import at_resolution, sides_of
from ..graph.memory_formats import in_one_format
from ..graph.network import Network
from ..graph.op import Extra
from ..ops.lean_folded import STRETCH_DTYPE
from ..sizes.size import LARGEST, Shape
from ..strategies import STRATEGIES, apply, read
from .arithmetic import NodeWork
from .autocast import FULL, Undescribed, autocast
from .estimate import Estimate
from .memo import Formulas
from .memory import memory_of
from .request import Request
from .shapes import DoesNotFit, Misfit, shapes_of, stored


def analyze(network: Network, request: Request, formulas: Formulas = Formulas()) -> Estimate:
    """The cost of one step: shapes, then what is kept, then work and memory.

    The request's batch and resolution are ints, or arrays over a grid (batch (1, B), resolution (R, 1)); the batch may
    also be a line. All sizes of the result are then of the same kind. formulas: evaluates the ops' formulas. Raises
    CostmodelError for a bad request, and Uneven if the order of events is not the same in a whole grid. For a grid the
    caller must make sure that its largest corner fits into 64 bits.
    """
    chosen = find(request.convention)
    if network.untraceable:
        raise CostmodelError(f"{network.name}: {network.untraceable}")
    try:
        text = read(request.strategy, network.graph)
        graph = in_its_formats(chosen.lower(apply(text, network.graph, request.loss)), request)
        graph = autocast(graph, request.amp) if request.amp else graph
        refuse_wider(graph, request)
        graph = graph.on_gpu if request.target.device == "cuda" else graph
    except Undescribed as error:
        raise Undescribed(f"{network.name}: {error}") from None
    except CostmodelError as error:
        raise CostmodelError(f"{network.name}: {error}") from None
    batch, side = request.batch, request.resolution
    single = isinstance(batch, int) and all(isinstance(size, (int, NoneType)) for size in sides_of(side))
    at = f"resolution {side}" if side is not None else f"inputs {', '.join(map(str, network.inputs))}"
    where = f"{network.name}, batch {batch}, {at}" if single else network.name
    try:
        shapes = shapes_of(graph, formulas.images(batch, at_resolution(network.inputs[0].shape, side)), formulas)
    except Misfit as error:
        raise DoesNotFit(f"{where}: {error}{STRATEGIES[text.name].advice(error.node)}") from None
    kept = chosen.kept(graph)
    kept_shapes, kept_bytes = price(graph, kept, shapes, request.dtype.bits, formulas)
    again = reruns(graph, chosen.measurable)
    work = partial(work_of, graph, shapes, again, chosen.work, formulas)
    memory = partial(memory_of, graph, kept, kept_bytes, shapes, request, formulas) if chosen.measurable else None
    first = sum(one.is_saved for one in kept)
    kept, kept_shapes, kept_bytes = kept[:first], kept_shapes[:first], kept_bytes[:first]
    count = chosen.memory
    own = partial(count, graph, shapes, kept, kept_bytes, request.dtype.bits // 8) if count else None
    notes = (*network.notes, *STRATEGIES[text.name].notes(graph))
    if graph.has_loss and graph.flagged and not graph.wants_gradient[-1]:
        notes += ("Nothing that the loss depends on trains: the backward pass of a real step ends in an error.",)
    inputs = network.inputs
    estimate = Estimate(
        network.name, request, graph, inputs, shapes, kept, kept_shapes, kept_bytes, work, memory, own, notes, formulas
    )
    if single and max(*map(sum, zip(*estimate.work)), sum(kept_bytes)) > LARGEST // 16:
        raise CostmodelError(f"{where}: the cost exceeds 64 bits")
    return estimate


def refuse_wider(graph: Graph, request: Request) -> None:
    """Raise Undescribed for an op that computes in more bits than the network has."""
    wider = next((node for node in graph.nodes if node.op.widens), None) if request.dtype.bits < FULL.bits else None
    if wider is not None:
        raise Undescribed(
            f"node {wider.name!r}: of {request.dtype.name} torch computes {wider.op.kind} in float32, and what it keeps"
            " for that the layer graph does not describe"
        )


def in_its_formats(graph: Graph, request: Request) -> Graph:
    """The graph, with frozen maps in channels_last if those of a contiguous network are in a step of this request."""
    target = request.target
    contiguous = target.own_kernels is not None and not target.channels_last
    return graph if contiguous and request.dtype.name == STRETCH_DTYPE and not request.amp else in_one_format(graph)


def price(
    graph: Graph, kept: tuple[Kept, ...], shapes: tuple[Shape, ...], item_bits: int, formulas: Formulas = Formulas()
) -> tuple[tuple, tuple]:
    """Shapes and bytes of what is kept. item_bits: bits of a number of the network's data type."""
    found, sizes = [], []
    extras_of = -1
    extras: dict[str, Extra] = {}
    for one in kept:
        node, operand, value = one.node, one.operand, one.value
        if value is not None:
            shape, bits = stored(graph, shapes, value, formulas), graph.bits[value]
        elif operand == RNG_STATE:
            shape, bits = STATE.shape, STATE.bits or 0
        else:
            if node != extras_of:
                extras_of, extras = node, formulas.extras(graph.nodes[node].op, *[shapes[v] for v in graph.reads[node]])
            shape, own = extras[operand]
            bits = graph.kernel_bits[node] if own is None else item_bits if own == OF_PARAMETERS else own
        found.append(shape)
        sizes.append(formulas.nbytes(shape, bits or item_bits))
    return tuple(found), tuple(sizes)


def work_of(
    graph: Graph,
    shapes: tuple[Shape, ...],
    again: tuple[Rerun, ...] = (),
    counted: OwnWork | None = None,
    formulas: Formulas = Formulas(),
) -> tuple[NodeWork, ...]:
    """The arithmetic of every node, in its forward pass and in its demanded gradients.

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
            if gradient in op.inputs and gradient not in op.given:
                inputs += macs
            else:
                weights += macs
        macs, operations = work["forward"]
        made_again = op.work_again(shapes[i + 1], *[shapes[v] for v in reads]) if demanded else 0
        runs_again = node.name in graph.dropped
        made_again += op.work_on_input(shapes[i + 1], *[shapes[v] for v in reads]) if runs_again else 0
        own = counted(node, shapes[i + 1], tuple(shapes[v] for v in reads), demanded) if counted else None
        if own:
            operations, elementwise = own.forward, own.backward
            inputs, weights = (0, 0) if own.has_products else (inputs, weights)
        if i in twice:
            done_again = made_again + operations
            again_macs = macs * (1 + runs_again)
            works.append(NodeWork(macs, inputs, weights, again_macs, operations, elementwise + done_again, done_again))
        else:
            again_macs = macs * runs_again
            works.append(NodeWork(macs, inputs, weights, again_macs, operations, elementwise + made_again, made_again))
    return tuple(works)
