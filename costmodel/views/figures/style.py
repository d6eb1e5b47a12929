"""What all figures share: colours, the canvas, the place of the legend, and writing to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...errors import CostmodelError
from ...files.whole import replacing

SUFFIXES = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, distinguishable in every kind of colour blindness.
BLUE, RED, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, BLACK, GREY = "#E69F00", "#56B4E9", "#F0E442", "#000000", "#999999"


def canvas(size: tuple[float, float]) -> Figure:
    """An empty figure. size: width and height in inches."""
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def two_axes(size: tuple[float, float], heights: tuple[int, int]) -> tuple[Figure, Axes, Axes]:
    """A figure with two axes, one above the other. heights: their ratio."""
    figure = canvas(size)
    above, below = figure.subplots(2, 1, height_ratios=heights)
    return figure, above, below


def legend_beside(axes: Axes, **shown: Any) -> None:
    """Put the legend to the right of the axes."""
    axes.legend(**shown, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False)


def phase_name(axes: Axes, middle: float, phase: str) -> None:
    """Write the name of a phase along the upper edge. middle: of the phase, in units of the time axis."""
    place = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "top"}
    axes.text(middle, 0.985, phase, fontsize=8, color="#333333", **place)


def phase_border(axes: Axes, at: float) -> None:
    """Draw the line at which a phase begins."""
    axes.axvline(at, color="black", linewidth=0.6, linestyle=":")


def save(figure: Figure, path: str) -> None:
    """Write a figure to a file, in the format of the suffix. Raises CostmodelError if it is unknown or writing fails.

    The file is written under another name first, so that no half-written file is left behind.
    """
    check_figure(path)
    with replacing(path, "figure") as unfinished:
        figure.savefig(unfinished, format=Path(path).suffix[1:])


def check_figure(path: str) -> None:
    """Raise CostmodelError unless a figure's name ends in one of SUFFIXES."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise CostmodelError(f"figure {path!r}: found the type {suffix!r}; allowed: {', '.join(SUFFIXES)}")
