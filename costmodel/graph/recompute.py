"""What the backward pass may make again of what is kept, and the values that are so made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

#: What may be made again: results of norms, activations, products and sums; the same where their readers are in the
#: same part; these, and the output of each depthwise convolution or of the one before it; or nothing.
MAPS, WITHIN_PARTS, MIXED, NOTHING = "maps", "parts", "mixed", "none"


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
