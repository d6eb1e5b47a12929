"""A choice for each part of a network (stem, each block, what stands between blocks, head), and its code of letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ._edits import biases, everything, nothing
from ._lighter import lighter
from ._text import StrategyText, read_text


class Choice(NamedTuple):
    """What may be chosen for a part: a rule of a strategy, for the nodes of that part alone.

    letter: stands for it in a code, and in upper case where the part runs again in the backward pass. trains: the
    parameters of a node that train. freezes_statistics: of the part's norms. blocks_only: no stem or head can have it.
    edit: what the chosen blocks, given by their scopes, are changed to beside.
    """

    letter: str
    name: str
    summary: str
    trains: Callable[[Node], frozenset]
    freezes_statistics: bool
    blocks_only: bool = False
    edit: Callable[[Graph, Sequence[str]], Graph] | None = None


PLAN = "plan"  # the name of the strategy that takes a code
FROZEN = Choice("f", "frozen", "nothing trains", nothing, freezes_statistics=True)
FULL = Choice("t", "full", "everything trains, with batch statistics", everything, freezes_statistics=False)

#: All choices by their letters, in the order in which people see them. A new one is one entry.
CHOICES: dict[str, Choice] = {
    choice.letter: choice
    for choice in (
        FROZEN,
        Choice("b", "bias", "every bias and shift trains, on frozen statistics", biases, freezes_statistics=True),
        Choice(
            "m", "mobiletl",
            "as a block of mobiletl:K: weights, the last norm, shifts of the inner norms; blocks only",
            everything, freezes_statistics=False, blocks_only=True, edit=lighter,
        ),
        FULL,
    )
}  # fmt: skip


def checkpointed(letter: str) -> str:
    """The letter of the same choice for a part that runs again in the backward pass."""
    return letter.upper()


def is_checkpointed(letter: str) -> bool:
    """Whether the part with this letter runs again in the backward pass."""
    return letter.isupper()


def choices_of(code: str) -> list[Choice]:
    """The choices that a code stands for, whether or not the parts run again."""
    return [CHOICES[letter] for letter in code.lower()]


class Part(NamedTuple):
    """Consecutive nodes for which one choice is made. name: of a block its scope."""

    name: str
    run: range
    is_block: bool

    def choices(self) -> list[str]:
        """The letters that it may have."""
        letters = [letter for letter, choice in CHOICES.items() if self.is_block or not choice.blocks_only]
        return [*letters, *map(checkpointed, letters)] if self.is_block else letters


def part_names(graph: Graph) -> list[str]:
    """A name for each of the graph's parts; where one comes again it is numbered: stem, stem 2."""
    found: list[str] = []
    taken: dict[str, int] = {}
    for name, _ in graph.parts:
        taken[name] = taken.get(name, 0) + 1
        found.append(name if taken[name] == 1 else f"{name} {taken[name]}")
    return found


@lru_cache(maxsize=64)
def parts(graph: Graph) -> tuple[Part, ...]:
    """The parts of a graph without loss, from the images up; the classifier, which always trains, is none of them."""
    found: list[Part] = []
    for name, (own, run) in zip(part_names(graph), graph.parts):
        if own == "classifier":
            continue
        is_block = own in graph.blocks
        if is_block and name != own:
            raise CostmodelError(f"block {own!r} is left and entered again; a choice is for consecutive nodes")
        found.append(Part(name, run, is_block))
    return tuple(found)


def all_frozen(graph: Graph) -> str:
    """The code with which nothing but the classifier trains."""
    return FROZEN.letter * len(parts(graph))


def of_code(code: str) -> StrategyText:
    """The strategy that makes the choices of a code."""
    return StrategyText(PLAN, code)


def chosen_parts(strategy: str | StrategyText, graph: Graph) -> list[tuple[str, str, bool]]:
    """(part, name of its choice, whether it runs again), from the images up; empty for a strategy that is named."""
    text = read_text(strategy)
    code = (text.argument or "") if text.name == PLAN else ""
    return [
        (part.name, choice.name, is_checkpointed(letter))
        for part, choice, letter in zip(parts(graph), choices_of(code), code)
    ]


def check(code: str | None, graph: Graph) -> str:
    """The code; raises CostmodelError for one that does not give each part a letter that it may have."""
    wanted = parts(graph)
    if code is None or len(code) != len(wanted):
        names = ", ".join(part.name for part in wanted)
        found = "no letters" if code is None else f"{len(code)} letters"
        raise CostmodelError(f"found {found}; allowed: {len(wanted)}, one for each of {names}")
    for letter, part in zip(code, wanted):
        if letter not in part.choices():
            raise CostmodelError(f"{part.name} has {letter!r}; allowed: {', '.join(part.choices())}")
    return code
