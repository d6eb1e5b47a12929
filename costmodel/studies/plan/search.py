"""The best choice for every part of a network under a budget, found exactly: dynamic programming from the loss down.

A label stands for the choices of the parts above some place. Of two labels that the parts below cannot tell apart, one
that is no better in anything is dropped; so is one that cannot reach the best value known, by a bound on what the parts
below may still add: of their choices as if they could be mixed (the linear relaxation of a knapsack).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ...strategies import FROZEN, choices_of
from ..pareto import undominated
from .part_costs import Context, Summaries, Summary

BEAM = 256  # labels of each kind in the first, quick search, whose result bounds the others
MOST = 50_000  # in the next: where there are more, the best choice may be missed, and is said not to be proven
CLOSE = 8_000  # in the last, which looks for fewer FLOPs at the same value
RATES = 8  # prices of a byte that are tried
NEVER = np.iinfo(np.int64).min // 4  # bytes that nothing needs
FEW = 1e-9  # of sums of values, which are floats

Value = Callable[[Sequence[str], str, Summary], float]  # of parts' names, their letters, and their cost


class Curve(NamedTuple):
    """A concave curve through some points, level before the first and after the last."""

    cost: np.ndarray
    value: np.ndarray


class Found(NamedTuple):
    """A choice of parts: its code, value and FLOPs. is_proven: no choice has a greater value."""

    code: str
    value: float
    flops: int
    is_proven: bool = True


class Labels(NamedTuple):
    """Labels of one kind. costs: columns of which less is better (see Search); value: more is; path: of each label, its
    number in the list of steps."""

    costs: np.ndarray
    value: np.ndarray
    path: np.ndarray

    def at(self, places: Any) -> "Labels":
        """Some of the labels."""
        return Labels(self.costs[places], self.value[places], self.path[places])


class Search:
    """Choices of greatest value within a budget of bytes, and of FLOPs if there is one.

    A label's costs: need_0, need_1, ..., how many bytes a budget must have beside what the parts below keep, for what
    happens above: need_k of forward passes during which k call frames hold a value from below; then the bytes of
    gradients, those that are resident, the first trained parameter's, the update's highest level, and FLOPs.
    """

    def __init__(self, summaries: Summaries, value: Value, budget: int, fixed: int, most_flops: Optional[int],
                 contiguous: bool) -> None:  # fmt: skip
        self.s, self.value_of, self.budget, self.fixed = summaries, value, budget, fixed
        self.most_flops, self.contiguous = most_flops, contiguous
        self.top = len(summaries.units) - 1
        self.depths = 1 + max(map(len, self.around))
        self.gradients, self.resident, self.first, self.update, self.flops = range(self.depths, self.depths + 5)
        self.columns = self.depths + 5
        self.is_proven = True  # no label was dropped that may lead to a greater value

    # -- what does not depend on the choices ------------------------------------------------------------------

    @cached_property
    def around(self) -> List[List[int]]:
        """For each unit, the boundaries whose value a call frame holds during its forward pass, the outermost first."""
        held = self.s.held
        return [[v for v in range(u - 1) if held[v] >= u] for u in range(self.top + 1)]

    @cached_property
    def bottom(self) -> List[Tuple[int, int, int]]:
        """For each unit, of the frozen units below it: resident bytes, highest forward level, FLOPs."""
        found, resident, highest, flops = [(0, 0, 0)], 0, 0, 0
        for u in range(self.top):
            summary = self.s.of(u, FROZEN.letter, Context(False, False, False))
            held = sum(self.s.boundary_bytes(v) for v in self.around[u])
            resident, flops = resident + summary.resident, flops + summary.flops
            highest = max(highest, summary.forward + held)
            found.append((resident, highest, flops))
        return found

    @cached_property
    def floor(self) -> List[int]:
        """For each unit, a level that the forward pass of the units below it reaches whatever is chosen for them."""
        found = [0]
        for u in range(self.top):
            contexts = [Context(False, False, False)] + [Context(True, False, False)] * (u > 0)
            costs = [self.s.of(u, code, context) for code in self.s.units[u].options for context in contexts]
            found.append(max(found[-1], min(cost.forward for cost in costs if cost)))
        return found

    def value(self, u: int, code: str, summary: Summary) -> float:
        """What a unit's choice is worth."""
        return self.value_of(self.s.units[u].names, code, summary)

    def options(self, u: int) -> List[Tuple[str, bool]]:
        """(code, whether a gradient is demanded below) of a unit."""
        found = []
        for code in self.s.units[u].options:
            for demanded in (False, True)[: 1 + (u > 0)]:
                has_frozen = FROZEN in choices_of(code)
                idle = u < self.top and has_frozen and not demanded
                gap = demanded and self.contiguous and has_frozen
                if not idle and not gap:
                    found.append((code, demanded))
        return found

    @cached_property
    def keeps_own(self) -> List[Tuple[bool, ...]]:
        """For each unit, whether it keeps what it hands on: the answers that it can give."""
        found = []
        for u in range(self.top):
            answers = {False}
            for code, demanded in self.options(u):
                for above in (False, True):
                    summary = self.s.of(u, code, Context(demanded, above, False))
                    answers |= {summary.keeps_output} if summary else set()
            found.append(tuple(sorted(answers)))
        return found

    @cached_property
    def prices(self) -> List[List[Tuple[int, float, int]]]:
        """For each unit but the top one, of all that can be chosen: bytes kept, value, FLOPs, at the least."""
        found = []
        for u in range(self.top):
            frozen = self.s.of(u, FROZEN.letter, Context(False, False, False))
            points = {(0, 0.0, frozen.flops)}
            for code, demanded in self.options(u):
                for above in (False, True):
                    summary = self.s.of(u, code, Context(demanded, above, False))
                    if summary:
                        kept = summary.saved + self.s.boundary_bytes(u - 1) * summary.keeps_input
                        points.add((kept, self.value(u, code, summary), summary.flops))
            found.append(sorted(points))
        return found

    @cached_property
    def worths(self) -> List[Curve]:
        """For each unit, of the units below it: the most value for so many bytes."""
        return self.curves(lambda kept, flops: kept)

    @cached_property
    def works(self) -> List[Tuple[float, List[Curve]]]:
        """For some prices of a byte in FLOPs, the same: the most value for FLOPs and bytes at that price."""
        rates = sorted({
            (again[2] - once[2]) / (once[0] - again[0])
            for points in self.prices for once in points for again in points
            if once[1] == again[1] and once[0] > again[0] and once[2] < again[2]
        })  # fmt: skip
        chosen = {0.0, *rates[:: max(1, len(rates) // RATES)]}
        return [(rate, self.curves(lambda kept, flops, rate=rate: flops + rate * kept)) for rate in sorted(chosen)]

    def curves(self, cost: Callable[[int, int], float]) -> List[Curve]:
        """For each unit, of the units below it: the most value at a cost, were their choices mixed as one likes."""
        least, value, steps, found = 0.0, 0.0, [], [Curve(np.zeros(1), np.zeros(1))]
        for points in self.prices:
            first, *more = _hull(sorted((cost(kept, flops), worth) for kept, worth, flops in points))
            least, value, steps = least + first[0], value + first[1], steps + more
            ordered = sorted(steps, key=lambda step: -step[1] / max(step[0], FEW))
            costs, values = [least, *(s for s, _ in ordered)], [value, *(v for _, v in ordered)]
            found.append(Curve(np.cumsum(costs), np.cumsum(values)))
        return found

    # -- the search ---------------------------------------------------------------------------------------------

    def best(self) -> Optional[Found]:
        """The choice of greatest value, of those the one of fewest FLOPs that is found; None where nothing fits."""
        best = None
        for ties in (False, True):
            for beam in (BEAM, CLOSE if ties else MOST):
                best = self.run(best, beam, ties) if best or not ties else None
        return best and best._replace(is_proven=self.is_proven)

    def run(self, known: Optional[Found], beam: int, ties: bool) -> Optional[Found]:
        """The choice that is better than the one known, or that one.

        beam: go on with so many labels of a kind only. ties: better means of the same value with fewer FLOPs.
        """
        self.known, self.ties = known, ties
        self.counts_flops = ties or self.most_flops is not None
        self.parents: List[np.ndarray] = []  # for each step, of each label's path the one that it goes on from
        self.codes: List[str] = []  # of each step
        self.paths = 0
        start = Labels(np.zeros((1, self.columns), dtype=np.int64), np.zeros(1), np.full(1, -1))
        start.costs[:, : self.depths] = NEVER
        start.costs[0, self.resident] = self.fixed
        kinds: Dict[Tuple[bool, bool], Labels] = {(False, False): start}
        for u in range(self.top, -1, -1):
            kinds = self.step(u, kinds, beam)
        return self.known

    def step(self, u: int, kinds: Dict[Tuple[bool, bool], Labels], beam: int) -> Dict[Tuple[bool, bool], Labels]:
        """Choose for one unit.

        kinds: (whether the unit above keeps what it is given, whether it takes it that this one does) -> labels.
        """
        made: Dict[Tuple[bool, bool], List[Labels]] = {}
        for (above, own), labels in kinds.items():
            for code, demanded in self.options(u):
                for below in self.keeps_own[u - 1] if u and demanded else (False,):
                    summary = self.s.of(u, code, Context(demanded, above, below))
                    if summary is None or u < self.top and summary.keeps_output != own:
                        continue
                    new = self.extended(u, labels, code, summary, below)
                    if demanded:
                        made.setdefault((summary.keeps_input, below), []).append(new)
                    else:
                        self.finish(u, new)
        return {kind: self.pruned(u, parts, beam) for kind, parts in made.items()}

    def extended(self, u: int, labels: Labels, code: str, summary: Summary, below: bool) -> Labels:
        """Labels with one more unit."""
        costs, boundary = labels.costs.copy(), self.s.boundary_bytes(u - 1)
        kept = boundary * (summary.keeps_input or below)
        need, depth = costs[:, : self.depths], len(self.around[u])
        gradients, resident = labels.costs[:, self.gradients], labels.costs[:, self.resident] + summary.resident
        need += summary.saved + summary.resident
        need[:, : depth + 1] += kept
        need[:, depth + 1 :] += boundary  # a frame holds it
        if u and self.s.held[u - 1] > u:
            need[:, depth] = np.maximum(need[:, depth], need[:, depth + 1])
            need[:, depth + 1] = NEVER
        need[:, depth] = np.maximum(need[:, depth], resident + summary.forward)
        if summary.backward:
            need[:, 0] = np.maximum(need[:, 0], resident + gradients + summary.backward)
        costs[:, self.resident], costs[:, self.gradients] = resident, gradients + summary.gradients
        self.updated(costs, summary.each)
        costs[:, self.flops] += summary.flops
        path = np.arange(self.paths, self.paths + len(costs))
        self.paths += len(costs)
        self.parents.append(labels.path)
        self.codes.append(code)
        return Labels(costs, labels.value + self.value(u, code, summary), path)

    def updated(self, costs: np.ndarray, each: Sequence[int]) -> None:
        """The update of a unit's parameters, which come before those of the units above."""
        optimizer = self.s.request.optimizer
        if not optimizer.slots or not each:
            return
        number = self.s.number
        highest = number
        if optimizer.root:
            # Two tensors of a parameter, beside one of the parameter before.
            highest += max(before + 2 * size for before, size in zip([0, *each], each))
            across = np.where(costs[:, self.first] > 0, each[-1] + 2 * costs[:, self.first] + number, 0)
            costs[:, self.update] = np.maximum(costs[:, self.update], across)
            costs[:, self.first] = each[0]
        costs[:, self.update] = np.maximum(costs[:, self.update], highest)

    def finish(self, u: int, labels: Labels) -> None:
        """Freeze all units below, and see whether the best of the labels is the best known."""
        resident, highest, flops = self.bottom[u]
        costs = labels.costs
        fits = costs[:, 0] + resident <= self.budget
        for k in range(1, self.depths):
            held = sum(map(self.s.boundary_bytes, [v for v in self.around[u] if v < u - 1][:k]))
            fits &= costs[:, k] + resident + held <= self.budget
        total = costs[:, self.resident] + resident
        fits &= total + highest * (u > 0) <= self.budget
        fits &= total + costs[:, self.gradients] + self.s.loss_bytes + costs[:, self.update] <= self.budget
        work = costs[:, self.flops] + flops
        if self.most_flops is not None:
            fits &= work <= self.most_flops
        places = np.flatnonzero(fits)
        if not len(places):
            return
        best = places[np.lexsort((work[places], -labels.value[places]))[0]]
        value, work = float(labels.value[best]), int(work[best])
        if self.better(value, work):
            self.known = Found(self.code(u, int(labels.path[best])), value, work)

    def better(self, value: float, flops: int) -> bool:
        """Whether a choice beats the one known."""
        if self.known is None:
            return True
        same = abs(value - self.known.value) <= FEW * max(1.0, abs(value))
        if self.ties:
            return same and flops < self.known.flops
        return value > self.known.value and not same

    def code(self, u: int, path: int) -> str:
        """The letters of a label, those of the frozen units below it included."""
        offsets = np.cumsum([0, *map(len, self.parents)])
        letters = FROZEN.letter * u
        while path >= 0:
            k = int(np.searchsorted(offsets, path, side="right")) - 1
            letters += self.codes[k]
            path = int(self.parents[k][path - offsets[k]])
        return letters

    def pruned(self, u: int, parts: List[Labels], beam: int) -> Labels:
        """The labels from which the best choice may still come."""
        labels = Labels(*(np.concatenate(columns) for columns in zip(*parts)))
        costs = labels.costs
        fits = costs[:, : self.depths].max(axis=1) <= self.budget
        after = costs[:, self.resident] + costs[:, self.gradients] + costs[:, self.update]
        fits &= after + self.s.loss_bytes <= self.budget
        fits &= costs[:, self.resident] + self.floor[u] <= self.budget
        if self.most_flops is not None:
            fits &= costs[:, self.flops] + self.bottom[u][2] <= self.most_flops
        labels = labels.at(fits)
        alive, promise = self.promising(u, labels)
        labels, promise = labels.at(alive), promise[alive]
        columns = [labels.costs[:, k] for k in range(self.columns) if k != self.flops or self.counts_flops]
        _, rank = np.unique(-labels.value, return_inverse=True)
        order = undominated(np.stack([rank.reshape(-1), *columns], axis=1))
        labels, promise = labels.at(order), promise[order]
        if len(promise) > beam:
            labels = labels.at(np.argsort(promise, kind="stable")[:beam])
            self.is_proven &= beam != MOST
        return labels

    def promising(self, u: int, labels: Labels) -> Tuple[np.ndarray, np.ndarray]:
        """Which labels may still beat the choice known, and what of each is bounded: the less the better."""
        spare = (self.budget - labels.costs[:, 0]).astype(float)  # bytes that the units below may keep
        bound = labels.value + np.interp(spare, *self.worths[u])
        if self.known is None:
            return np.ones(len(bound), dtype=bool), -bound
        slack = FEW * max(1.0, abs(self.known.value))
        if not self.ties:
            return bound > self.known.value + slack, -bound
        missing = self.known.value - slack - labels.value
        flops = np.zeros(len(bound))
        for rate, curves in self.works:
            work = np.interp(missing, curves[u].value, curves[u].cost, right=np.inf) - rate * spare
            flops = np.maximum(flops, labels.costs[:, self.flops] + work)
        return (bound >= self.known.value - slack) & (flops < self.known.flops * (1 + FEW)), flops


def _hull(points: List[Tuple[float, float]]) -> List[Tuple[float, float]]:
    """The concave curve over points (cost, value) of ascending cost: its start, then its steps, none of which falls."""
    hull: List[Tuple[float, float]] = []
    for point in points:
        if hull and point[0] == hull[-1][0]:
            if point[1] <= hull[-1][1]:
                continue
            hull.pop()
        if hull and point[1] <= hull[-1][1]:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [hull[0], *((b[0] - a[0], b[1] - a[1]) for a, b in zip(hull, hull[1:]))]


def _slope(a: Tuple[float, float], b: Tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
