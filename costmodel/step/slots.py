"""Slots: positions of storages' sizes in one flat list. One class both numbers the slots and fills them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from ..sizes.size import Size
from .update import NUMBERS


class Slots:
    """The slots of a step, in groups of consecutive numbers.

    values: one for each value and its gradient. storages: one for each node whose kernels resize its output and the
    gradient of its first input, for these. kept: for each kept tensor. parameters: for each parameter that trains and
    its gradient. forward, backward: for each node's scratch in the two passes. after: for the scratch of each node's
    epilogue. stopped: for each rerun, what the op in which it stops allocates and nobody receives. item: the gradient
    of the loss itself. again: for the scratch of each node that runs again alone. numbers: NUMBERS of the update.
    whole: the frozen prefix's result for the whole batch, if the prefix runs on slices. later, later_forward: the
    prefix's values and their nodes' scratch in the second slice, then in the last one, both of which may be smaller
    than the first.
    """

    #: The order of the groups is arbitrary, but the groups of scratch must be neighbours.
    GROUPS = (
        "values", "storages", "later", "kept", "parameters", "forward", "later_forward", "backward", "after", "again",
        "stopped", "item", "numbers", "whole",
    )  # fmt: skip

    def __init__(
        self,
        values: int,
        kept: int,
        parameters: int,
        nodes: int,
        reruns: int,
        sliced: int = 0,
        resized: Sequence[int] = (),
        dropped: Sequence[int] = (),
    ) -> None:
        """sliced: nodes of the frozen prefix if it runs on slices. resized: nodes whose kernels resize their output.

        dropped: nodes whose output is made again in the backward pass, by themselves.
        """
        counts = {"values": values, "storages": len(resized), "kept": kept, "parameters": parameters, "forward": nodes,
                  "backward": nodes, "after": nodes, "stopped": reruns, "item": 1, "numbers": len(NUMBERS), "whole": 1,
                  "later": 2 * sliced, "later_forward": 2 * sliced, "again": len(dropped)}  # fmt: skip
        self.resized = {node: k for k, node in enumerate(resized)}
        self.dropped = {node: k for k, node in enumerate(dropped)}
        self.sliced = sliced
        self.counts = {name: counts[name] for name in self.GROUPS}
        self._first = dict(zip(self.counts, accumulate(self.counts.values(), initial=0)))
        self.scratch = range(self._first["forward"], self._first["stopped"] + reruns)
        self.item, self.whole = self._first["item"], self._first["whole"]

    def value(self, v: int, part: int = 0) -> int:
        """Slot of a value and of its gradient. part: 0 the first slice or the whole batch, 1 the second, 2 the last."""
        return self._first["later"] + (part - 1) * self.sliced + v - 1 if part else self._first["values"] + v

    def storage(self, node: int) -> int:
        """Slot of a node's output, and of the gradient of its first input, where its kernels resize these."""
        return self._first["storages"] + self.resized[node]

    def output(self, node: int) -> int:
        """Slot of a node's output."""
        return self.storage(node) if node in self.resized else self.value(node + 1)

    def kept(self, k: int) -> int:
        """Slot of the k-th tensor that is kept."""
        return self._first["kept"] + k

    def parameter(self, p: int) -> int:
        """Slot of the p-th parameter that trains, and of its gradient."""
        return self._first["parameters"] + p

    def number(self, name: str) -> int:
        """Slot of one of NUMBERS of the update."""
        return self._first["numbers"] + list(NUMBERS).index(name)

    def forward(self, node: int, part: int = 0) -> int:
        """Slot of a node's scratch in the forward pass. part: as in `value`."""
        return self._first["later_forward"] + (part - 1) * self.sliced + node if part else self._first["forward"] + node

    def backward(self, node: int) -> int:
        """Slot of a node's scratch in the backward pass."""
        return self._first["backward"] + node

    def after(self, node: int) -> int:
        """Slot of the scratch of a node's epilogue."""
        return self._first["after"] + node

    def again(self, node: int) -> int:
        """Slot of the scratch of a node that runs again alone."""
        return self._first["again"] + self.dropped[node]

    def stopped(self, rerun: int) -> int:
        """Slot of what the op in which a rerun stops allocates and nobody receives."""
        return self._first["stopped"] + rerun

    def filled(self, sizes: Mapping[str, Sequence[Size]]) -> list[Size]:
        """The sizes of all slots in one list. sizes: by group. Raises ValueError if a group's number is wrong."""
        found = {name: len(group) for name, group in sizes.items()}
        if found != self.counts:
            raise ValueError(f"sizes for {found} slots; there are {self.counts}")
        return [size for name in self.counts for size in sizes[name]]
