"""The allocations of a process that makes some steps, for a simulated allocator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from .priced import Priced

STEPS = 6  # from the second or third on, steps are alike
Taken = TypeVar("Taken")


def steps_through(
    estimate: Priced, allocate: Callable[[int], Taken], release: Callable[[Taken], None], least: int = 1
) -> Iterator[int]:
    """Make STEPS steps; yields the number of each when it is over, before its gradients are set to None.

    allocate: from bytes to what `release` takes. least: bytes of the smallest blocks that count.
    """
    sizes = estimate.slot_sizes
    live: dict[int, Taken] = {}
    for step in range(STEPS):
        for block in live.values():
            release(block)
        live.clear()
        for event in estimate.timeline.events:
            size = int(sizes[event.slot])
            if event.sign > 0 and size >= least:
                live[event.storage] = allocate(size)
            elif event.sign < 0 and event.storage in live:
                release(live.pop(event.storage))
        yield step
