"""The backward pass of a step as events."""

from __future__ import annotations

from typing import NamedTuple

from ..graph.graph import Graph
from ..graph.op import Result
from .events import ACTIVATION_GRADIENTS, BACKWARD, GRADIENTS, LOSS, SCRATCH
from .forward import Forward
from .slots import Slots
from .storages import Storages


class Moves(NamedTuple):
    """What backward moves in memory beside what it computes.

    reduced: (node, input) whose gradient is summed over axes along which the input was broadcast.
    recast: (node, parameter) whose gradient is copied into the parameter's own strides.
    copied: nodes whose incoming gradient is copied, since it lies otherwise than they take it.
    """

    reduced: frozenset[tuple[int, str]] = frozenset()
    recast: frozenset[tuple[int, str]] = frozenset()
    copied: frozenset[int] = frozenset()


class Backward:
    """Runs the nodes' backward passes, in the reverse of their forward order.

    trained: number of each parameter that trains, by (owner, name). accumulate: gradients of earlier micro-batches are
    there. arrived: value -> storage of the gradient that has come to it so far; views: values whose gradient is a view.
    pieces: gradients of the pieces of a split, held until its input's is put together. given: parameters that have a
    gradient, to which another use's is added.
    """

    def __init__(self, forward: Forward, trained: dict[tuple[str, str], int], accumulate: bool, moves: Moves) -> None:
        self.forward, self.trained, self.accumulate, self.moves = forward, trained, accumulate, moves
        self.graph: Graph = forward.graph
        self.slots: Slots = forward.slots
        self.storages: Storages = forward.storages
        self.arrived: dict[int, int] = {}
        self.views: set[int] = set()
        self.pieces: list[int] = []
        self.given: set[tuple[str, str]] = set()
        self.first_piece: dict[int, int] = {}  # value -> the first of the nodes that split it
        for i, (node, reads) in enumerate(zip(self.graph.nodes, self.graph.reads)):
            if node.op.result is Result.PIECE and self.graph.demanded[i]:
                self.first_piece.setdefault(reads[0], i)

    def run(self) -> None:
        """The whole backward pass."""
        last = len(self.graph) - 1
        self.storages.phase, self.storages.node = BACKWARD, last
        root = self.storages.new(self.slots.item, LOSS, "the gradient of the loss itself")
        self.arrived[last + 1] = self.storages.hold(root)
        for i in range(last, -1, -1):
            if self.graph.demanded[i]:
                self._run_node(i)
        self.storages.node = last
        self.storages.drop(root, "the backward pass has ended")

    def _run_node(self, i: int) -> None:
        """One node's backward pass: gradients are made, then what came in is let go, then what the node kept."""
        node, storages = self.graph.nodes[i], self.storages
        storages.node = i
        arrived = self.arrived.pop(i + 1)
        gradient: int | None = arrived
        rerun = self.forward.rerun_of.get(i)
        if rerun and i == rerun.last:
            self.forward.run_again(rerun)
            storages.node = i
        if node.op.result is Result.PIECE:
            self.pieces.append(arrived)
            if self.first_piece[self.graph.reads[i][0]] < i:
                return
            gradient = None
        rebased = self._is_rebased(i)
        gradient = self._regular(i, gradient, rebased)
        handed = self._input_gradients(i, gradient)
        transient = self._parameter_gradients(i, gradient)
        if rebased:
            self._written_back(i)
        scratch = storages.new(self.slots.backward(i), SCRATCH, "scratch")
        handed += self._reduced_gradients(i)
        storages.drop(scratch, "scratch")
        storages.drop(gradient, "its node has run")
        while self.pieces:
            storages.drop(self.pieces.pop(), "put together")
        self._release(i)
        for v, storage in handed:
            self._deliver(v, storage, node.op.gradient_views)
        self._finish(i, transient)

    def _is_rebased(self, i: int) -> bool:
        """Whether a node writes in place on a view: its gradient is then a part of the base's."""
        v = self.graph.reads[i][0]
        return self.graph.nodes[i].op.result is Result.INPLACE and bool(v) and self.graph.nodes[v - 1].op.result.is_view

    def _regular(self, i: int, gradient: int | None, rebased: bool) -> int | None:
        """The gradient as the node takes it, a copy of what came in where that lies otherwise.

        In place on a view the gradient is copied out of the base's (AsStridedBackward), and the op's own is written
        back into a clone of that (CopySlices in torch/csrc/autograd/functions/tensor.cpp).
        """
        if not rebased and i not in self.moves.copied:
            return gradient
        why = "of the view's base" if rebased else "as it lies in memory for this node"
        copy = self.storages.new(self.slots.value(i + 1), ACTIVATION_GRADIENTS, why)
        self.storages.drop(gradient, "copied")
        return copy

    def _written_back(self, i: int) -> None:
        """What an op in place on a view takes to write its gradient back into the base's."""
        slot = self.slots.value(i + 1)
        clone = self.storages.new(slot, SCRATCH, "a clone of the view's part")
        self.storages.passing(slot, "the gradient of the op itself")
        self.storages.drop(clone, "written back")

    def _wanted(self, i: int) -> list[tuple[str, int]]:
        """The inputs, by name and value, whose gradients a node computes."""
        named = zip(self.graph.nodes[i].op.inputs, self.graph.reads[i])
        return [(name, v) for name, v in named if name in self.graph.demanded[i]]

    def _is_summed_late(self, i: int, name: str) -> bool:
        """Whether autograd's engine, and not the formula, sums an input's gradient over broadcast axes."""
        return i in self.forward.rerun_of and (i, name) in self.moves.reduced

    def _input_gradients(self, i: int, gradient: int | None) -> list[tuple[int, int]]:
        """(value, storage) of the gradients of a node's inputs that its formulas make, or hand on."""
        passes, made = self.graph.nodes[i].op.passes, []
        for name, v in self._wanted(i):
            if self._is_summed_late(i, name):
                continue
            if name in passes and (i, name) not in self.moves.reduced:
                assert gradient is not None, "a piece passes nothing on"
                made.append((v, self.storages.hold(gradient)))
            else:
                made.append((v, self._gradient_of(v, name)))
        return made

    def _reduced_gradients(self, i: int) -> list[tuple[int, int]]:
        """(value, storage) of the gradients that the engine sums after the formulas.

        By then tensors that a node unpacked from a rerun are gone; elsewhere what a node kept is still there.
        """
        late = [(name, v) for name, v in self._wanted(i) if self._is_summed_late(i, name)]
        if late:
            self._release(i)
        return [(v, self._gradient_of(v, name)) for name, v in late]

    def _gradient_of(self, v: int, name: str) -> int:
        return self.storages.new(self.slots.value(v), ACTIVATION_GRADIENTS, f"of {name}")

    def _parameter_gradients(self, i: int, gradient: int | None) -> list[int]:
        """Makes the gradients of a node's parameters; returns those that are only added to what is there already."""
        node, transient = self.graph.nodes[i], []
        for name in node.op.params():
            if name not in self.graph.demanded[i]:
                continue
            key = node.owner, name
            if name in node.op.passes:
                assert gradient is not None, "a piece has no parameters"
                made = self.storages.hold(gradient)
            else:
                made = self.storages.new(self.slots.parameter(self.trained[key]), GRADIENTS, f"of {name}")
            if self.accumulate or key in self.given:
                transient.append(made)
            self.given.add(key)
        return transient

    def _release(self, i: int) -> None:
        """Let go of what a node kept."""
        for storage in self.forward.held.pop(i, ()):
            self.storages.drop(storage, "its reader has run")

    def _deliver(self, v: int, storage: int, view: bool) -> None:
        """Hand a gradient to a value; where one has arrived already, add them.

        Nothing is added into a view: it holds its base, so its storage has two holders (can_accumulate_inplace).
        """
        if v not in self.arrived:
            self.arrived[v] = storage
            if view:
                self.views.add(v)
        elif not self.storages.is_shared(self.arrived[v]) and v not in self.views:
            self.storages.drop(storage, "added into the gradient that came first")
        else:
            first = self.arrived[v]
            self.arrived[v] = self.storages.new(self.slots.value(v), ACTIVATION_GRADIENTS, "a sum")
            self.views.discard(v)
            self.storages.drop(first, "added up")
            self.storages.drop(storage, "added up")

    def _finish(self, i: int, transient: list[int]) -> None:
        """What follows when a node has handed on its gradients."""
        node = self.graph.nodes[i]
        for name in node.op.params():
            if (i, name) in self.moves.recast and not self.accumulate:
                slot = self.slots.parameter(self.trained[node.owner, name])
                self.storages.passing(slot, "copied to the parameter's strides")
        if node.op.has_epilogue:
            self.storages.passing(self.slots.after(i), "scratch of the nodes behind the gradient of the weight")
        while transient:
            self.storages.drop(transient.pop(), "added to the gradient that is there")
