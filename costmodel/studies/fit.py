"""Finds whether a step fits a budget, and the largest batch, resolution or number of blocks that fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..api import estimate
from ..conventions import CONVENTIONS
from ..errors import CostmodelError, unknown
from ..graph.network import Network
from ..step.dry_estimate import DryEstimate
from ..step.estimate import Estimate
from ..strategies import STRATEGIES, read_text
from .needs import Need, peak

AXES = ("batch", "resolution", "blocks")
LARGEST_TRIED = 2**40
CURVE = 24  # steps of a curve


class Fit(NamedTuple):
    """The largest value of an axis whose peak fits into a budget, with its estimate.

    If no value fits: None, with the estimate of the smallest value.
    """

    value: int | None
    estimate: Estimate


def check_has_peak(priced: Estimate) -> None:
    """Raise CostmodelError if the estimate's convention counts what is saved alone."""
    if priced.memory_bytes["peak"] is None:
        have = ", ".join(name for name, convention in CONVENTIONS.items() if convention.measurable)
        raise CostmodelError(
            f"convention {priced.convention!r} counts what is saved; it has no peak to hold against a budget;"
            f" allowed: {have}"
        )


def largest(network: Network, axis: str, budget: int, strategy: str, need: Need = peak, **request: Any) -> Fit:
    """The largest batch, resolution or number of blocks K with which a step of a strategy peaks within `budget` bytes.

    axis: one of AXES. The value fits and the next one does not. need: what must be within the budget, instead of the
    peak. request: further arguments of `costmodel.estimate`.
    Raises CostmodelError for an unknown axis, for `blocks` with a strategy that takes no number of blocks, for a
    convention without peaks, and for a module that does something else than its layer graph.
    """
    price = pricer(network.unchecked(), axis, strategy, **request)
    least = 1 if axis == "blocks" else _least(price)
    most = len(network.graph.blocks) if axis == "blocks" else LARGEST_TRIED
    found = _last_fit(price, budget, least, most, need)
    confirmed = [
        as_the_graph_says(pricer(network, axis, strategy, **request)(v)) for v in (least, found.value or least)
    ]
    return Fit(found.value, confirmed[-1])


def pricer(network: Network, axis: str, strategy: str, **request: Any) -> Callable[[int], Estimate]:
    """What prices a step for a value of an axis."""
    if axis not in AXES:
        raise unknown("axis", axis, AXES)
    if axis != "blocks":
        return lambda value: estimate(network, strategy, **{**request, axis: value})
    text = read_text(strategy)
    if text.name not in STRATEGIES or not STRATEGIES[text.name].takes_blocks:
        has = ", ".join(s.name for s in STRATEGIES.values() if s.takes_blocks)
        raise CostmodelError(f"strategy {strategy!r} has no number of blocks to maximise; allowed: {has}")
    return lambda k: estimate(network, str(text.with_argument(k)), **request)


def as_the_graph_says(priced: Estimate) -> Estimate:
    """The estimate. Raises CostmodelError if it is a dry step's, since only the layer graph prices other sizes."""
    if isinstance(priced, DryEstimate):
        raise CostmodelError(
            f"{priced.network}: {priced.notes[0]} What is the largest that fits needs the layer graph."
        )
    return priced


def curve(network: Network, axis: str, value: int | None, strategy: str, **request: Any) -> list[tuple[int, int]]:
    """(value, peak in bytes) for some values of an axis up to well beyond the largest that fits.

    value: that largest one; None if none fits.
    """
    price = pricer(network.unchecked(), axis, strategy, **request)
    if axis == "blocks":
        values = list(range(1, len(network.graph.blocks) + 1))
    else:
        least = _least(price)
        most = max(3 * (value or 2 * least) // 2, least + 4)
        values = sorted({least + (most - least) * i // CURVE for i in range(CURVE + 1)} | ({value} if value else set()))
    return [(value, price(value).peak_bytes) for value in values]


def _least(price: Callable[[int], Estimate]) -> int:
    """The smallest value with which the network runs; below it a layer has no output."""
    low, high = 0, 1
    while not _runs(price, high):
        low, high = high, 2 * high
        if high > 4096:
            price(high)  # raises the error that says what is wrong
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _runs(price, middle) else (middle, high)
    return high


def _runs(price: Callable[[int], Estimate], value: int) -> bool:
    try:
        price(value)
    except CostmodelError:
        return False
    return True


def _last_fit(price: Callable[[int], Estimate], budget: int, low: int, most: int, need: Need) -> Fit:
    """The largest value from `low` to `most` that fits, if memory grows with the value."""
    fits = price(low)
    check_has_peak(fits)
    if need(fits) > budget:
        return Fit(None, fits)
    value = low
    while value < most:
        value = min(most, 2 * value)
        tried = price(value)
        if need(tried) > budget:
            break
        low, fits = value, tried
    else:
        return Fit(low, fits)
    high, beyond = value, tried
    while high - low > 1:
        # If the levels are affine in the value, the crossing is the answer and its neighbour the proof. Otherwise (they
        # grow with the square of the resolution) bisection closes in just as fast.
        there = budget - need(fits) + peak(fits)  # for the peak
        for probe in (lambda: _crossing(low, fits, high, beyond, there), lambda: low + 1, lambda: (low + high) // 2):
            value = min(max(probe(), low + 1), high - 1)
            if not low < value < high:
                break
            tried = price(value)
            if need(tried) <= budget:
                low, fits = value, tried
            else:
                high, beyond = value, tried
    return Fit(low, fits)


def _crossing(low: int, fits: Estimate, high: int, beyond: Estimate, budget: int) -> int:
    """The largest value at which no event's level exceeds the budget, if each level is a line through its two ends.

    A middle value, if the events differ, or a paper's own arithmetic has none, or the need grows faster than the peak.
    """
    if fits.memory is None or len(fits.levels) != len(beyond.levels):
        return (low + high) // 2
    ends = zip(fits.levels.tolist(), beyond.levels.tolist())
    below, above = (e.peak_bytes - e.step_peak_bytes for e in (fits, beyond))
    crossings = (
        low + (budget - below - first) * (high - low) // (above + second - below - first)
        for first, second in ends
        if above + second > budget
    )
    return min(crossings, default=(low + high) // 2)
