"""An optimizer's update of parameters as events."""

from __future__ import annotations

from collections.abc import Sequence

from .events import SCRATCH
from .slots import Slots
from .storages import Storages
from .update import FREED, MADE, PASSED, Update


def write_update(
    update: Update, parameters: Sequence[int], slots: Slots, storages: Storages, node: int | None = None
) -> None:
    """Write down what the optimizer makes for parameters, by their numbers, and when it frees that.

    node: in whose backward pass it runs; without one each event is at its parameter's number.
    """
    left: dict[str, list[int]] = {}
    for turn in update.turns(parameters):
        before, left = left, {}
        for verb, what in update.moves:
            storages.node = turn[-1] if node is None else node
            if verb == PASSED:
                storages.passing(slots.number(what), what)
            elif verb == MADE:
                left[what] = []
                for parameter in turn:
                    storages.node = parameter if node is None else node
                    left[what].append(storages.new(slots.parameter(parameter), SCRATCH, what))
            else:
                for storage in (left if verb == FREED else before).pop(what, []):
                    storages.drop(storage, verb)
    for storage in (one for some in left.values() for one in some):
        storages.drop(storage, "the update has ended")
