"""The registry of strategies. A strategy rewrites the graph and marks what trains; `apply` appends the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..graph.graph import Graph, Node
from ..graph.recompute import MAPS

Option = Callable[[str], Any]  # parses an option's text; raises ValueError, which says what is allowed


class Strategy(NamedTuple):
    """A named strategy. `rewrite(graph, **options)` returns the graph that trains; K is the option `blocks`.

    options: parsers by name. trains: whether a loss is appended. least_blocks: the number of blocks that a network must
    have. of_modules: it needs a traced module, of_classifiers: a network that has a classifier. takes_code: in place of
    K it takes a text of this name, as the option `code`; "" if it takes none. recompute: what lean modules make again
    unless its options say so (graph/recompute.py). advice: the end of the error message for a node of the rewritten
    graph that does not fit the images. notes: lines for people about a rewritten graph. zeroed: paths of the modules of
    a rewritten graph whose weight starts at 0, so that the network is as it was before it trains.
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
    takes_code: str
    recompute: str
    advice: Callable[[Node], str]
    notes: Callable[[Graph], Sequence[str]]
    zeroed: Callable[[Graph], Sequence[str]]


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
    code: str = "",
    recompute: str = MAPS,
    advice: Callable[[Node], str] = lambda node: "",
    notes: Callable[[Graph], Sequence[str]] = lambda graph: (),
    zeroed: Callable[[Graph], Sequence[str]] = lambda graph: (),
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
            recompute,
            advice,
            notes,
            zeroed,
        )
        return rewrite

    return register


class Modifier(NamedTuple):
    """A form in which layers keep what they need, or another change of what a strategy trains.

    `rewrite(graph, **options)` changes the graph that a strategy has marked. takes: what stands after a colon, as the
    option `code`; "" if nothing does.
    """

    name: str
    summary: str
    rewrite: Callable[..., Graph]
    options: Mapping[str, Option]
    takes: str


MODIFIERS: dict[str, Modifier] = {}


def modifier(
    name: str,
    summary: str,
    alone: Callable[..., Graph],
    options: Mapping[str, Option] = {},
    takes: str = "",
    **of_strategy: Any,
) -> Callable[[Callable[..., Graph]], Callable[..., Graph]]:
    """Decorator: registers a function graph -> graph as the modifier `name`, and as a strategy of this name.

    alone: what trains where it stands alone, a function of the graph and of the option `code`, if there is one.
    of_strategy: further fields of the strategy.
    """

    def register(rewrite: Callable[..., Graph]) -> Callable[..., Graph]:
        MODIFIERS[name] = Modifier(name, summary, rewrite, options, takes)

        def whole(graph: Graph, **given: Any) -> Graph:
            own = {key: value for key, value in given.items() if key == "code"}
            return rewrite(alone(graph, **own), **given)

        strategy(name, summary, options=options, code=takes, **of_strategy)(whole)
        return rewrite

    return register


def possible(graph: Graph) -> list[Strategy]:
    """The strategies that fit a graph, without forms and modifiers, which not every convention has."""
    blocks = len(graph.blocks)
    return [
        s
        for s in STRATEGIES.values()
        if max(s.least_blocks, s.takes_blocks) <= blocks
        and (graph.is_traced or not s.of_modules)
        and (graph.classifier or not s.of_classifiers)
        and not s.takes_code
        and s.name not in MODIFIERS
    ]


def usual(graph: Graph) -> tuple[str, ...]:
    """Every strategy that fits a graph; those that take K with K = 1, 3 and 5."""
    few = [k for k in (1, 3, 5) if k <= len(graph.blocks)]
    names = [[f"{s.name}:{k}" for k in few] if s.takes_blocks else [s.name] for s in possible(graph)]
    return tuple(name for group in names for name in group)
