"""Knows when a function of torch runs that adds into a tensor which it has made."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .ctc import as_with_data

#: Such functions: a linear layer whose input is not contiguous adds its bias to the product, and attention in parts its
#: mask to the weights.
ADDING = frozenset({"linear", "scaled_dot_product_attention"})
#: Functions that have linear layers inside, which no mode sees.
RECURRENT = frozenset({"gru", "rnn_tanh", "rnn_relu", "lstm"})


class Adding(TorchFunctionMode):
    """Follows the calls of such functions. runs: whether one runs now; recurs: whether a recurrent one does.

    Without data, or where a mode watches, torch makes a sum of its own in them (isTensorSubclassLike in aten/src/ATen/
    native/Linear.cpp and transformers/attention.cpp). Under torch.vmap it does so with data too.
    """

    runs = recurs = False

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        args, named = as_with_data(function, args, kwargs or {})
        if name in RECURRENT:
            self.recurs = True
            try:
                return function(*args, **named)
            finally:
                self.recurs = False
        if name not in ADDING:
            return function(*args, **named)
        self.runs = torch._C._functorch.maybe_current_level() is None
        try:
            return function(*args, **named)
        finally:
            self.runs = False
