"""What branches beside a network's blocks need to know of it, and how they are joined to it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ..errors import CostmodelError
from ..graph.graph import INPUT, Graph, Node
from ..graph.op import Op, Result
from ..graph.paths import prefixes, within
from ..ops.layout import Cat
from ..ops.norm import GroupNorm
from ..ops.view import Slice


class Geometry(NamedTuple):
    """What is known of a value without its sizes: its channels, and the distance of its pixels in image pixels.

    stride: that distance in height and width; (0, 0) for a value that is no map of pixels.
    """

    channels: int | None
    stride: tuple[int, int]


def geometry(graph: Graph) -> dict[str, Geometry]:
    """Value's name -> its Geometry."""
    known = {INPUT: Geometry(None, (1, 1))}
    for node in graph.nodes:
        op, inputs = node.op, [known[name] for name in node.inputs]
        channels = getattr(op, "out_channels", getattr(op, "channels", inputs[0].channels))
        if isinstance(op, Cat) and op.axis == 1:
            channels = sum(value.channels or 0 for value in inputs)
        elif isinstance(op, Slice) and op.axis == 1 and channels and not op.drop:
            channels = op.shape((1, channels))[1]
        stride = tuple(max(axis) for axis in zip(*(value.stride for value in inputs)))
        if op.grid == "strided":
            stride = tuple(s * t for s, t in zip(stride, getattr(op, "stride")))
        elif op.grid == "none":
            stride = (0, 0)
        known[node.name] = Geometry(channels, stride)
    return known


def entry_of(graph: Graph, scope: str) -> str:
    """Name of the value that a block reads. Raises CostmodelError if the block does not read exactly one."""
    inside = {node.name for node in graph.nodes if within(node.name, scope)}
    # A node for a parameter of the block reads the images only for their number.
    readers = [node for node in graph.nodes if node.name in inside and node.op.result is not Result.RESIDENT]
    reads = dict.fromkeys(
        name for node in readers for x, name in zip(node.op.inputs, node.inputs) if x not in node.op.shape_only
    )
    outer = [name for name in reads if name not in inside]
    if len(outer) != 1 or scope in inside:
        found = f"reads {', '.join(outer)}" if len(outer) != 1 else "is a single layer"
        raise CostmodelError(f"block {scope!r} {found}; a branch beside it wants a module that reads one value")
    return outer[0]


def sized(norm: Op, channels: int) -> Op:
    """A norm like the network's own for another number of channels, with batch statistics."""
    if isinstance(norm, GroupNorm):
        return replace(norm, channels=channels, groups=channels // (norm.channels // norm.groups))
    return replace(norm, channels=channels, statistics="batch")


def joined(graph: Graph, main: str, branch: list[Node]) -> Graph:
    """The graph with a branch after the node `main`. Nodes that read `main` now read the branch's sum."""
    total = branch[-1].name
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(total if name == main else name for name in node.inputs)))
        if node.name == main:
            nodes += branch
    return replace(graph, nodes=tuple(nodes))


def beside(graph: Graph, block: list[str], module: list[Node], join: list[Node]) -> Graph:
    """The graph with a side module before a block's nodes, and what joins both after them."""
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += module if node.name == block[0] else []
        reads = tuple(join[-1].name if name == block[-1] and node.name not in block else name for name in node.inputs)
        nodes.append(replace(node, inputs=reads))
        nodes += join if node.name == block[-1] else []
    return replace(graph, nodes=tuple(nodes))


def run_in_turn(graph: Graph, folder: str) -> Graph:
    """The graph in which modules that hold blocks are no longer called: the network runs blocks and branches in turn.

    folder: the module that holds the branches.
    """
    holders = {scope for block in graph.blocks for scope in prefixes(block)} - set(graph.blocks)
    return replace(graph, containers=graph.containers | holders | {folder})
