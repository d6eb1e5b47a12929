"""What torch's CPU allocator does while something runs: every allocation and release, in order."""

from __future__ import annotations

from collections.abc import Callable, Set
from itertools import accumulate
from typing import Any, NamedTuple

from torch.profiler import ProfilerActivity, profile


class Trace(NamedTuple):
    """The CPU allocator's events while something ran.

    deltas: bytes of every allocation (+) and release (-), in order. calls: for each, the number of the op call inside
    which it happened, of those that the dispatcher sees; its own number where it was in none.
    """

    deltas: list[int]
    calls: list[int]

    @property
    def peak(self) -> int:
        """The highest level above the one before."""
        return max(accumulate(self.deltas), default=0)

    @property
    def tensor_peak(self) -> int:
        """The highest level between op calls: of tensors alone, without what kernels allocate inside."""
        ends = [this != following for this, following in zip(self.calls, [*self.calls[1:], None])]
        return max((level for level, end in zip(accumulate(self.deltas), ends) if end), default=0)

    @property
    def left(self) -> int:
        """The level at the end above the one before."""
        return sum(self.deltas)


def trace(run: Callable[[], Any], ops: Set[str] = frozenset()) -> Trace:
    """Run something under torch's profiler and read off what the CPU allocator did. What it returns lives on.

    ops: names of the ops that the dispatcher sees ("aten::convolution").
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = run()
    deltas, calls, call, end = [], [], 0, 0
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda e: (e.start_ns(), -e.duration_ns()))
    profiler.profiler = None  # the profiler refers to itself: what it recorded would wait for the garbage collector
    for number, event in enumerate(events):
        if event.name() == "[memory]":
            deltas.append(event.nbytes())
            calls.append(call if event.start_ns() <= end else number)
        elif event.start_ns() >= end and event.name() in ops:
            call, end = number, event.start_ns() + event.duration_ns()
    del result
    return Trace(deltas, calls)
