"""`costmodel list`: whatever has a name: networks, a network's blocks, strategies, conventions, targets, devices."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..cli import echo_json, network_options, options
from ..completion import COMPLETE
from ._output import show

#: What can be listed. Blocks are those of a network, which is named after it.
WHAT = ("networks", "blocks", "strategies", "conventions", "optimizers", "targets", "devices")


@click.command("list")
@click.argument("what", type=click.Choice(WHAT))
@click.argument("network", required=False, shell_complete=COMPLETE["network"])
@click.option("--source", type=click.Choice(["torchvision", "timm"]), help="That library's networks, each one traced.")
@click.option("--like", default="*", metavar="PATTERN", help="With --source: only names like this, as 'mobilenet*'.")
@click.option("--families", is_flag=True, help="With --source: a line for every family.")
@options(*network_options, "format")
def command(
    what: str, network: str | None, source: str | None, like: str, families: bool, form: str, **of_network: Any
) -> None:
    """List the networks, strategies, conventions, optimizers, targets or devices with a name, or the blocks of NETWORK.

    The names of blocks are those of strategy files. With --source, every network is built and traced, which takes a
    while; the last column says whether it can be.
    """
    from ..errors import CostmodelError
    from ..views.listing import LISTINGS, OfSource, block_table, family_table, source_table
    from ..views.table import records

    if source is not None and what != "networks":
        raise CostmodelError("--source belongs to `list networks`")
    if (network is None) == (what == "blocks"):
        raise CostmodelError("`list blocks` takes a NETWORK, and no other list does")
    if network is not None:
        from ..frontends import load

        table = block_table(load(network, **of_network))
    elif source is not None:
        with click.progressbar(OfSource(source, like), label="tracing", file=sys.stderr) as rows:
            table = family_table(list(rows)) if families else source_table(list(rows))
    else:
        table = LISTINGS[what]()
    if form == "json":
        echo_json(records(table))
        return
    show([table], [], form)
