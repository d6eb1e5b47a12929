"""What a probe measured: a line for each call of an op's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..sizes.size import show
from ..sizes.units import in_unit, show_seconds, show_size, unit_of
from ..step.estimate import Estimate
from .records import table_of
from .report import request_title
from .table import Column, Lines, words


def milliseconds(seconds: float) -> str:
    """A time as people read it."""
    return f"{1e3 * seconds:.3g}"


def probe_records(probes: Sequence[Any]) -> list[dict[str, Any]]:
    """The calls as rows for programs, under the names of `schema.py`."""
    return [
        {
            "first_in": one.call.node.name,
            "op": one.call.node.op.kind,
            "output_shape": list(one.call.y),
            "call_dtype": one.call.setting.dtype,
            "gradients": list(one.call.setting.demanded),
            "forward_scratch_bytes": None if one.missed else one.forward,
            "backward_scratch_bytes": None if one.missed else one.backward,
            "forward_seconds": None if one.missed else one.forward_seconds,
            "backward_seconds": None if one.missed else one.backward_seconds,
            "calls_in_step": one.call.times[0],
            "missed": one.missed or None,
        }
        for one in probes
    ]


def probe_document(estimate: Estimate, probes: Sequence[Any]) -> dict[str, Any]:
    """The probe as one document."""
    return {
        "network": estimate.network,
        "strategy": estimate.strategy,
        "target": estimate.request.target.text,
        "layers_seconds": sum(one.step_seconds for one in probes),
        "calls": probe_records(probes),
    }


def probe_table(estimate: Estimate, probes: Sequence[Any], priced: Estimate | None) -> Lines:
    """A table of the calls, and notes: how long they took, which could not be run, and what the step takes by the file.

    priced: the step with the file as its target, if one was written.
    """
    records = probe_records(probes)
    unit = unit_of(max((max(one.forward, one.backward) for one in probes), default=0))

    def size(value: int) -> str:
        return in_unit(value, unit)

    seen = [
        words("first_in", "first in"),
        words("op", "op"),
        Column("output_shape", "output", lambda shape: show(tuple(shape))),
        words("gradients", "gradients of")._replace(show=", ".join),
        Column("forward_scratch_bytes", f"beside the result, {unit}", size),
        Column("backward_scratch_bytes", "in backward", size),
        Column("forward_seconds", "ms", milliseconds),
        Column("backward_seconds", "in backward", milliseconds),
        Column("calls_in_step", "times in a step", str),
    ]
    total = sum(one.step_seconds for one in probes)
    missed = [one for one in probes if one.missed]
    notes = [
        f"{len(records) - len(missed)} calls, each run alone (the median of some warm runs). All that a step makes of"
        f" them take {show_seconds(total)}; the optimizer, and memory gone cold between layers, come on top."
    ]
    if missed:
        names = ", ".join(f"{one.call.node.name} ({one.missed})" for one in missed[:3])
        more = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
        notes.append(f"Not probed, so priced by their rules: {names}{more}.")
    if priced is not None:
        before, now = show_size(estimate.peak_bytes), show_size(priced.peak_bytes)
        target = priced.request.target.text
        notes.append(f"With the file, --target {target}, the peak is {now}; without it {before}.")
    return [table_of(records, seen, request_title(estimate), "calls")], notes
