"""What this machine is: its name, and its memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import NamedTuple

from ...errors import CostmodelError

MEMINFO = Path("/proc/meminfo")
#: Where Linux tells the name of a board.
MODEL = Path("/proc/device-tree/model")


class Machine(NamedTuple):
    """A machine. system_bytes: of its memory, not available to a new process."""

    name: str
    memory_bytes: int
    system_bytes: int


def machine() -> Machine:
    """This machine. Raises CostmodelError where the system does not tell of its memory as Linux does."""
    try:
        told = dict(line.split(":", 1) for line in MEMINFO.read_text(encoding="ascii").splitlines())
        total, free = (1024 * int(told[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        raise CostmodelError(f"{MEMINFO} does not tell of the memory; allowed: a Linux system") from None
    return Machine(name(), total, max(total - free, 1))


def name() -> str:
    """Its name: of the board, or of the processor."""
    try:
        return MODEL.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return f"{platform.node() or 'this machine'} ({platform.machine()}, {os.cpu_count()} CPUs)"
