"""The registry of conventions. A convention turns a graph's needs into the list of what is kept for backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from ..errors import check_name
from ..graph.checkpointing import GIVEN, RNG_STATE, rerun_of, reruns
from ..graph.graph import Graph, Node
from ..sizes.size import Shape, Size


class Read(NamedTuple):
    """An operand (by name) that a node (by number) reads in its backward."""

    node: int
    operand: str
    gradients: tuple[str, ...]  # the gradients whose formulas read it


class Kept(NamedTuple):
    """A tensor kept from the forward pass until the last of its readers has run backward.

    node: the first node that keeps the tensor; operand: the tensor's name there.
    value: number of the value that is kept, or None for an extra of the node.
    rerun: number of the rerun that makes the tensor; None if the forward pass makes it.
    """

    node: int
    operand: str
    value: int | None
    readers: tuple[Read, ...]
    rerun: int | None = None


KeptRule = Callable[[Graph], Iterable[Read]]
OwnMemory = Callable[[Graph, tuple[Shape, ...], tuple[Kept, ...], tuple[Size, ...], int], dict[str, Size]]
Elementwise = Callable[[Node, Shape, tuple[str, ...]], tuple[Size, Size] | None]


class Convention(NamedTuple):
    """A named way to count. `reads` lists every operand that is read at backward time, in order of the nodes.

    memory: a paper's own arithmetic. It takes the graph, the shapes of its values, what is kept, the bytes of each kept
    tensor, and the bytes of a number of the network's data type, and returns entries of an estimate's `memory_bytes`.
    With it every read counts by itself, layer by layer, even if another one reads the same storage.
    elementwise: a paper's own elementwise operations. It takes a node, its output's shape and the demanded gradients,
    and returns the operations of the forward and the backward pass, or None to take the op's.
    """

    name: str
    summary: str
    reads: KeptRule
    measurable: bool  # whether a real run can be compared with it
    lower: Callable[[Graph], Graph]  # rewrites the graph before it is priced and run
    memory: OwnMemory | None
    elementwise: Elementwise | None

    def kept(self, graph: Graph) -> tuple[Kept, ...]:
        """What is kept, each storage once, in the order in which it is first kept. What reruns keep comes last."""
        return _kept(self, graph)


CONVENTIONS: dict[str, Convention] = {}


def convention(
    name: str,
    summary: str,
    measurable: bool = False,
    lower: Callable[[Graph], Graph] = lambda graph: graph,
    memory: OwnMemory | None = None,
    elementwise: Elementwise | None = None,
) -> Callable[[KeptRule], KeptRule]:
    """Decorator: registers a function graph -> reads as the convention `name`."""

    def register(rule: KeptRule) -> KeptRule:
        CONVENTIONS[name] = Convention(name, summary, rule, measurable, lower, memory, elementwise)
        return rule

    return register


def find(name: str) -> Convention:
    """The convention of this name. Raises CostmodelError for an unknown name."""
    check_name("convention", name, CONVENTIONS)
    return CONVENTIONS[name]


@lru_cache(maxsize=512)
def _kept(convention: Convention, graph: Graph) -> tuple[Kept, ...]:
    readers: dict[tuple, list[Read]] = {}
    values: dict[tuple, int | None] = {}
    again, number = reruns(graph, convention.measurable), rerun_of(graph, convention.measurable)
    reads = [(read, value_of(graph, read.node, read.operand)) for read in convention.reads(graph)]
    for rerun in again:
        reads += [(Read(rerun.first, GIVEN, ()), v) for v in rerun.inputs]
        reads += [(Read(rerun.first, RNG_STATE, ()), None)] if rerun.is_random else []
    for read, value in sorted(reads, key=lambda pair: pair[0].node) if again else reads:
        hooked = read.gradients and read.operand not in graph.nodes[read.node].op.stock.unseen
        k = number.get(read.node) if hooked else None
        if k is not None and value is not None and value <= again[k].run.start:
            continue  # kept as an input of the rerun
        # A value is one storage for all its readers; an extra belongs to its node.
        key = (k, value, "") if value is not None and not convention.memory else (k, -1 - read.node, read.operand)
        values[key] = value
        readers.setdefault(key, []).append(read)
    kept = [Kept(reads[0].node, reads[0].operand, values[key], tuple(reads), key[0]) for key, reads in readers.items()]
    return tuple(sorted(kept, key=lambda one: one.rerun is not None))


def value_of(graph: Graph, node: int, operand: str) -> int | None:
    """Number of the first value with the content of a node's operand, or None for an extra."""
    if operand == "y":
        return graph.content[node + 1]
    inputs = graph.nodes[node].op.inputs
    return graph.content[graph.reads[node][inputs.index(operand)]] if operand in inputs else None


def kept_values(graph: Graph, reads: Iterable[Read], stock: bool) -> set[tuple[int | None, int | None]]:
    """What is kept, as (number of the rerun that keeps it, or None for the forward pass; the value, or None)."""
    number = rerun_of(graph, stock)
    kept = {(number.get(read.node), value_of(graph, read.node, read.operand)) for read in reads}
    return kept | {(None, v) for rerun in reruns(graph, stock) for v in rerun.inputs}


def resident(graph: Graph, node: int) -> Iterable[str]:
    """Names of a node's operands that exist anyway: its parameters and buffers, and inputs that are such values."""
    op = graph.nodes[node].op
    inputs = [name for name, v in zip(op.inputs, graph.reads[node]) if v in graph.resident] if graph.resident else ()
    return {*op.params(), *op.buffers(), *inputs}


def each_read(graph: Graph, stock: bool) -> Iterator[Read]:
    """The operands that the formulas of demanded gradients read, in order of the nodes, without resident ones.

    stock: by stock PyTorch's formulas, where a joint backward call reads for all gradients.
    """
    for i, (node, demanded) in enumerate(zip(graph.nodes, graph.demanded)):
        if not demanded:
            continue
        op = node.op
        needs = op.torch_needs() if stock else op.needs()
        there = resident(graph, i)
        gradients: dict[str, list[str]] = {}
        for gradient in needs if stock and op.stock.joint else demanded:
            for operand in needs[gradient]:
                if operand not in there:
                    gradients.setdefault(operand, []).append(gradient)
        for operand, names in gradients.items():
            yield Read(i, operand, tuple(names))
