"""How long a step takes on a device, and how much energy: sums over its passes, with what they rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..devices.device import Device
from ..devices.kinds import UPDATE
from ..devices.pace import Pace
from ..sizes.by_batch import Batches, Line, part_of
from ..sizes.size import Size
from .passes import Pass

#: How many mean errors an interval reaches to either side: 37 of 38 steps of a Raspberry Pi 4 are within it, each with
#: its family left out, and 39 or 40 of 45 on a calibrated machine's one thread (tests/benchmarks/test_calibration.py).
REACH = 2.5
#: The share by which the watts of a loaded board may differ from a step's (assumed: no step's power was measured).
WATTS_MAY_DIFFER = 0.3


@dataclass(frozen=True, repr=False)
class StepTime:
    """The time of a step on a device, pass by pass; all sums of it add up.

    Without fitted constants it is a bound: the step takes at least as long.
    """

    device: Device
    pace: Pace
    passes: Sequence[Pass]
    pass_seconds: Sequence[float]

    @property
    def is_estimate(self) -> bool:
        """Whether it is more than a bound."""
        return self.pace.is_calibrated

    @property
    def least(self) -> float:
        """The sum of all passes' seconds, which is a bound without fitted constants."""
        return sum(self.pass_seconds)

    @property
    def step(self) -> float | None:
        """Seconds of a step; None where no fitted constants stand behind them."""
        return self.least if self.is_estimate else None

    @property
    def low(self) -> float:
        """Seconds that a step takes at least: by the constants' mean error, or the datasheet's bound."""
        return self.least / self._spread

    @property
    def high(self) -> float | None:
        """Seconds that a step takes at most; None where nothing is known."""
        return self.least * self._spread if self.is_estimate else None

    @property
    def _spread(self) -> float:
        return 1.0 if self.pace.mape is None else 1 + REACH * self.pace.mape

    @property
    def source(self) -> str:
        """What the seconds rest on, in words."""
        pace = self.pace
        if pace.mape is None:
            return f"{self.device.title}, {pace.source}: at least"
        return f"{self.device.title}, {pace.framework}: {pace.source}; mean error {100 * pace.mape:.3g} %, {pace.error}"

    def by_kind(self) -> dict[str, float]:
        """Seconds by kind of kernels, the largest first."""
        found: Counter[str] = Counter()
        for one, seconds in zip(self.passes, self.pass_seconds):
            found[one.kernels] += seconds  # type: ignore[assignment]
        return dict(found.most_common())

    @property
    def update(self) -> float:
        """Seconds of the optimizer's update, which comes once for all micro-steps."""
        return sum(seconds for one, seconds in zip(self.passes, self.pass_seconds) if one.name == UPDATE)

    def __repr__(self) -> str:
        told = f"at least {self.low:.3g} s" if self.step is None else f"{self.step:.3g} s"
        return f"<StepTime on {self.device.text}: {told}, {len(self.passes)} passes>"

    def of_nodes(self, run: range) -> float:
        """Seconds of some nodes, updates left out."""
        return sum(seconds for one, seconds in zip(self.passes, self.pass_seconds) if one.node in run)

    def bound_by(self) -> str:
        """What limits most of the time: "arithmetic" or "bandwidth"."""
        arithmetic = sum(
            seconds
            for one, seconds in zip(self.passes, self.pass_seconds)
            if 2 * one.macs / self.pace.arithmetic > one.nbytes / self.pace.bandwidth
        )
        return "arithmetic" if 2 * arithmetic > self.least else "bandwidth"

    def to_dict(self) -> dict[str, float | str | None]:
        """`seconds` of the JSON."""
        return {"step": self.step, "low": self.low, "high": self.high, "source": self.source}

    @property
    def joules(self) -> dict[str, float | str | None] | None:
        """Energy of a step at the board's loaded power, with an interval; None where either is not known."""
        watts = self.device.loaded_watts
        if watts is None or self.step is None or self.high is None:
            return None
        low, high = self.low * watts.value * (1 - WATTS_MAY_DIFFER), self.high * watts.value * (1 + WATTS_MAY_DIFFER)
        near = f"assumed to be within {100 * WATTS_MAY_DIFFER:.0f} % of a step's"
        origin = f"{watts.value:g} W of the loaded board ({watts.origin}), {near}"
        return {"step": self.step * watts.value, "low": low, "high": high, "source": origin}


def nanoseconds(passes: Sequence[Pass], pace: Pace) -> np.ndarray:
    """The time of some passes in whole nanoseconds, in every cell of a grid of sizes; one number without a grid."""
    if all(isinstance(size, int) for one in passes for size in (one.macs, one.nbytes)):
        return np.rint(1e9 * sum(map(pace.seconds_of, passes))).astype(np.int64)
    factors = np.array([pace.factor(one.kernels, one.name) for one in passes])
    overhead = pace.overhead * len(passes) + pace.python_overhead * sum(one.in_python for one in passes)
    macs, bytes_ = (Ends.of([one[column] for one in passes]) for column in (3, 4))
    arithmetic, bandwidth = macs.times(2 * factors / pace.arithmetic), bytes_.times(factors / pace.bandwidth)
    total = arithmetic.larger(bandwidth) + overhead
    if pace.cold:
        total = total + bytes_.times(np.full(len(passes), 1 / pace.cold)).sum()
    return np.rint(1e9 * total).astype(np.int64)


def step_nanoseconds(passes: Sequence[Pass], pace: Pace, micro_steps: int) -> int:
    """The time of a step in whole nanoseconds: all passes of a micro-step as often, but for the update."""
    return round(1e9 * sum(pace.seconds_of(one) * (1 if one.name == UPDATE else micro_steps) for one in passes))


class Ends(NamedTuple):
    """Sizes of passes over a grid, those that are linear in the batch by base and slope, shapes (passes, resolutions).

    others: (number of a pass, its size in every cell) of the rest, whose base and slope are 0. batches: of the lines,
    None if there are none.
    """

    base: np.ndarray
    slope: np.ndarray
    others: list[tuple[int, np.ndarray]]
    batches: Batches | None

    @classmethod
    def of(cls, sizes: Sequence[Size]) -> Ends:
        """The sizes as columns."""
        parts = [part_of(size) for size in sizes]
        batches = next((size.batches for size in sizes if isinstance(size, Line)), None)
        rows = max((np.shape(one)[0] for part in parts if part for one in part if np.ndim(one)), default=1)
        base, slope = np.zeros((2, len(sizes), rows))
        others = []
        for number, (size, part) in enumerate(zip(sizes, parts)):
            if part is None:
                others.append((number, np.asarray(size, dtype=float)))
            else:
                base[number], slope[number] = (np.ravel(one) for one in part)
        return cls(base, slope, others, batches)

    def times(self, factors: np.ndarray) -> Ends:
        """Each size times its factor."""
        others = [(number, factors[number] * size) for number, size in self.others]
        return Ends(self.base * factors[:, None], self.slope * factors[:, None], others, self.batches)

    @property
    def places(self) -> np.ndarray:
        """The places of the batches; one at 0 if no size depends on them."""
        return np.zeros(1) if self.batches is None else self.batches.places

    def sum(self) -> Size:
        """The sum of all sizes, shape (resolutions, batches)."""
        total = self.base.sum(axis=0)[:, None] + self.slope.sum(axis=0)[:, None] * self.places
        return total + sum(size for _, size in self.others)

    def cells(self, number: int) -> np.ndarray:
        """A size in every cell."""
        told = self.base[number][:, None] + self.slope[number][:, None] * self.places
        return told + sum(size for other, size in self.others if other == number)

    def larger(self, other: Ends) -> Size:
        """The sum over all passes of the larger of two sizes, shape (resolutions, batches)."""
        batches = self.batches or other.batches
        mine, its = (one._replace(batches=batches) for one in (self, other))
        last = mine.places[-1]
        first, end = mine.base - its.base, mine.base + mine.slope * last - its.base - its.slope * last
        above, below = (first >= 0) & (end >= 0), (first <= 0) & (end <= 0)
        apart = {number for number, _ in (*mine.others, *its.others)}
        crossing = sorted(apart | set(np.flatnonzero(~(above | below).all(axis=1)).tolist()))
        linear = np.ones(len(first), dtype=bool)
        linear[crossing] = False
        base = np.where(above, mine.base, its.base)[linear].sum(axis=0)[:, None]
        slope = np.where(above, mine.slope, its.slope)[linear].sum(axis=0)[:, None]
        return base + slope * mine.places + sum(np.maximum(mine.cells(n), its.cells(n)) for n in crossing)


def time_of(passes: Sequence[Pass], device: Device, pace: Pace) -> StepTime:
    """The time of a step's passes."""
    return StepTime(device, pace, passes, [pace.seconds_of(one) for one in passes])


def device_record(device: Device | None, time: StepTime | None) -> dict[str, Any]:
    """What the JSON of an estimate tells of its device; nothing without one. time: None where nothing is known."""
    if device is None:
        return {}
    found = {"device": device.text, "usable_bytes": device.usable_bytes}
    return {**found, "seconds": time and time.to_dict(), "energy_joules": time and time.joules}
