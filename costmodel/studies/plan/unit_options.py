"""The possible choices for each unit of a network, and their consequences for the units below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import product
from typing import NamedTuple

from ...graph.recompute import Terms
from ...strategies import FROZEN, choices_of
from .part_costs import PartCost, PartCosts
from .windows import ALONE, Neighbours

Value = Callable[[Sequence[str], str, PartCost], float]  # value of (names of parts, their letters, their cost)


class FrozenBelow(NamedTuple):
    """The cost of all units below some unit, if they are frozen. resident, forward: in bytes."""

    resident: int
    forward: int  # the highest level of their forward passes
    work: int


class TradeOff(NamedTuple):
    """One choice for a unit: bytes kept for the backward pass, value, and work (`PartCost`)."""

    kept: int
    value: float
    work: int


class UnitOptions:
    """The choices for each unit, whatever is chosen for the others.

    contiguous: whether every part above one that trains must train.
    """

    def __init__(self, costs: PartCosts, value_of: Value, contiguous: bool) -> None:
        self.costs, self.value_of, self.contiguous = costs, value_of, contiguous
        self.top = len(costs.units) - 1
        self._makes: dict[tuple[int, str], bool] = {}

    def of(self, u: int) -> list[tuple[str, bool]]:
        """The pairs (code, whether a gradient is demanded below) that are possible for a unit."""
        found = []
        for code in self.costs.units[u].codes:
            has_frozen = FROZEN in choices_of(code)
            for demanded in (False, True)[: 1 + (u > 0)]:
                idle = u < self.top and has_frozen and not demanded
                gap = demanded and self.contiguous and has_frozen
                if not idle and not gap:
                    found.append((code, demanded))
        return found

    @cached_property
    def given(self) -> list[tuple[Terms, ...]]:
        """For each unit, what its input may be made again of, whatever is chosen below."""
        found: list[tuple[Terms, ...]] = [()]
        for u in range(self.top):
            around = [
                (code, Neighbours(demanded, False, False, True, given))
                for code, demanded in self.of(u)
                for given in (None, *(found[u] if demanded else ()))
            ]
            costs = [self.costs.of(u, code, one) for code, one in around]
            found.append(tuple(dict.fromkeys(cost.gives for cost in costs if cost and cost.gives)))
        return found

    def makes_input(self, u: int, code: str) -> bool:
        """Whether a unit makes its input again where the unit below keeps what that is made of."""
        if (u, code) not in self._makes:
            around = [ALONE._replace(demanded=True, given=one) for one in self.given[u][:1]]
            costs = [self.costs.of(u, code, one) for one in around]
            self._makes[u, code] = any(cost is not None and cost.makes_input for cost in costs)
        return self._makes[u, code]

    def inputs(self, u: int, code: str, demanded: bool) -> tuple[Terms | None, ...]:
        """What a unit's input is made again of, with a choice; None where it is not."""
        return (None, *self.given[u]) if demanded and self.makes_input(u, code) else (None,)

    def value(self, u: int, code: str, cost: PartCost) -> float:
        """The value of a unit's choice."""
        return self.value_of(self.costs.units[u].names, code, cost)

    @cached_property
    def held_during(self) -> list[list[int]]:
        """For each unit, the units below whose outputs call frames hold during its forward pass, lowest first."""
        until = self.costs.held_until
        return [[v for v in range(u - 1) if until[v] >= u] for u in range(self.top + 1)]

    @cached_property
    def frozen_below(self) -> list[FrozenBelow]:
        """For each unit, the cost of all units below it, frozen."""
        costs = [self.costs.frozen(u) for u in range(self.top)]
        return [FrozenBelow(0, 0, 0), *(FrozenBelow(one.resident, one.forward, one.work) for one in costs)]

    @cached_property
    def least_forward_below(self) -> list[int]:
        """For each unit, a level in bytes that the units below reach in the forward pass, whatever their choices."""
        found = [0]
        for u in range(self.top):
            found.append(max(found[-1], self._least_forward(u)))
        return found

    @cached_property
    def least_forward_of_the_largest(self) -> int:
        """A level in bytes that the unit with the largest frozen forward pass reaches, whatever is chosen."""

        def frozen(u: int) -> int:
            cost = self.costs.of(u, FROZEN.letter, ALONE)
            return cost.forward if cost else 0

        return self._least_forward(max(range(self.top + 1), key=frozen))

    def _least_forward(self, u: int) -> int:
        """The lowest level in bytes that a unit, or one below it, reaches in its forward pass with any choice."""
        frozen = [below.forward for below in self.frozen_below[u + 1 :]]
        neighbours = [ALONE] + [ALONE._replace(demanded=True)] * (u > 0)
        codes = self.costs.units[u].codes
        costs = [self.costs.of(u, code, around) for code, around in product(codes, neighbours)
                 if u == self.top or around.demanded or code != FROZEN.letter]  # fmt: skip
        return min(frozen + [cost.forward for cost in costs if cost])

    @cached_property
    def may_keep_output(self) -> list[tuple[bool, ...]]:
        """For each unit except the top one, whether it can save its output: (False,), or (False, True) for either."""
        found = []
        for u in range(self.top):
            costs = [cost for _, cost in self._all_costs(u)]
            found.append(tuple(sorted({False, *(cost.keeps_output for cost in costs)})))
        return found

    @cached_property
    def trade_offs(self) -> list[list[TradeOff]]:
        """For each unit except the top one, its choices at the least that each can cost."""
        found = []
        for u in range(self.top):
            frozen = self.costs.of(u, FROZEN.letter, ALONE)
            assert frozen is not None, "a frozen part has a cost"
            points = {TradeOff(0, 0.0, frozen.work)}
            for code, cost in self._all_costs(u):
                kept = cost.saved + self.costs.boundary_bytes(u - 1) * cost.keeps_input
                points.add(TradeOff(kept, self.value(u, code, cost), cost.work))
            found.append(sorted(points))
        return found

    def _all_costs(self, u: int) -> list[tuple[str, PartCost]]:
        """The (code, cost) of a unit for every choice, demand for a gradient, unit above, and input."""
        neighbours = [
            (code, Neighbours(demanded, above_keeps, False, above_makes_again, given))
            for code, demanded in self.of(u)
            for above_keeps, above_makes_again in ((False, False), (True, False), (False, True))
            for given in self.inputs(u, code, demanded)
        ]
        costs = [(code, self.costs.of(u, code, around)) for code, around in neighbours]
        return [(code, cost) for code, cost in costs if cost]
