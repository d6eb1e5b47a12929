"""The figure of a frontier, in the style of MobileTL's: memory on x, bubbles for FLOPs, a line for each family.

Two to four values of another axis, such as conventions, are panels beside each other with the same scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...errors import CostmodelError
from ...escapes import visible
from ...sizes.units import BYTES as IN_BYTES
from ...sizes.units import show_count, unit_of
from ...strategies import read_text
from ...studies.frontier import frontier
from ...studies.pareto import Objective, check_numbers, check_strategies
from ..pareto import axes_of
from .labels import Label, place_labels
from .sheet import SCREEN, Sheet, is_narrow, legend
from .style import STYLES, budget_line, fit_scale, in_words, scaled

FILLS = (1.0, 0.3, 0.6, 0.1)  # intensities of a family's colour, one per choice of the other axes
MOST_LABELS = 60
MOST_GROUPS = 24  # with more groups, lines would hide the points
MOST_PANELS = 4
BAND = "#d5d5d5"
SMALLEST, LARGEST = 12.0, 200.0  # areas of bubbles, points^2
MEMORY = "peak_bytes"  # what a budget holds against


class Group(NamedTuple):
    """Rows that one line joins, in order of K."""

    family: str
    choice: str  # of the other axes
    rows: list[int]
    colour: str
    face: str
    marker: str


class Plane(NamedTuple):
    """What is drawn: a column on each axis, that of the bubbles' areas, and that of the panels, if any is left."""

    x: Objective
    y: Objective
    bubble: str | None
    panel: str | None


def plane(columns: dict[str, list[Any]], objectives: Sequence[Objective]) -> Plane:
    """What to draw: on x the first objective; on y the next one that is maximised, else the second one.

    Bubbles show the objective that is left, or else the step's FLOPs.
    """
    x, *rest = objectives
    y = next((o for o in rest if not o.less), rest[0])
    left = [o.column for o in rest if o is not y] + ["step_flops"]
    bubble = next((name for name in left if name in columns and name not in (x.column, y.column)), None)
    few = [name for name in axes_of(columns) if name != "strategy" and len(set(columns[name])) <= MOST_PANELS]
    return Plane(x, y, bubble, next(iter(few), None))


def drawn(objectives: Sequence[Objective]) -> tuple[str, str]:
    """The columns that the axes show."""
    return objectives[0].column, plane({"strategy": []}, objectives).y.column


def draws_memory(objectives: Sequence[Objective]) -> bool:
    """Whether an axis shows what a budget is held against."""
    return MEMORY in drawn(objectives)


def check_budget_axis(objectives: Sequence[Objective]) -> None:
    """Raise CostmodelError unless an axis shows what a budget is held against."""
    if not draws_memory(objectives):
        told = " and ".join(drawn(objectives))
        raise CostmodelError(f"budget has no line where {told} are drawn; allowed: with {MEMORY}")


def pareto_figure(
    columns: dict[str, list[Any]],
    on: Sequence[bool],
    objectives: Sequence[Objective],
    title: str,
    budget: int | None = None,
    sheet: Sheet = SCREEN,
    budget_name: str = "budget",
) -> Figure:
    """A figure of all rows of a table as bubbles. on: whether a row is on the frontier, which a black outline shows.

    A band marks the frontier of the two axes alone, in each panel. budget: a line, in bytes, with a
    name for the legend.
    """
    check_strategies(columns)
    shown = plane(columns, objectives)
    if shown.bubble:
        check_numbers(columns, shown.bubble)
    panel_of = columns[shown.panel] if shown.panel else [None] * len(on)
    panels = list(dict.fromkeys(panel_of))
    rows = [[i for i, value in enumerate(panel_of) if value == one] for one in panels]
    with sheet.open((8 + 3 * (len(panels) > 1), 5.2), tall=0.5 + 0.6 * len(panels)) as figure:
        stacked = is_narrow(figure)
        shape = (len(panels), 1) if stacked else (1, len(panels))
        every = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
        sheet.title(figure, title)
        x, y = (scaled(o.column, np.array(columns[o.column], dtype=float)) for o in (shown.x, shown.y))
        points = np.stack([x[0], y[0]], axis=1)
        areas = _areas(columns[shown.bubble]) if shown.bubble else np.full(len(points), 60.0)
        areas *= 0.5 if figure.get_figwidth() < 4 * shape[1] else 1.0
        groups = _groups(columns, shown.panel)
        handles = _samples(groups, shown, columns, areas)
        samples = len(handles)
        for axes, value, inside in zip(every, panels, rows):
            _points(axes, points, areas, [g for g in groups if g.rows[0] in set(inside)], np.asarray(on, dtype=bool))
            _frontier(axes, points[inside], shown)
            if budget is not None:
                unit, upright = unit_of(int(max(columns[MEMORY]))), shown.x.column == MEMORY
                handles = [budget_line(axes, budget, unit, upright, budget_name), *handles[-samples:]]
            axes.grid(True, linewidth=0.3, color="#dddddd", zorder=0)
            if shown.panel:
                axes.set_title(visible(f"{in_words(shown.panel)} {value}"), fontsize="medium", loc="left")
        if budget is not None:  # the axis reaches as far as the line
            scale = IN_BYTES[unit_of(int(max(columns[MEMORY])))]
            x, y = (
                (np.append(values, budget / scale), label) if o.column == MEMORY else (values, label)
                for o, (values, label) in ((shown.x, x), (shown.y, y))
            )
        _scales(every, x, y, stacked)
        legend(every[0] if stacked else every[-1], handles)
        # A diamond is a square that stands on a corner.
        wide = np.isin(np.arange(len(points)), [row for group in groups if group.marker == "D" for row in group.rows])
        radii = np.sqrt(areas) / 2 * np.where(wide, np.sqrt(2), 1.0)
        texts = _texts(columns, groups, np.asarray(on, dtype=bool))
        for axes, inside in zip(every, rows):
            lines = [points[g.rows] for g in groups if len(g.rows) > 1 and g.rows[0] in set(inside)]
            numbers = {row: number for number, row in enumerate(inside)}
            here = [label._replace(point=numbers[label.point]) for label in texts if label.point in numbers]
            place_labels(axes, points[inside], radii[inside], lines, here[: MOST_LABELS // len(panels)])
    return figure


def _points(axes: Axes, points: np.ndarray, areas: np.ndarray, groups: list[Group], on: np.ndarray) -> None:
    """Draw each group's bubbles, and the line that joins them."""
    for group in groups:
        if len(group.rows) > 1 and len(groups) <= MOST_GROUPS:
            axes.plot(*points[group.rows].T, color=group.colour, linewidth=1, alpha=0.6, zorder=2)
        rim = "white" if group.face == to_hex(group.colour) else group.colour  # apart from what lies under it, in grey
        for chosen, edge, width in ((~on[group.rows], rim, 0.7), (on[group.rows], "black", 1.1)):
            some = np.array(group.rows)[chosen]
            axes.scatter(
                *points[some].T,
                s=areas[some],
                facecolor=group.face,
                marker=group.marker,
                edgecolors=edge,
                linewidths=width,
                alpha=0.9,
                zorder=3,
            )


def _scales(every: Sequence[Axes], x: tuple[np.ndarray, str], y: tuple[np.ndarray, str], stacked: bool) -> None:
    """Scale and name the shared axes."""
    for which, (numbers, label) in (("x", x), ("y", y)):
        fit_scale(every[0], which, numbers)
        outer = [every[-1] if stacked else every[len(every) // 2]] if which == "x" else [every[0]]
        for axes in every if which == ("y" if stacked else "x") else outer:
            axes.set(**{f"{which}label": label})
    for axes in every[1:]:  # they share the scales, but not how ticks look
        axes.tick_params(axis="both", which="both", labelsize="small", length=3, pad=3)


def _areas(values: list[Any]) -> np.ndarray:
    """Areas proportional to the values, so that twice the FLOPs are twice the ink; tiny ones stay visible."""
    numbers = np.array(values, dtype=float)
    return np.maximum(SMALLEST, LARGEST * numbers / max(numbers.max(), 1.0))


def _groups(columns: dict[str, list[Any]], panel: str | None) -> list[Group]:
    """The rows in groups: one for each panel, family of strategies and choice of the other axes."""
    others = [name for name in axes_of(columns) if name not in ("strategy", panel)]
    found: dict[tuple[str, str, str], list[int]] = {}
    for row, strategy in enumerate(columns["strategy"]):
        choice = ", ".join(f"{name} {columns[name][row]}" for name in others)
        where = str(columns[panel][row]) if panel else ""
        found.setdefault((str(read_text(strategy).family), choice, where), []).append(row)
    families, choices = (list(dict.fromkeys(key[i] for key in found)) for i in (0, 1))
    groups = []
    for (name, choice, _), rows in found.items():
        colour, marker = STYLES[families.index(name) % len(STYLES)]
        fill = FILLS[choices.index(choice)] if len(choices) <= len(FILLS) else FILLS[0]
        face = to_hex(1 - fill * (1 - np.array(to_rgb(colour))))
        rows = sorted(rows, key=lambda row: read_text(columns["strategy"][row]).blocks or 0)
        groups.append(Group(name, choice, rows, colour, face, marker))
    return groups


def _frontier(axes: Axes, points: np.ndarray, shown: Plane) -> None:
    """Draw the frontier of the two columns on the axes as a staircase, beyond which no row lies."""
    x, y = points.T
    best = np.flatnonzero(frontier([x, y], [shown.x.less, shown.y.less]))
    best = best[np.lexsort((y[best], x[best]))]
    axes.step(
        x[best],
        y[best],
        where="post" if shown.x.less else "pre",
        color=BAND,
        linewidth=5,
        zorder=1,
        solid_joinstyle="round",
        solid_capstyle="round",
    )


def _samples(groups: list[Group], shown: Plane, columns: dict[str, list[Any]], areas: np.ndarray) -> list[Line2D]:
    """A sample for each family, choice and kind of mark, and three bubbles."""
    families = {group.family: group for group in reversed(groups)}
    handles = [
        _sample(name, color=group.colour, marker=group.marker, linewidth=int(len(group.rows) > 1))
        for name, group in reversed(families.items())
    ]
    choices = list(dict.fromkeys(group.choice for group in groups))
    if 1 < len(choices) <= len(FILLS):
        handles += [
            _sample(choice, color=str(1 - 0.6 * fill), markeredgecolor="#666666")
            for choice, fill in zip(choices, FILLS)
        ]
    handles.append(_sample("on the frontier", color="white", markeredgecolor="black"))
    handles.append(_sample("frontier of the two axes", color=BAND, marker="", linewidth=5))
    return handles + (_bubbles(shown.bubble, columns[shown.bubble], areas) if shown.bubble else [])


def _bubbles(name: str, values: list[Any], areas: np.ndarray) -> list[Line2D]:
    """Samples of the smallest, the middle and the largest bubble."""
    numbers = np.array(values, dtype=float)
    three = (numbers.min(), np.median(numbers), numbers.max())
    rows = dict.fromkeys(int(np.abs(numbers - v).argmin()) for v in three)
    return [
        _sample(f"{show_count(values[row])} {in_words(name)}", color="#bbbbbb", markersize=np.sqrt(areas[row]))
        for row in rows
    ]


def _sample(label: str, **style: Any) -> Line2D:
    """A mark of the legend: a dot, unless the style says otherwise."""
    return Line2D([], [], label=label, **{"marker": "o", "markersize": 6, "linewidth": 0, **style})


def _texts(columns: dict[str, list[Any]], groups: list[Group], on: np.ndarray) -> list[Label]:
    """The strategies' names, and K along lines. Names come first."""
    # Darker than the bubbles, so that texts are legible.
    colour = {row: to_hex(0.7 * np.array(to_rgb(group.colour))) for group in groups for row in group.rows}
    blocks = [read_text(strategy).blocks for strategy in columns["strategy"]]
    many = len({group.choice for group in groups}) > len(FILLS)  # so that no fill tells them apart
    choice = {row: f", {group.choice}" if many else "" for group in groups for row in group.rows}
    texts = [
        Label(row, visible(f"{strategy}{choice[row]}") if blocks[row] is None else str(blocks[row]), colour[row])
        for row, strategy in enumerate(columns["strategy"])
        if on[row] or (blocks[row] is None and not many)
    ]
    return sorted(texts, key=lambda label: label.text.isdecimal())
