"""`da3[,pool=2,reduction=4]`: additive attention adaptors train beside frozen blocks: a reconstruction of DA3.

Only abstracts of "DA3: Dynamic Additive Attention Adaption for memory-efficient on-device multi-domain learning" (Yang,
Rakin, Fan, CVPRW 2022) are public, and no code. What they say: adaptors are added, not multiplied, so that the join
keeps nothing, and the backbone is frozen. The inside of an adaptor here is an assumption: pooling, a 1x1 convolution
that reduces the channels, norm, ReLU, a 1x1 convolution, norm, sigmoid, and bilinear resizing. No published number is
reproduced.
"""

from __future__ import annotations

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..graph.op import build
from ..graph.paths import within
from ._branches import Geometry, beside, entry_of, geometry, run_in_turn
from ._edits import biases, everything, freeze_statistics, in_classifier, nothing, train
from ._option_values import at_least
from ._registry import strategy

FOLDER = "da3"  # name of the module that holds the adaptors


@strategy(
    "da3",
    "additive attention adaptors, shifts of norms and the classifier train (a reconstruction of DA3)",
    options={"pool": at_least(1), "reduction": at_least(1)},
    least_blocks=1,
    of_classifiers=True,
)
def da3(graph: Graph, pool: int = 2, reduction: int = 4) -> Graph:
    """pool: pixels a side that are pooled. reduction: by how much channels are fewer inside an adaptor."""
    graph = with_adaptors(graph, pool, reduction)
    in_head = in_classifier(graph)

    def trains(node: Node) -> frozenset[str]:
        if within(node.name, FOLDER) or in_head(node):
            return everything(node)
        return biases(node) if node.op.is_norm else nothing(node)

    return freeze_statistics(train(graph, trains), lambda node: not within(node.name, FOLDER))


def with_adaptors(graph: Graph, pool: int, reduction: int) -> Graph:
    """The graph with an adaptor beside each block. Raises CostmodelError for a block that none fits."""
    known = geometry(graph)
    for number, scope in enumerate(graph.blocks):
        entry = entry_of(graph, scope)
        inside = [node.name for node in graph.nodes if within(node.name, scope)]
        before, after = known[entry], known[inside[-1]]
        if not all(after.stride) or after.channels is None or before.channels is None:
            raise CostmodelError(f"no adaptor fits block {scope!r}, which has no grid of pixels")
        adaptor = adaptor_of(number, entry, before, after, pool, reduction)
        resize = Node(f"{FOLDER}_resize_{number}", build("upsample", {}), (adaptor[-1].name, inside[-1]))
        total = Node(f"{FOLDER}_sum_{number}", build("add", {}), (inside[-1], resize.name))
        graph = beside(graph, inside, adaptor, [resize, total])
        known[total.name] = after
    return run_in_turn(graph, FOLDER)


def adaptor_of(number: int, source: str, before: Geometry, after: Geometry, pool: int, reduction: int) -> list[Node]:
    """The nodes of an adaptor that reads what a block reads."""
    assert before.channels is not None and after.channels is not None
    middle = max(before.channels // reduction, 1)
    nodes: list[Node] = []

    def add(name: str, kind: str, **fields: object) -> None:
        reads = nodes[-1].name if nodes else source
        nodes.append(Node(f"{FOLDER}.{number}.{name}", build(kind, fields), (reads,)))

    add("pool", "avg_pool2d", kernel=pool)
    add("conv1", "conv2d", in_channels=before.channels, out_channels=middle, kernel=1)
    add("norm1", "batch_norm", channels=middle)
    add("act", "relu", inplace=True)
    add("conv2", "conv2d", in_channels=middle, out_channels=after.channels, kernel=1)
    add("norm2", "batch_norm", channels=after.channels)
    add("gate", "sigmoid")
    return nodes
