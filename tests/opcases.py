"""The ops' own examples, and the means to run one of them for real."""

from itertools import combinations, product

import torch

from costmodel.graph.op import OPS
from costmodel.ops.arithmetic import Add, Mul
from costmodel.ops.conv import Conv2d
from costmodel.pytorch import library

MORE = (  # more configurations that occur in networks
    (Mul(inplace=True), (2, 8, 5, 3), (2, 8, 1, 1)),
    (Add(inplace=True), (2, 8, 5, 3), (2, 8, 1, 1)),
    (Conv2d(8, 8, (1, 7), padding=(0, 3), groups=4), (2, 8, 5, 9)),
)


EXAMPLES = [(op, shapes) for cls in OPS.values() for op, *shapes in cls.examples]


EXAMPLES += [(op, tuple(shapes)) for op, *shapes in MORE]


def name_of(value):
    return str(value).replace(" ", "")


# Lean ops are used only if these parameters are frozen; the folded ones only where nothing is differentiated.
FROZEN = {
    "shift_norm": {"weight"},
    "lean_group_norm": {"weight"},
    "folded_conv2d": {"weight"},
    "folded_norm": {"weight", "bias"},
}


WITHOUT_BACKWARD = ("folded_conv2d", "folded_norm")


def layer_of(op):
    """The op's own module in train mode, or its function."""
    layer = op.module(library)
    if not isinstance(layer, torch.nn.Module):
        return layer
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name not in FROZEN.get(op.kind, ()))
    return layer.train()


def demands(op):
    """Every pair (inputs that need a gradient, parameters that train) that can occur for the op."""
    if op.kind in WITHOUT_BACKWARD:
        return [(frozenset(), frozenset())]
    inputs = differentiated(op)
    return product(subsets(inputs), subsets(op.params().keys() - FROZEN.get(op.kind, set())))


def bits_of(op, name):
    """Bits per element of an input; 0 for the network's own data type."""
    return op.input_bits.get(name, 64 if name in op.shape_only else 0)


def input_of(op, name, shape, dtype=torch.float32):
    """An input tensor for an op."""
    bits = bits_of(op, name)
    if op.kind == "binary_cross_entropy":  # of probabilities
        return torch.rand(shape).to(dtype)
    if bits == 8:
        return torch.rand(shape) < 0.5
    return torch.zeros(shape, dtype=torch.int64) if bits else torch.randn(shape).to(dtype)


def inputs_of(op, shapes):
    """Input tensors for an op: masks, integers where only the shape counts (indices, say), else random numbers."""
    return [input_of(op, name, shape) for name, shape in zip(op.inputs, shapes)]


def differentiated(op):
    """Names of the inputs that may get a gradient."""
    return frozenset(op.inputs) - frozenset(op.shape_only) if op.differentiable else frozenset()


def subsets(names):
    names = tuple(names)
    return [frozenset(some) for n in range(len(names) + 1) for some in combinations(names, n)]
