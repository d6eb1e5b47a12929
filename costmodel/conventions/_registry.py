"""The registry of conventions. A convention turns a graph's needs into the list of what is kept for backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..errors import check_name
from ..graph.graph import Graph, Node
from ..sizes.size import Shape, Size
from ._kept import Kept, KeptRule, kept_of

OwnMemory = Callable[[Graph, tuple[Shape, ...], tuple[Kept, ...], tuple[Size, ...], int], dict[str, Size]]


class Counted(NamedTuple):
    """A paper's own operations of a node. has_products: those of the backward pass have its products in them."""

    forward: Size
    backward: Size
    has_products: bool = False


#: Takes a node, its output's shape, its inputs' shapes and the demanded gradients.
OwnWork = Callable[[Node, Shape, tuple[Shape, ...], tuple[str, ...]], Counted | None]


class Convention(NamedTuple):
    """A named way to count. `reads` lists every operand that is read at backward time, in order of the nodes.

    memory: a paper's own arithmetic. It takes the graph, the shapes of its values, what is kept, the bytes of each kept
    tensor, and the bytes of a number of the network's data type, and returns entries of an estimate's `memory_bytes`.
    With it every read counts by itself, layer by layer, even if another one reads the same storage.
    work: a paper's own elementwise operations of a node, or None to take the op's.
    makes_again: whether it follows the strategy's option `recompute`.
    """

    name: str
    summary: str
    reads: KeptRule
    measurable: bool  # whether a real run can be compared with it
    lower: Callable[[Graph], Graph]  # rewrites the graph before it is priced and run
    memory: OwnMemory | None
    work: OwnWork | None
    makes_again: bool

    def kept(self, graph: Graph) -> tuple[Kept, ...]:
        """What is kept, each storage once, in the order in which it is first kept. What reruns keep comes last."""
        return kept_of(self.reads, self.measurable, self.memory is not None, graph)


CONVENTIONS: dict[str, Convention] = {}


def convention(
    name: str,
    summary: str,
    measurable: bool = False,
    lower: Callable[[Graph], Graph] = lambda graph: graph,
    memory: OwnMemory | None = None,
    work: OwnWork | None = None,
    makes_again: bool = False,
) -> Callable[[KeptRule], KeptRule]:
    """Decorator: registers a function graph -> reads as the convention `name`."""

    def register(rule: KeptRule) -> KeptRule:
        CONVENTIONS[name] = Convention(name, summary, rule, measurable, lower, memory, work, makes_again)
        return rule

    return register


def find(name: str) -> Convention:
    """The convention of this name. Raises CostmodelError for an unknown name."""
    check_name("convention", name, CONVENTIONS)
    return CONVENTIONS[name]
