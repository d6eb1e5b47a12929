"""Where nodes of a graph run: in which part, and in which second run of a block."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..graph.checkpointing import rerun_of, reruns
from ..graph.dropping import level_of, part_numbers
from ..graph.graph import Graph
from ..graph.recompute import NOTHING
from ..ops.conv import Conv2d
from ..ops.stand_ins import Above


class Runs:
    """Where the nodes of a lean graph run. graph: before it is lowered.

    Parts count where units keep to them; elsewhere all is one.
    """

    def __init__(self, graph: Graph, plain: Graph) -> None:
        self.graph, self.plain = graph, plain
        self.rerun = rerun_of(plain)
        self.given = {v for rerun in reruns(plain) for v in rerun.inputs}  # contents that second runs keep
        self.part = part_numbers(graph)

    def one_part(self, i: int, n: int) -> bool:
        """Whether two nodes are in one part."""
        return self.part.get(i) == self.part.get(n)

    def together(self, i: int, n: int) -> bool:
        """Whether two nodes are in one part, and in the same second run or in none."""
        return self.one_part(i, n) and self.rerun.get(i) == self.rerun.get(n)

    def same(self, maps: Iterable[int], nodes: Collection[int]) -> bool:
        """Whether all nodes are in the same second run, or in none, and no run is given the maps.

        maps: the values that are made again.
        """
        one = len({self.rerun.get(n) for n in nodes}) == 1
        return one and self.given.isdisjoint(self.plain.content[v] for v in maps)

    def in_reach(self, makers: Collection[int], readers: Collection[int], across: bool = False) -> bool:
        """Whether what some nodes make can be made again by its readers: all are in one part.

        across: or all readers in the next one, if they are convolutions.
        """
        if not self.part or len({self.part[n] for n in (*makers, *readers)}) == 1:
            return True
        places, last = {self.part[n] for n in makers}, {self.part[n] for n in readers}
        convolve = all(
            isinstance(self.plain.nodes[n].op, (Conv2d, Above)) and level_of(self.graph, n) != NOTHING for n in readers
        )
        return across and convolve and len(places) == 1 and last == {max(places) + 1}
