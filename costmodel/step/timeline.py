"""One training step as a list of allocations and releases, in the order in which PyTorch makes them.

The order does not depend on sizes, so it is compiled once per graph. Pricing it is one gather and one running sum.

What decides it, all measured on torch 2.13:
- A module's call holds its inputs until it returns; other values go after their last reader.
  (torch.nn.Module._call_impl)
- Backward runs the nodes in the reverse of their forward order. Of each, in this order: the gradients are made, the
  gradient that came in is let go, then what the node kept, and only then are the results handed on.
  (torch/csrc/autograd/engine.cpp: call_function, release_variables, InputBuffer::add)
- Where gradients meet, the second is added into the first if nobody else holds that one; else a third is made.
- A parameter's first gradient becomes `.grad` as it is; with gradient accumulation later ones are added and let go.
"""

from __future__ import annotations

from functools import lru_cache

from ..conventions import Kept
from ..graph.checkpointing import reruns
from ..graph.graph import Graph
from .backward import Backward, Moves
from .events import SCRATCH, UPDATE, Timeline, timeline_of
from .forward import Forward
from .optimizer import AT_ONCE, WITH_NEXT, Optimizer
from .slots import Slots
from .storages import Storages


@lru_cache(maxsize=512)
def compile(
    graph: Graph, kept: tuple[Kept, ...], optimizer: Optimizer, accumulate: bool, moves: Moves, sliced: bool
) -> Timeline:
    """The events of a step.

    accumulate: the gradients of earlier micro-batches are there, and the step is the last micro-batch's.
    sliced: the frozen prefix runs on more than one slice of the batch.
    """
    trained = [key for key, (_, trains) in graph.parameters.items() if trains]
    slots = Slots(len(graph) + 1, len(kept), len(trained), len(graph), len(reruns(graph)))
    storages = Storages()
    forward = Forward(graph, kept, slots, storages)
    forward.run(sliced)
    after_forward = len(storages.events)
    if graph.has_loss and graph.wants_gradient[-1]:
        Backward(forward, {key: p for p, key in enumerate(trained)}, accumulate, moves).run()
        update(optimizer, len(trained), slots, storages)
    return timeline_of(storages.events, slots, after_forward)


def update(optimizer: Optimizer, parameters: int, slots: Slots, storages: Storages) -> None:
    """What the optimizer makes for each parameter that trains, and when it lets that go."""
    storages.phase = UPDATE
    previous: list[tuple[int, str]] = []
    for p in range(parameters):
        storages.node = p
        own: list[tuple[int, str]] = []
        following: list[tuple[int, str]] = []
        for made in optimizer.update:
            slot = slots.number if made.is_number else slots.parameter(p)
            if made.let_go == AT_ONCE:
                storages.passing(slot, made.why)
            else:
                kept = following if made.let_go == WITH_NEXT else own
                kept.append((storages.new(slot, SCRATCH, made.why), made.gone))
        for storage, why in own + previous:
            storages.drop(storage, why)
        previous = following
    for storage, _ in previous:
        storages.drop(storage, "the update has ended")
