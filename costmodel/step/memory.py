"""The memory of a step: its timeline, and the size of each of the timeline's slots."""

from __future__ import annotations

from collections.abc import Iterable

from ..conventions import Kept
from ..graph.checkpointing import reruns
from ..graph.dropping import nodes_dropped
from ..graph.graph import Graph
from ..graph.op import Scratch
from ..sizes.by_batch import dense
from ..sizes.size import Shape, Size, uniform
from ..targets.setting import Setting
from .compile import Moves, compile
from .estimate import Memory
from .kernels import settings_of
from .memo import Formulas
from .peak import stack
from .request import Request
from .scratch import tensors_of
from .shapes import broadcast_inputs, shapes_of, stored
from .update import numbers_of

Shapes = tuple[Shape, ...]


def memory_of(
    graph: Graph,
    kept: tuple[Kept, ...],
    kept_bytes: tuple[Size, ...],
    shapes: Shapes,
    request: Request,
    formulas: Formulas = Formulas(),
) -> Memory:
    """The timeline of the step and the size of each of its slots."""
    if not request.target.is_modelled:
        request = request._replace(target=tensors_of(request.target))
    bits, target = request.dtype.bits, request.target
    parts = slices_of(graph, shapes, request, formulas)
    here = (*parts[0], *shapes[len(parts[0]) :]) if parts else shapes  # in the first slice, then in the whole batch
    joins = broadcast_inputs(graph, shapes)
    settings = settings_of(graph, shapes, joins, request)
    scratches = scratches_of(graph, here, shapes, settings, formulas)
    narrowed = frozenset((i, name) for i, names in enumerate(graph.narrow) for name in names)
    viewed = frozenset(i for i, node in enumerate(graph.nodes) if node.op.is_gradient_viewed(shapes[i + 1]))
    moves = Moves(joins, *moved(graph, shapes, settings), narrowed, viewed)
    compiled = compile(graph, kept, request.update, request.accumulate > 1, moves, bool(parts))

    def values(shapes: Shapes, first: int) -> list[Size]:
        return [formulas.nbytes(shape, own or bits) for shape, own in zip(shapes[first:], graph.bits[first:])]

    def storages(shapes: Shapes, nodes: Iterable[int]) -> list[Size]:
        """Bytes of the storages of some nodes' outputs."""
        return [formulas.nbytes(stored(graph, shapes, i + 1, formulas), graph.bits[i + 1] or bits) for i in nodes]

    later = [scratches_of(graph, part, part, settings, formulas) for part in parts[1:]]
    sizes = compiled.slots.filled(
        {
            "values": values(here, 0),
            "storages": storages(here, compiled.slots.resized),
            "later": [size for part in parts[1:] for size in storages(part, range(len(part) - 1))],
            "kept": kept_bytes,
            "parameters": [formulas.nbytes(shape, bits) for shape, trains in graph.parameters.values() if trains],
            "forward": [scratch.forward for scratch in scratches],
            "later_forward": [scratch.forward for part in later for scratch in part],
            "backward": [scratch.backward for scratch in scratches],
            "after": [scratch.after for scratch in scratches],
            "again": [scratches[i].again for i in nodes_dropped(graph)],
            "stopped": stopped_bytes(graph, values(here, 0), scratches, target.counts_unseen),
            "item": [(graph.bits[-1] or bits) // 8],
            "numbers": [*numbers_of(target, bits // 8).values()],
            "whole": [formulas.nbytes(shapes[graph.prefix], graph.bits[graph.prefix] or bits)],
        }
    )
    return Memory(compiled, stack(sizes, target))


def slices_of(graph: Graph, shapes: Shapes, request: Request, formulas: Formulas) -> list[Shapes]:
    """Shapes of the frozen prefix's values in the first, second and last slice of the batch; none if it is not cut."""
    batch, slices = request.batch, graph.prefix_slices
    images = -(-batch // slices)
    if not graph.prefix or not uniform(images < batch):
        return []
    if uniform(images * (slices - 1) < batch):
        last = batch - images * (slices - 1)
    else:  # so few images that there are fewer slices
        last = dense(batch) - dense(images) * (-(-dense(batch) // dense(images)) - 1)
    second = images if uniform(batch >= 2 * images) else batch - images
    sizes = (images, second, last)
    return [shapes_of(graph, formulas.images(size, shapes[0][1:]), formulas, graph.prefix) for size in sizes]


def scratches_of(
    graph: Graph, inner: Shapes, outer: Shapes, settings: list[Setting], formulas: Formulas
) -> list[Scratch]:
    """The scratch of each node whose output has a shape in `inner`.

    inner: shapes of the values in a slice of the batch as far as the frozen prefix goes; outer: in the whole batch, as
    the nodes above the prefix read them.
    """
    scratches = []
    for i, (node, reads, setting) in enumerate(zip(graph.nodes[: len(inner) - 1], graph.reads, settings)):
        here = inner if i < graph.prefix else outer
        scratches.append(formulas.scratch(node.op, setting, here[i + 1], *[here[v] for v in reads]))
    return scratches


def moved(graph: Graph, shapes: Shapes, settings: list[Setting]) -> tuple[frozenset[tuple[int, str]], frozenset[int]]:
    """What backward copies because of its memory order: (node, parameter) of gradients, and nodes' incoming ones."""
    recast: list[tuple[int, str]] = []
    copied = []
    for i, (node, setting) in enumerate(zip(graph.nodes, settings)):
        if graph.demanded[i] and setting.layouts:
            recast += [holder_of(graph, i, name) for name in node.op.recast(setting)]
            if setting.gradient and uniform(node.op.copies_gradient(setting.gradient, shapes[i + 1])):
                copied.append(i)
    return frozenset(recast), frozenset(copied)


def holder_of(graph: Graph, i: int, name: str) -> tuple[int, str]:
    """(node, parameter) of a parameter of node i, which may be an input: a cast of what another node holds."""
    op = graph.nodes[i].op
    if name not in op.given:
        return i, name
    cast = graph.reads[i][op.inputs.index(name)] - 1
    return graph.reads[cast][0] - 1, name


def stopped_bytes(graph: Graph, values: list[Size], scratches: list[Scratch], counts_unseen: bool) -> list[Size]:
    """For each rerun, bytes of what the op in which it stops allocates and nobody receives."""
    found = []
    for rerun in reruns(graph):
        if rerun.whole:  # the dispatcher does not see the output of an op that stops while it runs
            found.append(values[rerun.last + 1] if counts_unseen else 0)
        else:
            found.append(scratches[rerun.last].stopped)
    return found
