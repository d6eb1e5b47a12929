"""Finds the rows of a table that are on its Pareto frontier, and joins accuracies to a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import CostmodelError, unknown
from ..files.table import read_table
from ..sizes.size import LARGEST
from .frontier import frontier
from .grid.columns import TIMES

AXES = ("strategy", "batch", "resolution")


class Objective(NamedTuple):
    """An objective: a column, and whether less of it is better."""

    column: str
    less: bool

    def __str__(self) -> str:
        return f"{'least' if self.less else 'most'} {self.column}"


USUAL = (Objective("peak_bytes", True), Objective("step_flops", True), Objective("trainable_parameters", False))
WITH_ACCURACY = (Objective("peak_bytes", True), Objective("accuracy", False))


def choose(columns: dict[str, list[Any]], objectives: Sequence[Objective]) -> np.ndarray:
    """Whether each row of a table is on its frontier: bools, shape (rows,).

    Raises CostmodelError for an unknown column, or one with a blank or a text.
    """
    values = []
    for name, _ in objectives:
        if name in TIMES and not any(value is not None for value in columns.get(name, ())):
            where = "on this device" if name in columns else "without a device"
            raise CostmodelError(
                f"{name!r} is not known {where}; allowed: with --device, of one where steps were measured (costmodel"
                " list devices), or of a file of costmodel calibrate"
            )
        if name not in columns:
            raise unknown("objective", name, columns)
        check_numbers(columns, name)
        values.append(np.array(columns[name]))
    return frontier(values, [less for _, less in objectives])


def check_numbers(columns: dict[str, list[Any]], name: str, blank: bool = False) -> None:
    """Raise CostmodelError where a column has no number. blank: whether a cell may have none."""
    for row, value in enumerate(columns[name]):
        if value is None and blank:
            continue
        if not isinstance(value, (int, float)) or not -LARGEST <= value <= LARGEST:  # not a number, too
            what = ", ".join(str(columns[axis][row]) for axis in AXES if axis in columns) or f"row {row + 1}"
            found = "no number" if value is None else repr(value)
            raise CostmodelError(f"{name!r} is {found} at {what}; allowed: numbers of 64 bits everywhere")


def check_strategies(columns: dict[str, list[Any]]) -> None:
    """Raise CostmodelError if a table does not say of which strategies its rows are."""
    if "strategy" not in columns:
        raise CostmodelError(f"the table has the columns {', '.join(columns)}; allowed here: with one called strategy")


def with_step_flops(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns, with step_flops added: FLOPs of the forward and the backward pass together."""
    if "step_flops" in columns or not {"forward_flops", "backward_flops"} <= columns.keys():
        return columns
    for name in ("forward_flops", "backward_flops"):
        check_numbers(columns, name, blank=True)
    both = zip(columns["forward_flops"], columns["backward_flops"])
    return {**columns, "step_flops": [None if None in pair else sum(pair) for pair in both]}


def join_accuracy(columns: dict[str, list[Any]], path: str) -> dict[str, list[Any]]:
    """The columns, with the accuracy of each row's strategy added.

    path: a CSV file with the columns strategy and accuracy. Raises CostmodelError if a strategy of the table or the
    file is missing from the other one, or if the file has a strategy twice.
    """
    check_strategies(columns)
    table = read_table(path)
    if not {"strategy", "accuracy"} <= table.keys():
        raise CostmodelError(f"{path!r} has the columns {', '.join(table)}; allowed: strategy, accuracy")
    found: dict[str, float] = {}
    for strategy, accuracy in zip(table["strategy"], table["accuracy"]):
        if not isinstance(accuracy, (int, float)) or not np.isfinite(accuracy):
            raise CostmodelError(f"{path!r}: the accuracy of {strategy!r} is {accuracy!r}; allowed: a number")
        if strategy in found:
            raise CostmodelError(f"{path!r} has the strategy {strategy!r} twice")
        if strategy not in columns["strategy"]:
            raise CostmodelError(f"{path!r}: {unknown('strategy', strategy, set(columns['strategy']))}")
        found[strategy] = accuracy
    missing = [strategy for strategy in dict.fromkeys(columns["strategy"]) if strategy not in found]
    if missing:
        raise CostmodelError(f"{path!r} lacks the accuracy of {', '.join(missing)}")
    return {**columns, "accuracy": [found[strategy] for strategy in columns["strategy"]]}
