"""The shapes of a graph's values."""

from __future__ import annotations

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..sizes.size import Shape, same
from .memo import Formulas


class Misfit(CostmodelError):
    """An op does not take the shapes of its inputs. node: the op's node."""

    def __init__(self, node: Node, error: CostmodelError) -> None:
        super().__init__(f"node {node.name!r} ({node.op.kind}): {error}")
        self.node = node


class DoesNotFit(CostmodelError):
    """A network does not run on these images as its layer graph says."""


def shapes_of(
    graph: Graph, images: Shape, formulas: Formulas = Formulas(), nodes: int | None = None
) -> tuple[Shape, ...]:
    """The shape of every value, for a batch of images (N, C, H, W). Raises Misfit, which names the node.

    nodes: only of the outputs of the first `nodes` nodes.
    """
    shapes: list[Shape] = [images]
    try:
        for node, reads in zip(graph.nodes[:nodes], graph.reads):
            shapes.append(formulas.shape(node.op, *[shapes[v] for v in reads]))
    except CostmodelError as error:
        raise Misfit(node, error) from None
    return tuple(shapes)


def stored(graph: Graph, shapes: tuple[Shape, ...], v: int, formulas: Formulas = Formulas()) -> Shape:
    """The shape of a value, or of its storage if its kernels have resized it."""
    if not v or not graph.nodes[v - 1].op.resizes:
        return shapes[v]
    return formulas.storage(graph.nodes[v - 1].op, shapes[v], *[shapes[x] for x in graph.reads[v - 1]])


def broadcast_inputs(graph: Graph, shapes: tuple[Shape, ...]) -> frozenset[tuple[int, str]]:
    """(node, input) of all inputs that are broadcast, thus smaller than the output."""
    return frozenset(
        (i, name)
        for i, (node, reads) in enumerate(zip(graph.nodes, graph.reads))
        if node.op.broadcasts
        for name, v in zip(node.op.inputs, reads)
        if not same(shapes[v], shapes[i + 1])
    )
