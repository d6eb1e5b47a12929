"""Bytes that exist before a step: parameters, what stays with them from step to step, and the images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..graph.dry import DryStep
from ..graph.graph import Graph
from ..graph.inputs import Inputs
from ..graph.op import Extra, Result
from ..sizes.size import Shape, Size, nbytes, numel
from .request import Request


class Resident(NamedTuple):
    """Bytes of some parameters, and of what stays with them from step to step.

    gradients: of all parameters that train. accumulates: gradients of earlier micro-steps exist before the step.
    """

    parameters: int
    buffers: int
    gradients: int
    optimizer: int
    accumulates: bool

    @property
    def beside_parameters(self) -> int:
        """Bytes that exist before a step besides the parameters."""
        return self.buffers + self.optimizer + self.gradients * self.accumulates


def resident(parameters: Iterable[tuple[Shape, bool]], buffers: Iterable[Extra], request: Request) -> Resident:
    """The Resident of a network or of a part. parameters: (shape, whether it trains)."""
    item, shapes = request.dtype.bits // 8, list(parameters)
    trained = [numel(shape) for shape, trains in shapes if trains]
    return Resident(
        parameters=item * sum(numel(shape) for shape, _ in shapes),
        buffers=sum(nbytes(numel(buffer.shape), buffer.bits or 8 * item) for buffer in buffers),
        gradients=item * sum(trained),
        optimizer=request.optimizer.state_bytes(sum(trained), len(trained), 8 * item),
        accumulates=request.accumulate > 1,
    )


def resident_of(dry: DryStep, request: Request) -> Resident:
    """The Resident of a module whose parameters may be of several data types."""
    trained = [one for path, one in dry.parameters.items() if path in dry.trained]
    return Resident(
        parameters=dry.parameters_bytes,
        buffers=dry.buffers_bytes,
        gradients=sum(one.nbytes for one in trained),
        optimizer=sum(request.optimizer.state_bytes(one.elements, 1, 8 * one.item_bytes) for one in trained),
        accumulates=request.accumulate > 1,
    )


def of_inputs(first: Shape, inputs: Inputs, request: Request) -> list[Size]:
    """Bytes of each input. first: the shape of the first one, (N, ...)."""
    shapes = [first, *((first[0], *one.shape) for one in inputs[1:])]
    return [nbytes(numel(shape), one.bits or request.dtype.bits) for shape, one in zip(shapes, inputs)]


def inputs_bytes(first: Shape, inputs: Inputs, request: Request) -> Size:
    """Bytes of the inputs. first: the shape of the first one, (N, ...)."""
    return sum(of_inputs(first, inputs, request))


def of_targets(graph: Graph, shapes: Sequence[Shape], request: Request) -> list[Size]:
    """Bytes of each tensor with which a graph's loss compares. shapes: of each value."""
    given = [v for v, node in enumerate(graph.nodes, 1) if node.op.result is Result.GIVEN and node not in graph.body]
    return [nbytes(numel(shapes[v]), graph.bits[v] or request.dtype.bits) for v in given]


def targets_bytes(graph: Graph, shapes: Sequence[Shape], request: Request) -> Size:
    """Bytes of the targets with which a graph's loss compares. shapes: of each value."""
    return sum(of_targets(graph, shapes, request))
