"""Copies of people's modules, on which steps run so that the modules stay as they are."""

from __future__ import annotations

import copy

from torch import nn

from ..errors import CostmodelError
from ..frontends.modules.blame import in_words


def copy_of(module: nn.Module) -> nn.Module:
    """A copy of a module with tensors of its own. Raises CostmodelError if it cannot be copied."""
    try:
        return copy.deepcopy(module)
    except Exception as error:  # the module's own code may raise anything
        said = f"{type(module).__name__} cannot be copied (copy.deepcopy), and a real step runs on a copy"
        raise CostmodelError(f"{said}: {in_words(error)}") from error


def gradients_of(module: nn.Module) -> list[int]:
    """What tells whether parameters have got other gradients."""
    return [id(parameter.grad) for parameter in module.parameters()]
