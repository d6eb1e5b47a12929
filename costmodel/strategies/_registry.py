"""The registry of strategies. A strategy rewrites the graph and marks what trains; `apply` appends the loss."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import CostmodelError, check_name, unknown
from ..graph.checkpointing import checkpointed
from ..graph.graph import Graph, Node
from ..graph.op import build
from ._text import StrategyText, read_text

Option = Callable[[str], Any]  # parses an option's text; raises ValueError, which says what is allowed


class Strategy(NamedTuple):
    """A named strategy. `rewrite(graph, **options)` returns the graph that trains; K is the option `blocks`.

    options: parsers by name. trains: whether a loss is appended. least_blocks: the number of blocks that a network must
    have. of_modules: it needs a traced module. takes_code: in place of K it takes a letter for each part of the
    network, as the option `code`. advice: the end of the error message for a node of the rewritten graph that does not
    fit the images. notes: lines for people about a rewritten graph.
    """

    name: str
    summary: str
    rewrite: Callable[..., Graph]
    takes_blocks: bool
    options: Mapping[str, Option]
    trains: bool
    least_blocks: int
    of_modules: bool
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
    code: bool = False,
    advice: Callable[[Node], str] = lambda node: "",
    notes: Callable[[Graph], Sequence[str]] = lambda graph: (),
) -> Callable[[Callable[..., Graph]], Callable[..., Graph]]:
    """Decorator: registers a function graph -> graph as the strategy `name`. The fields of Strategy say the rest."""

    def register(rewrite: Callable[..., Graph]) -> Callable[..., Graph]:
        STRATEGIES[name] = Strategy(
            name, summary, rewrite, blocks, options, trains, least_blocks, of_modules, code, advice, notes
        )
        return rewrite

    return register


def apply(strategy: str | StrategyText, graph: Graph) -> Graph:
    """The graph that a strategy trains, loss included.

    strategy: text, or a parsed text; its name may be a file that `costmodel plan` wrote. Raises CostmodelError for an
    unknown name or option, a K that is missing, not taken or larger than the number of blocks, or a network that lacks
    what the strategy needs.
    """
    return _apply(read(strategy, graph), graph)


def read(strategy: str | StrategyText, graph: Graph) -> StrategyText:
    """A parsed strategy; if its name is a file, the strategy in that file with the options added."""
    text = read_text(strategy)
    if not text.is_file:
        return text
    from . import _file  # reads YAML, which is slow to import

    found = _file.read(text.name, graph)
    return found._replace(options=found.options + text.options)


@lru_cache(maxsize=512)
def _apply(text: StrategyText, graph: Graph) -> Graph:
    name = text.name
    check_name("strategy", name, STRATEGIES)
    chosen = STRATEGIES[name]
    options: dict[str, Any] = {}
    if chosen.takes_blocks:
        options["blocks"] = _block_count(text, len(graph.blocks))
    elif chosen.takes_code:
        options["code"] = text.argument
    elif text.argument is not None:
        raise CostmodelError(f"strategy {str(text)!r}: {name} takes no number of blocks; allowed: {name}")
    readers = {**chosen.options, **COMMON_OPTIONS}
    for key, value in text.options:
        if key not in readers:
            raise CostmodelError(f"strategy {str(text)!r}: {unknown(f'option of {name}', key, readers)}")
        try:
            options[key] = readers[key](value or "")
        except ValueError as error:
            raise CostmodelError(f"strategy {str(text)!r}: {key} is {value or ''!r}; allowed: {error}") from None
    slices, again = options.pop("prefix_slices", 1), options.pop("checkpoint", "")
    try:
        rewritten = chosen.rewrite(graph, **options)
        rewritten = with_loss(rewritten) if chosen.trains else rewritten
        if slices > 1 and not rewritten.prefix:
            raise CostmodelError(f"prefix_slices, but {name} leaves no frozen prefix to cut into slices")
        rewritten = replace(rewritten, prefix_slices=slices)
        scopes = rewritten.blocks if again else rewritten.checkpointed
        return checkpointed(rewritten, scopes) if scopes else rewritten
    except CostmodelError as error:
        raise CostmodelError(f"strategy {str(text)!r}: {error}") from None


def with_loss(graph: Graph) -> Graph:
    """The graph with the loss after its result."""
    loss = Node("loss", build("cross_entropy", {}), (graph.nodes[-1].name,))
    return replace(graph, nodes=(*graph.nodes, loss))


def slices(text: str) -> int:
    """Parser of the option `prefix_slices`."""
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise ValueError("an integer >= 1")
    return int(text)


def checkpoint(text: str) -> str:
    """Parser of the option `checkpoint`."""
    if text != "blocks":
        raise ValueError("blocks")
    return text


#: Options of every strategy. `checkpoint=blocks`: blocks with a backward pass run again in it. `prefix_slices=N` (lean
#: only; stock modules ignore it): the frozen prefix runs on ceil(batch / N) images at a time.
COMMON_OPTIONS: Mapping[str, Option] = {"prefix_slices": slices, "checkpoint": checkpoint}


def possible(graph: Graph) -> list[Strategy]:
    """The strategies that fit a graph."""
    blocks = len(graph.blocks)
    return [
        s
        for s in STRATEGIES.values()
        if max(s.least_blocks, s.takes_blocks) <= blocks and (graph.is_traced or not s.of_modules) and not s.takes_code
    ]


def usual(graph: Graph) -> tuple[str, ...]:
    """Every strategy that fits a graph; those that take K with K = 1, 3 and 5."""
    few = [k for k in (1, 3, 5) if k <= len(graph.blocks)]
    names = [[f"{s.name}:{k}" for k in few] if s.takes_blocks else [s.name] for s in possible(graph)]
    return tuple(name for group in names for name in group)


def _block_count(text: StrategyText, most: int) -> int:
    k = text.argument
    if most == 0:
        raise CostmodelError(f"strategy {str(text)!r}: the network has no blocks")
    if k is None or not re.fullmatch(r"[0-9]{1,9}", k) or not 1 <= int(k) <= most:
        found = "no number of blocks" if k is None else f"{k!r} blocks"
        raise CostmodelError(f"strategy {str(text)!r}: {found}; allowed: from 1 to {most}, as in {text.name}:1")
    return int(k)
