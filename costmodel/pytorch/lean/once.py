"""The guard of backward passes that are written out by hand: they have no derivative."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable as guarded


def once_differentiable(backward: Callable) -> Callable:
    """torch's decorator of that name, which costs its guard only where autograd records the backward pass.

    On small maps the guard takes a part of a step that shows: each lean layer passes it.
    """
    with_guard = guarded(backward)

    @wraps(backward)
    def either(ctx: Any, *gradients: Any) -> Any:
        return (with_guard if torch.is_grad_enabled() else backward)(ctx, *gradients)

    return either
