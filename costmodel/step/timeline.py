"""One training step as a list of allocations and releases, in the order in which PyTorch makes them.

The order does not depend on sizes, so it is compiled once per graph. Pricing it is one gather and one running sum.

What decides it, all measured on torch 2.13:
- A module's call holds its inputs until it returns; other values go after their last reader. (torch.nn.Module._call_impl)
- Backward runs the nodes in the reverse of their forward order. Of each, in this order: the gradients are made, the
  gradient that came in is let go, then what the node kept, and only then are the results handed on.
  (torch/csrc/autograd/engine.cpp: call_function, release_variables, InputBuffer::add)
- Where gradients meet, the second is added into the first if nobody else holds that one; else a third is made.
- A parameter's first gradient becomes `.grad` as it is; with gradient accumulation later ones are added and let go.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from ..conventions import Kept
from ..graph.checkpointing import RNG_STATE, Segment, segments
from ..graph.graph import Graph
from ..graph.lifetimes import frame_ends
from .events import BACKWARD, FORWARD, SCRATCH, UPDATE, Event, Layout, Timeline, tops
from .optimizer import AT_ONCE, WITH_NEXT, Optimizer


class Moves(NamedTuple):
    """What backward moves in memory beside what it computes.

    reduced: (node, input) whose gradient is summed over axes along which the input was broadcast.
    recast: (node, parameter) whose gradient is copied into the parameter's own strides.
    copied: nodes whose incoming gradient is copied, since it lies otherwise than they take it.
    """

    reduced: FrozenSet[Tuple[int, str]] = frozenset()
    recast: FrozenSet[Tuple[int, str]] = frozenset()
    copied: FrozenSet[int] = frozenset()


@lru_cache(maxsize=512)
def compile(
    graph: Graph, kept: Tuple[Kept, ...], optimizer: Optimizer, accumulate: bool, moves: Moves, sliced: bool
) -> Timeline:
    """The events of a step.

    accumulate: the gradients of earlier micro-batches are there, and the step is the last micro-batch's.
    sliced: the frozen prefix runs on more than one slice of the batch.
    """
    return _Compiler(graph, kept, accumulate, moves, sliced).run(optimizer)


class _Compiler:
    def __init__(
        self, graph: Graph, kept: Tuple[Kept, ...], accumulate: bool, moves: Moves, sliced: bool
    ) -> None:
        self.graph, self.kept, self.accumulate, self.moves, self.sliced = graph, kept, accumulate, moves, sliced
        trained = [key for key, (_, trains) in graph.parameters.items() if trains]
        self.trained = {key: p for p, key in enumerate(trained)}
        self.segments = segments(graph)
        self.layout = Layout(len(graph) + 1, len(kept), len(self.trained), len(graph), len(self.segments))
        self.events: List[Event] = []
        self.slots: List[int] = []  # of each storage
        self.categories: List[str] = []
        self.references: List[int] = []
        self.phase, self.node = FORWARD, 0
        self.storages: Dict[int, Optional[int]] = {0: None}  # of each value; None: the caller's
        self.held: Dict[int, List[int]] = {}  # node -> storages that it keeps for its backward
        self.first_part: Dict[int, int] = {}  # value -> the first of the nodes that split it
        for i, (node, reads) in enumerate(zip(graph.nodes, graph.reads)):
            if node.op.is_part and graph.demanded[i]:
                self.first_part.setdefault(reads[0], i)
        self.kept_value = {k.value for k in kept if k.segment is None}
        self.kept_again = {k.value for k in kept if k.segment is not None}
        self.states = {k.node: number for number, k in enumerate(kept) if k.operand == RNG_STATE}
        self.ends = frame_ends(graph)
        self.inside = {i: segment for segment in self.segments for i in segment.run}
        self.extras: Dict[int, List[int]] = {}  # node -> extras that it keeps
        self.unseen: Dict[int, List[int]] = {}  # node that runs again -> extras that it keeps from the first run on
        # Node -> values that it keeps, of the first run and of a second one.
        self.readers: Dict[int, List[int]] = {}
        self.read_again: Dict[int, List[int]] = {}
        for k, one in enumerate(kept):
            if one.operand == RNG_STATE:
                continue
            if one.value is None:
                unseen = one.segment is None and one.node in self.inside
                (self.unseen if unseen else self.extras).setdefault(one.node, []).append(k)
            else:
                readers = self.readers if one.segment is None else self.read_again
                for read in one.readers:
                    readers.setdefault(read.node, []).append(one.value)

    def run(self, optimizer: Optimizer) -> Timeline:
        self.forward()
        after_forward = len(self.events)
        if self.graph.has_loss and self.graph.wants_gradient[-1]:
            self.backward()
            self.update(optimizer)
        slots = np.array([event.slot for event in self.events], dtype=np.intp)
        signs = np.array([event.sign for event in self.events], dtype=np.int64)
        return Timeline(tuple(self.events), slots, signs, self.layout, after_forward, tops(slots, signs, self.layout))

    # Storages with reference counts.

    def new(self, slot: int, category: str, why: str) -> int:
        storage = len(self.slots)
        self.slots.append(slot)
        self.categories.append(category)
        self.references.append(1)
        self.events.append(Event(self.phase, self.node, slot, 1, storage, category, why))
        return storage

    def hold(self, storage: Optional[int]) -> Optional[int]:
        if storage is not None:
            self.references[storage] += 1
        return storage

    def drop(self, storage: Optional[int], why: str) -> None:
        if storage is None:
            return
        self.references[storage] -= 1
        if self.references[storage] == 0:
            slot, category = self.slots[storage], self.categories[storage]
            self.events.append(Event(self.phase, self.node, slot, -1, storage, category, why))

    def passing(self, slot: int, why: str) -> None:
        """A buffer that comes and goes."""
        self.drop(self.new(slot, "scratch", why), why)

    # The three phases.

    def forward(self) -> None:
        graph = self.graph
        prefix = graph.prefix if self.sliced else 0
        if prefix:
            # The first slice, then one that stands for all the others, beside the whole batch's result.
            self.run_forward(range(prefix))
            slot = self.layout.whole
            whole = self.new(slot, "saved" if graph.content[prefix] in self.kept_value else "activations", "output")
            self.drop(self.storages[prefix], "copied into the result")
            self.run_forward(range(prefix))
            part = self.storages[prefix]
            self.drop(part, "copied into the result")
            self.storages = {v: whole if storage == part else storage for v, storage in self.storages.items()}
        self.run_forward(range(prefix, len(graph)))

    def run_forward(self, run: range) -> None:
        """The forward pass of consecutive nodes."""
        for i in run:
            self.node = i
            segment = self.inside.get(i)
            if segment and segment.is_random and i == segment.run.start:
                state = self.new(self.layout.kept_at(self.states[segment.first]), "saved", RNG_STATE)
                self.held.setdefault(segment.first, []).append(state)
            category = "saved" if self.graph.content[i + 1] in self.kept_value else "activations"
            own = self.run_node(i, category, "activations" if segment else "saved")
            held = self.held.setdefault(i, [])
            if segment:
                for storage in own:  # it is made again
                    self.drop(storage, "what reads it runs again")
                own = [*self.readings(self.readers, i), *self.make_unseen(i, "saved")]
            held += own
            for value in self.ends.get(i, ()):
                if not (run.stop < len(self.graph) and value == run.stop):  # a slice of the prefix: copied, then let go
                    self.drop(self.storages[value], "last reader done and every module that received it returned")

    def run_again(self, segment: Segment) -> None:
        """The second run of a part, up to what is saved last."""
        state = None
        if segment.is_random:
            state = self.new(self.layout.kept_at(self.states[segment.first]), "recomputed", RNG_STATE)
        alive, unseen = {}, []
        for i in range(segment.run.start, segment.last + 1):
            self.node = i
            category = "recomputed" if self.graph.content[i + 1] in self.kept_again else "activations"
            self.held[i] += self.run_node(i, category, "recomputed", segment)
            if i in segment.again:
                alive[i + 1] = self.storages[i + 1]
                unseen += self.make_unseen(i, "recomputed")
            for value in self.ends.get(i, ()):
                self.drop(alive.pop(value, None), "last reader done and every module that received it returned")
        for storage in (*alive.values(), *unseen):
            self.drop(storage, "the second run has ended")
        self.drop(state, "the second run has ended")

    def run_node(self, i: int, category: str, keeping: str, again: Optional[Segment] = None) -> List[int]:
        """One node's forward pass; returns what it keeps for its own backward, held. category: of its output.

        keeping: category of what it keeps beside. again: the part whose second run it belongs to.
        """
        graph, held = self.graph, []
        node, reads = graph.nodes[i], graph.reads[i]
        readers = self.read_again if i in self.inside else self.readers
        overwritten = graph.content[reads[0]] if node.op.is_inplace else None
        cloned = overwritten in readers.get(i, ())
        if cloned:
            # The content that is kept is about to be overwritten: torch keeps a clone of it.
            held.append(self.new(self.layout.value(overwritten), keeping, "a clone of what is overwritten"))
        whole = again is None or i in again.again
        if whole:
            if node.op.is_resident:
                self.storages[i + 1] = None
            elif node.op.is_view or node.op.is_inplace:
                self.storages[i + 1] = self.hold(self.storages[reads[0]])
            else:
                category = "loss" if node.op.kind == "cross_entropy" else category
                slot = self.layout.value(i + 1)
                if again and i == again.last and not node.op.in_python and i + 1 not in self.kept_again:
                    slot = self.layout.lost(self.segments.index(again))  # nobody is given it
                self.storages[i + 1] = self.new(slot, category, "output")
        for k in self.extras.get(i, ()):
            kept = self.kept[k]
            if kept.operand not in node.op.given:
                held.append(self.new(self.layout.kept_at(k), keeping, kept.operand))
        scratch = self.layout.scratch(i, FORWARD) if whole else self.layout.lost(self.segments.index(again))
        self.passing(scratch, "scratch")
        return held + self.readings(readers, i, overwritten if cloned else None)

    def make_unseen(self, i: int, category: str) -> List[int]:
        """What hooks are not shown of a node that runs again: each run makes it for its own autograd node."""
        return [self.new(self.layout.kept_at(k), category, self.kept[k].operand) for k in self.unseen.get(i, ())]

    def readings(self, readers: Dict[int, List[int]], i: int, but: Optional[int] = None) -> List[int]:
        """The storages, held, of the values that a node keeps."""
        storages = (self.storages[value] for value in dict.fromkeys(readers.get(i, ())) if value != but)
        return [self.hold(storage) for storage in storages if storage is not None]

    def backward(self) -> None:
        graph = self.graph
        self.phase, self.node = BACKWARD, len(graph) - 1
        root = self.new(self.layout.item, "loss", "the gradient of the loss itself")
        arrived: Dict[int, int] = {len(graph): self.hold(root)}
        self.views: Set[int] = set()  # gradients of values that are views
        transient: List[int] = []
        waiting: List[int] = []  # gradients of parts
        given: Set[Tuple[str, str]] = set()  # parameters that have a gradient, to which another use's is added
        for i in range(len(graph) - 1, -1, -1):
            node, reads, demanded = graph.nodes[i], graph.reads[i], graph.demanded[i]
            if not demanded:
                continue
            self.node = i
            gradient = arrived.pop(i + 1)
            if i in self.inside and i == self.inside[i].last:
                self.run_again(self.inside[i])
                self.node = i
            if node.op.is_part:
                waiting.append(gradient)
                if self.first_part[reads[0]] < i:
                    continue
                gradient = None
            slot = self.layout.value(i + 1)
            rebased = node.op.is_inplace and reads[0] and graph.nodes[reads[0] - 1].op.is_view
            if rebased:
                # In place on a view: its gradient is copied out of the base's (AsStridedBackward), and the op's own
                # is written back into a clone of that (CopySlices in torch/csrc/autograd/functions/tensor.cpp).
                strided = self.new(slot, "gradients of activations", "of the view's base")
                self.drop(gradient, "copied")
                gradient = strided
            elif i in self.moves.copied:
                regular = self.new(slot, "gradients of activations", "as it lies in memory for this node")
                self.drop(gradient, "copied")
                gradient = regular
            handed, summed = [], []
            for name, v in zip(node.op.inputs, reads):
                if name not in demanded:
                    continue
                if i in self.inside and (i, name) in self.moves.reduced:
                    summed.append((name, v))
                elif name in node.op.passes and (i, name) not in self.moves.reduced:
                    handed.append((v, self.hold(gradient)))
                else:
                    handed.append((v, self.new(self.layout.value(v), "gradients of activations", f"of {name}")))
            for name in node.op.params():
                if name in demanded:
                    slot = self.layout.parameter(self.trained[node.owner, name])
                    made = self.hold(gradient) if name in node.op.passes else self.new(slot, "gradients", f"of {name}")
                    if self.accumulate or (node.owner, name) in given:
                        transient.append(made)
                    given.add((node.owner, name))
            if rebased:
                clone = self.new(slot, "scratch", "a clone of the view's part")
                self.passing(slot, "the gradient of the op itself")
                self.drop(clone, "written back")
            scratch = self.new(self.layout.scratch(i, BACKWARD), "scratch", "scratch")
            if summed:
                # The engine sums after the formulas, when what they unpacked of a second run is gone; else it is there.
                self.release(i)
                for name, v in summed:
                    handed.append((v, self.new(self.layout.value(v), "gradients of activations", f"of {name}")))
            self.drop(scratch, "scratch")
            self.drop(gradient, "its node has run")
            while waiting:
                self.drop(waiting.pop(), "put together")
            self.release(i)
            for v, storage in handed:
                self.deliver(arrived, v, storage, node.op.gradient_views)
            for name in node.op.params():
                if (i, name) in self.moves.recast and not self.accumulate:
                    slot = self.layout.parameter(self.trained[node.owner, name])
                    self.passing(slot, "copied to the parameter's strides")
            if node.op.has_epilogue:
                self.passing(self.layout.epilogue(i), "scratch of the nodes behind the gradient of the weight")
            while transient:
                self.drop(transient.pop(), "added to the gradient that is there")
        self.node = len(graph) - 1
        self.drop(root, "the backward pass has ended")

    def release(self, i: int) -> None:
        """Let go what a node kept."""
        for storage in self.held.pop(i, ()):
            self.drop(storage, "its reader has run")

    def deliver(self, arrived: Dict[int, int], v: int, storage: int, view: bool) -> None:
        """Hand a gradient to a value; where one has arrived already, add them.

        Nothing is added into a view: it holds its base, so that its storage has two holders (can_accumulate_inplace).
        """
        if v not in arrived:
            arrived[v] = storage
            if view:
                self.views.add(v)
        elif self.references[arrived[v]] == 1 and v not in self.views:
            self.drop(storage, "added into the gradient that came first")
        else:
            first, arrived[v] = arrived[v], self.new(self.layout.value(v), "gradients of activations", "a sum")
            self.views.discard(v)
            self.drop(first, "added up")
            self.drop(storage, "added up")

    def update(self, optimizer: Optimizer) -> None:
        """What the optimizer makes for each parameter, and when it lets that go."""
        self.phase = UPDATE
        previous: List[Tuple[int, str]] = []
        for p in range(len(self.trained)):
            self.node = p
            own: List[Tuple[int, str]] = []
            following: List[Tuple[int, str]] = []
            for made in optimizer.update:
                slot = self.layout.number if made.is_number else self.layout.parameter(p)
                if made.let_go == AT_ONCE:
                    self.passing(slot, made.why)
                else:
                    kept = following if made.let_go == WITH_NEXT else own
                    kept.append((self.new(slot, SCRATCH, made.why), made.gone))
            for storage, why in own + previous:
                self.drop(storage, why)
            previous = following
        for storage, _ in previous:
            self.drop(storage, "the update has ended")
