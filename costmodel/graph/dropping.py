"""Where what may be made again, and which nodes run again alone, since their outputs are dropped."""

from __future__ import annotations

from .graph import Graph
from .paths import within
from .recompute import NOTHING, WITHIN_PARTS


def level_of(graph: Graph, i: int) -> str:
    """What may be made again at a node (recompute.py): as its part has it, or else as the graph has it."""
    if graph.recompute != NOTHING:
        for scope, level in graph.recompute_in:
            if within(graph.nodes[i].name, scope):
                return level
    return graph.recompute


def part_numbers(graph: Graph) -> dict[int, int]:
    """Node -> the number of its part, where units keep to parts; empty elsewhere."""
    parts = graph.parts if graph.recompute == WITHIN_PARTS else ()
    return {i: k for k, (_, run) in enumerate(parts) for i in run}


def nodes_dropped(graph: Graph) -> tuple[int, ...]:
    """The nodes whose output is dropped and made again whole."""
    return tuple(i for i, node in enumerate(graph.nodes) if node.name in graph.dropped) if graph.dropped else ()
