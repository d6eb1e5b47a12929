"""A device on which steps run: where its tensors lie, and what its allocator tells of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch

T = TypeVar("T")
#: (address, bytes) of every allocation (+) and release (-) during a run, in order.
Blocks = list[tuple[int, int]]


class Levels(NamedTuple):
    """Bytes that an allocator gave out during a run, above its level before the run.

    peak: the highest level. tensor_peak: the highest level between op calls, None where nobody tells when an op ends.
    left: the level at the end.
    """

    peak: int
    tensor_peak: int | None
    left: int


class Most(NamedTuple):
    """Bytes of a device that tensors had at most, and that the allocator had taken for them."""

    allocated: int
    reserved: int


class Device(ABC):
    """A kind of device, on which this process can run."""

    #: The name that targets have for it.
    kind: ClassVar[str]

    @property
    def place(self) -> torch.device:
        """Where its tensors lie."""
        return torch.device(self.kind)

    @property
    def name(self) -> str:
        """What machine it is, in words; "" where the target says it."""
        return ""

    def refuse_if_absent(self) -> None:
        """Raise CostmodelError if there is no such device here."""

    def wait(self) -> None:
        """Return when everything that was asked of the device is done."""

    @contextmanager
    def running_on(self, threads: int) -> Iterator[None]:
        """Within it, kernels run on this number of threads, if the device has threads."""
        yield

    @abstractmethod
    def recorded(self, run: Callable[[], T]) -> tuple[T, Blocks]:
        """The result of a function, and what the allocator did while it ran."""

    def start_over(self) -> None:
        """From here on `most` counts, and from here."""

    def most(self) -> Most | None:
        """What the process took at most since `start_over`; None where the allocator keeps no pools."""
        return None

    def levels(self, run: Callable[[], Any], ops: Set[str] = frozenset()) -> Levels:
        """The levels of a run, whose result stays alive to the end. ops: names of ops, as the dispatcher sees them."""
        result, found = self.recorded(run)
        del result
        sizes = [size for _, size in found]
        return Levels(max(accumulate(sizes), default=0), None, sum(sizes))
