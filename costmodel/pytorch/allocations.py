"""Records every allocation and release of torch's CPU allocator during a run, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

from ..frontends.modules.untouched import uncollected

T = TypeVar("T")


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


class Recording:
    """torch's profiler, on from `start` to `stop` in this thread and in the backward passes that it starts."""

    def start(self) -> None:
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        with _silent():
            self._profile.__enter__()

    def stop(self) -> Any:
        """Turn it off. Returns torch's own results."""
        with _silent():
            self._profile.__exit__(None, None, None)
        results = self._profile.profiler.kineto_results
        self._profile.profiler = None  # breaks a cycle that would leave the recorded events to the garbage collector
        return results


def is_recording() -> bool:
    """Whether a profiler is on, anybody's."""
    return torch.autograd._profiler_enabled()


@contextmanager
def _silent() -> Iterator[None]:
    """Turns the process's stderr off: kineto reports there, unless it was told otherwise before torch was imported."""
    try:
        stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # there is none
        yield
        return
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def wrapped_ops() -> set[str]:
    """Names of the ops that the dispatcher sees inside a function of the same name, which makes tensors for them first.

    With a number, `where` makes a tensor of it; others have their operands cast, if torch.autocast is on.
    """
    cast = torch._C._dispatch_get_registrations_for_dispatch_key("AutocastCPU")
    return {"aten::where", *(overload.partition(".")[0] for overload in cast)}


def with_those_in_place(ops: Set[str]) -> set[str]:
    """Names of ops, and of those that write into their first operand.

    Autograd's formulas call them unless a mode watches: the gradient of `gather` is by scatter_add_, not scatter_add.
    """
    return {*ops, *(f"{op}_" for op in ops)}


def recorded(run: Callable[[], T]) -> tuple[T, Any]:
    """The result of a function, and torch's own results of a Recording of its run."""
    recording = Recording()
    with uncollected():  # a collection in between would free what older objects hold
        recording.start()
        try:
            result = run()
        finally:
            results = recording.stop()
    return result, results


def trace(run: Callable[[], Any], ops: Set[str] = frozenset()) -> Trace:
    """Run a function under torch's profiler and record what the CPU allocator did. Its result stays alive to the end.

    ops: names of the ops that the dispatcher sees ("aten::convolution").
    """
    result, results = recorded(run)
    deltas, calls, call, end, inside = [], [], 0, 0, ""
    seen, wrapped = with_those_in_place(ops), wrapped_ops()
    events = sorted(results.events(), key=lambda e: (e.start_ns(), -e.duration_ns()))
    for number, event in enumerate(events):
        if event.name() == "[memory]":
            deltas.append(event.nbytes())
            calls.append(call if event.start_ns() <= end else number)
        elif event.name() in seen and (event.start_ns() >= end or inside == event.name() in wrapped):
            call, end, inside = number, event.start_ns() + event.duration_ns(), event.name()
    del result
    return Trace(deltas, calls)


def blocks(results: Any) -> list[tuple[int, int]]:
    """(address, bytes) of every allocation (+) and release (-) of the CPU allocator, in order.

    results: of a Recording.
    """
    found, todo = [], list(results.experimental_event_tree())
    while todo:
        event = todo.pop()
        todo += event.children
        kind, fields = event.typed
        if kind.name == "Allocation" and fields.device.type == "cpu":
            found.append((event.start_time_ns, fields.ptr, fields.alloc_size))
    return [(address, size) for _, address, size in sorted(found, key=lambda event: event[0])]


def not_freed(found: list[tuple[int, int]]) -> dict[int, int]:
    """Bytes by address of what was allocated in a run and is still allocated at its end.

    found: (address, bytes) of every allocation (+) and release (-), in order.
    """
    alive: dict[int, int] = {}
    for address, size in found:
        if size > 0:
            alive[address] = size
        else:
            alive.pop(address, None)
    return alive
