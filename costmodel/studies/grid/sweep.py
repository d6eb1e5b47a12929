"""Grids of estimates: every combination of some axes' values, with a column of numbers for each cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...devices import given_device
from ...errors import CostmodelError, check_name
from ...escapes import as_cell, visible
from ...files import parquet
from ...files.whole import replacing
from ...frontends import load
from ...graph.inputs import shown_resolution
from ...graph.network import Network
from ...notebook import Shown
from ...sizes.dtype import find_dtype
from ...step.autocast import amp_of
from ...step.checking import checks, refuse_differences
from ...step.optimizer import find
from ...step.request import Request, loss_of
from ...strategies import read
from ...targets import parse, usual_target
from .axes import AXES, USUAL, spelled_out
from .certainties import CERTAINTIES, WORDS, at_least, if_held, is_least
from .columns import COLUMNS, TIMES, types_of
from .plane import Pricer, pixels
from .sides import networks_at

FIRST = ("strategy", "batch", "resolution")  # the axes that come first
ALWAYS = (*FIRST, "target")  # those that always have a column
ROWS, CELLS = 128, 2**17  # most resolutions and most cells of a chunk
MOST_IN_MEMORY = 2**26  # cells: 5 GB of columns


class Chunk(NamedTuple):
    """A rectangle of cells: one choice of the outer axes, some resolutions, some batches."""

    outer: int
    start: int  # number of its first cell in the grid
    resolutions: slice
    batches: slice
    cells: int


class SweepPlan:
    """A grid that is checked but not yet priced. Its cells are numbered in the order of nested loops over AXES."""

    def __init__(
        self,
        network: str | Network | Any,
        axes: dict[str, Any],
        check: bool = True,
        device: Any = None,
        **of_network: Any,
    ) -> None:
        """check: whether a module is held against dry steps. device: as in `estimate`. of_network: as in `load`."""
        self.device = given_device(device)
        target = self.device.processor.target if self.device else usual_target()
        given = {**USUAL, "target": target, **{name: one for name, one in axes.items() if one is not None}}
        self.axes = {name: spelled_out(name, given[name]) for name in (*AXES, *axes)}
        # With what is found out of this machine: a table names the same target everywhere.
        self.axes["target"] = tuple(dict.fromkeys(parse(text).text for text in self.axes["target"]))
        sizes = product(self.axes["width"], self.axes["classes"])
        of_network = {"resolution": self.axes["resolution"][0], **of_network}
        self.networks = {(width, classes): load(network, classes, width, **of_network) for width, classes in sizes}
        first = next(iter(self.networks.values()))
        self.network, self.notes = first.name, first.notes
        own = [first.resolution if side is None else side for side in self.axes["resolution"]]
        self.axes["dtype"] = tuple(dict.fromkeys(dtype or first.dtype for dtype in self.axes["dtype"]))
        self.axes["resolution"] = tuple(dict.fromkeys(own))
        # A strategy file is read only once, since its contents may change later.
        self.strategies = {
            (size, text): read(text, one.graph) for size, one in self.networks.items() for text in self.axes["strategy"]
        }
        self.outer = list(product(*[self.axes[name] for name in AXES[:-2]]))
        self.shape = tuple(len(self.axes[name]) for name in AXES)
        self.cells = prod(self.shape)
        self.pricer = Pricer()
        self.at = {size: networks_at(one, self.axes["resolution"]) for size, one in self.networks.items()}
        for number in range(len(self.outer)):
            for network, rows in self.planes(number, self.axes["resolution"]):
                sides = [self.axes["resolution"][row] for row in rows]
                self.pricer.check(network, self.request(number)[1], sides, self.axes["batch"])
        ends = [(end(self.axes["resolution"], key=pixels), end(self.axes["batch"])) for end in (min, max)]
        self.ends = tuple(dict.fromkeys(ends))
        self.checked = {number for number in range(len(self.outer)) if check and self.hold(number)}

    def hold(self, outer: int) -> bool:
        """Hold a module against its dry steps at the smallest and the largest images, for a choice of the outer axes.

        Returns whether the figures there are checked by it. Raises CostmodelError if the module does something else
        than its graph.
        """
        network, request = self.request(outer)
        held = [
            refuse_differences(network.at(side, batch), request._replace(batch=batch, resolution=side), "a sweep")
            for side, batch in self.ends
        ]
        return all(held) and checks(request)

    def planes(self, outer: int, sides: Sequence[Any]) -> Iterator[tuple[Network, list[int]]]:
        """The networks for some resolutions, each with the numbers of its own, for a choice of the outer axes."""
        one = dict(zip(AXES, self.outer[outer]))
        at = self.at[one["width"], one["classes"]]
        for network in {id(at[side]): at[side] for side in sides}.values():
            yield network, [row for row, side in enumerate(sides) if at[side] is network]

    @property
    def named(self) -> list[str]:
        """The axes that have a column: those in ALWAYS, and those with values other than the default."""
        return [*FIRST, *(name for name in AXES if name not in FIRST and (name in ALWAYS or not self.is_usual(name)))]

    def is_usual(self, name: str) -> bool:
        """Whether an axis has its default alone."""
        usual = next(iter(self.networks.values())).dtype if name == "dtype" else USUAL[name]
        return self.axes[name] == (usual,)

    @property
    def column_names(self) -> list[str]:
        """The axes, then the costs."""
        return [*self.named, *self.costs]

    @property
    def costs(self) -> list[str]:
        """What each cell has a number for: its costs, with a device its time, and how certain they are."""
        return [*COLUMNS, *(TIMES if self.device else ()), *CERTAINTIES]

    @property
    def header(self) -> dict[str, np.ndarray]:
        """The columns, without rows."""
        return {name: np.empty(0, dtype=np.int64) for name in self.column_names}

    @property
    def fixed(self) -> dict[str, Any]:
        """The network's name, and the values of the axes that have no column."""
        loss = loss_of(next(iter(self.networks.values())))
        fixed = {n: self.axes[n][0] for n in AXES if n not in self.named or n == "target" and len(self.axes[n]) == 1}
        device = {"device": self.device.text} if self.device else {}
        return {"network": self.network, **fixed, **device, "loss": str(loss)}

    def request(self, outer: int) -> tuple[Network, Request]:
        """The network and the request of one choice of the outer axes; batch and resolution are 0, to be filled in."""
        one = dict(zip(AXES, self.outer[outer]))
        size = one["width"], one["classes"]
        strategy = self.strategies[size, one["strategy"]]
        numbers, target = find_dtype(one["dtype"], self.networks[size].dtype), parse(one["target"])
        return self.networks[size], Request(
            strategy,
            0,
            0,
            one["convention"],
            find(one["optimizer"], one["accumulate"]),
            target,
            numbers,
            one["accumulate"],
            loss_of(self.networks[size]),
            amp_of(one["amp"], numbers, one["convention"], target),
            self.device,
        )

    def chunks(self, shard: tuple[int, int] = (1, 1)) -> list[Chunk]:
        """The i-th of n parts of the grid, in chunks of bounded size. All parts in order make the whole grid."""
        sides, batches = self.shape[-2:]
        rows, columns = max(1, min(ROWS, CELLS // batches)), min(batches, CELLS)
        i, n = shard
        per_plane = -(-sides // rows) * -(-batches // columns)
        count = len(self.outer) * per_plane
        chunks = []
        for number in range(-(-count * (i - 1) // n), -(-count * i // n)):
            outer, place = divmod(number, per_plane)
            row, column = divmod(place, -(-batches // columns))
            top, left = row * rows, column * columns
            bottom, right = min(top + rows, sides), min(left + columns, batches)
            start = (outer * sides + top) * batches + left
            chunks.append(Chunk(outer, start, slice(top, bottom), slice(left, right), (bottom - top) * (right - left)))
        return chunks

    def price(self, chunk: Chunk, out: dict[str, np.ndarray]) -> None:
        """Fill the columns `out` with a chunk's numbers: int64 arrays of shape (resolutions, batches)."""
        sides, batches = self.axes["resolution"][chunk.resolutions], self.axes["batch"][chunk.batches]
        for network, rows in self.planes(chunk.outer, sides):
            whole = len(rows) == len(sides)
            own = out if whole else {name: column[rows] for name, column in out.items()}
            self.pricer.plane(network, self.request(chunk.outer)[1], [sides[row] for row in rows], batches, own)
            for name, column in out.items() if not whole else ():
                column[rows] = own[name]
        for side, batch in self.ends if chunk.outer in self.checked else ():
            if side in sides and batch in batches:
                cell = sides.index(side), batches.index(batch)
                for name in CERTAINTIES:
                    out[name][cell] = if_held(out[name][cell])

    def columns(self, chunk: Chunk) -> dict[str, np.ndarray]:
        """All columns of a chunk: its axes' values and its costs, each of shape (cells,)."""
        one = dict(zip(AXES, self.outer[chunk.outer]))
        sides, batches = self.axes["resolution"][chunk.resolutions], self.axes["batch"][chunk.batches]
        shape = (len(sides), len(batches))
        found = {name: np.full(chunk.cells, one.get(name), dtype=object) for name in self.named}
        found["resolution"] = np.repeat(column_of(sides), len(batches))
        found["batch"] = np.tile(np.array(batches, dtype=np.int64), len(sides))
        numbers = {name: np.empty(shape, dtype=np.int64) for name in self.costs}
        self.price(chunk, numbers)
        return {**found, **{name: told(name, column.reshape(-1)) for name, column in numbers.items()}}


def column_of(values: Sequence[Any]) -> np.ndarray:
    """A column of an axis' values: int64 if they are integers, else as people write them."""
    if all(isinstance(value, int) for value in values):
        return np.array(values, dtype=np.int64)
    found = np.empty(len(values), dtype=object)
    found[:] = [value if value is None else str(shown_resolution(value)) for value in values]
    return found


def told(name: str, column: np.ndarray) -> np.ndarray:
    """A column of priced numbers as people get it: masked where there is none, times in seconds, degrees in words."""
    return WORDS[column] if name in CERTAINTIES else there(column) / 1e9 if name in TIMES else there(column)


def there(column: np.ndarray) -> np.ndarray:
    """A column, masked where it is -1: there the convention has no such number."""
    missing = column < 0
    return np.ma.array(column, mask=missing, fill_value=-1) if missing.any() else column


def sweep(
    network: str | Network | Any,
    strategy: Any = "full",
    batch: Any = 8,
    resolution: Any = None,
    convention: Any = "torch",
    check: bool = True,
    inputs: Any = None,
    loss: Any = None,
    targets: Any = None,
    blocks_are: str = "",
    allow_unknown: bool = False,
    strict: bool = False,
    device: Any = None,
    **axes: Any,
) -> Sweep:
    """The costs of every combination of some strategies, batches, resolutions and more.

    network: anything that `load` takes. Each axis is one value or several: a list, or a text such as "1..512",
    "96..224:32" or "8,16,32"; strategies may have a range of K ("blocks:1..17"), and resolutions may be HEIGHTxWIDTH.
    inputs, loss, targets, blocks_are, allow_unknown, strict: see `load`. axes: width, classes, dtype, amp, optimizer,
    target and accumulate, as in `estimate` and `load`. Every number equals the one that `estimate` gives for its cell.
    device: as in `estimate`; it gives the target unless one is given, and a column step_seconds.
    check: whether a module is held against dry steps of itself, for each strategy at the smallest and the largest
    images, whose cells then say "checked"; the cells between follow by rule, and say so. Raises CostmodelError for a
    bad request, for an axis without values, for a cell without a cost, which the message names, and for a module that
    does what its graph does not say.
    """
    given = {"strategy": strategy, "batch": batch, "resolution": resolution, "convention": convention, **axes}
    of_network = {"inputs": inputs, "loss": loss, "targets": targets}
    how = {"blocks_are": blocks_are, "allow_unknown": allow_unknown, "strict": strict}
    plan = SweepPlan(network, given, check, device, **of_network, **how)
    if plan.cells > MOST_IN_MEMORY:
        raise CostmodelError(
            f"the grid has {plan.cells:,} cells; allowed in memory: {MOST_IN_MEMORY:,}."
            " costmodel sweep -o writes it in chunks"
        )
    numbers = {name: np.empty(plan.cells, dtype=np.int64) for name in plan.costs}
    for chunk in plan.chunks():
        shape = (chunk.resolutions.stop - chunk.resolutions.start, -1)
        run = slice(chunk.start, chunk.start + chunk.cells)
        plan.price(chunk, {name: column[run].reshape(shape) for name, column in numbers.items()})
    columns = {}
    for name in plan.named:
        place = AXES.index(name)
        values = (
            column_of(plan.axes[name]) if name in ("batch", "resolution") else np.array(plan.axes[name], dtype=object)
        )
        values = values.reshape([-1 if k == place else 1 for k in range(len(AXES))])
        columns[name] = np.broadcast_to(values, plan.shape).reshape(-1)
    some = int(np.count_nonzero(is_least(numbers["step_peak_certainty"])))
    columns |= {name: told(name, column) for name, column in numbers.items()}
    return Sweep(plan.fixed, columns, (*plan.notes, *at_least(some, plan.cells)))


@dataclass(frozen=True, eq=False)
class Sweep(Shown):
    """A table of costs: columns of equal length, with one row for each cell of a grid.

    fixed: the network and the axes with one value for all cells. columns: the axes, then the costs (see
    studies/grid/columns.py) as int64, masked where the convention has no such number, then how certain they are, as
    words. Each column is also an attribute.
    notes: sentences that say why figures may be understated.
    """

    fixed: dict[str, Any]
    columns: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> np.ndarray:
        check_name("column", name, self.columns)
        return self.columns[name]

    def __getattr__(self, name: str) -> np.ndarray:
        columns = self.__dict__.get("columns", {})  # none while a copy is made
        if name.startswith("_") or name not in columns:
            raise AttributeError(f"a sweep has no {name!r}; its columns are {', '.join(columns)}")
        return columns[name]

    def __repr__(self) -> str:
        return f"<Sweep of {visible(self.fixed['network'])}: {len(self):,} cells, {', '.join(self.columns)}>"

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain lists by column name; None where there is no number."""
        return {name: column.tolist() for name, column in self.columns.items()}

    def to_csv(self, path: str | None = None) -> str | None:
        """Write the table to a file, or return it as text if there is no path; blank where there is no number."""
        if path is None:
            buffer = io.StringIO()
            write_rows(buffer, self.columns, header=True)
            return buffer.getvalue()
        with replacing(Path(path)) as (unfinished,), open(unfinished, "w", newline="", encoding="utf-8") as file:
            write_rows(file, self.columns, header=True)
        return None

    def to_dataframe(self) -> Any:
        """The table as a pandas.DataFrame. Raises CostmodelError if pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise CostmodelError("to_dataframe needs pandas: pip install pandas") from None
        return pandas.DataFrame({name: _nullable(column, pandas) for name, column in self.columns.items()})

    def to_parquet(self, path: str) -> None:
        """Write the table to a Parquet file. Raises CostmodelError if pyarrow is not installed."""
        parquet.write(self.columns, path, types_of(self.columns["resolution"]))


def write_rows(file: Any, columns: dict[str, np.ndarray], header: bool) -> None:
    """Write columns as CSV. header: whether to write their names first."""
    writer = csv.writer(file, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows(zip(*(_cells(column) for column in columns.values())))


def _cells(column: np.ndarray) -> list[Any]:
    """A column's values; texts, which may be names from outside, as cells that a spreadsheet takes for text."""
    values = column.tolist()
    if column.dtype != object:
        return values
    written = {value: as_cell(value) if isinstance(value, str) else value for value in set(values)}
    return [written[value] for value in values]


def _nullable(column: np.ndarray, pandas: Any) -> Any:
    if not isinstance(column, np.ma.MaskedArray):
        return column
    if column.dtype.kind == "f":
        return column.filled(np.nan)
    return pandas.arrays.IntegerArray(column.data.copy(), np.ma.getmaskarray(column).copy())
