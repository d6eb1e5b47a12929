"""A CPU: PyTorch's own kernels, and oneDNN's for convolutions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ..errors import CostmodelError
from ..sizes.size import Shape
from .onednn import THRESHOLDS, ConvolutionScratch
from .setting import NUMBER_BYTES, Setting
from .target import CHANNELS_LAST, MOST_THREADS, THREADS, ConvolutionKernels, Option, Target, device, one_of

UNKNOWN = "unknown"  # another processor: its kernels are not modelled
ISAS = ("avx512", "avx2", "sse41", UNKNOWN)  # of oneDNN's kernels: 16, 8 and 8 channels to a block


class NotModelled(ConvolutionKernels):
    """Kernels of which nothing is known: they allocate at least nothing."""

    def modelled(self, y: Shape, x: Shape) -> Any:
        return False


@device("cpu")
@dataclass(frozen=True)
class Cpu(Target):
    """A CPU with an instruction set, and a number of threads; its kernels depend on both."""

    isa: str = "avx512"

    options = {
        "threads": THREADS,
        "isa": Option(one_of(ISAS), f"isa= one of {', '.join(ISAS)}"),
        "channels_last": CHANNELS_LAST,
    }
    counts_kernels = True
    thresholds = THRESHOLDS

    @classmethod
    def here(cls) -> Target:
        return cls(threads=here_threads(), isa=here_isa() or UNKNOWN)

    def convolution(self, conv: Any, setting: Setting) -> ConvolutionKernels:
        if self.isa == UNKNOWN:
            return NotModelled()
        return ConvolutionScratch(conv, setting, lanes=16 if self.isa == "avx512" else 8)

    def number_bytes(self, item: int) -> int:
        return NUMBER_BYTES + item  # and a copy in the tensor's data type

    def to_dict(self) -> dict[str, Any]:
        return {"device": "cpu", "isa": self.isa, "threads": self.threads, "memory_format": self.memory_format}

    def __str__(self) -> str:
        return f"cpu ({self.isa}, {self.threads} thread{'s' if self.threads > 1 else ''}, {self.memory_format})"


def here_threads() -> int:
    """Threads that torch would use on this machine. Raises CostmodelError for more than MOST_THREADS."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) >= 1:
        if int(given) > MOST_THREADS:
            raise CostmodelError(f"OMP_NUM_THREADS is {given}; allowed: 1 to {MOST_THREADS}, or leave it unset")
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def here_isa() -> str | None:
    """Instruction set of this machine's processor; None if the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        return None
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= set(flags):
        return "avx512"
    return "avx2" if "avx2" in flags else "sse41" if "sse4_1" in flags else None
