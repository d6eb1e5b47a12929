"""What commands print for people: tables, notes, and what would fit."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..cli import estimate_options, request
from ..escapes import visible
from ..step.dry_estimate import DryEstimate

if TYPE_CHECKING:
    from ..views.figures.file import FigureFile


def show(tables: Sequence[Any], notes: Sequence[str], form: str, doubts: Sequence[str] = ()) -> None:
    """Print tables and notes in a --format other than JSON; a terminal's lines are as long as it is wide.

    doubts: notes on what the figures leave out, which are told beside a CSV too.
    """
    from ..views.table import render

    if form == "csv":
        warn(doubts)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(render(tables, [*notes, *doubts], form, width))


def warn(notes: Sequence[str]) -> None:
    """Print notes beside a file for programs: on stderr."""
    for note in notes:
        click.echo(f"Note: {visible(note, lines=True)}", err=True)


def show_what_fits(found: Any, network: str, budget: int, given: dict[str, Any], form: str, around: Any = None) -> None:
    """Print the changes with which a step that exceeds a budget fits; nothing in formats for programs.

    found: the estimate. network: as people gave it. given: the command's options by name, `estimate_options` and more.
    around: the process that must fit, and not the peak.
    """
    if form in ("json", "csv") or isinstance(found, DryEstimate):  # what would fit needs the layer graph
        return
    from ..studies.needs import peak
    from ..studies.remedies import remedies
    from ..views.remedies import remedy_notes

    given = {name: given[name] for name in estimate_options}
    click.echo()
    found = remedies(budget=budget, need=around or peak, **request(network, given))
    show([], remedy_notes(found, network, budget, given, around), form)


def figure_file(figure: dict[str, Any] | None, force: bool) -> FigureFile | None:
    """The file of a figure, if one is asked for, found to be writable. figure: as cli.figure_options gives it."""
    if figure is None:
        return None
    from ..views.figures.file import figure_file

    return figure_file(**figure, force=force)


def check_budget_is_drawn(file: FigureFile | None) -> None:
    """Raise CostmodelError if there is no figure where a budget is nothing but a line in one."""
    if file is None:
        from ..errors import CostmodelError

        raise CostmodelError("--budget is a line in the figure; allowed: with --figure FILE")
