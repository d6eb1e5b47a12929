"""The record of an ONNX file while it is read: drafts of nodes, and the value behind each name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ...errors import CostmodelError
from ...graph.op import Op, Result, build
from ...graph.paths import within
from ...ops.mask import MASK
from ...sizes.size import show
from ..draft import BATCH, Names
from .drafts import Live, Placed
from .names import MODULE, cleaned
from .strides import contiguous
from .tensors import Stored, as_decimal, initialiser

Value = Stored | Live
#: Bits per element of a constant, by its data type; 0 for the network's own.
BITS = {"float32": 0, "bool": MASK, "int64": 64}


class Recorder:
    """The record of a file while it is read. The methods that entries of OPERATORS use come first."""

    batch = BATCH

    def __init__(
        self, graph: Any, opset: int, load: Callable[[Any], np.ndarray], shape: Sequence[int], fixed: int | None
    ) -> None:
        """load: the numbers of a TensorProto. shape: (channels, side, side) of the images; fixed: the file's batch."""
        self.opset, self.fixed = opset, fixed
        self.drafts: list[Placed] = []
        self.images = Live(None, (BATCH, *shape), contiguous((BATCH, *shape)))
        self.values: dict[str, Value] = {t.name: initialiser(t, load) for t in graph.initializer}
        name = next(i.name for i in graph.input if i.name not in self.values)
        self.values[name] = self.images
        self.layers: dict[tuple, str] = {}  # (path, names of a layer's tensors) -> its owner
        self.owners = Names()
        self.weights: dict[str, Stored] = {}  # by key in the state dict
        self.lifted: dict[Stored, Live] = {}
        self.behind: dict[Placed | None, Stored] = {}  # the stored tensors by the drafts that they are lifted to
        self.node: Any = None  # the one that is being read
        self.attributes: dict[str, Any] = {}
        self.path, self.named = "", False

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node that is being read."""
        return self.attributes.get(name, default)

    def integers(self, name: str, value: Value | None) -> list[int] | None:
        """Integers from an attribute in old opsets, from an input in new ones; None if there are none."""
        if value is not None:
            return [int(v) for v in np.atleast_1d(self.array(value, name))]
        found = self.attribute(name)
        return None if found is None else [int(v) for v in np.atleast_1d(found)]

    def array(self, value: Value | None, name: str) -> np.ndarray:
        """The numbers of a stored tensor."""
        if not isinstance(value, Stored):
            raise CostmodelError(f"{name} is computed from the images; allowed: a constant")
        return value.load()

    def number(self, value: Value | None) -> float | None:
        """The number of a constant with one element; None for anything else."""
        if not isinstance(value, Stored) or value.own or value.size != 1:
            return None
        return as_decimal(value.load().reshape(())[()])

    def live(self, value: Value) -> Live:
        """The value as one of the graph: a stored tensor becomes a node when an op first reads it as an input."""
        if isinstance(value, Live):
            return value
        if value not in self.lifted:
            if value.dtype not in BITS:
                raise CostmodelError(f"{value.name!r} is {value.dtype}; allowed: {', '.join(BITS)}")
            owner, _, name = cleaned(value.name).rpartition(".")
            kind, fields = "constant", dict[str, Any]({"buffer": name, "size": value.shape})
            if value.computed and value.shape[:1] == (BATCH,):
                fields["size"] = (0, *value.shape[1:])
            if BITS[value.dtype]:
                fields["bits"] = BITS[value.dtype]
            if value.own:
                kind, fields = "parameter", {"parameter": name, "size": value.shape}
            path = ".".join(filter(None, (owner, name)))
            draft = self.append(build(kind, fields), [self.images], owner, path, named=True)
            self.weights[path] = value
            self.lifted[value] = Live(draft, value.shape, contiguous(value.shape))
            self.behind[draft] = value
        return self.lifted[value]

    def has_batch(self, x: Live) -> bool:
        """Whether a value's first axis is the batch, or a multiple of it."""
        resident = x.draft is not None and x.draft.op.result is Result.RESIDENT
        return not resident and x.shape[:1] != () and x.shape[0] % BATCH == 0

    def emit(
        self,
        kind: str,
        fields: Mapping[str, Any],
        inputs: Sequence[Value],
        strides: Any = contiguous,
        buffers: Mapping[str, Stored] = {},
        evaluates: bool = False,
        **parameters: Stored | None,
    ) -> Live:
        """Append a node and return its output.

        strides: the output's, or a function from its shape. buffers, parameters: tensors of the file by the op's names
        for them. Raises CostmodelError.
        """
        reads = [self.live(x) for x in inputs]
        xs = [x.shape for x in reads]
        op = build(kind, fields, *xs)
        shape = op.shape(*xs)
        given = {name: tensor for name, tensor in parameters.items() if tensor is not None}
        owner = self.owner({**given, **buffers}, kind) if given else None
        for name, tensor in given.items():
            wanted = op.params()[name]
            if prod(wanted) != tensor.size or tensor.dtype != "float32":
                raise CostmodelError(
                    f"{name} {tensor.name!r} is {tensor.dtype} {show(tensor.shape)}; allowed: float32 {show(wanted)}"
                )
        self.weights.update({f"{owner}.{name}": tensor for name, tensor in {**given, **buffers}.items()})
        draft = self.append(op, reads, owner, self.path, self.named, evaluates)
        return Live(draft, shape, strides(shape) if callable(strides) else strides)

    def append(
        self, op: Op, reads: Sequence[Live], owner: str | None, path: str, named: bool, evaluates: bool = False
    ) -> Placed:
        """Append and return a new draft, in which every parameter trains."""
        inputs, trains = tuple(x.draft for x in reads), frozenset(op.params())
        draft = Placed(
            op, inputs, trains=trains, owner=owner, reads=tuple(reads), path=path, named=named, evaluates=evaluates
        )
        self.drafts.append(draft)
        return draft

    def maker(self, value: Value | None, kind: str) -> tuple[Live, ...] | None:
        """The operands of the op that made a value, if the op is of this kind; else None."""
        if not isinstance(value, Live) or value.draft is None or value.draft.op.kind != kind:
            return None
        return value.draft.reads

    def parameter(self, value: Value) -> Stored | None:
        """The stored tensor behind a value, even through reshapes; else None."""
        while seen := self.maker(value, "reshape"):
            value = seen[0]
        return value if isinstance(value, Stored) else self.behind.get(value.draft)

    def owner(self, tensors: Mapping[str, Stored], kind: str) -> str:
        """Path of the module that holds these tensors.

        Exporters store equal tensors once: one bias of zeros may stand for the biases of several layers. So a layer is
        identified by its path, if the file has one, and by all its tensors. Two nodes are calls of one module only if
        both agree.
        """
        path = self.path
        key = (path if self.named else "", *(tensor.name for tensor in tensors.values()))
        if key not in self.layers:
            prefixes = [t.name.rpartition(".")[0] for t in tensors.values() if MODULE.fullmatch(t.name)]
            own = (p for p in prefixes if not self.named or not path or within(p, path))
            self.layers[key] = next(filter(self.owners.take, own), None) or self.owners.unique(path or kind)
        return self.layers[key]
