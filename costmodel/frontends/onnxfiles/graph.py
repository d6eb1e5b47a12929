"""Reads the graph of an ONNX model: which tensors are stored, which are computed, and what each node is called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ...errors import CostmodelError
from ...graph.graph import Graph, Node, within
from ...graph.op import Op, build
from ...sizes.size import show
from . import arithmetic, shapes  # noqa: F401  (register their operators)
from .layers import OPERATORS, as_decimal
from .names import MODULE, blocks_of, cleaned, names_of, place, scopes
from .strides import Strides, contiguous
from .tensors import Stored, attributes_of, constant, initialiser

BATCH = 13  # images while a file is read: a number that no layer has, so that the batch is told from other sizes

#: What stays refused where unknown operators are let through: a bound below would be far off, or none at all.
CONTROL = ("If", "Loop", "Scan", "SequenceMap")
#: What gives other numbers each time, so that it is no constant even where all that it reads is.
RANDOM = ("RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Multinomial", "Bernoulli")


class Live(NamedTuple):
    """A value of the graph: the number of the draft that makes it, -1 for the images."""

    number: int
    shape: Tuple[int, ...]
    strides: Strides


Value = Union[Stored, Live]


@dataclass
class Draft:
    """A node in the making. path: where the file says it stands; named: whether that is a module's path."""

    op: Op
    reads: List[Live]
    path: str
    named: bool
    owner: Optional[str] = None
    evaluates: bool = False


class Reader:
    """Reads a model's nodes one after the other, for square images of one size."""

    batch = BATCH

    def __init__(self, model: Any, source: str, load: Callable[[Any], np.ndarray], shape: Sequence[int],
                 fixed: Optional[int], allow_unknown: bool) -> None:  # fmt: skip
        """load: the numbers of a TensorProto. shape: of the images, the batch left out; fixed: the file's batch."""
        self.model, self.source, self.fixed, self.allow_unknown = model, source, fixed, allow_unknown
        graph = model.graph
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
        self.result = graph.output[0].name
        self.drafts: List[Draft] = []
        self.images = Live(-1, (BATCH, *shape), contiguous((BATCH, *shape)))
        self.values: Dict[str, Value] = {t.name: initialiser(t, load) for t in graph.initializer}
        name = next(i.name for i in graph.input if i.name not in self.values)
        self.values[name] = self.images
        self.nodes = _needed(list(graph.node), self.result)
        self.readers: Dict[str, List[int]] = {self.result: [-1]}
        for i, node in enumerate(self.nodes):
            for read in filter(None, node.input):
                self.readers.setdefault(read, []).append(i)
        self.classes: Dict[str, str] = {}  # of modules, by path, where the file tells
        self.layers: Dict[tuple, str] = {}  # the names of a layer's tensors -> its owner
        self.weights: Dict[str, Stored] = {}  # by path in a state dict
        self.skipped: set = set()
        self.lifted: Dict[Stored, Live] = {}

    # -- what entries of the table of operators use --------------------------------------------------------

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node that is being read."""
        return self.attributes.get(name, default)

    def integers(self, name: str, value: Optional[Value]) -> Optional[List[int]]:
        """Integers that an attribute holds in old opsets and an input in new ones; None where there are none."""
        if value is not None:
            return [int(v) for v in np.atleast_1d(self.array(value, name))]
        found = self.attribute(name)
        return None if found is None else [int(v) for v in np.atleast_1d(found)]

    def array(self, value: Value, name: str) -> np.ndarray:
        """The numbers of a stored tensor."""
        if not isinstance(value, Stored):
            raise CostmodelError(f"{name} is computed from the images; allowed: a constant")
        return value.load()

    def number(self, value: Optional[Value]) -> Optional[float]:
        """The one number that a constant is; None for anything else."""
        if not isinstance(value, Stored) or value.own or value.size != 1:
            return None
        return as_decimal(value.load().reshape(())[()])

    def live(self, value: Value) -> Live:
        """The value as one of the graph: a stored tensor becomes a node where it is first used by itself."""
        if isinstance(value, Live):
            return value
        if value not in self.lifted:
            if value.dtype != "float32":
                raise CostmodelError(f"{value.name!r} is {value.dtype}; allowed: float32")
            owner, _, name = cleaned(value.name).rpartition(".")
            kind, fields = "constant", {"buffer": name, "size": value.shape}
            if value.computed and value.shape[:1] == (BATCH,):
                fields["size"] = (0, *value.shape[1:])
            if value.own:
                kind, fields = "parameter", {"parameter": name, "size": value.shape}
            op = build(kind, fields)
            self.drafts.append(Draft(op, [self.images], ".".join(filter(None, (owner, name))), True, owner))
            self.weights[self.drafts[-1].path] = value
            self.lifted[value] = Live(len(self.drafts) - 1, value.shape, contiguous(value.shape))
        return self.lifted[value]

    def has_batch(self, x: Live) -> bool:
        """Whether a value's first axis goes with the batch."""
        resident = x.number >= 0 and self.drafts[x.number].op.is_resident
        return not resident and x.shape[:1] != () and x.shape[0] % BATCH == 0

    def emit(self, kind: str, fields: Mapping[str, Any], inputs: Sequence[Value], strides: Any = contiguous,
             buffers: Mapping[str, Stored] = {}, evaluates: bool = False, **parameters: Optional[Stored]) -> Live:
        """Append a node and return its output.

        strides: of the output, or a function of its shape. buffers, parameters: the tensors that the op calls so.
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
                    f"{name} {tensor.name!r} is {tensor.dtype} {show(tensor.shape)}; allowed: float32 {show(wanted)}")
        self.weights.update({f"{owner}.{name}": tensor for name, tensor in {**given, **buffers}.items()})
        path, named = self.path
        self.drafts.append(Draft(op, reads, path, named, owner, evaluates))
        return Live(len(self.drafts) - 1, shape, strides(shape) if callable(strides) else strides)

    def maker(self, value: Optional[Value], kind: str) -> Optional[List[Live]]:
        """The operands of the op that made a value, if it is one of this kind."""
        if not isinstance(value, Live) or value.number < 0 or self.drafts[value.number].op.kind != kind:
            return None
        return self.drafts[value.number].reads

    def parameter(self, value: Value) -> Optional[Stored]:
        """The stored tensor that a value is, also where it is seen in another shape."""
        seen = self.maker(value, "reshape")
        if seen is not None:
            return self.parameter(seen[0])
        return value if isinstance(value, Stored) else next((t for t, v in self.lifted.items() if v is value), None)

    def owner(self, tensors: Mapping[str, Stored], kind: str) -> str:
        """Path of the module that holds these tensors: the same for the same tensors, which one module then has.

        Exporters store equal tensors once, so that of several layers' zero biases one is there: a layer is told by its
        path, where the file has one, and by all that it reads. A module is called twice only where all is the same.
        """
        path, named = self.path
        key = (path if named else "", *(tensor.name for tensor in tensors.values()))
        if key not in self.layers:
            prefixes = [t.name.rpartition(".")[0] for t in tensors.values() if MODULE.fullmatch(t.name)]
            own = [p for p in prefixes if not named or not path or within(p, path)]
            path = path or kind
            numbered = (f"{path}_{i}" for i in range(1, len(self.nodes) + 1))
            self.layers[key] = next(p for p in (*own, path, *numbered) if p not in self.layers.values())
        return self.layers[key]

    def follow(self, *steps: Tuple[str, Any]) -> bool:
        """Whether nodes of these operators follow the one that is being read, each the only reader of the one before.

        Each step names the other operand: a number, the name of a value, or None for whatever there is. They are
        read together with this one then, and what is emitted next is the last one's output.
        """
        output, found = self.node.output[0], []
        for operator, other in steps:
            readers = self.readers.get(output, [])
            if len(readers) != 1 or readers[0] < 0 or self.nodes[readers[0]].op_type != operator:
                return False
            node = self.nodes[readers[0]]
            rest = [name for name in node.input if name != output]
            if isinstance(other, str) and rest != [other]:
                return False
            if isinstance(other, float):
                number = self.number(self.stored(rest[0])) if rest else None
                if number is None or abs(number - other) > 1e-6:
                    return False
            found.append(readers[0])
            output = node.output[0]
        self.skipped.update(found)
        self.node = self.nodes[found[-1]]
        return True

    def next_operands(self, operator: str) -> Optional[List[str]]:
        """What else the only reader of this node's output reads, if it is of that operator."""
        output = self.node.output[0]
        readers = self.readers.get(output, [])
        if len(readers) != 1 or readers[0] < 0 or self.nodes[readers[0]].op_type != operator:
            return None
        return [name for name in self.nodes[readers[0]].input if name != output]

    def stored(self, name: str) -> Optional[Stored]:
        """A tensor of the file by its name, also a Constant that stands further down."""
        value = self.values.get(name)
        if value is None:
            maker = next((n for n in self.nodes if name in n.output and n.op_type == "Constant"), None)
            value = self.values[name] = constant(maker) if maker else None
        return value if isinstance(value, Stored) else None

    # -- the walk ------------------------------------------------------------------------------------------

    def read(self, blocks_are: str) -> Graph:
        """The graph of what the result depends on."""
        for i, node in enumerate(self.nodes):
            if i in self.skipped:
                continue
            try:
                self.node, self.path = node, self._path(node)
                self._read(node)
            except Exception as error:  # of a file that holds anything, whatever its operators' own checks raise
                words = str(error) if isinstance(error, CostmodelError) else f"{type(error).__name__}: {error}"
                first = words.split("\n")[0]
                raise CostmodelError(f"{self.source}: node {node.name!r} ({node.op_type}): {first}") from None
        result = self.values.get(self.result)
        reads = {x.number for d in self.drafts if not d.op.is_resident for x in d.reads}
        if not isinstance(result, Live) or self.images.number not in reads:
            raise CostmodelError(f"{self.source}: the output {self.result!r} does not depend on the images")
        return self._graph(result.number, blocks_are)

    def _read(self, node: Any) -> None:
        self.attributes = attributes_of(node)
        args = []
        for name in node.input:
            if name and name not in self.values:
                raise CostmodelError(f"reads {name!r}, which nothing before it makes")
            args.append(self.values[name] if name else None)
        stored = [x for x in args if isinstance(x, Stored)]
        operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
        if "Quantize" in operator or operator.startswith("QLinear") or operator.endswith("Integer"):
            raise CostmodelError("a quantised network; allowed: the float32 network that it was made from")
        if operator == "Constant":
            results: Any = constant(node)
        elif operator == "Shape" and args:
            sizes = args[0].shape[self.attribute("start", 0) : self.attribute("end", None)]
            results = Stored.of(np.array(sizes, np.int64))
        elif len(stored) == len([x for x in args if x is not None]) and operator not in CONTROL + RANDOM:
            results = self._computed(operator, args)
        else:
            results = self._emitted(operator, args)
        results = results if isinstance(results, list) else [results]
        for name, value in zip(self.node.output, results):
            self.values[name] = value
        for name in self.node.output[len(results) :]:
            if name in self.readers:
                raise CostmodelError(f"the output {name!r} is read; allowed: the first alone")

    def _emitted(self, operator: str, args: List[Optional[Value]]) -> Any:
        entry = OPERATORS.get(operator)
        if entry is not None:
            return entry(self, *args)
        if operator in CONTROL:
            raise CostmodelError(f"{operator} decides at run time what is computed; allowed: a graph without branches")
        if self.allow_unknown:
            return self._unknown(operator, [x for x in args if x is not None])
        known = ", ".join(sorted(OPERATORS))
        raise CostmodelError(f"unknown operator {operator}; --allow-unknown lets it through as a lower bound"
                             f" (known: {known})")

    def _computed(self, operator: str, args: List[Optional[Stored]]) -> Any:
        """What an operator gives for stored tensors. Parameters stay what they are: arithmetic on them trains."""
        first = args[0] if args else None
        if operator in ("Identity", "CastLike", "Cast", "Expand") and first is not None and first.own:
            kept = operator != "Cast" or self.attribute("to") == 1
            if operator == "Expand":
                kept = tuple(np.broadcast_shapes(first.shape, self.array(args[1], "shape"))) == first.shape
            # An exporter that stores equal tensors once gives the others their names back through an Identity.
            if kept:
                return first.called(self.node.output[0]) if operator == "Identity" else first
        if operator == "Transpose" and first is not None and first.own:
            return first.transposed(self.attribute("perm", tuple(reversed(range(len(first.shape))))))
        if any(x is not None and x.own for x in args):
            return self._emitted(operator, args)
        import onnx
        from onnx.reference import ReferenceEvaluator

        names = [name for name in dict.fromkeys(self.node.input) if name]
        typed = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UNDEFINED, None) for n in names]
        outputs = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UNDEFINED, None) for n in self.node.output]
        graph = onnx.helper.make_graph([self.node], "constants", typed, outputs)
        model = onnx.helper.make_model(graph, opset_imports=list(self.model.opset_import))
        results = ReferenceEvaluator(model).run(None, {n: self.array(self.values[n], n) for n in names})
        return [Stored.of(result, name, computed=True) for name, result in zip(self.node.output, results)]

    def _unknown(self, operator: str, args: List[Value]) -> Live:
        """A node that costs nothing, of the shape that onnx infers or that the file notes."""
        import onnx

        reads = [x for x in args if isinstance(x, Live) or x.own]
        given = {name: self.values[name] for name in self.node.input if name}
        constants = [onnx.numpy_helper.from_array(x.load(), name) for name, x in given.items()
                     if isinstance(x, Stored) and not x.own]  # fmt: skip
        typed = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, x.shape) for name, x in given.items()
                 if isinstance(x, Live) or x.own]  # fmt: skip
        output = onnx.helper.make_tensor_value_info(self.node.output[0], onnx.TensorProto.UNDEFINED, None)
        graph = onnx.helper.make_graph([self.node], "unknown", typed, [output], constants)
        model = onnx.helper.make_model(graph, opset_imports=list(self.model.opset_import))
        noted = {v.name: v for v in (*self.model.graph.value_info, *self.model.graph.output)}
        found = onnx.shape_inference.infer_shapes(model).graph.output[0]
        for info in (found, noted.get(self.node.output[0])):
            sizes = [d.dim_value for d in info.type.tensor_type.shape.dim] if info is not None else []
            if sizes and all(sizes[1:]):
                size = tuple(0 if i == 0 and s in (0, BATCH, self.fixed) else s for i, s in enumerate(sizes))
                return self.emit("unknown", {"of": operator, "size": size, "count": len(reads)}, reads)
        raise CostmodelError(f"unknown operator {operator}, and the file does not say which shape its output has")

    # -- names ---------------------------------------------------------------------------------------------

    def _path(self, node: Any) -> Tuple[str, bool]:
        path, named, classes = place(node)
        self.classes.update(classes)
        return path, named

    def _graph(self, result: int, blocks_are: str) -> Graph:
        needed = {result}
        for i in reversed(range(len(self.drafts))):
            if i in needed:
                needed.update(x.number for x in self.drafts[i].reads)
        drafts = {i: d for i, d in enumerate(self.drafts) if i in needed}
        names = names_of(drafts)
        # A file does not say how long a frame holds a value: it goes after its last reader.
        last = {x.number: names[i] for i, draft in drafts.items() for x in draft.reads}
        nodes = tuple(
            Node(names[i], d.op, tuple(names[x.number] for x in d.reads), frozenset(d.op.params()),
                 names[i] if d.owner is None else d.owner, "" if i == result else last[i])
            for i, d in drafts.items()
        )  # fmt: skip
        blocks = blocks_of(nodes, self.classes, blocks_are)
        first = {path: next(i for i, n in enumerate(nodes) if within(n.name, path)) for path in blocks}
        linear = next((n.name for n in reversed(nodes) if n.op.kind == "linear"), "")
        classifier = "classifier" if within(linear, "classifier") else linear
        containers = frozenset(s for n in nodes for s in scopes(n.name)[:-1])
        graph = Graph(nodes, tuple(sorted(blocks, key=first.get)), classifier, containers)
        evaluates = {names[i] for i, d in drafts.items() if d.evaluates}
        if not evaluates:
            return graph
        own = graph.map(lambda n: replace(n, op=n.op.evaluated()) if n.name in evaluates else n)
        return replace(graph, as_is=own)


def _needed(nodes: List[Any], result: str) -> List[Any]:
    """The nodes that the result depends on, in their order."""
    names, kept = {result}, []
    for node in reversed(nodes):
        if names & set(node.output):
            names.update(filter(None, node.input))  # an input that is left out has the name ""
            kept.append(node)
    return kept[::-1]
