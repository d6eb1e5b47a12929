"""Finds the best choice for every part of a network within a budget, exactly: dynamic programming from the loss down.

A label is a choice for each unit above some unit. Two labels are of one kind if the units below cannot tell them apart;
a label that another one of its kind dominates is dropped. So is a label that cannot reach the best value known, even if
the units below add as much as their relaxation allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ...graph.recompute import Terms
from .labels import NOT_NEEDED, History, Labels
from .part_costs import PartCost, PartCosts
from .relaxation import Relaxation
from .unit_options import UnitOptions, Value
from .windows import Neighbours

# How many labels of each kind a pass keeps.
QUICK_BEAM = 256  # in a first pass, whose result lets the next one drop more
WIDE_BEAM = 50_000  # in the pass that proves; with more labels it may miss the best choice, and says so
TIES_BEAM = 8_000  # in the pass that looks for less work at the same value
ROUNDING = 1e-9  # relative error of sums of values, which are floats


class Kind(NamedTuple):
    """What a unit above takes for granted, or tells of itself.

    keeps_input: whether it saves its input. below_keeps: whether the unit below is to save that too. makes_again:
    whether it makes its input again if the unit below keeps what that is made of; given: that, None if it is not kept.
    """

    keeps_input: bool = False
    below_keeps: bool = False
    makes_again: bool = False
    given: Terms | None = None


class Found(NamedTuple):
    """A choice of parts: its code, value and work (`PartCost`).

    is_proven: whether it is certain that no choice has more value.
    """

    code: str
    value: float
    work: int
    is_proven: bool = True


class Search:
    """Searches for the choice with the greatest value within a budget of bytes, and of work unless most_work is None.

    fixed: bytes that are allocated whatever is chosen.
    """

    def __init__(
        self, costs: PartCosts, value: Value, budget: int, fixed: int, most_work: int | None, contiguous: bool
    ) -> None:
        self.costs, self.budget, self.fixed, self.most_work = costs, budget, fixed, most_work
        self.options = UnitOptions(costs, value, contiguous)

    @cached_property
    def relaxation(self) -> Relaxation:
        """Upper bounds on the value that units may still add."""
        return Relaxation(self.options)

    def best(self) -> Found | None:
        """The choice with the greatest value, and of these the least work that was found; None if nothing fits."""
        if self.is_hopeless:
            return None
        quick = _Pass(self, None, QUICK_BEAM).run()
        thorough = _Pass(self, quick, WIDE_BEAM)
        best = thorough.run()
        for beam in (QUICK_BEAM, TIES_BEAM):
            best = best and _Pass(self, best, beam, ties=True).run()
        return best and best._replace(is_proven=not thorough.is_cut)

    def any(self) -> Found | None:
        """A choice that fits, if there is one (a search that is cut short may miss it); else None."""
        return None if self.is_hopeless else _Pass(self, None, WIDE_BEAM).run()

    @property
    def is_hopeless(self) -> bool:
        """Whether one unit alone takes more than the budget in its forward pass, which is told without a search."""
        return self.fixed + self.options.least_forward_of_the_largest > self.budget


class _Pass:
    """One pass over the units, from the top one down.

    known: the best choice known, which the pass must beat. beam: how many labels of a kind it keeps. ties: whether to
    beat it by less work at the same value, not by a greater value.
    """

    def __init__(self, search: Search, known: Found | None, beam: int, ties: bool = False) -> None:
        self.search, self.costs, self.options = search, search.costs, search.options
        self.budget, self.most_work = search.budget, search.most_work
        self.known, self.beam, self.ties = known, beam, ties
        self.history = History()
        self.is_cut = False  # whether labels were dropped that may lead to the best choice

    def run(self) -> Found | None:
        """The best choice that beats the known one, else the known one."""
        depths = 1 + max(map(len, self.options.held_during))
        kinds: dict[Kind, Labels] = {Kind(): Labels.start(depths, self.search.fixed)}
        for u in range(self.options.top, -1, -1):
            kinds = self.choose(u, kinds)
        return self.known

    def choose(self, u: int, kinds: dict[Kind, Labels]) -> dict[Kind, Labels]:
        """The labels with every choice for one more unit, by kind. If nothing below trains, a choice is complete."""
        made: dict[Kind, list[Labels]] = {}
        for above, labels in kinds.items():
            for code, around in self.choices(u, above):
                cost = self.costs.of(u, code, around)
                if cost is None or u < self.options.top and cost.keeps_output != above.below_keeps:
                    continue
                if cost.gives != above.given:
                    continue
                new = self.extended(u, labels, code, cost, around.below_keeps)
                if around.demanded:
                    makes_again = self.options.makes_input(u, code)
                    kind = Kind(cost.keeps_input, around.below_keeps, makes_again, around.given)
                    made.setdefault(kind, []).append(new)
                else:
                    self.finish(u, new)
        return {kind: self.pruned(u, Labels.joined(some)) for kind, some in made.items()}

    def choices(self, u: int, above: Kind) -> Iterator[tuple[str, Neighbours]]:
        """The choices for a unit, each with all that its neighbours may be. above: the unit above it."""
        for code, demanded in self.options.of(u):
            for below_keeps in self.options.may_keep_output[u - 1] if u and demanded else (False,):
                for given in self.options.inputs(u, code, demanded):
                    yield code, Neighbours(demanded, above.keeps_input, below_keeps, above.makes_again, given)

    def extended(self, u: int, labels: Labels, code: str, cost: PartCost, below_keeps: bool) -> Labels:
        """The labels with a choice for one more unit."""
        resident = labels.resident + cost.resident
        first, update = self.updated(labels, cost)
        return Labels(
            need=self.needed(u, labels, cost, below_keeps),
            gradients=labels.gradients + cost.gradients,
            resident=resident,
            first=first,
            update=update,
            work=labels.work + cost.work,
            value=labels.value + self.options.value(u, code, cost),
            choice=self.history.add(code, labels.choice),
        )

    def needed(self, u: int, labels: Labels, cost: PartCost, below_keeps: bool) -> np.ndarray:
        """The column `need` of the labels with one more unit."""
        need, depth = labels.need + (cost.saved + cost.resident), len(self.options.held_during[u])
        resident, boundary = labels.resident + cost.resident, self.costs.boundary_bytes(u - 1)
        need[:, : depth + 1] += boundary * (cost.keeps_input or below_keeps)
        need[:, depth + 1 :] += boundary  # a call frame holds it
        if u and self.costs.held_until[u - 1] > u:
            need[:, depth] = np.maximum(need[:, depth], need[:, depth + 1])
            need[:, depth + 1] = NOT_NEEDED
        need[:, depth] = np.maximum(need[:, depth], resident + cost.forward)
        if cost.backward:
            need[:, 0] = np.maximum(need[:, 0], resident + labels.gradients + cost.backward)
        return need

    def updated(self, labels: Labels, cost: PartCost) -> tuple[np.ndarray, np.ndarray]:
        """The columns `first` and `update` with one more unit, whose parameters are updated before those above."""
        optimizer, numbers = self.costs.request.update, self.costs.numbers
        first, update = labels.first, labels.update
        if not optimizer.moves or not cost.first:
            return first, update
        if optimizer.together:
            first = first + cost.first
            return first, np.maximum(update, optimizer.peak([first], numbers))
        if optimizer.overlaps:
            across = optimizer.peak([cost.last, first], numbers)
            update = np.maximum(update, np.where(first > 0, across, 0))
            first = np.full_like(first, cost.first)
        return first, np.maximum(update, cost.update)

    def finish(self, u: int, labels: Labels) -> None:
        """Freeze all units below u, and note the best of the labels that fit if it beats the known choice."""
        below, budget = self.options.frozen_below[u], self.budget
        fits = labels.need[:, 0] + below.resident <= budget
        for k in range(1, labels.need.shape[1]):
            held = sum(map(self.costs.boundary_bytes, [v for v in self.options.held_during[u] if v < u - 1][:k]))
            fits &= labels.need[:, k] + below.resident + held <= budget
        resident = labels.resident + below.resident
        fits &= resident + below.forward * (u > 0) <= budget
        fits &= resident + labels.gradients + self.costs.loss_bytes + labels.update <= budget
        work = labels.work + below.work
        if self.most_work is not None:
            fits &= work <= self.most_work
        places = np.flatnonzero(fits)
        if not len(places):
            return
        best = places[np.lexsort((work[places], -labels.value[places]))[0]]
        value, least = float(labels.value[best]), int(work[best])
        if self.beats_known(value, least):
            self.known = Found(self.history.code(int(labels.choice[best]), frozen=u), value, least)

    def beats_known(self, value: float, work: int) -> bool:
        """Whether a choice is better than the known one."""
        if self.known is None:
            return True
        same = abs(value - self.known.value) <= ROUNDING * max(1.0, abs(value))
        if self.ties:
            return same and work < self.known.work
        return value > self.known.value and not same

    def pruned(self, u: int, labels: Labels) -> Labels:
        """The labels that may still lead to the best choice."""
        fits = labels.need.max(axis=1) <= self.budget
        fits &= labels.resident + labels.gradients + labels.update + self.costs.loss_bytes <= self.budget
        fits &= labels.resident + self.options.least_forward_below[u] <= self.budget
        if self.most_work is not None:
            fits &= labels.work + self.options.frozen_below[u].work <= self.most_work
        labels = labels.at(fits)
        alive, bound = self.promising(u, labels)
        labels, bound = labels.at(alive), bound[alive]
        best = labels.best(counts_work=self.ties or self.most_work is not None)
        labels, bound = labels.at(best), bound[best]
        if len(bound) > self.beam:
            labels = labels.at(np.argsort(bound, kind="stable")[: self.beam])
            self.is_cut = True
        return labels

    def promising(self, u: int, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
        """Whether each label may still beat the known choice, and a bound for each: less is more promising."""
        spare = (self.budget - labels.need[:, 0]).astype(float)  # bytes that the units below may keep
        most = labels.value + np.interp(spare, *self.search.relaxation.by_bytes[u])
        if self.known is None:
            return np.ones(len(most), dtype=bool), -most
        slack = ROUNDING * max(1.0, abs(self.known.value))
        if not self.ties:
            return most > self.known.value + slack, -most
        missing = self.known.value - slack - labels.value
        bound = np.zeros(len(most))
        for rate, curves in self.search.relaxation.by_work:
            more = np.interp(missing, curves[u].value, curves[u].cost, right=np.inf) - rate * spare
            bound = np.maximum(bound, labels.work + more)
        return (most >= self.known.value - slack) & (bound < self.known.work * (1 + ROUNDING)), bound
