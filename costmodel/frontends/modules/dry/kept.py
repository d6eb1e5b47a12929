"""Finds the storages that autograd keeps for the backward pass of a step, without keeping them itself."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch.autograd.graph import saved_tensors_hooks

#: The node of an in-place op on a view. It has the op's own node inside, where nobody can look at it.
ON_A_VIEW = "torch::autograd::CopySlices"
#: Methods that multiply or divide in place, and so keep a number.
SCALING = ("mul_", "multiply_", "div_", "divide_", "true_divide_", "__imul__", "__itruediv__")
NUMBER = "number"  # what a note is called
NUMBER_BYTES = 8  # of the tensor that torch makes of a Python number


def data_address(storage: torch.UntypedStorage) -> int:
    """The address of a storage's data."""
    return storage.data_ptr()


class SavedStorages:
    """Follows what autograd keeps while its hooks are on (`start` to `stop`).

    own: addresses of storages that do not count. storages: bytes by address of the storages that are kept now; level:
    their sum; highest: the highest level so far. beside: the same for what saved-tensor hooks do not see, as it was
    when `settle` was called; noted: bytes of the numbers in it that are known by notes, so that their addresses are the
    notes'. nested: other saved-tensor hooks were on inside, such as torch.utils.checkpoint's.
    address: of a storage, of its data by default.
    """

    def __init__(self, own: set[int], address: Callable[[torch.UntypedStorage], int] = data_address) -> None:
        self.own, self.address = own, address
        self.storages: dict[int, int] = {}
        self.beside: dict[int, int] = {}
        self.level = self.highest = self.noted = 0
        self.nested = self._is_off = False
        self._times: dict[int, int] = {}  # how often each storage is kept
        self._states: list[Any] = []  # states of the random generator: torch.utils.checkpoint keeps them out of sight
        self._hooks = saved_tensors_hooks(self._pack, _Kept.unpacked)

    def start(self) -> None:
        """Turn the hooks on, for this thread."""
        self._hooks.__enter__()
        self._patches: list[Any] = [
            patch.object(torch, "get_rng_state", self._drawn(torch.get_rng_state)),
            patch.object(saved_tensors_hooks, "__enter__", self._entered(saved_tensors_hooks.__enter__)),
            *(patch.object(torch.Tensor, name, noting(getattr(torch.Tensor, name))) for name in SCALING),
        ]
        for one in self._patches:
            one.start()

    def stop(self) -> None:
        """Turn the hooks off. What is kept is still followed until it is let go."""
        self._unpatch()
        if hooks_on() in (None, (self._hooks.pack_hook, self._hooks.unpack_hook)):
            self._hooks.__exit__(None, None, None)
        else:  # those of somebody else came on top, and would be taken off in their place
            self._is_off = True

    def _unpatch(self) -> None:
        while self._patches:
            self._patches.pop().stop()

    def settle(self, result: torch.Tensor | None) -> None:
        """Add what the hooks do not see of the forward pass that made a result, None if that is not known."""
        self._unpatch()
        numbers = [*numbers_kept(result)] if result is not None else []
        for tensor in [*(state for state in (ref() for ref in self._states) if state is not None), *numbers]:
            storage = tensor.untyped_storage()
            if not self.is_own(self.address(storage)):
                self.beside[self.address(storage)] = storage.nbytes()
        self.noted = NUMBER_BYTES * sum(is_note(number) for number in numbers)

    def shrink(self, tensor: torch.Tensor) -> None:
        """Count no more of a tensor's storage than the tensor itself: it may be a piece of a whole data set."""
        address, size = self.address(tensor.untyped_storage()), tensor.numel() * tensor.element_size()
        if size < self.storages.get(address, 0):
            beyond = self.storages[address] - size
            self.storages[address] = size
            self.level, self.highest = self.level - beyond, self.highest - beyond

    def _drawn(self, draw: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def watched() -> torch.Tensor:
            state = draw()
            self._states.append(weakref.ref(state))
            return state

        return watched

    def _entered(self, enter: Callable[[Any], None]) -> Callable[[Any], None]:
        def entered(hooks: Any) -> None:
            self.nested = True
            enter(hooks)

        return entered

    def _pack(self, tensor: torch.Tensor) -> _Kept:
        storage = tensor.untyped_storage()
        address = self.address(storage)
        kept = _Kept(tensor.detach())  # without detach, the tensor would hold the graph that holds it
        if not self._is_off and not self.is_own(address):
            kept.saved, kept.address = self, address
            self._times[address] = self._times.get(address, 0) + 1
            if self._times[address] == 1:  # while it is kept, no other storage has its address
                self.storages[address] = storage.nbytes()
                self.level += storage.nbytes()
                self.highest = max(self.highest, self.level)
                self.kept_first(address, tensor)
        return kept

    def is_own(self, address: int) -> bool:
        """Whether the storage at an address does not count."""
        return address in self.own

    def kept_first(self, address: int, tensor: torch.Tensor) -> None:
        """Called when a storage begins to be kept; for subclasses that ask more of it."""

    def let_go(self, address: int) -> None:
        """Autograd keeps a storage once less."""
        self._times[address] -= 1
        if not self._times[address]:
            self.level -= self.storages.pop(address)


class _Kept:
    """A tensor in autograd's graph, which tells when the graph lets go of it."""

    __slots__ = ("tensor", "version", "saved", "address")

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.version = None if tensor.is_inference() else tensor._version
        self.saved: SavedStorages | None = None
        self.address = 0

    def unpacked(self) -> torch.Tensor:
        """The tensor. Raises RuntimeError if it was overwritten: with hooks torch does not look itself."""
        if self.version is not None and self.tensor._version != self.version:
            raise RuntimeError(
                f"a tensor {tuple(self.tensor.shape)} that a gradient reads has been overwritten in place"
            )
        return self.tensor

    def __del__(self) -> None:
        if self.saved is not None:
            self.saved.let_go(self.address)


def hooks_on() -> Any:
    """The saved-tensor hooks that are on in this thread, the innermost pair; None without any, and in torch 2.4, which
    does not tell.
    """
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top and top(True)


def numbers_kept(result: torch.Tensor) -> Iterator[torch.Tensor]:
    """The Python numbers that products and quotients keep for the backward pass of a result, each as a tensor.

    Saved-tensor hooks do not see them (torch/csrc/autograd/saved_variable.cpp: is_wrapped_number). To look at them runs
    checkpointed parts again. Of those that `noting` noted, their notes.
    """
    todo, seen = [result.grad_fn], {None}
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        todo += [following for following, _ in node.next_functions]
        if node.name() == ON_A_VIEW and NUMBER in node.metadata:
            yield node.metadata[NUMBER]
        if node.name() in ("MulBackward0", "DivBackward0"):
            other = node._saved_other
            if other is not None and other.dim() == 0:
                yield other


def noting(scale: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A product or quotient in place which, on a view, notes its number at the node that hides the product's own.

    Such a node (torch/csrc/autograd/functions/tensor.cpp: CopySlices) shows nothing of what the product keeps. The note
    stands for the number, in as many bytes, until the node lets go of it.
    """

    @wraps(scale)
    def noted(x: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        result = scale(x, *args, **named)
        node = x._base.grad_fn if x._is_view() and x._base is not None else None
        if node is not None and node.name() == ON_A_VIEW and type((*args, *named.values())[0]) in (int, float):
            _note(node)
        return result

    return noted


def _note(node: Any) -> None:
    notes = node.metadata
    if NUMBER in notes:  # a mode for torch's functions has called the method again
        return
    notes[NUMBER] = torch.frombuffer(bytearray(NUMBER_BYTES), dtype=torch.uint8)  # torch's allocator makes nothing

    def has_run(*_: Any) -> None:
        notes.pop(NUMBER)

    node.register_hook(has_run)


def is_note(number: torch.Tensor) -> bool:
    """Whether a number is not the one that is kept, but what `noting` noted of it."""
    return number.dim() == 1
