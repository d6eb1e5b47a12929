"""Storages with reference counts. A storage is alive while it has a holder; allocation and release are events."""

from __future__ import annotations

from typing import TypeVar

from .events import ACTIVATIONS, FORWARD, SCRATCH, Event

SomeStorage = TypeVar("SomeStorage", bound="int | None")


class Storages:
    """The storages of a step. A storage is a number; None stands for one from outside the step.

    phase, node: the phase and the node of the events that are being written down.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.phase, self.node = FORWARD, 0
        self._slots: list[int] = []  # slot of each storage
        self._categories: list[str] = []
        self._holders: list[int] = []

    def __len__(self) -> int:
        """The number of events so far."""
        return len(self._events)

    @property
    def events(self) -> list[Event]:
        """The events so far, each with the category that its storage has by now."""
        final = self._categories
        return [e if e.category == final[e.storage] else e._replace(category=final[e.storage]) for e in self._events]

    def new(self, slot: int, category: str, why: str) -> int:
        """Allocate a storage, with one holder."""
        storage = len(self._slots)
        self._slots.append(slot)
        self._categories.append(category)
        self._holders.append(1)
        self._events.append(Event(self.phase, self.node, slot, 1, storage, category, why))
        return storage

    def hold(self, storage: SomeStorage) -> SomeStorage:
        """Add a holder to a storage. Returns the storage."""
        if storage is not None:
            self._holders[storage] += 1
        return storage

    def keep(self, storage: SomeStorage, category: str) -> SomeStorage:
        """Add a holder that keeps a storage for the backward pass. Returns the storage.

        An activation is then of this category from its allocation on, whoever made it: of what a normalisation makes
        and a ReLU overwrites, the ReLU keeps the storage.
        """
        if storage is not None and self._categories[storage] == ACTIVATIONS:
            self._categories[storage] = category
        return self.hold(storage)

    def become(self, storage: int, category: str) -> None:
        """Make a storage of a category, from its allocation on."""
        self._categories[storage] = category

    def drop(self, storage: int | None, why: str) -> None:
        """Remove a holder; without holders the storage is released."""
        if storage is None:
            return
        self._holders[storage] -= 1
        if self._holders[storage] == 0:
            slot, category = self._slots[storage], self._categories[storage]
            self._events.append(Event(self.phase, self.node, slot, -1, storage, category, why))

    def passing(self, slot: int, why: str) -> None:
        """Allocate a buffer and release it at once."""
        self.drop(self.new(slot, SCRATCH, why), why)

    def is_shared(self, storage: int) -> bool:
        """Whether a storage has more than one holder."""
        return self._holders[storage] > 1
