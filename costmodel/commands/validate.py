"""`costmodel validate`: compares predictions with real runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import click

from ..cli import AXIS_HELP, echo_json, needed, network_options, options, several
from ..completion import COMPLETE
from ._networks import usual_of
from ._output import show


@click.command("validate")
@click.argument("networks", nargs=-1, metavar="[NETWORK]...", shell_complete=COMPLETE["network"])
@several(
    strategy=f"{AXIS_HELP['strategy']} [all]",
    batch=f"{AXIS_HELP['batch']} [2]",
    resolution=f"{AXIS_HELP['resolution']} [the network's own]",
)
@click.option("--papers", is_flag=True, help="Hold papers' own conventions against published numbers; runs nothing.")
@click.option("--summary", is_flag=True, help="A line for every network: its largest differences.")
@options("convention", "optimizer", "target", "dtype", "amp", "accumulate", *network_options, "process", "format")
def command(
    networks: tuple[str, ...],
    strategy: tuple[str, ...],
    batch: tuple[str, ...],
    resolution: tuple[str, ...],
    papers: bool,
    summary: bool,
    convention: str,
    process: bool | None,
    form: str,
    **asked: Any,
) -> None:
    """Run real steps of NETWORKs (all shipped ones by default) and hold the predictions against them.

    With --process each case makes six steps in a process of its own, and what the system counted for that is held
    against what was expected of it. Exits with 1 if a prediction does not hold. Needs torch, but for --papers.
    """
    if papers:
        published(networks, form)
        return

    from ..studies.grid.axes import spelled_out
    from ..targets import parse
    from ..views.validate import summary_of, validation

    validate, place = needs_torch(), parse(asked["target"])
    of_network = {key: asked.pop(key) for key in network_options}
    axes = {"strategy": strategy, "batch": batch or ("2",), "resolution": resolution}
    cases = cases_of(
        networks, {name: spelled_out(name, given) for name, given in axes.items() if given}, convention, of_network
    )
    if process is not None:
        of_processes(cases, networks, of_network, process, convention, asked, form)
        return
    results = []
    # What a network prints as it runs must not get among the answers.
    with click.progressbar(cases, label="validating", file=sys.stderr) as progress, redirect_stdout(sys.stderr):
        for network, *case in progress:
            results.append((network.name, *case, validate(network, *case, convention, **asked)))
    if form == "json":
        echo_json([{**entry(*result), "target": place.text} for result in results])
    else:
        show([summary_of(results) if summary else validation(results)], [f"Run and predicted on: {place}."], form)
    if not all(check.holds for *_, checks in results for check in checks):
        raise click.exceptions.Exit(1)


def of_processes(
    cases: Sequence[tuple[Any, str, int, int]],
    networks: Sequence[str],
    options: Mapping[str, Any],
    frugal: bool,
    convention: str,
    asked: dict[str, Any],
    form: str,
) -> None:
    """Run each case in a process of its own, and print what it took beside what was expected.

    networks, options: as people gave them, by which a process loads them; no networks: the shipped ones. asked: the
    request.
    """
    from ..api import estimate
    from ..errors import CostmodelError
    from ..files.shipped import shipped_names
    from ..step.process.environment import asked_of, six_steps
    from ..views.process import process_entry, processes

    if asked["amp"] or asked["accumulate"] > 1:
        raise CostmodelError("--process makes plain steps; allowed: without --amp and --accumulate")
    given = dict(zip(dict.fromkeys(id(case[0]) for case in cases), networks or shipped_names("networks")))
    rows = []
    with click.progressbar(cases, label="validating", file=sys.stderr) as progress:
        for network, strategy, batch, resolution in progress:
            priced = estimate(network, strategy, batch, resolution, convention, **asked)
            around = needed(frugal, asked["target"], given[id(network)], options)
            expected = around.memory(priced)
            found = six_steps(**asked_of(priced, given[id(network)], frugal, options))
            rows.append(process_entry(priced, expected, found["most"]))
    if form == "json":
        echo_json([{**row, "holds": row["verdict"] == "holds"} for row in rows])
    else:
        show([processes(rows)], [f"Python and torch: {around.environment.source}."], form)
    if not all(row["verdict"] == "holds" for row in rows):
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
    networks: Sequence[str], axes: Mapping[str, Sequence[Any]], convention: str, of_network: dict[str, Any]
) -> list[tuple[Any, str, int, int]]:
    """(network, strategy, batch, resolution) of every step to run.

    axes: the strategies, all possible ones if there are none; the batches; the resolutions, else the network's own. No
    networks means all shipped ones. Raises
    CostmodelError for an unknown convention, and if every strategy was left out: validating nothing must not pass.
    """
    from ..conventions import find
    from ..errors import CostmodelError
    from ..files.shipped import shipped_names
    from ..frontends import load_or_dry

    find(convention)
    first = axes.get("resolution", (None,))[0]
    loaded = [load_or_dry(name, resolution=first, **of_network) for name in networks or shipped_names("networks")]
    cases = [
        (network, strategy, batch, resolution)
        for network in loaded
        for strategy in axes.get("strategy") or possible(network, usual_of(network), convention)
        for batch in axes["batch"]
        for resolution in axes.get("resolution", (network.resolution,))
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
    from ..graph.inputs import shown_resolution

    shown = shown_resolution(resolution)
    case = {"network": network, "strategy": strategy, "batch": batch, "resolution": shown}
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
