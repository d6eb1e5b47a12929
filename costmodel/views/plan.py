"""A plan as a table: what trains in each part, and its cost."""

from __future__ import annotations

from typing import Any

from ..sizes.size import show
from ..sizes.units import in_unit, show_count, show_size, unit_of
from ..strategies import CHOICES, FULL, part_names
from ..studies.plan.plan import Plan
from .table import Column, Lines, Table, bar

#: What was maximised, in words; anything else is a "value".
WORTH = {"parameters": "trained parameters", "blocks": "blocks in which something trains"}


def report(plan: Plan, path: str | None) -> Lines:
    """Tables and notes for a plan. path: of the strategy file that was written, if any."""
    return [parts_table(plan)], notes(plan, path)


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
    rows = []
    for row, choice, again in chosen_parts(plan):
        rows.append(
            [
                row["name"],
                choice,
                "yes" if again else "",
                row["trainable_parameters"],
                row["saved"],
                bar(row["saved"], most),
                row["forward_flops"] + row["backward_flops"],
            ]
        )
    micro = f" x {plan.micro_batches} micro-batches" if plan.micro_batches > 1 else ""
    title = f"{estimate.network}, batch {estimate.batch}{micro} of {show(estimate.input_shape)}, {plan.strategy}"
    return Table(
        title,
        [
            Column("part", right=False),
            Column("trains", right=False),
            Column("runs again", right=False),
            Column("trained", lambda n: f"{n:,}" if n else "-"),
            Column(f"saved, {unit}", lambda size: in_unit(size, unit)),
            Column("", right=False),
            Column("FLOPs", show_count),
        ],
        rows,
    )


def notes(plan: Plan, path: str | None) -> list[str]:
    """Notes: the plan's value and cost, the meaning of its choices, and how to use the file."""
    estimate = plan.estimate
    most = "the most" if plan.is_proven else "the most that was found (the search was cut short)"
    left = show_size(plan.budget_bytes - estimate.peak_bytes)
    lines = [
        f"{plan.value:,.10g} {WORTH.get(plan.maximised, 'value')}, {most} within {show_size(plan.budget_bytes)}: the"
        f" peak is {show_size(estimate.peak_bytes)} ({estimate.convention}; {left} left), a step takes"
        f" {show_count(estimate.flops['total'] * plan.micro_batches)} FLOPs."
    ]
    used = {choice for _, choice, _ in plan.choices}
    if used:
        explained = [choice for choice in CHOICES.values() if choice.name in used]
        lines.append("\n".join(f"{choice.name}: {choice.summary}." for choice in explained))
    if path is not None:
        lines.append(
            f"{path} is a strategy: costmodel report {estimate.network} --strategy {path}"
            f" --convention {estimate.convention}"
        )
    return lines
