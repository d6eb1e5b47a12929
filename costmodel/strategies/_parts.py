"""Choices for the parts of a network (stem, each block, nodes between blocks, head), and their code of letters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..graph.recompute import MIXED, NOTHING
from ._edits import all_but_norms, biases, everything, nothing
from ._forms_of_blocks import filtered, pruned, rounded
from ._lighter import lighter
from ._text import StrategyText, read_text


class Choice(NamedTuple):
    """What may be chosen for a part: the rule of a strategy, for the nodes of that part alone.

    letter: its letter in a code, in upper case if the part runs again in the backward pass. trains: the parameters of a
    node that train. freezes_statistics: whether the part's norms use frozen statistics. blocks_only: a stem or head
    cannot have it. edit: a further change to the blocks with this choice, given their scopes. recompute: what lean
    modules make again in the part, if not what plans make again everywhere (graph/recompute.py); such a part does not
    run again as a whole. form: the name of the form in which layers keep their input; a plan takes such a choice only
    where that is asked for. training: what trains, as values of plans name it.
    """

    letter: str
    name: str
    summary: str
    trains: Callable[[Node], frozenset]
    freezes_statistics: bool
    blocks_only: bool = False
    edit: Callable[[Graph, Sequence[str]], Graph] | None = None
    recompute: str = ""
    form: str = ""

    @property
    def training(self) -> str:
        return self.name.partition("-")[0]


PLAN = "plan"  # the name of the strategy that takes a code
FROZEN = Choice("f", "frozen", "nothing trains", nothing, freezes_statistics=True)
FULL = Choice("t", "full", "everything trains, with batch statistics", everything, freezes_statistics=False)

#: All choices by letter, in the order of listings. A new choice is one entry here.
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
        FULL._replace(
            letter="x", name="full-mixed", blocks_only=True, recompute=MIXED,
            summary="as full; lean modules keep one wide map and run a convolution again; blocks only",
        ),
        FULL._replace(
            letter="k", name="full-kept", blocks_only=True, recompute=NOTHING,
            summary="as full; lean modules make nothing again; blocks only",
        ),
        FULL._replace(
            letter="q", name="full-quantised", blocks_only=True, edit=rounded, form="quantised",
            summary="as full; lean modules keep maps rounded to 4 bits, so that gradients are right on average; blocks"
            " only",
        ),
        Choice(
            "p", "full-pruned",
            "all but norms trains, on frozen statistics, by the largest tenth of the inputs, which lean layers keep;"
            " blocks only",
            all_but_norms, freezes_statistics=True, blocks_only=True, edit=pruned, form="backrazor",
        ),
        Choice(
            "g", "full-filtered",
            "everything trains, on frozen statistics; gradients of lean convolutions are those of patches of 2 x 2"
            " pixels; blocks only",
            everything, freezes_statistics=True, blocks_only=True, edit=filtered, form="gradfilter",
        ),
    )
}  # fmt: skip


def checkpointed(letter: str) -> str:
    """The letter of this choice for a part that runs again in the backward pass."""
    return letter.upper()


def is_checkpointed(letter: str) -> bool:
    """Whether the part with this letter runs again in the backward pass."""
    return letter.isupper()


def choices_of(code: str) -> list[Choice]:
    """The choices in a code, whether or not the parts run again."""
    return [CHOICES[letter] for letter in code.lower()]


def forms() -> tuple[str, ...]:
    """Names of the forms that a plan may choose."""
    return tuple(choice.form for choice in CHOICES.values() if choice.form)


def named(name: str) -> Choice:
    """The choice with a name."""
    return next(choice for choice in CHOICES.values() if choice.name == name)


class Part(NamedTuple):
    """Consecutive nodes that get one choice. name: a block's scope, or a name as `stem`."""

    name: str
    run: range
    is_block: bool

    def choices(self, forms: Collection[str] = ()) -> list[str]:
        """The letters that are allowed for this part. forms: those in which it may be."""
        letters = [
            letter
            for letter, choice in CHOICES.items()
            if (self.is_block or not choice.blocks_only) and (not choice.form or choice.form in forms)
        ]
        whole = [letter for letter in letters if not CHOICES[letter].recompute]
        return [*letters, *map(checkpointed, whole)] if self.is_block else letters


def part_names(graph: Graph) -> list[str]:
    """A name for each of the graph's parts; a repeated name is numbered: stem, stem 2."""
    found: list[str] = []
    taken: dict[str, int] = {}
    for name, _ in graph.parts:
        taken[name] = taken.get(name, 0) + 1
        found.append(name if taken[name] == 1 else f"{name} {taken[name]}")
    return found


@lru_cache(maxsize=64)
def parts(graph: Graph) -> tuple[Part, ...]:
    """The parts of a graph, from the images up, without the classifier, which always trains, and without the loss."""
    found: list[Part] = []
    for name, (own, run) in zip(part_names(graph), graph.parts):
        if own in ("classifier", graph.loss):
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
    """(part, name of its choice, whether it runs again), from the images up; [] for any strategy but `plan`."""
    text = read_text(strategy)
    code = (text.argument or "") if text.name == PLAN else ""
    return [
        (part.name, choice.name, is_checkpointed(letter))
        for part, choice, letter in zip(parts(graph), choices_of(code), code)
    ]


def check(code: str | None, graph: Graph) -> str:
    """Raise CostmodelError unless a code gives each part one of its allowed letters."""
    wanted = parts(graph)
    if code is None or len(code) != len(wanted):
        names = ", ".join(part.name for part in wanted)
        found = "no letters" if code is None else f"{len(code)} letters"
        raise CostmodelError(f"found {found}; allowed: {len(wanted)}, one for each of {names}")
    for letter, part in zip(code, wanted):
        if letter not in part.choices(forms()):
            raise CostmodelError(f"{part.name} has {letter!r}; allowed: {', '.join(part.choices(forms()))}")
    return code
