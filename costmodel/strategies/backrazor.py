"""`backrazor[,rho=.9]`: layers keep the largest numbers of their input (Back Razor: Jiang et al., NeurIPS 2022).

Alone, every weight and bias of convolutions and linear layers trains, on frozen norms, as in the authors' scripts.
"""

from __future__ import annotations

from ..graph.graph import Graph
from ..ops.forms.pruned import USUAL_RHO
from ._edits import all_but_norms, freeze_statistics, train
from ._forms import PRUNED, in_form
from ._registry import modifier


def share(text: str) -> float:
    """Parser of `rho`."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ValueError("a number above 0 and below 1, as in rho=.9")
    return value


def without_norms(graph: Graph) -> Graph:
    """The graph in which all but the norms trains, on frozen statistics."""
    return freeze_statistics(train(graph, all_but_norms))


@modifier(
    "backrazor",
    "layers keep the largest numbers of their input and a bit for each; alone, all but the norms trains (Back Razor)",
    alone=without_norms,
    options={"rho": share},
)
def backrazor(graph: Graph, rho: float = USUAL_RHO) -> Graph:
    return in_form(graph, PRUNED, rho=rho)
