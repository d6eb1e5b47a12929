"""Labels beside points that cover neither points nor lines nor each other."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

LETTER = 6.5  # points


class Label(NamedTuple):
    """A text for the point with this number, in a colour."""

    point: int
    text: str
    colour: str


def place_labels(
    axes: Axes, points: np.ndarray, radii: np.ndarray, lines: Sequence[np.ndarray], labels: Sequence[Label]
) -> None:
    """Write each label close to its point; leave out those for which no place is free, the last ones first.

    points: (n, 2), in units of the axes, with the radii of their bubbles in points; lines: (m, 2) each. The axes keep
    their place from here on: nothing may be laid out later.
    """
    import textalloc  # slow to import, since it knows 3-D axes too

    figure = axes.get_figure()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    if not labels:
        return
    chosen = [label.point for label in labels]
    pixels = radii * figure.dpi / 72
    width = axes.get_window_extent().width
    point = figure.dpi / 72 / width  # one point, as a share of the axes' width
    with redirect_stdout(io.StringIO()):  # it says there that it found no place
        textalloc.allocate(
            axes,
            *points[chosen].T,
            [label.text for label in labels],
            x_scatter=points[:, 0],
            y_scatter=points[:, 1],
            scatter_sizes=pixels,
            text_scatter_sizes=pixels[chosen],
            x_lines=[line[:, 0] for line in lines],
            y_lines=[line[:, 1] for line in lines],
            textsize=LETTER,
            textcolor=[label.colour for label in labels],
            linecolor=[label.colour for label in labels],
            linewidth=0.4,
            margin=0.7 * point,
            min_distance=2 * point,
            max_distance=26 * point,
            draw_all=False,
            avoid_label_lines_overlap=True,
            avoid_crossing_label_lines=True,
            zorder=5,
            va="bottom",
        )
