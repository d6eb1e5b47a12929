"""The report: what a person with a memory budget wants to know about one training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ops._named_loss import USUAL_LOSS
from ..ops.forms._formed import LeanOnly
from ..sizes.size import show
from ..sizes.units import in_unit, show_count, show_seconds, show_size, unit_of
from ..step.certainty import CHECKED, DRY, LOWER_BOUND, NOT_MODELLED, PROBED, RULE
from ..step.dry_estimate import DryEstimate
from ..step.estimate import Estimate, Row
from ..step.events import CATEGORIES
from ..step.process.gpu import gpu_memory
from ..studies.needs import Process, held
from .device import device_notes, time_table
from .fit import alone
from .process import beside_note, process_notes, process_table
from .records import part_record, step_record, table_of, within
from .shared import detected_note
from .table import DRAWN, Column, Lines, Table, bar, words

SIDE_BY_SIDE = ("torch", "lean", "ideal")
#: What is resident before a step, by the categories of its memory.
RESIDENT = {
    "parameters": "parameters",
    "buffers": "buffers (running statistics)",
    "optimizer": "optimizer state",
    "input": "images and targets",
    "earlier": "gradients of earlier micro-steps",
}
#: What a dry step holds at its peak: it does not tell tensors apart.
TENSORS = "tensors of the step"
#: Totals of a step, whether or not they are there at its peak.
TOTALS = {
    "saved": "saved for the backward pass",
    "gradients": "gradients of parameters",
    "step_peak": "highest level within the step",
}


def beside(estimate: Estimate) -> Sequence[str]:
    """The conventions that a report shows beside the estimate's: none under autocast, and torch not for a form."""
    if estimate.request.amp:
        return []
    in_form = any(isinstance(node.op, LeanOnly) for node in estimate.graph.nodes)
    return [name for name in SIDE_BY_SIDE if name != estimate.convention and not (in_form and name == "torch")]


def report(estimates: Sequence[Estimate], layers: bool, budget: int | None, around: Process | None = None) -> Lines:
    """Tables and notes for one request under several conventions.

    Everything except memory and differences is about the first one. layers: whether rows are layers instead of blocks.
    budget: in bytes. around: the process around such steps, if it is asked for.
    """
    first = estimates[0]
    steps = table_of([{**step_record(e), **within(e, budget, around)} for e in estimates], name="steps")
    memory = None if around is None else around.memory(first)
    return (
        [
            steps,
            memory_table(estimates),
            totals_table(estimates),
            *([process_table(memory)] if memory else []),
            work_table(first),
            *([time_table(first.time)] if first.time else []),
            parts_table(first, layers),
        ],
        [
            *peak_note(first),
            *(process_notes(first, around) if around is not None else beside_note(first)),
            *gpu_note(first),
            *device_notes(first),
            *why(estimates),
            *certainty_note(first),
            *(budget_notes(estimates, budget, around) if budget is not None else []),
        ],
    )


def memory_table(estimates: Sequence[Estimate]) -> Table:
    """Table of what is there at the peak, which adds up to it, with a column per convention."""
    first = estimates[0]
    unit = unit_of(max(e.memory_bytes["peak"] or e.memory_bytes["saved"] for e in estimates))
    columns = [words(None, f"at the peak, {unit}"), *[Column(None, e.convention, _sizes(unit)) for e in estimates]]
    parts = [at_the_peak(e) for e in estimates]
    rows = [[name, *[part.get(name) for part in parts]] for name in [*RESIDENT.values(), *CATEGORIES.values(), TENSORS]]
    some = [row for row in rows if any(row[1:])]
    return Table(request_title(first), columns, [*some, ["peak", *[e.memory_bytes["peak"] for e in estimates]]])


def at_the_peak(estimate: Estimate) -> dict[str, int]:
    """Bytes at the peak, in words: what is resident, then what the step holds. They add up to the peak.

    Empty if the convention has no timeline.
    """
    if estimate.memory is None and not isinstance(estimate, DryEstimate):
        return {}
    resident = estimate.resident
    before = {
        "parameters": resident.parameters,
        "buffers": resident.buffers,
        "optimizer": resident.optimizer,
        "earlier": resident.gradients * resident.accumulates,
    }
    before["input"] = estimate.resident_bytes - sum(before.values())
    if isinstance(estimate, DryEstimate):
        step = {TENSORS: int(estimate.step_peak_bytes)}
    else:
        step = {CATEGORIES[category]: size for category, size in estimate.at_peak.items()}
    return {**{RESIDENT[key]: size for key, size in before.items()}, **step}


def totals_table(estimates: Sequence[Estimate]) -> Table:
    """Table of a step's totals, with a column per convention."""
    memories = [estimate.memory_bytes for estimate in estimates]
    unit = unit_of(max(memory["peak"] or memory["saved"] for memory in memories))
    columns = [words(None, f"in a whole step, {unit}"), *[Column(None, e.convention, _sizes(unit)) for e in estimates]]
    return Table("", columns, [[name, *[memory[key] for memory in memories]] for key, name in TOTALS.items()])


def request_title(estimate: Estimate) -> str:
    """A title with an estimate's request, and on a second line where the step runs."""
    request = estimate.request
    inputs = " and ".join([show(estimate.input_shape), *(show(one.shape) for one in estimate.inputs[1:])])
    title = f"{estimate.network}, {estimate.strategy}, batch {estimate.batch} of {inputs}"
    if request.accumulate > 1:
        title += f" in {request.accumulate} micro-steps"
    numbers = f"{request.dtype.name} under autocast in {request.amp.name}" if request.amp else request.dtype.name
    loss = "" if request.loss == USUAL_LOSS else f", loss {request.loss}"
    return f"{title}, {request.optimizer.name}, {numbers}{loss}\nPeaks are those of: {request.target}"


def work_table(estimate: Estimate) -> Table:
    """Table of the FLOPs of the forward and the backward pass."""
    flops = estimate.flops
    elementwise = [flops["elementwise_forward"], flops["elementwise_backward"]]
    elementwise.append(None if None in elementwise else sum(elementwise))
    again = flops["elementwise_recomputed"]
    rows = [
        ["convolutions and linear layers", flops["forward"], flops["backward"], flops["total"]],
        ["  of it for gradients of activations", None, flops["backward_input"], None],
        ["  of it for gradients of weights", None, flops["backward_weight"], None],
        *([["  of it for running blocks again", None, flops["recomputed"], None]] if flops["recomputed"] else []),
        ["elementwise", *elementwise],
        *([["  of it for what is made again", None, again, None]] if again else []),
    ]
    heads = [Column(None, name, show_count) for name in ("forward", "backward", "step")]
    return Table("", [words(None, "FLOPs, 2 per multiply-add"), *heads], rows)


def parts_table(estimate: Estimate, layers: bool) -> Table:
    """A table with a row per block, or per layer: its saved bytes, parameters and FLOPs."""
    parts = estimate.layers if layers else estimate.blocks
    most = max(part["saved"] for part in parts)
    unit = unit_of(most)
    seen = [
        words("part", "layer" if layers else "block"),
        *([words("op", "op")] if layers else []),
        Column("output_shape", "output", lambda shape: show(shape) or "1"),
        Column("parameters", "parameters", lambda n: f"{n:,}"),
        Column("trainable_parameters", "trained", lambda n: f"{n:,}" if n else "-"),
        Column("saved_bytes", f"saved, {unit}", _sizes(unit)),
        words(None, DRAWN),
        Column("forward_flops", "forward", show_count),
        Column("backward_flops", "backward", lambda n: show_count(n) if n else "-"),
        *([Column("step_seconds", "time", show_seconds)] if "step_seconds" in parts[0] else []),
        *([words("made_again_of", "result made again of")] if any(part.get("made_again_of") for part in parts) else []),
    ]
    records = [{**part_record(part), DRAWN: bar(part["saved"], most)} for part in parts]
    return table_of(records, seen, name="layers" if layers else "blocks")


#: Words for each degree of certainty.
CERTAIN = {
    CHECKED: "checked against a dry step of the module",
    RULE: "by rule",
    DRY: "the dry step's",
    PROBED: "measured, call by call",
    NOT_MODELLED: "at least this: kernels' own memory is left out",
    LOWER_BOUND: "a lower bound: unknown ops cost nothing",
}


def certainty_note(estimate: Estimate) -> list[str]:
    """A note: how certain the figures of a module are."""
    names = {
        "saved": "saved bytes",
        "flops": "FLOPs",
        "tensor_peak": "the tensors' peak",
        "step_peak": "the step's peak",
    }
    if estimate.certainty.saved == RULE and not estimate.graph.is_traced:
        return []
    degrees = estimate.certainty._asdict()
    said = []
    for degree in dict.fromkeys(degrees.values()):
        mine = [names[key] for key, value in degrees.items() if value == degree]
        said.append(f"{' and '.join([', '.join(mine[:-1]), mine[-1]] if mine[1:] else mine)}: {CERTAIN[degree]}")
    return [f"How certain: {'; '.join(said)}."]


def why(estimates: Sequence[Estimate]) -> list[str]:
    """Notes: the largest tensor that is kept, who keeps it and why; and why the conventions differ."""
    first = estimates[0]
    if isinstance(first, DryEstimate):
        return []
    if not first.rows:
        return ["Nothing is kept for a backward pass: nothing trains."]
    largest = max(first.rows, key=lambda row: row.saved_bytes)
    notes = [f"{largest.node} keeps most, {show_size(largest.saved_bytes)}: {reason(largest)}."]
    by_name = {estimate.convention: estimate for estimate in estimates}
    if {"torch", "lean"} <= by_name.keys():
        notes += difference(by_name["torch"], by_name["lean"])
    return notes


#: Why stock modules keep more, where lean ones make a value again.
MADE_AGAIN = "they keep what norms and activations make, which lean ones make again"


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
            excuse = (
                MADE_AGAIN
                if key[0] and lean.graph.content[key[0]] in lean.graph.roots
                else stock.graph.nodes[node].op.stock.excuse
            )
            by_excuse[excuse] = by_excuse.get(excuse, 0) + sign * size
    excuse, most = max(by_excuse.items(), key=lambda item: item[1], default=("", 0))
    if more <= 0 or not excuse:
        return []
    return [f"Stock modules save {show_size(more)} more than lean ones, {show_size(most)} of it because {excuse}."]


def reason(row: Row) -> str:
    """Words for why a tensor is kept."""
    tail = "" if row.needed else "; the demanded gradients need only a mask, a shape or nothing of it"
    if row.remade:
        several, verb = ("results", "are") if row.remade[1:] else ("result", "is")
        tail += f"; the {several} of {' and '.join(row.remade)} {verb} made again from it"
    return f"its {row.tensor} ({show(row.shape) or 'a number'}) is kept for {', and for '.join(readers_of(row))}{tail}"


def readers_of(row: Row) -> list[str]:
    """Words for each reader of a kept tensor."""
    return [
        f"the gradient of {' and '.join(gradients)} in {node}" if gradients else "running the block again"
        for node, gradients in row.readers
    ]


def peak_note(estimate: Estimate) -> list[str]:
    """A note: where the peak is."""
    if estimate.memory is None:
        peak = estimate.memory_bytes["peak"]
        if isinstance(estimate, DryEstimate):
            return [f"The tensors' peak of a dry step and what is resident: {show_size(peak)}."]
        if peak is None:
            return [f"{estimate.convention} counts what is saved; it has no peak."]
        return [f"The peak of {show_size(peak)} is {estimate.convention}'s own arithmetic, not of a run."]
    where = f"in the {estimate.peak_at['phase']} pass at {estimate.peak_at['node']}"
    return [f"The peak of {show_size(estimate.peak_bytes)} ({estimate.convention}) is reached {where}."]


def gpu_note(estimate: Estimate) -> list[str]:
    """A note: what a process takes of a GPU's memory; none on other devices."""
    if estimate.memory is None or estimate.request.target.device != "cuda":
        return []
    found = gpu_memory(estimate)
    beside = f", {show_size(found.workspaces)} of it workspaces of cuBLAS" if found.workspaces else ""
    return [
        f"A process of such steps allocates {show_size(found.allocated)} of the GPU at most and reserves"
        f" {show_size(found.reserved)}{beside}; the CUDA context comes beside it. PyTorch's caching allocator is"
        " simulated."
    ]


def budget_notes(estimates: Sequence[Estimate], budget: int, around: Process | None = None) -> list[str]:
    """A note: whether the step, or the process around it, fits into the budget, by each convention that has a peak."""
    notes = []
    for estimate in estimates:
        peak = held(estimate, around)
        if peak is not None:
            much = show_size(abs(budget - peak))
            verdict = f"fits, {much} are left" if peak <= budget else f"does not fit, {much} are missing"
            notes.append(f"Into {show_size(budget)}, {estimate.convention}: {verdict}.{alone(estimate, budget)}")
    return ["\n".join(notes), *detected_note(estimates[0].request.target)]


def _sizes(unit: str) -> Callable[[Any], str]:
    return lambda size: in_unit(size, unit)
