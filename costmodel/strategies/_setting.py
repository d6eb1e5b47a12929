"""What a strategy sets in a module, where it sets nothing but flags and modes."""

from __future__ import annotations

from ..graph.dry import Setting
from ..graph.graph import Graph
from ._attention import as_in


def in_own_modes(base: Graph, as_is: bool) -> Graph:
    """The graph as traced, with the module's own flags and modes where a strategy means them."""
    return base.as_is or base if as_is else base


def setting_of(base: Graph, rewritten: Graph, as_is: bool) -> Setting | None:
    """The flags and modes with which a module trains as a rewritten graph says; None if more has to be changed in it.

    base: the graph as traced. as_is: whether the module's own flags and modes are meant.
    """
    base = as_in(rewritten, in_own_modes(base, as_is))
    nodes, before = rewritten.body, base.body
    # The network itself runs again what is checkpointed in it; without a backward pass, that means nothing.
    again = set(rewritten.checkpointed) <= set(base.checkpointed)
    same = len(nodes) == len(before) and again
    if not same or any(
        (one.name, type(one.op), one.inputs) != (other.name, type(other.op), other.inputs)
        for one, other in zip(nodes, before)
    ):
        return None
    if as_is:
        return Setting(None, None, True)
    if not rewritten.has_loss:
        return Setting(frozenset(), frozenset(), False)
    trains = {f"{owner}.{name}".lstrip(".") for owner, name in rewritten.flagged}
    if rewritten.flagged >= {(node.owner, name) for node in nodes for name in node.op.params()}:
        # Then also those of which the graph knows nothing.
        trains |= {f"{owner}.{name}".lstrip(".") for owner, name, _ in base.idle}
    evaluates = {
        one.owner
        for one, other in zip(nodes, before)
        if getattr(one.op, "statistics", "") == "frozen" != getattr(other.op, "statistics", "")
    }
    return Setting(frozenset(trains), frozenset(evaluates), True)
