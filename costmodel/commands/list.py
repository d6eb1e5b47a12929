"""`costmodel list`: the networks, strategies, conventions and optimizers by name."""

from __future__ import annotations

import sys

import click

from ..cli import echo_json, options
from ._output import show


@click.command("list")
@click.argument("what", type=click.Choice(["networks", "strategies", "conventions", "optimizers"]))
@click.option("--source", type=click.Choice(["torchvision", "timm"]), help="That library's networks, each one traced.")
@click.option("--like", default="*", metavar="PATTERN", help="With --source: only names like this, as 'mobilenet*'.")
@click.option("--families", is_flag=True, help="With --source: a line for every family.")
@options("format")
def command(what: str, source: str | None, like: str, families: bool, form: str) -> None:
    """List the networks, strategies, conventions or optimizers that can be named.

    With --source, every network is built and traced, which takes a while; the last column says whether it can be.
    """
    from ..errors import CostmodelError
    from ..views.listing import LISTINGS, OfSource, family_table, source_table
    from ..views.table import records

    if source is None:
        table = LISTINGS[what]()
    elif what == "networks":
        with click.progressbar(OfSource(source, like), label="tracing", file=sys.stderr) as rows:
            table = family_table(list(rows)) if families else source_table(list(rows))
    else:
        raise CostmodelError("--source belongs to `list networks`")
    if form == "json":
        echo_json(records(table))
        return
    show([table], [], form)
