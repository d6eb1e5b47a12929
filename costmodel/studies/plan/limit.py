"""The most work that a step of a plan may take: FLOPs, or seconds on a device."""

from __future__ import annotations

from typing import NamedTuple

from ...devices.pace import Pace
from ...errors import CostmodelError
from ...sizes.units import show_seconds
from ...step.estimate import Estimate
from ...step.request import Request
from ...step.seconds import step_nanoseconds

NANO = 10**9


class Limit(NamedTuple):
    """At most one of the two is given; work is FLOPs, or with seconds whole nanoseconds, of all micro-steps."""

    flops: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, flops: int | None, seconds: float | None) -> Limit:
        """The limit of the arguments of `plan`. Raises CostmodelError for both at once, and for bad seconds."""
        if flops is not None and seconds is not None:
            raise CostmodelError("max_flops beside max_seconds; allowed: one of the two")
        good = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < 1e9
        if seconds is not None and not good:
            raise CostmodelError(f"max_seconds is {seconds!r}; allowed: a number > 0, below a billion")
        return cls(flops, seconds)

    @property
    def most(self) -> int | None:
        """The most work of a step; None without a limit."""
        return self.flops if self.seconds is None else int(self.seconds * NANO)

    @property
    def rounding(self) -> int:
        """By how much the work of a part may differ from its share of the whole: seconds are rounded."""
        return 0 if self.seconds is None else 1

    def pace(self, request: Request) -> Pace | None:
        """The device's constants if work is time. Raises CostmodelError where no measurement stands behind them."""
        if self.seconds is None:
            return None
        pace = request.pace
        if pace is None or not pace.is_calibrated:
            where = request.device.text if request.device else "no device"
            raise CostmodelError(
                f"max_seconds on {where} in {request.dtype.name} on {request.target.text}: no steps were measured"
                " there; allowed: a device with measured seconds (costmodel list devices), or a file of costmodel"
                " calibrate"
            )
        return pace

    def work(self, found: Estimate) -> int:
        """The work of a step with all of its micro-steps."""
        pace, micro_steps = self.pace(found.request), found.request.accumulate
        if pace is None:
            return micro_steps * int(found.flops["total"])
        return step_nanoseconds(found.passes, pace, micro_steps)

    def exceeds(self, found: Estimate) -> bool:
        """Whether a step takes more."""
        return self.most is not None and self.work(found) > self.most

    def in_words(self, work: int) -> str:
        """An amount of work in words."""
        return f"{work:,} FLOPs" if self.seconds is None else show_seconds(work / NANO)
