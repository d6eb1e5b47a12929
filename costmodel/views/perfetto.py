"""The timeline of a step as a trace for Perfetto and chrome://tracing."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from ..step.estimate import Estimate


def trace_events(estimate: Estimate) -> dict[str, Any]:
    """A Chrome trace, one microsecond per event: allocated bytes by category as counters, nodes as slices."""
    timeline, sizes = estimate.timeline, estimate.slot_sizes
    bytes_of = [event.sign * int(sizes[event.slot]) for event in timeline.events]
    live = dict.fromkeys((event.category for event in timeline.events), 0)
    title = f"{estimate.network}, {estimate.strategy}, batch {estimate.batch}"
    entries: list[dict[str, Any]] = [{"ph": "M", "pid": 1, "name": "process_name", "args": {"name": title}}]
    for time, (event, size) in enumerate(zip(timeline.events, bytes_of)):
        live[event.category] += size
        entries.append({"ph": "C", "pid": 1, "ts": time, "name": "allocated bytes", "args": dict(live)})
    numbered = enumerate(zip(timeline.events, bytes_of))
    for (phase, _), run in groupby(numbered, key=lambda item: (item[1][0].phase, item[1][0].node)):
        part = list(run)
        what = [{"bytes": size, "category": event.category, "why": event.why} for _, (event, size) in part]
        entries.append(
            {
                "ph": "X",
                "pid": 1,
                "tid": 1,
                "ts": part[0][0],
                "dur": len(part),
                "cat": phase,
                "name": estimate.node_name(part[0][1][0]),
                "args": {"events": what},
            }
        )
    return {"traceEvents": entries, "otherData": {"target": str(estimate.request.target)}}
