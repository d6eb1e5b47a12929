"""`costmodel fit`: whether a step fits a budget, and the largest that fits."""

from __future__ import annotations

from typing import Any

import click

from ..cli import echo_json, estimate_options, options, request
from ..studies.fit import AXES
from ._output import figure_file, show, show_what_fits


@click.command("fit")
@options("network", *estimate_options)
@click.option("--budget", required=True, help="Memory there is, as in 64MB or 256KiB.")
@click.option("--max", "axis", metavar="|".join(AXES), help="Find the largest value of this that fits.")
@options("figure", "force", "format")
def command(
    network: str, budget: str, axis: str | None, figure: dict[str, Any] | None, force: bool, form: str, **asked: Any
) -> None:
    """Tell whether a training step of NETWORK peaks within a budget, and by how much.

    A figure shows the peak over the values of --max, or else the memory over the step. Exits with 0 if it fits, with 1
    if not.
    """
    from ..api import estimate
    from ..sizes.units import parse_size
    from ..studies.fit import Fit, check_has_peak, curve, largest
    from ..views.fit import fit_lines, fit_table

    size = parse_size(budget)
    file = figure_file(figure, force)
    given, asked = asked, request(network, asked)
    if axis is None:
        value, found = None, estimate(**asked)
        check_has_peak(found)
    else:
        value, found = largest(budget=size, axis=axis, **asked)
    fits = found.peak_bytes <= size
    if file is not None:
        from ..views.figures.fit import fit_figure
        from ..views.figures.step import step_figure

        if axis is None:
            drawn = step_figure(found, size, file.sheet)
        else:
            peaks = curve(axis=axis, value=value, **asked)
            drawn = fit_figure(Fit(value, found), axis, peaks, size, file.sheet)
        file.save(drawn)
    if form == "json":
        answer = {"budget_bytes": size, "fits": fits, "headroom_bytes": size - found.peak_bytes, **found.to_dict()}
        if axis is not None:
            answer["max"] = {axis: value}
        echo_json(answer)
    elif form == "table":
        show([], ["\n".join(fit_lines(found, size, axis, value))], form, found.notes)
    else:
        show(*fit_table(found, size, axis, value), form, found.notes)
    if not fits:
        show_what_fits(found, network, size, given, form)
        raise click.exceptions.Exit(1)
