"""The Pareto frontier: the points that no other point dominates.

A point dominates another if it is at least as good in every objective and better in one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from ..errors import CostmodelError

CHUNK = 512  # points compared at once


def frontier(values: Sequence[np.ndarray], less: Sequence[bool]) -> np.ndarray:
    """Whether each point is on the frontier of two or three objectives: bools, shape (points,).

    values: for each objective an array of one number per point; less: for each objective, whether less is better. Of
    equal points, all are on the frontier or none. Exact, in O(n log n) for two objectives. Raises CostmodelError for
    another number of objectives.
    """
    if len(values) not in (2, 3):
        raise CostmodelError(f"{len(values)} objectives; allowed: two or three")
    # Numbers are replaced by their ranks, with 0 the best: exact for every type of number.
    ranks = [np.unique(np.asarray(value), return_inverse=True)[1].reshape(-1) for value in values]
    ranks = [rank if small else rank.max(initial=0) - rank for rank, small in zip(ranks, less)]
    order = np.lexsort(ranks[::-1])
    points = np.stack(ranks, axis=1)[order]
    if not len(points):
        return np.zeros(0, dtype=bool)
    new = np.append(True, np.any(points[1:] != points[:-1], axis=1))  # the first of each run of equal points
    best = (_of_two if len(values) == 2 else _of_three)(points[new])
    found = np.empty(len(points), dtype=bool)
    found[order] = best[np.cumsum(new) - 1]
    return found


def _of_two(points: np.ndarray) -> np.ndarray:
    """Whether each of these distinct points, sorted in ascending order, is on the frontier of two objectives.

    Only an earlier point can dominate a point, and it does unless its second objective is greater.
    """
    second = points[:, 1]
    before = np.minimum.accumulate(np.append(second.max() + 1, second[:-1]))
    return second < before


def _of_three(points: np.ndarray) -> np.ndarray:
    """The same for three objectives. A staircase holds the least third objective of earlier points by their second."""
    seconds: list[int] = []  # ascending, with descending thirds
    thirds: list[int] = []
    best = np.empty(len(points), dtype=bool)
    for i, (_, second, third) in enumerate(points.tolist()):
        place = bisect_right(seconds, second)
        best[i] = not place or thirds[place - 1] > third
        if best[i]:
            first = bisect_left(seconds, second)
            last = first
            while last < len(thirds) and thirds[last] >= third:
                last += 1
            seconds[first:last], thirds[first:last] = [second], [third]
    return best


def undominated(points: np.ndarray) -> np.ndarray:
    """Indices of the points (rows) that no other point dominates, where less is better; of equal points the first."""
    if not len(points):
        return np.zeros(0, dtype=np.intp)
    varying = np.flatnonzero((points != points[0]).any(axis=0))
    if not len(varying):
        return np.zeros(1, dtype=np.intp)
    columns = points[:, varying]
    order = np.lexsort(columns.T[::-1])
    columns = columns[order]
    new = np.append(True, (columns[1:] != columns[:-1]).any(axis=1))
    order, columns = order[new], columns[new]
    if columns.shape[1] == 1:
        return order[:1]
    starts = np.flatnonzero(np.append(True, columns[1:, 0] > columns[:-1, 0]))
    if columns.shape[1] > 2 and len(starts) > 1 and _falls(columns, starts):
        # Only points with equal first numbers can dominate each other.
        groups = zip(starts, np.append(starts[1:], len(columns)))
        found = [order[a:b] if b - a == 1 else order[a:b][undominated(columns[a:b, 1:])] for a, b in groups]
        return np.concatenate(found)
    if columns.shape[1] == 2:
        second = columns[:, 1]
        return order[second < np.minimum.accumulate(np.append(second[0] + 1, second[:-1]))]
    # In this order only an earlier point can dominate a point.
    best = np.empty((0, columns.shape[1]), dtype=columns.dtype)
    kept: list[np.ndarray] = []
    for start in range(0, len(columns), CHUNK):
        part = columns[start : start + CHUNK]
        alive = ~_beaten(part, best)
        part, numbers = part[alive], np.arange(start, start + len(alive))[alive]
        alive = ~_beaten(part, part, strictly_before=True)
        best = np.concatenate([best, part[alive]])
        kept.append(numbers[alive])
    return order[np.concatenate(kept)]


def _falls(columns: np.ndarray, starts: np.ndarray) -> bool:
    """Whether some column falls wherever the first one rises. starts: the rows where the first column rises."""
    lowest, highest = (reduce(columns[:, 1:], starts) for reduce in (np.minimum.reduceat, np.maximum.reduceat))
    return bool((highest[1:] < lowest[:-1]).all(axis=0).any())


def _beaten(points: np.ndarray, others: np.ndarray, strictly_before: bool = False) -> np.ndarray:
    """Whether each point has one among the others that is at most as large in every column.

    strictly_before: others are the same points, and only earlier ones count.
    """
    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=bool)
    beats = np.ones((len(points), len(others)), dtype=bool)
    for k in range(points.shape[1]):
        beats &= others[None, :, k] <= points[:, None, k]
    if strictly_before:
        beats = np.tril(beats, -1)
    found: np.ndarray = np.any(beats, axis=1)
    return found
