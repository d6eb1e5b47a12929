"""Whole blocks in a form, as a plan may choose (`costmodel plan --form`)."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph.graph import Graph, Node
from ..graph.paths import within
from . import _forms

BITS, PIXELS = 4, 2  # of `quantised` and `gradfilter`, as they are without options


def names_in(graph: Graph, scopes: Sequence[str]) -> set[str]:
    """Names of the nodes in some blocks."""
    return {node.name for node in graph.nodes if any(within(node.name, scope) for scope in scopes)}


def rounded(graph: Graph, scopes: Sequence[str]) -> Graph:
    """The graph in which some blocks keep what they keep rounded."""
    inside = names_in(graph, scopes)

    def change(node: Node) -> Node:
        return _forms.rounded(node, BITS) if node.name in inside else node

    return _forms.in_form(graph, _forms.ROUNDED, inside, quantised_bits=BITS).map(change)


def pruned(graph: Graph, scopes: Sequence[str]) -> Graph:
    """The graph in which some blocks' layers keep the largest numbers of their input."""
    return _forms.in_form(graph, _forms.PRUNED, names_in(graph, scopes))


def filtered(graph: Graph, scopes: Sequence[str]) -> Graph:
    """The graph in which some blocks' convolutions keep sums of patches of their input."""
    inside = names_in(graph, scopes) & _forms.names_of_maps(graph)
    return _forms.in_form(graph, _forms.FILTERED, inside, r=PIXELS)
