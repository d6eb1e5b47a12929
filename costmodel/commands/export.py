"""`costmodel export`: a network as a spec."""

from __future__ import annotations

from typing import Any

import click

from ..cli import network_options, options


@click.command("export")
@options("network", *network_options, "resolution")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="The YAML file to write. [stdout]")
def command(network: str, resolution: int | None, output: str | None, **asked: Any) -> None:
    """Write NETWORK as a spec, node by node; costmodel reads it back and estimates the same.

    What a module chose by its images' size, such as padding, is written as chosen at --resolution.
    """
    from ..files.whole import write_text
    from ..frontends import load
    from ..frontends.spec.export import to_yaml

    loaded = load(network, **asked)
    text = to_yaml(loaded if resolution is None else loaded.at(resolution))
    if output is None:
        click.echo(text, nl=False)
        return
    write_text(output, text)
