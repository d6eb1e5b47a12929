"""The figure of a frontier, in the style of MobileTL's: memory on x, bubbles for FLOPs, a line for each family."""

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

# A colour and a marker for each family; the markers differ in black and white too.
STYLES = tuple(zip((BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY), ("o", "s", "^", "D", "v", "P", "X", "*")))
FILLS = (1.0, 0.3, 0.6, 0.1)  # intensities of a family's colour, one per choice of the other axes
MOST_LABELS = 60
MOST_GROUPS = 24  # with more groups, lines would hide the points
BAND = "#d5d5d5"
SMALLEST, LARGEST = 12.0, 200.0  # areas of bubbles, points^2
DIRECTIONS = [(np.cos(a), np.sin(a)) for a in np.radians((90, 45, 135, 0, 180, -90, -45, -135))]
DISTANCES = (4.0, 9.0, 16.0, 25.0)  # points from the bubble's edge


class Group(NamedTuple):
    """Rows that one line joins, in order of K."""

    family: str
    choice: str  # of the other axes
    rows: list[int]
    colour: str
    face: str
    marker: str


class Plane(NamedTuple):
    """What is drawn: a column on each axis, and the column of the bubbles' areas, if there is one left."""

    x: Objective
    y: Objective
    bubble: str | None


def plane(columns: dict[str, list[Any]], objectives: Sequence[Objective]) -> Plane:
    """What to draw: on x the first objective; on y the next one that is maximised, else the second one.

    Bubbles show the objective that is left, or else the step's FLOPs.
    """
    x, *rest = objectives
    y = next((o for o in rest if not o.less), rest[0])
    left = [o.column for o in rest if o is not y] + ["step_flops"]
    bubble = next((name for name in left if name in columns and name not in (x.column, y.column)), None)
    return Plane(x, y, bubble)


def pareto_figure(
    columns: dict[str, list[Any]], on: Sequence[bool], objectives: Sequence[Objective], title: str
) -> Figure:
    """A figure of all rows of a table as bubbles. on: whether a row is on the frontier, which a black outline shows.

    A band marks the frontier of the two axes alone.
    """
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
    """A column's numbers in the unit of its axis. Labels the axis, and makes it logarithmic for a wide range."""
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
        digits = "2357" if most < 100 * least else "25"  # more labels would overlap
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in digits else "")
        axis.set_tick_params(which="both", labelsize=8)
    return numbers


def _words(name: str) -> str:
    """A column's name in words."""
    return name.replace("_", " ").replace("flops", FLOPS)


def _areas(values: list[Any]) -> np.ndarray:
    """Areas proportional to the values, so that twice the FLOPs are twice the ink; tiny ones stay visible."""
    numbers = np.array(values, dtype=float)
    return np.maximum(SMALLEST, LARGEST * numbers / max(numbers.max(), 1.0))


def _groups(columns: dict[str, list[Any]]) -> list[Group]:
    """The rows in groups: one for each family of strategies and choice of the other axes."""
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
    """Draw the frontier of the two columns on the axes as a staircase, beyond which no row lies."""
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
    if drawn.bubble:
        handles += _bubbles(drawn.bubble, columns[drawn.bubble], areas)
    axes.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False, labelspacing=0.9
    )


def _bubbles(name: str, values: list[Any], areas: np.ndarray) -> list[Line2D]:
    """Samples of the smallest, the middle and the largest bubble."""
    numbers = np.array(values, dtype=float)
    three = (numbers.min(), np.median(numbers), numbers.max())
    rows = dict.fromkeys(int(np.abs(numbers - v).argmin()) for v in three)
    return [
        _sample(f"{show_count(values[row])} {_words(name)}", color="#bbbbbb", markersize=np.sqrt(areas[row]))
        for row in rows
    ]


def _sample(label: str, **style: Any) -> Line2D:
    """A mark of the legend: a dot, unless the style says otherwise."""
    return Line2D([], [], label=label, **{"marker": "o", "markersize": 6, "linewidth": 0, **style})


def _texts(columns: dict[str, list[Any]], groups: list[Group], on: np.ndarray) -> list[tuple[int, str, str]]:
    """(row, text, colour) of each label: the strategy's name, or K along a line. Names come first."""
    # Darker than the bubbles, so that texts are legible.
    colour = {row: to_hex(0.7 * np.array(to_rgb(group.colour))) for group in groups for row in group.rows}
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
    """Write each text close to its bubble where it covers no bubble, line or text; leave it out if nothing is free."""
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
    """Points along a line, in pixels, too close together for a letter to fit in between."""
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
