"""`costmodel probe`: what the kernels of a step allocate on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..cli import echo_json, estimate_options, options, request
from ._output import show


@click.command("probe")
@options("network", *estimate_options)
@click.option("-o", "--output", type=click.Path(), help="A .json file for --target of the other commands.")
@options("force", "format")
def command(network: str, output: str | None, force: bool, form: str, **asked: Any) -> None:
    """Run each distinct call of a step's kernels alone, and tell what the allocator did beside the results.

    Where kernels are not modelled, as in 16 bits or on a processor without rules, --target FILE.json then prices with
    what was measured: exactly for the calls that were probed, in any step of this machine. A probe needs the memory of
    the largest call alone, so a step that does not fit can still be told. Needs torch.
    """
    from ..api import estimate
    from ..errors import CostmodelError
    from ..files.whole import check_free, write_text
    from ..views.probe import probe_document, probe_table

    if output is not None:
        if not output.endswith(".json"):
            raise CostmodelError(f"output {output!r}; allowed: a name that ends in .json")
        check_free(Path(output), force)
    found = estimate(**request(network, asked))
    try:
        from ..pytorch.probe import document, probe
    except ImportError as error:
        raise CostmodelError(f"a probe runs in torch: pip install torch ({error})") from None
    probes = list(probe(found))
    priced = None
    if output is not None:
        write_text(output, json.dumps(document(found, probes), indent=1) + "\n", force)
        priced = estimate(**{**request(network, asked), "target": output})
    if form == "json":
        echo_json(probe_document(found, probes))
    else:
        show(*probe_table(found, probes, priced), form, () if priced is None else priced.notes)
