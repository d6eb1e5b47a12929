"""`costmodel plan`: what to train within a budget, block by block."""

from __future__ import annotations

from typing import Any

import click

from ..cli import echo_json, estimate_options, needed, options, request, some_budget
from ..step.request import DEFAULTS
from ._output import figure_file, show, show_what_fits

#: Every option of an estimate, not given.
ALL = dict.fromkeys(estimate_options)


@click.command("plan")
@options(
    "network",
    "batch",
    "resolution",
    "classes",
    "width",
    "convention",
    "optimizer",
    "target",
    "device",
    "dtype",
    "amp",
    "inputs",
    "loss",
    "targets",
    "blocks_are",
    "strict",
    "check",
)
@options("budget", "process")
@click.option("--max-flops", type=int, help="FLOPs of a step at most, all its micro-batches included.")
@click.option("--max-seconds", type=float, help="Of a step on --device at most, in place of --max-flops.")
@click.option(
    "--maximise",
    default="parameters",
    show_default=True,
    metavar="parameters|blocks|FILE.csv",
    help="What trained parts are worth; a file has the columns block, value, and maybe choice.",
)
@click.option("--contiguous", is_flag=True, help="Everything above the lowest part that trains must train too.")
@click.option(
    "--no-checkpoint",
    "checkpoint",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Run no block again in the backward pass.",
)
@click.option(
    "--form",
    "forms",
    metavar="NAME[,NAME]",
    help="In which blocks may keep their input, by lean: quantised, backrazor, gradfilter.",
    callback=lambda context, option, value: tuple(value.split(",")) if value else (),
)
@click.option("--effective-batch", type=int, help="Images for an update, in micro-batches; instead of --batch.")
@click.option("-o", "--output", type=click.Path(), help="Write a strategy file, for --strategy of the other commands.")
@options("figure", "force", "format")
def command(
    network: str, budget: int | None, process: bool | None, output: str | None, figure: dict[str, Any] | None,
    force: bool, form: str, **asked: Any,
) -> None:  # fmt: skip
    """Find what to train in each block of NETWORK so that a step peaks within a budget: the most, proven.

    Each block is frozen, trains its biases (bias), trains as in MobileTL (mobiletl) or trains fully (full), and may run
    again in the backward pass. The classifier always trains. A figure shows the plan beside full fine-tuning. Exits
    with 1 if no plan fits.
    """
    from pathlib import Path

    from ..errors import CostmodelError
    from ..files.whole import check_free
    from ..studies.needs import peak
    from ..studies.plan.nothing_fits import NothingFits
    from ..studies.plan.within import plan_within
    from ..views.device import device_notes
    from ..views.plan import no_plan, report
    from ..views.process import process_notes
    from ..views.shell import command_line

    if output is not None:
        if not output.endswith((".yaml", ".yml")):
            raise CostmodelError(f"output {output!r}; allowed: a name that ends in .yaml")
        check_free(Path(output), force)
    file, size = figure_file(figure, force), some_budget(budget)
    given = {**asked, "allow_unknown": False}
    around = needed(process, asked["target"], network, given)
    try:
        found = plan_within(size, around or peak, **request(network, given))
    except NothingFits as no:
        if form == "json":
            echo_json(no.to_dict())
        else:
            show([no_plan(no)], [] if around is None else process_notes(no.least, around), form)
            if asked["max_flops"] is None and asked["max_seconds"] is None:
                show_what_fits(no.least, network, size, {**ALL, **DEFAULTS, **given}, form, around)
        raise click.exceptions.Exit(1) from None
    if output is not None:
        found.save(output, force)
    if file is not None:
        from ..views.figures.plan import plan_figure

        file.save(plan_figure(found, full_of(found, asked), file.sheet))
    if form == "json":
        echo_json(found.to_dict())
        return
    step = {"batch": found.estimate.batch, "accumulate": found.micro_batches, "strategy": output}
    kept = {key: value for key, value in asked.items() if key in estimate_options}
    tables, notes = report(found, output and command_line("report", network, {**kept, **step}))
    notes += [] if around is None else process_notes(found.estimate, around)
    show(tables, [*notes, *device_notes(found.estimate)], form, found.estimate.notes)


def full_of(found: Any, asked: dict[str, Any]) -> Any:
    """The estimate of full fine-tuning beside a plan. asked: the command's options."""
    from ..api import estimate

    one = found.estimate.request
    rest = (one.optimizer.name, asked["target"], one.dtype.name, one.accumulate)
    return estimate(found.network, "full", one.batch, one.resolution, one.convention, *rest)
