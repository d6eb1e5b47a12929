"""`mcunetv3`: as the authors of "On-device training under 256 KB memory" count (Lin et al., NeurIPS 2022).

github.com/mit-han-lab/tiny-training, algorithm/core/utils/partial_backward.py: what training takes beside inference, of
one image, in int8:

- the classifier's input, 8 bits a number (it trains in float32, which is not counted);
- of each convolution whose bias trains, or the shift of the norm after it: a bit for each number of its output, which
  tells whether it was cut off, and 32 bits for each bias;
- of each convolution whose weight trains: the trained channels of its input, 8 bits a number, and as many bits for each
  weight of these channels.

Nothing else: no gradients of activations, no optimizer. `saved` has the inputs in the network's own data type, `peak`
all that they count.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..graph.graph import Graph
from ..ops.conv import Conv2d
from ..ops.forms.sliced import SlicedConv2d
from ..ops.layers_in_order import layers_of
from ..ops.linear import Linear
from ..sizes.size import Shape, Size, nbytes, numel
from ._kept import Kept, Read
from ._registry import convention

NUMBER, BIAS, MASK = 8, 32, 1  # bits


def memory(
    graph: Graph, shapes: tuple[Shape, ...], kept: tuple[Kept, ...], sizes: tuple[Size, ...], item: int
) -> dict[str, Size]:
    """`peak`: all that training takes beside inference, in bytes."""
    number = {node.name: i for i, node in enumerate(graph.nodes)}
    bits: Size = 0
    for layer in layers_of(graph):
        nodes = [graph.nodes[number[name]] for name in layer.nodes | layer.norms]
        for node in nodes:
            i = number[node.name]
            y, x, op = shapes[i + 1], shapes[graph.reads[i][0]], node.op
            if isinstance(op, Linear) and node.trains:
                bits = bits + NUMBER * numel(x)
            if isinstance(op, Conv2d) and "weight" in node.trains:
                bits = bits + NUMBER * (numel((x[0], channels_of(op), *x[2:])) + weights_of(op))
            if isinstance(op, Conv2d) and any("bias" in one.trains for one in nodes):
                bits = bits + MASK * numel(y) + BIAS * y[1]
    return {"peak": nbytes(bits, 1)}


def channels_of(op: Conv2d) -> int:
    """Input channels of a convolution whose weights train."""
    return op.trained_channels if isinstance(op, SlicedConv2d) else op.in_channels


def weights_of(op: Conv2d) -> int:
    """Weights of a convolution that train."""
    return numel((op.of_slice if isinstance(op, SlicedConv2d) else op).params()["weight"])


@convention("mcunetv3", "MCUNetV3's own arithmetic: what int8 training takes beside inference", memory=memory)
def mcunetv3(graph: Graph) -> Iterator[Read]:
    for i, node in enumerate(graph.nodes):
        if "weight" in node.trains and isinstance(node.op, (Conv2d, Linear)):
            operands = node.op.form if isinstance(node.op, SlicedConv2d) else ("x",)
            yield from (Read(i, operand, ("weight",)) for operand in operands)
