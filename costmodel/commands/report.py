"""`costmodel report`: the memory and FLOPs of one training step, for somebody with a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from ..cli import FORMATS, check_budget, echo_json, estimate_options, needed, options, request
from ..errors import CostmodelError
from ._output import figure_file, show, show_what_fits


@click.command("report")
@options("network", *estimate_options, "budget", "process", "figure", "force")
@click.option("--layers", is_flag=True, help="A line for every layer instead of every block.")
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS, "trace"]),
    default="table",
    show_default=True,
    help="csv: its names are in docs/output.md; latex: for booktabs; trace: for Perfetto and chrome://tracing.",
)
def command(
    network: str,
    budget: int | None,
    process: bool | None,
    figure: dict[str, Any] | None,
    force: bool,
    layers: bool,
    form: str,
    **asked: Any,
) -> None:
    """Tell what one training step of NETWORK costs: memory, FLOPs, and which layer keeps what, and why.

    NETWORK is a spec's name, a path to a YAML or an ONNX file, torchvision:NAME, timm:NAME, package.module:NAME or
    path/to/file.py:NAME, where NAME is a module, or a class or function that makes one without arguments.

    A figure shows the memory over the step. Exits with 1 if the peak exceeds the budget; with --process, if the process
    of such steps may.
    """
    from ..api import estimate
    from ..step.dry_estimate import DryEstimate
    from ..step.process.gpu import gpu_memory
    from ..views.process import process_record
    from ..views.report import beside, report

    file = figure_file(figure, force)
    given, asked = asked, request(network, asked)
    first = estimate(**asked)
    beside_it = [] if form in ("json", "trace") or isinstance(first, DryEstimate) else beside(first)
    others = [estimate(**{**asked, "convention": name}) for name in beside_it]
    around = needed(process, given["target"], network, given)
    fits = check_budget([first], budget, around)
    if file is not None:
        from ..views.figures.step import step_figure

        file.save(step_figure(first, budget, file.sheet))
    if form == "json":
        document = first.to_dict()
        if budget is not None:
            document["fits"] = fits
        if first.request.target.device == "cuda" and first.memory is not None:
            document["gpu_memory_bytes"] = gpu_memory(first)._asdict()
        if around is not None:
            document.update(process_record(first, around))
        if layers:
            document["layers"] = first.layers
        echo_json(document)
    elif form == "trace":
        from ..views.perfetto import trace_events

        echo_json(trace_events(first))
    else:
        tables, notes = report([first, *others], layers, budget, around)
        more = [*other_floor([first, *others], estimate, asked), *memory_format([first, *others], estimate, asked)]
        show(tables, [*notes, *more], form, first.notes)
    if budget is not None and not fits:
        show_what_fits(first, network, budget, given, form, around)
        raise click.exceptions.Exit(1)


#: The share of a peak by which another memory format must lower it.
WORTH_TELLING = 0.02


def other_floor(estimates: Sequence[Any], estimate: Callable, asked: dict[str, Any]) -> list[str]:
    """A note: what the formulas read if nothing is made again, beside the floor if it is; none if they are the same."""
    from ..graph.recompute import NOTHING
    from ..sizes.units import show_size
    from ..strategies import read_text

    floor = next((e for e in estimates if e.convention == "ideal"), None)
    if floor is None or floor.graph.recompute == NOTHING:
        return []

    plain = str(read_text(asked["strategy"]).with_option("recompute", NOTHING))
    saved = estimate(**{**asked, "convention": "ideal", "strategy": plain}).saved_bytes
    if saved == floor.saved_bytes:
        return []
    again = f"recompute={floor.graph.recompute}"
    return [
        f"Two floors: the gradients' formulas read {show_size(saved)} (recompute={NOTHING}); without what norms,"
        f" activations, sums and products make again it is {show_size(floor.saved_bytes)} ({again})."
    ]


def memory_format(estimates: Sequence[Any], estimate: Callable, asked: dict[str, Any]) -> list[str]:
    """A note if lean modules peak lower in channels_last; else none."""
    here = next((e for e in estimates if e.convention == "lean"), None)
    if here is None or here.request.target.device != "cpu" or here.request.target.channels_last:
        return []
    from ..sizes.units import show_size

    target = asked["target"] + ",channels_last"
    try:
        peak = estimate(**{**asked, "convention": "lean", "target": target}).peak_bytes
    except CostmodelError:  # there the module does something else
        return []
    if peak > here.peak_bytes * (1 - WORTH_TELLING) or here.graph.returns_several:  # which cannot be realised
        return []
    return [
        f"In channels_last lean peaks lower, at {show_size(peak)} and not {show_size(here.peak_bytes)}: realize(...,"
        " memory_format='best') takes it (--target cpu,channels_last)."
    ]
