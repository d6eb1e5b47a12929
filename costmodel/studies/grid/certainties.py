"""How certain the figures of a grid's cells are, as numbers while it is priced and as words in its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import numpy as np

from ...step.certainty import CHECKED, LOWER_BOUND, NOT_MODELLED, PROBED, RULE
from ...step.estimate import Estimate
from ...step.kernels import is_probed

#: Degrees of certainty by the numbers that stand for them while a grid is priced.
DEGREES = (RULE, CHECKED, PROBED, NOT_MODELLED, LOWER_BOUND)
LEAST = DEGREES.index(NOT_MODELLED)  # from here on a figure is at least what is said
WORDS = np.array([*DEGREES, None], dtype=object)  # of a degree's number, None of -1


def _of_saved(estimate: Estimate) -> Any:
    if estimate.unknown_ops:
        return DEGREES.index(LOWER_BOUND)
    confirmed = estimate.request.target.is_confirmed or estimate.find_memory is None
    return DEGREES.index(estimate.certainty.saved) if confirmed else _of_step_peak(estimate)


def _of_step_peak(estimate: Estimate) -> Any:
    """Of each cell: somewhere in the grid a kernel may have no rule."""
    if estimate.find_memory is None:
        return None
    if estimate.unknown_ops:
        return DEGREES.index(LOWER_BOUND)
    known = DEGREES.index(PROBED if is_probed(estimate.graph, estimate.shapes, estimate.request) else RULE)
    unknown = reduce(np.logical_or, estimate.without_rule.values(), np.False_)
    return np.where(unknown, DEGREES.index(NOT_MODELLED), known)


#: How certain the figures of a cell are, by the names of the columns. They are numbers of DEGREES.
CERTAINTIES: dict[str, Callable[[Estimate], Any]] = {"certainty": _of_saved, "step_peak_certainty": _of_step_peak}


def if_held(degree: int) -> int:
    """The number of a cell's degree, if a dry step of the module agrees with the cell."""
    return DEGREES.index(CHECKED) if degree == DEGREES.index(RULE) else degree


def is_least(degrees: np.ndarray) -> np.ndarray:
    """Whether a figure is at least what is said, for each of some degrees' numbers."""
    return degrees >= LEAST


def least_notes(columns: dict[str, Any]) -> Iterator[str]:
    """A sentence if the allocator's peak of some rows is at least that much, if they say so."""
    degrees = columns.get("step_peak_certainty", [])
    yield from at_least(sum(map(degrees.count, DEGREES[LEAST:])), len(degrees))


def at_least(some: int, cells: int) -> Iterator[str]:
    """A sentence if the allocator's peak of some cells is at least what is said."""
    if some:
        which = "all cells" if some == cells else f"{some:,} of {cells:,} cells"
        yield f"The allocator's peak is at least this in {which} (step_peak_certainty)."
