"""How many threads torch's kernels take on this machine."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import CostmodelError
from .machine import installed_torch
from .target import MOST_THREADS

CPUS = Path("/sys/devices/system/cpu")
WITH_OPENMP, WITH_MKL = "OMP_NUM_THREADS", "MKL_NUM_THREADS"


def threads_of_torch(x86: bool) -> int:
    """Threads of torch's kernels: as the loaded torch says, else what it will begin with.

    torch is imported, which takes a second, only on x86 without Linux, where no file tells the physical cores.
    Raises CostmodelError for more than MOST_THREADS.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None and x86 and not CPUS.is_dir() and installed_torch():
        torch = import_module("torch")
    count = getattr(torch, "get_num_threads", lambda: None)()
    return threads_at_start(x86) if count is None else count


def threads_at_start(x86: bool) -> int:
    """Threads that torch begins with (ATen: init_num_threads), by the environment or the number of cores.

    torch's wheels for x86 ask MKL: it takes physical cores among those that the process may use, and never more, unless
    MKL_DYNAMIC=FALSE. Elsewhere they are the cores of the machine, whether or not the process may use them all. Held
    against torch 2.13 on x86 with one hardware thread to a core (tests/targets/test_threads.py; that MKL counts two as
    one core is its documentation's), and against torch 2.9 on an emulated Cortex-A76. Raises CostmodelError for more
    than MOST_THREADS.
    """
    cores = physical_cores() if x86 else present_cores()
    name, asked = next(((name, count) for name in (WITH_MKL, WITH_OPENMP) if (count := asked_by(name))), ("", cores))
    if x86 and os.environ.get("MKL_DYNAMIC", "").upper() != "FALSE":
        asked = min(asked, cores)
    if name and asked > MOST_THREADS:
        raise CostmodelError(f"{name} is {asked}; allowed: 1 to {MOST_THREADS}, or leave it unset")
    return min(asked, MOST_THREADS)


def threads_of_scheduler() -> int:
    """Threads of Arm Compute Library, which takes OpenMP's when torch is imported, before torch sets them."""
    return min(asked_by(WITH_OPENMP) or len(allowed()), MOST_THREADS)


def asked_by(name: str) -> int:
    """The first count of a variable of the environment; 0 where it names none: then the next one counts."""
    value = os.environ.get(name, "")
    found = re.fullmatch(r"\s*\+?(\d+)\s*(,.*)?", value)
    if value and not found and name == WITH_MKL:  # OpenMP tells that it takes no notice; MKL takes one thread
        raise CostmodelError(f"{name} is {value!r}; allowed: 1 to {MOST_THREADS}, or leave it unset")
    return int(found[1]) if found else 0


def physical_cores() -> int:
    """Cores among those that this process may use: two hardware threads of one core count once."""
    return len({told(f"cpu{number}/topology/thread_siblings_list") or str(number) for number in allowed()})


def present_cores() -> int:
    """Cores of the machine, switched on or not, as the library cpuinfo counts them for torch."""
    ranges = [[int(end) for end in part.split("-")] for part in (told("present") or "").split(",") if part]
    return sum(ends[-1] - ends[0] + 1 for ends in ranges) or os.cpu_count() or 1


def allowed() -> set[int]:
    """The numbers of the hardware threads that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {*range(os.cpu_count() or 1)}


def told(name: str) -> str | None:
    """What Linux tells of its processors under a name; None elsewhere."""
    try:
        return (CPUS / name).read_text("ascii").strip()
    except OSError:
        return None
