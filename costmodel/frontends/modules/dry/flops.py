"""FLOPs of the convolutions and matrix products that reach torch's dispatcher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .asking import LAYERS, multiply_adds

aten = torch.ops.aten


def is_composed(func: Any) -> bool:
    """Whether an op is nothing but a function of others, which reach the dispatcher instead but for inference mode."""
    has_kernel, name = torch._C._dispatch_has_kernel_for_dispatch_key, func.name()
    return has_kernel(name, COMPOSED) and not has_kernel(name, "CPU")


COMPOSED = "CompositeImplicitAutograd"


class FlopCounter(TorchDispatchMode):
    """Counts 2 FLOPs per multiply-add of each convolution and matrix product that reaches the dispatcher.

    torch.utils.flop_counter does the same, but counts the weight gradient of a grouped convolution as a dense one.
    """

    def __init__(self, where: Callable[[], str] = lambda: "") -> None:
        """where: names the place of an op."""
        super().__init__()
        self.phase, self.where = "forward", where
        self.flops: Counter = Counter()
        self.forward_of: Counter = Counter()  # the forward FLOPs by place
        self.ops: set[str] = set()  # the names of all ops seen

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if is_composed(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        self.count(func, args, result)
        return result

    def count(self, func: Any, args: tuple, result: Any) -> None:
        """Count an op that has run."""
        packet = func.overloadpacket
        self.ops.add(func._schema.name)
        if packet is aten.convolution:
            is_transposed = args[6]
            self._add(_convolution(args[0] if is_transposed else result, args[1]))
        elif packet is aten.convolution_backward:
            # Each of the two gradients, like the output, uses each pair of output position and weight once.
            gradient, x, weight, is_transposed = *args[:3], args[7]
            self._add(_convolution(x if is_transposed else gradient, weight) * sum(args[-1][:2]))
        elif packet is aten.mm or packet is aten.bmm:
            self._add(result.numel() * args[0].shape[-1])
        elif packet is aten._scaled_dot_product_flash_attention_for_cpu:
            self._add(_attention(*args[:3]))
        elif packet is aten._scaled_dot_product_flash_attention_for_cpu_backward:
            # The attention weights are computed again, then the gradients of weights, queries, keys and values.
            query, key, value = args[1:4]
            self._add(3 * _attention(query, key, value[..., :0]) + 2 * _attention(query[..., :0], key, value))
        elif packet in LAYERS:
            self._add(multiply_adds(func, args))
        elif packet is aten.mv:
            self._add(args[0].numel())
        elif packet is aten.addbmm:
            self._add(args[1].numel() * args[2].shape[-1])
        elif packet is aten.addmm or packet is aten.baddbmm:
            self._add(result.numel() * args[1].shape[-1])

    def _add(self, macs: int) -> None:
        self.flops[self.phase] += 2 * macs
        if self.phase == "forward":
            self.forward_of[self.where()] += 2 * macs


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> int:
    """Multiply-adds of two products: queries by keys, and attention weights by values."""
    return query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _convolution(positions: torch.Tensor, weight: torch.Tensor) -> int:
    """Multiply-adds of a convolution. positions: its output, or the input of a transposed one."""
    return positions.numel() * prod(weight.shape[1:])
