"""The figure of an estimate: the memory over one step by category, and what each block saves."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import check_name
from ...sizes.size import show
from ...sizes.units import BYTES, show_size, unit_of
from ...step.estimate import Estimate
from ...step.events import ACTIVATION_GRADIENTS, ACTIVATIONS, CATEGORIES, GRADIENTS, LOSS, RECOMPUTED, SAVED, SCRATCH
from .style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    YELLOW,
    legend_beside,
    phase_border,
    phase_name,
    two_axes,
)

RESIDENT = "resident"
# In stacking order: the longest lived at the bottom.
COLOURS = {
    RESIDENT: GREY, GRADIENTS: BLUE, SAVED: SKY, RECOMPUTED: YELLOW, ACTIVATIONS: GREEN, ACTIVATION_GRADIENTS: ORANGE,
    SCRATCH: RED, LOSS: PURPLE,
}  # fmt: skip
# Names in the legend; the loss is left out, too small to be seen.
NAMES = {
    RESIDENT: "resident: parameters, buffers, optimizer, images",
    **{category: words for category, words in CATEGORIES.items() if category != LOSS},
}


def step_figure(estimate: Estimate) -> Figure:
    """A figure of the memory over one step by category, and below it of what each block saves."""
    figure, above, below = two_axes((9, 7), (3, 2))
    _step(above, estimate)
    _blocks(below, estimate)
    title = f"{estimate.network}, {estimate.strategy}, batch {estimate.batch} of {show(estimate.input_shape)}"
    figure.suptitle(f"{title}, {estimate.request.optimizer.name}", fontsize=11)
    figure.supxlabel(f"counted by {estimate.convention} for {estimate.request.target}", fontsize=7, color="#555555")
    return figure


def _step(axes: Axes, estimate: Estimate) -> None:
    timeline = estimate.timeline
    series = category_levels(estimate)
    for name in series:
        check_name("category", name, COLOURS)  # a category without a colour would be missing from the figure
    resident = estimate.peak_bytes - estimate.step_peak_bytes
    unit = unit_of(estimate.peak_bytes)
    time = np.arange(len(timeline.events))
    layers = [np.full(len(time), resident)] + [series[name] for name in COLOURS if name in series]
    names = [RESIDENT] + [name for name in COLOURS if name in series]
    axes.stackplot(
        time,
        *[layer / BYTES[unit] for layer in layers],
        colors=[COLOURS[name] for name in names],
        labels=[NAMES.get(name, "_") for name in names],
        step="post",
        linewidth=0,
    )
    top = int(estimate.levels.argmax())
    peak = (resident + estimate.step_peak_bytes) / BYTES[unit]
    right = top > len(time) / 2
    axes.annotate(
        f"peak {show_size(estimate.peak_bytes)}\n{estimate.peak_at['phase']}, {estimate.peak_at['node']}",
        (top, peak),
        xytext=(-12 if right else 12, 4),
        textcoords="offset points",
        ha="right" if right else "left",
        va="bottom",
        fontsize=8,
        arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
    )
    phases = [event.phase for event in timeline.events]
    for phase in dict.fromkeys(phases):
        start, count = phases.index(phase), phases.count(phase)
        if start:
            phase_border(axes, start)
        if count > 0.03 * len(phases):
            phase_name(axes, start + count / 2, phase)
    axes.set(xlim=(0, len(time) - 1), ylim=(0, 1.25 * peak), ylabel=f"allocated, {unit}", xticks=[])
    axes.set_xlabel("allocations and releases of one step, in order", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    legend_beside(axes, handles=handles[::-1], labels=labels[::-1])


def _blocks(axes: Axes, estimate: Estimate) -> None:
    """Draw what each block saves: what the gradients need, and above it what only the implementation keeps."""
    parts = {part["name"]: [0, 0] for part in estimate.blocks}
    for row in estimate.rows:
        parts[row.part][0 if row.needed else 1] += row.saved_bytes
    most = max(sum(pair) for pair in parts.values())
    unit = unit_of(most)
    needed, idle = (np.array([pair[i] for pair in parts.values()]) / BYTES[unit] for i in (0, 1))
    place = np.arange(len(parts))
    axes.bar(place, needed, color=COLOURS[SAVED], label="read by the gradients")
    axes.bar(
        place,
        idle,
        bottom=needed,
        color="white",
        edgecolor=COLOURS[SAVED],
        linewidth=0.5,
        hatch="////",
        label="kept by the implementation only",
    )
    axes.set(ylabel=f"saved, {unit}", xlim=(-0.6, len(parts) - 0.4), ylim=(0, 1.05 * max(most, 1) / BYTES[unit]))
    axes.set_xticks(place, list(parts), rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    legend_beside(axes)


def category_levels(estimate: Estimate) -> dict[str, np.ndarray]:
    """Allocated bytes after each event, for each category; all categories add up to the levels."""
    timeline, sizes = estimate.timeline, estimate.slot_sizes
    deltas = timeline.sign_of * sizes[timeline.slot_of]
    category = np.array([event.category for event in timeline.events])
    return {name: np.cumsum(np.where(category == name, deltas, 0)) for name in dict.fromkeys(category.tolist())}
