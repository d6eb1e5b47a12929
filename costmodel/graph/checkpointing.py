"""Blocks that run again in the backward pass, so that only their inputs are kept (`checkpoint=blocks`).

What torch.utils.checkpoint(..., use_reentrant=False) does in torch 2.13:
- The block's inputs are kept until every node of the block that saved something has run backward.
- The first of these nodes in the order of the backward pass runs the block again before its own backward. The second
  run stops as soon as the last tensor is saved: an op that saves only its inputs is not finished (`early_stop`).
- Then everything else of the second run is freed. What it saved is freed when its reader has run backward.
- If the block draws random numbers, the generator's state is kept besides its inputs, and again during the second run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from ..errors import CostmodelError
from .graph import Graph
from .op import Extra, Result
from .paths import within

RNG_STATE = "state of random numbers"
STATE = Extra((5056,), 8)  # torch.get_rng_state() on the CPU
GIVEN = "block's input"
SPAN = ".."  # between the names of the first and the last node of a part that is no module


class Rerun(NamedTuple):
    """A block's nodes (`run`, consecutive), which run again in the backward pass.

    given: values that the block reads from outside; inputs: contents of the ones that are kept for the second run.
    first, last: the first and the last node that save something. whole: the second run finishes node `last`, output
    included. is_random: the state of random numbers is kept.
    """

    scope: str
    run: range
    given: tuple[int, ...]
    inputs: tuple[int, ...]
    first: int
    last: int
    whole: bool
    is_random: bool

    @property
    def again(self) -> range:
        """The nodes that the second run finishes."""
        return range(self.run.start, self.last + self.whole)


def checkpointed(graph: Graph, scopes: Iterable[str], by_itself: bool = False) -> Graph:
    """The graph in which the given scopes run again in the backward pass; scopes without a backward pass are left out.

    by_itself: the network itself runs some of them again. Raises CostmodelError if a scope cannot run again, if it is
    in another one, or if no scope has a backward pass and the network did not ask for any.
    """
    inside = {scope: nodes_in(graph, scope) for scope in scopes}
    scopes = tuple(scope for scope, nodes in inside.items() if any(graph.demanded[i] for i in nodes))
    seen: set[int] = set()
    for scope in scopes:
        if not seen.isdisjoint(inside[scope]):
            raise CostmodelError(f"what is in {scope!r} runs again already; allowed: once")
        seen.update(inside[scope])
    if not scopes and not by_itself:
        raise CostmodelError("no block has a backward pass in which it could run again")
    graph = replace(graph, checkpointed=scopes)
    cut = graph.prefix if graph.prefix_slices > 1 else 0
    for rerun in reruns(graph):
        if rerun.run.start < cut:
            raise CostmodelError(
                f"block {rerun.scope!r} cannot be checkpointed: the frozen prefix, which is cut into slices, ends in it"
            )
    return graph


def nodes_in(graph: Graph, scope: str) -> list[int]:
    """Numbers of the nodes in a module, or from one node to another ("first..last").

    Raises CostmodelError if one of these two is not there.
    """
    first, _, last = scope.partition(SPAN)
    if not last:
        return [i for i, node in enumerate(graph.nodes) if within(node.name, scope)]
    number = {node.name: i for i, node in enumerate(graph.nodes)}
    for name in (first, last):
        if name not in number:
            raise CostmodelError(f"{name!r}, where a part that runs again begins or ends, is not there any more")
    return list(range(number[first], number[last] + 1))


@lru_cache(maxsize=512)
def reruns(graph: Graph, stock: bool = True) -> tuple[Rerun, ...]:
    """The reruns of a graph, in forward order.

    stock: nodes save what PyTorch's formulas read, rather than what the demanded gradients need. Raises CostmodelError
    if a block's nodes are not consecutive, a value other than its last is read outside it, or it overwrites its input.
    """
    return tuple(r for r in (_rerun(graph, scope, stock) for scope in graph.checkpointed) if r is not None)


@lru_cache(maxsize=512)
def passing_states(graph: Graph) -> Mapping[int, int]:
    """First node -> last node of the parts without a rerun that keep the state of random numbers while they run."""
    again = {rerun.scope for rerun in reruns(graph)}
    parts = (nodes_in(graph, scope) for scope in sorted(graph.stateful) if scope not in again)
    return {part[0]: part[-1] for part in parts if part}


@lru_cache(maxsize=512)
def rerun_of(graph: Graph, stock: bool = True) -> Mapping[int, int]:
    """Node -> number of its rerun, for the nodes in one."""
    return {i: k for k, rerun in enumerate(reruns(graph, stock)) for i in rerun.run}


def _rerun(graph: Graph, scope: str, stock: bool) -> Rerun | None:
    inside = nodes_in(graph, scope)
    run = range(inside[0], inside[-1] + 1)
    if len(run) != len(inside):
        raise CostmodelError(
            f"block {scope!r} cannot be checkpointed: {graph.nodes[run.start].name} and what follows are not all in it"
        )
    made = (i for i in run if graph.nodes[i].op.result is not Result.RESIDENT)  # parameters are not handed over
    given = dict.fromkeys(v for i in made for v in graph.reads[i] if v <= run.start)
    for i, reads in enumerate(graph.reads[run.stop :], run.stop):
        for v in reads:
            if run.start < v < run.stop:
                raise CostmodelError(
                    f"block {scope!r} cannot be checkpointed: {graph.nodes[i].name} reads"
                    f" {graph.nodes[v - 1].name} in the midst of it"
                )
    _refuse_overwritten(graph, scope, run)
    saves = [i for i in run if saved_by(graph, i, stock)]
    if not saves:
        return None  # nothing refers to the block after the forward pass
    last = saves[-1]
    whole = graph.nodes[last].op.saves_late(saved_by(graph, last, stock))
    contents = dict.fromkeys(graph.content[v] for v in given if v not in graph.resident)
    is_random = scope in graph.stateful or any(graph.nodes[i].op.is_random for i in run)
    return Rerun(scope, run, tuple(given), tuple(contents), saves[0], last, whole, is_random)


def saved_by(graph: Graph, i: int, stock: bool) -> Set[str]:
    """Names of the operands that a node's autograd node saves, parameters and buffers included, unseen extras not."""
    op, demanded = graph.nodes[i].op, graph.demanded[i]
    if not demanded:
        return frozenset()
    needs = op.torch_needs() if stock else op.needs()
    gradients = needs if stock and op.stock.joint else demanded
    return {operand for gradient in gradients for operand in needs[gradient] if operand not in op.stock.unseen}


def _refuse_overwritten(graph: Graph, scope: str, run: range) -> None:
    """Raise CostmodelError if a node overwrites the block's input in place: the second run needs that input."""
    same: dict[int, int] = {}  # value -> the value whose storage it shares
    for i in run:
        node, v = graph.nodes[i], graph.reads[i][0]
        result = node.op.result
        if result.is_view or result is Result.INPLACE:
            same[i + 1] = same.get(v, v)
            if result is Result.INPLACE and same[i + 1] <= run.start:
                raise CostmodelError(f"block {scope!r} cannot be checkpointed: {node.name} overwrites its input")
