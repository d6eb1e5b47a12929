"""`costmodel calibrate`: how fast this machine trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..cli import echo_json, options, several
from ._output import show, warn


@click.command("calibrate")
@several(target="Threads and memory format, as cpu,threads=1; give the option several times. [all threads]")
@click.option("-o", "--output", type=click.Path(), help="A .yaml file for --device of the other commands.")
@options("force", "format")
def command(target: tuple[str, ...], output: str | None, force: bool, form: str) -> None:
    """Measure how fast this machine makes single layers and a few whole steps: at most a minute.

    Then --device FILE.yaml tells how long steps take here, with the error that predictions of these steps had: for each
    --target that was given, the first being the usual one. Other work on the machine disturbs it; where it disturbs too
    much, a note says so. Needs torch.
    """
    from ..devices.written import device_text
    from ..errors import CostmodelError
    from ..files.whole import check_free, write_text
    from ..targets import usual_target
    from ..views.calibrate import calibration_record, calibration_tables, doubts

    if output is not None:
        if not output.endswith((".yaml", ".yml")):
            raise CostmodelError(f"output {output!r}; allowed: a name that ends in .yaml")
        check_free(Path(output), force)
    try:
        from ..pytorch.calibration.calibrate import calibrate
        from ..pytorch.calibration.machine import machine
    except ImportError as error:
        raise CostmodelError(f"a calibration runs in torch: pip install torch ({error})") from None

    def tell(what: str) -> Any:
        return click.echo(f"Measuring {what} ...", err=True)

    here = machine() if output is not None else None  # first, since a calibration takes half a minute
    found = [calibrate(text, tell) for text in check_differ(target or (usual_target(),))]
    paces = [one.pace for one in found]
    if output is not None and here is not None:
        write_text(output, device_text(here.name, here.memory_bytes, here.system_bytes, paces), force)
    if form == "json":
        echo_json([calibration_record(one, output) for one in found])
        warn(doubts(found))
    else:
        tables, notes = calibration_tables(found, output)
        show(tables, notes, form, doubts(found))


def check_differ(targets: tuple[str, ...]) -> list[str]:
    """The full texts of some targets. Raises CostmodelError where two are the same."""
    from ..errors import CostmodelError
    from ..targets import parse

    texts = [parse(one).text for one in targets]
    twice = [text for text in texts if texts.count(text) > 1]
    if twice:
        raise CostmodelError(f"target {twice[0]!r} is given twice; allowed: targets that differ")
    return texts
