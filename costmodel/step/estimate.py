"""The result: numbers with their reasons. Every total is a sum over rows, so parts always add up to the total."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..conventions import CONVENTIONS, Kept
from ..errors import CostmodelError
from ..escapes import visible
from ..graph.checkpointing import GIVEN, RNG_STATE
from ..graph.graph import INPUT, Graph, Node
from ..graph.inputs import Inputs
from ..sizes.size import Shape, Size
from .arithmetic import NodeWork, flops
from .asked import Asked
from .certainty import CHECKED, NOT_MODELLED, PROBED, RULE, Certainty
from .events import UPDATE, Event
from .kernels import in_words, in_words_of_unconfirmed, in_words_of_unknown, is_probed, without_rule
from .memo import Formulas
from .passes import Pass, passes_of
from .peak import Grid, peak_of
from .process.environment import environment
from .process.memory import process_memory
from .request import Request
from .resident import Resident, inputs_bytes, resident, targets_bytes
from .seconds import StepTime, device_record, time_of
from .timeline import Timeline


class Memory(NamedTuple):
    """The timeline of a step, and the bytes in each of its slots."""

    timeline: Timeline
    sizes: np.ndarray | Grid  # a Grid if the batch is a line


class Row(NamedTuple):
    """One tensor that is kept for the backward pass.

    part, node: the part and the node that keep it first; tensor: its name at that node.
    needed: whether the formula of a demanded gradient reads it; if not, only the implementation keeps it.
    readers: (node, gradients whose formulas read the tensor). remade: nodes whose results are made again from it.
    """

    part: str
    node: str
    tensor: str
    shape: Shape
    saved_bytes: Size
    needed: bool
    readers: tuple[tuple[str, tuple[str, ...]], ...]
    remade: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(Asked):
    """The cost of one training step of a network under a strategy, counted by a convention.

    Bytes and FLOPs are exact integers. `to_dict()` returns the JSON that the CLI prints.
    """

    network: str
    request: Request
    graph: Graph
    inputs: Inputs
    shapes: tuple[Shape, ...]  # of each value
    kept: tuple[Kept, ...]
    kept_shapes: tuple[Shape, ...]
    kept_bytes: tuple[Size, ...]
    find_work: Callable[[], tuple[NodeWork, ...]]
    find_memory: Callable[[], Memory] | None  # None under a convention that has no timeline
    find_own_memory: Callable[[], dict[str, Size]] | None  # entries of `memory_bytes` by a paper's own arithmetic
    said: tuple[str, ...]  # sentences for people, from the network and the strategy
    formulas: Formulas = Formulas()
    degrees: Certainty = Certainty()  # how certain each figure is, kernels left out of account

    @cached_property
    def without_rule(self) -> dict[Node, Any]:
        """The nodes whose kernels allocate what no rule tells -> where in a grid of sizes."""
        return without_rule(self.graph, self.shapes, self.request) if self.find_memory else {}

    @property
    def unmodelled(self) -> tuple[Node, ...]:
        """The nodes whose kernels allocate what no rule tells: the step's peak is at least `step_peak_bytes`."""
        return tuple(self.without_rule)

    @property
    def certainty(self) -> Certainty:
        """How certain each figure is."""
        target = self.request.target
        if self.degrees.step_peak not in (CHECKED, RULE) or not self.find_memory:
            return self.degrees
        probed = is_probed(self.graph, self.shapes, self.request)
        peak = NOT_MODELLED if self.unmodelled else PROBED if probed else self.degrees.step_peak
        found = self.degrees._replace(step_peak=peak)
        return found if target.is_confirmed else found._replace(saved=peak, tensor_peak=peak)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for people."""
        if not self.request.target.is_modelled and self.find_memory:
            return (*self.said, in_words_of_unknown(self.request.target))
        if not (self.request.target.is_confirmed or self.request.target.is_probed) and self.find_memory:
            return (*self.said, *in_words_of_unconfirmed(self.request.target, self.graph.nodes))
        return (*self.said, in_words(self.unmodelled)) if self.unmodelled else self.said

    @cached_property
    def work(self) -> tuple[NodeWork, ...]:
        """The arithmetic of each node."""
        return self.find_work()

    @cached_property
    def memory(self) -> Memory | None:
        """The timeline of the step and its sizes; None under a convention without a timeline."""
        try:
            return self.find_memory() if self.find_memory else None
        except CostmodelError as error:  # too many bytes
            raise CostmodelError(f"{self.network}, {self.strategy}, batch {self.batch}: {error}") from None

    @property
    def timeline(self) -> Timeline:
        """The timeline of `memory`. Raises CostmodelError where there is none."""
        return priced(self).timeline

    @property
    def slot_sizes(self) -> np.ndarray:
        """The sizes of `memory`, where the batch is no line."""
        sizes = priced(self).sizes
        assert isinstance(sizes, np.ndarray)
        return sizes

    @cached_property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.graph.count_parameters()

    @cached_property
    def trainable_parameters(self) -> int:
        """Number of parameters that train."""
        return self.graph.count_parameters(trained=True)

    @cached_property
    def trained_blocks(self) -> int:
        """Number of blocks in which something trains."""
        return len({self.graph.block_of(node) for node in self.graph.nodes if node.trains} - {None})

    @property
    def saved_bytes(self) -> Size:
        """Bytes of the distinct storages kept for the backward pass."""
        return sum(self.kept_bytes)

    @cached_property
    def memory_bytes(self) -> dict[str, Size]:
        """`memory_bytes` of the JSON, in bytes. Without a timeline the peaks are a paper's own, or None."""
        resident = self.resident
        memory: dict[str, Size] = {
            "parameters": resident.parameters,
            "buffers": resident.buffers,
            "gradients": resident.gradients,
            "optimizer": resident.optimizer,
            "input": inputs_bytes(self.shapes[0], self.inputs, self.request),
            "saved": self.saved_bytes,
            "step_peak": None,
            "peak": None,
        }
        if self.memory is not None:
            memory["step_peak"] = self.step_peak_bytes
            memory["peak"] = self.resident_bytes + self.step_peak_bytes
        return {**memory, **self.find_own_memory()} if self.find_own_memory else memory

    @cached_property
    def resident(self) -> Resident:
        """Bytes of the parameters and of what stays with them from step to step."""
        return resident(self.graph.parameters.values(), self.graph.buffers.values(), self.request)

    @property
    def resident_bytes(self) -> Size:
        """Bytes before the step: parameters, buffers, optimizer state, inputs, targets, earlier gradients."""
        given = inputs_bytes(self.shapes[0], self.inputs, self.request)
        given += targets_bytes(self.graph, self.shapes, self.request)
        return self.resident.parameters + self.resident.beside_parameters + given

    @cached_property
    def levels(self) -> np.ndarray:
        """Allocated bytes above the level before the step, after each event of the timeline."""
        return self.timeline.levels(self.slot_sizes)

    @cached_property
    def step_peak_bytes(self) -> Size:
        """Peak bytes above the level before the step."""
        return peak_of(*priced(self))

    @property
    def left_bytes(self) -> int:
        """Bytes that the step leaves: gradients and the loss, or without training the logits."""
        return int(self.levels[-1])

    @property
    def peak_bytes(self) -> Size:
        """Peak bytes: what is resident before the step, plus the peak above it."""
        return self.memory_bytes["peak"]

    @property
    def process_bytes(self) -> int:
        """Bytes that a process is expected to take, at most, which makes six such steps with glibc's heap as it is.

        Python and torch are measured by a process of some seconds, the first time that anybody asks. Raises
        CostmodelError where there is no such process. `studies/needs.py` has its bounds and parts.
        """
        return process_memory(self, environment(False, self.request.target.threads)).expected

    @cached_property
    def peak_event(self) -> Event:
        """The event that reaches the peak."""
        return self.timeline.events[int(self.levels.argmax())]

    @property
    def peak_at(self) -> dict[str, str]:
        """Phase and node of the peak."""
        event = self.peak_event
        return {"phase": event.phase, "node": self.node_name(event)}

    def node_name(self, event: Event) -> str:
        """Name of an event's node, or in the update of its parameter."""
        if event.phase == UPDATE:
            trained = [key for key, (_, trains) in self.graph.parameters.items() if trains]
            return ".".join(trained[event.node])
        return self.graph.nodes[event.node].name

    @cached_property
    def at_peak(self) -> dict[str, int]:
        """Bytes by category at the peak; they add up to `step_peak_bytes`."""
        live: dict[str, int] = {}
        timeline, sizes = self.timeline, self.slot_sizes
        for event in timeline.events[: int(self.levels.argmax()) + 1]:
            size = event.sign * int(sizes[event.slot])
            live[event.category] = live.get(event.category, 0) + size
        return {category: size for category, size in live.items() if size}

    @cached_property
    def flops(self) -> dict[str, Size]:
        """`flops` of the JSON: matrix work at 2 per multiply-add, elementwise work under its own keys."""
        return flops(self.work)

    @cached_property
    def passes(self) -> list[Pass]:
        """The passes over maps of which the step's time is the sum."""
        return passes_of(self.graph, self.shapes, self.request, self.formulas)

    @cached_property
    def time(self) -> StepTime | None:
        """The step's time on the request's device, pass by pass; None without a device, or where nothing is known."""
        device, pace = self.request.device, self.request.pace
        return None if device is None or pace is None else time_of(self.passes, device, pace)

    @property
    def seconds(self) -> float | None:
        """Seconds of the step on the request's device; None without one that was calibrated: see `time`."""
        return self.time.step if self.time is not None else None

    @cached_property
    def rows(self) -> list[Row]:
        """One row per kept tensor, in the order in which the tensors are first kept."""
        part = {i: name for name, run in self.graph.parts for i in run}
        nodes = self.graph.nodes
        rows = []
        for kept, shape, size in zip(self.kept, self.kept_shapes, self.kept_bytes):
            needed = kept.operand in (GIVEN, RNG_STATE) or any(
                read.operand in nodes[read.node].op.needs()[gradient]
                for read in kept.readers
                for gradient in self.graph.demanded[read.node]
            )
            readers = tuple((nodes[read.node].name, read.gradients) for read in kept.readers)
            again = tuple(nodes[v - 1].name for v, roots in self.graph.roots.items() if kept.value in roots)
            name = nodes[kept.node].name
            rows.append(Row(part[kept.node], name, kept.operand, shape, size, needed, readers, again))
        return rows

    @cached_property
    def blocks(self) -> list[dict[str, Any]]:
        """`blocks` of the JSON: stem, every block, head, classifier and loss, in order."""
        own = own_of(self)
        return [{"name": name, **self.group(run, own)} for name, run in self.graph.parts]

    @cached_property
    def layers(self) -> list[dict[str, Any]]:
        """The keys of `blocks` for every node, autocast's casts for it included, with its op and its FLOPs by kind.

        made_again_of: the layers, or the input, whose results are kept so that its own result can be made again.
        """
        found, own, graph = [], own_of(self), self.graph
        names = [INPUT, *(node.name for node in graph.nodes)]
        for run in graph.calls:
            node, work = graph.nodes[run[-1]], flops(self.work[run.start : run.stop])
            apart = {f"{key}_flops": work[key] for key in ("backward_input", "backward_weight", "elementwise_forward",
                                                           "elementwise_backward")}  # fmt: skip
            again = {"made_again_of": [names[root] for root in graph.roots.get(run.stop, ())]}
            found.append({"name": node.name, "op": node.op.kind, **self.group(run, own), **apart, **again})
        return found

    def group(self, run: range, own: list[Own]) -> dict[str, Any]:
        """Totals over a run of consecutive nodes. own: of every node, as `own_of` gives it."""
        mine = own[run.start : run.stop]
        work = flops(self.work[run.start : run.stop])
        return {
            "output_shape": list(self.shapes[run.stop][1:]),
            "parameters": sum(one.parameters for one in mine),
            "trainable_parameters": sum(one.trained for one in mine),
            "saved": sum(one.saved for one in mine),
            "forward_flops": work["forward"],
            "backward_flops": work["backward"],
            **({"step_seconds": self.time.of_nodes(run)} if self.time is not None and self.time.is_estimate else {}),
        }

    @property
    def unknown_ops(self) -> tuple[str, ...]:
        """Names of nodes whose op is unknown. If there are any, every number is a lower bound."""
        return tuple(node.name for node in self.graph.nodes if node.op.kind == "unknown")

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: plain ints, strings, lists and dicts."""
        return {
            "network": self.network,
            "strategy": self.strategy,
            "convention": self.convention,
            "batch": self.batch,
            "input_shape": list(self.input_shape),
            "inputs": [list(self.input_shape), *(list(one.shape) for one in self.inputs[1:])],
            "parameters": self.parameters,
            "trainable_parameters": self.trainable_parameters,
            "memory_bytes": dict(self.memory_bytes),
            "flops": dict(self.flops),
            **({"peak_at": self.peak_at, "at_peak": self.at_peak} if self.memory is not None else {}),
            "target": {**self.request.target.to_dict(), "dtype": self.request.dtype.name},
            "amp": self.request.amp.name if self.request.amp else None,
            **device_record(self.request.device, self.time),
            **({"unknown_ops": list(self.unknown_ops)} if self.unknown_ops else {}),
            "optimizer": self.request.optimizer.name,
            "accumulate": self.request.accumulate,
            "loss": str(self.request.loss),
            "certainty": self.certainty._asdict(),
            "notes": list(self.notes),
            "blocks": self.blocks,
        }

    def __repr__(self) -> str:
        of = f"{self.network}, {self.strategy}, batch {self.batch}, {self.convention}"
        return f"<Estimate of {visible(of)}: {self.memory_bytes['peak']} bytes at the peak, {self.saved_bytes} saved>"


def priced(estimate: Estimate) -> Memory:
    """The timeline of an estimate and its sizes. Raises CostmodelError where there is none."""
    if estimate.memory is not None:
        return estimate.memory
    if CONVENTIONS[estimate.convention].measurable:
        raise CostmodelError(
            f"{estimate.network}: its figures are those of a dry step, whose events are not kept: it has no timeline;"
            " allowed: a module that does what its layer graph says (`notes` tell where this one does not)"
        )
    have = ", ".join(name for name, convention in CONVENTIONS.items() if convention.measurable)
    raise CostmodelError(f"convention {estimate.convention!r} has no timeline of a step; allowed: {have}")


class Own(NamedTuple):
    """What is a node's own: numbers in the parameters of which it is the first use, those that train, bytes saved."""

    parameters: int
    trained: int
    saved: Size


def own_of(estimate: Estimate) -> list[Own]:
    """What is each node's own."""
    saved: list[Size] = [0] * len(estimate.graph)
    for kept, size in zip(estimate.kept, estimate.kept_bytes):
        saved[kept.node] = saved[kept.node] + size
    found, known = [], set()
    for node, nbytes in zip(estimate.graph.nodes, saved):
        mine = [key for key in ((node.owner, name) for name in node.op.params()) if key not in known]
        known.update(mine)
        numbers = [(prod(shape), trains) for shape, trains in map(estimate.graph.parameters.__getitem__, mine)]
        found.append(Own(sum(n for n, _ in numbers), sum(n for n, trains in numbers if trains), nbytes))
    return found
