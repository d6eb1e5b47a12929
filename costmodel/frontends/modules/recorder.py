"""What a trace writes down: nodes with their names, the values that tensors are, and parameters where they are used."""

from __future__ import annotations

import linecache
import os
import sys
import weakref
from collections import Counter
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set

import torch
from torch import nn

from ...errors import CostmodelError
from ...graph.graph import INPUT
from ...graph.op import OPS, Op, Result
from ..draft import Draft, Life

BATCH = 13  # images in the trace: a number that no layer has, so that the batch is told from other sizes


class Recorder:
    """The record of one run of a module. What entries of the table of functions use comes first."""

    torch = torch

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.root, self.batch = root, BATCH
        self.paths = {id(part): path for path, part in root.named_modules()}
        self.owned = {id(p): path.rpartition(".") for path, p in root.named_parameters()}
        self.buffers = {id(b): path.rpartition(".") for path, b in root.named_buffers()}
        self.own = {**self.buffers, **self.owned}
        self.drafts: List[Draft] = []
        self.taken: Counter = Counter()
        self.stack: List[nn.Module] = []
        self.metas: Dict[int, torch.Tensor] = {}  # of parameters and constants
        self.constants: List[torch.Tensor] = []  # held, so that no id is given out twice
        self.watched: List[Any] = []
        self.fixed: Set[str] = set()  # values that are constants, or views of some
        self.called: Set[str] = set()  # paths of modules
        self.function: Callable = print
        self.name = ""

    @property
    def module(self) -> nn.Module:
        """The module whose forward is running."""
        return self.stack[-1] if self.stack else self.root

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor)

    def are_one_layers(self, **given: Optional[torch.Tensor]) -> bool:
        """Whether the tensors are parameters or buffers of one module, which calls them so."""
        places = {name: self.own.get(id(p), ("", "", "")) for name, p in given.items() if p is not None}
        owners = {owner for owner, _, _ in places.values()}
        return len(owners) == 1 and all(name == called for name, (_, _, called) in places.items())

    def is_constant(self, x: torch.Tensor) -> bool:
        """Whether a tensor depends neither on the images nor on a parameter."""
        life = getattr(x, "_traced", None)
        if life is None:
            return id(getattr(x, "_source", x)) not in self.owned
        return bool(life.drafts) and life.drafts[-1].name in self.fixed

    def sees_node(self, value: Any, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether a result of constants, or one among several, is a view of one that is a node or will be."""
        nodes = [x for x in tensors if id(x) in self.buffers or getattr(x, "_traced", None) is not None]
        storages = {x.untyped_storage()._cdata for one in nodes for x in (one, self.without_data(one))}
        return any(y.untyped_storage()._cdata in storages for y in tensors_in(value))

    def as_values(self, *tensors: Optional[torch.Tensor]) -> List[torch.Tensor]:
        """Those of the tensors that are there; parameters and constants among them become nodes."""
        given = [x for x in tensors if x is not None]
        for x in given:
            meta = self.without_data(x)
            if getattr(meta, "_traced", None) is None:
                self.resident(meta)
        return given

    def run(self, function: Callable, *args: Any) -> Any:
        """A function's result without data."""
        return function(*self.without_data(args))

    def call(self, *args: Any, **named: Any) -> Any:
        """The result of the function that is being called, without data."""
        return self.function(*self.without_data(args), **named)

    def named(self, name: str) -> "Recorder":
        """This tracer while another function is being called."""
        self.name, self.function = name, getattr(torch, name, None) or getattr(torch.Tensor, name)
        return self

    def like(self, x: torch.Tensor) -> torch.Tensor:
        """A new tensor with the strides that an elementwise op gives."""
        return torch.empty_like(self.without_data([x])[0])

    def shares(self, y: torch.Tensor, x: torch.Tensor) -> bool:
        """Whether two tensors see one storage."""
        return y.untyped_storage()._cdata == self.without_data([x])[0].untyped_storage()._cdata

    def error(self, what: str) -> CostmodelError:
        """The error for something that no op stands for, with where it is."""
        return CostmodelError(f"{what} is not supported (in {self.place()})")

    def place(self) -> str:
        """Module path and source line of the call that is being traced."""
        frame = sys._getframe()
        own, base = os.path.dirname(os.path.dirname(__file__)), os.path.dirname(torch.__file__)
        while frame and frame.f_code.co_filename.startswith((own + os.sep, base + os.sep, "<")):
            frame = frame.f_back
        path = self.paths.get(id(self.module), "?") or "the network itself"
        if frame is None:
            return f"{path} ({type(self.module).__name__})"
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        return f"{path} ({type(self.module).__name__}), {frame.f_code.co_filename}:{frame.f_lineno}: {line}"

    def emit(self, op: Op, inputs: Sequence[torch.Tensor], output: torch.Tensor, **parameters: Any) -> torch.Tensor:
        """Append a node and return its output, which carries its name from now on.

        parameters: the tensors, buffers too, that the op calls so; they must be the module's own, under the same names.
        """
        names = tuple(self.value(x) for x in inputs)
        # Frozen: a strategy decides whether there must be values enough for batch statistics.
        expected = op.frozen().shape(*(tuple(x.shape) for x in inputs))
        assert expected == tuple(output.shape), f"{op}: {expected}, torch has {tuple(output.shape)} ({self.place()})"
        given = {name: p for name, p in parameters.items() if p is not None}
        owner = self.owner(given) if given else None
        trains = frozenset(name for name, p in given.items() if p.requires_grad)
        draft = Draft(self.fresh(op, owner), op, names, trains, owner)
        self.append(draft, output)
        if not given and all(name in self.fixed for name, of in zip(names, op.inputs) if of not in op.shape_only):
            self.fixed.add(draft.name)
        return output

    # -- nodes and values ----------------------------------------------------------------------------------

    def append(self, draft: Draft, output: torch.Tensor) -> None:
        self.drafts.append(draft)
        life = getattr(output, "_traced", None)
        if life is None:
            life = output._traced = Life()
            drafts = self.drafts

            def gone(_: Any) -> None:
                life.drafts[-1].died = len(drafts) - 1

            self.watched.append(weakref.ref(output, gone))
        elif life.drafts:
            life.drafts[-1].died = len(self.drafts) - 1  # overwritten
        life.drafts.append(draft)

    def fresh(self, op: Op, owner: Optional[str]) -> str:
        """A node's name: its module's path if the module is a layer of torch.nn, else the function's below the path."""
        module = self.module
        path = self.paths.get(id(module), "")
        layer = type(module).__module__.startswith("torch.nn.modules") and not module._modules
        base = path if layer and path else f"{path}.{op.kind}".lstrip(".")
        self.taken[base] += 1
        if self.taken[base] == 1:
            return base
        return self.numbered(base if not layer else f"{base}.{op.kind}")

    def numbered(self, base: str) -> str:
        """The first of base_1, base_2, ... that is not taken."""
        number = 1
        while self.taken[f"{base}_{number}"]:
            number += 1
        self.taken[f"{base}_{number}"] += 1
        return f"{base}_{number}"

    def owner(self, given: Dict[str, torch.Tensor]) -> str:
        """Path of the module that has these parameters under these names."""
        if not self.are_one_layers(**given):
            raise self.error(f"{' or '.join(given)} that is computed, or not what one module calls so,")
        return self.own[id(next(iter(given.values())))][0]

    def value(self, x: torch.Tensor) -> str:
        """Name of the value that a tensor is; parameters and constants become nodes where they are first used."""
        x = self.without_data([x])[0]
        life = getattr(x, "_traced", None)
        if life is None:
            raise self.error("a tensor that the trace has not seen")
        return life.drafts[-1].name if life.drafts else INPUT

    def without_data(self, args: Any) -> Any:
        """Arguments with every tensor as one without data."""
        if isinstance(args, torch.Tensor):
            return args if getattr(args, "_traced", None) is not None else self.lift(args)
        if isinstance(args, (tuple, list)):
            return type(args)([self.without_data(a) for a in args]) if type(args) in (tuple, list) else args
        if isinstance(args, dict):
            return {key: self.without_data(a) for key, a in args.items()}
        return args

    def lift(self, x: torch.Tensor) -> torch.Tensor:
        """A parameter, buffer or constant without data. It becomes a node where an op reads it by itself."""
        if x.device.type == "meta" and id(x) not in self.own:
            return x  # made during the run
        meta = self.metas.get(id(x))
        if meta is None:
            meta = self.metas[id(x)] = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
            meta._source = x
            self.constants.append(x)
        return meta

    def resident(self, meta: torch.Tensor) -> None:
        """Append the node of a tensor that is there before the step."""
        x = getattr(meta, "_source", meta)
        owner, _, name = self.own.get(id(x), ("", "", ""))
        size = tuple(x.shape)
        if id(x) in self.owned:
            op, trains = OPS["parameter"](name, size), frozenset({name} if x.requires_grad else ())
        else:
            bits = 0 if x.is_floating_point() else 8 * x.element_size()
            op, trains = OPS["constant"](tuple(0 if s == self.batch else s for s in size), name, bits), frozenset()
        base = f"{owner}.{name}".lstrip(".") or "constant"
        self.taken[base] += 1
        path = base if self.taken[base] == 1 else self.numbered(base)
        self.append(Draft(path, op, (INPUT,), trains, owner if name else None), meta)
        if op.result is Result.RESIDENT:
            self.drafts[-1].died = -1  # never let go
        if id(x) not in self.owned:
            self.fixed.add(path)


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors among nested arguments."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
