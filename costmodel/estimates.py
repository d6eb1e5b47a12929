"""The answer: numbers with their reasons. Every total is a sum over rows, so the parts always add up to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .convention import Kept
from .graph import Graph
from .optimizer import Optimizer
from .size import Shape, Size


class NodeWork(NamedTuple):
    """Arithmetic of one node in one step: multiply-adds of matrix work, operations of elementwise work."""

    forward_macs: Size
    input_macs: Size  # of the gradients of activations
    weight_macs: Size  # of the gradients of parameters
    forward_elementwise: Size
    backward_elementwise: Size


class Row(NamedTuple):
    """One tensor that is kept for the backward pass.

    segment, node: who keeps it first; tensor: what that node calls it.
    needed: whether a demanded gradient's own formula reads it; if not, the implementation keeps it all the same.
    readers: (node, gradients whose formulas read it).
    """

    segment: str
    node: str
    tensor: str
    shape: Shape
    saved_bytes: Size
    needed: bool
    readers: Tuple[Tuple[str, Tuple[str, ...]], ...]


@dataclass(frozen=True, eq=False)
class Estimate:
    """The cost of one training step of a network under a strategy, counted by a convention.

    Bytes and FLOPs are exact integers. `to_dict()` is the JSON that the CLI prints.
    """

    network: str
    strategy: str
    convention: str
    optimizer: Optimizer
    batch: Size
    graph: Graph
    shapes: Tuple[Shape, ...]  # of each value
    kept: Tuple[Kept, ...]
    kept_shapes: Tuple[Shape, ...]
    kept_bytes: Tuple[Size, ...]
    work: Tuple[NodeWork, ...]  # of each node

    @property
    def input_shape(self) -> Tuple[Size, ...]:
        """(C, H, W) of one image."""
        return self.shapes[0][1:]

    @cached_property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(prod(shape) for shape, _ in self.graph.parameters.values())

    @cached_property
    def trainable_parameters(self) -> int:
        """Number of parameters that train."""
        return sum(prod(shape) for shape, trains in self.graph.parameters.values() if trains)

    @property
    def saved_bytes(self) -> Size:
        """Bytes of the distinct storages kept for the backward pass."""
        return sum(self.kept_bytes)

    @cached_property
    def memory_bytes(self) -> Dict[str, Optional[Size]]:
        """The contract's `memory_bytes`, in bytes."""
        trained = [shape for shape, trains in self.graph.parameters.values() if trains]
        buffers = self.graph.buffers.values()
        return {
            "parameters": 4 * self.parameters,
            "buffers": sum(prod(extra.shape) * extra.bits // 8 for extra in buffers),
            "gradients": 4 * self.trainable_parameters,
            "optimizer": self.optimizer.state_bytes(self.trainable_parameters, len(trained)),
            "input": 4 * prod(self.shapes[0]),
            "saved": self.saved_bytes,
            "step_peak": None,
            "peak": None,
        }

    @property
    def at_least_bytes(self) -> Size:
        """What a step certainly holds at once: all that is resident, and what is saved or, later, the gradients."""
        memory = self.memory_bytes
        resident = memory["parameters"] + memory["buffers"] + memory["optimizer"]
        return resident + max(memory["saved"], memory["gradients"])

    @cached_property
    def flops(self) -> Dict[str, Size]:
        """The contract's `flops`: matrix work at 2 per multiply-add, elementwise work under its own keys."""
        return flops(self.work)

    @cached_property
    def rows(self) -> List[Row]:
        """What is kept, tensor by tensor, in the order in which it is first kept."""
        segment = {i: name for name, run in self.graph.segments for i in run}
        nodes = self.graph.nodes
        rows = []
        for kept, shape, size in zip(self.kept, self.kept_shapes, self.kept_bytes):
            needed = any(
                read.operand in nodes[read.node].op.needs()[gradient]
                for read in kept.readers
                for gradient in self.graph.demanded[read.node]
            )
            readers = tuple((nodes[read.node].name, read.gradients) for read in kept.readers)
            rows.append(Row(segment[kept.node], nodes[kept.node].name, kept.operand, shape, size, needed, readers))
        return rows

    @cached_property
    def blocks(self) -> List[Dict[str, Any]]:
        """The contract's `blocks`: stem, every block, head, classifier and loss, in order."""
        return [{"name": name, **self.group(run)} for name, run in self.graph.segments]

    @cached_property
    def layers(self) -> List[Dict[str, Any]]:
        """The same keys, node by node."""
        return [
            {"name": node.name, "op": node.op.kind, **self.group(range(i, i + 1))}
            for i, node in enumerate(self.graph.nodes)
        ]

    def group(self, run: range) -> Dict[str, Any]:
        """Totals over a run of consecutive nodes. A shared parameter counts where it is first used."""
        owners = {}
        for i, node in enumerate(self.graph.nodes[: run.stop]):
            for name in node.op.params():
                owners.setdefault((node.owner, name), i)
        mine = [self.graph.parameters[key] for key, i in owners.items() if i in run]
        work = flops(self.work[run.start : run.stop])
        return {
            "output_shape": list(self.shapes[run.stop][1:]),
            "parameters": sum(prod(shape) for shape, _ in mine),
            "trainable_parameters": sum(prod(shape) for shape, trains in mine if trains),
            "saved": sum(size for kept, size in zip(self.kept, self.kept_bytes) if kept.node in run),
            "forward_flops": work["forward"],
            "backward_flops": work["backward"],
        }

    def to_dict(self) -> Dict[str, Any]:
        """The contract's JSON document: plain ints, strings, lists and dicts."""
        return {
            "network": self.network,
            "strategy": self.strategy,
            "convention": self.convention,
            "batch": self.batch,
            "input_shape": list(self.input_shape),
            "parameters": self.parameters,
            "trainable_parameters": self.trainable_parameters,
            "memory_bytes": dict(self.memory_bytes),
            "flops": dict(self.flops),
            "blocks": self.blocks,
        }


def flops(work: Tuple[NodeWork, ...]) -> Dict[str, Size]:
    """FLOPs of some nodes, by the contract's keys."""
    forward, inputs, weights, forward_elementwise, backward_elementwise = (
        map(sum, zip(*work)) if work else (0, 0, 0, 0, 0)
    )
    return {
        "forward": 2 * forward,
        "backward": 2 * (inputs + weights),
        "backward_input": 2 * inputs,
        "backward_weight": 2 * weights,
        "total": 2 * (forward + inputs + weights),
        "elementwise_forward": forward_elementwise,
        "elementwise_backward": backward_elementwise,
    }
