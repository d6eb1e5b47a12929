"""One op in a step of its own: what the allocator does in its forward and in its backward pass, said and measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from opcases import bits_of, input_of, layer_of

from costmodel.conventions import CONVENTIONS
from costmodel.graph.graph import INPUT, Graph, Node
from costmodel.graph.op import Op, Work
from costmodel.ops.view import Expand, Permute, Slice
from costmodel.pytorch import library
from costmodel.pytorch.allocations import trace
from costmodel.sizes.dtype import DTYPES
from costmodel.step.kernels import without_rule
from costmodel.step.memory import memory_of
from costmodel.step.optimizer import find
from costmodel.step.request import Request
from costmodel.step.shapes import shapes_of
from costmodel.step.walk import price
from costmodel.strategies import read_text
from costmodel.targets import parse
from costmodel.targets.memory_order import dense


@dataclass(frozen=True)
class Leaf(Op):
    """A new tensor of any shape. Its gradient ends in a single number, which trains."""

    size: tuple
    bits: int = 0
    kind = "leaf"
    examples = ()
    follows_weight = True  # in channels_last the tests make it so

    def params(self):
        return {"value": ()}

    def shape(self, x):
        return self.size

    def needs(self):
        return {"x": (), "value": ()}

    def work(self, y, x):
        return {"forward": Work(), "x": Work(), "value": Work()}


@dataclass(frozen=True)
class Total(Op):
    """A loss of any tensor, whose gradient is a new tensor that lies in memory as the tensor does."""

    kind = "total"
    examples = ()

    def shape(self, x):
        return ()

    def needs(self):
        return {"x": ()}

    def work(self, y, x):
        return {"forward": Work(), "x": Work()}

    def gradient_layout(self, gradient, y, x):
        return dense(x)


class _Leaf(torch.autograd.Function):
    @staticmethod
    def forward(ctx, number, of):
        return torch.empty_like(of).copy_(of)

    @staticmethod
    def backward(ctx, gradient):
        return torch.empty((), dtype=gradient.dtype).zero_(), None


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.like = torch.empty_like(x, device="meta")
        return torch.empty((), dtype=x.dtype).zero_()

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(ctx.like, device="cpu")


class View(NamedTuple):
    """A view of an op's first input, a map: the larger leaf of which it is one, and the op that takes it."""

    leaf: Callable[[tuple], tuple]
    taken: Callable[[tuple], Op]


def permuted(*axes):
    """The view whose axes are those of the leaf in another order."""
    return View(lambda x: tuple(x[axes.index(axis)] for axis in range(len(x))), lambda x: Permute(axes))


#: Views of maps (N, C, H, W), by name.
VIEWS = {
    "transposed": permuted(0, 1, 3, 2),
    "moved": permuted(0, 3, 1, 2),
    "channels": View(lambda x: (x[0], x[1] + 2, *x[2:]), lambda x: Slice(1, 1, 1 + x[1])),
    "every other channel": View(lambda x: (x[0], 2 * x[1], *x[2:]), lambda x: Slice(1, step=2)),
    "rows": View(lambda x: (*x[:2], x[2] + 2, x[3]), lambda x: Slice(2, 1, 1 + x[2])),
    "expanded": View(lambda x: (*x[:2], 1, 1), lambda x: Expand(f"x0 x1 {x[2]} {x[3]}")),
}


def graph_of(op, shapes, wants, trains, view=None, after=None):
    """A graph of one op, between leaves of which those in `wants` need a gradient and a loss.

    view: of its leaf, which the first input is. after: an op before the loss.
    """
    nodes = []
    for i, (name, shape) in enumerate(zip(op.inputs, shapes)):
        bits, trained = bits_of(op, name), frozenset({"value"} if name in wants else ())
        if view and i == 0:
            shape = view.leaf(shape)
        nodes.append(Node(f"leaf_{name}", Leaf(tuple(shape), bits), (INPUT,), trained))
    reads = [node.name for node in nodes]
    if view:
        taken = view.taken(shapes[0])
        nodes.append(Node("view", taken, (reads[0], INPUT)[: len(taken.inputs)]))
        reads[0] = "view"
    nodes.append(Node("op", op, tuple(reads), frozenset(trains)))
    if after:
        nodes.append(Node("after", after, ("op",)))
    return Graph((*nodes, Node("total", Total(), (nodes[-1].name,))), loss="total")


def said(op, shapes, wants, trains, target, dtype="float32", convention="torch", view=None, after=None):
    """(forward, backward): peaks of the two passes in bytes above the level before the step."""
    graph = graph_of(op, shapes, wants, trains, view, after)
    found = shapes_of(graph, (1,))
    bits = DTYPES[dtype].bits
    kept = CONVENTIONS[convention].kept(graph)
    sizes = price(graph, kept, found, bits)[1]
    request = Request(read_text("full"), 1, 1, convention, find("sgd"), parse(target), DTYPES[dtype], 1)
    timeline, slots = memory_of(graph, kept, sizes, found, request)
    levels = timeline.levels(slots)
    n = timeline.after_forward
    return (int(levels[:n].max(initial=0)), int(levels[n:].max(initial=0))), tuple(without_rule(graph, found, request))


def measured(op, shapes, wants, trains, channels_last=False, dtype="float32", view=None, after=None):
    """The same of a real step."""
    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    layer, then = layer_of(op.trained(trains)), after.module(library) if after else None
    if isinstance(layer, torch.nn.Module):
        layer.to(kind)
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_(name in trains)
        if channels_last:
            layer.to(memory_format=torch.channels_last)
    leaves = []
    for i, (name, shape) in enumerate(zip(op.inputs, shapes)):
        if view and i == 0:
            shape = view.leaf(shape)
        x = input_of(op, name, shape, kind)
        leaves.append(x.contiguous(memory_format=torch.channels_last) if channels_last and x.dim() == 4 else x)
    seen = view.taken(shapes[0]).module(library) if view else None
    images = torch.empty(shapes[0][0])
    numbers = [torch.zeros((), dtype=kind, requires_grad=name in wants) for name in op.inputs]
    state = {}

    def forward():
        xs = [
            _Leaf.apply(number, of) if number.requires_grad else torch.empty_like(of).copy_(of)
            for number, of in zip(numbers, leaves)
        ]
        if view:
            xs[0] = seen(xs[0], *[images] * isinstance(view.taken(shapes[0]), Expand))
        y = layer(*xs)
        del xs
        if then:
            y = then(y)
        state["loss"] = _Total.apply(y)

    def backward():
        state["loss"].backward()

    def clear():
        state.clear()
        for p in (*numbers, *(layer.parameters() if isinstance(layer, torch.nn.Module) else ())):
            p.grad = None

    trained = bool(wants) or bool(trains)
    for _ in range(2):
        forward()
        if trained:
            backward()
        clear()
    first = trace(forward)
    second = trace(backward).peak + first.left if trained else 0
    clear()
    return first.peak, second
