"""On which devices a step fits: a row for each device and strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..devices import Device
from ..sizes.units import in_unit, show_joules, show_seconds, unit_of
from ..studies.needs import OF_A_MODULE, RESERVES_AT_MOST
from ..studies.where import CALIBRATE, HEAT, NO, UNSURE, Place, Run
from .records import table_of
from .table import Column, Lines, words


def where_records(places: Sequence[Place], run: Run) -> list[dict[str, Any]]:
    """The rows for programs, under the names of `schema.py`."""
    return [record(place, run) for place in places]


def record(place: Place, run: Run) -> dict[str, Any]:
    """One row."""
    found, time = place.estimate, place.estimate.time if place.verdict != CALIBRATE else None
    step, steps = time.step if time else None, run.epoch_share(found)
    joules = time.joules if time else None
    epoch = None if step is None or steps is None else step * steps
    energy = None if joules is None or steps is None else float(joules["step"] or 0) * steps * run.epochs
    return {
        "device": place.device.text,
        "strategy": place.strategy,
        "batch": found.batch,
        "surely_fits": place.verdict,
        "least_bytes": place.bounds.least if place.bounds else None,
        "most_bytes": place.bounds.most if place.bounds else None,
        "usable_bytes": place.device.usable_bytes,
        "headroom_bytes": place.headroom_bytes,
        "largest_batch": place.largest_batch,
        "step_seconds": step,
        "lowest_step_seconds": time.low if time else None,
        "highest_step_seconds": time.high if time else None,
        "epoch_seconds": epoch,
        "run_seconds": None if epoch is None else epoch * run.epochs,
        "step_joules": joules["step"] if joules else None,
        "run_joules": energy,
        "battery_share": run.battery_share(found) if time else None,
        "limited_by": place.limited_by or None,
        "time_source": time.source if time else None,
    }


def where_table(places: Sequence[Place], run: Run) -> Lines:
    """The rows as a table, and below it what the answers and the seconds rest on."""
    records = where_records(places, run)
    unit = unit_of(max(record["usable_bytes"] for record in records))

    def size(value: int) -> str:
        return in_unit(value, unit)

    seen = [
        words("device", "device"),
        words("strategy", "strategy"),
        words("surely_fits", "fits"),
        Column("most_bytes", f"takes at most, {unit}", size),
        Column("usable_bytes", f"usable, {unit}", size),
        Column("largest_batch", "largest batch", lambda n: f"{n:,}"),
        Column("step_seconds", "a step", show_seconds),
        *([Column("epoch_seconds", "an epoch", show_seconds)] if run.images else []),
        *([Column("run_joules", "energy of the run", show_joules)] if run.images else []),
        *([Column("battery_share", "of the battery", lambda share: f"{100 * share:.3g} %")] if run.battery else []),
        words("limited_by", "limited by"),
    ]
    found = places[0].estimate
    numbers = f"{found.request.dtype.name} under autocast" if found.request.amp else found.request.dtype.name
    title = f"{found.network}, batch {found.batch}, {found.convention}, {found.request.optimizer.name}, {numbers}"
    return [table_of(records, seen, title)], notes(places)


def in_celsius(device: Device) -> str:
    """That a device slows down in a long run, and how this is known."""
    loaded, slows = device.loaded_celsius, device.throttles_celsius
    assert loaded is not None and slows is not None
    return (
        f"reaches {loaded.value:g} C in a long run and slows down from {slows.value:g} C on ({loaded.origin}); how much"
        " later steps then take is not known."
    )


def notes(places: Sequence[Place]) -> list[str]:
    """What the answers rest on."""
    said = [
        "What a run takes is held against the usable memory: on a board's CPU the process with Python and torch, on its"
        f" GPU what PyTorch reserves (1 to {RESERVES_AT_MOST:g} times what it allocates), on a"
        " microcontroller the tensors alone."
    ]
    verdicts = {place.verdict for place in places}
    if UNSURE in verdicts:
        said.append("unsure: runs differ in what the heap or the caching allocator keeps; not all are likely to fit.")
    if NO in verdicts:
        said.append("limited by memory: `costmodel fit NETWORK --device NAME` tells what would fit.")
    if CALIBRATE in verdicts:
        said.append("calibrate first: devices of this kind differ too much; run `costmodel calibrate` on yours.")
    hot = {place.device.title: place.device for place in places if HEAT in place.limited_by}
    said += [f"heat: {title} {in_celsius(device)}" for title, device in hot.items()]
    if any(OF_A_MODULE in place.estimate.network and not place.device.calibrate_first for place in places):
        said.append("What the module itself imports is counted where the target is this machine, and not elsewhere.")
    timed: dict[str, str] = {}
    for place in places:
        if place.verdict != CALIBRATE and place.estimate.time and place.estimate.time.step is not None:
            timed[place.estimate.time.source] = ""
    bound = any(place.estimate.seconds is None for place in places)
    if bound:
        said.append("No time: nothing was measured there, and a datasheet's rates bound steps many times too low.")
    return [*said, *timed]
