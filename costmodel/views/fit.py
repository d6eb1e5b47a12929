"""Whether a step fits, in words."""

from __future__ import annotations

from ..sizes.size import show
from ..sizes.units import show_size
from ..step.estimate import Estimate


def fit_lines(found: Estimate, budget: int, axis: str | None, value: int | None) -> list[str]:
    """The answer and the request, as two lines. axis, value: what was maximised, if anything; None: nothing fits."""
    peak, there = found.peak_bytes, show_size(budget)
    what = f"{found.network}, {found.strategy}, batch {found.batch} of {show(found.input_shape)}"
    what += f", on {found.request.target}"
    if peak > budget:
        least = "" if axis is None else f" Not even the least {axis} fits."
        answer = f"no: the peak of {show_size(peak)} exceeds {there} by {show_size(peak - budget)}.{least}"
    else:
        most = "" if axis is None else f"{axis} {value} is the most that fits. "
        answer = f"yes: {most}The peak of {show_size(peak)} leaves {show_size(budget - peak)} of {there}."
    return [answer, what]
