"""A timeline: the allocations and releases of one step, as events and as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .events import Event
from .slots import Slots


class Timeline(NamedTuple):
    """The compiled events of a step, as tuples and as arrays."""

    events: tuple[Event, ...]
    slots: Slots
    slot_of: np.ndarray  # slot of each event
    sign_of: np.ndarray
    after_forward: int  # number of events before the backward pass
    tops: np.ndarray  # numbers of the allocations among which the peak is, for any sizes

    def levels(self, sizes: np.ndarray) -> np.ndarray:
        """Allocated bytes above the level before the step, after each event; sizes (slots, ...) -> (events, ...)."""
        return np.cumsum(self.sign_of * sizes[self.slot_of].T, axis=-1).T

    def live_count(self, slot: int) -> np.ndarray:
        """Number of storages with a slot's size that are alive after each event."""
        return np.cumsum(np.where(self.slot_of == slot, self.sign_of, 0))


def timeline_of(events: list[Event], slots: Slots, after_forward: int) -> Timeline:
    """The timeline of some events."""
    slot_of = np.array([event.slot for event in events], dtype=np.intp)
    sign_of = np.array([event.sign for event in events], dtype=np.int64)
    return Timeline(tuple(events), slots, slot_of, sign_of, after_forward, tops(slot_of, sign_of, slots))


def tops(slot_of: np.ndarray, sign_of: np.ndarray, slots: Slots) -> np.ndarray:
    """Numbers of the allocations that no other allocation follows: after them the level falls.

    The size of scratch is not assumed to be >= 0, so an allocation before scratch counts too.
    """
    next_sign, next_slot = np.append(sign_of[1:], -1), np.append(slot_of[1:], 0)
    scratch = (next_slot >= slots.scratch.start) & (next_slot < slots.scratch.stop)
    return np.flatnonzero((sign_of > 0) & ((next_sign < 0) | scratch))
