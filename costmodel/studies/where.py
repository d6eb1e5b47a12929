"""On which devices a step fits, how long it takes there, and what limits it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..api import estimate
from ..devices import Device
from ..graph.network import Network
from ..step.estimate import Estimate
from ..targets import Target
from .battery import JOULES_PER_WATT_HOUR
from .fit import check_has_peak, largest
from .needs import Bounds, Process, on_gpu, process_on

YES, UNSURE, NO, CALIBRATE = "yes", "unsure", "no", "calibrate first"
MEMORY, HEAT = "memory", "heat"


class Run(NamedTuple):
    """A training run. images: of an epoch, None if it is not known; battery: watt-hours of one, None without one."""

    images: int | None = None
    epochs: int = 1
    battery: float | None = None

    def steps(self, found: Estimate) -> int | None:
        """The (micro-)steps of an epoch; the last batch may be smaller, and counts as a whole one."""
        return None if self.images is None else -(-self.images // found.batch)

    def epoch_share(self, found: Estimate) -> float | None:
        """An epoch's time in steps, of which all but the last of an update's micro-steps are without an update."""
        steps = self.steps(found)
        if steps is None or found.time is None:
            return None
        updates = -(-steps // found.request.accumulate)
        return steps - (steps - updates) * found.time.update / found.time.least

    def battery_share(self, found: Estimate) -> float | None:
        """The share of the battery that the run takes; None where that is not known."""
        steps, joules = self.epoch_share(found), found.time.joules if found.time else None
        if self.battery is None or steps is None or joules is None:
            return None
        return self.epochs * steps * float(joules["step"] or 0) / (JOULES_PER_WATT_HOUR * self.battery)


class Place(NamedTuple):
    """A step on a device.

    verdict: YES if the most that it is likely to take is within the usable memory, NO if the least is not, else UNSURE.
    largest_batch: for which the answer is still YES, 0 if for none; None if it was not sought. limited_by: MEMORY if it
    does not fit, else what `limits` tells of it; "" if nothing is known of it.
    """

    device: Device
    strategy: str
    estimate: Estimate
    bounds: Bounds | None
    verdict: str
    largest_batch: int | None
    limited_by: str

    @property
    def headroom_bytes(self) -> int | None:
        """What the most that it is likely to take leaves of the usable memory; below 0: what is missing."""
        return self.device.usable_bytes - self.bounds.most if self.bounds else None


#: The process around steps on a target.
Around = Callable[[Target], Process]


def plain_process(target: Target) -> Process:
    """The process around steps of a network that imports nothing of its own."""
    return process_on(target, frugal=False)


def bounds_of(found: Estimate, device: Device, around: Around = plain_process) -> Bounds:
    """What a run takes of a device's memory: its process, what PyTorch reserves on a GPU, or the tensors alone."""
    target = found.request.target
    if device.shares_memory and target.device == "cuda":
        return on_gpu(found)
    if device.runs_a_process or device.shares_memory:
        process = around(target).memory(found)
        return Bounds(process.lowest, process.highest)
    return Bounds(int(found.peak_bytes), int(found.peak_bytes))


def where(
    network: Network,
    devices: Sequence[Device],
    strategies: Sequence[str],
    find_batch: bool = True,
    around: Around = plain_process,
    **request: Any,
) -> Iterator[Place]:
    """A step under each strategy on each device. request: further arguments of `estimate`, without target and device.

    find_batch: whether the largest batch that surely fits is sought. around: the process that makes the steps, where
    the device runs one. Raises CostmodelError for a bad request.
    """
    for device in devices:
        for strategy in strategies:
            yield place(network, device, strategy, find_batch, around, request)


def place(
    network: Network, device: Device, strategy: str, find_batch: bool, around: Around, request: dict[str, Any]
) -> Place:
    """A step of a strategy on a device."""
    asked = {**request, "device": device, "target": device.processor.target}
    found = estimate(network, strategy, **asked)
    check_has_peak(found)
    if device.calibrate_first:
        return Place(device, strategy, found, None, CALIBRATE, None, "")
    bounds = bounds_of(found, device, around)
    usable = device.usable_bytes
    verdict = YES if bounds.most <= usable else NO if bounds.least > usable else UNSURE
    batch = None
    if find_batch:

        def most(tried: Estimate) -> int:
            return bounds_of(tried, device, around).most

        batch = largest(network, "batch", usable, strategy, need=most, **without_batch(asked)).value or 0
    return Place(device, strategy, found, bounds, verdict, batch, MEMORY if verdict == NO else limits(found, device))


def limits(found: Estimate, device: Device) -> str:
    """What limits the speed of a step that fits: what most of its time is bound by, and heat."""
    bound = [found.time.bound_by()] if found.time and found.time.is_estimate else []
    return ", ".join([*bound, *([HEAT] if device.throttles else [])])


def without_batch(asked: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an estimate without its batch."""
    return {name: value for name, value in asked.items() if name != "batch"}
