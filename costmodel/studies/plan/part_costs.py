"""What each part of a network costs by itself, for each choice: the pieces that plans are put together from.

The pieces add up exactly, because parts touch in one value alone. During a part's forward pass there is, beside what
the part itself holds, only what the parts below keep; during its backward pass that, and the gradients of the
parameters above. A part is priced in a graph of its own, between two stand-ins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

from ...conventions import find
from ...errors import CostmodelError
from ...graph.checkpointing import segments
from ...graph.graph import INPUT, Graph, Node
from ...graph.lifetimes import frame_ends
from ...graph.memory_formats import layouts_of
from ...graph.network import Network
from ...graph.op import Op, Result, Work
from ...sizes.size import nbytes, numel
from ...step.estimate import flops
from ...step.events import BACKWARD, FORWARD, UPDATE
from ...step.request import Request
from ...step.walk import broadcast_inputs, memory_of, price, shapes_of, work_of
from ...strategies import STRATEGIES, parts, with_loss
from ...targets.memory_order import Layout, contiguous
from ...targets.setting import Setting


@dataclass(frozen=True, eq=False, repr=False)
class Below(Op):
    """Stands for the parts below: hands on what they make. keeps: their backward reads it too. lies: in memory so."""

    keeps: bool
    lies: Layout
    kind = "below"

    def params(self):
        return {"value": (1,)}

    def shape(self, x):
        return x

    def layout(self, axes, *xs):
        return self.lies

    def needs(self):
        return {"x": (), "value": ("y",) if self.keeps else ()}

    def work(self, y, x):
        return dict.fromkeys(("forward", "x", "value"), Work())


@dataclass(frozen=True, eq=False, repr=False)
class Above(Op):
    """Stands for the parts above, down from the loss. keeps: they keep what they are given. shared: they hand on a
    gradient that is not for this part alone. lies: that gradient does in memory."""

    keeps: bool
    shared: bool
    lies: Layout
    kind = "above"
    is_loss = True

    def hands_over(self, name):
        return not self.shared

    def shape(self, x):
        return ()

    def needs(self):
        return {"x": ("x",) if self.keeps else ()}

    def gradient_layout(self, gradient, y, x):
        return self.lies

    def work(self, y, x):
        return dict.fromkeys(("forward", "x"), Work())


class Context(NamedTuple):
    """What a part's cost depends on beside its own choice.

    demanded: the gradient of what it is given. above, below: the part above keeps what it is given, the one below what
    it hands on.
    """

    demanded: bool
    above: bool
    below: bool


class Summary(NamedTuple):
    """The cost of a part. Bytes, but for the last two.

    saved: made and kept in it, its result left out. forward: its highest level above what the parts below keep, what it
    is given included; backward: above that and the gradients of the parts above (0 where it has no backward pass).
    gradients: of its parameters, which stay; each: of each of them. resident: of optimizer state, buffers and earlier
    gradients.
    """

    saved: int
    forward: int
    backward: int
    gradients: int
    resident: int
    each: Tuple[int, ...]
    keeps_input: bool
    keeps_output: bool
    flops: int
    parameters: int


class Unit(NamedTuple):
    """One part; or all that follows the last block, classifier and loss included, which is costed as one."""

    names: Tuple[str, ...]
    run: range
    options: Tuple[str, ...]  # codes, a letter for each name
    is_block: bool


class Summaries:
    """The summaries of a network's parts for one request; each is found when it is asked for, and once."""

    def __init__(self, network: Network, request: Request, checkpoint: bool = True) -> None:
        self.network, self.request, self.checkpoint = network, request, checkpoint
        self.graph = network.graph
        self.convention = find(request.convention)
        if not self.convention.measurable:
            name = request.convention
            raise CostmodelError(f"convention {name!r} has no peaks of parts to plan with; allowed: torch, lean")
        self.shapes = shapes_of(self.graph, (request.batch, network.channels, request.resolution, request.resolution))
        self.units = self._units()
        self._check_cuts()
        self._found: Dict[tuple, Optional[Summary]] = {}
        self._structures: Dict[Tuple[int, str], tuple] = {}
        self._rewritten: Dict[str, Optional[Graph]] = {}

    # -- the parts and where they touch ---------------------------------------------------------------------

    def _units(self) -> List[Unit]:
        graph, found = self.graph, parts(self.graph)
        if not graph.classifier:
            raise CostmodelError("the network has no classifier to train")
        allowed = None if self.checkpoint else str.islower
        last = max((i for i, part in enumerate(found) if part.is_block), default=-1)
        units = [
            Unit((part.name,), part.run, tuple(filter(allowed, part.choices())), part.is_block)
            for part in found[: last + 1]
        ]
        above = found[last + 1 :]
        start = units[-1].run.stop if units else 0
        options = tuple("".join(code) for code in product(*(part.choices() for part in above)))
        return [*units, Unit(tuple(part.name for part in above), range(start, len(graph)), options, False)]

    def _check_cuts(self) -> None:
        """Raise CostmodelError where a part is given more than the one value that the part below hands on."""
        owners: Dict[str, int] = {}
        for u, unit in enumerate(self.units):
            for i in unit.run:
                node = self.graph.nodes[i]
                for name, v in zip(node.inputs, self.graph.reads[i]):
                    if v < unit.run.start and not (v == 0 and node.op.result is Result.RESIDENT):
                        raise CostmodelError(
                            f"{node.name} reads {name} past {self.graph.nodes[unit.run.start - 1].name}, which alone"
                            " should be handed on there; a plan wants parts that touch in one value"
                        )
                if node.op.params() and owners.setdefault(node.owner, u) != u:
                    raise CostmodelError(f"{node.owner} is used in two parts of the network; a plan wants it in one")

    @cached_property
    def death(self) -> Dict[int, int]:
        """Node after which no call frame holds a value any longer."""
        return {value: i for i, values in frame_ends(with_loss(self.graph)).items() for value in values}

    @cached_property
    def held(self) -> List[int]:
        """For each unit, the last one during whose forward pass a call frame holds what the unit hands on."""
        unit_of = {i: u for u, unit in enumerate(self.units) for i in unit.run}
        top = len(self.units) - 1
        return [min(unit_of.get(self.death[unit.run.stop], top), top) for unit in self.units]

    def boundary_bytes(self, u: int) -> int:
        """Bytes of what unit u hands on; of the images for -1: nothing, they are the caller's."""
        if u < 0:
            return 0
        size = nbytes(numel(self.shapes[self.units[u].run.stop]), self.request.dtype.bits)
        block = self.request.target.block_bytes
        return -(-size // block) * block

    @property
    def loss_bytes(self) -> int:
        """Bytes of the loss, which the caller has."""
        block = self.request.target.block_bytes
        return -(-self.request.dtype.bits // 8 // block) * block

    @property
    def number(self) -> int:
        """Bytes of a Python number in the update."""
        return Setting(self.request.target, self.request.dtype.bits // 8, True, ()).python_number

    @cached_property
    def layouts(self) -> Tuple[Tuple[Layout, ...], Tuple[Layout, ...]]:
        """How each value lies in memory, and its gradient."""
        plain = tuple(contiguous(len(shape)) for shape in self.shapes)
        everything = self._uniform("t")
        if everything is None or self.request.target.channels_last:
            return plain, plain
        graph = with_loss(everything)
        shapes = (*self.shapes, ())
        found = layouts_of(graph, tuple(map(len, shapes)), broadcast_inputs(graph, shapes))
        return found.values, tuple(one or other for one, other in zip(found.gradients, (*plain, contiguous(0))))

    # -- one part --------------------------------------------------------------------------------------------

    def of(self, u: int, code: str, context: Context) -> Optional[Summary]:
        """The summary of unit u with a choice; None where it cannot have it."""
        nodes = self._nodes(u, code)
        if nodes is None:
            return None
        if not self._carries(u):
            context = context._replace(above=False)
        if (u, code) not in self._structures:
            self._structures[u, code] = self._structure(u, nodes)
        key = (self._structures[u, code], code.isupper(), context)
        if key not in self._found:
            try:
                self._found[key] = self._summary(u, nodes, code, context)
            except CostmodelError:
                self._found[key] = None
        return self._found[key]

    def _nodes(self, u: int, code: str) -> Optional[Tuple[Node, ...]]:
        """The unit's nodes with a choice; None where it cannot have it."""
        everywhere = self._uniform(code[:1].lower())
        if everywhere is None or len(code) > 1:
            names = self.units[u].names
            letters = dict(zip(names, code.lower()))
            everywhere = self._rewrite("".join(letters.get(part.name, "f") for part in parts(self.graph)))
        if everywhere is None:
            return None
        run = self.units[u].run
        return everywhere.nodes[run.start : run.stop]

    def _uniform(self, letter: str) -> Optional[Graph]:
        """The graph with one choice for all blocks, and for what is none where it can have it."""
        return self._rewrite("".join(letter if letter in part.choices() else "t" for part in parts(self.graph)))

    def _rewrite(self, code: str) -> Optional[Graph]:
        if code not in self._rewritten:
            try:
                self._rewritten[code] = STRATEGIES["plan"].rewrite(self.graph, code=code)
            except CostmodelError:
                self._rewritten[code] = None
        return self._rewritten[code]

    def _structure(self, u: int, nodes: Tuple[Node, ...]) -> tuple:
        """What tells a unit's cost: equal for blocks that are alike."""
        unit = self.units[u]
        if not unit.is_block:
            return (u, nodes)
        scope, start = unit.names[0], unit.run.start
        number = {node.name: i for i, node in enumerate(nodes)}
        return (
            self.shapes[start] if start else None, self._shared(u), self.layouts[0][start],
            self.layouts[1][unit.run.stop], self.graph.content[unit.run.stop] == unit.run.stop,
            tuple(
                (node.op, node.trains, tuple(v - start for v in reads), node.name[len(scope) :],
                 node.owner[len(scope) :], number.get(node.until))
                for node, reads in zip(nodes, self.graph.reads[start : unit.run.stop])
            ),
        )  # fmt: skip

    def _carries(self, u: int) -> bool:
        """Whether what a unit hands on may carry a mask of its own, so that it matters if the part above keeps it."""
        value = self.graph.content[self.units[u].run.stop]
        return bool(value and self.graph.nodes[value - 1].op.carriers()) if u < len(self.units) - 1 else False

    def _shared(self, u: int) -> bool:
        """Whether the gradient of what a unit hands on may not be overwritten."""
        value = self.units[u].run.stop
        readers = [
            (node.op, name)
            for node, reads in zip(self.graph.nodes, self.graph.reads)
            for name, v in zip(node.op.inputs, reads) if v == value
        ]  # fmt: skip
        return len(readers) != 1 or not all(op.hands_over(name) for op, name in readers)

    def _window(self, u: int, nodes: Tuple[Node, ...], code: str, context: Context) -> Graph:
        """The unit's nodes between the stand-ins."""
        unit, graph = self.units[u], self.graph
        until = self._until(unit, nodes)
        nodes = tuple(replace(node, until=until[node.name]) if node.until else node for node in nodes)
        window: List[Node] = list(nodes)
        if unit.run.start:
            below = graph.nodes[unit.run.start - 1]
            trains: FrozenSet[str] = frozenset({"value"}) if context.demanded else frozenset()
            last = until.get(below.name, "") if below.until else ""
            lies = self.layouts[0][unit.run.start]
            window.insert(0, Node(below.name, Below(context.below, lies), (INPUT,), trains, below.name, last))
        whole = Graph(tuple(window), containers=graph.containers)
        if unit is self.units[-1]:
            whole = with_loss(whole)
        else:
            lies = self.layouts[1][unit.run.stop]
            above = Node("above", Above(context.above, self._shared(u), lies), (nodes[-1].name,))
            whole = replace(whole, nodes=(*whole.nodes, above))
        return replace(whole, blocks=unit.names, checkpointed=unit.names) if code.isupper() else whole

    def _until(self, unit: Unit, nodes: Tuple[Node, ...]) -> Dict[str, str]:
        """Of a traced network: until when each value is held, as far as the unit goes."""
        if not self.graph.is_traced:
            return {}
        names = [node.name for node in self.graph.nodes]
        found = {}
        for v in range(unit.run.start, unit.run.stop + 1):
            if v:
                found[names[v - 1]] = names[min(self.death[v], unit.run.stop - 1)]
        return found

    def _summary(self, u: int, nodes: Tuple[Node, ...], code: str, context: Context) -> Summary:
        unit, request = self.units[u], self.request
        offset = 1 if unit.run.start else 0
        graph = self.convention.lower(self._window(u, nodes, code, context))
        images = self.shapes[unit.run.start]
        shapes = shapes_of(graph, images)
        kept = self.convention.kept(graph)
        _, kept_bytes = price(graph, kept, shapes, request.dtype.bits)
        memory = memory_of(graph, kept, kept_bytes, shapes, request)
        timeline, sizes = memory.timeline, memory.sizes
        mine = range(offset, offset + len(nodes) + (unit is self.units[-1]))
        result = graph.content[offset + len(nodes)]
        first_run = [one for one in kept if one.segment is None]
        readers: Dict[Optional[int], Set[int]] = {one.value: {r.node for r in one.readers} for one in first_run}
        keeps_input = bool(offset) and not readers.get(offset, set()).isdisjoint(mine)
        keeps_output = unit is not self.units[-1] and not readers.get(result, set()).isdisjoint(mine)
        levels = timeline.levels(sizes).tolist()
        highest = {FORWARD: self.boundary_bytes(u - 1), BACKWARD: 0, UPDATE: 0}
        for event, level in zip(timeline.events, levels):
            if event.phase != UPDATE and event.node in mine:
                highest[event.phase] = max(highest[event.phase], level)
        saved = levels[timeline.after_forward - 1] - int(sizes[timeline.layout.value(len(graph))])  # without the loss
        saved -= self.boundary_bytes(u - 1) * (keeps_input or context.below)
        saved -= self.boundary_bytes(u) * (keeps_output or context.above)
        trained = [key for key, (_, trains) in graph.parameters.items() if trains]
        own = [p for p, (owner, _) in enumerate(trained) if not offset or owner != graph.nodes[0].owner]
        gradients = [int(sizes[timeline.layout.parameter(p)]) for p in own]
        elements = sum(numel(graph.parameters[trained[p]][0]) for p in own)
        item, accumulated = request.dtype.bits // 8, request.accumulate > 1
        resident = request.optimizer.state_bytes(elements, len(own), 8 * item) + item * elements * accumulated
        resident += sum(nbytes(numel(extra.shape), extra.bits or 8 * item) for extra in graph.buffers.values())
        work = flops(work_of(graph, shapes, segments(graph))[offset : offset + len(nodes)])
        return Summary(saved, highest[FORWARD], highest[BACKWARD], sum(gradients) * (not accumulated), resident,
                       tuple(gradients), keeps_input, keeps_output, work["total"], elements)  # fmt: skip
