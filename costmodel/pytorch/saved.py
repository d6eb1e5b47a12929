"""Finds the storages that autograd keeps for the backward pass of a real step."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks


def saved_storages(module: nn.Module, forward: Callable[[], torch.Tensor]) -> dict[int, int]:
    """Bytes, by address, of the distinct storages that autograd keeps after one forward pass of a module.

    The module's own parameters and buffers are left out.
    """
    own = {t.untyped_storage().data_ptr() for t in [*module.parameters(), *module.buffers()]}
    kept: dict[int, Any] = {}  # storages by address; while they are held, no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor.detach()  # without detach, the tensor would hold the graph that holds it

    states: list[Any] = []  # states of the random generator: torch.utils.checkpoint keeps them out of the hooks' sight
    draw = torch.get_rng_state

    def watched() -> torch.Tensor:
        state = draw()
        states.append(weakref.ref(state))
        return state

    with saved_tensors_hooks(pack, lambda tensor: tensor), patch.object(torch, "get_rng_state", watched):
        result = forward()
    for state in (ref() for ref in states):
        if state is not None:
            pack(state)
    for number in numbers_kept(result):
        pack(number)
    return {pointer: storage.nbytes() for pointer, storage in kept.items()}


def numbers_kept(result: torch.Tensor) -> Iterator[torch.Tensor]:
    """The Python numbers that products and quotients keep for the backward pass of a result, each as a tensor.

    Saved-tensor hooks do not see them (torch/csrc/autograd/saved_variable.cpp: is_wrapped_number).
    """
    todo, seen = [result.grad_fn], {None}
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        todo += [following for following, _ in node.next_functions]
        if node.name() in ("MulBackward0", "DivBackward0"):
            other = node._saved_other
            if other is not None and other.dim() == 0:
                yield other
