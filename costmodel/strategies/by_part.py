"""`plan:CODE`: a choice for each part of the network, one letter each, from the images up.

The letters are in CHOICES; in upper case the block runs again in the backward pass. The classifier always trains.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..graph.recompute import WITHIN_PARTS
from ._edits import everything, freeze_statistics, in_classifier, train
from ._parts import CHOICES, FROZEN, PLAN, check, choices_of, is_checkpointed
from ._parts import parts as parts_of
from ._registry import strategy


@strategy(
    PLAN,
    "a choice for each part of the network: `costmodel plan` finds the best ones",
    code="CODE",
    recompute=WITHIN_PARTS,
)
def plan(graph: Graph, code: str | None) -> Graph:
    letters = check(code, graph)
    parts, choices = parts_of(graph), choices_of(letters)
    of_node = {
        node.name: choice
        for part, choice in zip(parts, choices)
        for node in graph.nodes[part.run.start : part.run.stop]
    }
    in_head = in_classifier(graph)

    def trains(node: Node) -> frozenset:
        return everything(node) if in_head(node) else of_node.get(node.name, FROZEN).trains(node)

    def has_frozen_statistics(node: Node) -> bool:
        return of_node.get(node.name, FROZEN).freezes_statistics

    planned = freeze_statistics(train(graph, trains), has_frozen_statistics)
    for choice in CHOICES.values():
        scopes = [part.name for part, chosen in zip(parts, choices) if chosen is choice]
        if choice.edit and scopes:
            planned = choice.edit(planned, scopes)
    if graph.checkpointed:
        raise CostmodelError(f"the network itself runs {graph.checkpointed[0]!r} again, which no plan can undo")
    silent = next((node.name for node in graph.nodes if not node.records and may_stop(node)), None)
    if silent is not None:
        raise CostmodelError(f"{silent!r} runs without autograd, whatever a plan says; allowed: other strategies")
    again = tuple(part.name for part, letter in zip(parts, letters) if is_checkpointed(letter))
    own = tuple((part.name, choice.recompute) for part, choice in zip(parts, choices) if choice.recompute)
    return replace(planned, checkpointed=again, recompute_in=own)


def may_stop(node: Node) -> bool:
    """Whether a node that autograd does not record may be all that leads back from a part: not a mask, beside a map."""
    return node.op.differentiable or node.op.result.is_view
