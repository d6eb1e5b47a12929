"""Explains what some layers keep for the backward pass: which tensors, who reads them, and what would free them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from ..api import estimate
from ..conventions import Kept
from ..errors import CostmodelError
from ..graph.graph import INPUT, Graph
from ..graph.network import Network
from ..graph.op import Result
from ..graph.paths import matches, within
from ..graph.recompute import MIXED
from ..step.estimate import Estimate, Row
from ..strategies import Strategy, possible, read_text

#: What a layer has to do with a tensor that is kept.
KEEPS, READS, MAKES = "keeps", "reads", "makes"
#: Options with which a strategy keeps less, each with its value.
MORE = {"checkpoint": "blocks", "recompute": MIXED}
#: Who makes the images and the targets.
GIVEN = "the caller"


class KeptTensor(NamedTuple):
    """A tensor that is kept, and what the explained layers have to do with it.

    role: KEEPS if it counts as saved by one of them, READS if the gradient of one of them reads it, but a layer before
    them keeps it already, MAKES if one of them makes it and only layers after them keep it. made_by: the layer that
    makes it, or GIVEN. released_after: the layer after whose backward pass nothing holds it any more; None if it is
    given and outlives the step.
    """

    convention: str
    role: str
    row: Row
    made_by: str
    released_after: str | None


class Freed(NamedTuple):
    """A change of the request, as arguments of `costmodel.estimate`, with which less is kept.

    found: the estimate with it. still_bytes: what is still kept of the tensors that the explained layers keep without
    the change, and what these layers keep instead.
    """

    changes: dict[str, Any]
    found: Estimate
    still_bytes: int


def layers_named(graph: Graph, name: str) -> list[int]:
    """Numbers of the layers that are meant: one layer, all in a module or a part of the network, or by a pattern.

    What autocast makes for them is among them. Raises CostmodelError if there are none.
    """
    own = [i for part, run in graph.parts if part == name for i in run]
    names = [node.name for node in graph.nodes]
    found = own or [i for i, node in enumerate(names) if within(node, name) or matches(node, name)]
    if not found:
        near = get_close_matches(name, [*names, *(part for part, _ in graph.parts)], n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise CostmodelError(
            f"no layer is called {name!r}{hint} (allowed: a layer, a block, stem, head, classifier, or a pattern such"
            f" as {graph.nodes[0].name.rpartition('.')[0] or '*conv'}*; `costmodel report --layers` lists them)"
        )
    return found


def kept_tensors(one: Estimate, name: str) -> list[KeptTensor]:
    """The tensors that are kept in a step and with which some layers have to do, in the order of `rows`."""
    graph, chosen = one.graph, {*layers_named(one.graph, name)}
    found = []
    for kept, row in zip(one.kept, one.rows):
        made = kept.node if kept.value is None else kept.value - 1
        readers = {read.node for read in kept.readers}
        roles = {KEEPS: kept.node in chosen, READS: bool(readers & chosen), MAKES: made in chosen}
        role = next((role for role, holds in roles.items() if holds), None)
        if role is not None:
            given = made < 0 or kept.value is not None and graph.nodes[made].op.result is Result.GIVEN
            by = GIVEN if given else graph.nodes[made].name
            last = None if given else graph.nodes[min(readers)].name
            found.append(KeptTensor(one.convention, role, row, by, last))
    return found


def freed_by(network: Network, name: str, asked: dict[str, Any], conventions: Sequence[str]) -> list[Freed]:
    """Changes of a request with which less is kept of what some layers keep: a convention, checkpoints, a strategy.

    Each is priced. Of other strategies, one is left out if another one frees as much and trains no fewer parameters.
    asked: the arguments of `costmodel.estimate`. conventions: those that are tried.
    """
    first = estimate(network, **asked)
    mine = {*layers_named(first.graph, name)}
    identities = {_identity(first.graph, kept) for kept in first.kept if kept.node in mine}
    names = {first.graph.nodes[i].name for i in mine}
    now = sum(size for kept, size in zip(first.kept, first.kept_bytes) if kept.node in mine)
    found: list[Freed] = []
    for changes in _changes(network, first, max(mine), asked, conventions):
        try:
            other = estimate(network, **{**asked, **changes})
        except CostmodelError:  # the network or the strategy cannot be changed like that
            continue
        still = sum(
            size
            for kept, size in zip(other.kept, other.kept_bytes)
            if other.graph.nodes[kept.node].name in names or _identity(other.graph, kept) in identities
        )
        if still < now:
            found.append(Freed(changes, other, still))
    found.sort(key=lambda one: (one.still_bytes, -one.found.trainable_parameters, len(one.changes)))
    own = read_text(first.strategy)
    chosen: list[Freed] = []
    most = -1  # parameters that train with another strategy that frees more
    asked_twice = set()  # the same step may be reached by several changes
    for one in found:
        step = one.found.strategy, one.found.convention, str(one.found.request.target)
        if step in asked_twice:
            continue
        asked_twice.add(step)
        text = read_text(one.found.strategy)
        if (text.name, text.argument) == (own.name, own.argument):
            chosen.append(one)
        elif one.found.trainable_parameters > most:
            most = one.found.trainable_parameters
            chosen.append(one)
    return chosen


def _identity(graph: Graph, kept: Kept) -> tuple[str, str]:
    """What tells a kept tensor from all others, under every strategy: the layer that makes it, and which one it is."""
    if kept.value is None:
        return graph.nodes[kept.node].name, kept.operand
    return (INPUT if kept.value == 0 else graph.nodes[kept.value - 1].name), "y"


def _changes(
    network: Network, first: Estimate, last: int, asked: dict[str, Any], conventions: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The changes that are tried. last: the number of the last explained layer in the first estimate's graph."""
    graph = network.graph
    block = first.graph.block_of(first.graph.nodes[last])
    above = len(graph.blocks) - 1 - block if block is not None else 0
    own = str(asked["strategy"])
    strategies = [own, *(f"{own},{key}={value}" for key, value in MORE.items() if f"{key}=" not in own)]
    for strategy in possible(graph):
        strategies += _variants(strategy, above)
    for convention in dict.fromkeys([asked["convention"], *conventions]):
        for text in strategies:
            changes = {"strategy": text, "convention": convention}
            different = {key: value for key, value in changes.items() if value != asked[key]}
            if different:
                yield different


def _variants(strategy: Strategy, above: int) -> list[str]:
    """A strategy that trains; one that takes K trains the blocks above the explained layers, or one more."""
    if not strategy.trains or strategy.of_modules:
        return []
    if not strategy.takes_blocks:
        return [strategy.name]
    return [f"{strategy.name}:{k}" for k in (above + 1, above) if k >= 1]
