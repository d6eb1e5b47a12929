"""The upper envelope of lines over batches."""

from __future__ import annotations

import numpy as np

from .by_batch import Batches


def envelope(lines: np.ndarray, batches: Batches) -> np.ndarray:
    """The maximum of some lines (count, 2, R) at every batch: int64, shape (R, batches).

    The maximum of lines is convex. So a line that is the largest at two batches is the largest in between. If two
    different lines are the largest at the two ends, the batches on both sides of their crossing tell whether a third
    line rises above both (M. J. Eisner and D. G. Severance, Mathematical techniques for efficient record segmentation,
    J. ACM 23(4), 1976).
    """
    places = batches.places
    base, slope = lines[:, 0], lines[:, 1]

    def best(row: np.ndarray, at: np.ndarray) -> np.ndarray:
        return (base[:, row] + slope[:, row] * places[at]).argmax(axis=0)

    row = np.arange(lines.shape[2])
    left, right = np.zeros_like(row), np.full_like(row, len(places) - 1)
    ends = best(np.concatenate([row, row]), np.concatenate([left, right]))
    first, final = np.split(ends, 2)  # the largest line at the left and at the right end
    done = []  # (row, from, to, line), ends included
    while len(row):
        f, g = (np.stack([base[line, row], slope[line, row]]) for line in (first, final))
        holds = f[0] + f[1] * places[right] == g[0] + g[1] * places[right]  # the first line also at the right
        held = f[0] + f[1] * places[left] == g[0] + g[1] * places[left]
        done.append((row[holds], left[holds], right[holds], first[holds]))
        other = held & ~holds
        done.append((row[other], left[other], right[other], final[other]))
        apart = ~(holds | held)
        row, left, right, first, final, f, g = (x[..., apart] for x in (row, left, right, first, final, f, g))
        # The last batch at which the left line is not below the right one. It and the next one are within the range.
        crossing = (f[0] - g[0]) // (g[1] - f[1])
        middle = np.clip(np.searchsorted(places, crossing, side="right") - 1, left, right - 1)
        near = best(np.concatenate([row, row]), np.concatenate([middle, middle + 1]))
        before, after = np.split(near, 2)
        row = np.concatenate([row, row])
        left, right = np.concatenate([left, middle + 1]), np.concatenate([middle, right])
        first, final = np.concatenate([first, after]), np.concatenate([before, final])
    row, left, right, line = (np.concatenate(x) for x in zip(*done))
    order = np.lexsort((left, row))
    row, left, right, line = (x[order] for x in (row, left, right, line))
    lengths = right - left + 1
    growth = np.repeat(slope[line, row], lengths).reshape(-1, len(places))
    return np.repeat(base[line, row], lengths).reshape(-1, len(places)) + growth * places
