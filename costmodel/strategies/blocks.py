"""`blocks:K`: the last K blocks and all modules after them train; below them statistics are frozen (FT-BLKs)."""

from __future__ import annotations

from ..graph.graph import Graph
from ._edits import everything, freeze_statistics, from_block, nothing, train
from ._registry import strategy


@strategy("blocks", "the last K blocks and all after them train, statistics frozen below", blocks=True)
def last_blocks(graph: Graph, blocks: int) -> Graph:
    chosen = from_block(graph, blocks)
    trained = train(graph, lambda node: everything(node) if chosen(node) else nothing(node))
    return freeze_statistics(trained, lambda node: not chosen(node))
