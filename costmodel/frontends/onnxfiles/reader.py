"""Reads the graph of an ONNX model node by node: computes constants, and emits ops for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import CostmodelError
from ...graph.graph import Graph
from ...graph.op import Result
from ...graph.paths import within
from ..draft import BATCH, graph_of, head_of, needed, nodes_of
from . import arithmetic, attention, masks, shapes, volumes  # noqa: F401  (register their operators)
from .constants import Constants, inferred, said_of
from .drafts import Live, Placed
from .layers import OPERATORS
from .names import blocks_of, name_all, place
from .recorder import Recorder, Value
from .tensors import Stored, attributes_of, constant

#: Operators refused even if unknown ones are allowed: a lower bound would be far off, or not a bound at all.
CONTROL = ("If", "Loop", "Scan", "SequenceMap")
#: Operators that give other numbers each time: their outputs are not constant even if all their inputs are.
RANDOM = ("RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Multinomial", "Bernoulli")


class Reader(Recorder):
    """Reads the nodes of a model in order, for square images of one size."""

    def __init__(
        self,
        model: Any,
        source: str,
        load: Callable[[Any], np.ndarray],
        shape: Sequence[int],
        fixed: int | None,
        allow_unknown: bool,
    ) -> None:
        """load: the numbers of a TensorProto. shape: (channels, side, side) of the images; fixed: the file's batch."""
        self.source, self.allow_unknown = source, allow_unknown
        graph = model.graph
        opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
        super().__init__(graph, opset, load, shape, fixed)
        self.result = graph.output[0].name
        self.nodes = _needed(list(graph.node), self.result)
        self.makers = {n: node for node in self.nodes for n in node.output}
        self.noted = {v.name: v.type.tensor_type for v in (*graph.value_info, *graph.output)}
        self.constants = Constants(list(model.opset_import))
        self.readers: dict[str, list[int]] = {self.result: [-1]}
        for i, node in enumerate(self.nodes):
            for read in filter(None, node.input):
                self.readers.setdefault(read, []).append(i)
        self.classes: dict[str, str] = {}  # classes of modules by path, if the file notes them
        self.skipped: set[int] = set()

    # -- the nodes that follow -----------------------------------------------------------------------------

    def follow(self, *steps: tuple[str, Any]) -> bool:
        """Whether nodes of these operators follow the current one, each the only reader of the one before.

        Each step is (operator, other operand): a number, the name of a value, or None for any. If they follow, they are
        merged with the current node: what is emitted next becomes the output of the last of them.
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

    def next_operands(self, operator: str) -> list[str] | None:
        """The other operands of this node's only reader, if there is just one and it has this operator; else None."""
        output = self.node.output[0]
        readers = self.readers.get(output, [])
        if len(readers) != 1 or readers[0] < 0 or self.nodes[readers[0]].op_type != operator:
            return None
        return [name for name in self.nodes[readers[0]].input if name != output]

    def stored(self, name: str) -> Stored | None:
        """The tensor of the file with this name, even from a Constant further down; None for other values."""
        value = self.values.get(name)
        if value is None:
            maker = self.makers.get(name)
            if maker is not None and maker.op_type == "Constant":
                value = self.values[name] = constant(maker)
        return value if isinstance(value, Stored) else None

    # -- the walk ------------------------------------------------------------------------------------------

    def read(self, blocks_are: str) -> Graph:
        """The graph of the nodes that the result depends on. Raises CostmodelError."""
        for i, node in enumerate(self.nodes):
            if i in self.skipped:
                continue
            try:
                self.node = node
                self.path, self.named, classes = place(node)
                self.classes.update(classes)
                self._read(node)
            except Exception as error:  # a file may hold anything, so entries may raise anything
                words = str(error) if isinstance(error, CostmodelError) else f"{type(error).__name__}: {error}"
                first = words.split("\n")[0]
                raise CostmodelError(f"{self.source}: node {node.name!r} ({node.op_type}): {first}") from None
        result = self.values.get(self.result)
        reads_images = any(None in draft.inputs for draft in self.drafts if draft.op.result is not Result.RESIDENT)
        if not isinstance(result, Live) or result.draft is None or not reads_images:
            raise CostmodelError(f"{self.source}: the output {self.result!r} does not depend on the images")
        return self._graph(result.draft, blocks_are)

    def _read(self, node: Any) -> None:
        self.attributes = attributes_of(node)
        args: list[Value | None] = []
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
        elif operator == "Shape" and args and args[0] is not None:
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

    def _emitted(self, operator: str, args: list[Value | None]) -> Any:
        entry = OPERATORS.get(operator)
        if entry is not None:
            return entry(self, *args)
        if operator in CONTROL:
            raise CostmodelError(f"{operator} decides at run time what is computed; allowed: a graph without branches")
        if self.allow_unknown:
            return self._unknown(operator, [x for x in args if x is not None])
        known = ", ".join(sorted(OPERATORS))
        raise CostmodelError(
            f"unknown operator {operator}; --allow-unknown lets it through as a lower bound (known: {known})"
        )

    def _computed(self, operator: str, args: list[Value | None]) -> Any:
        """The result of an operator on stored tensors: a constant, or a node if parameters (which train) are read."""
        first = args[0] if args and isinstance(args[0], Stored) else None
        if operator in ("Identity", "CastLike", "Cast", "Expand") and first is not None and first.own:
            kept = operator != "Cast" or self.attribute("to") == 1
            if operator == "Expand":
                kept = tuple(np.broadcast_shapes(first.shape, self.array(args[1], "shape"))) == first.shape
            # Exporters store equal tensors once, and restore the other names through an Identity.
            if kept:
                return first.called(self.node.output[0]) if operator == "Identity" else first
        if operator == "Transpose" and first is not None and first.own:
            return first.transposed(self.attribute("perm", tuple(reversed(range(len(first.shape))))))
        stored = {name: x for name, x in zip(self.node.input, args) if isinstance(x, Stored)}
        if any(x.own for x in stored.values()) or not self.constants.knows(operator):
            return self._emitted(operator, args)
        return self.constants.of(self.node, stored)

    def _unknown(self, operator: str, args: list[Value]) -> Live:
        """A node that costs nothing, with the output shape that onnx infers or that the file notes."""
        reads = [x for x in args if isinstance(x, Live) or x.own]
        given = {name: self.values[name] for name in self.node.input if name}
        noted = self.noted.get(self.node.output[0])
        said = [inferred(self.node, self.constants.opsets, given)[0], *([said_of(noted)] if noted is not None else [])]
        for sizes in (one.sizes for one in said):
            if sizes and all(sizes[1:]):
                size = tuple(0 if i == 0 and s in (None, 0, BATCH, self.fixed) else s for i, s in enumerate(sizes))
                return self.emit("unknown", {"of": operator, "size": size, "count": len(reads)}, reads)
        raise CostmodelError(f"unknown operator {operator}, and the file does not say which shape its output has")

    def _graph(self, result: Placed, blocks_are: str) -> Graph:
        drafts = needed(self.drafts, result)
        name_all(drafts)
        # A file does not say how long a call frame holds a value: it is freed after its last reader.
        for i, draft in enumerate(drafts):
            for read in filter(None, draft.inputs):
                read.died = i
        nodes = nodes_of(drafts, result)
        last = head_of(nodes)
        classifier = "" if last is None else "classifier" if within(last.name, "classifier") else last.name
        graph = graph_of(nodes, blocks_of(nodes, self.classes, blocks_are), classifier)
        evaluates = {draft.name for draft in drafts if draft.evaluates}
        if not evaluates:
            return graph
        own = graph.map(lambda n: replace(n, op=n.op.evaluated()) if n.name in evaluates else n)
        return replace(graph, as_is=own)


def _needed(nodes: list[Any], result: str) -> list[Any]:
    """The nodes that the result depends on, in their original order."""
    names, kept = {result}, []
    for node in reversed(nodes):
        if names & set(node.output):
            names.update(filter(None, node.input))  # an input that is left out has the name ""
            kept.append(node)
    return kept[::-1]
