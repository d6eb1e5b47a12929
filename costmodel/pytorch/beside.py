"""Puts what a watched step did beside what was predicted, in a few lines of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import CostmodelError
from ..sizes.units import show_size
from ..step.certainty import NOT_MODELLED
from ..step.estimate import Estimate
from .flat import HOOKS
from .predicted_step import peak_in_this_loop, predict, priced_as
from .watched_step import Measured

PRICED = "costmodel prices cross_entropy(module(x), y)"


@dataclass(frozen=True)
class Comparison:
    """A step as predicted and as measured.

    step: its number, from 1. predicted: None if the module could not be priced. in_this_loop_bytes: the predicted peak
    with what the loop itself holds. reasons: what the prediction leaves out, in words; peak_reasons: of the peak alone.
    """

    step: int
    name: str
    predicted: Estimate | None
    measured: Measured
    in_this_loop_bytes: int | None
    reasons: tuple[str, ...]
    peak_reasons: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether all that was measured equals the prediction, with what the loop itself holds."""
        if self.predicted is None:
            return False
        pairs = ((self.predicted.saved_bytes, self.measured.saved_bytes),
                 (self.in_this_loop_bytes, self.measured.peak_bytes))  # fmt: skip
        return all(measured in (None, predicted) for predicted, measured in pairs)

    def __str__(self) -> str:
        """At most six lines."""
        shape = self.measured.call.shape
        images = f"batch {shape[0]} at {'x'.join(map(str, shape[2:]))}" if len(shape) == 4 else f"input {[*shape]}"
        lines = [f"costmodel: step {self.step} of {self.name}, {images}"]
        if self.predicted is not None:
            request = self.predicted.request
            amp = f", autocast in {request.amp.name}" if request.amp else ""
            lines[0] += f", {request.strategy}, {request.optimizer.name}{amp}, {request.target}"
        lines.append(f"  {'bytes':<20}{'predicted':>16}{'measured':>16}")
        priced = self.predicted
        lines.append(_row("saved for backward", priced.saved_bytes if priced else None, self.measured.saved_bytes))
        lines.append(_row("peak of the step", priced.step_peak_bytes if priced else None, self.measured.peak_bytes))
        said = self._said()
        if said:
            lines.append(f"  {'; '.join(said)}")
        if priced is not None:
            lines.append(f"  with parameters, buffers, optimizer state and images: {show_size(priced.peak_bytes)}")
        return "\n".join(lines)

    def _said(self) -> list[str]:
        """What people must know about the numbers, in words."""
        measured, priced = self.measured, self.predicted
        if priced is None:
            return [*self.reasons, *measured.notes]
        said = list(measured.notes)
        saved = measured.saved_bytes not in (None, priced.saved_bytes)
        peak = measured.peak_bytes not in (None, priced.step_peak_bytes)
        if peak and self.in_this_loop_bytes not in (None, priced.step_peak_bytes):
            rest = (measured.peak_bytes or 0) - (self.in_this_loop_bytes or 0)
            held = ["the last step's gradients until zero_grad()"] * (measured.stale_bytes > 0)
            held += ["the module's output"] * measured.holds_output
            said.append(f"your loop holds {' and '.join(held)}: {f'the rest is {rest:+,}' if rest else 'that is all'}")
        unexplained = measured.peak_bytes not in (None, self.in_this_loop_bytes)
        if saved or unexplained:
            why = [*self.reasons, *(self.peak_reasons if unexplained else ()), "the loss", "more work"]
            said.append(f"{PRICED}; what may differ here: {', '.join(why)}")
        return said


def _row(what: str, predicted: int | None, measured: int | None) -> str:
    texts = [f"{number:,}" if number is not None else "-" for number in (predicted, measured)]
    verdict = ""
    if predicted is not None and measured is not None:
        off = measured - predicted
        verdict = f"  {off:+,} ({100 * off / predicted:+.2f} %)" if off and predicted else "  equal" if not off else ""
    return f"  {what:<20}{texts[0]:>16}{texts[1]:>16}{verdict}"


def compare(step: int, root: nn.Module, measured: Measured, optimizer: Any, given: Estimate | None) -> Comparison:
    """A measured step beside its prediction: the estimate given, or that of the module called, as it is.

    root: the module that was watched, which has the one called in it.
    """
    kind, options = priced_as(optimizer)
    reasons = _reasons(root, measured)
    peak_reasons = [] if kind else [f"{type(optimizer).__name__}'s own memory"]
    peak_reasons += [f"{type(optimizer).__name__}'s {option}" for option in options]
    module = measured.call.module
    predicted = given
    if given is None:
        try:
            predicted = predict(module, measured, kind or "sgd")
        except CostmodelError as error:
            reasons = [f"not predicted: {error}"]
    elif (given.batch, *given.input_shape) != measured.call.shape:
        reasons.insert(0, f"the estimate is for images {[given.batch, *given.input_shape]}")
    if predicted is not None:
        if predicted.request.target.device == "cuda":
            peak_reasons.append("cuDNN's workspaces")
        elif not predicted.request.target.counts_kernels or predicted.certainty.step_peak == NOT_MODELLED:
            peak_reasons.append("what kernels allocate inside")
        if predicted.unknown_ops:
            reasons.append(f"unknown ops ({', '.join(predicted.unknown_ops)})")
    loop = peak_in_this_loop(predicted, measured) if predicted is not None and predicted.memory is not None else None
    return Comparison(step, type(module).__name__, predicted, measured, loop, tuple(reasons), tuple(peak_reasons))


def _reasons(root: nn.Module, measured: Measured) -> list[str]:
    """Why a step may differ from the one that is priced."""
    found = ["autocast"] if measured.autocast else []
    if measured.calls > 1:
        found.append(f"the other {measured.calls - 1} calls of the module")
    if measured.call.others:
        found.append(f"other inputs ({measured.call.others})")
    hooked = sum(1 for child in root.modules() if any(getattr(child, name, None) for name in HOOKS))
    if hooked:
        found.append(f"hooks (of {hooked} modules)")
    return found
