"""A plan as a table: what trains in each part, and its cost."""

from __future__ import annotations

from typing import Any

from ..graph.recompute import WITHIN_PARTS
from ..sizes.size import show
from ..sizes.units import in_unit, show_count, show_size, unit_of
from ..strategies import CHOICES, FULL, part_names
from ..studies.plan.nothing_fits import NothingFits
from ..studies.plan.plan import Plan, described
from .records import part_record, step_record, table_of, within
from .shared import detected_note
from .table import DRAWN, Column, Lines, Table, bar, hidden, words

#: What was maximised, in words; anything else is a "value".
WORTH = {"parameters": "trained parameters", "blocks": "blocks in which something trains"}


def report(plan: Plan, command: str | None) -> Lines:
    """Tables and notes for a plan. command: one that takes the strategy file that was written, if any."""
    step = {**step_record(plan.estimate), **within(plan.estimate, plan.budget_bytes)}
    return [table_of([step], name="step"), parts_table(plan)], notes(plan, command)


def no_plan(found: NothingFits) -> Table:
    """The answer if nothing fits: a table of the plan that takes least."""
    seen = [
        words("strategy", "least plan"),
        Column("batch", "batch"),
        Column("peak_bytes", "peak", show_size),
        Column("step_flops", "FLOPs", show_count),
    ]
    row = {**step_record(found.least), **within(found.least, found.budget_bytes), "fits": False}
    return table_of([row], seen, f"no: {found}")


def chosen_parts(plan: Plan) -> list[tuple[dict[str, Any], str, bool]]:
    """The estimate's parts, what trains in each ("" if nothing was chosen for it), and whether it runs again."""
    chosen = {name: (choice, again) for name, choice, again in plan.choices}
    found = []
    for name, row in zip(part_names(plan.estimate.graph), plan.estimate.blocks):
        choice, again = chosen.get(name, (FULL.name if row["name"] == "classifier" else "", False))
        found.append((row, choice, again))
    return found


def parts_table(plan: Plan) -> Table:
    """A table with a row for each part: what trains in it, what it saves, and its FLOPs."""
    estimate = plan.estimate
    most = max(row["saved"] for row in estimate.blocks)
    unit = unit_of(most)
    records = [
        {**part_record(row), **described(choice, again), DRAWN: bar(row["saved"], most)}
        for row, choice, again in chosen_parts(plan)
    ]
    levels = {record["recompute"] for record in records}
    micro = f" x {plan.micro_batches} micro-batches" if plan.micro_batches > 1 else ""
    title = f"{estimate.network}, batch {estimate.batch}{micro} of {show(estimate.input_shape)}, {plan.strategy}"
    seen = [
        words("part", "part"),
        words("trains", "trains"),
        words("form", "in the form") if any(record["form"] for record in records) else hidden("form"),
        words("recompute", "makes again") if levels - {WITHIN_PARTS} else hidden("recompute"),
        Column("runs_again", "runs again", lambda again: "yes" if again else "", right=False),
        Column("trainable_parameters", "trained", lambda n: f"{n:,}" if n else "-"),
        Column("saved_bytes", f"saved, {unit}", lambda size: in_unit(size, unit)),
        words(None, DRAWN),
        Column("step_flops", "FLOPs", show_count),
    ]
    return table_of(records, seen, title, "parts")


def notes(plan: Plan, command: str | None) -> list[str]:
    """Notes: the plan's value and cost, the meaning of its choices, and how to use the file."""
    estimate = plan.estimate
    most = "the most" if plan.is_proven else "the most that was found (the search was cut short)"
    left = show_size(plan.budget_bytes - estimate.peak_bytes)
    lines = [
        f"{plan.value:,.10g} {WORTH.get(plan.maximised, 'value')}, {most} within {show_size(plan.budget_bytes)}: the"
        f" peak is {show_size(estimate.peak_bytes)} ({estimate.convention}; {left} left), a step takes"
        f" {show_count(estimate.flops['total'] * plan.micro_batches)} FLOPs."
    ]
    lines += detected_note(estimate.request.target)
    added = estimate.parameters - plan.network.graph.count_parameters()
    if added > 0:
        lines.append(
            f"{plan.strategy} adds {added:,} new parameters to the network's own, which have learned nothing yet."
        )
    used = {choice for _, choice, _ in plan.choices}
    if used:
        explained = [choice for choice in CHOICES.values() if choice.name in used]
        lines.append("\n".join(f"{choice.name}: {choice.summary}." for choice in explained))
    if command is not None:
        lines.append(f"The file is a strategy:\n    {command}")
    return lines
