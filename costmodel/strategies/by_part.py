"""`plan:CODE`: a choice of its own for each part of the network, one letter each, from the images up.

f: frozen; b: every bias and shift trains; m: as a block of `mobiletl:K`; t: everything trains. In upper case the block
runs again in the backward pass. The classifier always trains.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Optional

from ..graph.graph import Graph, Node
from ._edits import everything, in_classifier, train
from ._parts import check
from ._parts import parts as parts_of
from ._registry import strategy
from .mobiletl import lighter


@strategy("plan", "a choice for each part of the network: `costmodel plan` finds the best ones", code=True)
def plan(graph: Graph, code: Optional[str]) -> Graph:
    check(code, graph)
    parts = parts_of(graph)
    letters: Dict[str, str] = {
        node.name: letter for part, letter in zip(parts, code) for node in graph.nodes[part.run.start : part.run.stop]
    }
    classifier = in_classifier(graph)

    def trains(node: Node) -> frozenset:
        if classifier(node):
            return everything(node)
        letter = letters.get(node.name, "f").lower()
        return everything(node) & {"b": {"bias"}, "f": set()}.get(letter, everything(node))

    def statistics(node: Node) -> Node:
        frozen = letters.get(node.name, "f") in "fFbB"
        return replace(node, op=node.op.frozen()) if frozen else node

    chosen = train(graph, trains).map(statistics)
    light = [part.name for part, letter in zip(parts, code) if letter in "mM"]
    chosen = lighter(chosen, light) if light else chosen
    again = [part.name for part, letter in zip(parts, code) if letter.isupper()]
    return replace(chosen, checkpointed=tuple(again))
