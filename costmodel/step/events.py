"""The events of a step: allocations and releases, their phases, and the categories of what is allocated."""

from __future__ import annotations

from typing import NamedTuple

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"

# What a storage is for: the categories of a step's memory.
GRADIENTS, SAVED, RECOMPUTED, ACTIVATIONS = "gradients", "saved", "recomputed", "activations"
ACTIVATION_GRADIENTS, SCRATCH, LOSS = "gradients of activations", "scratch", "loss"
#: All categories in words, from the longest lived to the shortest.
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
    node: int  # number of the node that runs; in the update, number of the parameter
    slot: int  # index of its size in the list of sizes
    sign: int
    storage: int
    category: str
    why: str
