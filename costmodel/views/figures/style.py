"""What all figures share: colours, lines of budgets, marks of phases, and scales of axes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...escapes import visible
from ...sizes.units import BYTES as IN_BYTES
from ...sizes.units import show_size, unit_of
from ...studies.grid.columns import BYTES, FLOPS, UNITS

# Okabe and Ito's colours, distinguishable in every kind of colour blindness.
BLUE, RED, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, BLACK, GREY = "#E69F00", "#56B4E9", "#F0E442", "#000000", "#999999"
#: Darker and lighter than theirs, for areas that must differ from their neighbours in grey too.
NAVY, MAROON, SILVER = "#003F6B", "#8C1C00", "#D4D4D4"
# Colours and markers of lines; the markers differ in black and white too.
STYLES = tuple(zip(
    (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY, NAVY, MAROON, YELLOW),
    ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p"),
))  # fmt: skip
DASHES = ("-", (0, (3, 1.2)), (0, (1, 1)), (0, (5, 1, 1, 1)))
BUDGET = {"color": "black", "linewidth": 1.0, "linestyle": (0, (6, 2))}


def budget_line(axes: Axes, budget: int, unit: str, upright: bool = False, name: str = "budget") -> Line2D:
    """Draw a budget in bytes across the axes, on top of everything else; it returns the legend's sample.

    upright: whether memory is on x. name: of the budget, in the legend.
    """
    draw = axes.axvline if upright else axes.axhline
    return draw(budget / IN_BYTES[unit], zorder=6, label=f"{name}, {short_size(budget)}", **BUDGET)


def short_size(size: int) -> str:
    """A size with its unit and no more digits than it has: '64 MB'."""
    return show_size(size).replace(".00 ", " ")


def phase_name(axes: Axes, middle: float, phase: str) -> None:
    """Write the name of a phase along the upper edge. middle: of the phase, in units of the time axis."""
    place = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "top"}
    axes.text(middle, 0.99, phase, fontsize="small", color="#333333", **place)


def phase_border(axes: Axes, at: float) -> None:
    """Draw the line at which a phase begins."""
    axes.axvline(at, color="black", linewidth=0.6, linestyle=":")


def scaled(name: str, values: np.ndarray) -> tuple[np.ndarray, str]:
    """A column's numbers in the unit of its axis, and the axis' label."""
    most = values.max()
    if UNITS.get(name) == BYTES:
        unit = unit_of(int(most))
        return values / IN_BYTES[unit], f"{name.removesuffix('_bytes').replace('_', ' ')} memory, {unit}"
    if most >= 10**6:
        letter, factor = ("G", 10**9) if most >= 10**10 else ("M", 10**6)
        return values / factor, f"{in_words(name)}, {letter}"
    return values, in_words(name)


def in_words(name: str) -> str:
    """A column's name in words."""
    return visible(name).replace("_", " ").replace("flops", FLOPS)


def fit_scale(axes: Axes, which: str, numbers: np.ndarray, wide: float = 4.0, room: float = 0.07) -> None:
    """End an axis where its numbers end, and make it logarithmic if the largest is more than `wide` times the least.

    room: at both ends, as a share of the numbers' range.
    """
    least, most = float(numbers.min()), float(numbers.max())
    limits = getattr(axes, f"set_{which}lim")
    if least > 0 and most > wide * least:
        axes.set(**{f"{which}scale": "log"})
        axis = getattr(axes, f"{which}axis")
        digits = "2357" if most < 30 * least else "25" if most < 1000 * least else ""  # more labels would overlap
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in digits else "")
        limits(least / (most / least) ** room, most * (most / least) ** room)
    elif most > least:
        limits(least - room * (most - least), most + room * (most - least))
    axes.tick_params(axis=which, which="both", labelsize="small", length=3, pad=3)
