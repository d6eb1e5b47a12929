"""The time axis of a step: which stretch belongs to which block. Stretches too narrow for a name are named together."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from os.path import commonprefix
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties

from ...escapes import visible
from ...step.estimate import Estimate
from ...step.events import UPDATE

UPDATE_SHARE = 0.1  # of the axis at most; an update has many events in which little happens
SHORTEST = 3  # events; a shorter stretch, such as one release of what another block has made, is no stretch


class Stretch(NamedTuple):
    """A stretch of the time axis in one phase. first, last: names of its parts, in the order of time."""

    phase: str
    first: str
    last: str
    start: float
    stop: float

    @property
    def name(self) -> str:
        """The names of its parts."""
        return visible(self.first if self.first == self.last else f"{self.first}\u2013{self.last}")


def name_blocks(axes: Axes, estimate: Estimate) -> None:
    """Name the blocks along a time axis of `places`, as many as there is room for. Draws the figure once."""
    figure = axes.get_figure()
    figure.draw_without_rendering()
    renderer, font = figure.canvas.get_renderer(), FontProperties(size=axes.xaxis.get_ticklabels()[0].get_fontsize())
    left, right = axes.get_xlim()
    event = axes.get_window_extent(renderer).width / (right - left)  # pixels

    def fits(stretch: Stretch) -> bool:
        width, _, _ = renderer.get_text_width_height_descent(stretch.name, font, ismath=False)
        return width + 0.5 * font.get_size() * figure.dpi / 72 < (stretch.stop - stretch.start) * event

    at = places(estimate)
    found = [one._replace(start=at[int(one.start)], stop=at[int(one.stop)]) for one in stretches(estimate)]
    merged = [group for group in together(found, fits) if fits(group)]
    axes.set_xticks([(group.start + group.stop) / 2 for group in merged], [group.name for group in merged])
    axes.tick_params(axis="x", which="major", length=0, pad=5)
    axes.set_xticks([stretch.stop for stretch in found[:-1]], minor=True)
    axes.tick_params(axis="x", which="minor", length=2.5)
    inset = 1.5 * figure.dpi / 72 / event  # 1.5 points, in events
    for group in merged:
        if group.first != group.last:
            ends = group.start + inset, group.stop - inset
            axes.plot(
                ends, (0, 0), transform=axes.get_xaxis_transform(), color="black", linewidth=2, clip_on=False, zorder=5
            )


def places(estimate: Estimate) -> np.ndarray:
    """Where each event of a step is on its time axis, and where the last one ends: evenly, but the update in brief."""
    update = np.array([event.phase == UPDATE for event in estimate.timeline.events])
    others = int((~update).sum())
    brief = min(1.0, UPDATE_SHARE * float(others) / max(1, int(update.sum())))
    return np.append(0.0, np.cumsum(np.where(update, brief, 1.0)))


def stretches(estimate: Estimate) -> list[Stretch]:
    """The parts' stretches of a step in order, in events. Parts' names lose what all blocks' names begin with."""
    names = short_names(estimate)
    runs: list[Stretch] = []
    numbered = enumerate(estimate.timeline.events)
    for (phase, name), group in groupby(
        numbered, key=lambda item: (item[1].phase, "" if item[1].phase == UPDATE else names[item[1].node])
    ):
        events = [event for event, _ in group]
        start, stop = events[0], events[-1] + 1
        before = runs[-1] if runs and runs[-1].phase == phase else None
        if before and (stop - start < SHORTEST or before.first == name):
            runs[-1] = before._replace(stop=stop)
        else:
            runs.append(Stretch(phase, name, name, start, stop))
    return runs


def short_names(estimate: Estimate) -> list[str]:
    """The name of each node's part: blocks without the words that all of their names begin with."""
    prefix = block_prefix(estimate)
    return [name.removeprefix(prefix) for name, run in estimate.graph.parts for _ in run]


def block_prefix(estimate: Estimate) -> str:
    """What the names of all blocks begin with, up to a dot: "features."."""
    common = commonprefix([f"{name}." for name in estimate.graph.blocks])
    return common[: common.rfind(".") + 1] if len(estimate.graph.blocks) > 1 else ""


def together(found: list[Stretch], fits: Callable[[Stretch], bool]) -> list[Stretch]:
    """Stretches joined to their neighbours of the same phase until their names fit, as far as they do."""
    done: list[Stretch] = []
    for _, group in groupby(found, key=lambda stretch: stretch.phase):
        here: list[Stretch] = []
        waiting = None
        for stretch in group:
            waiting = stretch if waiting is None else waiting._replace(last=stretch.last, stop=stretch.stop)
            if fits(waiting):
                here.append(waiting)
                waiting = None
        while waiting is not None and not fits(waiting) and here:
            before = here.pop()
            waiting = before._replace(last=waiting.last, stop=waiting.stop)
        done += here + ([waiting] if waiting is not None else [])
    return done
