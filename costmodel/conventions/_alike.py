"""Whether two maps have the same shape, or the same channels, whatever the images' size: told by the layers between."""

from __future__ import annotations

from ..graph.graph import Graph
from ..graph.op import two
from ..ops.activation import Activation
from ..ops.arithmetic import Mul
from ..ops.conv import Conv2d
from ..ops.noise import Noise
from ..ops.norm import BatchNorm, GroupNorm
from ..ops.pool import AdaptiveAvgPool2d
from ..ops.reduce import Mean


def has_shape_of(graph: Graph, v: int, other: int) -> bool:
    """Whether the result v of a norm, perhaps times noise, has the shape of another map, from which layers lead on."""
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
            gates = [is_gate(graph, one, of) for one, of in (reads, reads[::-1])]
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


def is_gate(graph: Graph, v: int, of: int) -> bool:
    """Whether a value (N, C, 1, 1) scales the channels of another one: an average, through layers of one pixel."""
    channels = _channels(graph, v)
    if channels is None or channels != _channels(graph, of):
        return False
    while v:
        op = graph.nodes[v - 1].op
        if isinstance(op, AdaptiveAvgPool2d):
            return op.output == (1, 1)
        if isinstance(op, Mean):
            return op.keepdim and op.axes == (2, 3)
        if not (isinstance(op, Activation) or isinstance(op, Conv2d) and op.kernel == (1, 1) and op.padding == (0, 0)):
            return False
        v = graph.reads[v - 1][0]
    return False


def _channels(graph: Graph, v: int) -> int | None:
    """The channels of a value, if the layers tell that make it."""
    while v:
        op = graph.nodes[v - 1].op
        if isinstance(op, Conv2d):
            return op.out_channels
        if isinstance(op, (BatchNorm, GroupNorm)):
            return op.channels
        if not isinstance(op, (Activation, AdaptiveAvgPool2d, Mean)):
            return None
        v = graph.reads[v - 1][0]
    return None
