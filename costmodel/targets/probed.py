"""A device whose kernels were measured, call by call, in a file that `costmodel probe` writes and `--target` takes.

What was probed is exact. Of other calls the rules of the device hold, if it has some; if not, at least the tensors are
counted, and the estimate says for which ops.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from ..errors import CostmodelError
from ..files.reading import text_of, unreadable
from ..sizes.size import is_int
from ..version import __version__
from .cpu import Cpu
from .cuda import Cuda
from .target import Target
from .texts import of_text

FORMAT = "costmodel probe 2"
#: Keys of a probe's file and their types. target: as people write it. machine: in words, where the target says less.
KEYS: dict[str, type] = {"format": str, "costmodel": str, "torch": str, "target": str, "machine": str, "calls": dict}


class Kernels(NamedTuple):
    """What the kernels of some calls allocated beside their results. calls: (forward, backward) in bytes by call."""

    path: str
    calls: dict[str, tuple[int, int]]

    def __hash__(self) -> int:
        return hash(self.path)


@dataclass(frozen=True)
class Probed(Target):
    """A device with what was measured of its kernels."""

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


@dataclass(frozen=True)
class ProbedCpu(Probed, Cpu):
    """A CPU whose kernels were measured."""


@dataclass(frozen=True)
class ProbedCuda(Probed, Cuda):
    """A GPU whose kernels were measured, cuDNN's workspaces among what they allocate."""


#: The kinds of targets that can be probed, with what they become.
KINDS: dict[type[Target], type[Probed]] = {Cpu: ProbedCpu, Cuda: ProbedCuda}


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
    try:
        target = of_text(told["target"])
    except CostmodelError as error:
        raise CostmodelError(f"{path!r}: {error}") from None
    if type(target) not in KINDS or target.detected:
        raise CostmodelError(f"{path!r} was probed on {told['target']!r}; allowed: cpu with all its options, or cuda")
    for name, written, here in (
        ("costmodel", told["costmodel"], __version__),
        ("torch", release_of(told["torch"]), torch_release()),
    ):
        if here is not None and here != written:
            raise CostmodelError(f"{path!r} was probed with {name} {written}, here is {here}; allowed: to probe again")
    calls = {}
    for call, sizes in told["calls"].items():
        if not (isinstance(sizes, list) and len(sizes) == 4 and all(is_int(n) and n >= 0 for n in sizes[:2])):
            raise CostmodelError(f"{path!r}: found {sizes!r} for a call; allowed: two sizes in bytes, and two times")
        calls[call] = (sizes[0], sizes[1])
    options = {one.name: getattr(target, one.name) for one in fields(target)}
    return KINDS[type(target)](**options, kernels=Kernels(path, calls))


def torch_release() -> str | None:
    """The release of the installed torch, without importing it; None if there is none."""
    try:
        return release_of(version("torch"))
    except PackageNotFoundError:
        return None


def release_of(version: str) -> str:
    """The release of a version: 2.13.0 of 2.13.0+cu130, a build of it."""
    return version.partition("+")[0]
