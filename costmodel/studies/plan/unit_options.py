"""What may be chosen for each unit of a network, and what then follows for the units below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

from ...strategies import FROZEN, choices_of
from .part_costs import ALONE, Neighbours, PartCost, PartCosts

Value = Callable[[Sequence[str], str, PartCost], float]  # of parts' names, their letters, and their cost


class FrozenBelow(NamedTuple):
    """The units below some place, all of them frozen."""

    resident: int
    forward: int  # the highest level of their forward passes
    flops: int


class TradeOff(NamedTuple):
    """What one choice for a unit keeps for the backward pass, in bytes, what it is worth, and its FLOPs."""

    kept: int
    value: float
    flops: int


class UnitOptions:
    """The choices for each unit, whatever is chosen for the others.

    contiguous: nothing above a part that trains may be frozen.
    """

    def __init__(self, costs: PartCosts, value_of: Value, contiguous: bool) -> None:
        self.costs, self.value_of, self.contiguous = costs, value_of, contiguous
        self.top = len(costs.units) - 1

    def of(self, u: int) -> list[tuple[str, bool]]:
        """(code, whether a gradient is demanded below) of a unit."""
        found = []
        for code in self.costs.units[u].codes:
            has_frozen = FROZEN in choices_of(code)
            for demanded in (False, True)[: 1 + (u > 0)]:
                idle = u < self.top and has_frozen and not demanded
                gap = demanded and self.contiguous and has_frozen
                if not idle and not gap:
                    found.append((code, demanded))
        return found

    def value(self, u: int, code: str, cost: PartCost) -> float:
        """What a unit's choice is worth."""
        return self.value_of(self.costs.units[u].names, code, cost)

    @cached_property
    def held_during(self) -> list[list[int]]:
        """For each unit, the units below whose result a call frame holds during its forward pass, the lowest first."""
        until = self.costs.held_until
        return [[v for v in range(u - 1) if until[v] >= u] for u in range(self.top + 1)]

    @cached_property
    def frozen_below(self) -> list[FrozenBelow]:
        """For each unit, all units below it, frozen."""
        found = [FrozenBelow(0, 0, 0)]
        for u in range(self.top):
            cost, below = self.costs.of(u, FROZEN.letter, ALONE), found[-1]
            assert cost is not None, "a frozen part has a cost"
            held = sum(self.costs.boundary_bytes(v) for v in self.held_during[u])
            forward = max(below.forward, cost.forward + held)
            found.append(FrozenBelow(below.resident + cost.resident, forward, below.flops + cost.flops))
        return found

    @cached_property
    def least_forward_below(self) -> list[int]:
        """For each unit, a level that the forward pass of the units below it reaches whatever is chosen for them."""
        found = [0]
        for u in range(self.top):
            neighbours = [ALONE] + [ALONE._replace(demanded=True)] * (u > 0)
            costs = [self.costs.of(u, code, around) for code in self.costs.units[u].codes for around in neighbours]
            found.append(max(found[-1], min(cost.forward for cost in costs if cost)))
        return found

    @cached_property
    def may_keep_output(self) -> list[tuple[bool, ...]]:
        """For each unit but the top one, whether it may save what it hands on: no, yes, or either."""
        found = []
        for u in range(self.top):
            costs = [cost for _, cost in self._all_costs(u)]
            found.append(tuple(sorted({False, *(cost.keeps_output for cost in costs)})))
        return found

    @cached_property
    def trade_offs(self) -> list[list[TradeOff]]:
        """For each unit but the top one, all that can be chosen for it, at the least that it costs."""
        found = []
        for u in range(self.top):
            frozen = self.costs.of(u, FROZEN.letter, ALONE)
            assert frozen is not None, "a frozen part has a cost"
            points = {TradeOff(0, 0.0, frozen.flops)}
            for code, cost in self._all_costs(u):
                kept = cost.saved + self.costs.boundary_bytes(u - 1) * cost.keeps_input
                points.add(TradeOff(kept, self.value(u, code, cost), cost.flops))
            found.append(sorted(points))
        return found

    def _all_costs(self, u: int) -> list[tuple[str, PartCost]]:
        """(code, cost) of a unit for every choice, demand, and unit above."""
        neighbours = [
            (code, Neighbours(demanded, above_keeps, below_keeps=False))
            for code, demanded in self.of(u)
            for above_keeps in (False, True)
        ]
        costs = [(code, self.costs.of(u, code, around)) for code, around in neighbours]
        return [(code, cost) for code, cost in costs if cost]
