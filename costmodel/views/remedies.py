"""What would fit, one line each with the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..sizes.units import show_size, written
from ..studies.needs import Process, peak
from ..studies.remedies import Remedy
from .shell import command_line


def remedy_notes(
    remedies: Sequence[Remedy], network: str, budget: int, asked: dict[str, Any], around: Process | None = None
) -> list[str]:
    """A note with a line and a command for every remedy.

    network: as people gave it. budget: in bytes. asked: the options of the command in their order, by name. around: the
    process that must fit, if any.
    """
    if not remedies:
        return ["Neither one image, nor lean modules, nor any plan fits."]
    lines = ["What would fit:"]
    told = "the peak is" if around is None else "the process takes at most"
    for one in remedies:
        lines.append(f"- {said(one)}: {told} {show_size((around or peak)(one.found))}.")
        lines.append(f"    {command(one, network, budget, asked, around)}")
    return ["\n".join(lines)]


def said(remedy: Remedy) -> str:
    """A remedy in words."""
    changes, found = remedy.changes, remedy.found
    micro = " with the same images in micro-steps" if "effective_batch" in changes else ""
    said = {
        "batch": f"batch {found.batch} is the most that fits",
        "micro-steps": f"the same images in {changes.get('accumulate')} micro-steps of {found.batch}",
        "blocks": f"{found.strategy} trains the most blocks that fit",
        "mixed": "one wide map of a block is kept, and one convolution runs again",
        "checkpoint": "blocks run again in the backward pass",
        "lean": "lean modules",
        "plan": f"a plan trains {found.trainable_parameters:,} parameters" + micro,
    }[remedy.kind]
    lean = ", with lean modules" if "convention" in changes and remedy.kind != "lean" else ""
    sliced = ", with the frozen prefix in slices" if remedy.kind == "lean" and "strategy" in changes else ""
    return f"{said}{lean}{', in channels_last' if 'target' in changes else ''}{sliced}"


def command(remedy: Remedy, network: str, budget: int, asked: dict[str, Any], around: Process | None = None) -> str:
    """The command that shows a remedy. A plan's is given the bytes of its peak."""
    name = "plan" if remedy.kind == "plan" else "report"
    left_out: tuple[str, ...] = ("strategy", "accumulate", "allow_unknown") if name == "plan" else ()
    if "effective_batch" in remedy.changes:
        left_out += ("batch",)
    options = {key: value for key, value in {**asked, **remedy.changes}.items() if key not in left_out}
    device = asked.get("device")
    if device is not None and budget == device.usable_bytes:
        return command_line(name, network, options)  # the device gives the budget, and what is held against it
    given = ["--budget", written(budget if remedy.peak_budget is None else remedy.peak_budget)]
    if around is not None and name != "plan":
        given.append("--frugal" if around.environment.frugal else "--process")
    return command_line(name, network, options, *given)
