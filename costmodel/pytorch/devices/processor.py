"""The CPU, whose allocator torch's profiler watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import Any

import torch

from ..allocations import blocks, recorded, trace
from .device import Blocks, Device, Levels, T


class Processor(Device):
    """This machine's CPU."""

    kind = "cpu"

    @contextmanager
    def running_on(self, threads: int) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def recorded(self, run: Callable[[], T]) -> tuple[T, Blocks]:
        result, results = recorded(run)
        return result, blocks(results)

    def levels(self, run: Callable[[], Any], ops: Set[str] = frozenset()) -> Levels:
        found = trace(run, ops)
        return Levels(found.peak, found.tensor_peak, found.left)
