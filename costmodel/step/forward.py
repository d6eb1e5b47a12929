"""The forward pass of a step, and reruns of blocks in its backward pass, as events."""

from __future__ import annotations

from collections.abc import Iterable

from ..conventions import Kept, each_read, value_of
from ..graph.checkpointing import RNG_STATE, Rerun, passing_states, rerun_of, reruns
from ..graph.dropping import nodes_dropped
from ..graph.graph import Graph
from ..graph.lifetimes import abandoned_ends, frame_ends
from ..graph.op import Result
from ..graph.recompute import chain_of
from .events import ACTIVATIONS, LOSS, RECOMPUTED, SAVED
from .slots import Slots
from .storages import Storages

FRAMES_END = "last reader done and every module that received it returned"
ABANDONED = "no gradient arrives at what kept it, and nobody holds that any longer"
RERUN_ENDS = "the second run has ended"


class Keeping:
    """What each node keeps for its backward pass, by node. Extras and states are numbered as in `kept`.

    extras: the extras. unseen: extras of a node in a rerun that it keeps from the forward pass on, since saved-tensor
    hooks do not see them. values: values that the forward pass makes; values_again: values that a rerun makes. states:
    the state of random numbers, at the first node of a rerun that saves something; passing: the same where nothing runs
    again. made_at: the nodes whose dropped outputs are made again right before this node's backward; until: node -> the
    last node that reads its output when it is made again.
    """

    def __init__(self, graph: Graph, kept: tuple[Kept, ...]) -> None:
        self.kept = kept
        self.second_run = {one.value for one in kept if one.rerun is not None}
        self.extras: dict[int, list[int]] = {}
        self.unseen: dict[int, list[int]] = {}
        self.values: dict[int, list[int]] = {}
        self.values_again: dict[int, list[int]] = {}
        self.states: dict[int, int] = {}
        self.passing: dict[int, int] = {}
        number = rerun_of(graph)
        for k, one in enumerate(kept):
            if one.operand == RNG_STATE:
                (self.passing if one.in_vain else self.states)[one.node] = k
            elif one.value is None:
                unseen = one.rerun is None and one.node in number
                (self.unseen if unseen else self.extras).setdefault(one.node, []).append(k)
            else:
                values = self.values if one.rerun is None else self.values_again
                for read in one.readers:
                    values.setdefault(read.node, []).append(one.value)
        self.made_at, self.until = made_again(graph) if graph.dropped else ({}, {})


def made_again(graph: Graph) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Node -> the nodes whose dropped outputs are made for it; node whose output is dropped -> the last that reads it.

    What is made of a dropped output reads it, too.
    """
    readers: dict[int, set[int]] = {}
    for read in each_read(graph, stock=True):
        value = value_of(graph, read.node, read.operand)
        for v in chain_of(graph.sources, value) if value is not None else ():
            readers.setdefault(v, set()).add(read.node)
    made_at: dict[int, list[int]] = {}
    dropped = nodes_dropped(graph)
    for i in dropped:
        made_at.setdefault(max(readers[i + 1]), []).append(i)
    return made_at, {i: min(readers[i + 1]) for i in dropped}


class Forward:
    """Writes down the events of forward passes. of: value -> storage. held: node -> storages kept for its backward."""

    def __init__(self, graph: Graph, kept: tuple[Kept, ...], slots: Slots, storages: Storages) -> None:
        self.graph, self.slots, self.storages = graph, slots, storages
        self.keeping = Keeping(graph, kept)
        self.ends = frame_ends(graph)
        self.abandoned_ends = abandoned_ends(graph)
        self.passing_states = passing_states(graph)
        self.in_vain: dict[int, list[int]] = {}  # node without a backward -> storages that it keeps for one
        self.reruns = reruns(graph)
        self.rerun_of = {i: self.reruns[k] for i, k in rerun_of(graph).items()}
        self.of: dict[int, int | None] = {0: None}  # the images are the caller's
        self.held: dict[int, list[int]] = {}
        self.lent: dict[int, list[int]] = {}  # value -> storages that live as long, by its recipe
        self.part = 0  # the slice of the batch that runs: see Slots.value
        self.outlasting: set[int] = set()  # values of a slice that frames would hold beyond the prefix

    def run(self, sliced: bool) -> None:
        """Run the forward pass. sliced: the frozen prefix runs on more than one slice of the batch."""
        prefix = self.graph.prefix if sliced else 0
        if prefix:
            self._run_slices(prefix)
        self._run_nodes(range(prefix, len(self.graph)))

    def _run_slices(self, prefix: int) -> None:
        """Run the first slice, then the second and the last, while the whole batch's result is allocated.

        All slices between these two are as large as the first. If there are two slices, the last runs twice. What a
        frame would hold for longer is gone when a slice ends.
        """
        self.outlasting = {v for end, values in self.ends.items() if end >= prefix for v in values if v < prefix}
        self._run_slice(prefix)
        whole = self.storages.new(self.slots.whole, ACTIVATIONS, "output")
        for self.part in (1, 2):
            self.storages.drop(self.of[prefix], "copied into the result")
            self._run_slice(prefix)
        self.part, last = 0, self.of[prefix]
        self.storages.drop(last, "copied into the result")
        self.of = {v: whole if storage == last else storage for v, storage in self.of.items()}

    def _run_slice(self, prefix: int) -> None:
        """Run one slice."""
        self._run_nodes(range(prefix))
        for value in sorted(self.outlasting):
            self.storages.drop(self.of[value], FRAMES_END)

    def _run_nodes(self, run: range) -> None:
        """Run the forward passes of consecutive nodes."""
        passing: dict[int, list[int]] = {}  # node -> states of random numbers that are freed once it has run
        for i in run:
            self.storages.node = i
            if i in self.keeping.passing:
                state = self.storages.new(self.slots.kept(self.keeping.passing[i]), ACTIVATIONS, RNG_STATE)
                passing.setdefault(self.passing_states[i], []).append(state)
            rerun = self.rerun_of.get(i)
            if rerun and rerun.is_random and i == rerun.run.start:
                self.held.setdefault(rerun.first, []).append(self._random_state(rerun, SAVED))
            own = self._run_node(i, ACTIVATIONS if rerun or self.graph.abandoned[i] else SAVED)
            held = (self.in_vain if self.graph.abandoned[i] else self.held).setdefault(i, [])
            if rerun:  # which makes it again
                self._let_go(i, own)
                own = [*self._holding(self.keeping.values, i, SAVED), *self._make_unseen(i, SAVED)]
            held += own
            for value in self.ends.get(i, ()):
                for storage in self.lent.pop(value, ()):
                    self.storages.drop(storage, FRAMES_END)
                of_slice = run.stop < len(self.graph) and value == run.stop  # its result: copied, then freed
                if not of_slice and value not in self.outlasting:
                    self.storages.drop(self.of[value], FRAMES_END)
            for state in passing.pop(i, ()):
                self.storages.drop(state, "what might have run again has run")
            for node in self.abandoned_ends.get(i, ()):
                for storage in self.in_vain.pop(node):
                    self.storages.drop(storage, ABANDONED)

    def _let_go(self, i: int, own: list[int]) -> None:
        """Drop what a node keeps, since a second run makes it; a value that is made again holds its own with it."""
        if i + 1 in self.graph.sources:
            from_before = [s for v in self.graph.sources[i + 1] for s in self.lent.get(v, ())]
            self.lent[i + 1] = own + [self.storages.hold(storage) for storage in from_before]
            return
        for storage in own:
            self.storages.drop(storage, "what reads it runs again")

    def run_again(self, rerun: Rerun) -> None:
        """Run a block for the second time, up to the tensor that is saved last."""
        storages = self.storages
        state = self._random_state(rerun, RECOMPUTED) if rerun.is_random else None
        alive, unseen = {}, []
        for i in range(rerun.run.start, rerun.last + 1):
            storages.node = i
            self.held[i] += self._run_node(i, RECOMPUTED, rerun)
            if i in rerun.again:
                alive[i + 1] = self.of[i + 1]
                unseen += self._make_unseen(i, RECOMPUTED)
            for value in self.ends.get(i, ()):
                storages.drop(alive.pop(value, None), FRAMES_END)
        for storage in (*alive.values(), *unseen, state):
            storages.drop(storage, RERUN_ENDS)

    def make_again(self, i: int) -> None:
        """Make the dropped output of a node again, which is held until its last reader has run backward."""
        made = self.storages.new(self.slots.output(i), RECOMPUTED, "output, made again")
        self.storages.passing(self.slots.again(i), "scratch")
        self.held[self.keeping.until[i]].append(made)

    def _random_state(self, rerun: Rerun, category: str) -> int:
        """The storage of a copy of the state of random numbers."""
        return self.storages.new(self.slots.kept(self.keeping.states[rerun.first]), category, RNG_STATE)

    def _run_node(self, i: int, keeping: str, again: Rerun | None = None) -> list[int]:
        """Run one node's forward pass. Returns the storages that it keeps for its own backward, held.

        keeping: the category of what it keeps. again: the rerun that is running.
        """
        node, reads = self.graph.nodes[i], self.graph.reads[i]
        values = self.keeping.values_again if i in self.rerun_of else self.keeping.values
        held = []
        overwritten = self.graph.content[reads[0]] if node.op.result is Result.INPLACE else None
        cloned = overwritten if overwritten in values.get(i, ()) else None
        if cloned is not None:
            # A kept value is about to be overwritten: torch keeps a clone of it.
            held.append(self.storages.new(self.slots.value(cloned), keeping, "a clone of what is overwritten"))
        whole = again is None or i in again.again
        if whole:
            self.of[i + 1] = self._output(i, again)
        for k in self.keeping.extras.get(i, ()):
            operand = self.keeping.kept[k].operand
            held.append(self.storages.new(self.slots.kept(k), keeping, operand))
        scratch = self.slots.forward(i, self.part) if whole else self.slots.stopped(self.reruns.index(again))
        self.storages.passing(scratch, "scratch")
        return held + self._holding(values, i, keeping, cloned)

    def _output(self, i: int, again: Rerun | None) -> int | None:
        """The storage of a node's output."""
        op = self.graph.nodes[i].op
        if op.result in (Result.RESIDENT, Result.GIVEN):
            return None
        if op.result.is_view or op.result is Result.INPLACE:
            return self.storages.hold(self.of[self.graph.reads[i][0]])
        slot = self.slots.storage(i) if op.resizes and not self.part else self.slots.value(i + 1, self.part)
        if again and i == again.last and not op.stock.in_python and i + 1 not in self.keeping.second_run:
            slot = self.slots.stopped(self.reruns.index(again))  # the op stops before it returns the output
        return self.storages.new(slot, LOSS if self._is_loss(i) else ACTIVATIONS, "output")

    def _is_loss(self, i: int) -> bool:
        """Whether a node makes the loss."""
        return self.graph.has_loss and i == len(self.graph) - 1

    def _make_unseen(self, i: int, category: str) -> list[int]:
        """Storages of the extras that hooks do not see: each run makes them for its own autograd node."""
        kept, unseen = self.keeping.kept, self.keeping.unseen.get(i, ())
        return [self.storages.new(self.slots.kept(k), category, kept[k].operand) for k in unseen]

    def _holding(self, values: dict[int, list[int]], i: int, category: str, but: int | None = None) -> list[int]:
        """The storages of the values that a node keeps, held, as of a category. but: a value to leave out."""
        found: Iterable[int | None] = (self.of[value] for value in dict.fromkeys(values.get(i, ())) if value != but)
        return [self.storages.keep(storage, category) for storage in found if storage is not None]
