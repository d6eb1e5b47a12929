"""The cost columns of a sweep: one row of COLUMNS holds everything that the package knows about a column."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ...sizes.size import Size
from ...step.certainty import CHECKED, LOWER_BOUND, NOT_MODELLED, RULE
from ...step.estimate import Estimate
from .axes import AXIS_TYPES

# Units of columns; views print each unit in its own way.
BYTES, FLOPS, PARAMETERS, BLOCKS, SHARE, TEXT = "bytes", "FLOPs", "parameters", "blocks", "share", "text"


class Cost(NamedTuple):
    """A column of costs.

    value: the cost from an estimate; None if its convention has no such number. has_thresholds: whether kernels switch
    paths at some batch sizes, so that the cost is a piecewise linear function of the batch; other costs are linear.
    """

    name: str
    unit: str
    value: Callable[[Estimate], Size | None]
    has_thresholds: bool = False
    type: type = int


#: The costs by name, in the order of a sweep's columns. A new column is a new row here.
COLUMNS: dict[str, Cost] = {
    cost.name: cost
    for cost in (
        Cost("saved_bytes", BYTES, lambda estimate: estimate.saved_bytes),
        Cost("step_peak_bytes", BYTES, lambda estimate: estimate.memory_bytes["step_peak"], has_thresholds=True),
        Cost("peak_bytes", BYTES, lambda estimate: estimate.memory_bytes["peak"], has_thresholds=True),
        Cost("forward_flops", FLOPS, lambda estimate: estimate.flops["forward"]),
        Cost("backward_flops", FLOPS, lambda estimate: estimate.flops["backward"]),
        Cost("trainable_parameters", PARAMETERS, lambda estimate: estimate.trainable_parameters),
        Cost("trained_blocks", BLOCKS, lambda estimate: estimate.trained_blocks),
    )
}
#: Degrees of certainty by the numbers that stand for them while a grid is priced.
DEGREES = (RULE, CHECKED, NOT_MODELLED, LOWER_BOUND)
LEAST = DEGREES.index(NOT_MODELLED)  # from here on a figure is at least what is said


def _of_saved(estimate: Estimate) -> int:
    return DEGREES.index(LOWER_BOUND if estimate.unknown_ops else estimate.certainty.saved)


def _of_step_peak(estimate: Estimate) -> Any:
    """Of each cell: somewhere in the grid a kernel may have no rule."""
    if estimate.find_memory is None:
        return None
    if estimate.unknown_ops:
        return DEGREES.index(LOWER_BOUND)
    if estimate.request.target.device == "cuda":
        return DEGREES.index(NOT_MODELLED)
    return reduce(np.logical_or, estimate.without_rule.values(), np.False_) * DEGREES.index(NOT_MODELLED)


#: How certain the figures of a cell are, by the names of the columns. They are numbers of DEGREES.
CERTAINTIES: dict[str, Callable[[Estimate], Any]] = {"certainty": _of_saved, "step_peak_certainty": _of_step_peak}
#: Units by column name, for sweeps and for tables of `pareto`.
UNITS = {
    **{cost.name: cost.unit for cost in COLUMNS.values()},
    **dict.fromkeys(CERTAINTIES, TEXT),
    "step_flops": FLOPS,
    "accuracy": SHARE,
}
#: The type of every column of a sweep, the axes' included.
TYPES = {**AXIS_TYPES, **{cost.name: cost.type for cost in COLUMNS.values()}, **dict.fromkeys(CERTAINTIES, str)}
