"""Finds where a frozen prefix mixes the images of a batch: slices of the batch, run one after another, would not."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph.graph import Graph, Node
from ..graph.op import Op
from ..ops.layout import Cat
from ..ops.norm import BatchNorm
from ..ops.standardise import Standardise
from ..ops.view import Permute, Reshape, Slice

CHANNELS = 1  # the axis along which norms of a batch keep their statistics apart


def mixes_images(graph: Graph) -> Node | None:
    """The first node of the prefix that works along the batch's axis or takes the batch's statistics, if one does.

    A product that sums over the batch is not found; a realised module proves itself against the original.
    """
    at: list[int | None] = [0]  # of each value, which axis is the batch's; None: it is not known, or none is
    for node, reads in zip(graph.nodes[: graph.prefix], graph.reads):
        named = zip(node.op.inputs, reads)
        places = [at[v] for name, v in named if name not in node.op.shape_only]
        batch = next((place for place in places if place is not None), None)
        if batch is not None and _works_along(node.op, batch):
            return node
        at.append(_moved(node.op, batch))
    return None


def _works_along(op: Op, batch: int) -> bool:
    if isinstance(op, Standardise) or isinstance(op, BatchNorm) and op.statistics == "batch":
        return batch != CHANNELS
    if isinstance(op, (Permute, Cat)) or isinstance(op, Slice) and op.parts:  # parts of a slice fit each other
        return False
    several = getattr(op, "axes", ())
    axes: Sequence[int] = (getattr(op, "axis", -1), *(several if isinstance(several, tuple) else ()))
    return batch in axes


def _moved(op: Op, batch: int | None) -> int | None:
    """Where the batch's axis is after an op."""
    if batch is None:
        return None
    if isinstance(op, Permute):
        return op.axes.index(batch)
    if isinstance(op, Reshape):
        return next((j for j in range(len(op.to.split())) if batch in op.named(j)), None)
    return batch
