"""Measures one training step that somebody else's code runs: what autograd keeps, and how much is allocated."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
from torch import nn

from ..frontends.modules.dry.kept import SavedStorages, hooks_on
from ..frontends.modules.recorder import tensors_in
from .allocations import Recording, blocks, is_recording
from .saved import own_storages


class Call(NamedTuple):
    """How a module was called.

    shape, dtype, channels_last: of its images; argument: the name that they were given by, "" without one. others:
    number of further tensors, but for labels. returns_tensor: whether the result is one tensor.
    """

    module: nn.Module
    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool
    argument: str
    others: int
    returns_tensor: bool


class Measured(NamedTuple):
    """What one step did.

    saved_bytes, peak_bytes: None if they were not measured. The peak is that of what the step allocated itself and of
    the gradients that it found and freed: stale_bytes. accumulates: it found gradients and kept them. holds_output: the
    module's result was still held in the backward pass. calls: of the module. autocast: its data type, "" without it.
    notes: why something was not measured.
    """

    call: Call
    device: torch.device
    saved_bytes: int | None
    peak_bytes: int | None
    stale_bytes: int
    accumulates: bool
    holds_output: bool
    calls: int
    autocast: str
    notes: tuple[str, ...]


def autocast_on(device: str) -> str:
    """The data type of the autocast that is on, "" if none is."""
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.") if torch.is_autocast_enabled(device) else ""


class WatchedStep:
    """A step under way: from its construction, before the forward pass, to `finish`, after the update, or `drop`."""

    def __init__(self, root: nn.Module, measures_peak: bool) -> None:
        self.device = next(root.parameters()).device
        self.autocast = autocast_on(self.device.type)
        self.calls = 1
        self.call: Call | None = None
        self.in_backward = self.holds_output = False
        self.notes: list[str] = []
        self._gradients = [(weakref.ref(p.grad), p.grad.untyped_storage().data_ptr(), p.grad.untyped_storage().nbytes())
                           for p in root.parameters() if p.grad is not None]  # fmt: skip
        self._output_hook: Any = None
        self._recording: Recording | None = None
        self._level = 0
        self.saved: SavedStorages | None = None
        if hooks_on() is not None:
            self.notes.append("saved bytes not measured: other saved-tensor hooks are on")
        else:
            self.saved = SavedStorages(own_storages(root))
            self.saved.start()
        if measures_peak:
            self._start_peak()

    def _start_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._level = torch.cuda.memory_allocated(self.device)
        elif self.device.type != "cpu":
            self.notes.append(f"peak not measured: nothing tells it on {self.device.type}")
        elif is_recording():
            self.notes.append("peak not measured: another profiler is on")
        else:
            self._recording = Recording()
            self._recording.start()

    @property
    def is_open(self) -> bool:
        """Whether the backward pass of what ran so far is still to come."""
        return self.saved is not None and self.saved.level > 0

    def called(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        """The module's forward pass is over."""
        given = [("", x) for x in tensors_in(args)]
        given += [(name, x) for name, value in kwargs.items() if name != "labels" for x in tensors_in(value) if x.ndim]
        if self.call is not None or not given:
            return
        name, images = next((one for one in given if one[1].ndim == 4), given[0])
        last = (
            images.ndim == 4 and not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
        )
        is_tensor = isinstance(result, torch.Tensor)
        self.call = Call(module, tuple(images.shape), images.dtype, last, name, len(given) - 1, is_tensor)
        output = result if is_tensor else next((x for x in logits_of(result) if x.requires_grad), None)
        if self.saved is not None:
            self.saved.settle(None if self.saved.nested else output)
            for _, x in given:
                self.saved.shrink(x)
        if output is not None and output.requires_grad:
            held = weakref.ref(output)

            def backward(_: torch.Tensor) -> None:
                self.in_backward, self.holds_output = True, held() is not None

            self._output_hook = output.register_hook(backward)

    def finish(self) -> Measured | None:
        """Stop measuring; None if the module took no tensors."""
        peak: int | None = None
        stale = sum(size for ref, _, size in self._gradients if ref() is None)
        if self._recording is not None:
            found = {address: size for ref, address, size in self._gradients if ref() is None}
            peak = own_peak(blocks(self._recording.stop()), found)
            self._recording = None
        elif self.device.type == "cuda" and self._level:
            torch.cuda.synchronize(self.device)
            peak = torch.cuda.max_memory_allocated(self.device) - self._level + stale
        self.drop()
        if self.call is None:
            return None
        saved = None if self.saved is None else self.saved.highest + sum(self.saved.beside.values())
        accumulates = any(ref() is not None for ref, _, _ in self._gradients)
        return Measured(self.call, self.device, saved, peak, stale, accumulates, self.holds_output, self.calls,
                        self.autocast, tuple(self.notes))  # fmt: skip

    def drop(self) -> None:
        """Stop measuring."""
        if self._output_hook is not None:
            self._output_hook.remove()
            self._output_hook = None
        if self._recording is not None:
            self._recording.stop()
            self._recording = None
        if self.saved is not None:
            self.saved.stop()


def logits_of(result: Any) -> list[torch.Tensor]:
    """The tensors that a module returned, its logits first if it names them."""
    named = result.get("logits") if hasattr(result, "get") else None
    return [named] if isinstance(named, torch.Tensor) else list(tensors_in(result))


def own_peak(events: list[tuple[int, int]], found: dict[int, int]) -> int:
    """The highest level, in bytes, of blocks that were allocated during a step, and of those that it found and freed.

    events: (address, bytes) of allocations (+) and releases (-). found: bytes by address. What else is released was
    there before the step.
    """
    live = dict(found)
    level = highest = sum(live.values())
    for address, size in events:
        if size > 0:
            live[address] = size
            level += size
            highest = max(highest, level)
        else:
            level -= live.pop(address, 0)
    return highest
