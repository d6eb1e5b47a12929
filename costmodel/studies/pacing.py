"""Fits a device's constants to the seconds of real steps.

The logarithms of the factors are drawn to 0 (Gaussian priors), since kinds of kernels occur together in networks and
cannot be told apart by whole steps alone. The arithmetic rate is given: where it is fitted, and the only networks that
are bound by it are left out, errors reach hundreds of per cent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..devices.pace import Pace
from ..step.passes import Pass

#: The weight of a factor's squared logarithm beside a step's squared error: with .003, .005, .01, .02, .03 the mean
#: error on the 38 steps of a Raspberry Pi 4, a family left out each time, is 7.6, 7.2, 6.9, 7.7, 8.2 %.
SHRINKAGE = 0.01
#: Bytes per second from which a fit sets out.
FIRST_BANDWIDTH = 4e8


class Run(NamedTuple):
    """A step that was measured: its passes, the seconds that it took, and the family of its network."""

    passes: Sequence[Pass]
    seconds: float
    family: str = ""


class Table(NamedTuple):
    """The passes of some runs in columns.

    rows: of each run, operations, bytes and (kind, pass) of its passes. members: for each of these groups, 1 at the
    names of its kind and its pass.
    """

    names: list[str]
    kinds: set[str]
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    members: np.ndarray
    seconds: np.ndarray


def table(runs: Sequence[Run]) -> Table:
    """The columns of some runs."""
    groups = sorted({(one.kernels, one.name) for run in runs for one in run.passes})
    kinds = {kernels for kernels, _ in groups}
    names = [*sorted(kinds), *sorted({f".{name}" for _, name in groups})]
    members = np.zeros((len(groups), len(names)))
    for row, (kernels, name) in enumerate(groups):
        members[row, names.index(kernels)] = members[row, names.index(f".{name}")] = 1
    number = {group: row for row, group in enumerate(groups)}
    rows = [
        (
            np.array([2.0 * one.macs for one in run.passes]),
            np.array([float(one.nbytes) for one in run.passes]),
            np.array([number[one.kernels, one.name] for one in run.passes]),
        )
        for run in runs
    ]
    return Table(names, kinds, rows, members, np.array([run.seconds for run in runs]))


def fitted(runs: Sequence[Run], arithmetic: float, overhead: float = 0.0, **about: Any) -> Pace:
    """The constants that fit some steps best. arithmetic: operations per second, the device's peak.

    overhead: seconds of a pass from which its fit sets out, where passes wait for a GPU; 0 leaves it out. about:
    further fields of the Pace. Needs scipy.
    """
    from scipy.optimize import least_squares  # type: ignore[import-untyped]

    columns = table(runs)

    def error(found: np.ndarray) -> np.ndarray:
        factors, bandwidth = np.exp(columns.members @ found[2:]), np.exp(found[0])
        told = [
            (factors[group] * np.maximum(macs / arithmetic, nbytes / bandwidth)).sum()
            + overhead * np.exp(found[1]) * len(group)
            for macs, nbytes, group in columns.rows
        ]
        return np.concatenate([np.log(np.array(told) / columns.seconds), np.sqrt(SHRINKAGE) * found[1:]])

    first = np.concatenate([[np.log(FIRST_BANDWIDTH), 0.0], np.zeros(len(columns.names))])
    found = least_squares(error, first).x
    factors = dict(zip(columns.names, np.exp(found[2:]).tolist()))
    waits = float(overhead * np.exp(found[1]))
    passes = {name.removeprefix("."): value for name, value in factors.items() if name not in columns.kinds}
    kinds = {name: value for name, value in factors.items() if name in columns.kinds}
    return Pace(arithmetic, float(np.exp(found[0])), waits, factors=kinds, passes=passes, **about)


def predicted(pace: Pace, runs: Sequence[Run]) -> np.ndarray:
    """The seconds that a device's constants tell of some runs."""
    return np.array([sum(map(pace.seconds_of, run.passes)) for run in runs])


def left_out(runs: Sequence[Run], fit: Callable[[Sequence[Run]], Pace]) -> np.ndarray:
    """The seconds of each run by constants that were fitted to the runs of all other families."""
    found = np.zeros(len(runs))
    for family in sorted({run.family for run in runs}):
        rest = [run for run in runs if run.family != family]
        own = [i for i, run in enumerate(runs) if run.family == family]
        found[own] = predicted(fit(rest), [runs[i] for i in own])
    return found


def mape(told: np.ndarray, seconds: np.ndarray) -> float:
    """The mean absolute error of predictions, as a share of what was measured."""
    return float(np.mean(np.abs(told / seconds - 1)))
