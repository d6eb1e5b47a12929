"""`costmodel sweep`: a grid of estimates as a table."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..cli import axis_options, echo_json, grid_options, options
from ..endings import Interrupted
from ._output import check_budget_is_drawn, figure_file, show, warn


@click.command("sweep")
@options("network")
@axis_options
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="A .csv or .parquet file, written in chunks; if interrupted, run it again.",
)
@click.option("--shard", default="1/1", metavar="I/N", help="Only the I-th of N parts, whose rows in order are all.")
@options(*grid_options, "budget", "figure", "force", "check", "format")
def command(
    network: str,
    output: str | None,
    shard: str,
    budget: int | None,
    figure: dict[str, Any] | None,
    force: bool,
    check: bool,
    form: str,
    **axes: tuple[str, ...],
) -> None:
    """Price every combination of strategies, batches, resolutions and more of NETWORK.

    Integers are N, a..b or a..b:step, joined by commas, and strategies may have a range of K: blocks:1..17. A figure
    shows memory against the batch, or against the axis with the most values, and the budget as a line.
    """
    from ..files.table import read_table
    from ..studies.grid.axes import shard_of
    from ..studies.grid.resumable import check_output
    from ..studies.grid.sweep import SweepPlan

    part = shard_of(shard)
    file = figure_file(figure, force)
    if budget is not None:
        check_budget_is_drawn(file)
    if output is not None:
        check_output(output, force)
    of_network = {name: axes.pop(name) for name in grid_options}
    given: dict[str, Any] = {name: list(values) for name, values in axes.items() if values}
    plan = SweepPlan(network, given, check, **of_network)
    if file is not None:
        from ..views.figures.sweep import lines_of, sweep_figure

        lines_of(plan.axes)
    if output is None:
        print_grid(plan, part, form)
    else:
        write_grid(plan, output, part, force)
    if file is not None:
        columns = columns_of(plan, plan.chunks(part)) if output is None else read_table(output)
        file.save(sweep_figure(columns, plan.fixed, budget, file.sheet))


def write_grid(plan: Any, output: str, part: tuple[int, int], force: bool) -> None:
    """Write a part of a grid to a file, and how far it is to stderr."""
    from ..studies.grid.resumable import write

    cells = cells_of(plan.chunks(part))
    warn(plan.notes)
    try:
        with click.progressbar(length=cells, label=f"{cells:,} cells", file=sys.stderr) as progress:
            for written in write(plan, output, part, force, lambda note: warn([note])):
                progress.update(written)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; the same command again goes on with {output}") from None


def print_grid(plan: Any, part: tuple[int, int], form: str) -> None:
    """Print a part of a grid: CSV chunk by chunk, other formats at once, as a table only its first rows.

    Raises CostmodelError if other formats would have more than MOST_ROWS rows.
    """
    from ..errors import CostmodelError
    from ..studies.grid.certainties import least_notes
    from ..studies.grid.sweep import write_rows
    from ..views.sweep import MOST_ROWS, SHOWN, table

    chunks = plan.chunks(part)
    if form == "csv":
        warn(plan.notes)
        for number, chunk in enumerate(chunks):
            columns = plan.columns(chunk)  # before anything is printed, since it may have no cost
            write_rows(sys.stdout, columns, header=number == 0)
        if not chunks:
            write_rows(sys.stdout, plan.header, header=True)
        return
    cells = cells_of(chunks)
    if form == "table":
        chunks = chunks[: next(n for n in range(len(chunks) + 1) if cells_of(chunks[:n]) >= min(cells, SHOWN))]
    elif cells > MOST_ROWS:
        allowed = f"{MOST_ROWS:,}, --format csv, or -o FILE"
        raise CostmodelError(f"{cells:,} cells are too many for {form}; allowed: {allowed}")
    columns = columns_of(plan, chunks)
    notes = [*plan.notes, *least_notes(columns)]
    if form == "json":
        echo_json({**plan.fixed, "notes": notes, "columns": columns})
    else:
        show([table(columns, plan.fixed, cells)], [], form, notes)


def columns_of(plan: Any, chunks: Any) -> dict[str, list[Any]]:
    """The columns of some chunks of a grid."""
    parts = [plan.columns(chunk) for chunk in chunks]
    return {name: [value for part in parts for value in part[name].tolist()] for name in plan.column_names}


def cells_of(chunks: Any) -> int:
    """The number of cells in some chunks."""
    return sum(chunk.cells for chunk in chunks)
