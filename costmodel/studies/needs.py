"""What a budget is held against: the peak of a step, or the process that makes such steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..conventions import find
from ..step.estimate import Estimate
from ..step.process.environment import environment
from ..step.process.gpu import gpu_memory
from ..step.process.memory import Environment, ProcessMemory, process_memory, stated
from ..targets import Target
from ..targets.cpu import Cpu
from ..targets.machine import is_here

#: By how much a GPU's caching allocator may reserve more than it has allocated: 1.2 to 1.9 times in runs of a Jetson
#: TX2 (perf4sight's data; cuDNN's autotuning among it).
RESERVES_AT_MOST = 1.9
OF_A_MODULE = ":"  # in a network's name: of a package or a file
#: Bytes that must fit into a budget, of an estimate.
Need = Callable[[Estimate], int]


def peak(estimate: Estimate) -> int:
    """The peak of a step, with what is resident before it; on a device's GPU the most that PyTorch reserves for it."""
    device = estimate.request.device
    if device is not None and device.shares_memory and estimate.request.target.device == "cuda" and estimate.memory:
        return on_gpu(estimate).most
    return int(estimate.peak_bytes)


class Bounds(NamedTuple):
    """Bytes that a training run is likely to take of a device's memory: the fewest and the most."""

    least: int
    most: int


def on_gpu(estimate: Estimate) -> Bounds:
    """What PyTorch reserves on a GPU: at least what is allocated, at most what its caching allocator may keep."""
    memory = gpu_memory(estimate)
    return Bounds(memory.allocated, max(memory.reserved, int(RESERVES_AT_MOST * memory.allocated)))


class Process(NamedTuple):
    """The process around steps, in an environment. As a need it is the most that a run is likely to take."""

    environment: Environment

    def memory(self, estimate: Estimate) -> ProcessMemory:
        """The parts of the process that makes such steps."""
        return process_memory(estimate, self.environment)

    def __call__(self, estimate: Estimate) -> int:
        return self.memory(estimate).highest


def held(estimate: Estimate, around: Process | None) -> Any:
    """Bytes of an estimate that are held against a budget: its peak, or the process around it; None if it has neither.

    around: the process, if the budget is for that.
    """
    if around is None:
        return None if estimate.memory_bytes["peak"] is None else peak(estimate)
    return around(estimate) if find(estimate.convention).measurable else None


def process_on(
    target: Target, frugal: bool, network: Any = "", options: Mapping[str, Any] = MappingProxyType({})
) -> Process:
    """The process around steps on a target: as it is here, or as it is stated if the target is another machine.

    network, options: as `load` takes them; of a module that is named, what it imports is measured too.
    """
    if isinstance(target, Cpu) and not is_here(target.isa):
        return Process(stated(frugal, f"the target, {target.text}, is another machine than this one"))
    named = isinstance(network, str) and OF_A_MODULE in network
    given = tuple((name, value) for name, value in options.items() if value) if named else ()
    return Process(environment(frugal, target.threads, network if named else "", given))
