"""`repnet[,bias=1]`: a side network trains and the backbone is frozen (Rep-Net: Yang, Rakin, Fan, CVPR 2022).

Beside the first block of each stage but the first, a side module is added to the block's output: pooling, a
convolution, norm, ReLU, a 1x1 convolution, norm, and bilinear resizing to the output's size. The first module reads the
images, the others what the block reads. The last norm's scale starts at 0.
(github.com/ASU-ESIC-FAN-Lab/RepNet, repnet/model/reprogram.py; there the side convolutions' weights are standardised on
ProxylessNAS, and what has the right size is not resized.)
"""

from __future__ import annotations

from ..errors import CostmodelError
from ..graph.graph import INPUT, Graph, Node
from ..graph.op import build
from ..graph.paths import within
from ..ops.conv import Conv2d
from ..ops.linear import Linear
from ._branches import Geometry, beside, entry_of, geometry, run_in_turn
from ._edits import biases, everything, freeze_statistics, nothing, train
from ._option_values import on
from ._registry import strategy

FOLDER = "repnet"  # name of the module that holds the side modules
LAST = "norm2"  # name of a side module's last norm, whose scale starts at 0
POOLING, OF_IMAGES, EPS = 2, 4, 1e-3
KERNEL, LATE_KERNEL, LATE = 5, 3, 32  # the smaller kernel where a pixel of the output stands for 32 of the images
GROUPS, DIVISOR = 2, 8


@strategy(
    "repnet",
    "a side network beside the frozen backbone and every linear layer train; bias=1: every bias, too (Rep-Net)",
    options={"bias": on},
    least_blocks=2,
    zeroed=lambda graph: [node.name for node in graph.nodes if in_side(node) and node.name.endswith(LAST)],
)
def repnet(graph: Graph, bias: bool = False) -> Graph:
    """bias: every bias and shift trains, too. Raises CostmodelError for a network beside which no module fits."""
    graph = with_side_modules(graph)

    def trains(node: Node) -> frozenset[str]:
        if in_side(node) or isinstance(node.op, Linear):
            return everything(node)
        return biases(node) if bias else nothing(node)

    return freeze_statistics(train(graph, trains), lambda node: not in_side(node))


def in_side(node: Node) -> bool:
    """Whether a node is of a side module."""
    return within(node.name, FOLDER)


def with_side_modules(graph: Graph) -> Graph:
    """The graph with a side module beside the first block of each stage but the first. It runs before its block."""
    known = geometry(graph)
    number = 0
    for scope in graph.blocks[1:]:
        entry = entry_of(graph, scope)
        inside = [node.name for node in graph.nodes if within(node.name, scope)]
        before, after = known[entry], known[inside[-1]]
        if before.channels == after.channels:
            continue
        if not all(after.stride) or after.channels is None or before.channels is None:
            raise CostmodelError(f"no side module fits block {scope!r}, which has no grid of pixels")
        try:
            if number:
                module = side_module(number, entry, before.channels, after)
            else:
                module = side_module(number, INPUT, channels_of_images(graph), after)
            join = joining(number, module[-1].name, inside[-1])
        except CostmodelError as error:
            raise CostmodelError(f"no side module fits block {scope!r}: {error}") from None
        graph = beside(graph, inside, module, join)
        known[join[-1].name] = after
        number += 1
    if not number:
        raise CostmodelError("no block but the first changes the number of channels, beside which side modules stand")
    return run_in_turn(graph, FOLDER)


def channels_of_images(graph: Graph) -> int:
    """Channels of the images, as the first convolution takes them."""
    found = [node.op.in_channels for node in graph.nodes if INPUT in node.inputs and isinstance(node.op, Conv2d)]
    if not found:
        raise CostmodelError("no convolution reads the images")
    return found[0]


def side_module(number: int, source: str, inputs: int, after: Geometry) -> list[Node]:
    """The nodes of a side module. inputs: channels of what it reads; the first one reads the images."""
    outputs = after.channels
    assert outputs is not None
    middle = -(-inputs // DIVISOR) * DIVISOR
    kernel = LATE_KERNEL if max(after.stride) >= LATE else KERNEL
    nodes: list[Node] = []

    def add(name: str, kind: str, *reads: str, **fields: object) -> None:
        nodes.append(Node(f"{FOLDER}.{number}.{name}", build(kind, fields), reads or (nodes[-1].name,)))

    if number:
        add("pool", "avg_pool2d", source, kernel=POOLING)
    else:
        add("shrink", "avg_pool2d", source, kernel=POOLING)
        add("pool", "avg_pool2d", kernel=OF_IMAGES)
    add("conv1", "conv2d", in_channels=inputs, out_channels=middle, kernel=kernel, padding=kernel // 2,
        groups=GROUPS if number else 1)  # fmt: skip
    add("norm1", "batch_norm", channels=middle, eps=EPS)
    add("act", "relu", inplace=True)
    add("conv2", "conv2d", in_channels=middle, out_channels=outputs, kernel=1)
    add(LAST, "batch_norm", channels=outputs, eps=EPS)
    return nodes


def joining(number: int, side: str, result: str) -> list[Node]:
    """The nodes that bring a side module's result to the size of a block's, and add it to that."""
    resize = Node(f"{FOLDER}_resize_{number}", build("upsample", {}), (side, result))
    return [resize, Node(f"{FOLDER}_sum_{number}", build("add", {}), (result, resize.name))]
