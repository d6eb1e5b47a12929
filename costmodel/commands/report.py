"""`costmodel report`: the memory and FLOPs of one training step, for somebody with a budget."""

from __future__ import annotations

from typing import Any, List, Optional

import click

from ..cli import check_budget, estimate_options, options, request


@click.command("report")
@options("network", *estimate_options, "budget")
@click.option("--layers", is_flag=True, help="A line for every layer instead of every block.")
@click.option("--figure", type=click.Path(), help="Draw the memory over one step: a .png, .svg or .pdf file.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv", "markdown", "trace"]), default="table",
    show_default=True, help="trace: the timeline for Perfetto and chrome://tracing.",
)  # fmt: skip
def command(network: str, budget: Optional[int], layers: bool, figure: Optional[str], form: str, **asked: Any) -> None:
    """Tell what one training step of NETWORK costs: memory, FLOPs, and which layer keeps what, and why.

    Exits with 1 if the peak exceeds the budget.
    """
    import json

    from ..api import estimate
    from ..errors import CostmodelError
    from ..views.report import beside, report
    from ..views.table import render

    first, *others = [
        estimate(**{**request(network, asked), "convention": name})
        for name in dict.fromkeys([asked["convention"], *beside(asked["convention"])])
    ]
    fits = check_budget([first], budget)
    if first.memory is None and (figure is not None or form == "trace"):
        raise CostmodelError(f"convention {first.convention!r} has no timeline to draw; allowed: torch, lean")
    if figure is not None:
        from ..views.figures import save, step_figure

        save(step_figure(first), figure)
    if form == "json":
        document = first.to_dict()
        if budget is not None:
            document["fits"] = fits
        if layers:
            document["layers"] = first.layers
        click.echo(json.dumps(document, indent=2))
    elif form == "trace":
        from ..views.export import trace_events

        click.echo(json.dumps(trace_events(first)))
    else:
        tables, notes = report([first, *others], layers, budget)
        notes += memory_format(first, estimate, request(network, asked))
        click.echo(render(tables[-1:] if form == "csv" else tables, notes, form))
    if not fits:
        raise click.exceptions.Exit(1)


def memory_format(first: Any, estimate: Any, asked: Any) -> List[str]:
    """A note where lean modules peak lower in channels_last."""
    target = first.request.target
    if target.device != "cpu" or target.channels_last:
        return []
    from ..units import show_size

    asked = {**asked, "convention": "lean"}
    here, there = (estimate(**{**asked, "target": asked["target"] + more}).peak_bytes for more in ("", ",channels_last"))
    if there >= here:
        return []
    return [f"In channels_last lean peaks lower, at {show_size(there)} and not {show_size(here)}: convert module and"
            " images to torch.channels_last (--target cpu,channels_last)."]  # fmt: skip
