"""Whether two maps have the same shape, whatever the images' size: one is made of the other by layers that keep it."""

from __future__ import annotations

from collections.abc import Callable

from ..graph.graph import Graph
from ..graph.op import two
from ..ops.activation import Activation
from ..ops.arithmetic import Mul
from ..ops.conv import Conv2d
from ..ops.noise import Noise
from ..ops.norm import BatchNorm, GroupNorm


def has_shape_of(graph: Graph, v: int, other: int, is_gate: Callable[[int, int], bool]) -> bool:
    """Whether the result v of a norm, perhaps times noise, has the shape of another map, from which layers lead to it.

    is_gate: whether a value has one number for each image and channel of another one.
    """
    wanted = channels = 0
    at = v
    while at != other:
        if not at:
            return False
        op, reads = graph.nodes[at - 1].op, graph.reads[at - 1]
        at = reads[0]
        if isinstance(op, Conv2d):
            if not keeps_size(op):
                return False
            channels = op.in_channels
        elif type(op) is Mul:
            gates = [is_gate(one, of) for one, of in (reads, reads[::-1])]
            if gates not in ([True, False], [False, True]):
                return False
            at = reads[gates.index(False)]
        elif isinstance(op, (BatchNorm, GroupNorm)):
            channels = op.channels
        elif not isinstance(op, (Activation, Noise)):
            return False
        wanted = wanted or channels
    return bool(wanted) and channels == wanted


def keeps_size(op: Conv2d) -> bool:
    """Whether a convolution's output is as high and wide as its input."""
    axes = zip(two(op.kernel), two(op.stride), two(op.padding), two(op.dilation))
    return all(stride == 1 and 2 * padding == dilation * (kernel - 1) for kernel, stride, padding, dilation in axes)
