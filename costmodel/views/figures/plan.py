"""The figure of a plan: its step within the budget, and what each part saves and trains, beside another strategy."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ...errors import check_name
from ...escapes import visible
from ...sizes.size import show
from ...sizes.units import BYTES, show_count, unit_of
from ...step.estimate import Estimate
from ...strategies import FULL
from ...studies.plan.plan import Plan
from ..plan import WORTH, chosen_parts
from .sheet import SCREEN, Sheet, is_low, legend
from .style import (
    BLACK,
    BLUE,
    GREEN,
    MAROON,
    NAVY,
    ORANGE,
    PURPLE,
    RED,
    SILVER,
    SKY,
    YELLOW,
    budget_line,
    phase_border,
    phase_name,
    short_size,
)

# Colours by the name of a part's choice, apart in grey too; "" is a part whose choice a named strategy decides.
CHOSEN = {
    "frozen": SILVER,
    "bias": ORANGE,
    "mobiletl": GREEN,
    "full": NAVY,
    "full-mixed": BLUE,
    "full-kept": BLACK,
    "full-quantised": PURPLE,
    "full-pruned": MAROON,
    "full-filtered": YELLOW,
    "": SKY,
}
OTHER = RED


def plan_figure(plan: Plan, other: Estimate, sheet: Sheet = SCREEN) -> Figure:
    """A figure of what each part of a plan saves and trains, and above it, if there is room, of the step's memory.

    other: another strategy's estimate for the same step, such as full fine-tuning's; drawn in red, its parts as
    outlines.
    """
    with sheet.open((9, 6.5), tall=1.25) as figure:
        *rest, below = [figure.subplots()] if is_low(figure) else figure.subplots(2, 1, height_ratios=(3, 4))
        estimate = plan.estimate
        micro = f" x {plan.micro_batches} micro-batches" if plan.micro_batches > 1 else ""
        worth = f"{show_count(plan.value)} {WORTH.get(plan.maximised, 'value')} within {short_size(plan.budget_bytes)}"
        sheet.title(
            figure,
            f"{estimate.network}, batch {estimate.batch}{micro} of {show(estimate.input_shape)}: {worth}",
            f"{plan.strategy}, counted by {estimate.convention} for {estimate.request.target}",
        )
        for above in rest:
            _two_steps(above, plan, other)
        _choices(below, plan, other)
    return figure


def _two_steps(axes: Axes, plan: Plan, other: Estimate) -> None:
    """Draw the memory levels of both steps, with each phase as wide for one as for the other."""
    unit = unit_of(max(plan.budget_bytes, other.peak_bytes))
    steps = ((other, OTHER, f"strategy {other.strategy}", 0.8), (plan.estimate, CHOSEN[FULL.name], "the plan", 1.4))
    handles = []
    for estimate, colour, label, width in steps:
        phases = [event.phase for event in estimate.timeline.events]
        names = list(dict.fromkeys(phases))
        time = np.concatenate([at + np.arange(n) / n for at, n in enumerate(map(phases.count, names))])
        resident = estimate.peak_bytes - estimate.step_peak_bytes
        levels = (resident + estimate.levels) / BYTES[unit]
        handles += axes.step(time, levels, where="post", color=colour, linewidth=width, label=label)
    handles.append(budget_line(axes, plan.budget_bytes, unit))
    for at, name in enumerate(names):
        phase_name(axes, at + 0.5, name)
        if at:
            phase_border(axes, at)
    top = 1.18 * max(plan.budget_bytes, other.peak_bytes) / BYTES[unit]
    axes.set(xlim=(0, len(names)), ylim=(0, top), ylabel=f"allocated, {unit}", xticks=[])
    legend(axes, handles)


def _choices(axes: Axes, plan: Plan, other: Estimate) -> None:
    """Draw a bar for the bytes that each part saves, above a tile for what trains in it; hatched if it runs again."""
    chosen = chosen_parts(plan)
    outlines = [part["saved"] for part in other.blocks]
    most = max(outlines + [row["saved"] for row, _, _ in chosen])
    unit = unit_of(most)
    scale, tile = 1 / BYTES[unit], 0.07 * most / BYTES[unit]
    for at, (row, choice, again) in enumerate(chosen):
        check_name("choice", choice, CHOSEN)
        look = {"facecolor": CHOSEN[choice], "edgecolor": "white", "hatch": "////" if again else None, "linewidth": 0}
        axes.bar(at, row["saved"] * scale, **look)
        if choice:
            axes.bar(at, 0.8 * tile, bottom=-tile, **look)
    axes.bar(range(len(outlines)), np.array(outlines) * scale, facecolor="none", edgecolor=OTHER, linewidth=0.8)
    used = {choice for _, choice, _ in chosen} - {""}
    handles = [Patch(facecolor=colour, label=name) for name, colour in CHOSEN.items() if name in used]
    if any(again for _, _, again in chosen):
        handles.append(
            Patch(facecolor="#666666", edgecolor="white", hatch="////", linewidth=0, label="runs again in backward")
        )
    handles.append(Patch(facecolor="none", edgecolor=OTHER, linewidth=0.8, label=f"saved by strategy {other.strategy}"))
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(ylabel=f"saved, {unit}", xlim=(-0.6, len(chosen) - 0.4), ylim=(-1.1 * tile, 1.05 * most * scale))
    axes.set_xticks(
        range(len(chosen)),
        [visible(row["name"]) for row, _, _ in chosen],
        rotation=60,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= most * scale])
    axes.spines["bottom"].set_visible(False)
    legend(axes, handles)
