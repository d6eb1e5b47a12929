"""Calls the loss of CTC without data as torch calls it with data."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

#: The loss, as it is called from outside torch and from inside, and the names of its first arguments.
CTC = (torch.nn.functional.ctc_loss, torch.ctc_loss)
ARGUMENTS = ("log_probs", "targets", "input_lengths", "target_lengths")


def as_with_data(function: Any, args: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The arguments of a call; of the loss of CTC with lengths in tensors as lists, if they have data.

    torch reads them itself unless a tensor has no data; then it would keep them for the backward pass too (ctc_loss in
    aten/src/ATen/native/LossCTC.cpp).
    """
    if function not in CTC:
        return args, named
    named = {**named, **dict(zip(ARGUMENTS, args))}
    rest, args = args[len(ARGUMENTS) :], tuple(named.pop(name) for name in ARGUMENTS if name in named)
    if all(map(_has_data, args[2:])):
        args = (*args[:2], *(lengths.flatten().tolist() for lengths in args[2:]))
    return (*args, *rest), named


def _has_data(lengths: Any) -> bool:
    return isinstance(lengths, torch.Tensor) and not isinstance(lengths, FakeTensor)
