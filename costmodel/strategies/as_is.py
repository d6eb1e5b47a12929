"""`as_is`: the module's own `requires_grad` flags and modes."""

from __future__ import annotations

from ..errors import CostmodelError
from ..graph.graph import Graph
from ._registry import strategy


@strategy("as_is", "the module's own requires_grad flags and modes", of_modules=True)
def as_is(graph: Graph) -> Graph:
    if not graph.is_traced:
        raise CostmodelError("as_is takes a module's flags and modes; the network has none, as one from a spec")
    return graph.as_is or graph
