"""`costmodel compare`: strategies side by side."""

from __future__ import annotations

from typing import Optional, Tuple

import click

from ..cli import options


@click.command("compare")
@options("network")
@click.option("--strategy", "strategies", multiple=True, help="A strategy; give several. [all that fit]")
@options("batch", "resolution", "classes", "width", "convention", "optimizer", "budget", "format")
def command(
    network: str, strategies: Tuple[str, ...], batch: int, resolution: Optional[int], classes: Optional[int],
    width: Optional[float], convention: str, optimizer: str, budget: Optional[int], form: str,
) -> None:  # fmt: skip
    """Put strategies on NETWORK side by side: a line for each."""
    import json

    from ..api import estimate
    from ..frontends import load
    from ..strategy import usual
    from ..views.compare import compare
    from ..views.table import render

    loaded = load(network, classes, width)
    estimates = [
        estimate(loaded, strategy, batch, resolution, convention, optimizer)
        for strategy in strategies or usual(loaded.graph)
    ]
    if form == "json":
        click.echo(json.dumps([e.to_dict() for e in estimates], indent=2))
        return
    click.echo(render([compare(estimates, budget)], [], form))

