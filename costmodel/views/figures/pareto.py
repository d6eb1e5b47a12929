"""The picture of a frontier, in the manner of MobileTL's: memory on x, bubbles for FLOPs, a line for each family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from ...sizes.units import BYTES as IN_BYTES
from ...sizes.units import show_count, unit_of
from ...strategies import read_text
from ...studies.frontier import frontier
from ...studies.grid.columns import BYTES, FLOPS, UNITS
from ...studies.pareto import Objective
from ..pareto import axes_of
from .style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, canvas

# A colour and a marker for each family, told apart in black and white too.
STYLES = tuple(zip((BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY), ("o", "s", "^", "D", "v", "P", "X", "*")))
FILLS = (1.0, 0.3, 0.6, 0.1)  # how much colour: tells choices of the other axes apart
MOST_LABELS = 60
MOST_GROUPS = 24  # with more, lines would hide the points
BAND = "#d5d5d5"
SMALLEST, LARGEST = 12.0, 200.0  # areas of bubbles, points^2
DIRECTIONS = [(np.cos(a), np.sin(a)) for a in np.radians((90, 45, 135, 0, 180, -90, -45, -135))]
DISTANCES = (4.0, 9.0, 16.0, 25.0)  # points from the bubble's edge


class Group(NamedTuple):
    """Rows that are joined by a line, in order of K."""

    family: str
    choice: str  # of the other axes
    rows: list[int]
    colour: str
    face: str
    marker: str


class Plane(NamedTuple):
    """What is drawn: a column on each axis, and the bubbles' one, if there is one left."""

    x: Objective
    y: Objective
    bubble: str | None


def plane(columns: dict[str, list[Any]], objectives: Sequence[Objective]) -> Plane:
    """The first objective on x; on y what should be much, or the second; the rest, or the step's FLOPs, as bubbles."""
    x, *rest = objectives
    y = next((o for o in rest if not o.less), rest[0])
    left = [o.column for o in rest if o is not y] + ["step_flops"]
    bubble = next((name for name in left if name in columns and name not in (x.column, y.column)), None)
    return Plane(x, y, bubble)


def pareto_figure(
    columns: dict[str, list[Any]], on: Sequence[bool], objectives: Sequence[Objective], title: str
) -> Figure:
    """All rows of a table as bubbles, black outlines for those on its frontier (on), a band along the two axes' own."""
    figure = canvas((8, 5.2))
    axes = figure.subplots()
    drawn = plane(columns, objectives)
    marked = np.asarray(on, dtype=bool)
    x, y = (_scaled(axes, which, columns[o.column], o.column) for which, o in (("x", drawn.x), ("y", drawn.y)))
    areas = _areas(columns[drawn.bubble]) if drawn.bubble else np.full(len(x), 60.0)
    groups = _groups(columns)
    for group in groups:
        if len(group.rows) > 1 and len(groups) <= MOST_GROUPS:
            axes.plot(x[group.rows], y[group.rows], color=group.colour, linewidth=1, alpha=0.6, zorder=2)
        for chosen, edge, width in ((~marked[group.rows], group.colour, 0.7), (marked[group.rows], "black", 1.1)):
            some = np.array(group.rows)[chosen]
            axes.scatter(
                x[some],
                y[some],
                s=areas[some],
                facecolor=group.face,
                marker=group.marker,
                edgecolors=edge,
                linewidths=width,
                alpha=0.9,
                zorder=3,
            )
    _frontier(axes, x, y, drawn)
    _legend(axes, groups, drawn, columns, areas)
    axes.set_title(title, fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, linewidth=0.3, color="#dddddd", zorder=0)
    axes.margins(0.08, 0.10)
    lines = [np.stack([x[group.rows], y[group.rows]], axis=1) for group in groups if len(group.rows) > 1]
    _labels(figure, axes, np.stack([x, y], axis=1), areas, lines, _texts(columns, groups, marked))
    return figure


def _scaled(axes: Axes, which: str, values: list[Any], name: str) -> np.ndarray:
    """A column in the unit of its axis, which is labelled so; logarithmic where the largest is some times the least."""
    numbers = np.array(values, dtype=float)
    least, most = numbers.min(), numbers.max()
    if UNITS.get(name) == BYTES:
        unit = unit_of(int(most))
        numbers, label = numbers / IN_BYTES[unit], f"{name.removesuffix('_bytes').replace('_', ' ')} memory, {unit}"
    elif most >= 10**6:
        letter, factor = ("G", 10**9) if most >= 10**10 else ("M", 10**6)
        numbers, label = numbers / factor, f"{_words(name)}, {letter}"
    else:
        label = name.replace("_", " ")
    axes.set(**{f"{which}label": label})
    if least > 0 and most > 4 * least:
        axes.set(**{f"{which}scale": "log"})
        axis = getattr(axes, f"{which}axis")
        digits = "2357" if most < 100 * least else "25"  # more would run into each other
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in digits else "")
        axis.set_tick_params(which="both", labelsize=8)
    return numbers


def _words(name: str) -> str:
    """A column's name in words."""
    return name.replace("_", " ").replace("flops", FLOPS)


def _areas(values: list[Any]) -> np.ndarray:
    """Areas in proportion, so that twice the FLOPs are twice the ink; but what is tiny stays visible."""
    numbers = np.array(values, dtype=float)
    return np.maximum(SMALLEST, LARGEST * numbers / max(numbers.max(), 1.0))


def _groups(columns: dict[str, list[Any]]) -> list[Group]:
    """The families of strategies, apart for each choice of the other axes."""
    others = [name for name in axes_of(columns) if name != "strategy"]
    found: dict[tuple[str, str], list[int]] = {}
    for row, strategy in enumerate(columns["strategy"]):
        choice = ", ".join(f"{name} {columns[name][row]}" for name in others)
        found.setdefault((str(read_text(strategy).family), choice), []).append(row)
    families, choices = (list(dict.fromkeys(key[i] for key in found)) for i in (0, 1))
    groups = []
    for (name, choice), rows in found.items():
        colour, marker = STYLES[families.index(name) % len(STYLES)]
        fill = FILLS[choices.index(choice)] if len(choices) <= len(FILLS) else FILLS[0]
        face = to_hex(1 - fill * (1 - np.array(to_rgb(colour))))
        rows = sorted(rows, key=lambda row: read_text(columns["strategy"][row]).blocks or 0)
        groups.append(Group(name, choice, rows, colour, face, marker))
    return groups


def _frontier(axes: Axes, x: np.ndarray, y: np.ndarray, drawn: Plane) -> None:
    """The frontier of the two columns that are on the axes, as the stairs beyond which nothing is to be had."""
    best = np.flatnonzero(frontier([x, y], [drawn.x.less, drawn.y.less]))
    best = best[np.lexsort((y[best], x[best]))]
    axes.step(
        x[best],
        y[best],
        where="post" if drawn.x.less else "pre",
        color=BAND,
        linewidth=5,
        zorder=1,
        solid_joinstyle="round",
        solid_capstyle="round",
    )


def _legend(axes: Axes, groups: list[Group], drawn: Plane, columns: dict[str, list[Any]], areas: np.ndarray) -> None:
    families = {group.family: group for group in reversed(groups)}
    handles = [
        Line2D(
            [],
            [],
            color=group.colour,
            marker=group.marker,
            linewidth=int(len(group.rows) > 1),
            markersize=6,
            label=name,
        )
        for name, group in reversed(families.items())
    ]
    choices = list(dict.fromkeys(group.choice for group in groups))
    if 1 < len(choices) <= len(FILLS):
        for choice, fill in zip(choices, FILLS):
            handles.append(
                Line2D(
                    [],
                    [],
                    color=str(1 - 0.6 * fill),
                    marker="o",
                    markeredgecolor="#666666",
                    markersize=6,
                    linewidth=0,
                    label=choice,
                )
            )
    handles.append(
        Line2D(
            [],
            [],
            color="white",
            marker="o",
            markeredgecolor="black",
            markersize=6,
            linewidth=0,
            label="on the frontier",
        )
    )
    handles.append(Line2D([], [], color=BAND, linewidth=5, label="frontier of the two axes"))
    if drawn.bubble:
        values = np.array(columns[drawn.bubble], dtype=float)
        name = _words(drawn.bubble)
        rows = dict.fromkeys(int(np.abs(values - v).argmin()) for v in (values.min(), np.median(values), values.max()))
        for row in rows:
            handles.append(
                Line2D(
                    [],
                    [],
                    color="#bbbbbb",
                    marker="o",
                    linewidth=0,
                    markersize=np.sqrt(areas[row]),
                    label=f"{show_count(columns[drawn.bubble][row])} {name}",
                )
            )
    axes.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False, labelspacing=0.9
    )


def _texts(columns: dict[str, list[Any]], groups: list[Group], on: np.ndarray) -> list[tuple[int, str, str]]:
    """(row, text, colour) of what should be labelled: K along a line, else the strategy, which goes first."""
    colour = {row: to_hex(0.7 * np.array(to_rgb(group.colour))) for group in groups for row in group.rows}  # to be read
    blocks = [read_text(strategy).blocks for strategy in columns["strategy"]]
    texts = [
        (row, strategy if blocks[row] is None else str(blocks[row]), colour[row])
        for row, strategy in enumerate(columns["strategy"])
        if on[row] or blocks[row] is None
    ]
    return sorted(texts, key=lambda text: text[1].isdecimal())[:MOST_LABELS]


def _labels(
    figure: Figure,
    axes: Axes,
    points: np.ndarray,
    areas: np.ndarray,
    lines: list[np.ndarray],
    texts: list[tuple[int, str, str]],
) -> None:
    """Write each text where it covers no bubble, line or text, beside its bubble or a little off; else not at all."""
    figure.draw_without_rendering()
    renderer, point = figure.canvas.get_renderer(), figure.dpi / 72
    centres = axes.transData.transform(points)
    radii = np.sqrt(areas) / 2 * point
    dots = np.concatenate([np.zeros((0, 2)), *(_dots(axes.transData.transform(line), point) for line in lines)])
    taken = np.concatenate(
        [  # left, bottom, right, top
            np.concatenate([centres - radii[:, None], centres + radii[:, None]], axis=1),
            np.concatenate([dots - point / 2, dots + point / 2], axis=1),
        ]
    )
    inside = axes.get_window_extent(renderer)
    for row, text, colour in texts:
        label = axes.annotate(
            text,
            points[row],
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7,
            color=colour,
            zorder=5,
        )
        size = label.get_window_extent(renderer)
        half = np.array([size.width, size.height]) / 2 + point
        for distance in DISTANCES:
            spots = (centres[row] + (radii[row] + distance * point + half) * np.array(d) for d in DIRECTIONS)
            spot = next((spot for spot in spots if _free(spot, half, taken, inside)), None)
            if spot is not None:
                break
        if spot is None:
            label.remove()
            continue
        label.set_position(tuple((spot - centres[row]) / point))
        if distance > DISTANCES[1]:
            line = {"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkB": 0}
            axes.annotate(
                "",
                points[row],
                xytext=tuple((spot - centres[row]) / point),
                textcoords="offset points",
                arrowprops=line,
                zorder=4,
            )
        taken = np.concatenate([taken, [[*(spot - half), *(spot + half)]]])


def _dots(line: np.ndarray, point: float) -> np.ndarray:
    """Points along a line, in pixels, so close that no letter fits in between."""
    parts = []
    for start, end in zip(line[:-1], line[1:]):
        count = 2 + int(np.abs(end - start).max() / (2 * point))
        parts.append(start + (end - start) * np.linspace(0, 1, count)[:, None])
    return np.concatenate(parts)


def _free(spot: np.ndarray, half: np.ndarray, taken: np.ndarray, inside: Bbox) -> bool:
    (left, bottom), (right, top) = spot - half, spot + half
    if left < inside.x0 or right > inside.x1 or bottom < inside.y0 or top > inside.y1:
        return False
    apart = (taken[:, 2] <= left) | (taken[:, 0] >= right) | (taken[:, 3] <= bottom) | (taken[:, 1] >= top)
    return bool(apart.all())
