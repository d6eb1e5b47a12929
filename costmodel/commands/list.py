"""`costmodel list`: what there is by name."""

from __future__ import annotations

import click

from ..cli import options


@click.command("list")
@click.argument("what", type=click.Choice(["networks", "strategies", "conventions", "optimizers"]))
@options("format")
def command(what: str, form: str) -> None:
    """List the networks, strategies, conventions or optimizers that can be named."""
    import json

    from ..views.listing import LISTINGS
    from ..views.table import render

    table = LISTINGS[what]()
    if form == "json":
        names = [column.name for column in table.columns]
        click.echo(json.dumps([dict(zip(names, row)) for row in table.rows], indent=2))
        return
    click.echo(render([table], [], form))
