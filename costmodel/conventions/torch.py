"""`torch`: what stock PyTorch modules with requires_grad flags really keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from ..errors import CostmodelError
from ..graph.graph import Graph
from ..ops.forms._formed import LeanOnly
from ._kept import Read, each_read
from ._registry import convention


@lru_cache(maxsize=512)
def lower(graph: Graph) -> Graph:
    """The graph without prefix slices: stock modules take the whole batch at once.

    Raises CostmodelError for a layer in a form, which no stock module has.
    """
    for node in graph.nodes:
        if isinstance(node.op, LeanOnly):
            raise CostmodelError(
                f"{node.name} keeps its input {node.op.in_words}, and stock modules keep all of it; allowed: the"
                " convention lean, which has modules that do, or another one"
            )
    return graph if graph.prefix_slices == 1 else replace(graph, prefix_slices=1)


@convention("torch", "what stock PyTorch really keeps and allocates", measurable=True, lower=lower)
def torch(graph: Graph) -> Iterator[Read]:
    return each_read(graph, stock=True)
