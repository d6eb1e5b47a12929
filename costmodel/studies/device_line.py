"""Where a device's memory ends among the peaks of a table: what the process or the GPU's runtime leaves of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..api import estimate
from ..conventions import find
from ..devices import Device
from ..frontends import load
from ..graph.network import Network
from .where import bounds_of

#: What an estimate of a row is asked for beside its network; a row's network depends on WIDTHS.
ASKED = ("strategy", "batch", "resolution", "convention", "optimizer", "target", "dtype", "amp", "accumulate")
WIDTHS = ("width", "classes")


def peak_that_fits(
    network: Any, columns: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any], device: Device, **options: Any
) -> int | None:
    """The peak, in bytes, up to which a step's run surely fits the device; None if no row's does.

    columns: of a sweep, with peak_bytes; fixed: values that hold for all rows; options: of `load`. The rows are sorted
    by their peak, and what a run takes beside it is found at the last one that fits, by bisection.
    """
    axes = {**{name: [value] * len(columns["peak_bytes"]) for name, value in fixed.items()}, **columns}
    networks: dict[tuple[Any, ...], Network] = {}

    def priced(row: int) -> Any:
        size = {name: axes[name][row] for name in WIDTHS if axes[name][row] is not None}
        key = tuple(size.values())
        if key not in networks:
            networks[key] = load(network, **options, **size)
        return estimate(networks[key], device=device, **{name: axes[name][row] for name in ASKED})

    runs = [i for i, name in enumerate(axes["convention"]) if find(name).measurable]
    runs.sort(key=lambda i: columns["peak_bytes"][i])
    low, high, room = 0, len(runs), 0
    while low < high:
        middle = (low + high) // 2
        found = priced(runs[middle])
        left = device.usable_bytes - bounds_of(found, device).most  # below 0: what is missing
        if left >= 0:
            low, room = middle + 1, int(found.peak_bytes) + left
        else:
            high = middle
    if not low:
        return None
    return min(room, int(columns["peak_bytes"][runs[high]]) - 1) if high < len(runs) else room
