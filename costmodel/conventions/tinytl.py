"""`tinytl`: as TinyTL's authors count (Cai et al., NeurIPS 2020).

github.com/mit-han-lab/tinyml, tinytl/utils/memory_cost_profiler.py:

- A convolution, linear layer or norm saves its input if its weight trains. If anything but the classifier trains, ReLU
  and ReLU6 save a bit per element, and smooth activations their input. Nothing else is saved. Layers count one by one:
  an input that two layers save counts twice.
- `peak` is the bytes of the parameters, trainable ones of 32 bits and frozen ones of 8, and the maximum over the layers
  of three terms: what the layers before it saved; its temporary (its input, plus a convolution's output divided by its
  groups, or a linear layer's output); and, inside a block with a shortcut, the block's input.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..graph.graph import Graph, Node
from ..graph.op import Op
from ..graph.paths import within
from ..ops.activation import Activation
from ..ops.conv import Conv2d
from ..ops.forms._formed import LeanOnly
from ..sizes.size import Shape, Size, maximum, numel
from ._kept import Kept, Read
from ._registry import convention

FROZEN_BITS = 8


def memory(
    graph: Graph, shapes: tuple[Shape, ...], kept: tuple[Kept, ...], sizes: tuple[Size, ...], item: int
) -> dict[str, Size]:
    """`peak`, the memory that the authors print, and the parameters in it; in bytes."""
    saved_by: dict[int, Size] = {}
    for one, size in zip(kept, sizes):
        saved_by[one.node] = saved_by.get(one.node, 0) + size
    parameters = parameter_bytes(graph, item)
    return {"parameters": parameters, "peak": parameters + forward_peak(graph, shapes, saved_by, item)}


def parameter_bytes(graph: Graph, item: int) -> int:
    """Bytes of the parameters: `item` bytes for each that trains, 8 bits for each frozen one."""
    trained = graph.count_parameters(trained=True)
    return item * trained + (graph.count_parameters() - trained) * FROZEN_BITS // 8


def forward_peak(graph: Graph, shapes: tuple[Shape, ...], saved_by: dict[int, Size], item: int) -> Size:
    """Bytes: the maximum over the layers of what the layers before it saved, its temporary and the shortcut.

    saved_by: node -> bytes that it saves.
    """
    shortcuts = [_shortcut(graph, scope) for scope in graph.blocks]
    saved = highest = 0
    for i, (node, reads) in enumerate(zip(graph.nodes, graph.reads)):
        block = graph.block_of(node)
        shortcut = None if block is None else shortcuts[block]
        residual = 0 if shortcut is None else numel(shapes[shortcut])
        temporary = _temporary(node, numel(shapes[reads[0]]), numel(shapes[i + 1]))
        highest = maximum(highest, saved + item * (temporary + residual))
        saved = saved + saved_by.get(i, 0)
    return highest


@convention("tinytl", "TinyTL's own arithmetic: saved and temporary, frozen parameters of 8 bits", memory=memory)
def tinytl(graph: Graph) -> Iterator[Read]:
    body = any(node.trains for node in graph.nodes if not (graph.classifier and within(node.name, graph.classifier)))
    for i, node in enumerate(graph.nodes):
        if "weight" in node.trains:
            yield from (Read(i, operand, ("weight",)) for operand in reads_of_weight(node.op))
        elif body and isinstance(node.op, Activation) and not node.op.result.is_view:
            yield Read(i, "mask" if is_masked(node) else "x", ("x",))


def reads_of_weight(op: Op) -> tuple[str, ...]:
    """What a layer saves for its weight's gradient: its input, or that in the form in which it keeps it."""
    return op.form if isinstance(op, LeanOnly) else ("x",)


def is_masked(node: Node) -> bool:
    """Whether an activation saves a bit per element: ReLU and ReLU6, and all under MobileTL's approximation."""
    op = node.op
    return isinstance(op, Activation) and (op.signed or op.kind in ("relu", "relu6"))


def _temporary(node: Node, x: Size, y: Size) -> Size:
    """Elements of a layer's temporary. x, y: elements of its input and output."""
    op = node.op
    if isinstance(op, Conv2d):
        return x + y // op.groups
    if op.kind == "linear":
        return x + y
    return x if op.is_norm or isinstance(op, Activation) else 0


def _shortcut(graph: Graph, scope: str) -> int | None:
    """Number of the value that a block adds to its main branch, its own input; None without a shortcut."""
    for node, reads in zip(graph.nodes, graph.reads):
        if node.op.kind == "add" and within(node.name, scope):
            for name, value in zip(node.inputs, reads):
                if not within(name, scope):
                    return value
    return None
