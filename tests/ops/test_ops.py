"""Generic tests: they run on every op and each of its examples, and compare it with torch."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import onnx
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from opcases import EXAMPLES, WITHOUT_BACKWARD, bits_of, demands, differentiated, inputs_of, layer_of, name_of
from real import saved_bytes

from costmodel.conventions import CONVENTIONS
from costmodel.errors import CostmodelError
from costmodel.graph.graph import INPUT, Graph, Node
from costmodel.graph.op import OPS, Op, Result, Work
from costmodel.ops.activation import Activation, ReLU
from costmodel.ops.arithmetic import Add, Mul
from costmodel.ops.conv import Conv2d
from costmodel.ops.lean import CastingConv2d
from costmodel.ops.lean_folded import FrozenConv2d, LeavingAdd
from costmodel.ops.linear import Linear
from costmodel.ops.norm import BatchNorm
from costmodel.ops.parameter import Constant, Parameter, Unknown
from costmodel.ops.remade import RemakingConv2d
from costmodel.ops.remade_joins import RemakingMul
from costmodel.ops.view import Detach
from costmodel.pytorch import library
from costmodel.sizes.size import nbytes, numel
from costmodel.step.shapes import shapes_of
from costmodel.step.walk import price
from costmodel.targets.memory_order import CHANNELS_LAST, contiguous

each_example = pytest.mark.parametrize("op, shapes", EXAMPLES, ids=name_of)


@dataclass(frozen=True)
class Leaf(Op):
    """A trained tensor of any shape as the input of an op under test; it keeps nothing itself."""

    size: tuple
    bits: int = 0
    kind = "leaf"
    examples = ()

    def params(self):
        return {"value": self.size}

    def shape(self, x):
        return self.size

    def needs(self):
        return {"value": ()}


def case(op, shapes, wants, trains):
    """A graph of one op whose inputs come from leaves, those in `wants` trained."""
    leaves = [
        Node(
            f"leaf.{name}",
            Leaf(tuple(shape), bits_of(op, name)),
            (INPUT,),
            frozenset({"value"} if name in wants else ()),
        )
        for name, shape in zip(op.inputs, shapes)
    ]
    return Graph((*leaves, Node("op", op, tuple(leaf.name for leaf in leaves), frozenset(trains))))


def predicted(op, shapes, wants, trains, convention="torch"):
    graph = case(op.trained(trains), shapes, wants, trains)
    return sum(price(graph, CONVENTIONS[convention].kept(graph), shapes_of(graph, (1,)), 32)[1])


def run_for_real(op, shapes, wants, trains):
    """Bytes that the op's own module or function keeps."""
    layer = layer_of(op.trained(trains))
    if isinstance(layer, torch.nn.Module):
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_(name in trains)
    # A clone keeps nothing, and unlike a leaf it may be overwritten in place.
    xs = [x.requires_grad_(name in wants).clone() for name, x in zip(op.inputs, inputs_of(op, shapes))]
    return saved_bytes(lambda: layer(*xs), layer)


# -- what every op says about itself -----------------------------------------------------------------------


@pytest.mark.parametrize("cls", OPS.values(), ids=lambda cls: cls.kind)
def test_every_op_has_examples_and_a_docstring(cls):
    # which are no layers that could be run alone, or have no gradient; or that read what another one leaves, or are
    # like another one but under autocast, or beside others alone
    alone = not issubclass(cls, (RemakingConv2d, RemakingMul, CastingConv2d, FrozenConv2d, LeavingAdd))
    assert cls.examples or not alone or cls in (Parameter, Constant, Unknown, Detach)
    assert all(isinstance(op, cls) for op, *_ in cls.examples)
    assert cls.__doc__ and not cls.__doc__.startswith(cls.__name__ + "(")


def test_plain_activations_are_found_by_the_names_they_give():
    plain = [cls for cls in OPS.values() if issubclass(cls, Activation) and cls.torch_name]
    assert len(plain) >= 9
    for cls in plain:
        assert isinstance(cls().module(library), getattr(torch.nn, cls.torch_name))
        assert hasattr(torch.nn.functional, cls.kind)
        assert not cls.onnx_name or onnx.defs.has(cls.onnx_name)


@each_example
def test_operands_and_gradients_are_named_consistently(op, shapes):
    operands = {*op.inputs, "y", *op.params(), *op.buffers(), *op.extras(*shapes)}
    gradients = {*differentiated(op), *op.params()}
    for needs in (op.needs(), op.torch_needs()):
        assert set(needs) == gradients
        assert {operand for reads in needs.values() for operand in reads} <= operands
    work = op.work(op.shape(*shapes), *shapes)
    assert set(work) == gradients | {"forward"}
    assert all(isinstance(w, Work) for w in work.values())
    assert set(op.carriers()) <= set(op.extras(*shapes)) and set(op.carriers().values()) <= {*op.inputs, "y"}


# -- against torch -----------------------------------------------------------------------------------------


@each_example
def test_output_and_parameters_have_torchs_shapes(op, shapes):
    layer = layer_of(op)
    y = layer(*inputs_of(op, shapes))
    assert op.shape(*shapes) == tuple(y.shape)
    module = layer if isinstance(layer, torch.nn.Module) else torch.nn.Module()
    assert op.params() == {name: tuple(p.shape) for name, p in module.named_parameters()}
    held = {name: nbytes(numel(extra.shape), extra.bits or 32) for name, extra in op.buffers().items()}
    assert held == {name: buffer.nbytes for name, buffer in module.named_buffers()}


@each_example
def test_views_and_inplace_ops_share_their_inputs_storage_and_no_others_do(op, shapes):
    xs = inputs_of(op, shapes)
    shared = layer_of(op)(*xs).untyped_storage().data_ptr() == xs[0].untyped_storage().data_ptr()
    assert shared == (op.result not in (Result.NEW, Result.GIVEN))


def lies(tensor, layout):
    """Whether a tensor's strides follow a memory order; axes of size 1 and broadcast axes do not matter."""
    strides = [tensor.stride(axis) for axis in layout.order if tensor.shape[axis] > 1 and tensor.stride(axis)]
    return strides == sorted(strides, reverse=True)


#: Attention and reshapes are recorded with inputs in the order that these ops need. Folded forms, masks and what the
#: caller gives have no gradients. The backward pass of nll_loss refuses maps in channels_last.
LIE_ANYHOW = ("attention", "added_mask", "reshape", *WITHOUT_BACKWARD, "input", "targets", "nll", "embedding")


@pytest.mark.parametrize("op, shapes", [e for e in EXAMPLES if e[0].kind not in LIE_ANYHOW], ids=name_of)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_result_and_the_gradient_of_the_first_input_lie_in_memory_as_said(op, shapes, memory_format):
    images = len(shapes[0]) == 4 and memory_format == torch.channels_last
    x, *others = inputs_of(op, shapes)
    differentiates = op.inputs[0] in differentiated(op)
    x = x.to(memory_format=memory_format if images else torch.contiguous_format).requires_grad_(differentiates)
    layer = layer_of(op)
    if images and isinstance(layer, torch.nn.Module):
        layer.to(memory_format=memory_format)
    y = layer(x.clone(), *others)
    layouts = [CHANNELS_LAST if images else contiguous(x.ndim), *(contiguous(other.ndim) for other in others)]
    whole = [not op.broadcasts or value.shape == y.shape for value in (x, *others)]
    made = op.layout(y.ndim, *(layout for layout, is_whole in zip(layouts, whole) if is_whole))
    assert lies(y, made)
    if not differentiates:
        return
    (gradient,) = torch.autograd.grad(y, x, torch.zeros_like(y))
    assert lies(gradient, op.gradient_layout(made, made, layouts[0]) if whole[0] else contiguous(x.ndim))


@each_example
def test_saved_bytes_under_torch_equal_a_real_run_whatever_is_demanded(op, shapes):
    for wants, trains in demands(op):
        expected = run_for_real(op, shapes, wants, trains)
        assert predicted(op, shapes, wants, trains) == expected, f"{set(wants)} want, {set(trains)} train"


@each_example
def test_ideal_never_keeps_more_than_torch(op, shapes):
    for wants, trains in demands(op):
        ideal = predicted(op, shapes, wants, trains, "ideal")
        assert ideal <= predicted(op, shapes, wants, trains)


@pytest.mark.parametrize("op, shapes", [e for e in EXAMPLES if e[0].kind in ("conv2d", "linear")], ids=name_of)
def test_forward_multiply_adds_equal_fvcores(op, shapes):
    counts = FlopCountAnalysis(op.module(library), torch.randn(shapes[0])).by_operator()
    assert op.work(op.shape(*shapes), *shapes)["forward"].macs == sum(counts.values())


@each_example
def test_only_convolutions_linear_layers_and_products_do_matrix_work(op, shapes):
    matrix = any(work.macs for work in op.work(op.shape(*shapes), *shapes).values())
    products = ("conv1d", "conv3d", "conv_transpose2d", "linear", "linear_by", "matmul", "mv", "attention", "convolve")
    assert matrix == (isinstance(op, (Conv2d, Linear)) or op.kind in products)


def test_frozen_and_evaluated_change_what_draws_on_the_batch_and_nothing_else():
    for op, _ in EXAMPLES:
        frozen, evaluated = op.frozen(), op.evaluated()
        assert frozen == (replace(op, statistics="frozen") if isinstance(op, BatchNorm) else op)
        assert evaluated == (replace(op, active=False) if hasattr(op, "active") else frozen)


# -- arrays of sizes ---------------------------------------------------------------------------------------

OFFSETS = (0, 1, 2, 5)


def grown(shape, offset, first, maps):
    """A shape with larger maps (N, C, H, W), aligned from the right as broadcasting does, or a larger batch.

    first: the first input's shape; a vector beside a map is one number per channel, unless it is as long as its rows.
    """
    if not maps:
        return (shape[0] + offset, *shape[1:]) if shape[0] == first[0] else shape
    if len(shape) == 1 and shape[0] != first[-1]:
        return shape
    return tuple(s + offset if i >= len(shape) - 2 and s > 1 else s for i, s in enumerate(shape))


def element(size, i):
    """The i-th of an array of sizes; a plain size stands for all."""
    return int(size[i]) if isinstance(size, np.ndarray) else size


@each_example
def test_an_array_of_sizes_gives_what_a_loop_over_them_gives(op, shapes):
    more = shapes[0], any(len(shape) == 4 for shape in shapes)
    arrays = [grown(shape, np.array(OFFSETS, dtype=np.int64), *more) for shape in shapes]
    y = op.shape(*arrays)
    work, extras = op.work(y, *arrays), op.extras(*arrays)
    for i, offset in enumerate(OFFSETS):
        scalars = [grown(shape, offset, *more) for shape in shapes]
        y_i = op.shape(*scalars)
        assert tuple(element(s, i) for s in y) == y_i
        work_i = op.work(y_i, *scalars)
        picked = {name: Work(*(element(size, i) for size in amounts)) for name, amounts in work.items()}
        assert picked == work_i
        extras_i = op.extras(*scalars)
        assert extras.keys() == extras_i.keys()
        for name, extra in extras.items():
            bits = extra.bits or 32
            assert element(nbytes(numel(extra.shape), bits), i) == nbytes(numel(extras_i[name].shape), bits)


def test_one_misfit_in_an_array_is_an_error():
    sizes = np.array([5, 3, 2], dtype=np.int64)
    Conv2d(3, 4, 3).shape((1, 3, sizes[:2], sizes[:2]))
    with pytest.raises(CostmodelError, match="no output: the kernel 3x3 does not fit into the input 1x3x.2..5."):
        Conv2d(3, 4, 3).shape((1, 3, sizes, sizes))
    with pytest.raises(CostmodelError, match="batch statistics of one value per channel"):
        BatchNorm(3).shape((1, 3, sizes - 2, sizes - 2))


# -- convolution by brute force ----------------------------------------------------------------------------

TINY = [
    (Conv2d(2, 4, 3, padding=1), (2, 2, 4, 3)),
    (Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 3, 4)),
    (Conv2d(4, 6, (3, 1), stride=2, padding=(1, 0), groups=2), (1, 4, 5, 6)),
    (Conv2d(2, 2, 2, stride=3, groups=2), (2, 2, 7, 5)),
    (Conv2d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2), (1, 2, 7, 6)),
]


def brute_force(op, x, w, g):
    """Output and both gradients of a convolution by loops over padded maps, and the multiply-adds that each took."""
    (ph, pw), (sh, sw), (dh, dw), (kh, kw) = op.padding, op.stride, op.dilation, op.kernel
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    per_in, per_out = op.in_channels // op.groups, op.out_channels // op.groups
    y, gx, gw, macs = np.zeros_like(g), np.zeros_like(x), np.zeros_like(w), 0
    for n, o, i, j in np.ndindex(*g.shape):
        for c, u, v in product(range(per_in), range(kh), range(kw)):
            at = (n, o // per_out * per_in + c, i * sh + u * dh, j * sw + v * dw)
            y[n, o, i, j] += w[o, c, u, v] * x[at]
            gx[at] += w[o, c, u, v] * g[n, o, i, j]
            gw[o, c, u, v] += x[at] * g[n, o, i, j]
            macs += 1  # for each of the three; multiply-adds with padding count too
    h, width = x.shape[2] - ph, x.shape[3] - pw
    return y, gx[:, :, ph:h, pw:width], gw, macs


@pytest.mark.parametrize("op, shape", TINY, ids=name_of)
def test_convolutions_gradients_take_the_multiply_adds_of_brute_force(op, shape):
    # Small integers in float64: the sums are exact, so equality is.
    layer = op.module(library).double()
    x = torch.randint(-3, 4, shape).double().requires_grad_()
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-3, 4, layer.weight.shape))
    y = layer(x)
    g = torch.randint(-3, 4, y.shape).double()
    gx, gw = torch.autograd.grad(y, (x, layer.weight), g)
    by_hand = brute_force(op, x.detach().numpy(), layer.weight.detach().numpy(), g.numpy())
    for mine, torchs in zip(by_hand, (y, gx, gw)):
        assert np.array_equal(mine, torchs.detach().numpy())
    work = op.work(op.shape(shape), shape)
    assert work["forward"].macs == work["x"].macs == work["weight"].macs == by_hand[3]


# -- fields and inputs that do not fit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Conv2d(4, 6, 3, groups=4), "groups 4 does not divide out_channels 6"),
        (lambda: Conv2d(0, 6, 3), "in_channels is 0; allowed: >= 1"),
        (lambda: Conv2d(3, 6, 0), "kernel is 0; allowed: an integer >= 1, or two of them"),
        (lambda: Conv2d(3, 6, (3, 3, 3)), r"kernel is \(3, 3, 3\); allowed: an integer >= 1, or two of them"),
        (lambda: Conv2d(3, 6, 3, padding=-1), "padding is -1; allowed: an integer >= 0, or two of them"),
        (lambda: BatchNorm(3, statistics="none"), "statistics is 'none'; allowed: batch, frozen"),
        (lambda: OPS["group_norm"](3, 8), "groups 3 does not divide channels 8"),
        (lambda: OPS["dropout"](1.5), "p is 1.5; allowed: from 0 to 1"),
        (lambda: OPS["stochastic_depth"](0.1, "column"), "mode is 'column'; allowed: row, batch"),
        (lambda: OPS["max_pool2d"](3, padding=2), "padding 2 is more than half of the kernel 3"),
        (lambda: OPS["gelu"]("fast"), "approximate is 'fast'; allowed: none, tanh"),
        (lambda: Conv2d(3, 4, 3).shape((1, 4, 8, 8)), "the input has 4 channels, the convolution takes 3"),
        (lambda: Conv2d(3, 4, 3).shape((1, 3)), r"conv2d takes \(N, C, H, W\), the input is 1x3"),
        (lambda: OPS["linear"](6, 4).shape((2, 5)), "the input has 5 features, the layer takes 6"),
        (lambda: OPS["linear"](6, 4).shape((6,)), r"linear takes \(N, ..., features\), the input is 6"),
        (lambda: OPS["linear"](6, 4).shape((2, 6, 1, 1)), "the input has 1 features, the layer takes 6"),
        (lambda: OPS["layer_norm"]((4,)).shape((2, 5)), r"the norm takes \(..., 4\), the input is 2x5"),
        (lambda: OPS["reshape"]("x0 y"), "to is 'x0 y'; allowed: axes such as"),
        (lambda: OPS["reshape"]("x0 5").shape((2, 6)), "2x6 cannot take the shape 2x5"),
        (lambda: OPS["cat"](2).shape((2, 3, 4), (2, 3, 5)), "2x3x4 and 2x3x5 differ along other axes than 1"),
        (lambda: OPS["matmul"]().shape((2, 3), (2, 3)), "matrices 2x3 and 2x3 do not fit"),
        (lambda: OPS["max_pool2d"](3).shape((1, 2, 2, 2)), "no output: the window 3x3 does not fit into 1x2x2x2"),
        (lambda: Add().shape((2, 3, 4, 4), (2, 3, 5, 4)), "shapes 2x3x4x4 and 2x3x5x4 do not broadcast"),
        (lambda: Add(inplace=True).shape((8, 1, 1), (2, 8, 5, 3)), "in place, 8x1x1 cannot take the shape 2x8x5x3"),
        (lambda: Mul(inplace=True).shape((2, 8, 1, 1), (2, 8, 5, 3)), "2x8x1x1 cannot take the shape 2x8x5x3"),
        (lambda: OPS["mean"]((2, 4)).shape((2, 3, 4, 4)), "are not all there in the input 2x3x4x4"),
        (lambda: OPS["cross_entropy"]().shape((2,), (2,)), r"takes \(N, classes, \.\.\.\), the input is 2"),
        (lambda: OPS["cross_entropy"]().shape((2, 3, 4), (2, 3)), "a class for each .* of 2x3x4, the targets are 2x3"),
        (lambda: OPS["mse"]().shape((2, 3), (2, 1)), "targets of the result's shape 2x3, the targets are 2x1"),
    ],
    ids=lambda value: "" if callable(value) else name_of(value),
)
def test_what_does_not_fit_is_said(make, message):
    with pytest.raises(CostmodelError, match=message):
        make()


def test_every_activation_has_a_real_inplace_form_where_it_says_so():
    for op, shapes in EXAMPLES:
        if getattr(op, "inplace", False) and len(shapes) == 1:
            x = torch.randn(shapes[0])
            assert layer_of(op)(x) is x
    assert layer_of(ReLU(inplace=True)).inplace
