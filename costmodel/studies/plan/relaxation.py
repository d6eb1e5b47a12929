"""An upper bound on the value that units may still add, as if their choices could be mixed in any proportion.

This is the linear relaxation of a knapsack. Only choices on the upper hull of value over cost matter. The steps of all
units' hulls, sorted by value per cost, make one concave curve for several units.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .unit_options import TradeOff, UnitOptions

MOST_RATES = 8  # about the most exchange rates that are tried
TINY = 1e-9  # replaces a cost of 0 in a ratio

Point = tuple[float, float]  # cost, value


class Curve(NamedTuple):
    """A concave curve through some points; constant before the first and after the last."""

    cost: np.ndarray
    value: np.ndarray


class Relaxation:
    """Upper bounds on the value that the units below each unit may add, whatever is chosen above."""

    def __init__(self, options: UnitOptions) -> None:
        self.trade_offs = options.trade_offs

    @cached_property
    def by_bytes(self) -> list[Curve]:
        """For each unit, the most value of the units below it as a curve over the bytes that they keep."""
        return self.curves(lambda point: point.kept)

    @cached_property
    def by_work(self) -> list[tuple[float, list[Curve]]]:
        """For some rates, (rate, curves): the same over work, where each byte kept counts as `rate` more work.

        At each rate, running some part again costs exactly as much as it frees.
        """
        rates = sorted(
            {
                (again.work - once.work) / (once.kept - again.kept)
                for points in self.trade_offs
                for once in points
                for again in points
                if once.value == again.value and once.kept > again.kept and once.work < again.work
            }
        )
        chosen = {0.0, *rates[:: max(1, len(rates) // MOST_RATES)]}
        return [(rate, self.curves(at_rate(rate))) for rate in sorted(chosen)]

    def curves(self, cost: Callable[[TradeOff], float]) -> list[Curve]:
        """For each unit, the most value of the units below it as a curve over their cost."""
        least, value, found = 0.0, 0.0, [Curve(np.zeros(1), np.zeros(1))]
        steps: list[Point] = []
        for points in self.trade_offs:
            first, *more = _hull_steps(sorted((cost(point), point.value) for point in points))
            least, value, steps = least + first[0], value + first[1], steps + more
            ordered = sorted(steps, key=lambda step: -step[1] / max(step[0], TINY))
            costs, values = [least, *(s for s, _ in ordered)], [value, *(v for _, v in ordered)]
            found.append(Curve(np.cumsum(costs), np.cumsum(values)))
        return found


def at_rate(rate: float) -> Callable[[TradeOff], float]:
    """The cost of a choice where a kept byte costs as much work as `rate`."""
    return lambda point: point.work + rate * point.kept


def _hull_steps(points: list[Point]) -> list[Point]:
    """The upper hull of points of ascending cost: its first point, then its steps (cost, value), all of them upward."""
    hull: list[Point] = []
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


def _slope(a: Point, b: Point) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
