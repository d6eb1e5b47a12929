"""`costmodel pareto`: the choices that no other choice dominates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..cli import axis_options, echo_json, grid_options, options
from ..completion import COMPLETE
from ..escapes import visible
from ._output import check_budget_is_drawn, figure_file, show


@click.command("pareto")
@click.argument("sources", nargs=-1, required=True, metavar="NETWORK|GRID...", shell_complete=COMPLETE["network"])
@click.option("--minimise", "less", multiple=True, metavar="COLUMN", help="Of which less is better.")
@click.option("--maximise", "more", multiple=True, metavar="COLUMN", help="Of which more is better.")
@click.option("--accuracy", type=click.Path(), help="Your own results: a CSV file with columns strategy, accuracy.")
@options("budget", "figure", "force")
@axis_options
@options(*grid_options, "check", "format")
def command(
    sources: tuple[str, ...],
    less: tuple[str, ...],
    more: tuple[str, ...],
    accuracy: str | None,
    budget: int | None,
    figure: dict[str, Any] | None,
    force: bool,
    check: bool,
    form: str,
    **axes: tuple[str, ...],
) -> None:
    """Find the frontier of NETWORK's strategies, or of tables that `sweep` wrote.

    Two or three objectives: columns of a sweep (trained_blocks is one), step_flops or accuracy. By default least
    peak_bytes, least step_flops, most trainable_parameters; with --accuracy least peak_bytes, most accuracy. Beside a
    figure, which shows the budget as a line, its data are written as .csv and .json.
    """
    import json

    from ..studies.pareto import choose, join_accuracy, with_step_flops
    from ..views.pareto import all_rows, document, frontier_table
    from ..views.table import csv_text

    file = figure_file(figure, force)
    objectives = objectives_of(less, more, accuracy is not None)
    if budget is not None:
        check_budget_is_drawn(file)
    if file is not None:
        from ..views.figures.pareto import check_budget_axis, draws_memory, pareto_figure

        table, data = files_beside(file, sources, force)
        if budget is not None:
            check_budget_axis(objectives)
    of_network = {name: axes.pop(name) for name in grid_options}
    given = {name: list(values) for name, values in axes.items() if values}
    title, columns, doubts, fixed = table_of(sources, check, given, of_network)
    name = "budget"
    if file is not None and budget is None and draws_memory(objectives) and of_network["device"] is not None:
        budget, name, note = room_on(of_network, sources[0], columns, fixed)
        doubts = [*doubts, *note]
    columns = with_step_flops(columns)
    if accuracy is not None:
        columns = join_accuracy(columns, accuracy)
    on = choose(columns, objectives).tolist()
    if file is not None:
        drawn = pareto_figure(columns, on, objectives, title, budget, file.sheet, name)
        rows = csv_text([all_rows(columns, on)]) + "\n"
        file.save(drawn, {table: rows, data: json.dumps(document(title, columns, on, objectives), indent=2)})
    if form == "json":
        echo_json(document(title, columns, on, objectives))
    elif form == "csv":
        show([all_rows(columns, on)], [], form, doubts)
    else:
        tables, notes = frontier_table(title, columns, on, objectives)
        show(tables, notes, form, doubts)


def files_beside(file: Any, sources: Sequence[str], force: bool) -> list[Path]:
    """The paths of a figure's data, .csv and .json. Raises CostmodelError if they are not free, or are read."""
    from ..errors import CostmodelError
    from ..files.whole import check_free

    found = [file.path.with_suffix(suffix) for suffix in (".csv", ".json")]
    for beside in found:
        check_free(beside, force)
        if any(os.path.exists(source) and beside.exists() and beside.samefile(source) for source in sources):
            raise CostmodelError(f"{str(beside)!r}, beside the figure, is read; allowed: a figure of another name")
    return found


def objectives_of(less: tuple[str, ...], more: tuple[str, ...], has_accuracy: bool) -> list[Any]:
    """The requested objectives, else the usual ones. Raises CostmodelError if they are not two or three, or repeat."""
    from ..errors import CostmodelError
    from ..studies.pareto import USUAL, WITH_ACCURACY, Objective

    asked = [*(Objective(name, True) for name in less), *(Objective(name, False) for name in more)]
    objectives = asked or list(WITH_ACCURACY if has_accuracy else USUAL)
    if len(objectives) not in (2, 3) or len({o.column for o in objectives}) < len(objectives):
        raise CostmodelError(f"objectives are {', '.join(map(str, objectives))}; allowed: two or three different ones")
    return objectives


def room_on(
    of_network: dict[str, Any], network: str, columns: dict[str, list[Any]], fixed: dict[str, Any]
) -> tuple[int | None, str, list[str]]:
    """The peak up to which a step fits the device beside what trains it, words for its line, and a note without one."""
    from ..studies.device_line import peak_that_fits

    device = of_network["device"]
    if device.calibrate_first:
        return None, "", []
    options = {key: value for key, value in of_network.items() if key != "device"}
    room = peak_that_fits(network, columns, fixed, device, **options)
    told = f"No step here surely fits {device.text}, beside what trains it; `costmodel where` tells what it takes."
    return room, f"room on {device.text}", [] if room is not None else [told]


#: A title, the columns to compare, notes, and the values that hold for all rows, by axis.
Compared = tuple[str, dict[str, list[Any]], Sequence[str], dict[str, Any]]


def table_of(sources: tuple[str, ...], check: bool, axes: dict[str, Any], of_network: dict[str, Any]) -> Compared:
    """What is compared: the rows of tables one after the other, or a sweep of a network."""
    from ..errors import CostmodelError
    from ..files.table import is_table
    from ..studies.grid.certainties import least_notes

    if not any(map(is_table, sources)):
        if len(sources) > 1:
            raise CostmodelError(f"{len(sources)} networks; allowed: one, or tables that sweep wrote")
        return swept(sources[0], check, axes, of_network)
    for name in [*axes, *(name for name, value in of_network.items() if value)]:
        option = {"inputs": "input"}.get(name, name).replace("_", "-")
        raise CostmodelError(f"--{option} beside a table; allowed: with a network")
    columns = joined(sources)
    return visible(", ".join(sources)), columns, list(least_notes(columns)), {}


def swept(network: str, check: bool, axes: dict[str, Any], of_network: dict[str, Any]) -> Compared:
    """A sweep of a network, by default over all strategies that train; its title has the values that are the same."""
    from ..frontends import load
    from ..strategies import possible
    from ..studies.grid.certainties import CERTAINTIES
    from ..studies.grid.sweep import sweep
    from ..views.shared import shared

    if "strategy" not in axes:
        graph = load(network, **{name: value for name, value in of_network.items() if name != "device"}).graph
        trained = [strategy for strategy in possible(graph) if strategy.trains]
        axes["strategy"] = [f"{s.name}:1..{len(graph.blocks)}" if s.takes_blocks else s.name for s in trained]
    grid = sweep(network, check=check, **axes, **of_network)
    columns = grid.to_dict()
    values = {name: [value] for name, value in grid.fixed.items()}
    values |= {name: given for name, given in columns.items() if name not in CERTAINTIES}
    same = {name: given[0] for name, given in values.items() if given[0] is not None and len(set(given)) == 1}
    return shared(same), columns, grid.notes, grid.fixed


def joined(sources: tuple[str, ...]) -> dict[str, list[Any]]:
    """The columns of several tables, one below the other. Raises CostmodelError if their columns differ."""
    from ..errors import CostmodelError
    from ..files.table import read_table

    tables = [read_table(source) for source in sources]
    for source, table in zip(sources, tables):
        if list(table) != list(tables[0]):
            raise CostmodelError(f"{source!r} has other columns than {sources[0]!r}")
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}
