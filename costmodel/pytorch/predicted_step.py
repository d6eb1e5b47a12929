"""Prices the step that a training loop runs: its module as it is, its images, its optimizer, and what it holds."""

from __future__ import annotations

from collections import OrderedDict
from types import MethodType
from typing import Any

import torch
from torch import nn

from ..api import estimate
from ..errors import CostmodelError
from ..frontends.modules.trace import trace
from ..graph.inputs import Input
from ..graph.network import DTYPE
from ..sizes.dtype import AMP
from ..step.estimate import Estimate
from ..step.events import ACTIVATIONS
from ..step.optimizer import IMPLEMENTATIONS, OPTIMIZERS, find
from ..targets.machine import UNKNOWN, here_isa
from .flat import HOOKS
from .validate import here
from .watched_step import Measured, logits_of


def predict(module: nn.Module, measured: Measured, optimizer: str) -> Estimate:
    """The estimate of a module as it is, for the images that it was called with. Raises CostmodelError."""
    call = measured.call
    whole = "" if call.dtype.is_floating_point else str(call.dtype).removeprefix("torch.")
    batch, inputs = call.shape[0], (Input(call.shape[1:], whole),)
    dtypes = {p.dtype for p in module.parameters()}
    if len(dtypes) > 1:
        raise CostmodelError(f"parameters of several data types: {', '.join(sorted(map(str, dtypes)))}")
    copied = without_hooks(module)
    if call.argument or not call.returns_tensor:
        copied = Logits(copied, call.argument)
    device = "cuda" if measured.device.type == "cuda" else here("cpu" if here_isa() != UNKNOWN else "none")
    target = f"{device},channels_last" if call.channels_last and not device.startswith("none") else device
    dtype = str(dtypes.pop()).removeprefix("torch.")
    priced = measured.autocast in AMP and dtype == DTYPE and device != "cuda"
    with torch.autocast(measured.device.type, enabled=False):  # the loop's own, in which this may run
        network = trace(copied, inputs, type(module).__name__)
        return estimate(network, "as_is", batch, optimizer=optimizer, target=target, dtype=dtype,
                        accumulate=1 + measured.accumulates, amp=measured.autocast if priced else None)  # fmt: skip


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
    copied = made[id(module)] = object.__new__(type(module))
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


#: Options that change no number of bytes, whatever their value.
FREE = {"lr", "betas", "eps", "momentum", "dampening", "alpha", "rho", "lr_decay", "initial_accumulator_value",
        "momentum_decay"}  # fmt: skip


def priced_as(optimizer: Any) -> tuple[str | None, list[str]]:
    """The text for which an optimizer is priced, None if it is not, and in words what is not priced of it."""
    groups = optimizer.param_groups
    for name, entry in OPTIMIZERS.items():
        kind = getattr(torch.optim, entry.torch_class)
        if type(optimizer) is not kind or any(bool(group.get("momentum")) != ("momentum" in dict(entry.torch_options))
                                              for group in groups):  # fmt: skip
            continue
        usual = kind([nn.Parameter(torch.zeros(()))], **dict(entry.torch_options)).defaults
        free = FREE | ({"weight_decay"} if usual["weight_decay"] else set())
        free -= {"betas"} if entry.settled_after > 1 else set()  # when it settles depends on them
        asked = [option for option in IMPLEMENTATIONS if groups[0].get(option)]
        usual.update(dict.fromkeys(asked, True))
        if not any(p.is_cuda for group in groups for p in group["params"]):  # without an option torch takes the loop
            free |= {option for option in IMPLEMENTATIONS if all(group.get(option) is False for group in groups)}
        differs = {
            f"{key}={group[key]}" for group in groups for key in usual.keys() - free if group.get(key) != usual[key]
        }
        apart = [f"{len(groups)} groups of parameters"] * (len(groups) > 1)  # which it updates one by one
        return ",".join([name, *asked]), sorted(differs) + apart
    return None, []


def settled_after(optimizer: Any) -> int:
    """Updates after which each one is like the last; of an optimizer that is not priced, one makes its state."""
    name, _ = priced_as(optimizer)
    return (find(name).settled_after if name else 1) if optimizer.state else 0
