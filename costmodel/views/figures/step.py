"""The figure of an estimate: the memory over one step by category, and what each block saves."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ...escapes import visible
from ...sizes.size import show
from ...sizes.units import BYTES, unit_of
from ...step.estimate import Estimate
from ...step.events import SAVED
from .blocks_axis import block_prefix, name_blocks, places
from .categories import LOOKS, RESIDENT, look, sample
from .sheet import SCREEN, Sheet, is_low, legend
from .style import budget_line, phase_border, phase_name, short_size

NARROWEST = 1.0  # points; a spike that lasts for one event of thousands is drawn as wide as this
VISIBLE = 0.004  # of the axis; what is nowhere as high cannot be seen
TOO_FAR = 4  # a budget of so many peaks would leave the step no height


def step_figure(estimate: Estimate, budget: int | None = None, sheet: Sheet = SCREEN) -> Figure:
    """A figure of the memory over one step by category, and below it, if there is room, of what each block saves.

    budget: in bytes; a line, where it is not far above the peak.
    """
    with sheet.open((9, 6.5), tall=1.3) as figure:
        above, *rest = [figure.subplots()] if is_low(figure) else figure.subplots(2, 1, height_ratios=(3, 2))
        title = f"{estimate.network}, {estimate.strategy}, batch {estimate.batch} of {show(estimate.input_shape)}"
        sheet.title(
            figure,
            f"{title}, {estimate.request.optimizer.name}",
            f"counted by {estimate.convention} for {estimate.request.target}",
        )
        for below in rest:
            _blocks(below, estimate)
        _step(above, estimate, budget)
    return figure


def _step(axes: Axes, estimate: Estimate, budget: int | None) -> None:
    """Draw the layers of the step's memory, its peak, its phases and blocks."""
    series = category_levels(estimate)
    for name in series:
        look(name)
    resident = estimate.peak_bytes - estimate.step_peak_bytes
    unit = unit_of(max(estimate.peak_bytes, budget or 0))
    at = places(estimate)
    starts, highest = columns(estimate.levels, at, int(0.7 * axes.get_figure().get_figwidth() * 72 / NARROWEST))
    edges = at[np.append(starts, -1)]
    floor, handles = np.zeros(len(edges)), list[Any]()
    for name in LOOKS:
        if name == RESIDENT or name in series:
            height = np.full(len(highest), resident) if name == RESIDENT else series[name][highest]
            top = floor + np.append(height, height[-1]) / BYTES[unit]
            axes.fill_between(edges, floor, top, step="post", **look(name).patch())
            floor = top
            if height.max() >= VISIBLE * estimate.peak_bytes:
                handles.insert(0, sample(name))
    most = estimate.peak_bytes
    if budget is not None and budget <= TOO_FAR * most:
        handles.insert(0, budget_line(axes, budget, unit))
        most = max(most, budget)
    axes.set(xlim=(0, at[-1]), ylabel=f"allocated, {unit}")
    prefix = block_prefix(estimate)
    axes.set_xlabel(f"events of one step in order, by block{f' ({prefix}N)' if prefix else ''}", fontsize="small")
    legend(axes, handles)
    name_blocks(axes, estimate)
    # Above the highest line, room for the names of the phases and for two lines about the peak.
    lines = 5.0 * axes.xaxis.label.get_fontsize() * axes.get_figure().dpi / 72
    axes.set_ylim(0, most / BYTES[unit] / (1 - min(0.5, lines / axes.get_window_extent().height)))
    _phases(axes, estimate)
    _peak(axes, estimate, unit)


def _phases(axes: Axes, estimate: Estimate) -> None:
    phases, at = [event.phase for event in estimate.timeline.events], places(estimate)
    for phase in dict.fromkeys(phases):
        start = phases.index(phase)
        left, right = at[start], at[start + phases.count(phase)]
        if start:
            phase_border(axes, left)
        if right - left > 0.08 * at[-1]:
            phase_name(axes, (left + right) / 2, phase)


def _peak(axes: Axes, estimate: Estimate, unit: str) -> None:
    """Mark the peak and say where it is, within its phase if there is room."""
    top, at = int(estimate.levels.argmax()), places(estimate)
    place, height = (at[top] + at[top + 1]) / 2, estimate.peak_bytes / BYTES[unit]
    axes.plot([place], [height], marker=7, color="black", markersize=4, clip_on=False, zorder=7)
    text = axes.annotate(
        f"peak {short_size(estimate.peak_bytes)}\n{estimate.peak_at['phase']}, {visible(estimate.peak_at['node'])}",
        (place, height),
        xytext=(0, 6),
        textcoords="offset points",
        va="bottom",
        fontsize="small",
        zorder=7,
    )
    step = axes.get_window_extent().width / at[-1]  # pixels
    width = text.get_window_extent(axes.get_figure().canvas.get_renderer()).width / step
    phases = [event.phase for event in estimate.timeline.events]
    start = phases.index(phases[top])
    left, right = at[start], at[start + phases.count(phases[top])]
    if right - left < width:
        left, right = 0, at[-1]
    begin = min(max(place - width / 2, left + 4 / step), right - width)
    text.set_position(((begin - place) * step * 72 / axes.get_figure().dpi, 6))


def _blocks(axes: Axes, estimate: Estimate) -> None:
    """Draw what each block saves: what the gradients need, and above it what only the implementation keeps."""
    parts = {part["name"]: [0, 0] for part in estimate.blocks}
    for row in estimate.rows:
        parts[row.part][0 if row.needed else 1] += row.saved_bytes
    most = max(sum(pair) for pair in parts.values())
    unit = unit_of(most)
    needed, idle = (np.array([pair[i] for pair in parts.values()]) / BYTES[unit] for i in (0, 1))
    place = np.arange(len(parts))
    colour = LOOKS[SAVED].colour
    only = {"facecolor": "white", "edgecolor": colour, "hatch": "//////", "linewidth": 0.5}
    axes.bar(place, needed, color=colour)
    axes.bar(place, idle, bottom=needed, **only)
    axes.set(ylabel=f"saved, {unit}", xlim=(-0.6, len(parts) - 0.4), ylim=(0, 1.05 * max(most, 1) / BYTES[unit]))
    axes.set_xticks(place, [visible(name) for name in parts], rotation=60, ha="right", rotation_mode="anchor")
    if idle.max() * BYTES[unit] >= VISIBLE * most:
        legend(
            axes,
            [
                Patch(color=colour, label="read by the gradients"),
                Patch(label="kept by the implementation only", **only),
            ],
        )


def columns(levels: np.ndarray, at: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Equal stretches of a time axis, at most so many: the first event of each, and its event of the highest level.

    at: places of the events, and the end. Drawn at their highest, spikes are seen that would be narrower than a dot.
    """
    starts = np.unique(np.searchsorted(at, np.linspace(0, at[-1], most, endpoint=False), side="right") - 1)
    stops = np.append(starts[1:], len(levels))
    return starts, np.array([start + int(levels[start:stop].argmax()) for start, stop in zip(starts, stops)])


def category_levels(estimate: Estimate) -> dict[str, np.ndarray]:
    """Allocated bytes after each event, for each category; all categories add up to the levels."""
    timeline, sizes = estimate.timeline, estimate.slot_sizes
    deltas = timeline.sign_of * sizes[timeline.slot_of]
    category = np.array([event.category for event in timeline.events])
    return {name: np.cumsum(np.where(category == name, deltas, 0)) for name in dict.fromkeys(category.tolist())}
