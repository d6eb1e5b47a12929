"""Prices one strategy over a grid of resolutions and batches, exactly in every cell."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm, prod
from typing import Any

import numpy as np

from ...errors import CostmodelError
from ...graph.inputs import Resolution, Sides, sides_of
from ...graph.network import Network
from ...sizes.by_batch import Batches, dense
from ...sizes.size import Size, Uneven
from ...step.estimate import Estimate
from ...step.memo import Memo
from ...step.request import Request
from ...step.walk import analyze
from ...strategies import apply
from .certainties import CERTAINTIES
from .columns import COLUMNS, TIMES

#: What a cell has, by name; in BROKEN are the costs that are linear between some batches only.
VALUES = {**{name: cost.value for name, cost in {**COLUMNS, **TIMES}.items()}, **CERTAINTIES}
BROKEN = frozenset(name for name, cost in COLUMNS.items() if cost.has_thresholds)
KEPT_MEMOS = 8  # most grids whose formulas' results are remembered
MOST_BYTES = 2**27  # of arrays in these memos
ONE_BY_ONE = 3  # up to this many cells are cheaper priced one by one


class Pricer:
    """Prices planes of cells, and remembers the results of a network's ops from one strategy to the next."""

    def __init__(self) -> None:
        self._memos: dict[tuple, tuple[Memo, tuple]] = {}

    def check(self, network: Network, request: Request, resolutions: Sequence[Any], batches: Sequence[int]) -> None:
        """Raise CostmodelError if the smallest cell has no cost, or if the largest cell's cost exceeds 64 bits.

        Costs grow with the resolution and the batch, so all other cells fit too.
        """
        for pick in (min, max):
            side = pick(resolutions, key=pixels)
            self._single(network, request._replace(batch=pick(batches), resolution=side))

    def plane(
        self,
        network: Network,
        request: Request,
        resolutions: Sequence[Any],
        batches: Sequence[int],
        out: dict[str, np.ndarray],
    ) -> None:
        """Fill the columns `out`: int64 arrays of shape (resolutions, batches); -1 means there is no such number.

        The largest cell must have passed `check`. Raises CostmodelError that names a cell without a cost.
        """
        if len(resolutions) * len(batches) <= ONE_BY_ONE:
            for i, resolution in enumerate(resolutions):
                for j, batch in enumerate(batches):
                    cell = self._single(network, request._replace(batch=batch, resolution=resolution))
                    _fill({name: column[i : i + 1, j : j + 1] for name, column in out.items()}, cell)
            return
        order = np.argsort(batches, kind="stable")
        whole = {name: column for name, column in out.items() if name not in BROKEN}
        self._part(network, request, resolutions, batches, order, whole)
        others = {name: column for name, column in out.items() if name in BROKEN}
        for run in runs(np.asarray(batches)[order], request.target.thresholds, period(network, request)):
            self._part(network, request, resolutions, batches, order[run], others)

    def _part(
        self,
        network: Network,
        request: Request,
        resolutions: Sequence[Any],
        batches: Sequence[int],
        where: np.ndarray,
        out: dict[str, np.ndarray],
    ) -> None:
        """Fill the columns at some of the batches. where: their indices, in ascending order of the batches."""
        part = [batches[j] for j in where]
        if np.array_equal(where, np.arange(where[0], where[0] + len(where))):
            columns = slice(where[0], where[0] + len(where))
            self._run(network, request, resolutions, part, {name: column[:, columns] for name, column in out.items()})
            return
        fresh = {name: np.empty((len(resolutions), len(part)), dtype=np.int64) for name in out}
        self._run(network, request, resolutions, part, fresh)
        for name, column in out.items():
            column[:, where] = fresh[name]

    def _run(
        self,
        network: Network,
        request: Request,
        resolutions: Sequence[Any],
        batches: Sequence[int],
        out: dict[str, np.ndarray],
    ) -> None:
        """Fill the columns for ascending batches, in one walk if the step takes the same course in all cells."""
        memo, (batch, side) = self._memo_of(network, request, resolutions, batches)
        try:
            estimate = analyze(network, request._replace(batch=batch, resolution=side), memo)
            _fill(out, estimate)
        except Uneven as uneven:
            holds = np.broadcast_to(uneven.condition, (len(resolutions), len(batches)))
            mixed = np.flatnonzero(holds.any(axis=1) & ~holds.all(axis=1))
            rows = [np.arange(len(resolutions))] if len(mixed) else _split(holds[:, 0])
            columns = _split(holds[mixed[0]]) if len(mixed) else [np.arange(len(batches))]
            for i in rows:
                for j in columns:
                    fresh = {name: np.empty((len(i), len(j)), dtype=np.int64) for name in out}
                    some, few = [resolutions[k] for k in i.tolist()], [batches[k] for k in j.tolist()]
                    self._run(network, request, some, few, fresh)
                    for name, column in out.items():
                        column[np.ix_(i, j)] = fresh[name]
        except CostmodelError:
            self._name_cell(network, request, resolutions, batches)
            raise

    def _memo_of(
        self, network: Network, request: Request, resolutions: Sequence[Any], batches: Sequence[int]
    ) -> tuple[Memo, tuple[Size, Size]]:
        key = (network, tuple(resolutions), tuple(batches))
        while len(self._memos) > KEPT_MEMOS or sum(kept.bytes for kept, _ in self._memos.values()) > MOST_BYTES:
            del self._memos[next(iter(self._memos))]
        if key not in self._memos:
            side = stacked(resolutions)
            self._memos[key] = (Memo(), (Batches(batches).size if len(batches) > 1 else batches[0], side))
        return self._memos[key]

    def _single(self, network: Network, request: Request) -> Estimate:
        try:
            return analyze(network, request)
        except CostmodelError as error:
            raise CostmodelError(f"strategy {str(request.strategy)!r}, {request.convention}: {error}") from None

    def _name_cell(
        self, network: Network, request: Request, resolutions: Sequence[Any], batches: Sequence[int]
    ) -> None:
        """Raise the error of one cell of a grid that has an error, found by bisection."""

        def fails(sides: Sequence[Any], sizes: Sequence[int]) -> bool:
            side = stacked(sides)
            try:
                analyze(network, request._replace(batch=Batches(sizes).size, resolution=side))
            except CostmodelError:
                return True
            except Uneven:
                pass  # the steps take different courses, so shapes are not the problem
            return False

        while len(resolutions) > 1:
            half = resolutions[: len(resolutions) // 2]
            resolutions = half if fails(half, batches) else resolutions[len(half) :]
        while len(batches) > 1:
            half = batches[: len(batches) // 2]
            batches = half if fails(resolutions, half) else batches[len(half) :]
        self._single(network, request._replace(batch=batches[0], resolution=resolutions[0]))


def pixels(resolution: Resolution | None) -> int:
    """Pixels of an image of a resolution, by which resolutions are ordered; 0 for none."""
    return 0 if resolution is None else prod(sides_of(resolution))


def stacked(resolutions: Sequence[Resolution | None]) -> Any:
    """Resolutions as one: its sides are int64 arrays (R, 1), one array if all are square; None for none."""
    if resolutions[0] is None:
        return None

    def column(sides: Sequence[Size]) -> np.ndarray:
        return np.array(sides, dtype=np.int64)[:, None]

    if not any(isinstance(one, Sides) for one in resolutions):
        return column(resolutions)
    return Sides(*map(column, zip(*map(sides_of, resolutions))))


def _split(holds: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(holds), np.flatnonzero(~holds)]


def period(network: Network, request: Request) -> int:
    """A number of batches after which remainders repeat, those of memory blocks and those of batch slices.

    It affects only speed: sizes are linear over batches that are this far apart.
    """
    return lcm(request.target.period, apply(request.strategy, network.graph).prefix_slices)


def runs(batches: np.ndarray, thresholds: Sequence[int], period: int) -> list[np.ndarray]:
    """Indices of ascending batches, grouped so that most sizes are linear within a group."""
    group = np.searchsorted(thresholds, batches, side="right")
    if period > 1 and len(batches) >= 4 * period:
        group = group * period + batches % period
    return [np.flatnonzero(group == one) for one in np.unique(group)]


def _fill(out: dict[str, np.ndarray], estimate: Estimate) -> None:
    for name, column in out.items():
        value = VALUES[name](estimate)
        column[...] = -1 if value is None else dense(value)
