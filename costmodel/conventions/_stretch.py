"""Which part of a frozen prefix runs in channels_last in a contiguous network: whole blocks, without a gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from ..graph.graph import Graph, Node
from ..graph.op import Op, two
from ..ops._gradients import is_pointwise
from ..ops.activation import Activation
from ..ops.arithmetic import Add, Mul
from ..ops.conv import Conv2d
from ..ops.lean import as_op
from ..ops.lean_folded import FoldedConv2d, FoldedNorm, FrozenConv2d, LeavingAdd
from ..ops.noise import Noise, StochasticDepth
from ..ops.pool import AdaptiveAvgPool2d
from ..ops.reduce import Mean
from ..targets.onednn_limits import COLOURS, MOST

#: Of convolutions in channels_last, those whose scratch is known to the byte, with AVX512, AVX2 and NEON
#: (targets/onednn_limits.py): depthwise ones of these kernels; of images, ones of 3x3 with these outputs.
KERNELS, OF_IMAGES = (3, 5, 7), (8, 16, 32)


class Stretch(NamedTuple):
    """Nodes from `start` up to `stop`; first: path of the network's first convolution."""

    start: int
    stop: int
    first: str


def with_stretch(lowered: Graph) -> Graph:
    """The lean graph with a part of its frozen prefix in channels_last, where there is one."""
    found = stretch_of(lowered)
    if found is None:
        return lowered
    nodes = [*lowered.nodes]
    leaving = last_layer(lowered, found.stop)
    for i in range(found.start, found.stop):
        nodes[i] = replace(nodes[i], op=in_stretch(nodes[i].op, found.first, i == found.start, i == leaving))
    return replace(lowered, nodes=tuple(nodes))


def in_stretch(op: Op, first: str, enters: bool, leaves: bool) -> Op:
    """An op as it runs in a stretch. first: as of Stretch."""
    if isinstance(op, FoldedConv2d):
        return replace(op, stretch=first, enters=enters, leaves=leaves)
    if isinstance(op, Conv2d):
        return as_op(FrozenConv2d, op, stretch=first)
    return as_op(LeavingAdd, op, stretch=first) if leaves else op


def stretch_of(graph: Graph) -> Stretch | None:
    """The longest stretch of a lean graph, None without one."""
    frozen = next((i for i, demanded in enumerate(graph.demanded) if demanded), len(graph))
    first = next((node.owner for node in graph.nodes[:frozen] if tells_format(node.op)), None)
    if first is None:
        return None
    calls = Counter(node.owner for node in graph.nodes)
    known = [may_stand(node, calls) for node in graph.nodes[:frozen]]
    for stop in ends_of_blocks(graph, frozen):
        start = next((i for i in range(stop) if all(known[i:stop]) and may_enter(graph, i)), None)
        last = last_layer(graph, stop)
        if start is not None and last is not None and start < last:
            return Stretch(start, stop, first)
    return None


def ends_of_blocks(graph: Graph, frozen: int) -> Iterator[int]:
    """The nodes after blocks that hand on a single value, among the first, frozen ones; the highest first."""
    stops = [run.stop for name, run in graph.parts if name in graph.blocks and run.stop <= frozen]
    return (stop for stop in reversed(stops) if not {*handed_on(graph, stop)} - {0, stop})


def handed_on(graph: Graph, i: int) -> list[int]:
    """The values made before a node that it or later ones read, once for each reader."""
    return [v for reads in graph.reads[i:] for v in reads if v <= i]


def may_enter(graph: Graph, i: int) -> bool:
    """Whether a node is a convolution of the images, or of a layer's result, and later ones read nothing before it."""
    op, v = graph.nodes[i].op, graph.reads[i][0]
    if type(op) is not FoldedConv2d or handed_on(graph, i) != [v]:
        return False
    return v == 0 or isinstance(graph.nodes[v - 1].op, (FoldedNorm, Activation)) and not of_images(op)


def may_stand(node: Node, calls: Counter) -> bool:
    """Whether a frozen node may stand in a stretch: it takes channels_last maps as they are, with known scratch."""
    op = node.op
    if isinstance(op, Conv2d):
        usual = type(op) in (FoldedConv2d, Conv2d) and not op.standardise and calls[node.owner] == 1
        if type(op) is Conv2d:
            return usual and is_product(op)
        return usual and (is_product(op) or is_depthwise(op) or of_images(op))
    if isinstance(op, Noise):
        return op.is_off or isinstance(op, StochasticDepth)
    return isinstance(op, (FoldedNorm, Activation, AdaptiveAvgPool2d)) or type(op) in (Add, Mul, Mean)


def tells_format(op: Op) -> bool:
    """Whether it is a convolution whose weight is in one memory format alone."""
    return isinstance(op, Conv2d) and op.in_channels > op.groups and two(op.kernel) != (1, 1)


def is_product(op: Conv2d) -> bool:
    """Whether a convolution is a product of matrices, of more than one channel each."""
    pointwise = is_pointwise(two(op.kernel), two(op.stride), two(op.padding), op.groups)
    return pointwise and min(op.in_channels, op.out_channels) > 1


def is_depthwise(op: Conv2d) -> bool:
    """Whether a convolution is one of the depthwise ones that are known."""
    (height, width), (down, right) = two(op.kernel), two(op.padding)
    odd = height == width and height in KERNELS and max(down, right) <= height // 2
    return odd and two(op.dilation) == (1, 1) and 1 < op.groups == op.in_channels == op.out_channels <= MOST


def of_images(op: Conv2d) -> bool:
    """Whether a convolution is one of those of images that are known."""
    shape = two(op.kernel), two(op.padding), two(op.dilation), op.groups
    return shape == ((3, 3), (1, 1), (1, 1), 1) and 1 < op.in_channels <= COLOURS and op.out_channels in OF_IMAGES


def last_layer(graph: Graph, stop: int) -> int | None:
    """The node that gives a contiguous map at the end of a stretch: a sum, or a convolution before its norm."""
    last = stop - 1
    if type(graph.nodes[last].op) is Add:
        return last
    convolution = graph.reads[last][0] - 1
    is_norm = type(graph.nodes[last].op) is FoldedNorm and convolution >= 0
    return convolution if is_norm and type(graph.nodes[convolution].op) is FoldedConv2d else None
