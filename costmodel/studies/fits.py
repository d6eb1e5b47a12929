"""Answers whether a training step fits a budget, with the numbers behind the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..api import estimate
from ..sizes.size import show
from ..sizes.units import in_bytes, show_size
from ..step.estimate import Estimate
from .fit import check_has_peak


@dataclass(frozen=True)
class Fits:
    """Whether a step fits a budget: true or false, with what the answer rests on. Bytes are exact.

    missing_bytes: how far the peak is above the budget, 0 if it fits.
    """

    fits: bool
    peak_bytes: int
    budget_bytes: int
    missing_bytes: int
    estimate: Estimate

    def __bool__(self) -> bool:
        return self.fits

    def __str__(self) -> str:
        priced = self.estimate
        images = f"batch {priced.batch} of {show(priced.input_shape)}"
        step = f"{priced.network}, {priced.strategy}, {images}, {priced.convention}"
        peak, budget = show_size(self.peak_bytes), show_size(self.budget_bytes)
        off = show_size(self.missing_bytes or self.budget_bytes - self.peak_bytes)
        answer, side = ("fits", "below") if self.fits else ("does not fit", "above")
        return f"{answer}: {step} peaks at {peak}, {off} {side} the budget of {budget}"


def fits(network: Any, budget: int | str, strategy: str = "full", batch: int = 8, **request: Any) -> Fits:
    """Whether a training step of a network peaks within a budget; nothing is run.

    network: anything `load` takes, also a torch.nn.Module. budget: bytes, or a size such as "256MiB". request: further
    arguments of `costmodel.estimate`. Raises CostmodelError for a bad request, and for a convention without a peak.
    """
    budget_bytes = in_bytes(budget)
    priced = estimate(network, strategy, batch, **request)
    check_has_peak(priced)
    missing = max(0, int(priced.peak_bytes) - budget_bytes)
    return Fits(not missing, int(priced.peak_bytes), budget_bytes, missing, priced)
