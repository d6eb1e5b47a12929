"""What a trace has recorded, as a graph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, FrozenSet, Iterable, List, Optional, Tuple

from ..errors import CostmodelError
from ..graph.graph import INPUT, Graph, Node, within
from ..graph.op import Op
from .families import block_paths, classifier_path


@dataclass
class Draft:
    """A node in the making. died: number of the last node during which Python held its output."""

    name: str
    op: Op
    inputs: Tuple[str, ...]
    trains: FrozenSet[str]
    owner: Optional[str]
    died: Optional[int] = None


@dataclass
class Life:
    """The values that a tensor object has held: more than one where it was overwritten."""

    drafts: List[Draft] = field(default_factory=list)


def graph_of(drafts: List[Draft], result: str, root: Any, called: Iterable[str], blocks_are: str) -> Graph:
    """The graph of what the result depends on. called: paths of the modules that were called."""
    needed = {result}
    for draft in reversed(drafts):
        if draft.name in needed:
            needed.update(draft.inputs)
    if result == INPUT:
        raise CostmodelError("the network returns its input")
    last, kept = [], ""  # of each draft, the last kept one up to it
    for draft in drafts:
        kept = draft.name if draft.name in needed else kept
        last.append(kept)
    nodes = []
    for i, draft in enumerate(drafts):
        if draft.name not in needed:
            continue
        held = draft.died if draft.died is not None else len(last) - 1
        until = "" if draft.name == result else last[max(held, i)]
        nodes.append(Node(draft.name, draft.op, draft.inputs, draft.trains, draft.owner, until))
    scopes = {".".join(n.name.split(".")[:k]) for n in nodes for k in range(1, n.name.count(".") + 1)}
    blocks = [path for path in block_paths(root, blocks_are) if any(within(n.name, path) for n in nodes)]
    order = {path: next(i for i, n in enumerate(nodes) if within(n.name, path)) for path in blocks}
    classifier = classifier_path(root, nodes)
    if classifier and not any(within(n.name, classifier) for n in nodes):
        classifier = ""
    graph = Graph(tuple(nodes), tuple(sorted(blocks, key=order.get)), classifier, frozenset(scopes - set(called)))
    own = ((*path.rpartition(".")[::2], tuple(p.shape)) for path, p in root.named_parameters())
    return replace(graph, idle=tuple(one for one in own if one[:2] not in graph.parameters))
