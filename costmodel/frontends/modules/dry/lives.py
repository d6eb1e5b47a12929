"""Follows the life of every storage that ops make, and with it the level of allocated bytes."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

add = torch.ops.aten.add.Tensor
batch_norm = torch.ops.aten.native_batch_norm.default
SCALED = (torch.ops.aten.mul.Tensor, torch.ops.aten.div.Tensor)
WITH_NUMBER = {*SCALED, add, torch.ops.aten.sub.Tensor, torch.ops.aten.rsub.Scalar}
NUMBER_BYTES = 8  # of the tensor that Python makes of a number


class Lives(TorchDispatchMode):
    """The level of the bytes that ops have allocated and nobody has freed, and its highest value after an op.

    there: tensors that are there before the step. ops: name and output shapes of each op, in order.

    Autograd's engine adds a second gradient of a value into the first one if nobody else holds that. It never does so
    for tensors without data (can_accumulate_inplace in torch/csrc/autograd/input_buffer.cpp asks for plain ones) but
    makes a third tensor, and drops the first. So a sum in the backward pass counts as made in place if its first
    operand is gone when the next op comes, and was no view, which shares its storage with its base.
    """

    def __init__(self, there: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.level = self._peak = 0
        self.in_backward = False
        self.ops: list[tuple[Any, ...]] = []
        self._numbers = 0  # bytes of Python numbers that products of the forward pass keep
        self._alive: dict[int, Any] = {}  # by address: a storage's weak reference, or one from before the step
        self._sum: tuple[int, int] | None = None  # (address of the first operand, level) after the last op, if a sum
        for tensor in there:
            storage = tensor.untyped_storage()
            self._alive[storage._cdata] = storage

    @property
    def peak(self) -> int:
        """The highest level after an op."""
        self._settle()
        return self._peak

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        self._settle()
        result = as_on_the_cpu(func, args, func(*args, **(kwargs or {})))
        made = [value for value in tree_leaves(result) if isinstance(value, torch.Tensor)]
        self.ops.append((func, *(tensor.shape for tensor in made)))
        for tensor in made:
            self.follow(tensor)
        self._count_number(func, args)
        if self.in_backward and func is add and _may_be_in_place(*args):
            self._sum = args[0].untyped_storage()._cdata, self.level
        else:
            self._peak = max(self._peak, self.level + NUMBER_BYTES * _takes_number(func, args))
        return result

    def _settle(self) -> None:
        """Count the level at a sum, unless its first operand is gone."""
        if self._sum is not None:
            first, level = self._sum
            self._peak = max(self._peak, self.level if first not in self._alive else level)
            self._sum = None

    def _count_number(self, func: Any, args: tuple) -> None:
        """Count the number of a product or a quotient: it is kept, and the dispatcher does not see it."""
        if func in SCALED and not self.in_backward and isinstance(args[1], (int, float)) and args[0].requires_grad:
            if torch.is_grad_enabled():
                self._numbers += args[0].element_size()
                self.level += args[0].element_size()

    def go_back(self, numbers: Iterable[torch.Tensor]) -> None:
        """Begin the backward pass. numbers: the Python numbers that are kept, from now on followed as storages."""
        self._settle()
        self.in_backward = True
        self.level -= self._numbers
        for number in numbers:
            self.follow(number)

    def follow(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage from now on until it is freed."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._alive:
            return
        nbytes = storage.nbytes()

        def gone(_: Any) -> None:
            del self._alive[address]
            self.level -= nbytes

        self._alive[address] = weakref.ref(storage, gone)
        self.level += nbytes


def _takes_number(func: Any, args: tuple) -> bool:
    """Whether an op gets a number from Python, as a tensor that lives until it returns."""
    return func in WITH_NUMBER and isinstance(args[1], (int, float))


def as_on_the_cpu(func: Any, args: tuple, result: Any) -> Any:
    """The result of an op without data, with the data types that the CPU's kernel gives it.

    Batch norm keeps statistics in the data type of its scale, not in that of a bfloat16 input.
    """
    if func is batch_norm and args[1] is not None and result[1].dtype != args[1].dtype and result[1].numel():
        return result[0], *(statistic.to(args[1].dtype) for statistic in result[1:])
    return result


def _may_be_in_place(first: Any, second: Any, *_: Any) -> bool:
    """Whether the first operand is a tensor of its own."""
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor) or first._is_view():
        return False
    return first.untyped_storage()._cdata != second.untyped_storage()._cdata
