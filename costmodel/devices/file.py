"""Reads a device's file (specs/README.md has the grammar)."""

from __future__ import annotations

from typing import Any

from ..errors import CostmodelError, check_one_line, unknown
from ..files.document import Block, Field, parse, read
from ..sizes.dtype import DTYPES
from ..targets import parse as parse_target
from . import figures
from .device import KINDS, Device, Processor
from .figure import Figure
from .figures import figure
from .kinds import KINDS as KERNELS
from .kinds import PASSES
from .pace import Pace

MAPPING = Field((dict,))
SCHEMA = {
    "title": Field((str,), required=True),
    "kind": Field((str,), required=True),
    "memory": Field((dict,), required=True),
    "system": Field((dict,), required=True),
    "power": MAPPING,
    "thermal": MAPPING,
    "processors": Field((dict,), required=True),
    "calibrate_first": Field((bool,), default=False),
}
OF_PROCESSOR = {
    "target": Field((str,), required=True),
    "peak": MAPPING,
    "bandwidth": MAPPING,
    "context": MAPPING,
    "paces": Field((list,)),
}
OF_PACE = {
    "arithmetic": Field((str,), required=True),
    "bandwidth": Field((str,), required=True),
    "overhead_us": Field((float,), default=0.0, least=0),
    "python_overhead_us": Field((float,), default=0.0, least=0),
    "cold": Field((str,)),
    "factors": Field((dict,), required=True),
    "passes": MAPPING,
    "target": Field((str,), required=True),
    "dtype": Field((str,), required=True),
    "framework": Field((str,), required=True),
    "error_percent": Field((float,), required=True, above=0),
    "error": Field((str,), required=True),
    "source": Field((str,), required=True),
}
#: The data types of rates: those of networks, and integers.
RATES = (*DTYPES, "int8")


#: Temperatures at which a device slows down, and above which it never gets.
LIMITS = ("throttles_at", "limit")


def device_of(text: str, source: str, name: str) -> Device:
    """The device of a file's text. source: the file, for messages. Raises CostmodelError with file and line."""
    block = parse(text, source)
    given = read(block, SCHEMA)
    if given["kind"] not in KINDS:
        raise block.error(unknown("kind", given["kind"], KINDS), "kind")
    memory, system = needed(block, "memory", figures.sizes), needed(block, "system", figures.size)
    check_one_line("title", given["title"])
    power, thermal = part(block, "power", ("idle", "loaded")), part(block, "thermal", ("loaded", *LIMITS))
    processors = {key: processor(block["processors"], key) for key in block["processors"]}
    if not processors:
        raise block.error("none is there; allowed: at least one", "processors")
    for one in processors.values():
        context = one.context.value if one.context else 0
        if system.value + context >= memory.value[0]:
            raise block.error("system and context take all of the memory; allowed: less than the smallest", "system")
    return Device(
        name,
        given["title"],
        given["kind"],
        memory,
        system,
        processors,
        idle_watts=figure(power, "idle", figures.watts),
        loaded_watts=figure(power, "loaded", figures.watts),
        loaded_celsius=figure(thermal, "loaded", figures.celsius),
        throttles_celsius=figure(thermal, "throttles_at", figures.celsius),
        limit_celsius=figure(thermal, "limit", figures.celsius),
        calibrate_first=given["calibrate_first"],
        memory_bytes=memory.value[-1],
        processor_name=next(iter(processors)),
    )


def needed(block: Block, key: str, reader: Any) -> Figure:
    """The figure under a key that a file must have."""
    found = figure(block, key, reader)
    assert found is not None, key
    return found


def part(block: Block, key: str, names: tuple[str, ...]) -> Block:
    """The mapping under a key, which may have some names; an empty one if it is not there."""
    own = block.get(key, Block(block.source, key, block.line))
    read(own, dict.fromkeys(names, MAPPING))
    return own


def processor(block: Block, name: str) -> Processor:
    """One of a device's processors."""
    own = block[name]
    if not isinstance(own, Block):
        raise block.error(f"found {own!r}; allowed: a mapping with {', '.join(OF_PROCESSOR)}", name)
    if not name.isidentifier():
        raise block.error(f"a processor is called {name!r}; allowed: letters, digits and _", name)
    given = read(own, OF_PROCESSOR)
    target = target_of(own, given["target"])
    if target.startswith("cuda") != ("context" in own):
        raise own.error("context belongs to a GPU that shares the memory, and each of these has one", "target")
    rates = part(own, "peak", RATES)
    peak = {key: needed(rates, key, figures.arithmetic) for key in rates}
    fitted = paces_of(own, given["paces"] or [])
    return Processor(
        name, target, peak, figure(own, "bandwidth", figures.bandwidth), figure(own, "context", figures.size), fitted
    )


def paces_of(block: Block, given: list[Any]) -> tuple[Pace, ...]:
    """The fitted constants of a processor, each for another target or data type."""
    found: list[Pace] = []
    for one in given:
        if not isinstance(one, Block):
            raise block.error(f"found {one!r}; allowed: mappings with {', '.join(OF_PACE)}", "paces")
        found.append(pace(one))
        if any((other.target, other.dtype) == (found[-1].target, found[-1].dtype) for other in found[:-1]):
            raise one.error(f"a second one for {found[-1].dtype} on {found[-1].target}; allowed: one", "target")
    return tuple(found)


def pace(block: Block) -> Pace:
    """The fitted constants for one target and data type."""
    given = read(block, OF_PACE)
    try:
        arithmetic, width = figures.arithmetic(given["arithmetic"]), figures.bandwidth(given["bandwidth"])
        cold = 0.0 if given["cold"] is None else figures.bandwidth(given["cold"])
    except CostmodelError as error:
        raise block.error(error) from None
    if given["dtype"] not in DTYPES:
        raise block.error(unknown("data type", given["dtype"], DTYPES), "dtype")
    if given["error_percent"] > 100:
        raise block.error(f"found {given['error_percent']}; allowed: at most 100", "error_percent")
    factors, passes = part_of_numbers(block, "factors"), part_of_numbers(block, "passes")
    for key in factors:
        kind, dot, name = key.partition(".")
        if kind not in KERNELS:
            raise block["factors"].error(unknown("kind of kernels", kind, KERNELS), key)
        if dot and name not in PASSES:
            raise block["factors"].error(unknown("pass", name, PASSES), key)
    for key in passes:
        if key not in PASSES:
            raise block["passes"].error(unknown("pass", key, PASSES), key)
    return Pace(
        arithmetic,
        width,
        given["overhead_us"] / 1e6,
        given["python_overhead_us"] / 1e6,
        cold,
        factors,
        passes,
        given["error_percent"] / 100,
        given["error"],
        target_of(block, given["target"]),
        given["dtype"],
        given["framework"],
        given["source"],
    )


def target_of(block: Block, text: str) -> str:
    """The full text of a target."""
    try:
        return parse_target(text).text
    except CostmodelError as error:
        raise block.error(error, "target") from None


def part_of_numbers(block: Block, key: str) -> dict[str, float]:
    """A mapping of numbers above 0 under a key."""
    own = block.get(key, Block(block.source, key, block.line))
    numbers = dict.fromkeys(own, Field((float,), above=0))
    return {name: float(value) for name, value in read(own, numbers).items()}
