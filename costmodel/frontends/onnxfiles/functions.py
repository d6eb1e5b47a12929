"""The functions that an ONNX file defines, opened where they are called, if the nodes are not too many.

Ten functions, each of which calls the next one ten times, fit into a kilobyte and make 10^10 nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ...errors import CostmodelError

#: Most nodes of a file with its functions opened. Networks have some 100 to 10,000.
MOST_NODES = 10**6

Key = tuple[str, str, str]


def opened(model: Any) -> Any:
    """A model without functions. Raises CostmodelError if functions call each other in a circle, or make many nodes."""
    if not model.functions:
        return model
    import onnx.inliner

    own = {(f.domain, f.name, f.overload): Counter(map(called, every_node(f.node))) for f in model.functions}
    calls = {key: [other for other in counts if other in own] for key, counts in own.items()}
    nodes: dict[Key, int] = {}
    try:
        for key in TopologicalSorter(calls).static_order():
            nodes[key] = sum(count * nodes.get(other, 1) for other, count in own[key].items())
    except CycleError as error:
        names = " -> ".join(name for _, name, _ in error.args[1])
        raise CostmodelError(f"functions that call each other: {names}; allowed: none that calls itself") from None
    total = sum(nodes.get(called(node), 1) for node in every_node(model.graph.node))
    if total > MOST_NODES:
        shown = f"{total:,}" if total < 10**15 else "more than 10^15"
        raise CostmodelError(f"its functions make {shown} nodes; allowed: at most {MOST_NODES:,}")
    return onnx.inliner.inline_local_functions(model)


def called(node: Any) -> Key:
    """What a node calls: domain, name, and which of several functions with this name."""
    return node.domain, node.op_type, node.overload


def every_node(nodes: Iterable[Any]) -> Iterator[Any]:
    """Nodes, and those in their branches and loops. (Protobuf reads no more than 100 graphs in one another.)"""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from every_node(graph.node)
