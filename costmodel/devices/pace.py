"""How fast a device makes the passes of a step: constants that were fitted to its real steps, or a datasheet's rates.

    seconds = sum of factor[kind, pass] * max(2 * multiply-adds / arithmetic, bytes / bandwidth) + bytes / cold
              + overhead * passes + python_overhead * passes of functions in Python

The factors are of single layers, which find their numbers in a cache and their results' memory in hand; the bytes of a
whole step come from further away.

A datasheet's rates are a bound: real steps took 21 times as long on Raspberry Pis, 2.6 times on a Jetson TX2. They are
told as "at least", and never as an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .kinds import KINDS


class AnyPass(Protocol):
    """A pass over maps: the kind of its kernels, its name, multiply-adds and bytes."""

    @property
    def kernels(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def macs(self) -> Any: ...
    @property
    def nbytes(self) -> Any: ...
    @property
    def in_python(self) -> bool: ...


@dataclass(frozen=True)
class Pace:
    """The constants of a device with a framework.

    arithmetic: operations per second, at most. bandwidth: bytes per second of a plain pass. overhead: seconds of a
    pass; python_overhead: more of it, where the layer is a function in Python. cold: bytes per second between the
    caches and the memory, and of memory that the system must first give; 0 where the factors were fitted to whole
    steps, and have it in them. factors: by kind of kernels, or by "kind.pass", how much longer a pass takes than those
    say; passes: the same by the pass' name, for kinds without a figure of that pass. mape: the mean error, as a share,
    of predictions that were held against real steps; None for a datasheet's rates. error: what it was measured on.
    target, dtype, framework: for which the constants hold. source: where they are from.
    """

    arithmetic: float
    bandwidth: float
    overhead: float = 0.0
    python_overhead: float = 0.0
    cold: float = 0.0
    factors: Mapping[str, float] = field(default_factory=dict)
    passes: Mapping[str, float] = field(default_factory=dict)
    mape: float | None = None
    error: str = ""
    target: str = ""
    dtype: str = "float32"
    framework: str = ""
    source: str = ""

    @property
    def is_calibrated(self) -> bool:
        """Whether real steps of the device stand behind it."""
        return self.mape is not None

    def factor(self, kernels: str, name: str) -> float:
        """How much longer a pass takes than its arithmetic and its bytes. kernels: their kind; name: of the pass."""
        kind = kernels
        while kind:
            if f"{kind}.{name}" in self.factors:
                return self.factors[f"{kind}.{name}"]
            if kind in self.factors:
                return self.factors[kind] * self.passes.get(name, 1.0)
            kind = KINDS[kind]
        return self.passes.get(name, 1.0)

    def seconds_of(self, one: AnyPass) -> float:
        """Seconds of a pass (step/passes.py)."""
        bound = max(2 * one.macs / self.arithmetic, one.nbytes / self.bandwidth)
        return self.factor(one.kernels, one.name) * bound + self.beside(one)

    def beside(self, one: AnyPass) -> float:
        """Seconds of a pass beside the longer of its arithmetic and its bytes."""
        waits = self.overhead + self.python_overhead * one.in_python
        return waits + (one.nbytes / self.cold if self.cold else 0.0)
