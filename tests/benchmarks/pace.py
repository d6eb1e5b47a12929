"""Reference work whose time benchmarks are compared with, in the same run: neither machine nor load decides then."""

from time import process_time

import numpy as np


def fastest(*calls, rounds=20):
    """Processor seconds of the fastest run of each call. They run in turns, after a first run of each as a warm-up."""
    times = [[] for _ in calls]
    for _ in range(1 + rounds):
        for call, found in zip(calls, times):
            start = process_time()
            call()
            found.append(process_time() - start)
    return [min(found[1:]) for found in times]


class _Item:
    def __init__(self, key, value):
        self.key = key
        self.value = value


def plain_python():
    """A few milliseconds of typical Python work: objects are made, queried and summed."""
    totals = {}
    for number in range(20_000):
        item = _Item(number % 64, number)
        totals[item.key] = totals.get(item.key, 0) + item.value
    return totals


def plain_numpy():
    """A few tens of milliseconds of integer columns: a million cells multiplied, compared and added up, eight times."""
    cells = np.arange(1_000_000, dtype=np.int64)
    total = np.zeros_like(cells)
    for factor in range(8):
        total += np.maximum(cells * factor, total)
    return total
