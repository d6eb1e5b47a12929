"""What the operating system counts for this process: the memory that it holds in RAM, its resident set."""

from __future__ import annotations

import sys

STATUS = "/proc/self/status"


def resident_set() -> tuple[int, int]:
    """(bytes now, the most so far) of this process. Raises OSError where the system does not tell them."""
    try:
        with open(STATUS, encoding="ascii", errors="replace") as file:
            told = dict(line.split(":", 1) for line in file if line.startswith(("VmRSS", "VmHWM")))
        return tuple(1024 * int(told[key].split()[0]) for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
    except (FileNotFoundError, KeyError):
        most = most_by_rusage()
        return most, most


def most_so_far() -> int | None:
    """The most bytes of this process so far; None where the system does not tell."""
    try:
        return resident_set()[1]
    except OSError:
        return None


def most_by_rusage() -> int:
    """The most so far where there is no /proc: macOS and the BSDs tell it through getrusage. Raises OSError."""
    try:
        import resource
    except ImportError:
        raise OSError("the system does not tell the memory of a process") from None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
