"""The report: what a person with a memory budget wants to know about one training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..sizes.size import show
from ..sizes.units import in_unit, show_count, show_size, unit_of
from ..step.estimate import Estimate, Row
from .table import Column, Lines, Table, bar

SIDE_BY_SIDE = ("torch", "lean", "ideal")
NAMES = {
    "parameters": "parameters",
    "buffers": "buffers (running statistics)",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "input": "input images",
    "saved": "saved activations",
    "step_peak": "highest level within the step",
    "peak": "peak",
}


def beside(convention: str) -> Sequence[str]:
    """The conventions that a report shows beside the requested one."""
    return [name for name in SIDE_BY_SIDE if name != convention]


def report(estimates: Sequence[Estimate], layers: bool, budget: int | None) -> Lines:
    """Tables and notes for one request under several conventions.

    Everything except memory and differences is about the first one. layers: whether rows are layers instead of blocks.
    budget: in bytes.
    """
    first = estimates[0]
    return (
        [memory_table(estimates), work_table(first), parts_table(first, layers)],
        [
            *peak_note(first),
            *why(estimates),
            *first.notes,
            *(budget_notes(estimates, budget) if budget is not None else []),
        ],
    )


def memory_table(estimates: Sequence[Estimate]) -> Table:
    """Table of memory by category, with a column per convention."""
    first = estimates[0]
    memories = [estimate.memory_bytes for estimate in estimates]
    unit = unit_of(max(memory["peak"] or memory["saved"] for memory in memories))
    columns = [Column(f"memory, {unit}", right=False), *[Column(e.convention, _sizes(unit)) for e in estimates]]
    rows = [[name, *[memory[key] for memory in memories]] for key, name in NAMES.items()]
    return Table(request_title(first), columns, rows)


def request_title(estimate: Estimate) -> str:
    """A title with an estimate's request, and on a second line where the step runs."""
    request = estimate.request
    title = f"{estimate.network}, {estimate.strategy}, batch {estimate.batch} of {show(estimate.input_shape)}"
    if request.accumulate > 1:
        title += f" in {request.accumulate} micro-steps"
    return f"{title}, {request.optimizer.name}, {request.dtype.name}\nPeaks are those of: {request.target}"


def work_table(estimate: Estimate) -> Table:
    """Table of the FLOPs of the forward and the backward pass."""
    flops = estimate.flops
    rows = [
        ["convolutions and linear layers", flops["forward"], flops["backward"], flops["total"]],
        ["  of it for gradients of activations", None, flops["backward_input"], None],
        ["  of it for gradients of weights", None, flops["backward_weight"], None],
        *([["  of it for running blocks again", None, flops["recomputed"], None]] if flops["recomputed"] else []),
        ["elementwise", flops["elementwise_forward"], flops["elementwise_backward"],
         flops["elementwise_forward"] + flops["elementwise_backward"]],
    ]  # fmt: skip
    heads = [Column(name, show_count) for name in ("forward", "backward", "step")]
    return Table("", [Column("FLOPs of a step", right=False), *heads], rows)


def parts_table(estimate: Estimate, layers: bool) -> Table:
    """A table with a row per block, or per layer: its saved bytes, parameters and FLOPs."""
    parts = estimate.layers if layers else estimate.blocks
    most = max(part["saved"] for part in parts)
    unit = unit_of(most)
    columns = [
        Column("layer" if layers else "block", right=False),
        *([Column("op", right=False)] if layers else []),
        Column("output", right=True),
        Column("parameters", lambda n: f"{n:,}"),
        Column("trained", lambda n: f"{n:,}" if n else "-"),
        Column(f"saved, {unit}", _sizes(unit)),
        Column("", right=False),
        Column("forward", show_count),
        Column("backward", lambda n: show_count(n) if n else "-"),
    ]
    rows = [
        [
            part["name"],
            *([part["op"]] if layers else []),
            show(part["output_shape"]) or "1",
            part["parameters"],
            part["trainable_parameters"],
            part["saved"],
            bar(part["saved"], most),
            part["forward_flops"],
            part["backward_flops"],
        ]
        for part in parts
    ]
    return Table("", columns, rows)


def why(estimates: Sequence[Estimate]) -> list[str]:
    """Notes: the largest tensor that is kept, who keeps it and why; and why the conventions differ."""
    first = estimates[0]
    if not first.rows:
        return ["Nothing is kept for a backward pass: nothing trains."]
    largest = max(first.rows, key=lambda row: row.saved_bytes)
    notes = [f"{largest.node} keeps most, {show_size(largest.saved_bytes)}: {reason(largest)}."]
    by_name = {estimate.convention: estimate for estimate in estimates}
    if {"torch", "lean"} <= by_name.keys():
        notes += difference(by_name["torch"], by_name["lean"])
    return notes


def difference(stock: Estimate, lean: Estimate) -> list[str]:
    """A note: how much more stock modules save than lean ones, and the reason for most of it; none if not more."""
    more = stock.saved_bytes - lean.saved_bytes
    kept = [
        {(k.value, k.value is None and (k.node, k.operand)): (k.node, size) for k, size in zip(e.kept, e.kept_bytes)}
        for e in (stock, lean)
    ]
    by_excuse: dict[str, int] = {}
    for mine, other, sign in ((kept[0], kept[1], 1), (kept[1], kept[0], -1)):
        for key in mine.keys() - other.keys():
            node, size = mine[key]
            excuse = stock.graph.nodes[node].op.stock.excuse
            by_excuse[excuse] = by_excuse.get(excuse, 0) + sign * size
    excuse, most = max(by_excuse.items(), key=lambda item: item[1], default=("", 0))
    if more <= 0 or not excuse:
        return []
    return [f"Stock modules save {show_size(more)} more than lean ones, {show_size(most)} of it because {excuse}."]


def reason(row: Row) -> str:
    """Words for why a tensor is kept."""
    readers = [
        f"the gradient of {' and '.join(gradients)} in {node}" if gradients else "running the block again"
        for node, gradients in row.readers
    ]
    tail = "" if row.needed else "; the demanded gradients need only a mask, a shape or nothing of it"
    return f"its {row.tensor} ({show(row.shape) or 'a number'}) is kept for {', and for '.join(readers)}{tail}"


def peak_note(estimate: Estimate) -> list[str]:
    """A note: where the peak is, and what is alive there."""
    if estimate.memory is None:
        peak = estimate.memory_bytes["peak"]
        if peak is None:
            return [f"{estimate.convention} counts what is saved; it has no peak."]
        return [f"The peak of {show_size(peak)} is {estimate.convention}'s own arithmetic, not of a run."]
    live = sorted(estimate.at_peak.items(), key=lambda item: -item[1])
    parts = [f"{show_size(size)} {category}" for category, size in live if size >= 1000]
    resident = show_size(estimate.peak_bytes - estimate.step_peak_bytes)
    where = f"in the {estimate.peak_at['phase']} pass at {estimate.peak_at['node']}"
    peak = show_size(estimate.peak_bytes)
    return [f"The peak of {peak} is reached {where}: {', '.join([f'{resident} resident', *parts])}."]


def budget_notes(estimates: Sequence[Estimate], budget: int) -> list[str]:
    """A note: whether the step fits into the budget, under each convention that has a peak."""
    notes = []
    for estimate in estimates:
        peak = estimate.memory_bytes["peak"]
        if peak is not None:
            much = show_size(abs(budget - peak))
            verdict = f"fits, {much} are left" if peak <= budget else f"does not fit, {much} are missing"
            notes.append(f"Into {show_size(budget)}, {estimate.convention}: {verdict}.")
    return ["\n".join(notes)]


def _sizes(unit: str) -> Callable[[Any], str]:
    return lambda size: in_unit(size, unit)
