"""Times calls, beside reference kernels whose times tell whether other work disturbs the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch

#: Seconds that one reading lasts at least, and readings of which the fastest counts.
LEAST, READINGS = 0.002, 5
SIDE = 512  # of the matrices of the reference product
COPIED = 4_000_000  # numbers of the reference copy


class Clock(NamedTuple):
    """The thread's processor time where one thread computes, so that waiting does not count; else the wall clock."""

    now: Callable[[], float]
    words: str


def clock_for(threads: int) -> Clock:
    """The clock for kernels on a number of threads."""
    return Clock(time.thread_time, "processor time") if threads == 1 else Clock(time.perf_counter, "by the clock")


def seconds_of(call: Callable[[], Any], clock: Clock) -> float:
    """Seconds of one call, warm: the fastest of some readings."""
    call()
    start = clock.now()
    call()
    times = max(1, int(LEAST / max(clock.now() - start, 1e-7)))
    found = []
    for _ in range(READINGS):
        start = clock.now()
        for _ in range(times):
            call()
        found.append((clock.now() - start) / times)
    return min(found)


class Rates(NamedTuple):
    """Operations per second of a product of matrices, and bytes per second of a copy within the caches' reach."""

    arithmetic: float
    bandwidth: float


def rates(clock: Clock) -> Rates:
    """The reference kernels' rates, now."""
    a, b = torch.ones(SIDE, SIDE), torch.ones(SIDE, SIDE)
    source = torch.ones(COPIED)
    into = torch.empty_like(source)
    product, copy = seconds_of(lambda: torch.mm(a, b), clock), seconds_of(lambda: into.copy_(source), clock)
    return Rates(2 * SIDE**3 / product, 2 * source.nbytes / copy)


def noise(found: list[Rates]) -> float:
    """How far the reference product's time is from its fastest in the middle of some rounds, as a share."""
    best = max(one.arithmetic for one in found)
    return median(best / one.arithmetic - 1 for one in found)
