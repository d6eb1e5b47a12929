"""`costmodel fit`: whether a step fits a budget, and the largest that fits."""

from __future__ import annotations

from typing import Any

import click

from ..cli import echo_json, estimate_options, options, request
from ..studies.fit import AXES
from ._output import show, show_what_fits


@click.command("fit")
@options("network", *estimate_options)
@click.option("--budget", required=True, help="Memory there is, as in 64MB or 256KiB.")
@click.option("--max", "axis", metavar="|".join(AXES), help="Find the largest value of this that fits.")
@options("format")
def command(network: str, budget: str, axis: str | None, form: str, **asked: Any) -> None:
    """Tell whether a training step of NETWORK peaks within a budget, and by how much.

    Exits with 0 if it does, with 1 if not.
    """
    from ..api import estimate
    from ..sizes.units import parse_size
    from ..studies.fit import check_has_peak, largest
    from ..views.fit import fit_lines, fit_table

    size = parse_size(budget)
    given, asked = asked, request(network, asked)
    if axis is None:
        value, found = None, estimate(**asked)
        check_has_peak(found)
    else:
        value, found = largest(budget=size, axis=axis, **asked)
    fits = found.peak_bytes <= size
    if form == "json":
        answer = {"budget": size, "fits": fits, "headroom": size - found.peak_bytes, **found.to_dict()}
        if axis is not None:
            answer["max"] = {axis: value}
        echo_json(answer)
    elif form == "table":
        show([], ["\n".join(fit_lines(found, size, axis, value))], form, found.notes)
    else:
        show(*fit_table(found, size, axis, value), form, found.notes)
    if not fits:
        show_what_fits(network, size, given, form)
        raise click.exceptions.Exit(1)
