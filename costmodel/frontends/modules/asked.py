"""What Python may ask of a tensor while a module is traced, answered as a training step would answer it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from .recorder import Recorder


def wants_gradient(t: Recorder, x: torch.Tensor) -> bool:
    """Whether a tensor requires a gradient, by the flags of the module's own parameters."""
    life = getattr(x, "_traced", None)
    if life is not None:
        return bool(life.drafts) and life.drafts[-1].wants
    return bool(getattr(x, "_source", x).requires_grad)


def is_leaf(t: Recorder, x: torch.Tensor) -> bool:
    source = getattr(x, "_source", x)
    return not wants_gradient(t, x) or id(source) in t.holders.parameters


def device(t: Recorder, x: torch.Tensor) -> torch.device:
    """The device of a training step: that of the parameters, and the CPU for a module without data."""
    if x.device.type != "meta":
        return x.device
    first = next(t.root.parameters(), None)
    return torch.device("cpu") if first is None or first.device.type == "meta" else first.device


@cache
def grad_fn() -> Any:
    """A node of autograd's graph; nobody reads more of it than that it is there."""
    with torch.enable_grad():
        return torch.zeros((), requires_grad=True).clone().grad_fn


#: By the name of a tensor's attribute, the function (tracer, tensor) that answers.
ASKED: dict[str, Callable[[Recorder, torch.Tensor], Any]] = {
    "requires_grad": wants_gradient,
    "is_leaf": is_leaf,
    "grad_fn": lambda t, x: None if is_leaf(t, x) else grad_fn(),
    "device": device,
    "is_meta": lambda t, x: False,
    "is_cpu": lambda t, x: device(t, x).type == "cpu",
    "is_cuda": lambda t, x: device(t, x).type == "cuda",
}
