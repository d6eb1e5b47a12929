"""Where the size of each storage stands in one flat list: the same class numbers the slots and fills them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from ..sizes.size import Size


class Slots:
    """The slots of a step, in groups of consecutive numbers.

    values: of every value, and of its gradient. kept: of every tensor kept. parameters: of every parameter that trains,
    and of its gradient. forward, backward: of every node, its scratch beyond its results. after: of every node, what
    its backward takes after it has handed on its gradients. stopped: of every rerun, what it makes for nobody in the op
    in whose midst it stops. item: one number of the network's data type. number: a Python number in arithmetic with a
    tensor. whole: the frozen prefix's result for the whole batch, where the prefix runs on slices.
    """

    #: The order in which the groups stand, which decides nothing; those of scratch, within an op, stand together.
    GROUPS = ("values", "kept", "parameters", "forward", "backward", "after", "stopped", "item", "number", "whole")

    def __init__(self, values: int, kept: int, parameters: int, nodes: int, reruns: int) -> None:
        counts = {"values": values, "kept": kept, "parameters": parameters, "forward": nodes, "backward": nodes,
                  "after": nodes, "stopped": reruns, "item": 1, "number": 1, "whole": 1}  # fmt: skip
        self.counts = {name: counts[name] for name in self.GROUPS}
        self._first = dict(zip(self.counts, accumulate(self.counts.values(), initial=0)))
        self.scratch = range(self._first["forward"], self._first["stopped"] + reruns)
        self.item, self.number, self.whole = (self._first[name] for name in ("item", "number", "whole"))

    def value(self, v: int) -> int:
        """Slot of a value, or of its gradient."""
        return self._first["values"] + v

    def kept(self, k: int) -> int:
        """Slot of the k-th tensor that is kept."""
        return self._first["kept"] + k

    def parameter(self, p: int) -> int:
        """Slot of the p-th parameter that trains, or of its gradient."""
        return self._first["parameters"] + p

    def forward(self, node: int) -> int:
        """Slot of a node's scratch in the forward pass."""
        return self._first["forward"] + node

    def backward(self, node: int) -> int:
        """Slot of a node's scratch in the backward pass."""
        return self._first["backward"] + node

    def after(self, node: int) -> int:
        """Slot of what a node's backward takes after it has handed on its gradients."""
        return self._first["after"] + node

    def stopped(self, rerun: int) -> int:
        """Slot of what the op in whose midst a rerun stops makes for nobody."""
        return self._first["stopped"] + rerun

    def filled(self, sizes: Mapping[str, Sequence[Size]]) -> list[Size]:
        """The sizes of all slots in one list, from those of each group. Raises ValueError where one does not fit."""
        found = {name: len(group) for name, group in sizes.items()}
        if found != self.counts:
            raise ValueError(f"sizes for {found} slots; there are {self.counts}")
        return [size for name in self.counts for size in sizes[name]]
