"""Appends nodes to a graph under construction, and infers from the shapes of the inputs what a spec leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ... import ops  # noqa: F401  (registers every op)
from ...errors import CostmodelError, unknown
from ...files.document import Block
from ...graph.graph import INPUT, Node
from ...graph.op import build, pair
from ...sizes.size import Shape


class Builder:
    """The nodes so far, and the shape of each value at the network's own resolution."""

    def __init__(self, shape: Shape, convolution: Mapping[str, Any] = {}) -> None:
        """shape: of the first input, of one example. convolution: fields of every convolution that `conv` appends."""
        self.convolution = convolution
        # Two images, so that batch statistics of a 1x1 map average more than one value.
        self.shapes: dict[str, Shape] = {INPUT: (2, *shape)}
        self.nodes: list[Node] = []
        self.last = INPUT

    @property
    def shape(self) -> Shape:
        """Shape of the last value."""
        return self.shapes[self.last]

    def add(self, name: str, kind: str, fields: Mapping[str, Any] = {}, inputs: Sequence[str] = ()) -> str:
        """Append an op that reads the last value, or the named inputs; returns the node's name.

        name: NAME, or NAME@OWNER if another module holds the parameters. Raises CostmodelError.
        """
        name, at, owner = name.partition("@")
        if not all(name.split(".")):
            raise CostmodelError(f"a node is called {name!r}; allowed: names joined by single dots")
        inputs = tuple(inputs) or (self.last,)
        for value in inputs:
            if value not in self.shapes:
                raise CostmodelError(f"node {name!r}: {unknown('input', value, self.shapes)}")
        if name in self.shapes:
            raise CostmodelError(f"two nodes are called {name!r}")
        xs = [self.shapes[value] for value in inputs]
        try:
            op = build(kind, fields, *xs)
            if len(xs) != len(op.inputs):
                raise CostmodelError(f"{len(xs)} inputs; {kind} takes {len(op.inputs)}")
            self.shapes[name] = op.shape(*xs)
        except CostmodelError as error:
            raise CostmodelError(f"node {name!r} ({kind}): {error}") from None
        self.nodes.append(Node(name, op, inputs, owner=owner if at else name))
        self.last = name
        return name

    def conv(
        self,
        names: Sequence[str],
        out: int,
        kernel: Any,
        stride: Any = 1,
        groups: int = 1,
        bias: bool = False,
        norm: Mapping[str, Any] = {},
        activation: Mapping[str, Any] = {},
    ) -> str:
        """Append a convolution, then a norm, then an activation, as far as there are names; returns the last name."""
        kernel = pair(kernel, "kernel")
        padding = tuple(k // 2 for k in kernel)
        fields = {
            "out_channels": out,
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
            "groups": groups,
            "bias": bias,
            **self.convolution,
        }
        last = self.add(names[0], "conv2d", fields)
        for name, what in zip(names[1:], (norm, activation)):
            last = self.add(name, *split(what))
        return last


def split(what: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """An op's kind and its fields, from {op: kind, field: value, ...}."""
    fields = dict(what)
    kind = fields.pop("op", None)
    if not isinstance(kind, str):
        problem = "'op' is missing" if kind is None else f"op is {kind!r}"
        message = f"{problem}; allowed: {{op: NAME, and its fields}}"
        raise what.error(message) if isinstance(what, Block) else CostmodelError(message)
    return kind, fields
