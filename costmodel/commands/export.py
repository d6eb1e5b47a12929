"""`costmodel export`: a network as a spec."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..cli import network_options, options
from ..graph.inputs import resized

BATCH = 2  # images of the step for which a module is held against the layers that are written


@click.command("export")
@options("network", *network_options, "resolution", "check")
@click.option("-o", "--output", type=click.Path(), help="The YAML file to write. [stdout]")
@options("force")
def command(network: str, resolution: Any, check: bool, output: str | None, force: bool, **asked: Any) -> None:
    """Write NETWORK as a spec, node by node; costmodel reads it back and estimates the same.

    What a module chose by its images' size, such as padding, is written as chosen at --resolution. A module that does
    what its layers do not describe is refused; --no-check writes the layers all the same.
    """
    from ..api import request
    from ..files.whole import check_free, write_text
    from ..frontends import load
    from ..frontends.spec.export import to_yaml
    from ..step.checking import refuse_differences
    from ._output import warn

    if output is not None:
        check_free(Path(output), force)
    loaded, step = request(load(network, resolution=resolution, **asked), "full", BATCH, resolution)
    loaded = replace(loaded, inputs=resized(loaded.inputs, step.resolution))
    if check:
        refuse_differences(loaded, step, "a spec")
    text = to_yaml(loaded)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text, force)
    warn([*loaded.notes, *_left_out(loaded)])


def _left_out(network: Any) -> Iterator[str]:
    """Sentences on what a network does that its spec does not say."""
    if network.graph.as_is is not None:
        yield "Some modules evaluate; the spec has all of them in training mode, under the strategy as_is too."
    alone = network.at(network.resolution, 1)
    if alone.graph.nodes != network.graph.nodes:
        yield "For a single image torch runs other layers; the spec has those for several images."
