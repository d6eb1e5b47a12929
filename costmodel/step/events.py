"""The events of a step, and where in a list of sizes each finds its own."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np

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


class Layout(NamedTuple):
    """Where the size of each storage stands in one flat list: values, kept tensors, parameters, scratch, constants."""

    values: int
    kept: int
    parameters: int
    nodes: int
    segments: int

    def value(self, v: int) -> int:
        """Slot of a value, or of its gradient."""
        return v

    def kept_at(self, k: int) -> int:
        """Slot of the k-th kept tensor."""
        return self.values + k

    def parameter(self, p: int) -> int:
        """Slot of the p-th trained parameter, or of its gradient."""
        return self.values + self.kept + p

    def scratch(self, node: int, phase: str) -> int:
        """Slot of a node's scratch beyond its results, forward or backward."""
        return self.values + self.kept + self.parameters + node + (self.nodes if phase == BACKWARD else 0)

    def epilogue(self, node: int) -> int:
        """Slot of what a node's backward takes after it has handed on its gradients."""
        return self.values + self.kept + self.parameters + 2 * self.nodes + node

    def lost(self, k: int) -> int:
        """Slot of what the op makes for nobody in the midst of which the k-th second run stops."""
        return self.values + self.kept + self.parameters + 3 * self.nodes + k

    @property
    def item(self) -> int:
        """Slot of one number of the network's data type."""
        return self.lost(self.segments)

    @property
    def number(self) -> int:
        """Slot of a Python number in arithmetic with a tensor."""
        return self.item + 1

    @property
    def whole(self) -> int:
        """Slot of the frozen prefix's result for the whole batch, where it runs on slices."""
        return self.item + 2


class Timeline(NamedTuple):
    """The compiled events of a step, and the same as arrays."""

    events: Tuple[Event, ...]
    slots: np.ndarray
    signs: np.ndarray
    layout: Layout
    after_forward: int  # number of events until the backward pass begins
    tops: np.ndarray  # numbers of the events, allocations all, among which the highest level is, whatever the sizes

    def levels(self, sizes: np.ndarray) -> np.ndarray:
        """Allocated bytes above the level before the step, after each event; sizes (slots, ...) -> (events, ...)."""
        return np.cumsum(self.signs * sizes[self.slots].T, axis=-1).T

    def count(self, slot: int) -> np.ndarray:
        """How many storages of a slot's size there are, after each event."""
        return np.cumsum(np.where(self.slots == slot, self.signs, 0))


def tops(slots: np.ndarray, signs: np.ndarray, layout: Layout) -> np.ndarray:
    """Numbers of the allocations that are not followed by another one: the level only falls after them.

    Scratch, which comes and goes, is not taken to be at least 0 bytes, so an allocation before it counts too.
    """
    next_sign, next_slot = np.append(signs[1:], -1), np.append(slots[1:], 0)
    scratch = (next_slot >= layout.scratch(0, FORWARD)) & (next_slot < layout.item)
    return np.flatnonzero((signs > 0) & ((next_sign < 0) | scratch))
