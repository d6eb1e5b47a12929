"""The events of a step: its phases, the categories of what is allocated, and the timeline of them all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .slots import Slots

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"

# What a storage is, for people: the categories of a step's memory.
GRADIENTS, SAVED, RECOMPUTED, ACTIVATIONS = "gradients", "saved", "recomputed", "activations"
ACTIVATION_GRADIENTS, SCRATCH, LOSS = "gradients of activations", "scratch", "loss"
#: All categories in words, the longest lived first.
CATEGORIES = {
    GRADIENTS: "gradients of parameters",
    SAVED: "saved for the backward pass",
    RECOMPUTED: "made again by a block's second run",
    ACTIVATIONS: "activations that are not saved",
    ACTIVATION_GRADIENTS: "gradients of activations",
    SCRATCH: "scratch",
    LOSS: "the loss and its gradient",
}


class Event(NamedTuple):
    """An allocation (sign +1) or a release (-1) of a storage."""

    phase: str
    node: int  # whose work it is; for the update, the number of the parameter
    slot: int  # index into the sizes that price it
    sign: int
    storage: int
    category: str
    why: str


class Timeline(NamedTuple):
    """The compiled events of a step, and the same as arrays."""

    events: tuple[Event, ...]
    slots: Slots
    slot_of: np.ndarray  # of each event
    sign_of: np.ndarray
    after_forward: int  # number of events until the backward pass begins
    tops: np.ndarray  # numbers of the events, allocations all, among which the highest level is, whatever the sizes

    def levels(self, sizes: np.ndarray) -> np.ndarray:
        """Allocated bytes above the level before the step, after each event; sizes (slots, ...) -> (events, ...)."""
        return np.cumsum(self.sign_of * sizes[self.slot_of].T, axis=-1).T

    def live_count(self, slot: int) -> np.ndarray:
        """How many storages of a slot's size there are, after each event."""
        return np.cumsum(np.where(self.slot_of == slot, self.sign_of, 0))


def timeline_of(events: list[Event], slots: Slots, after_forward: int) -> Timeline:
    """The timeline of some events."""
    slot_of = np.array([event.slot for event in events], dtype=np.intp)
    sign_of = np.array([event.sign for event in events], dtype=np.int64)
    return Timeline(tuple(events), slots, slot_of, sign_of, after_forward, tops(slot_of, sign_of, slots))


def tops(slot_of: np.ndarray, sign_of: np.ndarray, slots: Slots) -> np.ndarray:
    """Numbers of the allocations that are not followed by another one: the level only falls after them.

    Scratch, which comes and goes, is not taken to be at least 0 bytes, so an allocation before it counts too.
    """
    next_sign, next_slot = np.append(sign_of[1:], -1), np.append(slot_of[1:], 0)
    scratch = (next_slot >= slots.scratch.start) & (next_slot < slots.scratch.stop)
    return np.flatnonzero((sign_of > 0) & ((next_sign < 0) | scratch))
