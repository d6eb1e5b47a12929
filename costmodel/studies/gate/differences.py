"""What changed in checks since a document of theirs was written: requests, peaks, and the blocks that grew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from .results import Result

#: What is compared of a block: entries of an estimate's `blocks`, added up.
QUANTITIES = {
    "saved_bytes": ("saved",),
    "parameters": ("parameters",),
    "step_flops": ("forward_flops", "backward_flops"),
}
#: Entries of an estimate's document from which a change of costs may come.
REQUEST = ("strategy", "batch", "input_shape", "convention", "optimizer", "accumulate", "target", "amp")
Quantities = dict[str, int]


class Then(NamedTuple):
    """A check as it was: its request, its peak, and the quantities of its blocks by name."""

    request: dict[str, Any]
    peak_bytes: int
    blocks: dict[str, Quantities]


class Change(NamedTuple):
    """A quantity of a block that is other than before; None where the block is not there."""

    block: str
    quantity: str
    before: int | None
    after: int | None

    @property
    def growth(self) -> int:
        """How much more it is; below 0: less."""
        return (self.after or 0) - (self.before or 0)


class Difference(NamedTuple):
    """What changed in a check. peak_bytes: as it was. request: (key, before, after)."""

    peak_bytes: int
    request: list[tuple[str, Any, Any]]
    changes: list[Change]


class Since(NamedTuple):
    """What changed since a document was written. path: what people call it, "" if there is none.

    differences: by the names of the checks that both have. gone: the names of those that are no more.
    """

    path: str = ""
    differences: Mapping[str, Difference] = MappingProxyType({})
    gone: Sequence[str] = ()

    def of(self, result: Result) -> Difference | None:
        """What changed in a check."""
        return self.differences.get(result.check.name)


def changes_since(path: str, then: dict[str, Then], results: Sequence[Result]) -> Since:
    """What changed since a document with these checks was written. path: what people call it."""
    found = {}
    for check, estimate, *_ in results:
        old = then.get(check.name)
        if old is not None and estimate is not None:
            now = estimate.to_dict()
            blocks = {block["name"]: quantities_of(block.__getitem__) for block in now["blocks"]}
            request = [(key, old.request[key], now[key]) for key in REQUEST if old.request[key] != now[key]]
            found[check.name] = Difference(old.peak_bytes, request, list(_changes(old.blocks, blocks)))
    return Since(path, found, sorted(then.keys() - {result.check.name for result in results}))


def quantities_of(entry: Callable[[str], int]) -> Quantities:
    """The quantities of a block, from a function that gives its entries."""
    return {quantity: sum(map(entry, keys)) for quantity, keys in QUANTITIES.items()}


def _changes(old: dict[str, Quantities], new: dict[str, Quantities]) -> Iterator[Change]:
    for block in dict.fromkeys([*new, *old]):
        for quantity in QUANTITIES:
            before, after = (side[block][quantity] if block in side else None for side in (old, new))
            if before != after:
                yield Change(block, quantity, before, after)
