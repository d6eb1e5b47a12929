"""`costmodel report`: the memory and FLOPs of one training step, for somebody with a budget."""

from __future__ import annotations

from typing import Optional

import click

from ..cli import options


@click.command("report")
@options("network", "strategy", "batch", "resolution", "classes", "width", "convention", "optimizer", "budget", "format")
@click.option("--layers", is_flag=True, help="A line for every layer instead of every block.")
def command(
    network: str, strategy: str, batch: int, resolution: Optional[int], classes: Optional[int],
    width: Optional[float], convention: str, optimizer: str, budget: Optional[int], form: str, layers: bool,
) -> None:  # fmt: skip
    """Tell what one training step of NETWORK costs: memory, FLOPs, and which layer keeps what, and why."""
    import json

    from ..api import estimate
    from ..frontends import load
    from ..views.report import beside, report
    from ..views.table import render

    loaded = load(network, classes, width)
    estimates = [
        estimate(loaded, strategy, batch, resolution, name, optimizer)
        for name in dict.fromkeys([convention, *beside(convention)])
    ]
    if form == "json":
        document = estimates[0].to_dict()
        if layers:
            document["layers"] = estimates[0].layers
        click.echo(json.dumps(document, indent=2))
        return
    tables, notes = report(estimates, layers, budget)
    click.echo(render(tables if form != "csv" else tables[-1:], notes, form))
