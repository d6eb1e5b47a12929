"""A graph under construction, shared by the frontends that read a network node by node: from a trace or from a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..graph.graph import INPUT, Graph, Node
from ..graph.op import Op
from ..graph.paths import prefixes

#: Batch size while a file is read. It is a prime that no layer has as its width, kernel size or number of heads, so an
#: axis of 13 or a multiple of 13 grows with the batch, and every other number belongs to the network.
BATCH = 13
#: Batch sizes for a trace, whose maps may have such sides: one that is no side of a map is taken.
BATCHES = (BATCH, 17, 19, 23, 29, 31, 37, 41, 43)
#: Side of the images if neither the network nor the request gives one.
RESOLUTION = 224


def batch_for(*given: int) -> int:
    """The batch size of a trace of inputs of these sides, which is no side of a map that layers of stride 2 make."""
    sides = {*given}
    for _ in range(8):
        sides |= {half for side in sides for half in (side // 2 - 1, side // 2, (side + 1) // 2, side // 2 + 1)}
    return next((batch for batch in BATCHES if batch not in sides), BATCH)


@dataclass(eq=False)
class Draft:
    """A node under construction.

    inputs: the drafts whose outputs it reads, None for the images. name: name of the node and of its output; drafts of
    a file get theirs once all drafts exist. trains: the parameters that get a gradient. owner: path of the module that
    holds the parameters; None means the node's own name. died: index of the last draft during which the output is
    still held; None if it is held to the end. records: whether autograd records it. wants: whether its output gets a
    gradient if the parameters with a flag train, as Python may ask.
    """

    op: Op
    inputs: tuple[Draft | None, ...]
    name: str = ""
    trains: frozenset[str] = frozenset()
    owner: str | None = None
    died: int | None = None
    records: bool = True
    wants: bool = False


SomeDraft = TypeVar("SomeDraft", bound=Draft)


class Names:
    """Hands out names, each of them once. scope: in which the nodes stand from now on, "" for the network itself."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = set(taken)
        self.scope = ""
        self.last: dict[str, int] = {}  # number that was taken last, by base

    def take(self, name: str) -> bool:
        """Take a name; returns whether it was still free."""
        free = name not in self.taken
        self.taken.add(name)
        return free

    def numbered(self, base: str) -> str:
        """Take and return the first free name of base_1, base_2, ..."""
        number = self.last.get(base, 0) + 1
        while not self.take(f"{base}_{number}"):
            number += 1
        self.last[base] = number
        return f"{base}_{number}"

    def unique(self, base: str) -> str:
        """Take and return the name itself if it is free, else a numbered one."""
        return base if self.take(base) else self.numbered(base)


def needed(drafts: Sequence[SomeDraft], *results: Draft) -> list[SomeDraft]:
    """The drafts that results depend on, in their original order."""
    found: set[Draft | None] = {*results}
    for draft in reversed(drafts):
        if draft in found:
            found.update(draft.inputs)
    return [draft for draft in drafts if draft in found]


def nodes_of(drafts: Sequence[Draft], result: Draft, *others: Draft) -> tuple[Node, ...]:
    """The nodes that a result and others beside it depend on, in their original order.

    `Node.until` names the last of these nodes that runs before the output dies.
    """
    kept = set(needed(drafts, result, *others))
    last, name = [], ""  # last[i]: name of the last kept draft up to and including draft i
    for draft in drafts:
        name = draft.name if draft in kept else name
        last.append(name)
    nodes = []
    for i, draft in enumerate(drafts):
        if draft not in kept:
            continue
        held = draft.died if draft.died is not None else len(last) - 1
        until = "" if draft is result else last[max(held, i)]
        inputs = tuple(INPUT if read is None else read.name for read in draft.inputs)
        owner = draft.name if draft.owner is None else draft.owner
        nodes.append(Node(draft.name, draft.op, inputs, draft.trains, owner, until, draft.records))
    return tuple(nodes)


def graph_of(
    nodes: tuple[Node, ...], blocks: Iterable[str], classifier: str, called: Iterable[str] = (), **more: Any
) -> Graph:
    """The graph of these nodes. A block or a classifier without nodes is left out.

    blocks: paths in any order; called: paths of the modules whose forward is called. Other modules are mere containers.
    more: further fields of the graph.
    """
    first: dict[str, int] = {}
    holders: set[str] = set()
    for i, node in enumerate(nodes):
        *above, own = prefixes(node.name)
        holders.update(above)
        for path in (*above, own):
            first.setdefault(path, i)
    ordered = sorted((path for path in blocks if path in first), key=first.__getitem__)
    own = classifier if classifier in first else ""
    return Graph(nodes, tuple(ordered), own, frozenset(holders - set(called)), **more)


def head_of(nodes: Sequence[Node]) -> Node | None:
    """The layer that counts as the classifier if the network names none.

    That is the convolution of which a result of maps is made, as in segmentation, else the last linear layer.
    """
    last = next((i for i in reversed(range(len(nodes))) if nodes[i].op.kind in ("linear", "conv2d")), len(nodes))
    if last < len(nodes) and nodes[last].op.kind == "conv2d" and all(n.op.grid != "none" for n in nodes[last + 1 :]):
        return nodes[last]
    return next((node for node in reversed(nodes) if node.op.kind == "linear"), None)
