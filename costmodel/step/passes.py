"""What a step asks of a device: the passes over maps that its layers make, each with its arithmetic and its bytes.

A forward pass reads the inputs and parameters and writes the output. A layer with matrix work makes a pass for the
gradient of its inputs and one for that of its parameters, each of which reads and writes as much; another layer makes
one pass back, which reads the output's gradient and what it kept, and writes the input's. Views make none.
"""

from __future__ import annotations

from typing import NamedTuple

from ..conventions import find
from ..devices.kinds import AGAIN, BACKWARD, FORWARD, INPUT, UPDATE, WEIGHT
from ..graph.checkpointing import reruns
from ..graph.graph import Graph
from ..graph.op import Result
from ..sizes.size import Shape, Size, nbytes, numel
from .memo import Formulas
from .request import Request

#: The kind of kernels that makes a norm's result again, with its statistics known.
MAKES_AGAIN = "frozen_norm"


class Pass(NamedTuple):
    """One pass of a node over its maps. node: its number, -1 for the optimizer. kernels: their kind (Op.timed_as)."""

    node: int
    name: str
    kernels: str
    macs: Size
    nbytes: Size


def passes_of(graph: Graph, shapes: tuple[Shape, ...], request: Request, formulas: Formulas = Formulas()) -> list[Pass]:
    """The passes of a step, in the order of the nodes. shapes: of each value."""
    found: list[Pass] = []
    again = {i for rerun in reruns(graph, find(request.convention).measurable) for i in rerun.again}
    item = request.dtype.bits
    for i, (node, reads, demanded) in enumerate(zip(graph.nodes, graph.reads, graph.demanded)):
        op = node.op
        if op.result not in (Result.NEW, Result.INPLACE):
            continue
        y, xs = shapes[i + 1], [shapes[v] for v in reads]
        work = formulas.work(op, y, *xs)
        out = formulas.nbytes(y, graph.bits[i + 1] or item)
        read = [formulas.nbytes(x, graph.bits[v] or item) for x, v in zip(xs, reads)]
        into = sum(read)
        own = sum(nbytes(numel(shape), item) for shape in op.params().values())
        macs, runs = work["forward"].macs, 1 + (i in again) + (node.name in graph.dropped)
        first = Pass(i, FORWARD, op.timed_as[0], macs, out + into + own) if op.timed_as else None
        if first is None:
            continue
        after = [Pass(i, FORWARD, kind, 0, 2 * out) for kind in op.timed_as[1:]]
        found += [first, *after]
        found += [one._replace(name=AGAIN) for one in (first, *after)] * (runs - 1)
        if not demanded:
            continue
        if isinstance(macs, int) and not macs:
            found.append(Pass(i, BACKWARD, op.timed_as[0], 0, 2 * out + into))
            found += [Pass(i, BACKWARD, kind, 0, 3 * out) for kind in op.timed_as[1:]]
        else:
            inputs = [name for name in demanded if name in op.inputs and name not in op.given]
            weights = [name for name in demanded if name not in inputs]
            for name, gradients in ((INPUT, inputs), (WEIGHT, weights)):
                macs = sum(work[gradient].macs for gradient in gradients)
                if gradients and not (isinstance(macs, int) and not macs):
                    found.append(first._replace(name=name, macs=macs))
        if op.work_again(y, *xs):
            found.append(Pass(i, AGAIN, MAKES_AGAIN, 0, 2 * read[0]))
    trained = graph.count_parameters(trained=True)
    if trained:
        numbers = 3 + 2 * request.optimizer.slots  # it reads and writes them; of the gradient it reads alone
        found.append(Pass(-1, UPDATE, UPDATE, 0, nbytes(numbers * trained, item)))
    return found
