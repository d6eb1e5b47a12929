"""A torch.nn.Module as a graph: it is run once without data, and each torch function that it calls becomes a node.

Tensors on torch's `meta` device carry shapes and strides alone, so that sizes, Python's control flow on them, views and
in-place operations are real, and nothing is computed. The moment at which Python lets a tensor go is the moment at
which a real run would: lifetimes are recorded, not guessed.
"""

from __future__ import annotations

import linecache
import os
import sys
import weakref
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import CostmodelError
from ..graph import INPUT, Graph
from ..network import Network
from ..op import OPS, Op
from . import shapes  # noqa: F401  (registers its functions)
from .functions import FUNCTIONS
from .recorded import Draft, Life, graph_of

BATCH = 13  # images in the trace: a number that no layer has, so that the batch is told from other sizes
TAKEN_FOR_NODES = ("StochasticDepth", "DropPath")  # modules that are one op, by the name of their class

#: Questions about a tensor that have nothing to do with its data.
ASKS = frozenset(
    "dim size numel is_contiguous stride __len__ get_device is_floating_point is_complex element_size storage_offset "
    "ndimension nelement type __repr__ __format__ __hash__ _set_grad_enabled is_same_size untyped_storage "
    "has_names is_nonzero_ __dir__ register_hook retain_grad _is_view_ is_inference".split()
)
#: What needs the data itself.
DATA = frozenset("__bool__ __int__ __float__ __index__ item tolist numpy __contains__ nonzero is_nonzero equal "
                 "allclose unique masked_select __array__ any all __complex__".split())  # fmt: skip
#: Functions that make tensors out of nothing.
FACTORIES = frozenset("zeros ones empty full arange linspace tensor rand randn eye as_tensor randint "
                      "zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full new_tensor "
                      "meshgrid bernoulli".split())  # fmt: skip


def trace(
    module: nn.Module, resolution: int = 224, channels: int = 3, name: Optional[str] = None, blocks_are: str = "",
    allow_unknown: bool = False, batch: int = BATCH,
) -> Network:  # fmt: skip
    """The network that a module is, on square images (N, channels, resolution, resolution).

    Traced in training mode; what the module's own flags and modes say is kept for the strategy `as_is`. The module is
    left as it is. blocks_are: class or path pattern of the blocks, where they are not found by themselves.
    allow_unknown: an op that is not known becomes a node that costs nothing. batch: images in the run; what it gives
    holds for all numbers but 1: of a single image torch sees more tensors as contiguous, and copies less. Raises CostmodelError, with the line of
    the source that is to blame, for an unknown op and for control flow that depends on data.
    """
    check(module)
    modes = {part: part.training for part in module.modules()}

    def run(training: Optional[bool]) -> Graph:
        try:
            if training is not None:
                module.train(training)
            return _Tracer(module, allow_unknown).graph((batch, channels, resolution, resolution), blocks_are)
        finally:
            for part, mode in modes.items():
                part.training = mode

    graph = run(True)
    if not all(modes.values()):
        graph = replace(graph, as_is=run(None))

    @lru_cache(maxsize=8)
    def again(size: int, single: bool) -> Network:
        return trace(module, size, channels, name, blocks_are, allow_unknown, 1 if single else BATCH)

    return Network(name or type(module).__name__, graph, resolution, channels, module=module, retrace=again)


def check(module: nn.Module) -> None:
    """Raise CostmodelError for a module that cannot be traced at all."""
    if isinstance(module, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        raise CostmodelError("the network is compiled by TorchScript; allowed: the module that it was made from")
    for path, part in module.named_modules():
        if part._backward_hooks or part._backward_pre_hooks:
            raise CostmodelError(f"{path or 'the network'} ({type(part).__name__}) has backward hooks: remove them")
    for kind, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for path, tensor in tensors:
            if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
                raise CostmodelError(f"{kind} {path!r} has no shape yet; run the module once")
            if type(tensor) not in (torch.Tensor, nn.Parameter, getattr(nn, "Buffer", torch.Tensor)):
                raise CostmodelError(f"{kind} {path!r} is a {type(tensor).__name__}; allowed: plain torch.Tensor")


class _Tracer(TorchFunctionMode):
    """Sees every torch function that is called while a module runs."""

    torch = torch

    def __init__(self, root: nn.Module, allow_unknown: bool) -> None:
        super().__init__()
        self.root, self.allow_unknown = root, allow_unknown
        self.paths = {id(part): path for path, part in root.named_modules()}
        self.owned = {id(p): path.rpartition(".") for path, p in root.named_parameters()}
        self.buffers = {id(b): path.rpartition(".") for path, b in root.named_buffers()}
        self.drafts: List[Draft] = []
        self.taken: Counter = Counter()
        self.stack: List[nn.Module] = []
        self.metas: Dict[int, torch.Tensor] = {}  # of parameters and constants
        self.constants: List[torch.Tensor] = []  # held, so that no id is given out twice
        self.watched: List[Any] = []
        self.called: Set[str] = set()  # paths of modules
        self.function: Callable = print
        self.name = ""

    # -- what entries of the table of functions use --------------------------------------------------------

    @property
    def module(self) -> nn.Module:
        """The module whose forward is running."""
        return self.stack[-1] if self.stack else self.root

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor)

    def is_own(self, x: torch.Tensor) -> bool:
        """Whether a tensor is a parameter of the network, as it is."""
        return id(x) in self.owned

    def run(self, function: Callable, *args: Any) -> Any:
        """A function's result without data."""
        return function(*self.without_data(args))

    def call(self, *args: Any, **named: Any) -> Any:
        """The result of the function that is being called, without data."""
        return self.function(*self.without_data(args), **named)

    def named(self, name: str) -> "_Tracer":
        """This tracer while another function is being called."""
        self.name, self.function = name, getattr(torch, name)
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

        parameters: the tensors that the op calls so; they must be the module's own, under the same names.
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
        found = {name: self.owned.get(id(p)) for name, p in given.items()}
        for name, place in found.items():
            if place is None:
                raise self.error(f"a {name} that is computed, not a parameter,")
            if place[2] != name:
                raise self.error(f"a {name} that the module calls {place[2]!r}")
        owners = {place[0] for place in found.values()}
        if len(owners) > 1:
            raise self.error(f"parameters of one op in several modules ({', '.join(sorted(owners))})")
        return owners.pop()

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
        if x.device.type == "meta" and id(x) not in self.owned and id(x) not in self.buffers:
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
        owner, _, name = self.owned.get(id(x)) or self.buffers.get(id(x)) or ("", "", "")
        size = tuple(x.shape)
        if id(x) in self.owned:
            op, trains = OPS["parameter"](name, size), frozenset({name} if x.requires_grad else ())
        else:
            op, trains = OPS["constant"](tuple(0 if s == self.batch else s for s in size), name), frozenset()
        base = f"{owner}.{name}".lstrip(".") or "constant"
        self.taken[base] += 1
        path = base if self.taken[base] == 1 else self.numbered(base)
        self.append(Draft(path, op, (INPUT,), trains, owner if name else None), meta)
        self.drafts[-1].died = -1  # never let go

    # -- the run -------------------------------------------------------------------------------------------

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name == "__get__":
            name = function.__self__.__name__
            if name not in FUNCTIONS:
                return function(*args, **kwargs)
        if name in ASKS or name == "__set__":
            return function(*args, **kwargs)
        tensors = list(_tensors((args, kwargs)))
        if not any(getattr(x, "_traced", None) is not None for x in tensors):
            if name.endswith("_") and not name.endswith("__") and tensors and id(tensors[0]) in self.buffers:
                return tensors[0]  # counting batches, say: the module is left as it is
            own = self.owned.keys() | self.buffers.keys() if name in FUNCTIONS else self.owned
            if name in DATA or not any(id(x) in own for x in tensors):
                return function(*args, **kwargs)
        self.function, self.name = function, name
        if name in DATA:
            raise CostmodelError(f"{name} asks for a tensor's data, which a graph cannot follow (in {self.place()})")
        if name in FACTORIES:
            return function(*self.without_data(args), **kwargs)
        plain = name[:-1] if name.endswith("_") and not name.endswith("__") else name
        plain = {"__iadd__": "add", "__imul__": "mul", "__truediv__": "div"}.get(plain, plain)
        if plain not in FUNCTIONS:
            return self.unknown(name, function, args, kwargs)
        if plain != name and plain in name:
            if plain in INPLACE:
                kwargs = {**kwargs, "inplace": True}
            elif plain != "requires_grad":
                return self.unknown(name, function, args, kwargs)
        for x in tensors:
            self.materialise(x, plain)
        if "input" in kwargs:  # torch's own name for what the table calls x
            args, kwargs = (kwargs["input"], *args), {k: v for k, v in kwargs.items() if k != "input"}
        try:
            return FUNCTIONS[plain](self, *args, **kwargs)
        except TypeError as error:
            if "unexpected keyword" in str(error) or "positional argument" in str(error):
                raise self.error(f"{name} with these arguments ({error})") from None
            raise

    def materialise(self, x: torch.Tensor, function: str) -> None:
        """Make a node of a parameter or constant, unless the function takes it as its layer's own parameter."""
        if getattr(x, "_traced", None) is not None or (function in LAYERS and id(x) in self.owned):
            return
        if function == "batch_norm":  # its statistics
            return
        meta = self.lift(x)
        if getattr(meta, "_traced", None) is None:
            self.resident(meta)

    def unknown(self, name: str, function: Callable, args: tuple, kwargs: dict) -> Any:
        if not self.allow_unknown:
            known = ", ".join(sorted(n for n in FUNCTIONS if not n.startswith("_")))
            hint = "allow_unknown lets it through as a lower bound"
            raise CostmodelError(f"unknown op {name!r} (in {self.place()}); {hint} (known: {known})")
        tensors = [x for x in _tensors((args, kwargs))]
        for x in tensors:
            self.materialise(x, name)
        y = function(*self.without_data(args), **self.without_data(kwargs))
        if not isinstance(y, torch.Tensor):
            raise CostmodelError(f"unknown op {name!r} gives no single tensor (in {self.place()})")
        if getattr(y, "_traced", None) is not None:
            return y
        size = tuple(0 if s == self.batch else s for s in y.shape)
        return self.emit(OPS["unknown"](name, size, len(tensors)), tensors, y)

    def entered(self, module: nn.Module, call: Callable, args: tuple, kwargs: dict) -> Any:
        """A module's call."""
        self.stack.append(module)
        self.called.add(self.paths.get(id(module), ""))
        try:
            if type(module).__name__ in TAKEN_FOR_NODES:
                return self.noise(module, *args)
            return call(module, *args, **kwargs)
        finally:
            self.stack.pop()

    def noise(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Stochastic depth: torchvision's, or timm's under another name."""
        p = float(getattr(module, "p", None) or getattr(module, "drop_prob", None) or 0.0)
        if not module.training or p == 0:
            return x
        if not getattr(module, "scale_by_keep", True):
            raise self.error("drop path without scaling")
        return self.emit(OPS["stochastic_depth"](p, getattr(module, "mode", "row")), [x], self.like(x))

    def graph(self, shape: Tuple[int, ...], blocks_are: str) -> Graph:
        """Run the module and make the graph."""
        self.images = torch.empty(shape, device="meta")
        self.batch = shape[0]
        self.images._traced = Life()
        real_call, tracer = nn.Module.__call__, self

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return tracer.entered(module, real_call, args, kwargs)

        nn.Module.__call__ = call
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]), self:
                result = self.root(self.images)
        except CostmodelError:
            raise
        except Exception as error:  # whatever a network's own code raises on such images
            reason = f"{type(error).__name__}: {error}".split("\n")[0]
            raise CostmodelError(f"the network does not run on {shape[1:]} images: {reason}") from error
        finally:
            nn.Module.__call__ = real_call
        if not isinstance(result, torch.Tensor):
            raise CostmodelError(f"the network returns a {type(result).__name__}; allowed: one tensor of logits")
        return graph_of(self.drafts, self.value(result), self.root, self.called, blocks_are)


LAYERS = frozenset({"conv2d", "linear", "batch_norm", "group_norm", "layer_norm", "prelu"})
INPLACE = frozenset("relu relu6 hardsigmoid hardswish silu sigmoid tanh mish hardtanh clamp leaky_relu elu dropout "
                    "add mul sub div".split())  # fmt: skip


def _tensors(value: Any) -> Any:
    """The tensors among nested arguments."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
