"""The answer if no plan fits: what the cheapest plan takes."""

from __future__ import annotations

from typing import Any

from ...errors import CostmodelError
from ...sizes.units import show_size
from ...step.estimate import Estimate
from .limit import Limit


class NothingFits(CostmodelError):
    """No plan fits into a budget in bytes, or within a limit of work in a step of `micro_batches`.

    least: the estimate of the plan that takes least.
    """

    def __init__(self, least: Estimate, budget_bytes: int, limit: Limit, micro_batches: int) -> None:
        self.least, self.budget_bytes, self.micro_batches = least, budget_bytes, micro_batches
        if limit.most is not None and limit.exceeds(least):
            why = (
                f"no plan for {least.network} takes at most {limit.in_words(limit.most)}: with the classifier alone"
                f" trained it takes {limit.in_words(limit.work(least))}"
            )
        else:
            why = (
                f"no plan for {least.network} fits into {show_size(budget_bytes)}: the least, {least.strategy} with"
                f" batch {least.batch} at {least.request.resolution}, takes {show_size(least.peak_bytes)}"
                f" ({least.peak_bytes} bytes; {least.convention})"
            )
        super().__init__(why)

    def to_dict(self) -> dict[str, Any]:
        """The request, the reason and the plan that takes least, under the names of a plan's."""
        return {
            "network": self.least.network,
            "strategy": self.least.strategy,
            "budget_bytes": self.budget_bytes,
            "fits": False,
            "why": str(self),
            "batch": self.least.batch,
            "micro_batches": self.micro_batches,
            "estimate": self.least.to_dict(),
        }
