"""The registry of strategies. A strategy rewrites the graph and marks what trains; `apply` appends the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..graph.graph import Graph, Node

Option = Callable[[str], Any]  # parses an option's text; raises ValueError, which says what is allowed


class Strategy(NamedTuple):
    """A named strategy. `rewrite(graph, **options)` returns the graph that trains; K is the option `blocks`.

    options: parsers by name. trains: whether a loss is appended. least_blocks: the number of blocks that a network must
    have. of_modules: it needs a traced module, of_classifiers: a network that has a classifier. takes_code: in place of
    K it takes a letter for each part of the network, as the option `code`. advice: the end of the error message for a
    node of the rewritten graph that does not fit the images. notes: lines for people about a rewritten graph.
    """

    name: str
    summary: str
    rewrite: Callable[..., Graph]
    takes_blocks: bool
    options: Mapping[str, Option]
    trains: bool
    least_blocks: int
    of_modules: bool
    of_classifiers: bool
    takes_code: bool
    advice: Callable[[Node], str]
    notes: Callable[[Graph], Sequence[str]]


STRATEGIES: dict[str, Strategy] = {}


def strategy(
    name: str,
    summary: str,
    blocks: bool = False,
    options: Mapping[str, Option] = {},
    trains: bool = True,
    least_blocks: int = 0,
    of_modules: bool = False,
    of_classifiers: bool = False,
    code: bool = False,
    advice: Callable[[Node], str] = lambda node: "",
    notes: Callable[[Graph], Sequence[str]] = lambda graph: (),
) -> Callable[[Callable[..., Graph]], Callable[..., Graph]]:
    """Decorator: registers a function graph -> graph as the strategy `name`. The fields of Strategy say the rest."""

    def register(rewrite: Callable[..., Graph]) -> Callable[..., Graph]:
        STRATEGIES[name] = Strategy(
            name,
            summary,
            rewrite,
            blocks,
            options,
            trains,
            least_blocks,
            of_modules,
            of_classifiers,
            code,
            advice,
            notes,
        )
        return rewrite

    return register


def possible(graph: Graph) -> list[Strategy]:
    """The strategies that fit a graph."""
    blocks = len(graph.blocks)
    return [
        s
        for s in STRATEGIES.values()
        if max(s.least_blocks, s.takes_blocks) <= blocks
        and (graph.is_traced or not s.of_modules)
        and (graph.classifier or not s.of_classifiers)
        and not s.takes_code
    ]


def usual(graph: Graph) -> tuple[str, ...]:
    """Every strategy that fits a graph; those that take K with K = 1, 3 and 5."""
    few = [k for k in (1, 3, 5) if k <= len(graph.blocks)]
    names = [[f"{s.name}:{k}" for k in few] if s.takes_blocks else [s.name] for s in possible(graph)]
    return tuple(name for group in names for name in group)
