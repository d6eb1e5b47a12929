"""Puts what a watched step did beside what was predicted, in a few lines of text."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import nn

from ..api import estimate
from ..errors import CostmodelError
from ..frontends.modules.trace import trace
from ..sizes.units import show_size
from ..step.estimate import Estimate
from ..step.events import ACTIVATIONS
from ..step.optimizer import OPTIMIZERS
from ..targets.cpu import here_isa
from .flat import HOOKS
from .validate import here
from .watched_step import Measured, logits_of

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
            lines[0] += f", {request.strategy}, {request.optimizer.name}, {request.target}"
        lines.append(f"  {'bytes':<20}{'predicted':>16}{'measured':>16}")
        priced = self.predicted
        lines.append(_row("saved for backward", priced and priced.saved_bytes, self.measured.saved_bytes))
        lines.append(_row("peak of the step", priced and priced.step_peak_bytes, self.measured.peak_bytes))
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
        if peak and self.in_this_loop_bytes != priced.step_peak_bytes:
            held = []
            if measured.stale_bytes:
                held.append(f"the last step's gradients ({measured.stale_bytes:,}) until zero_grad()")
            if measured.holds_output:
                held.append("the module's output during the backward pass")
            rest = (measured.peak_bytes or 0) - (self.in_this_loop_bytes or 0)
            beyond = "that is all of the difference" if not rest else f"the rest is {rest:+,}"
            said.append(f"your loop holds {' and '.join(held)}: {beyond}")
        unexplained = measured.peak_bytes not in (None, self.in_this_loop_bytes)
        if saved or unexplained:
            why = [*self.reasons, *(self.peak_reasons if unexplained else ())]
            said.append(f"{PRICED}; it leaves out: {', '.join(why)}" if why else f"{PRICED}: another loss or extra work?")
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
        elif not predicted.request.target.counts_kernels:
            peak_reasons.append("what kernels allocate inside")
        if predicted.unknown_ops:
            reasons.append(f"unknown ops ({', '.join(predicted.unknown_ops)})")
    loop = peak_in_this_loop(predicted, measured) if predicted is not None and predicted.memory is not None else None
    return Comparison(step, type(module).__name__, predicted, measured, loop, tuple(reasons), tuple(peak_reasons))


def _reasons(root: nn.Module, measured: Measured) -> list[str]:
    """Why a step may differ from the one that is priced."""
    found = ["autocast"] if measured.autocast else []
    if measured.calls > 1:
        found.append(f"{measured.calls - 1} more of {measured.calls} calls of the module in one step")
    if measured.call.others:
        found.append(f"{measured.call.others} more input tensors")
    hooked = sum(1 for child in root.modules() if any(getattr(child, name, None) for name in HOOKS))
    if hooked:
        found.append(f"the hooks of {hooked} modules")
    return found


def predict(module: nn.Module, measured: Measured, optimizer: str) -> Estimate:
    """The estimate of a module as it is, for the images that it was called with. Raises CostmodelError."""
    call = measured.call
    if len(call.shape) != 4 or call.shape[2] != call.shape[3]:
        raise CostmodelError(f"{type(module).__name__} took {[*call.shape]}; costmodel prices square images (N, C, H, W)")
    batch, channels, resolution, _ = call.shape
    dtypes = {p.dtype for p in module.parameters()}
    if len(dtypes) > 1:
        raise CostmodelError(f"parameters of several data types: {', '.join(sorted(map(str, dtypes)))}")
    copied = without_hooks(module)
    if call.argument or not call.returns_tensor:
        copied = Logits(copied, call.argument)
    network = trace(copied, resolution, channels, type(module).__name__)
    device = "cuda" if measured.device.type == "cuda" else here("cpu" if here_isa() else "none")
    target = f"{device},channels_last" if call.channels_last and not device.startswith("none") else device
    dtype = str(dtypes.pop()).removeprefix("torch.")
    return estimate(network, "as_is", batch, resolution, optimizer=optimizer, target=target, dtype=dtype,
                    accumulate=1 + measured.accumulates)  # fmt: skip


class Logits(nn.Module):
    """A module that returns several things, or takes its images by name, as one from images to logits."""

    def __init__(self, module: nn.Module, argument: str) -> None:
        super().__init__()
        self.module, self.argument = module, argument
        self.training = module.training

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return logits_of(self.module(**{self.argument: x}) if self.argument else self.module(x))[0]


def without_hooks(module: nn.Module, made: dict[int, nn.Module] | None = None) -> nn.Module:
    """A module with the same parameters and buffers, without hooks: to run it changes no attribute of the original."""
    made = {} if made is None else made
    if id(module) in made:
        return made[id(module)]
    copied = made[id(module)] = type(module).__new__(type(module))
    copied.__dict__ = dict(module.__dict__)
    for name, value in module.__dict__.items():
        if isinstance(value, MethodType) and value.__self__ is module:
            copied.__dict__[name] = MethodType(value.__func__, copied)
    for name in HOOKS:
        copied.__dict__[name] = OrderedDict()
    copied.__dict__["_parameters"], copied.__dict__["_buffers"] = dict(module._parameters), dict(module._buffers)
    children = {name: child and without_hooks(child, made) for name, child in module._modules.items()}
    copied.__dict__["_modules"] = children
    return copied


def peak_in_this_loop(priced: Estimate, measured: Measured) -> int:
    """The predicted peak of a step, in bytes, with the gradients and the output that the loop around it holds."""
    levels, forward = priced.levels.copy(), priced.timeline.after_forward
    levels[:forward] += measured.stale_bytes
    if measured.holds_output:
        loss = len(priced.graph.nodes) - 1
        for number, event in enumerate(priced.timeline.events[:forward]):
            if event.sign < 0 and event.node == loss and event.category == ACTIVATIONS:
                levels[number:] += int(priced.slot_sizes[event.slot])
    return int(levels.max())


def priced_as(optimizer: Any) -> tuple[str | None, list[str]]:
    """The name under which an optimizer is priced, None if it is not, and the options that are not priced."""
    for name, entry in OPTIMIZERS.items():
        kind = getattr(torch.optim, entry.torch_class)
        if type(optimizer) is not kind or any(bool(group.get("momentum")) != ("momentum" in dict(entry.torch_options))
                                              for group in optimizer.param_groups):  # fmt: skip
            continue
        usual = kind([nn.Parameter(torch.zeros(()))], **dict(entry.torch_options)).defaults
        free = {"lr", "betas", "eps", "momentum", "dampening"} | ({"weight_decay"} if usual["weight_decay"] else set())
        options = {
            f"{key}={group[key]}"
            for group in optimizer.param_groups
            for key in usual.keys() - free
            if group.get(key) != usual[key]
        }
        return name, sorted(options)
    return None, []
