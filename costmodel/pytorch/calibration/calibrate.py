"""The constants of this machine: single layers, then a few whole steps, and how far predictions of these are off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import NamedTuple

import numpy as np
import torch

from ...devices.pace import Pace
from ...errors import CostmodelError
from ...targets import parse
from ...targets.cpu import Cpu
from ..devices import device_of
from ..probe import refuse_other_machines
from .clock import Rates, clock_for, noise
from .single import Single, factors_of, measured
from .steps import Step, beside_factors, columns, measured_steps

#: The noise from which on the constants are not to be trusted.
TOO_NOISY = 0.15


class Calibration(NamedTuple):
    """A machine's constants. noise: how far the reference kernels were from their fastest, as a share."""

    pace: Pace
    noise: float
    single: Single
    steps: list[Step]

    @property
    def is_too_noisy(self) -> bool:
        """Whether other work disturbed it too much."""
        return self.noise > TOO_NOISY


def calibrate(target: str, tell: Callable[[str], object] = lambda text: None) -> Calibration:
    """Measure this machine's CPU. target: threads and memory format; tell: is told what runs now.

    Raises CostmodelError for another target than this machine's CPU.
    """
    place = parse(target)
    if not isinstance(place, Cpu):
        raise CostmodelError(f"target {target!r}; allowed for a calibration: cpu, on this machine")
    refuse_other_machines(place, wide=True)
    clock = clock_for(place.threads)
    with device_of(place).running_on(place.threads), torch.random.fork_rng():
        tell("single layers")
        flat = torch.channels_last if place.channels_last else torch.contiguous_format
        single = measured(clock, flat)
        tell("whole steps")
        steps = measured_steps(clock, target)
    best = Rates(*map(max, zip(*single.rounds)))
    about = f"costmodel calibrate, {date.today().isoformat()}, {clock.words}"
    pace = Pace(
        best.arithmetic,
        best.bandwidth,
        factors=factors_of(single, best),
        target=place.text,
        framework=f"torch {torch.__version__}",
        source=about,
    )
    return Calibration(fitted(pace, steps), noise(single.rounds), single, steps)


def fitted(pace: Pace, steps: list[Step]) -> Pace:
    """The constants with what whole steps tell beside single layers, and their error.

    The error is the mean one of the worst network, each left out in turn: of so few the mean of all is too low.
    """
    table, seconds = columns(steps, pace), np.array([step.seconds for step in steps])
    told = np.zeros(len(steps))
    names = {step.network for step in steps}
    for name in names:
        own = np.array([step.network == name for step in steps])
        beside = beside_factors(table[~own], seconds[~own])
        told[own] = table[own, 0] + table[own, 1:] @ beside
    errors = np.abs(told / seconds - 1)
    mape = max(float(np.mean(errors[[step.network == name for step in steps]])) for name in names)
    overhead, cold, python = beside_factors(table, seconds)
    return replace(
        pace,
        overhead=float(overhead),
        python_overhead=float(python),
        cold=1 / float(cold) if cold else 0.0,
        mape=mape,
        error=f"that of the worst of {len(names)} networks, each left out in turn, {len(steps)} whole steps in all",
    )
