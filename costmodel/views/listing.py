"""Tables of everything that has a name: networks, their blocks, strategies, conventions, optimizers, targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from ..api import estimate
from ..conventions import CONVENTIONS
from ..devices import device_names, find_device
from ..errors import CostmodelError
from ..files.shipped import shipped_names
from ..frontends import family_of, load, outline
from ..graph.network import Network
from ..graph.paths import matches
from ..sizes.size import show
from ..sizes.units import show_size, written
from ..step.optimizer import OPTIMIZERS
from ..strategies import CHOICES, STRATEGIES, Strategy, forms, part_names, parts
from ..targets import DEVICES
from .table import Column, Table, hidden, words, yes_or_no


def networks() -> Table:
    """Table of the shipped networks."""
    rows = []
    for name in shipped_names("networks"):
        network = load(name)
        parameters = sum(_elements(shape) for shape, _ in network.graph.parameters.values())
        rows.append([name, network.resolution, len(network.graph.blocks), parameters, network.reference or ""])
    columns = [words("network", "network"), Column("resolution", "resolution"), Column("blocks", "blocks"),
               Column("parameters", "parameters", lambda n: f"{n:,}"), words("reference", "follows")]  # fmt: skip
    return Table("", columns, rows)


class OfSource:
    """The rows of a library's networks whose names match a pattern. Each network is built and traced in iteration."""

    def __init__(self, source: str, like: str) -> None:
        from ..frontends import names_of

        self.source = source
        self.names = [name for name in names_of(source) if matches(name, like)]
        if not self.names:
            raise CostmodelError(f"{source} has no network like {like!r}")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[list]:
        return (row_of(f"{self.source}:{name}") for name in self.names)


def row_of(name: str) -> list:
    """The row of a library's network: name, resolution, blocks, parameters, and whether it can be traced."""
    try:
        network = outline(name)
    except CostmodelError as error:
        return [name, None, None, None, f"no: {str(error).partition(' (in ')[0][:100]}"]
    parameters = sum(_elements(shape) for shape, _ in network.graph.parameters.values())
    return [name, network.resolution, len(network.graph.blocks), parameters, "yes"]


def source_table(rows: list[list]) -> Table:
    """Table of a library's networks."""
    columns = [words("network", "network"), Column("resolution", "resolution"), Column("blocks", "blocks"),
               Column("parameters", "parameters", lambda n: f"{n:,}"), words("traced", "traced")]  # fmt: skip
    traced = sum(row[-1] == "yes" for row in rows)
    return Table(f"{traced} of {len(rows)} can be traced", columns, rows)


def family_table(rows: list[list]) -> Table:
    """Table by family: how many networks can be traced, and why the others cannot."""
    families: dict[str, list[list]] = {}
    for row in rows:
        families.setdefault(family_of(row[0]), []).append(row)
    cells = []
    for family, own in sorted(families.items()):
        reasons = [row[-1][4:] for row in own if row[-1] != "yes"]
        cells.append([family, len(own), len(own) - len(reasons), in_words(Counter(reasons))])
    columns = [words("family", "family"), Column("networks", "networks"), Column("traced_networks", "traced"),
               words("reason", "why not all")]  # fmt: skip
    return Table(source_table(rows).title, columns, cells)


def in_words(reasons: Mapping[str, int]) -> str | None:
    """Reasons with the numbers of networks that have them; a single one alone, None for none."""
    if len(reasons) > 1:
        return "; ".join(f"{reason} ({count})" for reason, count in reasons.items())
    return next(iter(reasons), None)


def spelled(strategy: Strategy) -> str:
    """A strategy's name with what stands after its colon; K is a number of blocks."""
    after = "K" if strategy.takes_blocks else strategy.takes_code
    return f"{strategy.name}:{after}" if after else strategy.name


def strategy_table() -> Table:
    """Table of the strategies."""
    rows = [[s.name, spelled(s), s.takes_blocks, s.summary] for s in STRATEGIES.values()]
    columns = [
        words("strategy", None),
        words(None, "strategy"),
        hidden("takes_blocks"),
        words("summary", "what trains"),
    ]
    return Table("", columns, rows)


def convention_table() -> Table:
    """Table of the conventions."""
    rows = [[c.name, c.summary, c.measurable] for c in CONVENTIONS.values()]
    columns = [words("convention", "convention"), words("summary", "what it counts"),
               yes_or_no("measurable", "can be measured")]  # fmt: skip
    return Table("", columns, rows)


def optimizer_table() -> Table:
    """Table of the optimizers."""
    rows = [[o.name, o.summary, ", ".join(o.options)] for o in OPTIMIZERS.values()]
    columns = [words("optimizer", "optimizer"), words("summary", "what it keeps"),
               words("options", "may be added, with a comma")]  # fmt: skip
    return Table("", columns, rows)


def target_table() -> Table:
    """Table of the targets, with what each is on this machine if nothing is added to its name."""
    rows = []
    for name, kind in DEVICES.items():
        options = "; ".join(option.allowed for option in kind.options.values())
        summary = " ".join((kind.__doc__ or "").split()).partition(". ")[0].rstrip(".")
        rows.append([name, summary, str(kind.here()), options])
    columns = [words("target", "target"), words("summary", "what it is"), words("here", "here"),
               words("options", "may be added, with commas")]  # fmt: skip
    return Table("", columns, rows)


def device_table() -> Table:
    """Table of the shipped devices."""
    rows = []
    for name in device_names():
        device = find_device(name)
        paces = [pace for one in device.processors.values() for pace in one.paces]
        calibrated = "; ".join(f"{one.framework}, {one.dtype}, {one.target}" for one in paces)
        sizes = ", ".join(map(written, device.memory.value))
        processors = ", ".join(device.processors)
        rows.append([name, device.title, device.kind, sizes, device.usable_bytes, processors, calibrated])
    columns = [
        words("device", "device"),
        words("title", "what it is"),
        hidden("kind"),
        words("memory_sizes", "memory"),
        Column("usable_bytes", "usable", show_size),
        words("processors", "trains on"),
        words("calibrated", "time measured with"),
    ]
    return Table("", columns, rows)


def block_table(network: Network) -> Table:
    """Table of a network's parts: the names that strategy files use, their layers, and what may train in each."""
    graph = network.graph
    choices = {part.name: part.choices(forms()) for part in parts(graph)}
    rows = []
    for name, (own, run), row in zip(part_names(graph), graph.parts, estimate(network, "inference").blocks):
        allowed = [choice.name for letter, choice in CHOICES.items() if letter in choices.get(name, ())]
        first, last = graph.nodes[run.start].name, graph.nodes[run.stop - 1].name
        shape = row["output_shape"]
        rows.append([name, own in graph.blocks, len(run), first, last, shape, row["parameters"], ", ".join(allowed)])
    columns = [
        words("part", "part"),
        hidden("is_block"),
        Column("layers", "layers"),
        words("first_layer", "first layer"),
        words("last_layer", "last layer"),
        Column("output_shape", "output", show),
        Column("parameters", "parameters", lambda n: f"{n:,}"),
        words("choices", "a plan may choose"),
    ]
    return Table(f"{network.name}: {len(graph.blocks)} blocks", columns, rows)


def _elements(shape: tuple) -> int:
    from math import prod

    return prod(shape)


LISTINGS: dict[str, Callable[[], Table]] = {
    "networks": networks,
    "strategies": strategy_table,
    "conventions": convention_table,
    "optimizers": optimizer_table,
    "targets": target_table,
    "devices": device_table,
}
