"""A choice for each part of a network: stem, each block, what stands between blocks, head."""

from __future__ import annotations

from functools import lru_cache
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..errors import CostmodelError
from ..graph.graph import Graph

#: What may be chosen for a part, each by a letter: upper case where the part runs again in the backward pass.
CHOICES: Dict[str, str] = {"f": "frozen", "b": "bias", "m": "mobiletl", "t": "full"}
SUMMARIES: Dict[str, str] = {
    "frozen": "nothing trains",
    "bias": "every bias and shift trains, on frozen statistics",
    "mobiletl": "as a block of mobiletl:K: weights, the last norm, shifts of the inner norms; blocks only",
    "full": "everything trains, with batch statistics",
}


class Part(NamedTuple):
    """Consecutive nodes for which one choice is made. name: of a block its scope."""

    name: str
    run: range
    is_block: bool

    def choices(self) -> List[str]:
        """The letters that it may have."""
        return [*"fbmtFBMT"] if self.is_block else [*"fbt"]


@lru_cache(maxsize=64)
def parts(graph: Graph) -> Tuple[Part, ...]:
    """The parts of a graph without loss, from the images up; the classifier, which always trains, is none of them."""
    found: List[Part] = []
    taken: Dict[str, int] = {}
    for name, run in graph.parts:
        if name == "classifier":
            continue
        taken[name] = taken.get(name, 0) + 1
        is_block = name in graph.blocks
        if is_block and taken[name] > 1:
            raise CostmodelError(f"block {name!r} is left and entered again; a choice is for consecutive nodes")
        found.append(Part(name if taken[name] == 1 else f"{name} {taken[name]}", run, is_block))
    return tuple(found)


def check(code: Optional[str], graph: Graph) -> None:
    """Raise CostmodelError for a code that does not give each part a letter that it may have."""
    wanted = parts(graph)
    if code is None or len(code) != len(wanted):
        names = ", ".join(part.name for part in wanted)
        found = "no letters" if code is None else f"{len(code)} letters"
        raise CostmodelError(f"found {found}; allowed: {len(wanted)}, one for each of {names}")
    for letter, part in zip(code, wanted):
        if letter not in part.choices():
            raise CostmodelError(f"{part.name} has {letter!r}; allowed: {', '.join(part.choices())}")
