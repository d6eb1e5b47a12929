"""The cost columns of a sweep: one row of COLUMNS holds everything that the package knows about a column."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ...sizes.size import Size
from ...step.estimate import Estimate
from ...step.seconds import nanoseconds
from .axes import AXIS_TYPES
from .certainties import CERTAINTIES

# Units of columns; views print each unit in its own way.
BYTES, FLOPS, PARAMETERS, BLOCKS, SHARE, TEXT = "bytes", "FLOPs", "parameters", "blocks", "share", "text"
SECONDS = "seconds"


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


def _nanoseconds(estimate: Estimate) -> Size | None:
    """Of a step on the request's device, in a grid's whole numbers; None where no measurement stands behind it."""
    pace = estimate.request.pace
    return nanoseconds(estimate.passes, pace) if pace is not None and pace.is_calibrated else None


#: The columns of a sweep with a device. While a grid is priced they are whole nanoseconds.
TIMES: dict[str, Cost] = {"step_seconds": Cost("step_seconds", SECONDS, _nanoseconds, type=float)}
#: Units by column name, for sweeps and for tables of `pareto`.
UNITS = {
    **{cost.name: cost.unit for cost in COLUMNS.values()},
    **{cost.name: cost.unit for cost in TIMES.values()},
    **dict.fromkeys(CERTAINTIES, TEXT),
    "step_flops": FLOPS,
    "accuracy": SHARE,
}


def types_of(resolutions: Iterable[Any]) -> dict[str, type]:
    """The type of every column of a sweep with these resolutions, the axes' included."""
    sides = all(isinstance(one, (int, np.integer)) for one in resolutions)
    return TYPES if sides else {**TYPES, "resolution": str}


_COSTS = (*COLUMNS.values(), *TIMES.values())
TYPES = {**AXIS_TYPES, **{cost.name: cost.type for cost in _COSTS}, **dict.fromkeys(CERTAINTIES, str)}
