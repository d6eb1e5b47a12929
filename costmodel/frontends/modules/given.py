"""What a training step is given: the tensors that a module is called with, and the targets of its loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import CostmodelError
from ...graph.inputs import Input, Inputs
from ...ops._loss import Loss
from ...ops.given import CLASSES

#: Makes the tensor of an input from its shape (N, ...) and data type.
Make = Callable[[Input, tuple[int, ...], torch.dtype], torch.Tensor]


def empty(one: Input, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor for a run without data: zeros where numbers may be looked at, as indices are."""
    return torch.zeros(shape, dtype=dtype) if one.dtype else torch.empty(shape, dtype=dtype)


def real(one: Input, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor for a real run: rows of the example, else random numbers, or zeros if they are no floats."""
    if one.example is not None:
        rows = torch.arange(shape[0]) % len(one.example)
        found: torch.Tensor = torch.as_tensor(one.example).detach().cpu()[rows]
        return found.to(dtype)
    return torch.zeros(shape, dtype=dtype) if one.dtype else torch.randn(shape).to(dtype)


def arguments(inputs: Inputs, batch: int, own: torch.dtype, make: Make) -> tuple[list[Any], dict[str, Any]]:
    """The positional and the keyword arguments of a module's call. own: the network's own data type."""
    args: list[Any] = []
    named: dict[str, Any] = {}
    for one in inputs:
        x = make(one, (batch, *one.shape), getattr(torch, one.dtype) if one.dtype else own)
        if one.keyword:
            named[one.keyword] = x
        else:
            args.append(x)
    return args, named


def in_format(
    called: tuple[list[Any], dict[str, Any]], memory_format: torch.memory_format
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments with every image among them in a memory format."""
    args, named = called

    def changed(x: torch.Tensor) -> torch.Tensor:
        return x.to(memory_format=memory_format) if x.dim() == 4 else x

    return [changed(x) for x in args], {name: changed(x) for name, x in named.items()}


def targets_for(loss: Loss, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Targets for a result x: the first class everywhere, or zeros of a data type."""
    if loss.of == CLASSES:
        return torch.zeros((*x.shape[:1], *x.shape[2:]), dtype=torch.int64, device=x.device)
    return torch.zeros(x.shape, dtype=dtype, device=x.device)


@dataclass(frozen=True, eq=False)
class Objective:
    """A loss that people wrote: `call(outputs, targets)` gives a number.

    targets: example tensors whose first axis is the batch, also in lists, tuples and dicts, or a function of the batch
    that makes them; None: the loss is a function of the outputs alone.
    """

    call: Callable[..., Any]
    targets: Any = None

    @property
    def name(self) -> str:
        """The name of the function or class."""
        return getattr(self.call, "__qualname__", type(self.call).__name__)

    def targets_of(self, batch: int, change: Callable[[torch.Tensor], Any]) -> list[Any]:
        """The arguments after the outputs: none, or the targets, each tensor of them changed by a function."""
        if self.targets is None:
            return []
        if callable(self.targets):
            made = self.targets(batch)
        else:
            made = _mapped(self.targets, lambda x: x[torch.arange(batch) % len(x)])
        return [_mapped(made, lambda x: change(_checked(x, batch)))]

    def __call__(self, outputs: Any, targets: list[Any]) -> torch.Tensor:
        """The loss. Raises CostmodelError unless it is one number."""
        found = self.call(outputs, *targets)
        if not isinstance(found, torch.Tensor) or found.dim():
            what = f"a {type(found).__name__}" if not isinstance(found, torch.Tensor) else f"shape {tuple(found.shape)}"
            raise CostmodelError(f"the loss {self.name} gives {what}; allowed: a tensor of one number, without axes")
        return found


def _checked(x: torch.Tensor, batch: int) -> torch.Tensor:
    if not x.dim() or len(x) != batch:
        found = tuple(x.shape)
        raise CostmodelError(f"targets have shape {found} for a batch of {batch}; allowed: the batch is the first axis")
    return x


def _mapped(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Nested values with every tensor changed by a function."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(one, change) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(one, change) for one in value) if type(value) in (list, tuple) else value
    return value
