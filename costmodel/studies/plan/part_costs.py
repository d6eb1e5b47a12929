"""The cost of each part of a network by itself, for each choice. Plans are put together from these costs.

Part costs add up exactly, because two parts share only a single value. During a part's forward pass, memory holds the
part's own tensors and those that the parts below keep; during its backward pass, the gradients of the parameters above
as well. Each part is priced in a graph of its own, between two stand-ins.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np

from ...conventions import find
from ...devices.pace import Pace
from ...errors import CostmodelError
from ...graph.checkpointing import reruns
from ...graph.graph import Graph, Node
from ...graph.inputs import at_resolution
from ...graph.network import Network
from ...graph.op import Result
from ...graph.recompute import MIXED, NOTHING, Terms
from ...ops.conv import Conv2d
from ...ops.norm import BatchNorm, GroupNorm
from ...ops.remade import READS_INPUT, done_by_norms
from ...ops.stand_ins import Above
from ...sizes.size import nbytes, numel
from ...step.arithmetic import flops
from ...step.events import BACKWARD, FORWARD, UPDATE
from ...step.memory import memory_of
from ...step.passes import passes_of, update_of
from ...step.request import Request
from ...step.resident import resident
from ...step.seconds import step_nanoseconds
from ...step.shapes import shapes_of, stored
from ...step.update import numbers_of
from ...step.walk import in_its_formats, price, work_of
from ...strategies import CHOICES, FROZEN, FULL, PLAN, STRATEGIES, is_checkpointed, parts, with_loss
from .windows import ALONE, Neighbours, Unit, Windows


class PartCost(NamedTuple):
    """The cost of a part by itself. The first eight are bytes.

    saved: tensors made in the part and kept for its backward pass, without its output. forward: the highest level of
    its forward pass above what the parts below keep, input included. backward: the highest level of its backward pass,
    above what the parts below keep and the gradients of the parts above; 0 if it has no backward pass. gradients: the
    gradients of its parameters that stay until the update. update: the highest level of their update above the level
    before it. first, last: the gradients of the parameters that are updated first and last, of all where these are
    updated together, 0 if none trains. resident: optimizer state, buffers and earlier gradients. keeps_input,
    keeps_output: whether it saves its input and its output. makes_input: whether it makes its input again, of what the
    part below keeps. gives: what the part above makes this part's output again of; None if it does not. work: of a
    step's micro-steps and its update, in FLOPs or nanoseconds (PartCosts.pace). parameters: number of those that train.
    """

    saved: int
    forward: int
    backward: int
    gradients: int
    update: int
    first: int
    last: int
    resident: int
    keeps_input: bool
    keeps_output: bool
    makes_input: bool
    gives: Terms | None
    work: int
    parameters: int


def refuse_other_order(network: Network, request: Request) -> None:
    """Raise CostmodelError where parts are not updated in their order, and tensors of one update outlive it."""
    graph, part_of = network.graph, dict[tuple[str, str], int]()
    for number, (_, run) in enumerate(graph.parts):
        for node in graph.nodes[run.start : run.stop]:
            for name in node.op.params():
                part_of.setdefault((node.owner, name), number)
    numbers = [part_of[key] for key in graph.parameters if key in part_of]
    turn = next((p for p in range(1, len(numbers)) if numbers[p] < numbers[p - 1]), None)
    if turn is None or request.update.together or not request.update.overlaps:
        return
    later, sooner = (graph.parts[numbers[p]][0] for p in (turn, turn - 1))
    optimizer = request.optimizer.name
    raise CostmodelError(
        f"{network.name} lists the parameters of {sooner!r} before those of {later!r}, which runs first, and"
        f" {optimizer} still holds a tensor of one parameter when it updates the next; allowed: {optimizer},foreach or"
        f" {optimizer},in_place, or an optimizer that holds none (sgd)"
    )


class PartCosts:
    """The costs of a network's parts for one request. Each is computed when first needed, and then remembered.

    checkpoint: whether parts, or convolutions in them, may run again in the backward pass. pace: of a device, where the
    work of a part is its nanoseconds there, and not its FLOPs. forms: names of forms that blocks may be in. Raises
    CostmodelError if the convention has no peaks of parts, or if the network's parts share more than one value.
    """

    def __init__(
        self, network: Network, request: Request, checkpoint: bool = True, pace: Pace | None = None,
        forms: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.network, self.request, self.checkpoint, self.pace = network, request, checkpoint, pace
        self.forms = forms
        self.graph = network.graph
        self.convention = find(request.convention)
        if not self.convention.measurable:
            name = request.convention
            raise CostmodelError(f"convention {name!r} has no peaks of parts to plan with; allowed: torch, lean")
        images = at_resolution(network.inputs[0].shape, request.resolution)
        self.shapes = shapes_of(self.graph, (request.batch, *images))
        self.units = self._units()
        self._check_cuts()
        self.windows = Windows(self.graph, request, self.shapes, lambda: self._uniform(FULL.letter))
        self._found: dict[tuple, PartCost | None] = {}
        self._frozen: dict[int, PartCost] = {}
        self._structures: dict[tuple[int, str], tuple] = {}
        self._across: dict[tuple[int, str], tuple[bool, bool]] = {}
        self._rewritten: dict[str, Graph | None] = {}
        self._uniform_codes: dict[str, str] = {}

    # -- the parts and where they touch ---------------------------------------------------------------------

    def _units(self) -> list[Unit]:
        graph, found = self.graph, parts(self.graph)
        if not graph.classifier:
            raise CostmodelError("the network has no classifier to train")
        last = max((i for i, part in enumerate(found) if part.is_block), default=-1)
        units = [
            Unit((part.name,), part.run, tuple(filter(self._is_allowed, part.choices(self.forms))), part.is_block)
            for part in found[: last + 1]
        ]
        above = found[last + 1 :]
        start = units[-1].run.stop if units else 0
        codes = tuple("".join(code) for code in product(*(part.choices() for part in above)))
        return [*units, Unit(tuple(part.name for part in above), range(start, len(graph)), codes, False)]

    def _is_allowed(self, letter: str) -> bool:
        """Whether a letter is allowed. Stock modules make nothing again, so that some letters are the same."""
        choice = CHOICES[letter.lower()]
        runs_again = is_checkpointed(letter) or choice.recompute == MIXED
        return (self.checkpoint or not runs_again) and (self.convention.makes_again or not choice.recompute)

    def _check_cuts(self) -> None:
        """Raise CostmodelError if a unit reads more than the output of the one below, or units share parameters."""
        owners: dict[str, int] = {}
        for u, unit in enumerate(self.units):
            for i in unit.run:
                node = self.graph.nodes[i]
                for name, v in zip(node.inputs, self.graph.reads[i]):
                    there = node.op.result in (Result.RESIDENT, Result.GIVEN)
                    if v < unit.run.start and not (v == 0 and there):
                        raise CostmodelError(
                            f"{node.name} reads {name}, which passes {self.graph.nodes[unit.run.start - 1].name} by; a"
                            " plan wants parts in a chain, each of which reads the one below alone; allowed: other"
                            " blocks (--blocks-are), or --strategy blocks:K with costmodel compare"
                        )
                if node.op.params() and owners.setdefault(node.owner, u) != u:
                    raise CostmodelError(f"{node.owner} is used in two parts of the network; a plan wants it in one")

    @cached_property
    def held_until(self) -> list[int]:
        """For each unit, the last unit during whose forward pass a call frame still holds the unit's output."""
        unit_of = {i: u for u, unit in enumerate(self.units) for i in unit.run}
        top = len(self.units) - 1
        return [min(unit_of.get(self.windows.death[unit.run.stop], top), top) for unit in self.units]

    def boundary_bytes(self, u: int) -> int:
        """Bytes of the output of unit u; 0 for the images (u is -1), which the caller holds."""
        return self._value_bytes(self.units[u].run.stop) if u >= 0 else 0

    def _value_bytes(self, value: int) -> int:
        """Bytes of a value; 0 for the images."""
        size = nbytes(numel(self.shapes[value]), self.request.dtype.bits) if value else 0
        return self.request.target.rounded(size)

    @cached_property
    def loss_bytes(self) -> int:
        """Bytes of the loss, which the caller holds until the step ends."""
        graph = with_loss(self.graph, self.request.loss)
        elements = numel(stored(graph, shapes_of(graph, self.shapes[0]), len(graph)))
        return self.request.target.rounded(nbytes(elements, self.request.dtype.bits))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Bytes of the numbers that the update uses."""
        return numbers_of(self.request.target, self.request.dtype.bits // 8)

    # -- one part --------------------------------------------------------------------------------------------

    def of(self, u: int, code: str, around: Neighbours) -> PartCost | None:
        """The cost of unit u with the choice `code` and these neighbours; None if the choice is impossible."""
        nodes = self._nodes(u, code)
        if nodes is None:
            return None
        if (u, code) not in self._structures:
            self._structures[u, code] = self._structure(u, nodes)
            self._across[u, code] = self._may_reach_across(nodes, code)
        makes_input, gives = self._across[u, code]
        if not makes_input:
            around = around._replace(given=None)
        if not gives:  # then what is above keeps what it would make again
            keeps = around.above_keeps or around.above_makes_again
            around = around._replace(above_keeps=keeps, above_makes_again=False)
        if not self._carries(u):
            around = around._replace(above_keeps=False)
        key = (self._structures[u, code], is_checkpointed(code), around, CHOICES[code[0].lower()].recompute)
        if key not in self._found:
            try:
                self._found[key] = self._cost(self.units[u], nodes, code, around)
            except CostmodelError:
                self._found[key] = None
        return self._found[key]

    def frozen(self, u: int) -> PartCost:
        """The cost of all units up to unit u, frozen, as one: how maps lie depends on where what trains begins."""
        if u not in self._frozen:
            letter, run = FROZEN.letter, range(self.units[u].run.stop)
            everywhere = self._uniform(letter)
            assert everywhere is not None, "all parts may be frozen"
            names = tuple(name for unit in self.units[: u + 1] for name in unit.names)
            below = Unit(names, run, (letter,), False)
            self._frozen[u] = self._cost(below, everywhere.nodes[: run.stop], letter, ALONE)
        return self._frozen[u]

    def _nodes(self, u: int, code: str) -> tuple[Node, ...] | None:
        """The unit's nodes, rewritten for a choice; None if the choice is impossible."""
        everywhere = self._uniform(code[:1].lower())
        if everywhere is None or len(code) > 1:
            names = self.units[u].names
            letters = dict(zip(names, code.lower()))
            everywhere = self._rewrite("".join(letters.get(part.name, FROZEN.letter) for part in parts(self.graph)))
        if everywhere is None:
            return None
        run = self.units[u].run
        return everywhere.nodes[run.start : run.stop]

    def _uniform(self, letter: str) -> Graph | None:
        """The graph with one choice for every part; a part for which it is impossible trains fully."""
        if letter not in self._uniform_codes:
            letters = [letter if letter in part.choices(self.forms) else FULL.letter for part in parts(self.graph)]
            self._uniform_codes[letter] = "".join(letters)
        return self._rewrite(self._uniform_codes[letter])

    def _rewrite(self, code: str) -> Graph | None:
        if code not in self._rewritten:
            try:
                self._rewritten[code] = STRATEGIES[PLAN].rewrite(self.graph, code=code)
            except CostmodelError:
                self._rewritten[code] = None
        return self._rewritten[code]

    def _structure(self, u: int, nodes: tuple[Node, ...]) -> tuple:
        """Everything on which a unit's cost depends, except its neighbours: equal for blocks that are alike."""
        unit = self.units[u]
        if not unit.is_block:
            return (u, nodes)
        scope, start = unit.names[0], unit.run.start
        number = {node.name: i for i, node in enumerate(nodes)}
        return (
            self.shapes[start] if start else None,
            self.windows.shared(unit.run.stop),
            self.windows.layouts[0][start],
            self.windows.layouts[1][unit.run.stop],
            self.graph.content[unit.run.stop] == unit.run.stop,
            tuple(
                (
                    node.op,
                    node.trains,
                    tuple(v - start for v in reads),
                    node.name[len(scope) :],
                    node.owner[len(scope) :],
                    number.get(node.until),
                )
                for node, reads in zip(nodes, self.graph.reads[start : unit.run.stop])
            ),
        )

    def _may_reach_across(self, nodes: tuple[Node, ...], code: str) -> tuple[bool, bool]:
        """Whether a unit may make its input again, and whether its output may be made again by the unit above.

        What certainly does not is told here, without a window.
        """
        first, last = (CHOICES[letter.lower()] for letter in (code[0], code[-1]))
        if not self.convention.makes_again or NOTHING in (first.recompute, last.recompute) or is_checkpointed(code):
            return False, False
        convolves = any(isinstance(node.op, Conv2d) and "weight" in node.trains for node in nodes)
        norms = [node for node in nodes if isinstance(node.op, (BatchNorm, GroupNorm))]
        keep = any("weight" in node.trains or getattr(node.op, "statistics", "") == "batch" for node in norms)
        # Where a derivative reads the norm's result, units keep the norm's input though its shift alone trains.
        reads = any(READS_INPUT.get(done_by_norms(node.op)) for node in nodes)
        return convolves, keep or reads and any(node.trains for node in norms)

    def _carries(self, u: int) -> bool:
        """Whether a unit's output may carry a mask; its cost then depends on whether the part above saves it."""
        value = self.graph.content[self.units[u].run.stop]
        return bool(value and self.graph.nodes[value - 1].op.carriers()) if u < len(self.units) - 1 else False

    def _cost(self, unit: Unit, nodes: tuple[Node, ...], code: str, around: Neighbours) -> PartCost:
        request, is_top = self.request, self.windows.is_top(unit)
        below, above = self._value_bytes(unit.run.start), self._value_bytes(unit.run.stop)
        offset = 1 if unit.run.start else 0
        graph = in_its_formats(self.convention.lower(self.windows.of(unit, nodes, code, around)), request)
        images = self.shapes[unit.run.start]
        shapes = shapes_of(graph, images)
        kept = self.convention.kept(graph)
        _, kept_bytes = price(graph, kept, shapes, request.dtype.bits)
        memory = memory_of(graph, kept, kept_bytes, shapes, request)
        timeline, sizes = memory.timeline, memory.sizes
        assert isinstance(sizes, np.ndarray)
        end = len(graph) - (not is_top)  # without the stand-in above
        reads_output = None if is_top else graph.nodes[end].op
        mine, result = range(offset, end), graph.content[end]
        first_run = [one for one in kept if one.is_saved]
        readers: dict[int | None, set[int]] = {one.value: {r.node for r in one.readers} for one in first_run}
        keeps_input = bool(offset) and not readers.get(offset, set()).isdisjoint(mine)
        keeps_output = not is_top and not readers.get(result, set()).isdisjoint(mine)
        above_keeps = end in readers.get(result, set())
        levels = timeline.levels(sizes).tolist()
        highest = {FORWARD: below, BACKWARD: 0, UPDATE: 0}
        for event, level in zip(timeline.events, levels):
            if event.phase != UPDATE and event.node in mine:
                highest[event.phase] = max(highest[event.phase], level)
        saved = levels[timeline.after_forward - 1] - int(
            sizes[timeline.slots.output(len(graph) - 1)]
        )  # without the loss
        saved -= below * (keeps_input or around.below_keeps)
        saved -= above * (keeps_output or above_keeps)
        trained = [key for key, (_, trains) in graph.parameters.items() if trains]
        own = [p for p, (owner, _) in enumerate(trained) if not offset or owner != graph.nodes[0].owner]
        stay = [] if request.update.at_once else own  # until the update
        gradients = [int(sizes[timeline.slots.parameter(p)]) for p in stay]
        parameters = [graph.parameters[trained[p]] for p in own]
        stays = resident(parameters, graph.buffers.values(), request)
        turns = [sum(turn) for turn in request.update.turns(gradients)]
        numbers = sum(numel(shape) for shape, _ in parameters)
        if self.pace is None:
            work = request.accumulate * flops(work_of(graph, shapes, reruns(graph))[offset:end])["total"]
        else:
            passes = [one for one in passes_of(graph, shapes, request) if one.node in mine]
            work = step_nanoseconds([*passes, *update_of(numbers, request)], self.pace, request.accumulate)
        return PartCost(
            saved=saved,
            forward=highest[FORWARD],
            backward=highest[BACKWARD],
            gradients=sum(gradients) * (not stays.accumulates),
            update=request.update.peak(turns, self.numbers),
            first=turns[0] if turns else 0,
            last=turns[-1] if turns else 0,
            resident=stays.beside_parameters,
            keeps_input=keeps_input,
            keeps_output=keeps_output,
            makes_input=bool(offset) and graph.content[offset] in graph.roots,
            gives=reads_output.terms if isinstance(reads_output, Above) else None,
            work=work,
            parameters=numbers,
        )
