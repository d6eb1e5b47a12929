"""A device on which somebody trains: its memory, its processors, its power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import CostmodelError
from ..sizes.units import parse_size, written
from .figure import Figure
from .pace import Pace

#: Kinds of devices. Prices in closed form (arrays of processing elements, FPGAs) are to be further kinds.
BOARD, MICROCONTROLLER, PHONE = KINDS = ("board", "microcontroller", "phone")


@dataclass(frozen=True)
class Processor:
    """What runs steps on a device.

    target: the text of its target (costmodel/targets). peak: by data type, arithmetic operations per second at most.
    bandwidth: bytes per second of the memory. context: bytes that a GPU's runtime takes of memory that it shares.
    paces: fitted constants, each for a target and a data type on which somebody measured steps.
    """

    name: str
    target: str
    peak: Mapping[str, Figure]
    bandwidth: Figure | None = None
    context: Figure | None = None
    paces: tuple[Pace, ...] = ()

    def pace_of(self, dtype: str, target: str) -> Pace | None:
        """The constants for a data type on a target: fitted ones where they hold for both, else the datasheet's rates.

        None where the datasheet has none.
        """
        for pace in self.paces:
            if pace.dtype == dtype and without_cores(pace.target) == without_cores(target):
                return pace
        rate = self.peak.get(dtype)
        if rate is None or self.bandwidth is None:
            return None
        return Pace(rate.value, self.bandwidth.value, target=target, dtype=dtype, source="the datasheet's rates")


def without_cores(target: str) -> str:
    """A target's text without its cores, which decide what kernels allocate, and not how fast threads are."""
    return ",".join(part for part in target.split(",") if not part.startswith("cores="))


@dataclass(frozen=True)
class Device:
    """A device. memory_bytes: of the size that is asked for, one of `memory`; system: what its system takes at rest.

    processors: by name, first the one that runs steps unless another is asked for. calibrate_first: its figures differ
    too much from one model to the next to say anything.
    """

    name: str
    title: str
    kind: str
    memory: Figure
    system: Figure
    processors: Mapping[str, Processor]
    idle_watts: Figure | None = None
    loaded_watts: Figure | None = None
    loaded_celsius: Figure | None = None
    throttles_celsius: Figure | None = None
    limit_celsius: Figure | None = None
    calibrate_first: bool = False
    memory_bytes: int = 0
    processor_name: str = ""

    @property
    def processor(self) -> Processor:
        """What runs the steps."""
        return self.processors[self.processor_name]

    @property
    def usable_bytes(self) -> int:
        """Memory that a training process may take: what the system, and a GPU's runtime, leave of it."""
        context = self.processor.context
        return self.memory_bytes - self.system.value - (context.value if context else 0)

    @property
    def runs_a_process(self) -> bool:
        """Whether a process of Python and torch trains on its CPU, so that the budget is for all of it."""
        return self.kind == BOARD and self.processor.context is None

    @property
    def shares_memory(self) -> bool:
        """Whether a GPU trains in the memory that the system uses too."""
        return self.processor.context is not None

    @property
    def throttles(self) -> bool:
        """Whether a long run is known to heat it up to where it slows down, cooled as its file says."""
        loaded, slows = self.loaded_celsius, self.throttles_celsius
        return loaded is not None and slows is not None and loaded.value >= slows.value

    @property
    def text(self) -> str:
        """What people give to name this device."""
        memory = f",memory={written(self.memory_bytes)}" if len(self.memory.value) > 1 else ""
        other = f",{self.processor_name}" if self.processor_name != next(iter(self.processors)) else ""
        return f"{self.name}{memory}{other}"

    def __hash__(self) -> int:
        return hash((self.name, self.title, self.memory_bytes, self.processor_name))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Device {self.text}>"

    def with_options(self, options: list[str]) -> Device:
        """The device with some of `memory=SIZE` and the names of its processors. Raises CostmodelError for others."""
        found, seen = self, set[str]()
        for option in options:
            key, equals, value = option.partition("=")
            kind = "memory" if key == "memory" and equals else "processor"
            if kind in seen:
                raise CostmodelError(f"device {self.name!r}: {option!r} is one {kind} too many; allowed: one")
            seen.add(kind)
            if kind == "memory":
                found = replace(found, memory_bytes=self._size_of(value))
            elif option in self.processors:
                found = replace(found, processor_name=option)
            else:
                names = ", ".join(["memory=SIZE", *self.processors])
                raise CostmodelError(f"device {self.name!r}: found {option!r}; allowed: {names}")
        return found

    def _size_of(self, text: str) -> int:
        """A size of its memory: 2GB names the 2 GiB that are sold under this name."""
        given = parse_size(text, "memory")
        for there in self.memory.value:
            if given in (there, there * 10**9 // 2**30, there * 10**6 // 2**20, there * 10**3 // 2**10):
                return there
        sold = ", ".join(map(written, self.memory.value))
        raise CostmodelError(f"device {self.name!r}: memory is {text!r}; allowed: {sold}")
