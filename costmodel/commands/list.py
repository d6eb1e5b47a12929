"""`costmodel list`: what there is by name."""

from __future__ import annotations

import click

from ..cli import echo_json, options


@click.command("list")
@click.argument("what", type=click.Choice(["networks", "strategies", "conventions", "optimizers"]))
@options("format")
def command(what: str, form: str) -> None:
    """List the networks, strategies, conventions or optimizers that can be named."""
    from ..views.listing import LISTINGS
    from ..views.table import render

    table = LISTINGS[what]()
    if form == "json":
        names = [column.name for column in table.columns]
        echo_json([dict(zip(names, row)) for row in table.rows])
        return
    click.echo(render([table], [], form))
