"""Where the step runs: what decides the scratch of its kernels and the rounding of its blocks."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ..errors import CostmodelError, unknown
from ..sizes.size import Size

DEVICES = ("cpu", "cuda", "none")
ISAS = ("avx512", "avx2", "sse41")  # of oneDNN's kernels: 16, 8 and 8 channels to a block


@dataclass(frozen=True)
class Target:
    """A device.

    none: the tensors alone, no scratch inside kernels, no rounding. With several threads PyTorch may make more of them,
    a gradient that nobody asked for (ops/conv.py).
    cpu: oneDNN's kernels for an instruction set, with a number of threads, on contiguous or channels_last tensors.
    cuda: every block rounded up to 512 bytes; no cuDNN workspace.
    """

    device: str = "cpu"
    isa: str = "avx512"
    threads: int = 1
    channels_last: bool = False

    @property
    def block_bytes(self) -> int:
        """What every allocation is rounded up to (c10/cuda/CUDACachingAllocator.cpp: kMinBlockSize)."""
        return 512 if self.device == "cuda" else 1

    @property
    def thresholds(self) -> tuple[int, ...]:
        """Numbers of images from which on kernels take other paths (in_onednn in onednn.py)."""
        return (2, 16) if self.device == "cpu" else ()

    @property
    def period(self) -> int:
        """A number of batches after which most sizes have the same remainder in blocks: images take multiples of 32."""
        return max(1, self.block_bytes // 32)

    def rounded(self, nbytes: Size) -> Size:
        """Bytes that an allocation takes: whole blocks."""
        block = self.block_bytes
        return nbytes if block == 1 else -(-nbytes // block) * block

    def to_dict(self) -> dict[str, Any]:
        """What the estimate assumes, for JSON."""
        if self.device == "none":
            return {"device": "none", **({"threads": self.threads} if self.threads > 1 else {})}
        layout = "channels_last" if self.channels_last else "contiguous"
        if self.device == "cuda":
            return {"device": "cuda", "memory_format": layout, "block_bytes": 512}
        return {"device": "cpu", "isa": self.isa, "threads": self.threads, "memory_format": layout}

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "contiguous"
        if self.device == "cpu":
            return f"cpu ({self.isa}, {self.threads} thread{'s' if self.threads > 1 else ''}, {layout})"
        return "tensors alone, on no device" if self.device == "none" else f"cuda ({layout}, blocks of 512 bytes)"


@lru_cache(maxsize=64)
def parse(text: str) -> Target:
    """The target of `cpu[,threads=N][,isa=ISA][,channels_last]`, `cuda[,channels_last]` or `none`.

    What is left out is found out of this machine. Raises CostmodelError for anything else.
    """
    device, *parts = text.split(",")
    if device not in DEVICES:
        raise CostmodelError(f"target {text!r}: {unknown('device', device, DEVICES)}")
    target = Target(device, here_isa() or "avx512", here_threads()) if device == "cpu" else Target(device)
    allowed = {"cpu": ("threads", "isa", "channels_last"), "cuda": ("channels_last",), "none": ("threads",)}[device]
    for part in parts:
        key, equals, value = part.partition("=")
        if key not in allowed:
            raise CostmodelError(f"target {text!r}: {unknown(f'option of {device}', key, allowed)}")
        if key == "channels_last" and not equals:
            target = replace(target, channels_last=True)
        elif key == "threads" and value.isdecimal() and 1 <= int(value) <= 1024:
            target = replace(target, threads=int(value))
        elif key == "isa" and value in ISAS:
            target = replace(target, isa=value)
        else:
            hint = {"threads": "threads=1 to threads=1024", "isa": f"isa= one of {', '.join(ISAS)}"}
            raise CostmodelError(f"target {text!r}: found {part!r}; allowed: {hint.get(key, 'channels_last')}")
    return target


def here_threads() -> int:
    """Threads that torch would use on this machine."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) >= 1:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def here_isa() -> str | None:
    """Instruction set of this machine's processor, where the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        return None
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= set(flags):
        return "avx512"
    return "avx2" if "avx2" in flags else "sse41" if "sse4_1" in flags else None
