"""`costmodel calibrate`: how fast this machine trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..cli import echo_json, options
from ._output import show, warn


@click.command("calibrate")
@options("target")
@click.option("-o", "--output", type=click.Path(), help="A .yaml file for --device of the other commands.")
@options("force", "format")
def command(target: str, output: str | None, force: bool, form: str) -> None:
    """Measure how fast this machine makes single layers and a few whole steps: at most a minute.

    Then --device FILE.yaml tells how long steps take here, with the error that predictions of these steps had. Other
    work on the machine disturbs it; where it disturbs too much, a note says so. Needs torch.
    """
    from ..devices.written import device_text
    from ..errors import CostmodelError
    from ..files.whole import check_free, write_text
    from ..views.calibrate import calibration_record, calibration_table, doubts

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
    found = calibrate(target, tell)
    if output is not None and here is not None:
        write_text(output, device_text(here.name, here.memory_bytes, here.system_bytes, found.pace), force)
    if form == "json":
        echo_json(calibration_record(found, output))
        warn(doubts(found))
    else:
        tables, notes = calibration_table(found, output)
        show(tables, notes, form, doubts(found))
