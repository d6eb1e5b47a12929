"""Records every allocation and release of torch's CPU allocator during a run, in order."""

from __future__ import annotations

from collections.abc import Callable, Set
from itertools import accumulate
from typing import Any, NamedTuple

from torch.profiler import ProfilerActivity, profile


class Trace(NamedTuple):
    """The CPU allocator's events during a run.

    deltas: bytes of every allocation (+) and release (-), in order. calls: for each event, the number of the op call
    (as the dispatcher sees it) inside which it happened; a number of its own if it was inside none.
    """

    deltas: list[int]
    calls: list[int]

    @property
    def peak(self) -> int:
        """The highest level, in bytes above the level before the run."""
        return max(accumulate(self.deltas), default=0)

    @property
    def tensor_peak(self) -> int:
        """The highest level between op calls, in bytes: tensors only, without the scratch memory of kernels."""
        ends = [this != following for this, following in zip(self.calls, [*self.calls[1:], None])]
        return max((level for level, end in zip(accumulate(self.deltas), ends) if end), default=0)

    @property
    def left(self) -> int:
        """The level at the end, in bytes above the level before the run."""
        return sum(self.deltas)


def trace(run: Callable[[], Any], ops: Set[str] = frozenset()) -> Trace:
    """Run a function under torch's profiler and record what the CPU allocator did. Its result stays alive to the end.

    ops: names of the ops that the dispatcher sees ("aten::convolution").
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = run()
    deltas, calls, call, end = [], [], 0, 0
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda e: (e.start_ns(), -e.duration_ns()))
    profiler.profiler = None  # breaks a cycle that would leave the recorded events to the garbage collector
    for number, event in enumerate(events):
        if event.name() == "[memory]":
            deltas.append(event.nbytes())
            calls.append(call if event.start_ns() <= end else number)
        elif event.start_ns() >= end and event.name() in ops:
            call, end = number, event.start_ns() + event.duration_ns()
    del result
    return Trace(deltas, calls)
