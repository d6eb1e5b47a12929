"""Traces a torch.nn.Module: the module runs once without data, and each torch function that it calls becomes a node.

Tensors on torch's `meta` device carry only shapes and strides. So sizes, Python's control flow on them, views and
in-place operations are real, but nothing is computed. Python frees each tensor at the moment at which a real run would
free it: lifetimes are recorded, not guessed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from functools import lru_cache
from inspect import signature
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ...errors import CostmodelError
from ...graph.dry import DryStep, Setting
from ...graph.graph import LOSS, Graph
from ...graph.inputs import Input, Inputs, images, resolution_of
from ...graph.network import Network, Untraceable
from ...graph.op import OPS, Op
from ...graph.paths import within
from ...sizes.size import is_int
from ..block_paths import block_paths, classifier_path
from ..draft import RESOLUTION, Draft, batch_for, graph_of, nodes_of
from . import (  # noqa: F401  (some register)
    arithmetic,
    einsum,
    losses,
    masks,
    own_autograd,
    pools,
    products,
    reductions,
    shapes,
    storages,
    volumes,
    writes,
)
from .asked import ASKED
from .batches import for_any_batch
from .blame import RAISED, in_words, said_by
from .compiled import as_written, uncompiled
from .contents import not_traced, with_contents
from .dtypes import dtype_of
from .functions import FUNCTIONS, as_entries_take_them
from .given import Objective, arguments
from .not_followed import NotFollowed
from .outputs import main_of
from .recorder import Life, Recorder, tensors_in
from .refused import refuse_what_no_trace_takes
from .untouched import same_generators, untouched
from .validation import arguments_are_valid

TAKEN_FOR_NODES = ("StochasticDepth", "DropPath")  # classes of modules that become a single node

#: Functions that ask about a tensor, but not about its data.
ASKS = frozenset(
    "dim size numel is_contiguous stride __len__ get_device is_floating_point is_complex element_size storage_offset "
    "ndimension nelement __repr__ __format__ __hash__ _set_grad_enabled is_same_size untyped_storage "
    "has_names is_nonzero_ __dir__ _is_view_ is_inference".split()
)
#: Functions that tell autograd what to do with a single tensor.
TELLS_AUTOGRAD = frozenset(
    "register_hook register_post_accumulate_grad_hook retain_grad requires_grad_ detach_".split()
)
#: Functions that need a tensor's data.
DATA = frozenset("__bool__ __int__ __float__ __index__ item tolist numpy __contains__ nonzero is_nonzero equal "
                 "allclose unique masked_select __array__ any all __complex__".split())  # fmt: skip
#: Functions that move a tensor to a device, where one without data cannot go.
MOVES = frozenset({"to", "cpu"})
#: Functions that make new tensors.
FACTORIES = frozenset("zeros ones empty full arange linspace tensor rand randn eye as_tensor randint "
                      "zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full new_tensor "
                      "meshgrid bernoulli".split())  # fmt: skip
#: Operators that write into their first tensor.
WRITES = frozenset("__setitem__ __iadd__ __isub__ __imul__ __itruediv__ __idiv__".split())
#: Functions written in Python: the functions that they call are traced in their place.
IN_PYTHON = frozenset("multi_head_attention_forward normalize local_response_norm softmin softsign tanhshrink "
                      "lp_pool2d gumbel_softmax".split())  # fmt: skip
#: Functions of layers: the op of the same name has parameters, so tensors after the first may be the layer's own.
LAYERS = frozenset(name for name in FUNCTIONS if name in OPS and OPS[name].params is not Op.params)
#: Functions that may overwrite their input, as `relu_` does.
INPLACE = frozenset(name for name, entry in FUNCTIONS.items() if "inplace" in signature(entry).parameters)


def trace(
    module: nn.Module,
    inputs: Inputs = images(RESOLUTION),
    name: str | None = None,
    blocks_are: str = "",
    allow_unknown: bool = False,
    batch: int | None = None,
    objective: Objective | None = None,
) -> Network:
    """The network of a module, for inputs of these sizes.

    The module is traced in training mode and left unchanged; its own flags and modes are kept for the strategy `as_is`.
    blocks_are: class or path pattern of the blocks, if they are not found automatically. allow_unknown: an unknown op
    becomes a node that costs nothing. batch: images in the run, by default a number that is nobody's size. A trace
    holds for every batch except a single image: there torch sees more tensors as contiguous, and copies less.
    objective: a loss of people's own, which is traced with the module. Raises CostmodelError, with the source
    line that causes it, for an unknown op and for control flow that depends on data.
    """
    refuse_what_no_trace_takes(module)
    module, notes = uncompiled(module)
    notes += storages.note_on_shared(module)
    modes = [child.training for child in module.modules()]

    def run(training: bool | None, given: Inputs = inputs) -> Graph:
        def at(images: int) -> Graph:
            return _run(module, training, given, images, (blocks_are, objective), allow_unknown, notes)

        return at(batch) if batch else for_any_batch(at, batch_for(*(side for one in given for side in one.shape)))

    @lru_cache(maxsize=64)
    def dry(setting: Setting, loss: Any, given: Inputs, batch: int, dtype: str, *how: Any) -> DryStep:
        from .dry.step import dry_step

        numbers = getattr(torch, dtype) if dtype else None
        return dry_step(module, given, batch, setting, objective or loss, numbers, *how)

    if blocks_are:
        block_paths(module, blocks_are)  # a wrong pattern is a bad request, whatever the trace finds
    channels = inputs[0].shape[0] if len(inputs) == 1 and is_int(resolution_of(inputs)) else None
    called, dtype = name or type(module).__name__, dtype_of(module)
    known = {"module": module, "dry": dry, "dtype": dtype, "loss": objective}
    try:
        graph = run(True)
    except BadLoss:
        raise
    except CostmodelError as error:
        bare = Network(called, not_traced(module), inputs, **known, notes=tuple(notes), untraceable=str(error))
        raise Untraceable(str(error), bare) from error.__cause__
    if not all(modes):
        graph = replace(graph, as_is=run(None))

    @lru_cache(maxsize=8)
    def again(given: Inputs, single: bool) -> Network:
        return trace(module, given, name, blocks_are, allow_unknown, 1 if single else None, objective)

    if channels is not None:
        notes += other_channels(module, channels, lambda other: run(None, images(inputs[0].shape[1], other)))
    return Network(called, graph, inputs, **known, retrace=again, notes=tuple(notes))


def _run(
    module: nn.Module,
    training: bool | None,
    inputs: Inputs,
    batch: int,
    how: tuple[str, Objective | None],
    allow_unknown: bool,
    notes: list[str],
) -> Graph:
    """The graph of one run of a module, which is left as it was.

    training: the mode, None for its own. how: `blocks_are` and the loss.
    """
    with untouched(module), same_generators(), as_written(notes), arguments_are_valid():
        if training is not None:
            module.train(training)
        return _Tracer(module, allow_unknown).graph(inputs, batch, *how)


def other_channels(module: nn.Module, channels: int, run_on: Callable[[int], Any]) -> tuple[str, ...]:
    """A note if a module that does not say what images it takes runs on grey ones as well as on coloured ones.

    run_on: runs it on images of some channels; raises CostmodelError if it does not run.
    """
    other = 1 if channels == 3 else 3
    if said_by(module, "pretrained_cfg"):
        return ()
    try:
        run_on(other)
    except CostmodelError:  # most often in the first layer
        return ()
    return (f"The network runs on images of {channels} and of {other} channels; the figures are for {channels}.",)


class BadLoss(CostmodelError):
    """People's own loss raises an exception."""


class _Tracer(Recorder, TorchFunctionMode):
    """Sees every torch function that is called while a module runs."""

    def __init__(self, root: nn.Module, allow_unknown: bool) -> None:
        super().__init__(root)
        self.allow_unknown = allow_unknown
        self.ended_in = ""  # path of the innermost module whose forward raised an exception

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if NotFollowed in types:
            return NotImplemented  # it refuses by itself
        name = getattr(function, "__name__", "")
        if name == "__get__":
            name = function.__self__.__name__
            if name in ASKED:
                return ASKED[name](self, *args)
            if name not in FUNCTIONS:
                return function(*args, **kwargs)
        if name in ASKS or name == "type" and len(args) == 1 and not kwargs:
            return function(*args, **kwargs)
        if name == "__set__":
            raise self.error(f"to set {function.__self__.__name__} of a tensor")
        if name in TELLS_AUTOGRAD:
            raise self.error(name)
        tensors = list(tensors_in((args, kwargs)))
        if all(self.is_constant(x) for x in tensors):
            writes = name.endswith("_") and not name.endswith("__") or name in WRITES
            if writes and tensors and tensors[0].untyped_storage()._cdata in self.holders.storages:
                # Counting batches, say. A single number is written, and put back after the trace.
                return function(*args, **kwargs) if tensors[0].numel() == 1 else tensors[0]
            real = not any(x.device.type == "meta" for x in tensors)
            if name in DATA and real:
                return function(*args, **kwargs)
            if name not in DATA and (real or name not in MOVES):
                bare = (args, kwargs) if real else (self.without_data(args), self.without_data(kwargs))
                y = function(*bare[0], **bare[1])
                if not self.sees_node(y, tensors):
                    self.made(y, tensors)
                    return y
        self.function, self.name = function, name
        if name in DATA:
            said = f"{name} asks for a tensor's data: what runs next may depend on it, which a graph cannot follow"
            raise self.error(CostmodelError(f"{said} (in {self.place()})"))
        if name in FACTORIES:
            return function(*self.without_data(args), **kwargs)
        if name in IN_PYTHON:
            return self.by_its_calls(function, args, kwargs)
        plain = name[:-1] if name.endswith("_") and not name.endswith("__") else name
        plain = {"__iadd__": "add", "__imul__": "mul", "__truediv__": "div"}.get(plain, plain)
        if plain not in FUNCTIONS:
            return self.unknown(name, function, args, kwargs)
        if plain != name and plain in name:
            if plain in INPLACE:
                kwargs = {**kwargs, "inplace": True}
            else:
                return self.unknown(name, function, args, kwargs)
        self.as_values(*(tensors if plain not in LAYERS else tensors[:1]))
        args, kwargs = as_entries_take_them(args, kwargs)
        try:
            return FUNCTIONS[plain](self, *args, **kwargs)
        except TypeError as error:
            if "unexpected keyword" in str(error) or "positional argument" in str(error):
                said = str(error).partition("() ")[2]  # without the name of the entry
                raise self.error(f"{name} with these arguments ({said})") from None
            raise

    def by_its_calls(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        """Run one of torch's functions that are written in Python, and trace the functions that it calls.

        Such a function asks has_torch_function whether to hand the whole call to this tracer. A copy of the function
        runs instead, in which the answer is no.
        """
        blind = {name: lambda *_: False for name in function.__globals__ if name.startswith("has_torch_function")}
        names = {**function.__globals__, **blind}
        copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
        copy.__kwdefaults__ = function.__kwdefaults__
        with self:
            return copy(*args, **kwargs)

    def unknown(self, name: str, function: Callable, args: tuple, kwargs: dict) -> Any:
        if not self.allow_unknown:
            hint = "allow_unknown (--allow-unknown) lets it through as a lower bound"
            raise self.error(CostmodelError(f"unknown op {name!r} (in {self.place()}); {hint}"))
        tensors = [x for x in tensors_in((args, kwargs))]
        self.as_values(*tensors)
        y = function(*self.without_data(args), **self.without_data(kwargs))
        if not isinstance(y, torch.Tensor):
            raise CostmodelError(f"unknown op {name!r} gives no single tensor (in {self.place()})")
        if getattr(y, "_traced", None) is not None:
            return y
        size = tuple(0 if s == self.batch else s for s in y.shape)
        return self.emit(OPS["unknown"](name, size, len(tensors)), tensors, y)

    def entered(self, module: nn.Module, call: Callable, args: tuple, kwargs: dict) -> Any:
        """The result of a module's call; the module is the current one while its forward runs."""
        self.stack.append(module)
        self.called.add(self.holders.paths.get(id(module), ""))
        try:
            if type(module).__name__ in TAKEN_FOR_NODES and (hasattr(module, "p") or hasattr(module, "drop_prob")):
                return self.noise(module, *args)
            return call(module, *args, **kwargs)
        except Exception:
            self.ended_in = self.ended_in or self.holders.paths.get(id(module), "")
            raise
        finally:
            self.stack.pop()

    def noise(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """The output of stochastic depth: torchvision's StochasticDepth, or timm's DropPath."""
        p = float(getattr(module, "p", None) or getattr(module, "drop_prob", None) or 0.0)
        if not module.training or p == 0:
            return x
        if not getattr(module, "scale_by_keep", True):
            raise self.error("drop path without scaling")
        return self.emit(OPS["stochastic_depth"](p, getattr(module, "mode", "row")), [x], self.like(x))

    def given(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """Append the node of a tensor that the caller gives beside the first input."""
        meta = torch.empty(x.shape, dtype=x.dtype, device="meta")
        bits = 0 if x.is_floating_point() else 8 * x.element_size()
        draft = Draft(OPS["input"](tuple(x.shape[1:]), bits), (None,), self.names.unique(name))
        self.append(draft, meta)
        draft.died = -1  # it takes no storage during the step
        return meta

    def call_of(self, inputs: Inputs, batch: int) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call of the module: tensors without data, the first of which is no node."""
        self.batch = batch

        def given(one: Input, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
            x = torch.empty(shape, dtype=dtype, device="meta")
            if one is not inputs[0]:
                return self.given(x, one.keyword or "input_1")
            x._traced, self.images = Life(), x
            return x

        return arguments(inputs, batch, getattr(torch, dtype_of(self.root)), given)

    def result_of(self, outputs: list[Any], batch: int, objective: Objective | None) -> tuple[Any, list[Any]]:
        """The value that the step ends in, and all that the module returned, the main one first.

        outputs: what the module returned, as a list that only this function's caller holds.
        """
        returned = outputs.pop()
        if objective is None:
            found = main_of(returned)
            others = [x for x in tensors_in(returned) if x is not found]
            return found, [self.value(x) for x in (found, *others)]
        values = [self.value(x) for x in tensors_in(returned)]
        self.names.scope = LOSS + "_" * any(name.partition(".")[0] == LOSS for name in self.names.taken)
        targets = objective.targets_of(batch, lambda x: self.given(x, f"{self.names.scope}.targets"))
        return objective(returned, targets), values

    def graph(self, inputs: Inputs, batch: int, blocks_are: str, objective: Objective | None = None) -> Graph:
        """The graph of one run of the module on a batch of inputs, and of a loss of people's own after it."""
        args, named = self.call_of(inputs, batch)
        real_call, tracer = nn.Module.__call__, self

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return tracer.entered(module, real_call, args, kwargs)

        nn.Module.__call__ = call
        try:
            # What the network prints must not get among what is said to stdout.
            with torch.inference_mode(False), torch.enable_grad(), redirect_stdout(sys.stderr):
                with own_autograd.followed(self) as again, self:
                    result, values = self.result_of([self.root(*args, **named)], batch, objective)
        except CostmodelError:
            raise
        except RAISED as error:  # the network's own code may raise anything on these images
            inside = f" (in {self.ended_in})" if self.ended_in else ""
            if self.names.scope:
                assert objective is not None
                said = f"the loss {objective.name} ends in {in_words(error)}"
                beside = "; targets= (--targets) are what it gets beside the outputs"
                raise BadLoss(said + beside * (objective.targets is None)) from error
            said = f"tracing the network on {', '.join(map(str, inputs))} ends in {in_words(error)}{inside}"
            raise CostmodelError(f"{said}; resolution= or inputs= takes others") from error
        finally:
            nn.Module.__call__ = real_call
        if self.first_error is not None:  # the network has caught it
            raise self.first_error
        last = self.value(result)
        if last is None:
            raise CostmodelError("the network returns its input")
        returned = list(dict.fromkeys(value for value in values if value is not None))
        nodes = nodes_of(self.drafts, last, *returned)
        body = nodes if not self.names.scope else [node for node in nodes if not within(node.name, self.names.scope)]
        graph = graph_of(
            nodes,
            block_paths(self.root, blocks_are),
            classifier_path(self.root, body),
            self.called,
            loss=self.names.scope,
            outputs=tuple(draft.name for draft in returned) if returned != [last] else (),
            input_bits=inputs[0].bits,
        )
        scopes = own_autograd.scopes_of(again, nodes)
        graph = replace(
            graph,
            checkpointed=tuple(scope for scope, call in scopes.items() if call.runs_again),
            stateful=frozenset(scope for scope, call in scopes.items() if call.keeps_state),
        )
        return with_contents(graph, self.root)
