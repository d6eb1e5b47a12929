"""`costmodel explain`: why a layer keeps what it keeps, and what would free it."""

from __future__ import annotations

from typing import Any

import click

from ..cli import echo_json, estimate_options, options, request
from ..completion import COMPLETE
from ._output import show


@click.command("explain")
@options("network")
@click.argument("layer", metavar="LAYER", shell_complete=COMPLETE["layer"])
@options(*estimate_options, "format")
def command(network: str, layer: str, form: str, **asked: Any) -> None:
    """Tell why a layer or a block of NETWORK keeps tensors for the backward pass, and what would free them.

    LAYER is the name of a layer, a block or another module, stem, head or classifier, or a pattern such as '*.conv.1'.
    Each tensor is told with the gradients that read it and the layer after which it is released, under several
    conventions. What would free it is found by pricing other strategies, conventions and checkpoints.
    """
    from ..api import estimate
    from ..studies.explain import freed_by, kept_tensors
    from ..views.explain import document, explanation
    from ..views.report import beside

    given, asked = asked, request(network, asked)
    first = estimate(**asked)
    estimates = [first, *(estimate(**{**asked, "convention": name}) for name in beside(first))]
    tensors = [tensor for one in estimates for tensor in kept_tensors(one, layer)]
    freed = freed_by(asked.pop("network"), layer, asked, ["lean"])
    tables, notes = explanation(estimates, layer, tensors, freed, network, given)
    if form == "json":
        echo_json(document(estimates[0], layer, tables))
    else:
        show([table for table in tables if table.rows or form == "csv"], notes, form)
