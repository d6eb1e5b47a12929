"""`costmodel check`: whether the budgets of a repository hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..cli import FORMATS, options
from ..escapes import visible
from ._output import show

#: The format of an output file, by its suffix.
SUFFIXES = {".json": "json", ".csv": "csv", ".md": "markdown", ".tex": "latex", ".xml": "junit"}


@click.command("check")
@click.option("--config", type=click.Path(), help="The file with the budgets. [pyproject.toml, here or above]")
@click.option("--why", is_flag=True, help="Tell which blocks keep most where a budget does not hold.")
@click.option(
    "--diff", "since", type=click.Path(), help="Tell which blocks grew since this was written by -o FILE.json."
)
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(),
    multiple=True,
    help=f"A file to write, in the format of its suffix ({', '.join(SUFFIXES)}), else of --format. Give several.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS, "github", "junit"]),
    default="table",
    show_default=True,
    help="github: annotations of a workflow, and its summary. Not printed if a file has it.",
)
@options("force")
def command(config: str | None, why: bool, since: str | None, outputs: tuple[str, ...], form: str, force: bool) -> None:
    """Hold the peaks of training steps against the budgets in pyproject.toml.

    Each table [[tool.costmodel.check]] has a network and a budget, as in network = "mobilenet_v2" and
    budget = "256MiB", and maybe a name, strategy, batch and more; [tool.costmodel] has what they share.

    Exits with 1 if a budget does not hold, with 2 if a check is wrong; all of them are checked before.
    """
    from ..endings import BadRequest
    from ..files.whole import check_free, write_all
    from ..studies.gate.differences import Since, changes_since
    from ..studies.gate.document import read_document
    from ..studies.gate.results import results_of
    from ..studies.gate.settings import read_settings
    from ..views.check import check_report
    from ..views.check_words import doubts, summary
    from ..views.table import FORMATS as TABLES

    settings = read_settings(config)
    then = None if since is None else read_document(since)
    forms = {path: SUFFIXES.get(os.path.splitext(path)[1], form) for path in outputs}
    for path in outputs:
        refuse_to_replace(settings.path, path)
        check_free(Path(path), force)
    results = results_of(settings)
    changed = Since() if then is None else changes_since(visible(os.path.basename(str(since))), then, results)

    texts = {Path(path): as_text(settings.path, results, changed, why, kind) for path, kind in forms.items()}
    if texts:
        write_all({path: f"{text}\n".encode() for path, text in texts.items()}, force=force)
    if form in forms.values():
        click.echo(visible(summary(results)), err=True)
    elif form in TABLES:
        show(*check_report(results, changed, why, form), form, doubts(results))
    else:
        click.echo(as_text(settings.path, results, changed, why, form))
    if form == "github":
        add_to_summary(as_text(settings.path, results, changed, why, "markdown"))
    wrong = [result.error for result in results if result.estimate is None]
    if wrong:
        raise BadRequest("\n".join(wrong))
    if not all(result.fits for result in results):
        raise click.exceptions.Exit(1)


def refuse_to_replace(config: str, path: str) -> None:
    """Raise CostmodelError for an output that is the file with the budgets."""
    from ..errors import CostmodelError

    if os.path.exists(path) and os.path.samefile(path, config):
        raise CostmodelError(f"output {path!r} is the file with the budgets; allowed: another one")


def as_text(path: str, results: Sequence[Any], changed: Any, why: bool, form: str) -> str:
    """The results in a format, without the last line end. path: of the file with the budgets."""
    if form == "json":
        import json

        from ..studies.gate.document import document

        return json.dumps(document(path, results, changed), indent=2)
    if form in ("github", "junit"):
        from ..views.ci import junit, workflow_commands

        from_root = os.path.relpath(path, os.environ.get("GITHUB_WORKSPACE") or None).replace(os.sep, "/")
        text = (junit if form == "junit" else workflow_commands)(results, changed, from_root)
        return visible(text, lines=True)
    from ..views.check import check_report
    from ..views.check_words import doubts
    from ..views.table import render

    tables, notes = check_report(results, changed, why, form)
    return render(tables, [*notes, *doubts(results)], form)


def add_to_summary(text: str) -> None:
    """Add a text to the summary of a workflow's step, if this is one."""
    from ..errors import CostmodelError

    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise CostmodelError(f"GITHUB_STEP_SUMMARY {path!r} cannot be written: {error.strerror}") from None
