"""The backward pass of a step as events."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ..graph.graph import Graph
from ..graph.op import Result
from .events import ACTIVATION_GRADIENTS, BACKWARD, GRADIENTS, LOSS, SCRATCH
from .forward import Forward
from .slots import Slots
from .storages import Storages
from .update import Update
from .updating import write_update


class Moves(NamedTuple):
    """Sums and copies of gradients besides what the ops' formulas compute.

    reduced: (node, input): the input's gradient is summed over the axes along which the input was broadcast.
    recast: (node, parameter): the gradient is copied into the parameter's own strides.
    copied: nodes whose incoming gradient is copied because of its memory order.
    viewed: nodes whose input gradients are views.
    narrowed: (node, input): the input's gradient is cast to its 16 bits.
    """

    reduced: frozenset[tuple[int, str]] = frozenset()
    recast: frozenset[tuple[int, str]] = frozenset()
    copied: frozenset[int] = frozenset()
    narrowed: frozenset[tuple[int, str]] = frozenset()
    viewed: frozenset[int] = frozenset()

    def changes(self, i: int, name: str) -> bool:
        """Whether autograd's engine makes another tensor of an input's gradient."""
        return (i, name) in self.reduced or (i, name) in self.narrowed


class Backward:
    """Writes down the events of the nodes' backward passes, in the reverse of their forward order.

    trained: number of each parameter that trains, by (owner, name). accumulate: gradients of earlier micro-batches
    exist. arrived: value -> storage of its gradient so far; views: values whose gradient is a view. pieces: gradients
    of the pieces of a split, held until the gradient of the split tensor is assembled. uses: how many nodes have yet to
    make a gradient of a parameter. of_uses: the sum of those that have, which the parameter gets when all have, and
    whether it is a view. readers: how many gradients have yet to arrive at each parameter that is a value. at_once: the
    update of each parameter as soon as it has its gradient, if there is one.
    """

    def __init__(
        self,
        forward: Forward,
        trained: dict[tuple[str, str], int],
        accumulate: bool,
        moves: Moves,
        at_once: Update | None = None,
    ) -> None:
        self.forward, self.trained, self.accumulate, self.moves = forward, trained, accumulate, moves
        self.at_once = at_once
        self.graph: Graph = forward.graph
        self.slots: Slots = forward.slots
        self.storages: Storages = forward.storages
        self.arrived: dict[int, int] = {}
        self.views: set[int] = set()
        self.pieces: list[int] = []
        self.of_uses: dict[tuple[str, str], tuple[int, bool]] = {}
        self.uses = Counter(
            (node.owner, name)
            for node, demanded in zip(self.graph.nodes, self.graph.demanded)
            for name in node.op.params()
            if name in demanded
        )
        self.readers = Counter(
            v
            for node, reads, demanded in zip(self.graph.nodes, self.graph.reads, self.graph.demanded)
            for name, v in zip(node.op.inputs, reads)
            if name in demanded and v and self.graph.nodes[v - 1].op.result is Result.RESIDENT
        )
        self.first_piece: dict[int, int] = {}  # value -> the first node that splits it
        for i, (node, reads) in enumerate(zip(self.graph.nodes, self.graph.reads)):
            if node.op.result is Result.PIECE and self.graph.demanded[i]:
                self.first_piece.setdefault(reads[0], i)

    def run(self) -> None:
        """Run the whole backward pass."""
        last = len(self.graph) - 1
        self.storages.phase, self.storages.node = BACKWARD, last
        root = self.storages.new(self.slots.item, LOSS, "the gradient of the loss itself")
        self.arrived[last + 1] = self.storages.hold(root)
        for i in range(last, -1, -1):
            if self.graph.demanded[i] and i + 1 in self.arrived:
                self._run_node(i)
        self.storages.node = last
        self.storages.drop(root, "the backward pass has ended")

    def _run_node(self, i: int) -> None:
        """Run one node's backward: make gradients, free the incoming gradient, then what the node kept."""
        node, storages = self.graph.nodes[i], self.storages
        storages.node = i
        viewed = i + 1 in self.views
        arrived = self.arrived.pop(i + 1)
        gradient: int | None = arrived
        rerun = self.forward.rerun_of.get(i)
        if rerun and i == rerun.last:
            self.forward.run_again(rerun)
            storages.node = i
        for dropped in self.forward.keeping.made_at.get(i, ()):
            self.forward.make_again(dropped)
        if node.op.result is Result.PIECE:
            self.pieces.append(arrived)
            if self.first_piece[self.graph.reads[i][0]] < i:
                return
            gradient = None
        rebased = self._is_rebased(i)
        gradient = self._regular(i, gradient, rebased)
        handed = self._input_gradients(i, gradient)
        made = self._parameter_gradients(i, gradient)
        if rebased:
            self._written_back(i)
        if node.op.frees_gradient and node.op.inputs[0] in self.graph.demanded[i]:
            storages.drop(gradient, "the first of its functions has run")
            gradient = None
        scratch = storages.new(self.slots.backward(i), SCRATCH, "scratch")
        made |= self._late_parameter_gradients(i)
        handed += self._late_gradients(i, scratch)
        storages.drop(gradient, "its node has run")
        while self.pieces:
            storages.drop(self.pieces.pop(), "put together")
        self._release(i)
        for name, v, storage in handed:
            # A view that is passed on is a view still.
            own = node.op.parameter_gradient_views if name in node.op.given else i in self.moves.viewed
            self._deliver(v, storage, own or viewed and storage == arrived)
        self._finish(i, made)
        for _, v, _ in handed:
            self._accumulate(v)

    def _is_rebased(self, i: int) -> bool:
        """Whether a node writes in place on a view, so that its gradient is a part of the base's gradient."""
        v = self.graph.reads[i][0]
        return self.graph.nodes[i].op.result is Result.INPLACE and bool(v) and self.graph.nodes[v - 1].op.result.is_view

    def _regular(self, i: int, gradient: int | None, rebased: bool) -> int | None:
        """The incoming gradient, or a copy of it if the node needs one.

        For an op in place on a view, the gradient is copied out of the base's gradient (AsStridedBackward), and the
        op's own gradient is written back into a clone of it (CopySlices in torch/csrc/autograd/functions/tensor.cpp).
        """
        if not rebased and i not in self.moves.copied:
            return gradient
        why = "of the view's base" if rebased else "as it lies in memory for this node"
        copy = self.storages.new(self.slots.value(i + 1), ACTIVATION_GRADIENTS, why)
        self.storages.drop(gradient, "copied")
        return copy

    def _written_back(self, i: int) -> None:
        """Allocate and free what an op in place on a view needs to write its gradient into the base's gradient."""
        slot = self.slots.value(i + 1)
        clone = self.storages.new(slot, SCRATCH, "a clone of the view's part")
        self.storages.passing(slot, "the gradient of the op itself")
        self.storages.drop(clone, "written back")

    def _wanted(self, i: int) -> list[tuple[str, int]]:
        """(name, value) of the inputs whose gradients a node computes."""
        named = zip(self.graph.nodes[i].op.inputs, self.graph.reads[i])
        return [(name, v) for name, v in named if name in self.graph.demanded[i]]

    def _is_made_late(self, i: int, name: str) -> bool:
        """Whether what autograd's engine makes of a gradient comes after what the node kept is freed."""
        summed = name in self.graph.nodes[i].op.broadcast_parameters
        return i in self.forward.rerun_of and (summed or self.moves.changes(i, name))

    def _accumulate(self, v: int) -> None:
        """Give a parameter that is a value its gradient, if that is complete: the engine puts this before all else."""
        if v in self.readers:
            self.readers[v] -= 1
            if not self.readers[v]:
                self._run_node(v - 1)

    def _input_gradients(self, i: int, gradient: int | None) -> list[tuple[str, int, int]]:
        """(input, value, storage) of the input gradients that a node's formulas make or pass."""
        passes, made = self.graph.nodes[i].op.passes, []
        for name, v in self._wanted(i):
            if self._is_made_late(i, name):
                continue
            if name in passes and not self.moves.changes(i, name):
                assert gradient is not None, "a piece passes nothing on"
                made.append((name, v, self.storages.hold(gradient)))
            else:
                made.append((name, v, self._gradient_of(i, v, name)))
        return made

    def _late_gradients(self, i: int, scratch: int) -> list[tuple[str, int, int]]:
        """(input, value, storage) of the input gradients that the engine sums or casts after the formulas.

        Tensors that a node unpacked from a rerun are freed by then. Outside reruns, what a node kept is still alive.
        scratch: what the gradients are made of, which is freed once the first is made.
        """
        late = [(name, v) for name, v in self._wanted(i) if self._is_made_late(i, name)]
        if late:
            self._release(i)
        first = [(name, v, self._gradient_of(i, v, name)) for name, v in late[:1]]
        self.storages.drop(scratch, "scratch")
        return first + [(name, v, self._gradient_of(i, v, name)) for name, v in late[1:]]

    def _gradient_of(self, i: int, v: int, name: str) -> int:
        """The storage of the gradient that node i makes of its input `name`, the value v."""
        resized = self.graph.nodes[i].op.resizes and name == self.graph.nodes[i].op.inputs[0]
        slot = self.slots.storage(i) if resized else self.slots.value(v)
        return self.storages.new(slot, ACTIVATION_GRADIENTS, f"of {name}")

    def _parameter_gradients(self, i: int, gradient: int | None) -> dict[tuple[str, str], int]:
        """Make the gradients of a node's parameters. Returns their storages."""
        node, found = self.graph.nodes[i], {}
        for name in node.op.params():
            if name not in self.graph.demanded[i] or self._is_made_late(i, name):
                continue
            key = node.owner, name
            if name in node.op.passes:
                assert gradient is not None, "a piece has no parameters"
                found[key] = self.storages.hold(gradient)
                if node.op.result is Result.RESIDENT:
                    self.storages.become(gradient, GRADIENTS)
            else:
                found[key] = self._gradient_of_parameter(key)
        return found

    def _late_parameter_gradients(self, i: int) -> dict[tuple[str, str], int]:
        """Make the gradients of a node's parameters that the engine sums when what the node unpacked is freed."""
        node = self.graph.nodes[i]
        wanted = [name for name in node.op.broadcast_parameters if name in self.graph.demanded[i]]
        late = [name for name in wanted if self._is_made_late(i, name)]
        if late:
            self._release(i)
        return {(node.owner, name): self._gradient_of_parameter((node.owner, name)) for name in late}

    def _gradient_of_parameter(self, key: tuple[str, str]) -> int:
        """The storage of a parameter's gradient."""
        return self.storages.new(self.slots.parameter(self.trained[key]), GRADIENTS, f"of {key[1]}")

    def _collect(self, key: tuple[str, str], made: int, view: bool) -> None:
        """Add a parameter's gradient to those of its other uses, and to an earlier micro-batch's when all have come."""
        if key not in self.of_uses:
            self.of_uses[key] = made, view or self.storages.is_shared(made)
        else:
            first, is_view = self.of_uses[key]
            if is_view:
                total = self.storages.new(self.slots.parameter(self.trained[key]), GRADIENTS, "a sum")
                self.storages.drop(first, "added up")
                self.of_uses[key] = total, False
            self.storages.drop(made, "added to the gradient of another use")
        self.uses[key] -= 1
        if self.uses[key]:
            return
        if self.accumulate:
            self.storages.drop(self.of_uses[key][0], "added to the gradient that is there")
        elif self.at_once:
            write_update(self.at_once, [self.trained[key]], self.slots, self.storages, self.storages.node)
            self.storages.drop(self.of_uses[key][0], "its parameter is updated")

    def _release(self, i: int) -> None:
        """Free what a node kept."""
        for storage in self.forward.held.pop(i, ()):
            self.storages.drop(storage, "its reader has run")

    def _deliver(self, v: int, storage: int, view: bool) -> None:
        """Give a value a gradient; if it has one already, add them.

        A gradient that is a view is not added to in place: the view holds its base, so its storage has two holders
        (can_accumulate_inplace).
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

    def _finish(self, i: int, made: dict[tuple[str, str], int]) -> None:
        """Do what follows after a node has passed on its gradients: recast copies, epilogue, accumulation.

        made: the gradients of its parameters.
        """
        node = self.graph.nodes[i]
        for name in node.op.params():
            if (i, name) in self.moves.recast and not self.accumulate:
                slot = self.slots.parameter(self.trained[node.owner, name])
                self.storages.passing(slot, "copied to the parameter's strides")
        if node.op.has_epilogue:
            self.storages.passing(self.slots.after(i), "scratch of the nodes behind the gradient of the weight")
        views = node.op.parameter_gradient_views
        # The engine gives parameters their gradients in turn; a view of a gradient takes another of its nodes, and the
        # bias, which is no view, comes before it.
        for key, storage in reversed(made.items()) if views else made.items():
            self._collect(key, storage, views)
