"""TinyTL's lite residual branches: a cheap second path around every block but the first (Cai et al., NeurIPS 2020).

A branch is pooling, a convolution of 2 groups, norm, ReLU, a 1x1 convolution, norm, and bilinear upsampling to the size
of the block's output. It is added to that output before the shortcut is. (github.com/mit-han-lab/tinyml:
tinytl/model/modules.py)
"""

from __future__ import annotations

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..graph.op import Op, build
from ..graph.paths import within
from ..ops.conv import Conv2d
from ._branches import Geometry, entry_of, geometry, joined, sized

FOLDER = "lite_residual"  # name of a branch's module
FIRST_RESOLUTION = 128  # pixels a side of the first block's input in the authors' rule, for images of any size
POOLING, KERNEL, GROUPS = 2, 5, 2


def in_branch(node: Node) -> bool:
    """Whether a node is in a lite residual branch."""
    return FOLDER in node.name.split(".")[:-1]


def insert(graph: Graph, resolution: int | None = None) -> Graph:
    """The graph with a branch around every block but the first.

    resolution: pixels a side of the images for which kernels are chosen; by default the authors' rule. Raises
    CostmodelError for a block that no branch fits.
    """
    if len(graph.blocks) < 2:
        found = "one block" if graph.blocks else "no blocks"
        raise CostmodelError(f"the network has {found}; lite residual branches stand around all but the first of them")
    known = geometry(graph)
    norms = (node.op for node in graph.nodes if node.op.kind in ("batch_norm", "group_norm"))
    norm = next(norms, build("batch_norm", {"channels": 1}))
    first = known[entry_of(graph, graph.blocks[0])]
    size = FIRST_RESOLUTION if resolution is None else -(-resolution // max(1, *first.stride))
    for scope in graph.blocks:
        entry = entry_of(graph, scope)
        main = _main(graph, scope, entry)
        stride = tuple(-(-out // max(1, at)) for out, at in zip(known[main].stride, known[entry].stride))
        if not all(stride):
            raise CostmodelError(f"no lite residual branch fits block {scope!r}, which has no grid of pixels")
        if scope != graph.blocks[0]:
            try:
                branch = _branch(graph, scope, entry, main, known, stride, max(1, size // POOLING), norm)
            except CostmodelError as error:
                raise CostmodelError(f"no lite residual branch fits block {scope!r}: {error}") from None
            graph = joined(graph, main, branch)
            known[branch[-1].name] = known[main]
        size //= max(stride)
    return graph


def advice(node: Node) -> str:
    """Advice for an error at a node of a branch, whose kernels may be chosen for larger images; "" for other nodes."""
    return "; for small images the strategy's option resolution=R makes other branches" if in_branch(node) else ""


def notes(graph: Graph) -> list[str]:
    """A note for people if branches use the authors' fallback for maps of one pixel."""
    poolings = [node for node in graph.nodes if in_branch(node) and node.op.kind == "adaptive_avg_pool2d"]
    if not poolings:
        return []
    number = graph.block_of(poolings[0])
    assert number is not None, "branches stand in blocks"
    first = graph.blocks[number]
    return [
        f"{len(poolings)} lite residual branches, from {first} on, pool to one pixel: global pooling and"
        " 1x1 convolutions on it."
    ]


def _main(graph: Graph, scope: str, entry: str) -> str:
    """Name of the main branch's result: the value to which the shortcut is added, or without one the block's output."""
    inside = [node for node in graph.nodes if within(node.name, scope)]
    for node in reversed(inside):
        if node.op.kind == "add" and entry in node.inputs:
            others = [name for name in node.inputs if name != entry]
            if others:
                return others[0]
    return inside[-1].name


def _branch(
    graph: Graph,
    scope: str,
    entry: str,
    main: str,
    known: dict[str, Geometry],
    stride: tuple[int, ...],
    size: int,
    norm: Op,
) -> list[Node]:
    """The nodes of a branch whose pooled map has `size` pixels a side; the last node adds the main branch."""
    inside = [node.op for node in graph.nodes if within(node.name, scope)]
    standardise = any(op.standardise for op in inside if isinstance(op, Conv2d))
    inputs, outputs = known[entry].channels, known[main].channels
    # In the authors' modules the main branch is a sibling module of the lite residual branch.
    holder = main.split(".main_branch.")[0] if ".main_branch." in main else scope
    kernel = min(KERNEL, size - 1 + size % 2)
    nodes: list[Node] = []

    def add(name: str, kind: str, *reads: str, **fields: object) -> None:
        nodes.append(Node(f"{holder}.{name}", build(kind, fields), reads or (nodes[-1].name,)))

    def add_norm(name: str, channels: int | None) -> None:
        assert channels is not None, "a convolution has been built with them"
        nodes.append(Node(f"{holder}.{FOLDER}.{name}", sized(norm, channels), (nodes[-1].name,)))

    if size == 1:
        add(f"{FOLDER}.pooling", "adaptive_avg_pool2d", entry)
    else:
        add(f"{FOLDER}.pooling", "avg_pool2d", entry, kernel=POOLING)
    add(
        f"{FOLDER}.conv1",
        "conv2d",
        in_channels=inputs,
        out_channels=inputs,
        kernel=kernel,
        stride=stride,
        padding=kernel // 2,
        groups=GROUPS,
        standardise=standardise,
    )
    add_norm("bn1", inputs)
    add(f"{FOLDER}.act", "relu", inplace=True)
    add(f"{FOLDER}.conv2", "conv2d", in_channels=inputs, out_channels=outputs, kernel=1, standardise=standardise)
    add_norm("final_bn", outputs)
    if size > 1:
        add("lite_upsample", "upsample", nodes[-1].name, main)
    add("lite_sum", "add", main, nodes[-1].name)
    return nodes
