"""Stand-ins: while they are in place, a module's parameters have no data, and what a run changes is put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ....graph.dry import Setting
from ..untouched import MOST_COPIED_BYTES, same_generators, untouched


@contextmanager
def stand_ins(
    module: nn.Module, mode: FakeTensorMode | None, setting: Setting, dtype: torch.dtype | None, memory_format: Any
) -> Iterator[dict[str, torch.Tensor]]:
    """Put stand-ins into a module, with a strategy's flags and modes. Gives the tensors by path, as in a state dict.

    A parameter's stand-in has no data, a small buffer's is a copy. dtype: of floating point tensors, None their own.
    Larger buffers have no data. Without a `mode` a parameter's has its data, and every buffer's is a copy. Everything
    that the modules hold is as before at the end.
    """
    real = dict(module.named_parameters())
    made: dict[int, torch.Tensor] = {}
    tensors: dict[str, torch.Tensor] = {}
    with untouched(module):
        for path, child in module.named_modules():
            if setting.evaluates is not None:
                child.training = setting.has_loss and path not in setting.evaluates
            for kind in ("_parameters", "_buffers"):
                for name, tensor in getattr(child, kind).items():
                    if tensor is None:
                        continue
                    where = f"{path}.{name}".lstrip(".")
                    if id(tensor) not in made:
                        trains = tensor.requires_grad if setting.trains is None else where in setting.trains
                        trains = trains and (tensor.is_floating_point() or tensor.is_complex())
                        made[id(tensor)] = _stand_in(tensor, mode, dtype, memory_format, trains)
                        tensors[where] = made[id(tensor)]
                    getattr(child, kind)[name] = made[id(tensor)]
        if setting.trains is not None:
            for path, parameter in real.items():  # code may hold a parameter elsewhere, in a list say
                parameter.requires_grad_(path in setting.trains and parameter.is_floating_point())
        yield tensors


def _stand_in(
    tensor: torch.Tensor, mode: FakeTensorMode | None, dtype: torch.dtype | None, memory_format: Any, trains: bool
) -> torch.Tensor:
    is_parameter = isinstance(tensor, nn.Parameter)
    with torch.no_grad():
        if mode is not None and tensor.is_meta:
            with mode:
                made: torch.Tensor = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
        elif mode is None:
            made = tensor.detach() if is_parameter else tensor.detach().clone()
        elif is_parameter or tensor.nbytes > MOST_COPIED_BYTES:
            made = mode.from_tensor(tensor.detach())
        else:
            made = tensor.detach().clone()
        if dtype is not None and made.is_floating_point():
            made = made.to(dtype)
        if made.dim() == 4 and memory_format is torch.channels_last:
            made = made.to(memory_format=memory_format)
        if not is_parameter:
            return made.requires_grad_(tensor.requires_grad)
    return nn.Parameter(made, requires_grad=trains)


@contextmanager
def same_chance(seed: int) -> Iterator[list[bool]]:
    """Seed the generators of Python, numpy and torch, and put them back as they were.

    Gives a list that afterwards says whether something was drawn from any of them.
    """
    drawn: list[bool] = []
    with same_generators():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = random.getstate(), _of_numpy(), torch.get_rng_state()
        try:
            yield drawn
        finally:
            now = random.getstate(), _of_numpy(), torch.get_rng_state()
            same = before[0] == now[0] and all(map(np.array_equal, before[1], now[1])) and before[2].equal(now[2])
            drawn.append(not same)


def _of_numpy() -> tuple[Any, ...]:
    """The state of numpy's generator."""
    return tuple(np.random.get_state())
