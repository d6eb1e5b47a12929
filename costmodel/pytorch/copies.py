"""Copies of people's modules, on which steps run so that the modules stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from ..errors import CostmodelError
from ..frontends.modules.blame import in_words


def copy_of(module: nn.Module) -> nn.Module:
    """A copy of a module with tensors of its own. Raises CostmodelError if it cannot be copied."""
    try:
        with _results_copied():
            return copy.deepcopy(module)
    except Exception as error:  # the module's own code may raise anything
        said = f"{type(module).__name__} cannot be copied (copy.deepcopy), and a real step runs on a copy"
        raise CostmodelError(f"{said}: {in_words(error)}") from error


@contextmanager
def _results_copied() -> Iterator[None]:
    """Within this, copy.deepcopy copies tensors that autograd computed, which torch refuses, as constants.

    Modules hold such results of an earlier run: pruned ones and those with the old weight norm hold their weights.
    """
    real: Callable[..., torch.Tensor] = torch.Tensor.__deepcopy__
    constants: list[torch.Tensor] = []  # alive to the end, since torch remembers what it has copied by its address

    def copied(tensor: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
        if tensor.is_leaf:
            return real(tensor, memo)
        constants.append(tensor.detach())
        return real(constants[-1], memo)

    with patch.object(torch.Tensor, "__deepcopy__", copied):
        yield


def gradients_of(module: nn.Module) -> list[int]:
    """What tells whether parameters have got other gradients."""
    return [id(parameter.grad) for parameter in module.parameters()]
