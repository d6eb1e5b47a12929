"""Knows when a function of torch runs that adds into a tensor which it has made."""

from __future__ import annotations

from typing import Any

from torch.overrides import TorchFunctionMode

#: Such functions: a linear layer whose input is not contiguous adds its bias to the product, and attention in parts its
#: mask to the weights.
ADDING = frozenset({"linear", "scaled_dot_product_attention"})


class Adding(TorchFunctionMode):
    """Follows the calls of such functions. runs: whether one runs now.

    Without data, or where a mode watches, torch makes a sum of its own in them (isTensorSubclassLike in aten/src/ATen/
    native/Linear.cpp and transformers/attention.cpp).
    """

    runs = False

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") not in ADDING:
            return function(*args, **(kwargs or {}))
        self.runs = True
        try:
            return function(*args, **(kwargs or {}))
        finally:
            self.runs = False
