"""What a step asks of a device: the passes over maps that its layers make, each with its arithmetic and its bytes.

A forward pass reads the inputs and parameters and writes the output. A layer with matrix work makes a pass for the
gradient of its inputs and one for that of its parameters, each of which reads and writes as much; another layer makes
one pass back, which reads the output's gradient and what it kept, and writes the input's. Views make none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..conventions import find
from ..devices.kinds import AGAIN, BACKWARD, FORWARD, INPUT, UPDATE, WEIGHT
from ..graph.checkpointing import reruns
from ..graph.graph import Graph
from ..graph.op import Op, Result, Work
from ..sizes.size import Shape, Size, nbytes, numel
from .memo import Formulas
from .request import Request

#: The kind of kernels that makes a norm's result again, with its statistics known.
MAKES_AGAIN = "frozen_norm"


class Pass(NamedTuple):
    """One pass of a node over its maps.

    node: its number, -1 for the optimizer. kernels: their kind (Op.timed_as). in_python: whether the layer is a
    torch.autograd.Function.
    """

    node: int
    name: str
    kernels: str
    macs: Size
    nbytes: Size
    in_python: bool = False


def passes_of(graph: Graph, shapes: tuple[Shape, ...], request: Request, formulas: Formulas = Formulas()) -> list[Pass]:
    """The passes of a step, in the order of the nodes. shapes: of each value."""
    found: list[Pass] = []
    again = {i for rerun in reruns(graph, find(request.convention).measurable) for i in rerun.again}
    item = request.dtype.bits
    for i, (node, reads, demanded) in enumerate(zip(graph.nodes, graph.reads, graph.demanded)):
        op = node.op
        if op.result not in (Result.NEW, Result.INPLACE) or not op.timed_as:
            continue
        bits = tuple(graph.bits[v] or item for v in (i + 1, *reads))
        how = Setting(item, bits, demanded, (i in again) + (node.name in graph.dropped))
        own = formulas.once("passes", passes_of_layer, op, how, shapes[i + 1], *[shapes[v] for v in reads])
        found += [one._replace(node=i) for one in own]
    return found + update_of(graph.count_parameters(trained=True), request)


def update_of(numbers: int, request: Request) -> list[Pass]:
    """The pass of the optimizer over some numbers that train; none if there are none.

    It reads and writes the numbers and its state, and reads their gradients. Before it, gradients of an earlier
    micro-step are added to those of this one, if there is one.
    """
    if not numbers:
        return []
    bits, tensors = request.dtype.bits, 3 + 2 * request.optimizer.slots
    added = [Pass(-1, BACKWARD, "sum", 0, nbytes(3 * numbers, bits))] if request.accumulate > 1 else []
    return [*added, Pass(-1, UPDATE, UPDATE, 0, nbytes(tensors * numbers, bits))]


class Setting(NamedTuple):
    """How a layer is called. item: bits of a parameter's number; bits: of the output's and of each input's; again: how
    often its forward pass runs again.
    """

    item: int
    bits: tuple[int, ...]
    demanded: tuple[str, ...]
    again: int


def passes_of_layer(op: Op, how: Setting, y: Shape, *xs: Shape) -> tuple[Pass, ...]:
    """The passes of a layer, as those of node 0. y, xs: shapes of its output and of its inputs."""
    sizes = [nbytes(numel(shape), bits) for shape, bits in zip((y, *xs), how.bits)]
    layer = Layer(op, 0, op.work(y, *xs), sizes[0], sum(sizes[1:]), own_bytes(op, how.item))
    forward = layer.forward()
    made = [one._replace(name=AGAIN) for one in forward] * how.again
    if how.demanded and op.work_again(y, *xs):
        made.append(Pass(0, AGAIN, MAKES_AGAIN, 0, 2 * sizes[1]))
    return (*forward, *layer.backward(how.demanded), *made)


def own_bytes(op: Op, bits: int) -> Size:
    """Bytes of an op's parameters, of so many bits each."""
    return sum(nbytes(numel(shape), bits) for shape in op.params().values())


class Layer(NamedTuple):
    """A layer with its work, and the bytes of its output, of its inputs and of its parameters."""

    op: Op
    node: int
    work: Mapping[str, Work]
    out: Size
    into: Size
    own: Size

    def forward(self) -> list[Pass]:
        """Its forward pass, and those of what else its function does."""
        macs, python = self.work["forward"].macs, self.op.stock.in_python
        first, *others = self.op.timed_as
        own = Pass(self.node, FORWARD, first, macs, self.out + self.into + self.own, python)
        return [own, *(Pass(self.node, FORWARD, kind, 0, 2 * self.out) for kind in others)]

    def backward(self, demanded: tuple[str, ...]) -> list[Pass]:
        """The passes for its demanded gradients."""
        if not demanded:
            return []
        op, python, macs = self.op, self.op.stock.in_python, self.work["forward"].macs
        first, *others = op.timed_as
        if isinstance(macs, int) and not macs:
            own = Pass(self.node, BACKWARD, first, 0, 2 * self.out + self.into, python)
            return [own, *(Pass(self.node, BACKWARD, kind, 0, 3 * self.out) for kind in others)]
        inputs = [name for name in demanded if name in op.inputs and name not in op.given]
        weights = [name for name in demanded if name not in inputs]
        found = []
        for name, gradients in ((INPUT, inputs), (WEIGHT, weights)):
            macs = sum(self.work[gradient].macs for gradient in gradients)
            if gradients and not (isinstance(macs, int) and not macs):
                found.append(Pass(self.node, name, first, macs, self.out + self.into + self.own, python))
        return found
