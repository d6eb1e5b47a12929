"""A CPU whose kernels were measured, call by call, in a file that `costmodel probe` writes and `--target` takes.

What was probed is exact. Of other calls the rules of the processor hold, if it has some; if not, at least the tensors
are counted, and the estimate says for which ops.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from ..errors import CostmodelError, check_name
from ..files.reading import text_of, unreadable
from ..sizes.size import is_int
from ..version import __version__
from .cpu import ISAS, Cpu
from .machine import NEON
from .target import MOST_THREADS, Target

FORMAT = "costmodel probe 1"
#: Keys of a probe's file and their types.
KEYS: dict[str, type | tuple[type, ...]] = {
    "format": str, "costmodel": str, "torch": str, "device": str, "isa": str, "threads": int,
    "cores": (int, type(None)), "channels_last": bool, "calls": dict,
}  # fmt: skip


class Kernels(NamedTuple):
    """What the kernels of some calls allocated beside their results. calls: (forward, backward) in bytes by call."""

    path: str
    calls: dict[str, tuple[int, int]]

    def __hash__(self) -> int:
        return hash(self.path)


@dataclass(frozen=True)
class ProbedCpu(Cpu):
    """A CPU with what was measured of its kernels."""

    is_probed = True

    kernels: Kernels = Kernels("", {})

    @property
    def has_rules(self) -> bool:
        return super().is_modelled

    @property
    def is_modelled(self) -> bool:
        return True

    def measured(self, call: str) -> tuple[int, int] | None:
        return self.kernels.calls.get(call)

    @property
    def text(self) -> str:
        return self.kernels.path

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "probe": self.kernels.path}

    def __str__(self) -> str:
        return f"{super().__str__()[:-1]}, probed in {self.kernels.path})"


def is_probe(text: str) -> bool:
    """Whether a target is a probe's file."""
    return text.endswith(".json")


def probed(path: str) -> Target:
    """The target of a probe's file. Raises CostmodelError for one that is cut, or of other versions."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    return _read(path, os.path.abspath(path), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=8)
def _read(path: str, *of_file: object) -> Target:
    """The target of a file that has not changed since. of_file: what tells whether it has."""
    try:
        told = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, CostmodelError):
            raise
        raise CostmodelError(f"{path!r} is no probe's file, or not all of one: {error}") from None
    wrong = [key for key, kind in KEYS.items() if not isinstance(told, dict) or not isinstance(told.get(key), kind)]
    if wrong or told["format"] != FORMAT:
        found = f"{', '.join(wrong)} missing or of another kind" if wrong else f"its format is {told['format']!r}"
        raise CostmodelError(f"{path!r} is no probe's file: {found}; allowed: what costmodel probe -o writes")
    check_name(f"{path!r}: isa", told["isa"], ISAS)
    if told["device"] != Cpu.device or told["cores"] is not None and told["isa"] != NEON:
        found = f"{told['device']}, isa={told['isa']}, cores={told['cores']}"
        raise CostmodelError(f"{path!r} was probed on {found}; allowed: cpu, and cores with isa={NEON} alone")
    for name in ("threads", "cores"):
        if told[name] is not None and not (type(told[name]) is int and 1 <= told[name] <= MOST_THREADS):
            raise CostmodelError(f"{path!r}: {name} is {told[name]!r}; allowed: 1 to {MOST_THREADS}")
    for name, written in (("costmodel", told["costmodel"]), ("torch", told["torch"])):
        here = __version__ if name == "costmodel" else torch_version()
        if here is not None and here != written:
            raise CostmodelError(f"{path!r} was probed with {name} {written}, here is {here}; allowed: to probe again")
    calls = {}
    for call, sizes in told["calls"].items():
        if not (isinstance(sizes, list) and len(sizes) == 4 and all(is_int(n) and n >= 0 for n in sizes[:2])):
            raise CostmodelError(f"{path!r}: found {sizes!r} for a call; allowed: two sizes in bytes, and two times")
        calls[call] = (sizes[0], sizes[1])
    return ProbedCpu(told["threads"], told["channels_last"], isa=told["isa"], cores=told["cores"],
                     kernels=Kernels(path, calls))  # fmt: skip


def torch_version() -> str | None:
    """The version of the installed torch, without importing it; None if there is none."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return None
