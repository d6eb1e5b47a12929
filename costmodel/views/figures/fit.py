"""The figure of a fit: memory against what was maximised, the budget, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...sizes.size import show
from ...sizes.units import BYTES, unit_of
from ...studies.fit import Fit
from .sheet import SCREEN, Sheet, legend
from .style import BLUE, budget_line, short_size


def fit_figure(found: Fit, axis: str, curve: Sequence[tuple[int, int]], budget: int, sheet: Sheet = SCREEN) -> Figure:
    """A figure of the peak over an axis: "batch", "resolution" or "blocks".

    curve: (value, peak in bytes) around the answer. budget: in bytes.
    """
    estimate = found.estimate
    values, peaks = np.array(curve).T
    unit = unit_of(max(int(peaks.max()), budget))
    peaks = peaks / BYTES[unit]
    with sheet.open((7, 4.2), tall=0.8) as figure:
        axes = figure.subplots()
        fixed = [f"batch {estimate.batch} of {show(estimate.input_shape)}", estimate.strategy]
        if axis == "batch":
            fixed[0] = f"images of {show(estimate.input_shape)}"
        elif axis == "resolution":
            fixed[0] = f"batch {estimate.batch}"
        else:
            fixed[1] = str(estimate.request.strategy).replace(f":{found.value}", ":K")
        sheet.title(
            figure,
            f"{estimate.network}, {fixed[1]}, {fixed[0]}, {estimate.request.optimizer.name}",
            f"counted by {estimate.convention} for {estimate.request.target}",
        )
        marker = "." if len(values) < 30 else None
        axes.plot(values, peaks, color=BLUE, linewidth=1.4, marker=marker, label="peak of a step", zorder=3)
        line = budget_line(axes, budget, unit)
        axes.axhspan(0, budget / BYTES[unit], color="#eeeeee", zorder=0)
        handles = [*axes.get_lines()[:1], line]
        axes.set(xlabel=axis if axis != "blocks" else "trained blocks K", ylabel=f"peak memory, {unit}")
        axes.set_xlim(values[0], values[-1] if len(values) > 1 else values[0] + 1)
        axes.set_ylim(0, 1.25 * max(peaks.max() / 1.2, budget / BYTES[unit]))
        axes.xaxis.get_major_locator().set_params(integer=True)
        _answer(axes, found, axis, budget, unit)
        legend(axes, handles)
    return figure


def _answer(axes: Axes, found: Fit, axis: str, budget: int, unit: str) -> None:
    """Mark the largest value that fits and say what it is; or say that none fits."""
    left, right = axes.get_xlim()
    peak, value = found.estimate.peak_bytes, found.value
    height = peak / BYTES[unit]
    if value is None:
        place = {"transform": axes.transAxes, "va": "top"}  # where no curve that rises comes
        axes.text(0.03, 0.97, f"not even the least {axis} fits:\n{short_size(peak)}", **place)
        return
    axes.plot([value], [height], color="black", marker="o", markersize=6, zorder=7, clip_on=False)
    axes.vlines(value, 0, height, color="black", linewidth=0.8, linestyle=":", zorder=2)
    text = f"{axis} {value} fits:\n{short_size(peak)}"
    if value - left > 0.45 * (right - left):  # left of the answer, the curve is below the budget
        axes.annotate(text, (value, budget / BYTES[unit]), **_beside(-4, 5, "bottom"), ha="right")
    else:
        axes.annotate(text, (value, height), **_beside(7, -7, "top"))


def _beside(right: float, up: float, va: str) -> dict[str, Any]:
    """Arguments of a note that stands so many points right of and above its point."""
    return {"xytext": (right, up), "textcoords": "offset points", "va": va, "zorder": 6}
