"""The memory of a process that trains: what the operating system counts, at most, over six steps."""

from __future__ import annotations

from typing import NamedTuple

from ...conventions import find
from ...errors import CostmodelError
from ...heap.library import SLACK
from ...sizes.size import Size
from .glibc import SURPLUS, heap_of_tensors
from .priced import Priced
from .primitives import primitives

#: Bytes of oneDNN's objects and code for a distinct convolution, and of the libraries' pages that a backward pass of
#: convolutions touches first (measured: x86 with AVX512, torch 2.13).
PRIMITIVE, BACKWARD = 100_000, 4_000_000
#: By how many bytes, either way, the rest of a process may differ from what is expected of it: 10 MB in 149 runs of 48
#: cases of shipped networks, 14 MB where a module was traced.
SPREAD = 16_000_000
#: Of code that tracing a module imports (sympy above all). Where torch's optimizers import torch._dynamo, it is there.
TRACING = 40_000_000


class Environment(NamedTuple):
    """What a process takes beside the tensors of its steps and their kernels: Python, torch, and this package.

    frugal: as in a process of `python -m costmodel.frugal`. source: how the bytes are known, in words. loads: what the
    network's own module imports, and tracing it, is among them.
    """

    nbytes: int
    frugal: bool
    source: str
    loads: bool = False


#: Measured on x86-64 with AVX512, Linux: CPython 3.11, torch 2.13 (a build for CPUs), 2 threads.
STATED_BYTES = {False: 337_000_000, True: 262_000_000}


def stated(frugal: bool, why: str) -> Environment:
    """The environment of the machine on which it was measured. why: it is not measured here, in words."""
    measured = "assumed as on x86-64 Linux with Python 3.11 and torch 2.13"
    return Environment(STATED_BYTES[frugal], frugal, f"{measured}; {why}")


class ProcessMemory(NamedTuple):
    """The parts of a process's memory, in bytes.

    environment: Python, torch, this package. resident: parameters and all else that is there before a step. kernels:
    oneDNN's primitives and code. heap: what the heap holds for the steps; least and most: of it in one of many runs.
    """

    environment: int
    resident: int
    kernels: int
    heap: int
    least: int
    most: int

    @property
    def beside_the_heap(self) -> int:
        """Bytes that every run takes."""
        return self.environment + self.resident + self.kernels

    @property
    def expected(self) -> int:
        """The resident set in the middle of many runs."""
        return self.beside_the_heap + self.heap

    @property
    def lowest(self) -> int:
        """The smallest that a run is likely to show."""
        return self.beside_the_heap + self.least

    @property
    def highest(self) -> int:
        """The largest that a run is likely to show."""
        return self.beside_the_heap + self.most


def process_memory(estimate: Priced, environment: Environment) -> ProcessMemory:
    """The memory of a process that makes six steps like this one. Raises CostmodelError where there is no such process.

    It imports costmodel.pytorch, realises the network, and trains on random data: what loads data is not counted.
    """
    if estimate.request.target.device == "cuda":
        raise CostmodelError("a process on a GPU: its memory there is in `report`; allowed: a CPU as the target")
    if not find(estimate.convention).measurable:
        raise CostmodelError(f"convention {estimate.convention} has no process; allowed: torch, lean")
    forward, backward = primitives(estimate) if estimate.memory is not None else (0, 0)
    kernels = PRIMITIVE * (forward + backward) + BACKWARD * bool(backward)
    peak: Size = estimate.step_peak_bytes
    if environment.frugal:
        half = peak // SLACK // 2
        least, middle, most = peak, peak + half, peak + 2 * half
    else:
        tensors = heap_of_tensors(estimate) if estimate.memory is not None else peak
        least, middle, most = (int(factor * tensors) for factor in SURPLUS)
    bounds = middle, least - SPREAD, most + SPREAD
    code = environment.nbytes + TRACING * (environment.frugal and not environment.loads and estimate.graph.is_traced)
    return ProcessMemory(code, int(estimate.resident_bytes), kernels, *map(int, bounds))
