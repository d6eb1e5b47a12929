"""`gradient-filter`: as Gradient Filter's authors count (Yang, Li, Marculescu, CVPR 2023), fitted to their table 2.

- Saved: the inputs of the convolutions whose weight trains, or those inputs pooled over patches, layer by layer. Not
  norms, activations and the classifier ("we only consider the memory for input feature x").
- FLOPs of the backward pass, with C and O channels of the input and the output in g groups, kernels of K pixels and HW
  pixels of the output: the weight's gradient takes C/g * O * (K * HW + HW - 1), the input's HW * C * (2 * K * O/g - 1).
  With P patches they take C/g * O * (2P - 1), and P * C * (2 * O/g - 1) with C/g * O * (K - 1) for the kernel's sum.
  Either takes one operation per element of the output beside. The classifier takes 3 * features * classes - features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..graph.graph import Graph, Node
from ..graph.op import two
from ..ops.conv import Conv2d
from ..ops.forms.patches import PatchedConv2d
from ..ops.linear import Linear
from ..sizes.size import Shape, Size, numel
from ._kept import Read
from ._registry import Counted, convention


def work(node: Node, y: Shape, xs: tuple[Shape, ...], demanded: tuple[str, ...]) -> Counted | None:
    """Operations of the backward pass of a node; only convolutions and the classifier count."""
    op, backward = node.op, 0
    if isinstance(op, Linear) and demanded:
        backward = y[0] * (3 * op.in_features * op.out_features - op.in_features)
    elif isinstance(op, Conv2d) and demanded:
        backward = numel(y) + of_convolution(op, y, demanded)
    return Counted(0, backward, has_products=True)


def of_convolution(op: Conv2d, y: Shape, demanded: tuple[str, ...]) -> Size:
    """Operations of a convolution's gradients, as the authors count them."""
    height, width = two(op.kernel)
    kernel, pairs, outputs = height * width, op.in_channels // op.groups * op.out_channels, op.out_channels // op.groups
    if isinstance(op, PatchedConv2d):
        patches = numel(op.grid_of(y))
        of_weight = pairs * (2 * patches - 1)
        of_input = patches * op.in_channels * (2 * outputs - 1) + pairs * (kernel - 1)
    else:
        pixels = numel(y[2:])
        of_weight = pairs * (kernel * pixels + pixels - 1)
        of_input = pixels * op.in_channels * (2 * kernel * outputs - 1)
    return y[0] * (of_weight * ("weight" in demanded) + of_input * ("x" in demanded))


def memory(*_: Any) -> dict[str, Size]:
    """Nothing but what is saved; that every convolution counts its input by itself follows from having this."""
    return {}


@convention(
    "gradient-filter", "Gradient Filter's own arithmetic: inputs of trained convolutions", memory=memory, work=work
)
def gradient_filter(graph: Graph) -> Iterator[Read]:
    for i, (node, demanded) in enumerate(zip(graph.nodes, graph.demanded)):
        if isinstance(node.op, Conv2d) and "weight" in demanded:
            form = node.op.form if isinstance(node.op, PatchedConv2d) else ("x",)
            yield from (Read(i, operand, ("weight",)) for operand in form)
