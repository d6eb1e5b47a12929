"""Reference work whose time benchmarks are compared with, in the same run: neither machine nor load decides then."""

from time import perf_counter, process_time

import numpy as np


def turns(*calls, rounds=20):
    """Of each call, processor seconds and seconds by the clock (a list each). They run in turns, after a warm-up."""
    times = [([], []) for _ in calls]
    for _ in range(1 + rounds):
        for call, found in zip(calls, times):
            starts = process_time(), perf_counter()
            call()
            for seconds, end, start in zip(found, (process_time(), perf_counter()), starts):
                seconds.append(end - start)
    return [tuple(seconds[1:] for seconds in found) for found in times]


def fastest(*calls, rounds=20):
    """Processor seconds of the fastest run of each call. They run in turns, after a first run of each as a warm-up."""
    return [min(processor) for processor, _ in turns(*calls, rounds=rounds)]


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
