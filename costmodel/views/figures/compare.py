"""The figure of several strategies: a bar for each, of what is there at its peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...escapes import visible
from ...sizes.size import show
from ...sizes.units import BYTES, unit_of
from ...step.estimate import Estimate
from .categories import LOOKS, RESIDENT, look, sample
from .sheet import SCREEN, Sheet, is_narrow, legend
from .style import budget_line, short_size

VISIBLE = 0.004  # of the axis


def compare_figure(estimates: Sequence[Estimate], budget: int | None = None, sheet: Sheet = SCREEN) -> Figure:
    """A figure with a bar for each estimate: the bytes at its peak by category, and whether they fit a budget."""
    rows = len(estimates)
    parts = [{RESIDENT: estimate.resident_bytes, **estimate.at_peak} for estimate in estimates]
    with sheet.open((9, 1.8 + 0.32 * rows), tall=(1.7 + 0.2 * rows) / 3.33) as figure:
        axes = figure.subplots()
        first = estimates[0]
        sheet.title(
            figure,
            f"{first.network}, batch {first.batch} of {show(first.input_shape)}, {first.request.optimizer.name}",
            f"counted by {first.convention} for {first.request.target}",
        )
        most = max([estimate.peak_bytes for estimate in estimates] + ([budget] if budget is not None else []))
        unit = unit_of(most)
        handles = _bars(axes, parts, unit, most)
        if budget is not None:
            handles.append(budget_line(axes, budget, unit, upright=True))
        axes.set(xlabel=f"at the peak, {unit}", xlim=(0, most / BYTES[unit]))
        axes.set_yticks(range(rows), [_name(axes, estimate.strategy) for estimate in estimates])
        axes.set_ylim(rows - 0.45, -0.55)
        axes.tick_params(axis="y", length=0)
        legend(axes, handles)
        _totals(axes, estimates, budget, unit)
    return figure


def _bars(axes: Axes, parts: Sequence[dict[str, int]], unit: str, most: int) -> list[Any]:
    """Draw the bars; returns the samples of what can be seen."""
    place, floor, handles = np.arange(len(parts)), np.zeros(len(parts)), []
    for name in dict.fromkeys(name for part in parts for name in part):
        look(name)
    for name in LOOKS:
        sizes = np.array([part.get(name, 0) for part in parts]) / BYTES[unit]
        if sizes.any():
            axes.barh(place, sizes, left=floor, height=0.7, **look(name).patch())
            floor = floor + sizes
            if sizes.max() >= VISIBLE * most / BYTES[unit]:
                handles.append(sample(name))
    return handles


def _name(axes: Axes, strategy: str) -> str:
    """A strategy's text, its options on a second line where there is little room."""
    strategy, narrow = visible(strategy), is_narrow(axes.get_figure()) and len(strategy) > 14
    return strategy.replace(",", ",\n") if narrow else strategy


def _totals(axes: Axes, estimates: Sequence[Estimate], budget: int | None, unit: str) -> None:
    """Write each peak at the end of its bar, in bold letters where it is within the budget, and make room for it."""
    figure = axes.get_figure()
    texts = []
    for place, estimate in enumerate(estimates):
        fits = budget is not None and estimate.peak_bytes <= budget
        texts.append(
            axes.annotate(
                f"{short_size(estimate.peak_bytes)}{', fits' if fits else ''}",
                (estimate.peak_bytes / BYTES[unit], place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
                fontweight="bold" if fits else "normal",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                zorder=7,
            )
        )
    figure.draw_without_rendering()
    renderer, width = figure.canvas.get_renderer(), axes.get_window_extent().width
    _, right = axes.get_xlim()
    most = 1.02 * right
    line = -1.0 if budget is None else budget / BYTES[unit]
    for text in texts:
        share = (text.get_window_extent(renderer).width + 8) / width
        end, place = text.xy
        if end <= line < end + share * right:  # the budget's line would cross the text
            end = line
            text.xy = (end, place)
        most = max(most, end / (1 - min(share, 0.7)))
    axes.set_xlim(0, most)
