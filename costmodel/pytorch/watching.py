"""Watches the first steps of a training loop, and prints predicted beside measured."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as calls
from torch.optim import optimizer as optimizers

from ..errors import CostmodelError
from ..step.estimate import Estimate
from .beside import Comparison, compare
from .predicted_step import settled_after
from .watched_step import WatchedStep

#: torch 2.4 does not tell what a module was given by keyword.
WITH_KEYWORDS = (
    {"with_kwargs": True} if "with_kwargs" in signature(calls.register_module_forward_hook).parameters else {}
)

EARLY = (
    "a hook updates parameters in the backward pass; watched are loops whose optimizer runs after it, and"
    " estimate(..., optimizer='NAME,in_place') prices such a step"
)


def watch(
    module: nn.Module, estimate: Estimate | None = None, peak: bool = True, show: Callable[[str], None] = print
) -> Watch:
    """Print what the first step of a training loop costs, as predicted and as measured; call it before the loop.

    The loop and its numbers stay as they are, and after that step nothing is left in it. With an optimizer that keeps
    state the second step is shown, since the first one makes the state; RAdam's sixth, since it then changes its rule.
    Batch, resolution, device and optimizer are those of the step; the module's own flags and modes are priced
    (`as_is`). Whatever goes wrong is one printed line.

    estimate: what to compare with instead, for modules that cannot be traced, such as lean ones. peak: whether to
    measure it: on the CPU torch's profiler is on during a step, on CUDA the peak statistic starts anew. show: prints.
    """
    return Watch(module, estimate, peak, show)


def _harmless(method: Callable) -> Callable:
    """Decorator: an error in a method ends the watching, with one line."""

    @wraps(method)
    def harmless(self: Watch, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception as error:
            self.give_up(error)

    return harmless


class Watch:
    """Hooks around a training loop, until a step was measured, or until `remove`. `with` removes them at its end.

    comparison: the result; None as long as there is none.
    """

    _active: Watch | None = None  # hooks of two watches would be in each other's way

    def __init__(self, module: nn.Module, estimate: Estimate | None, peak: bool, show: Callable[[str], None]) -> None:
        self.module, self.estimate, self.peak, self.show = module, estimate, peak, show
        self.comparison: Comparison | None = None
        self.steps = 0
        self._settled = 0  # steps before the one that is shown
        self._updates_early = False  # a hook has updated a parameter in the backward pass
        self._step: WatchedStep | None = None
        self._inside: nn.Module | None = None
        self._optimizer: Any = None
        self._handles: list[Any] = []
        self._start()

    @_harmless
    def _start(self) -> None:
        if Watch._active is not None:
            Watch._active.remove()
        while isinstance(self.module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            self.module = self.module.module
        if any(hasattr(child, "_orig_mod") for child in self.module.modules()):
            self.show("costmodel: not watched: torch.compile decides what a compiled module keeps")
            return
        atexit.register(self.remove)  # a profiler that is on when the process ends would crash it
        self._mine = {id(child) for child in self.module.modules()}
        Watch._active = self
        # One by one: an error in the second would leave the first.
        self._handles.append(calls.register_module_forward_pre_hook(self._before_call))
        self._handles.append(calls.register_module_forward_hook(self._after_call, always_call=True, **WITH_KEYWORDS))
        self._handles.append(optimizers.register_optimizer_step_pre_hook(self._before_update))

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take everything off at the end of a loop, and say so if no step could be shown."""
        if self._handles:
            seen = f"{self.steps} training steps were seen (forward, backward, update); it takes {self._settled + 1}"
            self.show(f"costmodel: {f'not watched: {EARLY}' if self._updates_early else seen}")
        self.remove()

    def remove(self) -> None:
        """Take everything off the loop."""
        atexit.unregister(self.remove)
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()
        if self._optimizer is not None:
            self._optimizer.__dict__.pop("_optimizer_step_code", None)
            self._optimizer = None
        self._drop_step()
        if Watch._active is self:
            Watch._active = None

    def _drop_step(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.drop()

    def give_up(self, error: Exception) -> None:
        """Take everything off the loop after an error, and say so in one line."""
        try:
            self.remove()
        finally:
            self.show(f"costmodel: not watched any longer: {type(error).__name__}: {error}".split("\n")[0])

    @_harmless
    def _before_call(self, module: nn.Module, args: tuple) -> None:
        if self._inside not in (None, module) or id(module) not in self._mine or not torch.is_grad_enabled():
            return
        if not any(p.requires_grad for p in module.parameters()):
            return  # a metric or a loss
        if self._step is not None and self._step.is_open and self._step.in_backward:
            return  # a checkpointed part that runs again
        if self._updates_early:
            raise CostmodelError(EARLY)
        self._inside = module
        if self._step is not None and self._step.is_open:
            self._step.calls += 1
            return
        self._drop_step()
        self._step = WatchedStep(self.module, self.peak)

    @_harmless
    def _after_call(self, module: nn.Module, args: tuple, *rest: Any) -> None:
        if module is not self._inside:
            return
        self._inside = None
        if len(rest) < 1 + len(WITH_KEYWORDS) or rest[-1] is None:  # an error in the forward pass
            self._drop_step()
        elif self._step is not None:
            self._step.called(module, args, rest[0] if WITH_KEYWORDS else {}, rest[-1])

    @_harmless
    def _before_update(self, optimizer: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        # A hook after the update could not take itself off: torch goes through the dict of these hooks at that time.
        # So the method that torch calls at the end of each update is this optimizer's own for once.
        mine = {id(p) for p in self.module.parameters()}
        if self._updates_early:
            return
        if any(id(p) in mine for group in optimizer.param_groups for p in group["params"]):
            self._optimizer = optimizer
            optimizer._optimizer_step_code = self._after_update

    @_harmless
    def _after_update(self) -> None:
        optimizer, step, self._step = self._optimizer, self._step, None
        optimizer.__dict__.pop("_optimizer_step_code", None)
        if torch._C._current_graph_task_id() != -1:  # a node of autograd is running, which no profiler may end in
            self._step, self._updates_early = step, True
            return
        measured = step.finish() if step is not None else None
        self.steps += 1
        if measured is None:
            if step is not None:
                self.give_up(CostmodelError("the module was given no tensors that can be seen"))
            return
        # The first step makes the state; and nothing tells when gradients from before it were freed.
        self._settled = max(settled_after(optimizer), measured.stale_bytes > 0, self._settled)
        if self.steps <= self._settled:
            return
        self.remove()
        self.comparison = compare(self.steps, self.module, measured, optimizer, self.estimate)
        self.show(str(self.comparison))
