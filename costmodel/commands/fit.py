"""`costmodel fit`: whether a step fits a budget, and the largest that fits."""

from __future__ import annotations

from typing import Any

import click

from ..cli import echo_json, estimate_options, needed, options, request, some_budget
from ..studies.fit import AXES
from ._output import figure_file, show, show_what_fits


@click.command("fit")
@options("network", *estimate_options)
@click.option("--max", "axis", metavar="|".join(AXES), help="Find the largest value of this that fits.")
@options("budget", "process", "figure", "force", "format")
def command(
    network: str,
    budget: int | None,
    axis: str | None,
    process: bool | None,
    figure: dict[str, Any] | None,
    force: bool,
    form: str,
    **asked: Any,
) -> None:
    """Tell whether a training step of NETWORK peaks within a budget, and by how much.

    With --process the most that the process of such steps is likely to take must be within it. A figure shows the peak
    over the values of --max, or else the memory over the step. Exits with 0 if it fits, with 1 if not.
    """
    from ..api import estimate
    from ..studies.fit import Fit, check_has_peak, curve, largest
    from ..studies.needs import peak
    from ..views.device import device_notes
    from ..views.fit import fit_lines, fit_table
    from ..views.process import beside_note, process_notes, process_record

    size = some_budget(budget)
    file = figure_file(figure, force)
    given, asked = asked, request(network, asked)
    around = needed(process, given["target"], network, given)
    need = around or peak
    if axis is None:
        value, found = None, estimate(**asked)
        check_has_peak(found)
    else:
        value, found = largest(budget=size, axis=axis, need=need, **asked)
    fits = need(found) <= size
    missing = size - need(found)
    if file is not None:
        from ..views.figures.fit import fit_figure
        from ..views.figures.step import step_figure

        if axis is None:
            drawn = step_figure(found, size, file.sheet)
        else:
            peaks = curve(axis=axis, value=value, **asked)
            drawn = fit_figure(Fit(value, found), axis, peaks, size, file.sheet)
        file.save(drawn)
    beside = beside_note(found) if around is None else process_notes(found, around)
    beside += device_notes(found)
    if form == "json":
        answer = {"budget_bytes": size, "fits": fits, "headroom_bytes": missing, **found.to_dict()}
        answer |= {} if around is None else process_record(found, around)
        if axis is not None:
            answer["max"] = {axis: value}
        echo_json(answer)
    elif form == "table":
        show([], ["\n".join(fit_lines(found, size, axis, value, around)), *beside], form, found.notes)
    else:
        tables, notes = fit_table(found, size, axis, value, around)
        show(tables, [*notes, *beside], form, found.notes)
    if not fits:
        show_what_fits(found, network, size, given, form, around)
        raise click.exceptions.Exit(1)
