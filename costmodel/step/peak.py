"""The peak of a timeline over a grid of resolutions and batches, without a level for every event and cell.

Between thresholds every size is linear in the batch. So every level is a line, and the peak is the upper envelope of
the levels. Curved sizes, which are not linear, are evaluated exactly, but only where they can decide the peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import CostmodelError
from ..sizes.by_batch import Batches, Curved, Line
from ..sizes.envelope import envelope
from ..sizes.size import LARGEST, Size
from ..targets.target import Target
from .timeline import Timeline


class Grid(NamedTuple):
    """The sizes of a timeline's slots for R resolutions and some batches.

    lines: int64, shape (slots, 2, R): the size at the first batch, and its growth from one place to the next.
    curved: slot -> a size that is not linear; such a slot is 0 in `lines`.
    """

    lines: np.ndarray
    curved: dict[int, Curved]
    batches: Batches


def stack(sizes: Sequence[Size], target: Target) -> np.ndarray | Grid:
    """Sizes in a target's blocks, in one array: (slots,) from ints, (slots, R, B) from arrays; or a Grid from lines."""
    rounds = target.block_bytes > 1
    if rounds:
        sizes = list(map(target.rounded, sizes))
    kinds = set(map(type, sizes))
    if not kinds & {Line, np.ndarray}:
        if sum(sizes) > LARGEST // 16:  # what is there at once may hold a slot several times
            raise CostmodelError("the memory of the step exceeds 64 bits; allowed: smaller sizes")
        return np.array(sizes, dtype=np.int64)
    if Line not in kinds:
        shape = np.broadcast_shapes(*{size.shape for size in sizes if isinstance(size, np.ndarray)})
        full = np.empty((len(sizes), *shape), dtype=np.int64)
        for slot, size in enumerate(sizes):
            full[slot] = size
        return full
    batches = next(size.batches for size in sizes if isinstance(size, Line))
    numbers = [part for size in sizes for part in ((size.base, size.slope) if isinstance(size, Line) else (size,))]
    rows = max((len(number) for number in numbers if isinstance(number, np.ndarray) and number.ndim == 2), default=1)
    lines = np.zeros((len(sizes), 2, rows), dtype=np.int64)
    curved = {}
    for slot, size in enumerate(sizes):
        if isinstance(size, Line):
            lines[slot, 0], lines[slot, 1] = _row(size.base), _row(size.slope)
        elif isinstance(size, np.ndarray) and size.ndim == 2 and size.shape[1] > 1:
            curved[slot] = batches.curved(size, keep=not rounds)
        elif type(size) is not int or size:
            lines[slot, 0] = _row(size)
    return Grid(lines, curved, batches)


def _row(number: Size) -> Size:
    return number[:, 0] if isinstance(number, np.ndarray) and number.ndim == 2 else number


def peak_of(timeline: Timeline, sizes: np.ndarray | Grid) -> int | np.ndarray:
    """Peak bytes above the level before the step: an int, or an array of shape (R, batches) over a grid."""
    if not isinstance(sizes, Grid):
        if sizes.ndim == 1:
            return max(0, int(timeline.levels(sizes).max(initial=0)))
        return top_levels(timeline, sizes).max(axis=0)
    tops, batches = timeline.tops, sizes.batches
    levels = top_levels(timeline, sizes.lines)
    # How many times each curved size counts in each of these levels.
    counts = {slot: timeline.live_count(slot)[tops] for slot in sizes.curved if slot in timeline.slot_of}
    counts = {slot: np.append(count, 0) for slot, count in counts.items() if count.any()}
    if not counts:
        return envelope(levels, batches)
    matter = candidates(levels, counts, sizes)
    if sum(np.count_nonzero(count[matter.any(axis=1)]) for count in counts.values()) > len(timeline.slot_of):
        return running(timeline, sizes)
    peak = envelope(levels[~np.any(list(counts.values()), axis=0)], batches)
    for event in np.flatnonzero(matter.any(axis=1)):
        rows = np.flatnonzero(matter[event])
        base, slope = levels[event][:, rows, None]
        level = base + slope * batches.places
        for slot, count in counts.items():
            if count[event]:
                level += count[event] * np.broadcast_to(sizes.curved[slot].size, peak.shape)[rows]
        peak[rows] = np.maximum(peak[rows], level)
    return peak


def top_levels(timeline: Timeline, sizes: np.ndarray) -> np.ndarray:
    """The levels among which the peak is, and last the level before the step: sizes (slots, ...) -> (tops + 1, ...)."""
    tops = timeline.tops
    levels = np.zeros((len(tops) + 1, *sizes.shape[1:]), dtype=np.int64)
    if len(tops):
        until = tops[-1] + 1
        steps = sizes[timeline.slot_of[:until]]
        steps *= timeline.sign_of[:until].reshape(-1, *[1] * (sizes.ndim - 1))
        np.cumsum(np.add.reduceat(steps, np.append(0, tops[:-1] + 1)), axis=0, out=levels[:-1])
    return levels


def candidates(levels: np.ndarray, counts: dict[int, np.ndarray], sizes: Grid) -> np.ndarray:
    """Which levels with curved parts may be the peak at some batch: bools, shape (levels, R).

    Skip a level whose upper bound is below the best lower bound at the first and at the last batch: both bounds are
    lines, so it is below in between.
    """
    last = sizes.batches.last
    curved = np.flatnonzero(np.any(list(counts.values()), axis=0))
    above, below = levels[curved], levels[curved]
    for slot, count in counts.items():
        (_, most, least, slope), times = sizes.curved[slot], count[curved]
        events = np.flatnonzero(times)
        for bound, base in ((above, most), (below, least)):
            bound[events] += times[events, None, None] * np.stack([base, slope])
    floors = levels.copy()
    floors[curved] = below
    matter = np.ones(above[:, 0].shape, dtype=bool)
    row = np.arange(levels.shape[2])
    under = []
    for ends in (floors[:, 0], floors[:, 0] + last * floors[:, 1]):
        line = ends.argmax(axis=0)
        base, slope = floors[line, 0, row], floors[line, 1, row]
        matter &= (above[:, 0] > base) | (above[:, 0] + last * above[:, 1] > base + last * slope)
        under.append(line)
    found = np.zeros(levels[:, 0].shape, dtype=bool)
    found[curved] = matter
    is_curved = np.zeros(len(levels), dtype=bool)
    is_curved[curved] = True
    for line in under:  # the levels whose lower bounds are the best ones
        found[line, row] |= is_curved[line]
    return found


def running(timeline: Timeline, sizes: Grid) -> np.ndarray:
    """Peak bytes over a grid, shape (R, batches), found event by event; it works for all sizes."""
    places = sizes.batches.places
    level = np.zeros((sizes.lines.shape[2], len(places)), dtype=np.int64)
    peak = level.copy()
    for slot, sign in zip(timeline.slot_of.tolist(), timeline.sign_of.tolist()):
        if slot in sizes.curved:
            level += sign * sizes.curved[slot].size
        else:
            base, slope = sign * sizes.lines[slot]
            level += base[:, None] + slope[:, None] * places
        np.maximum(peak, level, out=peak)
    return peak
