"""`costmodel where`: on which devices a step fits, and how long it takes there."""

from __future__ import annotations

from typing import Any

import click

from ..cli import AXIS_HELP, echo_json, estimate_options, needed, options, request, several
from ..completion import COMPLETE
from ..step.request import DEFAULTS
from ._output import show

#: Options of an estimate that the devices give.
GIVEN = ("strategy", "target", "device")


def battery(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Callback that turns an option's text, 5000mAh or 18.5Wh, into watt-hours."""
    from ..studies.battery import read_battery

    return None if value is None else read_battery(value)


@click.command("where")
@options("network")
@several(strategy=f"{AXIS_HELP['strategy']} [{DEFAULTS['strategy']}]")
@click.option(
    "--devices",
    metavar="NAME|FILE[,...]",
    help="Devices, joined by commas; their options as in --device. [all]",
    shell_complete=COMPLETE["device"],
)
@click.option("--frugal", is_flag=True, help="On boards: in a process started by python -m costmodel.frugal.")
@click.option("--images", type=click.IntRange(min=1), help="Images of an epoch, for the time and energy of one.")
@click.option("--epochs", type=click.IntRange(min=1), default=1, show_default=True, help="Epochs of the run.")
@click.option("--battery", callback=battery, metavar="5000mAh|18.5Wh", help="What share of it the run takes.")
@options(*(name for name in estimate_options if name not in GIVEN), "format")
def command(
    network: str,
    strategy: tuple[str, ...],
    devices: str | None,
    frugal: bool,
    images: int | None,
    epochs: int,
    battery: float | None,
    form: str,
    **asked: Any,
) -> None:
    """Tell on which devices a training step of NETWORK fits, and how long it takes there.

    On boards the process that trains is held against the memory that the system leaves, on a Jetson's GPU what PyTorch
    reserves, on a microcontroller the tensors alone. Exits with 0 if one of the devices says yes, else with 1.
    """
    from ..devices import device_names, find_device, split_devices
    from ..errors import CostmodelError
    from ..studies.grid.axes import spelled_out
    from ..studies.where import YES, Run, where
    from ..views.where import where_records, where_table

    if images is None and (epochs > 1 or battery is not None):
        raise CostmodelError("--epochs and --battery are about a run; allowed: with --images N, those of an epoch")
    run = Run(images, epochs, battery)
    found = [find_device(one) for one in (device_names() if devices is None else split_devices(devices))]
    strategies = spelled_out("strategy", strategy or DEFAULTS["strategy"])
    arguments = request(network, asked)

    def around(target: Any) -> Any:
        return needed(frugal, target.spelled, network, asked)

    places = list(where(arguments.pop("network"), found, strategies, around=around, **arguments))
    if form == "json":
        echo_json(where_records(places, run))
    else:
        tables, notes = where_table(places, run)
        show(tables, notes, form)
    if not any(place.verdict == YES for place in places):
        raise click.exceptions.Exit(1)
