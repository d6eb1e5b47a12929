"""Pictures of an estimate, and of a plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ...errors import CostmodelError, check_name
from ...sizes.size import show
from ...sizes.units import BYTES, show_count, show_size, unit_of
from ...step.estimate import Estimate
from ...studies.plan.plan import Plan
from ..plan import WORTH, chosen_parts

SUFFIXES = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, told apart in every kind of colour blindness; from the longest lived up.
COLOURS = {
    "resident": "#999999",
    "gradients": "#0072B2",
    "saved": "#56B4E9",
    "recomputed": "#F0E442",
    "activations": "#009E73",
    "gradients of activations": "#E69F00",
    "scratch": "#D55E00",
    "loss": "#CC79A7",
}
NAMES = {
    "resident": "resident: parameters, buffers, optimizer, images",
    "gradients": "gradients of parameters",
    "saved": "saved for the backward pass",
    "recomputed": "made again by a block's second run",
    "activations": "activations that are not saved",
    "gradients of activations": "gradients of activations",
    "scratch": "scratch",
}
# What trains in a part of a plan; "" where a named strategy says it.
CHOSEN = {"frozen": "#999999", "bias": "#E69F00", "mobiletl": "#009E73", "full": "#0072B2", "": "#56B4E9"}
OTHER = "#D55E00"


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
    for name in series:
        check_name("category", name, COLOURS)  # what has no colour would be missing from the picture
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
    _beside(axes, handles=handles[::-1], labels=labels[::-1])


def _blocks(axes, estimate: Estimate) -> None:
    """What each block saves, what its gradients need of it apart from what only the implementation keeps."""
    parts = {part["name"]: [0, 0] for part in estimate.blocks}
    for row in estimate.rows:
        parts[row.part][0 if row.needed else 1] += row.saved_bytes
    most = max(sum(pair) for pair in parts.values())
    unit = unit_of(most)
    needed, idle = (np.array([pair[i] for pair in parts.values()]) / BYTES[unit] for i in (0, 1))
    place = np.arange(len(parts))
    axes.bar(place, needed, color=COLOURS["saved"], label="read by the gradients")
    axes.bar(place, idle, bottom=needed, color="white", edgecolor=COLOURS["saved"], linewidth=0.5, hatch="////",
             label="kept by the implementation only")  # fmt: skip
    axes.set(ylabel=f"saved, {unit}", xlim=(-0.6, len(parts) - 0.4), ylim=(0, 1.05 * max(most, 1) / BYTES[unit]))
    axes.set_xticks(place, list(parts), rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    _beside(axes)


def _beside(axes, **shown) -> None:
    """The legend, to the right of the picture."""
    axes.legend(**shown, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False)


def plan_figure(plan: Plan, other: Estimate) -> Figure:
    """The memory over the plan's step under its budget, and what each part saves and does; `other` as outlines.

    other: another strategy's estimate for the same step, such as full fine-tuning's.
    """
    figure = Figure(figsize=(9, 6.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=(3, 4))
    _two_steps(above, plan, other)
    _choices(below, plan, other)
    estimate = plan.estimate
    micro = f" x {plan.micro_batches} micro-batches" if plan.micro_batches > 1 else ""
    figure.suptitle(
        f"{estimate.network}, batch {estimate.batch}{micro} of {show(estimate.input_shape)}: {show_count(plan.value)}"
        f" {WORTH.get(plan.maximised, 'value')} within {show_size(plan.budget_bytes)}", fontsize=11,
    )  # fmt: skip
    figure.supxlabel(f"{plan.strategy}, counted by {estimate.convention} for {estimate.request.target}", fontsize=7,
                     color="#555555")  # fmt: skip
    return figure


def _two_steps(axes, plan: Plan, other: Estimate) -> None:
    """The levels of both steps, each phase as wide in one as in the other."""
    unit = unit_of(max(plan.budget_bytes, other.peak_bytes))
    steps = ((plan.estimate, CHOSEN["full"], "the plan"), (other, OTHER, f"strategy {other.strategy}"))
    for estimate, colour, label in steps:
        phases = [event.phase for event in estimate.memory.timeline.events]
        names = list(dict.fromkeys(phases))
        time = np.concatenate([at + np.arange(n) / n for at, n in enumerate(map(phases.count, names))])
        resident = estimate.peak_bytes - estimate.step_peak_bytes
        axes.step(time, (resident + estimate.levels) / BYTES[unit], where="post", color=colour, linewidth=1.2,
                  label=label)  # fmt: skip
    axes.axhline(plan.budget_bytes / BYTES[unit], color="black", linewidth=0.8, linestyle="--", label="budget")
    for at, name in enumerate(names):
        axes.text(at + 0.5, 0.985, name, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=8,
                  color="#333333")  # fmt: skip
        if at:
            axes.axvline(at, color="black", linewidth=0.6, linestyle=":")
    top = 1.15 * max(plan.budget_bytes, other.peak_bytes) / BYTES[unit]
    axes.set(xlim=(0, len(names)), ylim=(0, top), ylabel=f"allocated, {unit}", xticks=[])
    axes.spines[["top", "right"]].set_visible(False)
    _beside(axes)


def _choices(axes, plan: Plan, other: Estimate) -> None:
    """A bar for what each part saves, above a tile that says what trains in it, hatched where it runs again."""
    chosen = chosen_parts(plan)
    outlines = [part["saved"] for part in other.blocks]
    most = max(outlines + [row["saved"] for row, _, _ in chosen])
    unit = unit_of(most)
    scale, tile = 1 / BYTES[unit], 0.07 * most / BYTES[unit]
    for at, (row, choice, again) in enumerate(chosen):
        look = {"facecolor": CHOSEN[choice], "edgecolor": "white", "hatch": "////" if again else None, "linewidth": 0}
        axes.bar(at, row["saved"] * scale, **look)
        if choice:
            axes.bar(at, 0.8 * tile, bottom=-tile, **look)
    axes.bar(range(len(outlines)), np.array(outlines) * scale, facecolor="none", edgecolor=OTHER, linewidth=0.8)
    used = {choice for _, choice, _ in chosen} - {""}
    handles = [Patch(facecolor=colour, label=name) for name, colour in CHOSEN.items() if name in used]
    if any(again for _, _, again in chosen):
        handles.append(Patch(facecolor="#666666", edgecolor="white", hatch="////", linewidth=0,
                             label="runs again in the\nbackward pass"))  # fmt: skip
    handles.append(Patch(facecolor="none", edgecolor=OTHER, linewidth=0.8, label=f"saved by strategy {other.strategy}"))
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(ylabel=f"saved, {unit}", xlim=(-0.6, len(chosen) - 0.4), ylim=(-1.1 * tile, 1.05 * most * scale))
    axes.set_xticks(range(len(chosen)), [row["name"] for row, _, _ in chosen], rotation=60, ha="right",
                    rotation_mode="anchor", fontsize=7)  # fmt: skip
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= most * scale])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    _beside(axes, handles=handles)


def category_levels(estimate: Estimate) -> Dict[str, np.ndarray]:
    """Allocated bytes after each event, for each category; they add up to the levels."""
    timeline, sizes = estimate.memory
    deltas = timeline.sign_of * sizes[timeline.slot_of]
    category = np.array([event.category for event in timeline.events])
    return {name: np.cumsum(np.where(category == name, deltas, 0)) for name in dict.fromkeys(category.tolist())}
