"""What is kept for the backward pass: the operands that formulas read, each storage once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from ..graph.checkpointing import GIVEN, RNG_STATE, passing_states, rerun_of, reruns
from ..graph.graph import Graph


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
    in_vain: a node keeps it to which no gradient arrives, and it is freed in the forward pass.
    """

    node: int
    operand: str
    value: int | None
    readers: tuple[Read, ...]
    rerun: int | None = None
    in_vain: bool = False

    @property
    def is_saved(self) -> bool:
        """Whether it is kept from the forward pass to the backward pass."""
        return self.rerun is None and not self.in_vain


KeptRule = Callable[[Graph], Iterable[Read]]


@lru_cache(maxsize=512)
def kept_of(rule: KeptRule, stock: bool, layer_by_layer: bool, graph: Graph) -> tuple[Kept, ...]:
    """What is kept, in the order in which it is first kept. What reruns keep comes last, and what is kept in vain.

    rule: lists every read at backward time. stock: as stock PyTorch's formulas read. layer_by_layer: every read counts
    by itself; else each storage counts once.
    """
    readers: dict[tuple, list[Read]] = {}
    values: dict[tuple, int | None] = {}
    again, number = reruns(graph, stock), rerun_of(graph, stock)
    reads = [(read, v) for read in rule(graph) for v in values_of(graph, read.node, read.operand)]
    for rerun in again:
        reads += [(Read(rerun.first, GIVEN, ()), v) for v in rerun.inputs]
        reads += [(Read(rerun.first, RNG_STATE, ()), None)] if rerun.is_random else []
    for read, value in sorted(reads, key=lambda pair: pair[0].node) if again else reads:
        hooked = read.gradients and read.operand not in graph.nodes[read.node].op.stock.unseen
        k = number.get(read.node) if hooked else None
        if k is not None and value is not None and value <= again[k].run.start:
            continue  # kept as an input of the rerun
        # A value is one storage for all its readers; an extra belongs to its node.
        key = (k, value, "") if value is not None and not layer_by_layer else (k, -1 - read.node, read.operand)
        values[key] = value
        readers.setdefault(key, []).append(read)
    kept = [Kept(reads[0].node, reads[0].operand, values[key], tuple(reads), key[0]) for key, reads in readers.items()]
    kept += [
        Kept(read.node, read.operand, value_of(graph, read.node, read.operand), (read,), in_vain=True)
        for read in (each_read(graph, True, in_vain=True) if stock else ())
    ]
    kept += [Kept(i, RNG_STATE, None, (), in_vain=True) for i in (passing_states(graph) if stock else ())]
    return tuple(sorted(kept, key=lambda one: not one.is_saved))


def value_of(graph: Graph, node: int, operand: str) -> int | None:
    """Number of the first value with the content of a node's operand, or None for an extra."""
    if operand == "y":
        return graph.content[node + 1]
    inputs = graph.nodes[node].op.inputs
    return graph.content[graph.reads[node][inputs.index(operand)]] if operand in inputs else None


def values_of(graph: Graph, node: int, operand: str) -> tuple[int | None, ...]:
    """Numbers of the values that are kept for a node's operand: its own, or those from which it is made again."""
    value = value_of(graph, node, operand)
    return graph.roots.get(value, (value,)) if value is not None else (None,)


def kept_values(graph: Graph, reads: Iterable[Read], stock: bool) -> set[tuple[int | None, int | None]]:
    """What is kept, as (number of the rerun that keeps it, or None for the forward pass; the value, or None)."""
    number = rerun_of(graph, stock)
    kept = {(number.get(read.node), v) for read in reads for v in values_of(graph, read.node, read.operand)}
    return kept | {(None, v) for rerun in reruns(graph, stock) for v in rerun.inputs}


def resident(graph: Graph, node: int) -> Iterable[str]:
    """Names of a node's operands that exist anyway: its parameters and buffers, and inputs that are such values."""
    op = graph.nodes[node].op
    inputs = [name for name, v in zip(op.inputs, graph.reads[node]) if v in graph.resident] if graph.resident else ()
    return {*op.params(), *op.buffers(), *inputs}


def each_read(graph: Graph, stock: bool, in_vain: bool = False) -> Iterator[Read]:
    """The operands that the formulas of demanded gradients read, in order of the nodes, without resident ones.

    stock: by stock PyTorch's formulas, where a joint backward call reads for all gradients. in_vain: of the gradients
    that are recorded but never computed.
    """
    for i, (node, demanded) in enumerate(zip(graph.nodes, graph.abandoned if in_vain else graph.demanded)):
        if not demanded:
            continue
        op = node.op
        needs = op.torch_needs() if stock else op.needs()
        existing = resident(graph, i)
        gradients: dict[str, list[str]] = {}
        for gradient in needs if stock and op.stock.joint else demanded:
            for operand in needs[gradient]:
                if operand not in existing:
                    gradients.setdefault(operand, []).append(gradient)
        for operand, names in gradients.items():
            yield Read(i, operand, tuple(names))
