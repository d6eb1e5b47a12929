"""Results as HTML tables, for notebooks."""

from __future__ import annotations

from functools import singledispatch
from html import escape
from typing import Any

import numpy as np

from ..escapes import visible
from ..sizes.units import in_unit, show_count, unit_of
from ..step.estimate import Estimate
from ..studies.grid.sweep import Sweep
from ..studies.plan.plan import Plan
from .plan import notes, parts_table
from .report import TOTALS, at_the_peak, request_title
from .table import Column, Table, words

SHOWN = 10  # most rows of a sweep


@singledispatch
def html_of(result: Any) -> str:
    """A result as HTML; each type of result registers its own function."""
    raise TypeError(f"no HTML is known for {type(result).__name__}")


def html(table: Table) -> str:
    """A table as HTML; None is blank. Cells have no style if they are right-aligned, the notebooks' default."""
    seen = [(i, column) for i, column in enumerate(table.columns) if column.head is not None]
    head = "".join(_cell("th", str(column.head), column) for _, column in seen)
    rows = [
        "".join(_cell("td", "" if row[i] is None else column.show(row[i]), column) for i, column in seen)
        for row in table.rows
    ]
    caption = escape(visible(table.title, lines=True)).replace("\n", "<br>")
    return f"<table><caption>{caption}</caption>{''.join(f'<tr>{row}</tr>' for row in [head, *rows])}</table>"


def _cell(tag: str, text: str, column: Column) -> str:
    style = "" if column.right else ' style="text-align: left"'
    return f"<{tag}{style}>{escape(visible(text))}</{tag}>"


@html_of.register
def estimate_html(estimate: Estimate) -> str:
    """An estimate: memory by category, the place of the peak, what trains, FLOPs."""
    memory, flops = estimate.memory_bytes, estimate.flops
    unit = unit_of(memory["peak"] or memory["saved"])
    parts = {**at_the_peak(estimate), "peak": memory["peak"]}
    rows = [[f"{name}, {unit}", in_unit(size, unit)] for name, size in parts.items() if size]
    if estimate.memory is not None:
        rows.append(["the peak is reached", "{phase}, {node}".format(**estimate.peak_at)])
    totals = {f"in the whole step, {name}, {unit}": memory[key] for key, name in TOTALS.items()}
    rows += [[name, in_unit(size, unit)] for name, size in totals.items() if size is not None]
    rows += [
        ["parameters that train", f"{estimate.trainable_parameters:,} of {estimate.parameters:,}"],
        ["where they are", trained_parts(estimate) or "nowhere"],
        *(
            [f"FLOPs, {name}", show_count(flops[key])]
            for key, name in (("forward", "forward"), ("backward", "backward"), ("total", "step"))
        ),
    ]
    return html(Table(request_title(estimate), [words(None, ""), Column(None, estimate.convention)], rows))


def trained_parts(estimate: Estimate) -> str:
    """The parts in which parameters train, as text; three or more in a row are written "first to last"."""
    runs: list[list[str]] = []
    is_open = False
    for part in estimate.blocks:
        trains = part["trainable_parameters"] > 0
        if trains and is_open:
            runs[-1].append(part["name"])
        elif trains:
            runs.append([part["name"]])
        is_open = trains or is_open and part["parameters"] == 0  # a part without parameters does not end a run
    return ", ".join(", ".join(run) if len(run) < 3 else f"{run[0]} to {run[-1]}" for run in runs)


@html_of.register
def plan_html(plan: Plan) -> str:
    """A plan: what trains in each part, its cost, and the meaning of the choices' names."""
    lines = "\n".join(notes(plan, None)).split("\n")
    return html(parts_table(plan)) + "".join(f"<p>{escape(visible(line))}</p>" for line in lines)


@html_of.register
def sweep_html(sweep: Sweep) -> str:
    """A sweep: its first and last cells."""
    every, half = range(len(sweep)), SHOWN // 2
    shown = every if len(sweep) <= SHOWN else [*every[:half], *every[-half:]]
    rows = [[_plain(column[i]) for column in sweep.columns.values()] for i in shown]
    if len(sweep) > SHOWN:
        rows.insert(half, ["..." for _ in sweep.columns])
    fixed = ", ".join(f"{name} {value}" for name, value in sweep.fixed.items() if value is not None)
    return html(Table(f"{len(sweep):,} cells; {fixed}", [Column(name, name) for name in sweep.columns], rows))


def _plain(value: Any) -> str:
    if value is np.ma.masked or value is None:
        return ""
    return f"{value:,}" if hasattr(value, "__index__") else str(value)
