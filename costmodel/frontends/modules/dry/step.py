"""Runs a dry step: forward, loss and backward of a module on tensors without data, as PyTorch's autograd runs them.

Only what depends on the images or on parameters is without data; everything else is computed for real, so that code may
look at it. The dispatcher, autograd and Python free tensors as in a real run, so lifetimes are PyTorch's own.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any
from unittest.mock import patch
from warnings import catch_warnings, simplefilter

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import _StopRecomputationError

from ....errors import CostmodelError
from ....graph.dry import DryStep, Parameter, Saved, Setting
from ....graph.inputs import Inputs
from ....ops._loss import Loss
from ....ops._named_loss import USUAL_LOSS
from ..blame import RAISED, in_words
from ..compiled import as_written
from ..criterion import Criterion
from ..dtypes import dtype_of
from ..fused import is_fused
from ..given import Objective, arguments, empty, in_format
from ..untouched import State, uncollected
from ..validation import arguments_are_valid
from .flops import FlopCounter
from .kept import SavedStorages, numbers_kept
from .lives import ASK_FOR_DATA, Lives, address_of
from .on_the_cpu import OnTheCpu
from .stand_ins import same_chance, stand_ins

SEEDS = (0, 1)


def dry_step(
    module: nn.Module,
    inputs: Inputs,
    batch: int,
    setting: Setting,
    loss: Loss | Objective = USUAL_LOSS,
    dtype: torch.dtype | None = None,
    channels_last: bool = False,
    threads: int | None = None,
    amp: str = "",
) -> DryStep:
    """A dry step of a module on the CPU, for a batch of inputs in a data type and memory format.

    setting: what the strategy sets in the module, which is left as it was. dtype: None for the module's own. threads:
    None for torch's. amp: as for `mixed_precision`. If something is drawn at random, the step runs twice. Raises
    CostmodelError if the module does not run without data.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)  # torch chooses kernels by it
    try:
        asked = inputs, batch, setting, loss, dtype, channels_last, amp
        first, drawn, ops = _seeded(module, *asked, SEEDS[0])
        if drawn:
            _, _, again = _seeded(module, *asked, SEEDS[1])
            return first._replace(is_random=ops != again)
        return first
    finally:
        torch.set_num_threads(before)


def _seeded(
    module: nn.Module,
    inputs: Inputs,
    batch: int,
    setting: Setting,
    loss: Loss | Objective,
    dtype: torch.dtype | None,
    channels_last: bool,
    amp: str,
    seed: int,
) -> tuple[DryStep, bool, list[Any]]:
    """A dry step, whether something was drawn at random, and the ops that ran."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    with same_chance(seed) as drawn, recorded(), stand_ins(module, mode, setting, dtype, memory_format) as tensors:
        own = dtype or getattr(torch, dtype_of(module))
        criterion = Criterion(loss, batch, torch.device("cpu"), own)
        with mode:
            args, named = in_format(arguments(inputs, batch, own, empty), memory_format)
        run = _Run(module, args, named, criterion, tensors, amp)
        try:
            # What the network prints must not get among what is said to stdout; it warns when it runs for real.
            with redirect_stdout(sys.stderr), catch_warnings(), as_written(), _fake_tensors_silent():
                simplefilter("ignore")
                with arguments_are_valid(), uncollected():
                    step = run.steady(setting.has_loss)
        except CostmodelError:
            raise
        except RAISED as error:  # the network's own code may raise anything
            shown = ", ".join(map(str, inputs))
            said = in_words(error, "what runs next depends on data" if isinstance(error, ASK_FOR_DATA) else "")
            raise CostmodelError(f"a dry step on {shown} fails: {said}") from error
    return step, drawn[0], run.lives.ops


@contextmanager
def recorded() -> Iterator[None]:
    """Within this autograd is on, whatever mode the caller is in."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def mixed_precision(amp: str) -> Iterator[None]:
    """Within this, ops run as under torch.autocast with a data type; "" leaves the mode as it is.

    What autocast has cached is let go of at the end, in another region of autocast too.
    """
    if not amp:
        yield
        return
    with torch.autocast("cpu", getattr(torch, amp)):
        yield
    torch.clear_autocast_cache()


@contextmanager
def _fake_tensors_silent() -> Iterator[None]:
    """Within this, torch does not log the traceback of what fails without data: one message tells it."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class _Kept(SavedStorages):
    """What autograd keeps, and where it was kept first. where: names the place."""

    def __init__(self, own: Iterable[torch.Tensor], where: Callable[[], str]) -> None:
        super().__init__(set(), address_of)
        storages = [tensor.untyped_storage() for tensor in own]
        self.alive = {address_of(storage): weakref.ref(storage) for storage in storages}
        self.where = where
        self.places: dict[int, tuple[str, tuple[int, ...]]] = {}

    def is_own(self, address: int) -> bool:
        """Whether one of the module's own storages has an address, and not another one since that was freed."""
        return address in self.alive and self.alive[address]() is not None

    def kept_first(self, address: int, tensor: torch.Tensor) -> None:
        self.places[address] = self.where(), tuple(tensor.shape)

    def rows(self) -> Iterator[Saved]:
        """What is kept, each storage once."""
        for address, size in (self.storages | self.beside).items():
            yield Saved(*self.places.get(address, ("", ())), size)


class _Run:
    """One run of a module that holds stand-ins.

    args, named: what it is called with; loss: of what it returns; amp: as for `mixed_precision`.
    """

    def __init__(
        self,
        module: nn.Module,
        args: list[torch.Tensor],
        named: dict[str, torch.Tensor],
        loss: Criterion,
        tensors: dict[str, torch.Tensor],
        amp: str,
    ) -> None:
        self.amp = amp
        self.module, self.args, self.named, self.loss, self.tensors = module, args, named, loss, tensors
        self.stack: list[str] = []
        self.fused: set[str] = set()
        self.paths = {id(child): path for path, child in module.named_modules()}
        self.flops = FlopCounter(self.where)
        self.lives = Lives([*args, *named.values(), *loss.targets, *tensors.values()], self.flops)
        loss.given = self.lives.there

    def where(self) -> str:
        """The path of the module whose forward runs."""
        return self.stack[-1] if self.stack else ""

    def steady(self, has_loss: bool) -> DryStep:
        """A step; if it changes the module, or leaves something behind, a later one, and how they differ.

        What code keeps anywhere, in a dict of its own say, is freed in the next step, when that keeps another in its
        place.
        """
        before = State(self.module)
        first, after = self.step(has_loss), State(self.module)
        if not after.changed_since(before) and self.lives.level == self.gradients_bytes():
            return first
        self.begin()
        second = self.step(has_loss)
        second = second._replace(counters=tuple(State(self.module).counters_changed_since(after)))
        if second.levels == first.levels and second.flops == first.flops:
            return second
        self.begin()
        third = self.step(has_loss)
        steady = second.levels == third.levels and second.flops == third.flops
        return second._replace(first=first.levels if steady else None, is_unsteady=not steady)

    def gradients_bytes(self) -> int:
        """Bytes of the gradients that a step has left."""
        tensors = (*self.args, *self.named.values(), *self.loss.targets, *self.tensors.values())
        storages = {tensor.grad.untyped_storage() for tensor in tensors if tensor.grad is not None}
        return sum(storage.nbytes() for storage in storages)

    def begin(self) -> None:
        """Make ready for another step."""
        for tensor in self.tensors.values():
            tensor.grad = None
        self.flops = FlopCounter(self.where)
        self.lives.begin(self.flops)

    def step(self, has_loss: bool) -> DryStep:
        """Forward, and with a loss backward."""
        kept = _Kept(self.tensors.values(), self.where)
        with self.lives, self.lives.adding, self.entered(), self.states_followed():
            if not has_loss:
                with torch.no_grad(), mixed_precision(self.amp):
                    result = self.module(*self.args, **self.named)
                return self.result((), 0, has_loss=False)
            kept.start()
            try:
                with mixed_precision(self.amp):
                    result = self.loss.of([self.module(*self.args, **self.named)])
            finally:
                kept.stop()
        with OnTheCpu():  # what is checkpointed runs again
            kept.settle(result)
            saved = tuple(kept.rows())
            self.lives.go_back(numbers_kept(result))
        made = sum(size for address, size in (kept.storages | kept.beside).items() if self.lives.has_made(address))
        unseen = self.lives.level - made - result.untyped_storage().nbytes()
        if result.requires_grad:
            self.flops.phase = "backward"
            with self.lives, self.lives.adding, self.states_followed(), self.stops_followed():
                result.backward()
        return self.result(saved, unseen, has_loss=True)

    @contextmanager
    def states_followed(self) -> Iterator[None]:
        """Within this, states of the random generator are followed, which are made without the dispatcher."""
        draw = torch.get_rng_state

        def followed() -> torch.Tensor:
            state = draw()
            self.lives.made_beside(state)
            return state

        with patch.object(torch, "get_rng_state", followed):
            yield

    @contextmanager
    def stops_followed(self) -> Iterator[None]:
        """Within this, it is followed where what is checkpointed stops to run again, which torch does by an error."""
        with patch.object(_StopRecomputationError, "__init__", self.lives.stop):
            yield

    def result(self, saved: tuple[Saved, ...], unseen_bytes: int, has_loss: bool) -> DryStep:
        if self.lives.asked:
            raise CostmodelError(f"the network catches an error of the dry step: {self.lives.asked}")
        trained = (path for path, tensor in self.tensors.items() if tensor.grad is not None)
        return DryStep(
            saved,
            unseen_bytes,
            {key: self.flops.flops[key] for key in ("forward", "backward")},
            dict(self.flops.forward_of),
            frozenset(self.paths.values()),
            {path: _parameter(one) for path, one in self.tensors.items() if isinstance(one, nn.Parameter)},
            sum(t.nbytes for t in self.tensors.values() if not isinstance(t, nn.Parameter)),
            sum(x.nbytes for x in self.loss.targets),
            frozenset(trained),
            self.lives.peak,
            self.lives.level,
            has_loss,
            calls=frozenset(self.lives.calls),
            crashes=self.lives.crashes,
            fused=tuple(sorted(path for path in self.fused if path.rpartition(".")[0] not in self.fused)),
        )

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within this, the path of the module that runs is known."""
        real_call, run = nn.Module.__call__, self

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            run.stack.append(run.paths.get(id(module), run.where()))
            if is_fused(module, args):
                run.fused.add(run.where())
            try:
                return real_call(module, *args, **kwargs)
            finally:
                run.stack.pop()

        nn.Module.__call__ = call
        try:
            yield
        finally:
            nn.Module.__call__ = real_call


def _parameter(tensor: torch.Tensor) -> Parameter:
    return Parameter(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), tensor.itemsize)
