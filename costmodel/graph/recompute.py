"""What the backward pass may make again of what is kept, and the values that are so made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

#: What may be made again: results of norms, activations, products and sums; the same where their readers are in the
#: same part, and what a part hands to the next one; these, and the output of each depthwise convolution or of the one
#: before it; or nothing.
MAPS, WITHIN_PARTS, MIXED, NOTHING = "maps", "parts", "mixed", "none"


class NormKind(NamedTuple):
    """What kind of norm it is. batch: it takes the batch's statistics. groups: of a group norm; 0 of a batch norm."""

    batch: bool
    groups: int = 0


class Terms(NamedTuple):
    """What a map is made of: norms' results, by elementwise operations. Without a norm, the map itself is kept.

    norms: how many there are. others: how many sums and products. of: the activation of the norm that has one. kind: of
    all norms. may_be_last: it is the result of a norm without activation, perhaps times noise, so that it may be added
    to another sum. runs: nodes of all that is needed.
    """

    norms: int
    others: int
    of: str
    kind: NormKind
    may_be_last: bool = False
    runs: frozenset[int] = frozenset()

    def plus(self, other: Terms) -> Terms | None:
        """What the sum of two is made of; None if none of them is a norm's result, or if their norms differ."""
        if not (self.may_be_last or other.may_be_last) or self.norms and other.norms and self.kind != other.kind:
            return None
        kind, others = (self if self.norms else other).kind, self.others + other.others + 1
        return Terms(self.norms + other.norms, others, self.of or other.of, kind, runs=self.runs | other.runs)


def flattened(sources: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """Value -> the values that are kept for it. sources: value -> those that it is made of, each before it."""
    found: dict[int, tuple[int, ...]] = {}
    for v in sorted(sources):
        found[v] = tuple(dict.fromkeys(root for source in sources[v] for root in found.get(source, (source,))))
    return found


def chain_of(sources: Mapping[int, tuple[int, ...]], v: int) -> Iterator[int]:
    """A value, and all of which it is made, kept or not. sources: as of `flattened`."""
    yield v
    for source in sources.get(v, ()):
        yield from chain_of(sources, source)
