"""The memory formats in which the kernels of a step take their maps: as the graph has them, and as a dry step did."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ..graph.dry import AVG_POOL, BATCH_NORM, CONVOLUTION, MAX_POOL, UNFOLD, DryStep, KernelCall
from ..graph.graph import Node
from ..graph.memory_formats import layouts_of, plain
from ..ops._cast import layer_of
from ..ops.conv import Conv2d, Convolve
from ..ops.norm import BatchNorm
from ..ops.pool import AvgPool2d, MaxPool2d
from ..ops.transposed import ConvTranspose2d
from ..ops.windows import Unfold
from ..sizes.size import Shape
from ..targets.memory_order import CHANNELS_LAST, MemoryOrder, contiguous, differs
from .estimate import Estimate
from .shapes import broadcast_inputs

KERNELS: dict[type, str] = {
    Conv2d: CONVOLUTION,
    ConvTranspose2d: CONVOLUTION,
    Convolve: CONVOLUTION,
    BatchNorm: BATCH_NORM,
    MaxPool2d: MAX_POOL,
    AvgPool2d: AVG_POOL,
    Unfold: UNFOLD,
}


def other_formats(estimate: Estimate, dry: DryStep) -> list[str]:
    """Which ops take maps of a shape in other memory formats than the graph says, in words; empty if none does."""
    mine, theirs = _by_shape(_calls(estimate)), _by_shape(dry.calls)
    kinds = sorted({key[0] for key in mine.keys() & theirs.keys() if mine[key] != theirs[key]})
    return [f"the memory format of what {' and '.join(kinds)} takes"] if kinds else []


def _by_shape(calls: frozenset[KernelCall]) -> dict[tuple, set[tuple]]:
    """The formats of the calls of each op, with maps of each shape, in each of the two passes."""
    found: dict[tuple, set[tuple]] = defaultdict(set)
    for call in calls:
        found[call.kind, call.shape, call.gradient is None].add((call.x, call.gradient, call.weight))
    return found


def _calls(estimate: Estimate) -> frozenset[KernelCall]:
    """The calls of a step by its graph."""
    graph, shapes = estimate.graph, estimate.shapes
    axes = tuple(map(len, shapes))
    layouts = layouts_of(graph, axes, broadcast_inputs(graph, shapes), estimate.request.target.channels_last)
    found = set()
    for i, (node, reads, demanded) in enumerate(zip(graph.nodes, graph.reads, graph.demanded)):
        kind = _kernel_of(node)
        if not kind or axes[reads[0]] != 4:
            continue
        x, gradient = shapes[reads[0]], layouts.gradients[i + 1]
        seen = _formats(layouts.values[reads[0]], x)
        weight = None
        op = layer_of(node.op)
        if isinstance(op, (Conv2d, ConvTranspose2d)):
            usual = plain(4, estimate.request.target.channels_last)
            weight = _formats(usual, op.params()["weight"])
        elif isinstance(op, Convolve):
            weight = _formats(layouts.values[reads[1]], shapes[reads[1]])
        found.add(KernelCall(kind, x, seen, None, weight))
        if demanded and gradient is not None and kind != UNFOLD:
            found.add(KernelCall(kind, x, seen, _formats(gradient, shapes[i + 1]), weight))
    return frozenset(found)


def _kernel_of(node: Node) -> str:
    return next((kind for op, kind in KERNELS.items() if isinstance(layer_of(node.op), op)), "")


def _formats(layout: MemoryOrder, shape: Shape) -> tuple[Any, Any]:
    """Whether a tensor is contiguous, and whether it is channels_last."""
    orders = (contiguous(4).order, CHANNELS_LAST.order)
    contiguous_, channels_last = (not differs(layout, shape, order) for order in orders)
    return contiguous_, channels_last
