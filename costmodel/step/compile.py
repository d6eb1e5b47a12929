"""One training step as a list of allocations and releases, in the order in which PyTorch makes them.

The order does not depend on sizes, so it is compiled once per graph. Pricing it takes one gather and one running sum.

What decides the order, all measured on torch 2.13:
- A module's call holds its inputs until it returns; other values are freed after their last reader.
  (torch.nn.Module._call_impl)
- Backward runs the nodes in the reverse of their forward order. For each node, in this order: the gradients are made,
  the incoming gradient is freed, then what the node kept; only then are the new gradients passed on.
  (torch/csrc/autograd/engine.cpp: call_function, release_variables, InputBuffer::add)
- When a value gets a second gradient, it is added into the first if nobody else holds the first; else a third tensor
  is made.
- A parameter's first gradient becomes `.grad` without a copy; with gradient accumulation later ones are added to it and
  freed.
"""

from __future__ import annotations

from functools import lru_cache

from ..conventions import Kept
from ..graph.checkpointing import reruns
from ..graph.dropping import nodes_dropped
from ..graph.graph import Graph
from .backward import Backward, Moves
from .events import UPDATE
from .forward import Forward
from .slots import Slots
from .storages import Storages
from .timeline import Timeline, timeline_of
from .update import Update
from .updating import write_update


@lru_cache(maxsize=512)
def compile(
    graph: Graph, kept: tuple[Kept, ...], update: Update, accumulate: bool, moves: Moves, sliced: bool
) -> Timeline:
    """The events of a step.

    accumulate: gradients of earlier micro-batches exist, and the step is the one of the last micro-batch.
    sliced: the frozen prefix runs on more than one slice of the batch.
    """
    trained = [key for key, (_, trains) in graph.parameters.items() if trains]
    prefix = graph.prefix if sliced else 0
    resized = [i for i, node in enumerate(graph.nodes) if node.op.resizes]
    slots = Slots(
        len(graph) + 1, len(kept), len(trained), len(graph), len(reruns(graph)), prefix, resized, nodes_dropped(graph)
    )
    storages = Storages()
    forward = Forward(graph, kept, slots, storages)
    forward.run(sliced)
    after_forward = len(storages)
    if graph.has_loss and graph.wants_gradient[-1]:
        at_once = update if update.at_once else None
        Backward(forward, {key: p for p, key in enumerate(trained)}, accumulate, moves, at_once).run()
        if not at_once:
            storages.phase = UPDATE
            write_update(update, range(len(trained)), slots, storages)
    return timeline_of(storages.events, slots, after_forward)
