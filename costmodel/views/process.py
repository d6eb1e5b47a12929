"""The process around a step, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..conventions import find
from ..graph.inputs import shown_resolution
from ..sizes.units import in_unit, show_size, unit_of
from ..step.certainty import LOWER_BOUND, NOT_MODELLED
from ..step.estimate import Estimate
from ..step.process.glibc import SIMULATED, SURPLUS, other_heap_here
from ..step.process.memory import STATED_BYTES, ProcessMemory
from ..studies.needs import Process
from .records import table_of
from .table import Column, Table, words

LAUNCHER = "python -m costmodel.frugal"


def beside_note(estimate: Estimate) -> list[str]:
    """A note that a budget of a process is another; none where there is no process on a CPU."""
    device = estimate.request.device
    without = device is not None and not device.runs_a_process  # no Python there
    if without or not find(estimate.convention).measurable or estimate.request.target.device == "cuda":
        return []
    usual, frugal = (show_size(STATED_BYTES[kind]) for kind in (False, True))
    least, _, most = SURPLUS
    return [
        f"The process around it is not in it: Python and torch take some {usual}, and glibc keeps"
        f" {least:g} to {most:g} times the step's peak. --process tells; started by {LAUNCHER} it is some {frugal}"
        " and the step's peak (--frugal)."
    ]


def process_table(memory: ProcessMemory) -> Table:
    """The parts of a process, which add up to what is expected."""
    unit = unit_of(memory.highest)
    rows: list[list[Any]] = [
        ["Python, torch and costmodel", memory.environment],
        ["parameters and all that is there before a step", memory.resident],
        ["oneDNN's kernels", memory.kernels],
        ["the heap over six steps", memory.heap],
        ["resident set, expected", memory.expected],
    ]
    return Table("", [words(None, f"the process, {unit}"), Column(None, "", lambda size: in_unit(size, unit))], rows)


def process_notes(estimate: Estimate, around: Process) -> list[str]:
    """What is expected of a process, between which bounds, and how it is known."""
    memory, environment = around.memory(estimate), around.environment
    least = estimate.certainty.step_peak in (NOT_MODELLED, LOWER_BOUND)
    doubt = " At least this, since the step's peak is." if least else ""
    other = "" if environment.frugal else other_heap_here()
    if other:
        first, last = (".".join(map(str, release)) for release in SIMULATED)
        doubt += f" The heap is as glibc {first} to {last} keeps it; this system's C library ({other}) may keep more or"
        doubt += " less."
    how = f"started by {LAUNCHER}" if environment.frugal else "with glibc's heap as it is"
    return [
        f"A process of such steps takes {show_size(memory.expected)}, {how}; single runs take"
        f" {show_size(memory.lowest)} to {show_size(memory.highest)}. Python and torch: {environment.source}."
        " It imports costmodel.pytorch, realises the network and trains on random data; what loads data is not counted."
        f"{doubt}"
    ]


def process_entry(estimate: Estimate, memory: ProcessMemory, measured: int) -> dict[str, Any]:
    """What a process took beside what was expected, for programs."""
    return {
        "network": estimate.network,
        "strategy": estimate.strategy,
        "batch": estimate.batch,
        "resolution": shown_resolution(estimate.request.resolution),
        "convention": estimate.convention,
        "process_bytes": memory.expected,
        "lowest_process_bytes": memory.lowest,
        "highest_process_bytes": memory.highest,
        "measured_process_bytes": measured,
        "process_error": memory.expected / measured - 1,
        "verdict": "holds" if memory.lowest <= measured <= memory.highest else "does not hold",
    }


def processes(rows: Sequence[dict[str, Any]]) -> Table:
    """A table with a row per process. rows: of `process_entry`."""
    unit = unit_of(max(row["measured_process_bytes"] for row in rows))

    def size(value: int) -> str:
        return in_unit(value, unit)

    seen = [
        words("network", "network"),
        words("strategy", "strategy"),
        Column("batch", "batch"),
        Column("process_bytes", f"process, expected, {unit}", size),
        Column("lowest_process_bytes", "from", size),
        Column("highest_process_bytes", "to", size),
        Column("measured_process_bytes", "measured", size),
        Column("process_error", "error", lambda share: f"{share:+.1%}"),
        words("verdict", "verdict"),
    ]
    return table_of(rows, seen)


def process_record(estimate: Estimate, process: Process) -> dict[str, Any]:
    """The process for JSON."""
    memory = process.memory(estimate)
    return {
        "process_bytes": memory.expected,
        "process": {
            **{name: getattr(memory, name) for name in ("environment", "resident", "kernels", "heap")},
            "lowest": memory.lowest,
            "highest": memory.highest,
            "frugal": process.environment.frugal,
            "source": process.environment.source,
        },
    }
