"""Runs each distinct call of a step's kernels alone, and writes down what the allocator did beside the results.

A call is an op with its shapes, data type, memory orders and demanded gradients. Only one runs at a time, so a probe
needs the memory of the largest op alone: a step that does not fit can still be told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch

from ..conventions import find
from ..errors import CostmodelError
from ..graph.checkpointing import reruns
from ..graph.graph import Graph
from ..step.dry_estimate import DryEstimate
from ..step.estimate import Estimate
from ..step.events import SCRATCH
from ..step.kernels import runs_kernels, settings_of
from ..step.memo import Formulas
from ..step.memory import slices_of
from ..step.scratch import call_of
from ..step.shapes import broadcast_inputs
from ..targets import Target
from ..targets.cpu import Cpu
from ..targets.machine import UNKNOWN, here_isa, is_here
from ..targets.probed import FORMAT
from ..version import __version__
from .devices import device_of
from .one_call import Call, observed


class Probe(NamedTuple):
    """What was measured of a call.

    forward, backward: bytes beside the results. forward_seconds, backward_seconds: the median of some warm runs.
    missed: why it could not be run, else "".
    """

    call: Call
    forward: int = 0
    backward: int = 0
    forward_seconds: float = 0.0
    backward_seconds: float = 0.0
    missed: str = ""

    @property
    def step_seconds(self) -> float:
        """Seconds of all such calls in a step."""
        forward, backward = self.call.times
        return forward * self.forward_seconds + backward * self.backward_seconds


def calls_of(estimate: Estimate) -> list[Call]:
    """The distinct calls of a step, in the order in which they are first made."""
    graph, shapes, request = estimate.graph, estimate.shapes, estimate.request
    settings = settings_of(graph, shapes, broadcast_inputs(graph, shapes), request)
    slices = slices_of(graph, shapes, request, Formulas())
    left = left_by(estimate) if not slices else {}
    found: dict[str, Call] = {}
    again = Counter(i for rerun in reruns(graph, find(request.convention).measurable) for i in rerun.again)
    for part, often in zip((shapes, *slices), times_of(graph, request.batch) if slices else [1]):
        for i, (node, reads, setting) in enumerate(zip(graph.nodes[: len(part) - 1], graph.reads, settings)):
            if not (runs_kernels(node.op) and node.op.runs_alone):
                continue
            xs = tuple(part[v] for v in reads)
            key = call_of(node.op, setting, part[i + 1], *xs)
            runs = 1 if i >= graph.prefix else often
            one = found.get(key) or Call(key, node, setting, part[i + 1], xs, left.get(i), (0, 0))
            forward, backward = one.times
            found[key] = one._replace(times=(forward + runs + again[i], backward + bool(setting.demanded)))
    return list(found.values())


def times_of(graph: Graph, batch: int) -> list[int]:
    """How often the frozen prefix runs on the whole batch, and in its first, second and last slice (`slices_of`)."""
    images = -(-batch // graph.prefix_slices)
    return [0, 1, -(-batch // images) - 2, 1]


def left_by(estimate: Estimate) -> dict[int, int]:
    """Node -> bytes that its forward pass makes and leaves, scratch left out."""
    found = dict.fromkeys(range(len(estimate.graph)), 0)
    for event in estimate.timeline.events[: estimate.timeline.after_forward]:
        if event.sign > 0 and event.category != SCRATCH:
            found[event.node] += int(estimate.slot_sizes[event.slot])
    return found


def probe(estimate: Estimate) -> Iterator[Probe]:
    """Run the calls of a step, one after the other. Raises CostmodelError if it does not run on this machine."""
    if isinstance(estimate, DryEstimate):
        raise CostmodelError(f"{estimate.network}: a probe needs the layer graph, and this module does something else")
    target = estimate.request.target
    refuse_other_machines(target, estimate.request.dtype.bits > 16 and not estimate.request.amp)
    device = device_of(target)
    with device.running_on(target.threads), torch.random.fork_rng():
        for call in calls_of(estimate):
            try:
                forward, backward = observed(call, device)
                yield Probe(call, forward.beside, backward.beside, forward.seconds, backward.seconds)
            except Exception as error:  # of any kind: torch may lack a kernel
                yield Probe(call, missed=f"{type(error).__name__}: {error}".split("\n")[0])


def refuse_other_machines(target: Target, wide: bool) -> None:
    """Raise CostmodelError for the target of another machine's CPU. wide: all numbers have 32 bits."""
    if isinstance(target, Cpu) and target.isa != UNKNOWN and not is_here(target.isa, wide):
        raise CostmodelError(f"target {target.text!r}; allowed: isa={here_isa()}, this machine's")


def document(estimate: Estimate, probes: Iterable[Probe]) -> dict[str, Any]:
    """A probe's file: what `--target FILE.json` reads."""
    target = estimate.request.target
    return {
        "format": FORMAT,
        "costmodel": __version__,
        "torch": torch.__version__,
        "target": target.spelled,
        "machine": device_of(target).name,
        "calls": {
            one.call.key: [one.forward, one.backward, one.forward_seconds, one.backward_seconds]
            for one in probes
            if not one.missed
        },
    }
