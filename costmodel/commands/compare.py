"""`costmodel compare`: strategies side by side."""

from __future__ import annotations

from typing import Any

import click

from ..cli import check_budget, echo_json, estimate_options, options, request
from ._output import show


@click.command("compare")
@options("network")
@click.option("--strategy", "strategies", multiple=True, help="A strategy; give several. [all]")
@options(*(name for name in estimate_options if name != "strategy"), "budget", "format")
def command(network: str, strategies: tuple[str, ...], budget: int | None, form: str, **asked: Any) -> None:
    """Put strategies on NETWORK side by side: a line for each.

    Exits with 1 if the peak of none is within the budget.
    """
    from ..api import estimate
    from ..strategies import usual
    from ..views.compare import compare

    asked = request(network, asked)
    estimates = [estimate(strategy=s, **asked) for s in strategies or usual(asked["network"].graph)]
    fit = [check_budget([e], budget) for e in estimates]
    if form == "json":
        fits = [{} if budget is None else {"fits": one} for one in fit]
        echo_json([{**e.to_dict(), **extra} for e, extra in zip(estimates, fits)])
    else:
        show([compare(estimates, budget)], [], form, estimates[0].notes)
    if not any(fit):
        raise click.exceptions.Exit(1)
