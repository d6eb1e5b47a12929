"""Plans whose process is within a budget, and not only their peak."""

from __future__ import annotations

from typing import Any

from ...step.estimate import Estimate
from ..needs import Need
from .limit import Limit
from .nothing_fits import NothingFits
from .plan import Plan, plan

#: Peaks for which a plan is sought, at most.
TRIES = 10
#: By how many bytes a process shrinks at most with each byte of the peak: the peak's own, and what glibc keeps for it.
SHRINKS = 2


def lower_peak(found: Estimate, need: Need, budget: int) -> int:
    """A peak to try next, after one with which `need` is above the budget: what surrounds a peak shrinks with it."""
    return max(1, int(found.peak_bytes) - (need(found) - budget) // SHRINKS)


def plan_within(budget: int, need: Need, **asked: Any) -> Plan:
    """The best plan for the largest peak that was found with which `need` is within `budget` bytes.

    need: what must be within the budget. asked: further arguments of `plan`. Raises CostmodelError as `plan` does.
    """
    allowed = budget
    for _ in range(TRIES):
        try:
            found = plan(budget=allowed, **asked)
        except NothingFits as no:
            if no.least.peak_bytes <= allowed or need(no.least) > budget:
                raise
            allowed = int(no.least.peak_bytes)  # the step down was too large
            continue
        if need(found.estimate) <= budget:
            return found
        allowed = lower_peak(found.estimate, need, budget)
    raise NothingFits(found.estimate, allowed, Limit(), found.micro_batches)
