"""`costmodel compare`: strategies side by side."""

from __future__ import annotations

from typing import Any

import click

from ..cli import AXIS_HELP, check_budget, echo_json, estimate_options, needed, options, request, several
from ._networks import usual_of
from ._output import figure_file, show


@click.command("compare")
@options("network")
@several(strategy=f"{AXIS_HELP['strategy']} [all]")
@options(*(name for name in estimate_options if name != "strategy"), "budget", "process", "figure", "force", "format")
def command(
    network: str,
    strategy: tuple[str, ...],
    budget: int | None,
    process: bool | None,
    figure: dict[str, Any] | None,
    force: bool,
    form: str,
    **asked: Any,
) -> None:
    """Put strategies on NETWORK side by side: a line for each.

    A figure shows what is there at the peak of each. Exits with 1 if the peak of none is within the budget.
    """
    from ..api import estimate
    from ..studies.grid.axes import spelled_out
    from ..views.compare import compare
    from ..views.shared import detected_note

    file = figure_file(figure, force)
    given, asked = asked, request(network, asked)
    around = needed(process, given["target"], network, given)
    strategies = spelled_out("strategy", strategy) if strategy else usual_of(asked["network"])
    estimates = [estimate(strategy=one, **asked) for one in strategies]
    fit = [check_budget([e], budget, around) for e in estimates]
    if file is not None:
        from ..views.figures.compare import compare_figure

        file.save(compare_figure(estimates, budget, file.sheet))
    if form == "json":
        fits = [{} if budget is None else {"fits": one} for one in fit]
        echo_json([{**e.to_dict(), **extra} for e, extra in zip(estimates, fits)])
    else:
        target = estimates[0].request.target
        told = [f"Peaks are those of: {target}.", *(detected_note(target) if budget is not None else [])]
        show([compare(estimates, budget, around)], told, form, estimates[0].notes)
    if not any(fit):
        raise click.exceptions.Exit(1)
