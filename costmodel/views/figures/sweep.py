"""The figure of a sweep: memory against the batch, or against the axis with the most values; a line for each choice of
the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...errors import CostmodelError
from ...sizes.units import BYTES as IN_BYTES
from ...sizes.units import unit_of
from ...strategies import read_text
from ...studies.grid.axes import AXES, AXIS_TYPES
from ..shared import shared
from .sheet import SCREEN, Sheet, legend
from .style import DASHES, STYLES, budget_line, fit_scale, in_words, scaled

BLOCKS = "trained blocks K"
MOST_CELLS = 10**6
MOST_LINES = 200
WIDE = 12.0  # the largest over the least number of an axis that is drawn linearly
NAMED = 8  # most values that have a colour and a marker of their own; more are shades
SHADES = matplotlib.colormaps["cividis"]  # from dark to light in grey too


class Lines(NamedTuple):
    """How a grid is drawn: the axis on x, the axis that colours show, and the axes that dashes show."""

    x: str
    colour: str
    dashes: tuple[str, ...]


class Look(NamedTuple):
    """How a line looks."""

    colour: str
    marker: str


def lines_of(axes: Mapping[str, Sequence[Any]]) -> Lines:
    """How to draw a grid of these axes' values. Raises CostmodelError if it is none, or has too many lines or cells."""
    cells = prod(map(len, axes.values()))
    if cells > MOST_CELLS:
        raise CostmodelError(f"figure of {cells:,} cells; allowed: at most {MOST_CELLS:,}")
    several = {name: values for name, values in axes.items() if len(values) > 1}
    numeric = [name for name in reversed(AXES) if name in several and AXIS_TYPES[name] is not str]  # batch first
    if numeric:
        x = max(numeric, key=lambda name: len(several[name]))
    elif len({read_text(text).blocks for text in several.get("strategy", ())} - {None}) > 1:
        x = BLOCKS
    else:
        raise CostmodelError(
            "figure of a sweep in which no number varies; allowed: several values of batch, resolution, width, "
            "classes, accumulate or K"
        )
    others = {name: len(values) for name, values in several.items() if name != x}
    if x == BLOCKS:
        others["strategy"] = len({read_text(text).family for text in several["strategy"]})
    colour = max(["strategy", *others], key=lambda name: others.get(name, 1))
    dashes = tuple(name for name, count in others.items() if name != colour and count > 1)
    kinds = prod(others[name] for name in dashes)
    if kinds > len(DASHES) or prod(others.values()) > MOST_LINES:
        raise CostmodelError(
            f"figure of {prod(others.values())} lines, a colour for each {colour} and {kinds} kinds of dashes for the"
            f" rest; allowed: at most {MOST_LINES} lines and {len(DASHES)} kinds of dashes"
        )
    return Lines(x, colour, dashes)


def sweep_figure(
    columns: dict[str, list[Any]], fixed: Mapping[str, Any], budget: int | None = None, sheet: Sheet = SCREEN
) -> Figure:
    """A figure of a grid's peak memory, or of what is saved where a convention has no peak.

    columns: of a sweep, axes and costs. fixed: values that hold for all rows. budget: a line, in bytes.
    """
    given = {name: list(dict.fromkeys(columns[name])) for name in AXES if name in columns}
    shown = lines_of(given)
    name = "saved_bytes" if None in columns["peak_bytes"] else "peak_bytes"
    y, label = scaled(name, np.array(columns[name], dtype=float))
    unit = unit_of(int(max(columns[name])))
    with sheet.open((8, 4.6), tall=0.95) as figure:
        axes = figure.subplots()
        same = {name: values[0] for name, values in given.items() if len(values) == 1}
        sheet.title(figure, shared({**fixed, **same}))
        x, lines = _lines(columns, shown)
        looks = _looks(shown, list(dict.fromkeys(colour for colour, _ in lines)))
        dashes = dict(zip(dict.fromkeys(rest for _, rest in lines), DASHES))
        few = len(lines) <= NAMED
        for number, ((colour, rest), rows) in enumerate(lines.items()):
            axes.plot(
                x[rows],
                y[rows],
                color=looks[colour].colour,
                marker=looks[colour].marker,
                markevery=None if len(rows) < 12 else (0.12 * number / len(lines), 0.12),
                linestyle=dashes[rest],
                linewidth=2.4 - 1.4 * number / len(lines) if few else 1.2,  # equal lines are all seen
                markersize=4.5,
                markeredgecolor="white",
                markeredgewidth=0.4,
            )
        handles = _samples(shown, looks, dashes)
        if budget is not None:
            handles.insert(0, budget_line(axes, budget, unit))
        _scales(axes, x, y if budget is None else np.append(y, budget / IN_BYTES[unit]))
        axes.set(xlabel=in_words(shown.x), ylabel=label)
        axes.grid(True, linewidth=0.3, color="#dddddd", zorder=0)
        if handles:
            legend(axes, handles)
    return figure


def _lines(columns: dict[str, list[Any]], shown: Lines) -> tuple[np.ndarray, dict[tuple[Any, str], list[int]]]:
    """What is on x, and the rows of each line in the order of x, by what its colour and its dashes show."""
    strategies = [read_text(text) for text in columns["strategy"]]
    names: list[Any] = list(columns["strategy"])
    keep = list(range(len(names)))
    if shown.x == BLOCKS:
        keep = [row for row in keep if strategies[row].blocks is not None]
        x = np.array([strategy.blocks or 0 for strategy in strategies], dtype=float)
        names = [str(strategy.family) for strategy in strategies]
    else:
        x = np.array(columns[shown.x], dtype=float)
    colours = names if shown.colour == "strategy" else columns[shown.colour]
    lines: dict[tuple[Any, str], list[int]] = {}
    for row in keep:
        rest = ", ".join(str(names[row] if name == "strategy" else columns[name][row]) for name in shown.dashes)
        lines.setdefault((colours[row], rest), []).append(row)
    return x, {key: sorted(rows, key=lambda row: x[row]) for key, rows in lines.items()}


def _looks(shown: Lines, values: list[Any]) -> dict[Any, Look]:
    """The look of each value that colours show: a few have a colour each, many are shades, of their family's colour."""
    if len(values) <= NAMED:
        return {value: Look(*style) for value, style in zip(values, STYLES)}
    if shown.colour != "strategy":
        return {value: Look(to_hex(SHADES(0.92 * i / (len(values) - 1))), "") for i, value in enumerate(values)}
    family_of = {value: str(read_text(value).family) for value in values}
    families = list(dict.fromkeys(family_of.values()))
    looks = {}
    for family, (colour, marker) in zip(families, STYLES * len(families)):
        members = [value for value in values if family_of[value] == family]
        for i, value in enumerate(members):
            share = 1.0 if len(members) == 1 else 0.4 + 0.6 * i / (len(members) - 1)
            ends = value in (members[0], members[-1])
            looks[value] = Look(to_hex(1 - share * (1 - np.array(to_rgb(colour)))), marker if ends else "")
    return looks


def _samples(shown: Lines, looks: dict[Any, Look], dashes: dict[str, Any]) -> list[Line2D]:
    """A sample for each colour, of many shades only for the first and the last, and for each kind of dashes."""
    values = list(looks)
    if len(values) > NAMED and shown.colour == "strategy":
        families: dict[str, list[Any]] = {}
        for value in values:
            families.setdefault(str(read_text(value).family), []).append(value)
        values = [value for members in families.values() for value in dict.fromkeys((members[0], members[-1]))]
    elif len(values) > NAMED:
        values = [values[i] for i in np.linspace(0, len(values) - 1, 6).astype(int)]
    prefix = "" if shown.colour in ("strategy", "convention") else f"{in_words(shown.colour)} "
    handles = [
        Line2D([], [], label=f"{prefix}{value}", color=looks[value].colour, marker=looks[value].marker, markersize=4.5)
        for value in values
        if len(looks) > 1
    ]
    words = ", ".join(map(in_words, shown.dashes))
    if len(dashes) > 1:
        handles += [
            Line2D([], [], label=f"{words} {rest}", color="#555555", linestyle=dash) for rest, dash in dashes.items()
        ]
    return handles


def _scales(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Linear from 0, or logarithmic where that would press most lines flat."""
    if y.min() > 0 and y.max() > WIDE * y.min():
        fit_scale(axes, "y", y, WIDE, room=0.03)
        fit_scale(axes, "x", x, WIDE, room=0.03)
    else:
        axes.set_ylim(0, 1.06 * y.max())
        fit_scale(axes, "x", x, wide=np.inf, room=0.03)
        axes.xaxis.get_major_locator().set_params(integer=bool((x % 1 == 0).all()))
    values = np.unique(x)
    if len(values) <= 9:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_xticks([], minor=True)
