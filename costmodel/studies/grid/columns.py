"""The costs that a sweep has a column of: one row for each says all that the rest of the package knows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...sizes.size import Size
from ...step.estimate import Estimate
from .axes import AXIS_TYPES

# What a column counts; people read each in their own way.
BYTES, FLOPS, PARAMETERS, BLOCKS, SHARE = "bytes", "FLOPs", "parameters", "blocks", "share"


class Cost(NamedTuple):
    """A column of costs.

    value: of an estimate, None where its convention has no such number. has_thresholds: kernels take other paths from
    some batch sizes on, so that it grows in several lines with the batch; other costs grow in one.
    """

    name: str
    unit: str
    value: Callable[[Estimate], Size | None]
    has_thresholds: bool = False
    type: type = int


#: By name, in the order of a sweep's columns. A new column is a new row.
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
#: What a column counts, by its name: of a sweep, and of a table that a frontier is found in.
UNITS = {**{cost.name: cost.unit for cost in COLUMNS.values()}, "step_flops": FLOPS, "accuracy": SHARE}
#: The type of every column of a sweep, the axes' included.
TYPES = {**AXIS_TYPES, **{cost.name: cost.type for cost in COLUMNS.values()}}
