"""The record of a trace: nodes with their names, the value that each tensor holds, and the parameters in use."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from types import FrameType
from typing import Any
from weakref import finalize

import torch
from torch import nn

from ...errors import CostmodelError
from ...graph.op import OPS, Op, Result
from ...ops.mask import MASK
from ..draft import Draft, Names
from .storages import Shared

MOST_QUOTED = 100  # characters of a line of source code


@dataclass
class Life:
    """The drafts whose outputs a tensor object has held: several if it was overwritten, none for the images.

    lost: where another tensor in its storage was overwritten, and this one with it.
    """

    drafts: list[Draft] = field(default_factory=list)
    lost: str = ""


class Holders:
    """The modules of a tree and the tensors that they hold.

    paths: module paths by the module's id. parameters, buffers, tensors: by a tensor's id, the triple (path of the
    module, ".", name within it). storages: addresses of the storages of all these, and of tensors that are attributes.
    """

    def __init__(self, root: nn.Module) -> None:
        self.paths = {id(module): path for path, module in root.named_modules()}
        self.parameters = {id(p): path.rpartition(".") for path, p in root.named_parameters()}
        self.buffers = {id(b): path.rpartition(".") for path, b in root.named_buffers()}
        self.tensors = {**self.buffers, **self.parameters}
        plain = [value for module in root.modules() for value in module.__dict__.values()]
        held = [*root.parameters(), *root.buffers(), *(value for value in plain if isinstance(value, torch.Tensor))]
        self.storages = {tensor.untyped_storage()._cdata for tensor in held}

    def are_one_layers(self, **given: torch.Tensor | None) -> bool:
        """Whether a single module holds all these tensors, under these names. None is ignored."""
        places = {name: self.tensors.get(id(x), ("", "", "")) for name, x in given.items() if x is not None}
        owners = {owner for owner, _, _ in places.values()}
        return len(owners) == 1 and all(name == called for name, (_, _, called) in places.items())


def not_supported(what: str, place: str) -> CostmodelError:
    """The error for something at a place that no op can express."""
    return CostmodelError(f"{what} is not supported (in {place})")


class Recorder:
    """The record of one run of a module. The methods that entries of FUNCTIONS use come first."""

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.torch = torch
        self.root, self.batch = root, 0  # images in the run
        self.holders = Holders(root)
        self.drafts: list[Draft] = []
        self.names = Names()
        self.stack: list[nn.Module] = []
        # By the id of a parameter, buffer or constant, its tensor without data.
        self.metas: dict[int, torch.Tensor] = {}
        self.shared = Shared()
        self.fixed: set[Draft | None] = set()  # drafts that depend on constants only
        self.called: set[str] = set()  # paths of the modules whose forward was called
        self.first_error: CostmodelError | None = None
        self.function: Callable = print
        self.name = ""

    @property
    def module(self) -> nn.Module:
        """The module whose forward is running."""
        return self.stack[-1] if self.stack else self.root

    def is_constant(self, x: torch.Tensor) -> bool:
        """Whether a tensor depends neither on the images nor on a parameter."""
        life = getattr(x, "_traced", None)
        if life is None:
            return id(getattr(x, "_source", x)) not in self.holders.parameters
        return bool(life.drafts) and life.drafts[-1] in self.fixed

    @staticmethod
    def made(value: Any, tensors: Sequence[torch.Tensor]) -> None:
        """Tell the tensors in a function's value that the run has made them, unless they are views of held ones."""
        before = {x.untyped_storage()._cdata: x for x in tensors}
        for y in tensors_in(value):
            of = before.get(y.untyped_storage()._cdata)
            if of is None or getattr(of, "_made", False):
                y._made = True

    def sees_node(self, value: Any, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether `value` shares a storage with one of `tensors` that is a node, or a buffer: a node once read."""
        nodes = [x for x in tensors if id(x) in self.holders.buffers or getattr(x, "_traced", None) is not None]
        storages = {x.untyped_storage()._cdata for one in nodes for x in (one, self.without_data(one))}
        return any(y.untyped_storage()._cdata in storages for y in tensors_in(value))

    def as_values(self, *tensors: torch.Tensor | None) -> list[torch.Tensor]:
        """The tensors, without None; parameters and constants among them become nodes."""
        given = [x for x in tensors if x is not None]
        for x in given:
            meta = self.without_data(x)
            if getattr(meta, "_traced", None) is None:
                self.resident(meta)
        return given

    def run(self, function: Callable, *args: Any) -> Any:
        """The result of a function on arguments without data."""
        return function(*self.without_data(args))

    def call(self, *args: Any, **named: Any) -> Any:
        """The result of the function that is being traced, on arguments without data."""
        return self.function(*self.without_data(args), **named)

    def named(self, name: str) -> Recorder:
        """This tracer, with `name` as the function that is being traced."""
        homes = (torch, torch.Tensor, torch.nn.functional)
        self.name, self.function = name, next(getattr(home, name) for home in homes if hasattr(home, name))
        return self

    def like(self, x: torch.Tensor) -> torch.Tensor:
        """A new tensor without data, with the strides that an elementwise op gives its output."""
        return torch.empty_like(self.without_data([x])[0])

    def shares(self, y: torch.Tensor, x: torch.Tensor) -> bool:
        """Whether two tensors share a storage."""
        return y.untyped_storage()._cdata == self.without_data([x])[0].untyped_storage()._cdata

    def error(self, what: str | CostmodelError) -> CostmodelError:
        """The error for something that no op can express, with its place in the source, or an error as it is.

        It ends the trace, also if the network catches it.
        """
        found = not_supported(what, self.place()) if isinstance(what, str) else what
        self.first_error = self.first_error or found
        return found

    def place(self) -> str:
        """Module path and source line of the call that is being traced."""
        frame: FrameType | None = sys._getframe()
        own, base = os.path.dirname(os.path.dirname(__file__)), os.path.dirname(torch.__file__)
        while frame and frame.f_code.co_filename.startswith((own + os.sep, base + os.sep, "<")):
            frame = frame.f_back
        path = self.holders.paths.get(id(self.module), "the loss" if self.names.scope else "?") or "the network itself"
        if frame is None or frame.f_code.co_filename.startswith(os.path.dirname(own) + os.sep):  # nobody's own line
            return f"{path} ({type(self.module).__name__})"
        line = shortened(linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip())
        return f"{path} ({type(self.module).__name__}), {frame.f_code.co_filename}:{frame.f_lineno}: {line}"

    def emit(self, op: Op, inputs: Sequence[torch.Tensor], output: torch.Tensor, **parameters: Any) -> torch.Tensor:
        """Append a node and return its output, which from now on carries the node.

        parameters: parameters and buffers by the op's names for them; a single module must hold them under these names.
        """
        if torch.is_autocast_enabled("cpu"):
            raise self.error("autocast")
        reads = tuple(self.value(x) for x in inputs)
        # Frozen, because the strategy decides later whether there are enough values for batch statistics.
        expected = op.frozen().shape(*(tuple(x.shape) for x in inputs))
        assert expected == tuple(output.shape), f"{op}: {expected}, torch has {tuple(output.shape)} ({self.place()})"
        if not op.result.is_view and (output.dtype is torch.bool) != (op.bits == MASK):
            raise self.error(f"{self.name} of a mask")
        given = {name: p for name, p in parameters.items() if p is not None}
        owner = self.owner(given) if given else None
        trains = frozenset(name for name, p in given.items() if p.requires_grad)
        records = op.differentiable and torch.is_grad_enabled()
        passed = (read for read, of in zip(reads, op.inputs) if of not in op.shape_only)
        wants = records and (bool(trains) or any(read is not None and read.wants for read in passed))
        draft = Draft(op, reads, self.fresh(op), trains, owner, records=records, wants=wants)
        if op.result is Result.INPLACE:
            for other in self.shared.others(output):
                other._traced.lost = self.place()
        self.append(draft, output)
        data = (read for read, of in zip(reads, op.inputs) if of not in op.shape_only or of in op.input_bits)
        if not given and all(read in self.fixed for read in data):
            self.fixed.add(draft)
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

            if draft.op.kind == "constant":  # it was made before it became a node, and views of it may live longer
                self.shared.add(output, lambda _: None)
                finalize(output.untyped_storage(), gone, None)
            else:
                self.shared.add(output, gone)
        elif life.drafts:
            life.drafts[-1].died = len(self.drafts) - 1  # overwritten
        life.drafts.append(draft)

    def fresh(self, op: Op) -> str:
        """A new node's name: its module's path if that is a layer of torch.nn, else the op's kind below the path."""
        module = self.module
        path = self.holders.paths.get(id(module), "")
        layer = type(module).__module__.startswith("torch.nn.modules") and not module._modules
        scope = self.names.scope
        path = f"{scope}.{path}".strip(".")
        base = path if layer and path != scope else f"{path}.{op.kind}".lstrip(".")
        if self.names.take(base):
            return base
        return self.names.numbered(base if not layer else f"{base}.{op.kind}")

    def owner(self, given: dict[str, torch.Tensor]) -> str:
        """Path of the module that holds these parameters under these names."""
        if not self.holders.are_one_layers(**given):
            raise self.error(f"{' or '.join(given)} that is computed, or not what one module calls so,")
        return self.holders.tensors[id(next(iter(given.values())))][0]

    def value(self, x: torch.Tensor) -> Draft | None:
        """The draft whose output a tensor holds, None for the images."""
        x = self.without_data([x])[0]
        life = getattr(x, "_traced", None)
        if life is None:
            raise self.error("a tensor that the trace has not seen")
        if life.lost:
            raise not_supported("a write through a view of a tensor that is read later", life.lost)
        return life.drafts[-1] if life.drafts else None

    def without_data(self, args: Any) -> Any:
        """Arguments with every tensor replaced by one without data."""
        if isinstance(args, torch.Tensor):
            return args if getattr(args, "_traced", None) is not None else self.lift(args)
        if isinstance(args, (tuple, list)):
            return type(args)([self.without_data(a) for a in args]) if type(args) in (tuple, list) else args
        if isinstance(args, dict):
            return {key: self.without_data(a) for key, a in args.items()}
        return args

    def lift(self, x: torch.Tensor) -> torch.Tensor:
        """A parameter, buffer or constant without data. It becomes a node when an op reads it as an input."""
        if x.device.type == "meta" and id(x) not in self.holders.tensors:
            return x  # made during the run
        meta = self.metas.get(id(x))
        if meta is None:
            meta = self.metas[id(x)] = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
            if x.untyped_storage()._cdata in self.holders.storages:
                meta._source = x  # so that the id stays valid
            else:  # made in the run, or held by somebody: it is a constant until its storage is freed
                meta._held = not getattr(x, "_made", False)
                finalize(x, self.metas.pop, id(x), None)
                finalize(x.untyped_storage(), lambda _: None, meta)
        return meta

    def resident(self, meta: torch.Tensor) -> None:
        """Append the node of a tensor that exists before the step: a parameter, buffer or constant."""
        x = getattr(meta, "_source", meta)
        owner, _, name = self.holders.tensors.get(id(x), ("", "", ""))
        held, size = not name and getattr(meta, "_held", x is not meta), tuple(x.shape)
        if id(x) in self.holders.parameters:
            op, trains = OPS["parameter"](name, size), frozenset({name} if x.requires_grad else ())
        else:
            bits = 0 if x.is_floating_point() else 8 * x.element_size()
            order = () if name or x.is_contiguous() else tuple(sorted(range(x.dim()), key=lambda i: -x.stride(i)))
            made = not (name or held)  # what was there before has its sizes whatever the batch is
            size = tuple(0 if made and s == self.batch else s for s in size)
            op, trains = OPS["constant"](size, name, bits, order, held), frozenset()
        base = f"{owner}.{name}".lstrip(".") or f"{self.names.scope}.constant".lstrip(".")
        wants = id(x) in self.holders.parameters and x.requires_grad
        draft = Draft(op, (None,), self.names.unique(base), trains, owner if name else None, wants=wants)
        self.append(draft, meta)
        if op.result in (Result.RESIDENT, Result.GIVEN):
            draft.died = -1  # it takes no storage during the step
        if id(x) not in self.holders.parameters:
            self.fixed.add(draft)


def shortened(line: str) -> str:
    """A line of source code as it is quoted, not longer than MOST_QUOTED."""
    return line if len(line) <= MOST_QUOTED else f"{line[: MOST_QUOTED - 1]}…"


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
    elif is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            yield from tensors_in(getattr(value, one.name))
