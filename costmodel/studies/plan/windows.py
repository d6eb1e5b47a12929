"""The graph in which a part of a network is priced by itself: its nodes, between stand-ins for the parts around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from ...graph.graph import INPUT, Graph, Node
from ...graph.lifetimes import frame_ends
from ...graph.memory_formats import layouts_of, plain
from ...graph.recompute import WITHIN_PARTS, Terms
from ...ops.stand_ins import Above, Below
from ...sizes.size import Shape
from ...step.request import Request
from ...step.shapes import broadcast_inputs, shapes_of
from ...strategies import CHOICES, in_parts_where_masks_train, is_checkpointed, with_loss
from ...targets.memory_order import MemoryOrder, contiguous


class Neighbours(NamedTuple):
    """The properties of its neighbours on which a part's cost depends.

    demanded: whether something below trains, and so needs the gradient of the part's input. above_keeps: whether the
    part above saves its input. below_keeps: whether the part below saves its output. above_makes_again: whether the
    part above makes its input again, if this part keeps what that is made of, and saves it else. given: what the part's
    input can be made again of, in its own backward pass, since the part below keeps that; None if it is not.
    """

    demanded: bool
    above_keeps: bool
    below_keeps: bool
    above_makes_again: bool = False
    given: Terms | None = None


#: The neighbours of a part if nothing trains below it, and neither neighbour saves the value that they share.
ALONE = Neighbours(demanded=False, above_keeps=False, below_keeps=False)


class Unit(NamedTuple):
    """What is priced as one: a single part, or all parts after the last block, with the classifier and the loss.

    names: of its parts. run: its nodes. codes: its possible choices, with a letter for each name.
    """

    names: tuple[str, ...]
    run: range
    codes: tuple[str, ...]
    is_block: bool


class Windows:
    """Makes the windows: graphs of single units.

    graph: the whole network's, without a loss. shapes: of its values. full: gives it with all parts trained, None if
    that is impossible.
    """

    def __init__(
        self, graph: Graph, request: Request, shapes: tuple[Shape, ...], full: Callable[[], Graph | None]
    ) -> None:
        self.graph, self.request, self.shapes, self.full = graph, request, shapes, full

    @cached_property
    def death(self) -> dict[int, int]:
        """For each value, the node after which no call frame holds it any more."""
        ends = frame_ends(with_loss(self.graph, self.request.loss))
        return {value: i for i, values in ends.items() for value in values}

    @cached_property
    def layouts(self) -> tuple[tuple[MemoryOrder, ...], tuple[MemoryOrder, ...]]:
        """The memory order of each value, and the memory order of its gradient."""
        channels_last = self.request.target.channels_last
        usual = tuple(plain(len(shape), channels_last) for shape in self.shapes)
        everything = self.full()
        if everything is None:
            return usual, usual
        graph = with_loss(everything, self.request.loss)
        shapes = shapes_of(graph, self.shapes[0])
        found = layouts_of(graph, tuple(map(len, shapes)), broadcast_inputs(graph, shapes), channels_last)
        others = (*usual, *(contiguous(len(shape)) for shape in shapes[len(usual) :]))
        return found.values, tuple(one or other for one, other in zip(found.gradients, others))

    def is_top(self, unit: Unit) -> bool:
        """Whether a unit ends with the network."""
        return unit.run.stop == len(self.graph)

    def shared(self, value: int) -> bool:
        """Whether the gradient of a unit's output may alias another gradient, and so must not be overwritten."""
        readers = [
            (node.op, name)
            for node, reads in zip(self.graph.nodes, self.graph.reads)
            for name, v in zip(node.op.inputs, reads) if v == value
        ]  # fmt: skip
        return len(readers) != 1 or not all(op.hands_over(name) for op, name in readers)

    @cached_property
    def added_up(self) -> frozenset[int]:
        """The values whose gradient is the sum of several, if all parts train."""
        everything = self.full() or self.graph
        demanding = Counter(
            v
            for node, reads, demanded in zip(everything.nodes, everything.reads, everything.demanded)
            for name, v in zip(node.op.inputs, reads) if name in demanded
        )  # fmt: skip
        return frozenset(v for v, several in demanding.items() if several > 1)

    def of(self, unit: Unit, nodes: tuple[Node, ...], code: str, around: Neighbours) -> Graph:
        """A graph of the unit's nodes between its stand-ins."""
        graph, is_top = self.graph, self.is_top(unit)
        until = self._until(unit, nodes)
        nodes = tuple(replace(node, until=until[node.name]) if node.until else node for node in nodes)
        window: list[Node] = list(nodes)
        if unit.run.start:
            below = graph.nodes[unit.run.start - 1]
            trains: frozenset[str] = frozenset({"value"}) if around.demanded else frozenset()
            last = until.get(below.name, "") if below.until else ""
            lies = self.layouts[0][unit.run.start]
            window.insert(
                0, Node(below.name, Below(around.below_keeps, lies, around.given), (INPUT,), trains, below.name, last)
            )
        classifier = graph.classifier if is_top else ""
        blocks = () if unit.is_block else tuple(name for name in unit.names if name in graph.blocks)
        own = tuple((unit.names[0], level) for level in {CHOICES[code[0].lower()].recompute} - {""})
        whole = Graph(
            tuple(window),
            blocks,
            classifier,
            graph.containers,
            registered=graph.registered,
            recompute=WITHIN_PARTS,
            recompute_in=own,
            input_bits=graph.input_bits,
        )
        whole = in_parts_where_masks_train(whole)
        if is_top:
            whole = with_loss(replace(whole, loss=graph.loss), self.request.loss)
        else:
            lies = self.layouts[1][unit.run.stop]
            shared = self.shared(unit.run.stop)
            reads = Above(around.above_keeps, shared, lies, around.above_makes_again, unit.run.stop in self.added_up)
            above = Node("above", reads, (nodes[-1].name,))
            whole = replace(whole, nodes=(*whole.nodes, above), loss=above.name)
        return replace(whole, blocks=unit.names, checkpointed=unit.names) if is_checkpointed(code) else whole

    def _until(self, unit: Unit, nodes: tuple[Node, ...]) -> dict[str, str]:
        """For each value of the unit, the last node in it that holds the value, by name; empty if it is not traced."""
        if not self.graph.is_traced:
            return {}
        names = [node.name for node in self.graph.nodes]
        found = {}
        for v in range(unit.run.start, unit.run.stop + 1):
            if v:
                found[names[v - 1]] = names[min(self.death[v], unit.run.stop - 1)]
        return found
