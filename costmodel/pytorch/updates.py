"""An optimizer of torch.optim for a module's parameters, as a request names it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from ..step.optimizer import Optimizer


class InPlace:
    """Updates each parameter in the backward pass, when its gradient is complete, and frees the gradient.

    As in PyTorch's tutorial "How to save memory by fusing the optimizer step into the backward pass". updated: numbers
    in the parameters that the last step has updated.
    """

    def __init__(self, chosen: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        self.updated = self._so_far = 0
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(partial(self._update, _of(chosen, [parameter])))

    def _update(self, optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> None:
        self._so_far += parameter.numel()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """End a step: nothing is left to update."""
        self.updated, self._so_far = self._so_far, 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        """No gradient is left."""


def _of(chosen: Optimizer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    return getattr(torch.optim, chosen.torch_class)(parameters, **dict(chosen.torch_options))


def optimizer_of(chosen: Optimizer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer | InPlace:
    """The optimizer of parameters that train, with `step` and `zero_grad`."""
    return InPlace(chosen, parameters) if chosen.in_place else _of(chosen, parameters)
