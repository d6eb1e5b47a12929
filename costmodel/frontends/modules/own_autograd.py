"""What a network tells autograd itself: functions of its own, parts that run again in the backward pass, hooks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch.autograd.function import BackwardCFunction
from torch.utils import checkpoint

from ...errors import CostmodelError
from ...graph.checkpointing import SPAN
from ...graph.graph import Node
from ...graph.paths import prefixes, within
from ..draft import Draft
from .asked import wants_gradient
from .recorder import Recorder, tensors_in


class Checkpoint(NamedTuple):
    """A call of torch.utils.checkpoint: the drafts in it.

    runs_again: whether autograd was on; if not, nothing is kept. keeps_state: of random numbers.
    """

    run: Sequence[Draft]
    runs_again: bool
    keeps_state: bool


#: Names of the generator in which torch.utils.checkpoint runs a function: since torch 2.14, and before.
GENERATORS = ("_checkpoint_without_reentrant_generator_impl", "_checkpoint_without_reentrant_generator")


@contextmanager
def followed(t: Recorder) -> Iterator[list[Checkpoint]]:
    """Within this, a tracer sees functions of autograd, and gives a list to which each call of checkpoint is added."""
    seen: list[Checkpoint] = []
    with ExitStack() as patches:
        apply, inside = torch.autograd.Function.__dict__["apply"], list[bool]()
        patches.enter_context(patch.object(torch.autograd.Function, "apply", classmethod(_applied(t, apply, inside))))
        patches.enter_context(patch.object(BackwardCFunction, "__init__", _begun(t, inside)))
        name = next(name for name in GENERATORS if hasattr(checkpoint, name))
        patches.enter_context(patch.object(checkpoint, name, _checkpointed(t, getattr(checkpoint, name), seen)))
        yield seen


def _applied(t: Recorder, real: Any, inside: list[bool]) -> Callable:
    """A stand-in for torch.autograd.Function.apply, whose backward a trace cannot see. inside: not empty within it."""

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() and any(wants_gradient(t, x) for x in tensors_in((args, kwargs))):
            raise _own_backward(t, cls.__name__)
        inside.append(True)
        try:
            return real.__get__(None, cls)(*args, **kwargs)
        finally:
            inside.pop()

    return apply


def _begun(t: Recorder, inside: list[bool]) -> Callable:
    """What happens when the context of such a function is made by an `apply` that was looked up before the trace."""

    def begun(context: Any) -> None:
        if not inside and torch.is_grad_enabled() and any(draft.wants for draft in t.drafts):
            raise _own_backward(t, type(context).__name__.removesuffix("Backward"))

    return begun


def _own_backward(t: Recorder, name: str) -> CostmodelError:
    return t.error(f"{name}, which has a backward of its own (torch.autograd.Function),")


def _checkpointed(t: Recorder, real: Callable, seen: list[Checkpoint]) -> Callable:
    """A stand-in for the generator in which torch.utils.checkpoint runs a function."""
    parameters = inspect.signature(real).parameters
    names = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    inside: list[bool] = []
    keywords = {name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}

    def run(*args: Any, **kwargs: Any) -> Iterator[None]:
        if inside:
            raise t.error("a checkpoint within a checkpoint")
        options = {**dict(zip(names, args)), **{name: kwargs[name] for name in keywords & kwargs.keys()}}
        first = len(t.drafts)
        if options["context_fn"] is not checkpoint.noop_context_fn or not options.get("early_stop", True):
            raise t.error("checkpoint with context_fn or without early_stop")
        inside.append(True)
        yield
        inside.pop()
        seen.append(Checkpoint(t.drafts[first:], torch.is_grad_enabled(), bool(options["preserve_rng_state"])))

    return run


def scopes_of(calls: Sequence[Checkpoint], nodes: Sequence[Node]) -> dict[str, Checkpoint]:
    """The calls by their scopes: a module's path, or the first and the last node."""
    found: dict[str, Checkpoint] = {}
    for call in calls:
        names = {draft.name for draft in call.run}
        run = [node.name for node in nodes if node.name in names]
        if not run:
            continue
        scope = next((s for s in prefixes(run[0]) if [n.name for n in nodes if within(n.name, s)] == run), "")
        found[scope or f"{run[0]}{SPAN}{run[-1]}"] = call
    return found
