"""`costmodel validate`: compares predictions with real runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ..cli import echo_json, network_options, options
from ._output import show


@click.command("validate")
@click.argument("networks", nargs=-1, metavar="[NETWORK]...")
@click.option("--strategy", "strategies", multiple=True, help="A strategy; give several. [all]")
@click.option("--batch", "batches", type=int, multiple=True, default=[2], show_default=True, help="One or several.")
@click.option("--resolution", "resolutions", type=int, multiple=True, help="One or several. [the network's own]")
@click.option("--papers", is_flag=True, help="Hold papers' own conventions against published numbers; runs nothing.")
@click.option("--summary", is_flag=True, help="A line for every network: its largest differences.")
@options("convention", "optimizer", "target", "dtype", "accumulate", *network_options, "format")
def command(
    networks: tuple[str, ...],
    strategies: tuple[str, ...],
    batches: tuple[int, ...],
    resolutions: tuple[int, ...],
    papers: bool,
    summary: bool,
    convention: str,
    form: str,
    **asked: Any,
) -> None:
    """Run real steps of NETWORKs (all shipped ones by default) and hold the predictions against them.

    Exits with 1 if a prediction does not hold. Needs torch, but for --papers.
    """
    if papers:
        published(networks, form)
        return

    from ..views.validate import summary_of, validation

    validate = needs_torch()
    of_network = {key: asked.pop(key) for key in network_options}
    cases = cases_of(networks, strategies, batches, resolutions, convention, of_network)
    results = []
    with click.progressbar(cases, label="validating", file=sys.stderr) as progress:
        for network, strategy, batch, resolution in progress:
            checks = validate(network, strategy, batch, resolution, convention, **asked)
            results.append((network.name, strategy, batch, resolution, checks))
    if form == "json":
        echo_json([entry(*result) for result in results])
    else:
        show([summary_of(results) if summary else validation(results)], [], form)
    if not all(check.holds for *_, checks in results for check in checks):
        raise click.exceptions.Exit(1)


def needs_torch() -> Callable[..., Any]:
    """`costmodel.pytorch.validate.validate`. Raises CostmodelError if torch is not installed."""
    from ..errors import CostmodelError

    try:
        from ..pytorch.validate import validate
    except ImportError as error:
        raise CostmodelError(f"validate runs torch: pip install torch fvcore ({error})") from None
    return validate


def cases_of(
    networks: Sequence[str],
    strategies: Sequence[str],
    batches: Sequence[int],
    resolutions: Sequence[int],
    convention: str,
    of_network: dict[str, Any],
) -> list[tuple[Any, str, int, int]]:
    """(network, strategy, batch, resolution) of every step to run.

    No networks means all shipped ones, no strategies all possible ones, no resolutions the network's own. Raises
    CostmodelError for an unknown convention, and if every strategy was left out: validating nothing must not pass.
    """
    from ..conventions import find
    from ..errors import CostmodelError
    from ..files.shipped import shipped_names
    from ..frontends import load
    from ..strategies import usual

    find(convention)
    loaded = [load(name, **of_network) for name in networks or shipped_names("networks")]
    cases = [
        (network, strategy, batch, resolution)
        for network in loaded
        for strategy in strategies or possible(network, usual(network.graph), convention)
        for batch in batches
        for resolution in resolutions or (network.resolution,)
    ]
    if not cases:
        raise CostmodelError("nothing to validate: no strategy can be priced; the lines before say why")
    return cases


def possible(network: Any, strategies: Sequence[str], convention: str) -> list[str]:
    """The strategies with which a network can be priced; the others are named on stderr."""
    from ..api import estimate
    from ..errors import CostmodelError

    found = []
    for strategy in strategies:
        try:
            estimate(network, strategy, 2, convention=convention)
            found.append(strategy)
        except CostmodelError as error:
            click.echo(f"left out: {error}", err=True)
    return found


def entry(network: str, strategy: str, batch: int, resolution: int, checks: Any) -> dict[str, Any]:
    """A case for JSON."""
    case = {"network": network, "strategy": strategy, "batch": batch, "resolution": resolution}
    pairs = {check.quantity: {"predicted": check.predicted, "measured": check.measured} for check in checks}
    bound = {"lower_bound": True} if any(check.bound for check in checks) else {}
    return {**case, **pairs, **bound, "holds": all(check.holds for check in checks)}


def published(networks: tuple[str, ...], form: str) -> None:
    """Print the published number, the computed one and their difference for each claim; networks: only for these."""
    from ..errors import unknown
    from ..studies.papers import claims, compute
    from ..views.papers import entry, papers

    known = {claim.network for claim in claims()}
    for name in networks:
        if name not in known:
            raise unknown("network with published numbers", name, known)
    results = [compute(claim) for claim in claims() if not networks or claim.network in networks]
    if form == "json":
        echo_json([entry(result) for result in results])
    else:
        table, notes = papers(results)
        show([table], notes, form)
    if not all(result.holds for result in results):
        raise click.exceptions.Exit(1)
