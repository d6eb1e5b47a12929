"""Storages with reference counts: what is held is allocated, and every change is an event."""

from __future__ import annotations

from typing import TypeVar

from .events import FORWARD, SCRATCH, Event

SomeStorage = TypeVar("SomeStorage", bound="int | None")


class Storages:
    """The storages of a step. A storage is a number; None stands for one that is not the step's own.

    phase, node: whose work it is that is being written down.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.phase, self.node = FORWARD, 0
        self._slots: list[int] = []  # of each storage
        self._categories: list[str] = []
        self._holders: list[int] = []

    def new(self, slot: int, category: str, why: str) -> int:
        """A storage that is allocated now, with one holder."""
        storage = len(self._slots)
        self._slots.append(slot)
        self._categories.append(category)
        self._holders.append(1)
        self.events.append(Event(self.phase, self.node, slot, 1, storage, category, why))
        return storage

    def hold(self, storage: SomeStorage) -> SomeStorage:
        """The storage, with one more holder."""
        if storage is not None:
            self._holders[storage] += 1
        return storage

    def drop(self, storage: int | None, why: str) -> None:
        """One holder lets go; the last one releases the storage."""
        if storage is None:
            return
        self._holders[storage] -= 1
        if self._holders[storage] == 0:
            slot, category = self._slots[storage], self._categories[storage]
            self.events.append(Event(self.phase, self.node, slot, -1, storage, category, why))

    def passing(self, slot: int, why: str) -> None:
        """A buffer that comes and goes."""
        self.drop(self.new(slot, SCRATCH, why), why)

    def is_shared(self, storage: int) -> bool:
        """Whether a storage has more than one holder."""
        return self._holders[storage] > 1
