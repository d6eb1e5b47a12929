"""The command line: `costmodel COMMAND`. Commands are imported when they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from typing import Any

import click

from .completion import COMPLETE
from .endings import BadRequest, ending, ready_streams
from .errors import CostmodelError, unknown
from .ops._named_loss import LOSSES
from .sizes.dtype import AMP, DTYPE_ALIASES, DTYPES, NO_AMP
from .step.optimizer import OPTIMIZERS, OPTIONS
from .step.request import DEFAULTS
from .targets import usual_target
from .version import __version__

COMMANDS = (
    "report",
    "compare",
    "fit",
    "sweep",
    "pareto",
    "plan",
    "validate",
    "explain",
    "where",
    "calibrate",
    "probe",
    "export",
    "list",
    "check",
)


#: What --format takes, in every command.
FORMATS = ["table", "json", "csv", "markdown", "latex"]


class LazyGroup(click.Group):
    """Finds the command NAME in costmodel.commands.NAME, and gives every way to end its exit code."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            if context.resilient_parsing:  # a shell asks what a command line may become
                return None
            raise BadRequest(str(unknown("command", name, COMMANDS)))
        return import_module(f"costmodel.commands.{name}").command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        ready_streams()
        with ending():
            return super().make_context(*args, **extra)

    def invoke(self, context: click.Context) -> Any:
        with ending():
            return super().invoke(context)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="costmodel")
def main() -> None:
    """What training a network will cost, before it is trained: memory and FLOPs per strategy, to the byte."""


def options(*names: str) -> Callable[[Callable], Callable]:
    """Decorator that adds the common options with these names, in this order."""

    def add(function: Callable) -> Callable:
        for name in reversed(names):
            function = _COMMON[name](function)
        return function

    return add


#: Losses and their options.
LOSSES_IN_WORDS = ", ".join(
    kind + "".join(f"[,{option}=...]" for option in loss.options) for kind, loss in LOSSES.items()
)
#: Data types and their other names.
DTYPES_IN_WORDS = ", ".join(
    f"{name} ({', '.join(other for other, one in DTYPE_ALIASES.items() if one == name)})" for name in DTYPES
)
#: Optimizers and what may be added to them.
OPTIMIZERS_IN_WORDS = f"NAME[,{'|,'.join(OPTIONS)}], NAME one of {', '.join(OPTIMIZERS)}"


def several(*names: str, **texts: str) -> Callable[[Callable], Callable]:
    """Decorator that adds options that take several values each: axes of a grid, which `spelled_out` reads.

    texts: of options that say something else than in a grid.
    """

    def add(function: Callable) -> Callable:
        for name, text in reversed({**{name: AXIS_HELP[name] for name in names}, **texts}.items()):
            function = click.option(f"--{name}", multiple=True, help=text, shell_complete=COMPLETE.get(name))(function)
        return function

    return add


_INTEGERS = "N, a..b or a..b:step, joined by commas."
AXIS_HELP = {
    "strategy": "NAME[:K][,key=value...], K also a range; joined by commas.",
    "batch": f"Images in a step: {_INTEGERS}",
    "resolution": f"Of the images, one side or HEIGHTxWIDTH: {_INTEGERS}",
    "classes": f"Outputs of the classifier: {_INTEGERS}",
    "width": "Width multipliers, joined by commas.",
    "convention": "Who counts; joined by commas.",
    "optimizer": f"{OPTIMIZERS_IN_WORDS}; joined by commas.",
    "target": "Where the step runs; give the option several times.",
    "dtype": f"Of the whole network: {DTYPES_IN_WORDS}; joined by commas.",
    "amp": f"Of torch.autocast: {', '.join(AMP)} or {NO_AMP}; joined by commas.",
    "accumulate": f"Micro-steps per update: {_INTEGERS}",
}
#: Decorator that adds the axes of a grid.
axis_options = several(*AXIS_HELP)


def one_strategy(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Callback that refuses a list of strategies where one is asked for."""
    from .studies.grid.axes import spelled_out

    found = spelled_out("strategy", value)
    if len(found) > 1:
        raise BadRequest(
            f"strategy is {value!r}, {len(found)} strategies; allowed: one here, and several in `costmodel compare` and"
            " `costmodel sweep`"
        )
    return found[0]


def one_resolution(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Callback that turns an option's text, 224 or 192x256, into a resolution."""
    from .graph.inputs import read_resolution

    return read_resolution(value)


def size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Callback that turns an option's text, such as 64MB, into bytes."""
    from .sizes.units import parse_size

    return None if value is None else parse_size(value, str(parameter.name))


def figure_options(function: Callable) -> Callable:
    """Decorator that adds the options of a figure. The command gets them as one argument, None without a figure.

    They are the arguments of `views.figures.file.figure_file`.
    """

    @wraps(function)
    def command(figure: str | None, figure_size: str | None, title: bool, **given: Any) -> Any:
        if figure is None and (figure_size is not None or not title):
            raise CostmodelError("--figure-size and --no-title are about a figure; allowed: with --figure FILE")
        asked = None if figure is None else {"path": figure, "size": figure_size, "titled": title}
        return function(figure=asked, **given)

    for option in (
        click.option(
            "--no-title", "title", is_flag=True, flag_value=False, default=True, help="No title in the figure."
        ),
        click.option(
            "--figure-size",
            metavar="WIDTH[xHEIGHT]|column|page",
            help="As in 3.3x2.4in or 84mm; column is 3.33in wide, page 7in.",
        ),
        click.option("--figure", type=click.Path(), help="Draw it: a .png, .svg or .pdf file."),
    ):
        command = option(command)
    return command


def echo_json(document: Any) -> None:
    """Print one JSON document."""
    import json

    click.echo(json.dumps(document, indent=2))


def some_budget(budget: int | None) -> int:
    """The budget in bytes. Raises CostmodelError if neither --budget nor a device gave one."""
    if budget is None:
        raise CostmodelError("no budget; allowed: --budget SIZE, or --device NAME (no phone) for its usable memory")
    return budget


def check_budget(estimates: Sequence[Any], budget: int | None, around: Any = None) -> bool:
    """Whether every estimate is within the budget in bytes, if there is one.

    around: the process that must be, and not the peak (studies/needs.py). Raises CostmodelError if an estimate has no
    peak, or no process.
    """
    if budget is None:
        return True
    from .studies.fit import check_has_peak
    from .studies.needs import peak

    for estimate in estimates:
        check_has_peak(estimate)
    return all((around or peak)(estimate) <= budget for estimate in estimates)


def needed(process: bool | None, target: str | None, network: str, options: Mapping[str, Any]) -> Any:
    """What a budget is held against: the process on a target, None for the peak.

    process: whether it is frugal. network: as people gave it; options: a command's, `network_options` among them.
    """
    if process is None:
        return None
    from .studies.needs import process_on
    from .targets import parse, usual_target

    given = {name: options[name] for name in network_options}
    return process_on(parse(target or usual_target()), process, network, given)


#: The options on which an estimate depends, beside the network.
estimate_options = ("strategy", "batch", "resolution", "classes", "width", "convention", "optimizer", "target",
                    "device", "dtype", "amp", "accumulate", "inputs", "loss", "targets", "blocks_are",
                    "allow_unknown", "strict", "check")  # fmt: skip


#: The options on which a network depends, beside its name.
network_options = ("classes", "width", "blocks_are", "allow_unknown", "strict", "inputs", "loss", "targets")
#: Those of them that are no axes of a grid.
grid_options = ("device", *network_options[2:])


def request(network: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `costmodel.estimate` for a command's options."""
    from .frontends import load_or_dry

    of_network = {key: asked[key] for key in network_options}
    loaded = load_or_dry(network, resolution=asked["resolution"], **of_network)
    rest = {key: value for key, value in asked.items() if key not in (*network_options, "check")}
    return {"network": loaded if asked["check"] else loaded.unchecked(), **rest}


def defaulted(name: str, text: str) -> Callable[[Callable], Callable]:
    """The option for an argument of a request, with its type and default."""
    default = DEFAULTS[name]
    callback = one_strategy if name == "strategy" else None
    return click.option(
        f"--{name}",
        type=type(default),
        default=default,
        show_default=True,
        help=text,
        callback=callback,
        shell_complete=COMPLETE.get(name),
    )


def process_options(command: Callable) -> Callable:
    """The options about the process around steps, as one argument: None, or whether it is frugal."""

    @click.option("--process", is_flag=True, help="Price the process that trains, and hold the budget against it.")
    @click.option("--frugal", is_flag=True, help="Of a process started by python -m costmodel.frugal.")
    @wraps(command)
    def with_process(*args: Any, process: bool, frugal: bool, **options: Any) -> Any:
        return command(*args, process=frugal if process or frugal else None, **options)

    return with_process


def device_option(command: Callable) -> Callable:
    """The option of a device, which gives a target, a budget and what is held against it where they are not given."""

    @click.option(
        "--device",
        metavar="NAME|FILE[,memory=SIZE][,PROCESSOR]",
        help="The machine that trains: its target and its usable memory as the budget, and its time. `list devices`"
        " names them. [$COSTMODEL_DEVICE]",
        shell_complete=COMPLETE["device"],
    )
    @wraps(command)
    def with_device(*args: Any, device: str | None, **options: Any) -> Any:
        from .devices import given_device

        found = given_device(device)
        if found is not None:
            asked_by = click.get_current_context().get_parameter_source("target")
            if asked_by is not click.core.ParameterSource.COMMANDLINE:
                target = found.processor.target
                options["target"] = (target,) if isinstance(options["target"], tuple) else target
            # A grid's budget is a line in its figure, where peaks are drawn: what tensors take, and no process.
            of_tensors = not (found.runs_a_process or found.shares_memory)
            drawn = options.get("figure") is not None and not (options.get("less") or options.get("more"))
            drawn = drawn and of_tensors
            is_grid = isinstance(options["target"], tuple)
            if "budget" in options and options["budget"] is None and (drawn or not is_grid):
                options["budget"] = None if found.calibrate_first else found.usable_bytes
            # A budget on a board is for all of the process that trains there, whoever gave it.
            if "process" in options and options.get("budget") is not None and found.runs_a_process:
                options["process"] = not str(options["target"]).startswith("cuda")
        return command(*args, device=found, **options)

    return with_device


_COMMON: dict[str, Callable[[Callable], Callable]] = {
    "network": click.argument("network", shell_complete=COMPLETE["network"]),
    "strategy": defaulted("strategy", "NAME[:K][,key=value...]"),
    "batch": defaulted("batch", "Images in a step."),
    "resolution": click.option(
        "--resolution", callback=one_resolution, metavar="SIDE|HEIGHTxWIDTH", help="Of the images [the network's own]."
    ),
    "inputs": click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="SIZE",
        help="Of one example, for a module that takes no images: 1x40x96, 77:int64 or NAME=77:int64; once for each.",
    ),
    "loss": click.option(
        "--loss",
        metavar="NAME|FILE.py:FUNCTION",
        help=f"{LOSSES_IN_WORDS}, or for a module a function of what it returns and of the targets.",
        shell_complete=COMPLETE["loss"],
    ),
    "targets": click.option(
        "--targets", metavar="FILE.py:FUNCTION", help="Of a loss of one's own: a function of the batch that makes them."
    ),
    "classes": click.option("--classes", type=int, help="Outputs of the classifier [the network's own]."),
    "width": click.option("--width", type=float, help="Width multiplier [1]."),
    "convention": defaulted("convention", "Who counts."),
    "optimizer": defaulted("optimizer", f"{OPTIMIZERS_IN_WORDS}."),
    "target": click.option(
        "--target",
        default=usual_target,
        show_default="$COSTMODEL_TARGET, else cpu: this machine's",
        help="cpu[,threads=N][,isa=ISA][,channels_last], cuda or none.",
        shell_complete=COMPLETE["target"],
    ),
    "device": device_option,
    "dtype": click.option(
        "--dtype",
        help=f"Of the whole network: {DTYPES_IN_WORDS} [the network's own].",
        shell_complete=COMPLETE["dtype"],
    ),
    "amp": click.option(
        "--amp",
        help=f"Mixed precision: {' or '.join(AMP)}, of torch.autocast around forward and loss.",
        shell_complete=COMPLETE["amp"],
    ),
    "accumulate": defaulted("accumulate", "Micro-steps per update."),
    "blocks_are": click.option(
        "--blocks-are", default="", metavar="CLASS_OR_PATTERN", help="The blocks of a module or an ONNX file."
    ),
    "allow_unknown": click.option("--allow-unknown", is_flag=True, help="Price unknown ops as nothing: a lower bound."),
    "strict": click.option("--strict", is_flag=True, help="Refuse a network whose figures may be understated."),
    "check": click.option(
        "--no-check",
        "check",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Do not hold a module's figures against a dry step of it, which runs its forward without data.",
    ),
    "process": process_options,
    "budget": click.option("--budget", callback=size, help="Memory there is, as in 64MB or 256KiB."),
    "figure": figure_options,
    "force": click.option("--force", is_flag=True, help="Replace files that are there."),
    "format": click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="csv: every number, bytes as integers; its names: docs/output.md. latex: for booktabs.",
    ),
}
