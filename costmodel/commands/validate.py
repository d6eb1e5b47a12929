"""`costmodel validate`: predictions held against real runs."""

from __future__ import annotations

from typing import Any, Tuple

import click

from ..cli import echo_json, options


@click.command("validate")
@click.argument("networks", nargs=-1, metavar="[NETWORK]...")
@click.option("--strategy", "strategies", multiple=True, help="A strategy; give several. [all]")
@click.option("--batch", "batches", type=int, multiple=True, default=[2], show_default=True, help="One or several.")
@click.option("--resolution", "resolutions", type=int, multiple=True, help="One or several. [the network's own]")
@click.option("--papers", is_flag=True, help="Hold papers' own conventions against published numbers; runs nothing.")
@options("convention", "optimizer", "target", "dtype", "accumulate", "format")
def command(
    networks: Tuple[str, ...], strategies: Tuple[str, ...], batches: Tuple[int, ...],
    resolutions: Tuple[int, ...], papers: bool, convention: str, form: str, **asked: Any,
) -> None:  # fmt: skip
    """Run real steps of NETWORKs (all shipped ones by default) and hold the predictions against them.

    Exits with 1 if a prediction does not hold. Needs torch, but for --papers.
    """
    if papers:
        published(networks, form)
        return

    import sys

    from ..errors import CostmodelError
    from ..frontends import load
    from ..frontends.files import shipped_names
    from ..strategy import usual
    from ..views.table import render
    from ..views.validation import validation

    try:
        from ..pytorch.validate import validate
    except ImportError as error:
        raise CostmodelError(f"validate runs torch: pip install 'costmodel[torch]' ({error})") from None

    loaded = [load(name) for name in networks or shipped_names("networks")]
    cases = [
        (network, strategy, batch, resolution)
        for network in loaded
        for strategy in strategies or usual(network.graph)
        for batch in batches
        for resolution in resolutions or (network.resolution,)
    ]
    results = []
    with click.progressbar(cases, label="validating", file=sys.stderr) as progress:
        for network, strategy, batch, resolution in progress:
            results.append((network.name, strategy, batch, resolution,
                            validate(network, strategy, batch, resolution, convention, **asked)))  # fmt: skip
    holds = all(check.holds for *_, checks in results for check in checks)
    if form == "json":
        keys = ("network", "strategy", "batch", "resolution")
        rows = [
            {**dict(zip(keys, case)), **{c.quantity: {"predicted": c.predicted, "measured": c.measured} for c in checks},
             "holds": all(c.holds for c in checks)}
            for *case, checks in results
        ]  # fmt: skip
        echo_json(rows)
    else:
        click.echo(render([validation(results)], [], form))
    if not holds:
        raise click.exceptions.Exit(1)


def published(networks: Tuple[str, ...], form: str) -> None:
    """Print published, computed and difference of each claim; of NETWORKs alone where some are named."""
    from ..errors import unknown
    from ..papers import claims, compute
    from ..views.papers import entry, papers
    from ..views.table import render

    known = {claim.network for claim in claims()}
    for name in networks:
        if name not in known:
            raise unknown("network with published numbers", name, known)
    results = [compute(claim) for claim in claims() if not networks or claim.network in networks]
    if form == "json":
        echo_json([entry(result) for result in results])
    else:
        table, notes = papers(results)
        click.echo(render([table], notes, form))
    if not all(result.holds for result in results):
        raise click.exceptions.Exit(1)
