"""Pictures of an estimate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..errors import CostmodelError
from ..estimates import Estimate
from ..size import show
from ..units import BYTES, show_size, unit_of

SUFFIXES = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, told apart in every kind of colour blindness; from the longest lived up.
COLOURS = {
    "resident": "#999999",
    "gradients": "#0072B2",
    "saved": "#56B4E9",
    "activations": "#009E73",
    "gradients of activations": "#E69F00",
    "scratch": "#D55E00",
    "loss": "#CC79A7",
}
NAMES = {
    "resident": "resident: parameters, buffers, optimizer, images",
    "gradients": "gradients of parameters",
    "saved": "saved for the backward pass",
    "activations": "activations that are not saved",
    "gradients of activations": "gradients of activations",
    "scratch": "scratch",
}


def save(figure: Figure, path: str) -> None:
    """Write a figure as its suffix says. Raises CostmodelError for another suffix or a path that cannot be written.

    The file is written under another name first, so that none is left behind half-written.
    """
    check_figure(path)
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        figure.savefig(unfinished, format=target.suffix[1:])
        os.replace(unfinished, target)
    except OSError as error:
        raise CostmodelError(f"figure {path!r} cannot be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def check_figure(path: str) -> None:
    """Raise CostmodelError unless a figure's name ends in one of SUFFIXES."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise CostmodelError(f"figure {path!r}: found the type {suffix!r}; allowed: {', '.join(SUFFIXES)}")


def step_figure(estimate: Estimate) -> Figure:
    """The memory over one step by category, and below it what each block saves."""
    figure = Figure(figsize=(9, 7), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    _step(above, estimate)
    _blocks(below, estimate)
    title = f"{estimate.network}, {estimate.strategy}, batch {estimate.batch} of {show(estimate.input_shape)}"
    figure.suptitle(f"{title}, {estimate.request.optimizer.name}", fontsize=11)
    figure.supxlabel(f"counted by {estimate.convention} for {estimate.request.target}", fontsize=7, color="#555555")
    return figure


def _step(axes, estimate: Estimate) -> None:
    timeline = estimate.memory.timeline
    series = category_levels(estimate)
    resident = estimate.peak_bytes - estimate.step_peak_bytes
    unit = unit_of(estimate.peak_bytes)
    time = np.arange(len(timeline.events))
    layers = [np.full(len(time), resident)] + [series[name] for name in COLOURS if name in series]
    names = ["resident"] + [name for name in COLOURS if name in series]
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
            axes.axvline(start, color="black", linewidth=0.6, linestyle=":")
        if count > 0.03 * len(phases):
            axes.text(start + count / 2, 0.985, phase, transform=axes.get_xaxis_transform(), ha="center", va="top",
                      fontsize=8, color="#333333")  # fmt: skip
    axes.set(xlim=(0, len(time) - 1), ylim=(0, 1.25 * peak), ylabel=f"allocated, {unit}", xticks=[])
    axes.set_xlabel("allocations and releases of one step, in order", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False)


def _blocks(axes, estimate: Estimate) -> None:
    """What each block saves, what its gradients need of it apart from what only the implementation keeps."""
    parts = {part["name"]: [0, 0] for part in estimate.blocks}
    for row in estimate.rows:
        parts[row.segment][0 if row.needed else 1] += row.saved_bytes
    unit = unit_of(max(sum(pair) for pair in parts.values()))
    needed, idle = (np.array([pair[i] for pair in parts.values()]) / BYTES[unit] for i in (0, 1))
    place = np.arange(len(parts))
    axes.bar(place, needed, color="#56B4E9", label="read by the gradients")
    axes.bar(place, idle, bottom=needed, color="#F0E442", edgecolor="#888888", linewidth=0.3, hatch="////",
             label="kept by the implementation only")  # fmt: skip
    axes.set(ylabel=f"saved, {unit}", xlim=(-0.6, len(parts) - 0.4))
    axes.set_xticks(place, list(parts), rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False)


def category_levels(estimate: Estimate) -> Dict[str, np.ndarray]:
    """Allocated bytes after each event, for each category; they add up to the levels."""
    timeline, sizes = estimate.memory
    deltas = timeline.signs * sizes[timeline.slots]
    category = np.array([event.category for event in timeline.events])
    return {name: np.cumsum(np.where(category == name, deltas, 0)) for name in dict.fromkeys(category.tolist())}
