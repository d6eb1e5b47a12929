"""What the conventions keep, on graphs small enough to count by hand; `torch` also against a real run."""

import pytest
import torch
from real import NETWORKS_AND_STRATEGIES, saved_bytes

import costmodel
from costmodel.conventions import CONVENTIONS
from costmodel.errors import CostmodelError
from costmodel.graph.graph import Graph, Node
from costmodel.ops._loss import Loss
from costmodel.ops.activation import GELU, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, ReLU, ReLU6, Sigmoid
from costmodel.ops.arithmetic import Add, Mul
from costmodel.ops.class_loss import CrossEntropy
from costmodel.ops.conv import Conv2d
from costmodel.ops.exponential import ELU
from costmodel.ops.linear import Linear
from costmodel.ops.noise import Dropout
from costmodel.ops.norm import BatchNorm
from costmodel.ops.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from costmodel.ops.view import Flatten
from costmodel.pytorch.realize import build
from costmodel.step.shapes import shapes_of
from costmodel.step.walk import price
from costmodel.strategies import with_loss

IMAGES = (2, 3, 5, 3)  # 90 elements: 360 bytes; with 4 channels 120 elements, 480 bytes, 15 bytes at one bit each
X, Y, BITS = 360, 480, 15


def chain(*steps):
    """A graph of steps (op, what trains[, inputs]), by default each reads the one before it; a loss comes last."""
    nodes = []
    for op, trains, *inputs in steps:
        if isinstance(op, Loss):
            return with_loss(Graph(tuple(nodes)), op)
        name = f"n{len(nodes)}"
        before = nodes[-1].name if nodes else "input"
        nodes.append(Node(name, op, tuple(inputs[0]) if inputs else (before,), frozenset(trains)))
    return Graph(tuple(nodes))


def kept(graph, convention):
    """Kept bytes by (node, operand)."""
    keeps = CONVENTIONS[convention].kept(graph)
    sizes = price(graph, keeps, shapes_of(graph, IMAGES), 32)[1]
    return {(graph.nodes[k.node].name, k.operand): size for k, size in zip(keeps, sizes)}


def run_for_real(graph):
    module = build(graph).train()
    images = torch.randn(IMAGES)
    if not graph.has_loss:
        return saved_bytes(lambda: module(images), module)
    targets = torch.zeros(len(images), dtype=torch.int64)
    return saved_bytes(lambda: torch.nn.functional.cross_entropy(module(images), targets), module)


ALL = ("weight",)
NORM = ("weight", "bias")
FIRST = (Conv2d(3, 4, 1), ALL)  # keeps the images, X
NEXT = (Conv2d(4, 4, 1), ALL)  # keeps its input, Y

CASES = {
    # The in-place ReLU6 overwrites the convolution's output, so torch keeps a clone of it beside the result that the
    # next convolution keeps. Ideal reads the mask 0 < y < 6 off that result.
    "in-place relu6 keeps a clone": (
        [FIRST, (ReLU6(inplace=True), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n2", "x"): Y},
    ),
    # Out of place the same bytes: the convolution's output itself is kept.
    "relu6 keeps its input": (
        [FIRST, (ReLU6(), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n2", "x"): Y},
    ),
    # ReLU keeps its output, which is the next convolution's input: one storage.
    "relu shares its output with the next convolution": (
        [FIRST, (ReLU(inplace=True), ()), NEXT],
        {("n0", "x"): X, ("n1", "y"): Y},
        {("n0", "x"): X, ("n2", "x"): Y},
    ),
    # Nobody keeps the ReLU6's output: ideal stores one bit of each of 120 elements.
    "a mask that no kept output carries is stored": (
        [FIRST, (ReLU6(), ()), (AdaptiveAvgPool2d(), ())],
        {("n0", "x"): X, ("n1", "x"): Y},
        {("n0", "x"): X, ("n1", "mask"): BITS},
    ),
    # 2 * 3 * 5 * 3 = 90 bits are 11.25 bytes: 12.
    "bits are packed and the last byte filled up": (
        [(Conv2d(3, 3, 1), ALL), (ReLU6(), ())],
        {("n0", "x"): X, ("n1", "x"): X},
        {("n0", "x"): X, ("n1", "mask"): 12},
    ),
    # y = relu6(x + 3) / 6 is rounded: its mask is stored though the product keeps y. 2 images of 3 channels: 6 bits,
    # 1 byte, and 24 bytes in float32.
    "a hardsigmoid's mask is stored beside its output": (
        [
            (AdaptiveAvgPool2d(), ()),
            (Conv2d(3, 3, 1), ALL),
            (Hardsigmoid(), ()),
            (Conv2d(3, 3, 1), ALL, ["input"]),
            (Mul(), (), ["n2", "n3"]),
        ],
        # The pooled images, the hardsigmoid's input, the images, and both factors: one small, one a map.
        {("n1", "x"): 24, ("n2", "x"): 24, ("n3", "x"): X, ("n4", "b"): X, ("n4", "a"): 24},
        {("n1", "x"): 24, ("n2", "mask"): 1, ("n3", "x"): X, ("n4", "b"): X, ("n4", "a"): 24},
    ),
    # Three convolutions read the images, one storage; the sum keeps nothing.
    "a value read by several nodes is counted once": (
        [FIRST, (Conv2d(3, 4, 1), ALL, ["input"]), (Add(), (), ["n0", "n1"])],
        {("n0", "x"): X},
        {("n0", "x"): X},
    ),
    # One convolution keeps the sum; the ReLU of the sum keeps its own output, which the other convolution keeps.
    "a value read twice, once by a relu": (
        [FIRST, (ReLU(), ()), (*NEXT, ["n0"]), (*NEXT, ["n1"]), (Add(), (), ["n2", "n3"])],
        {("n0", "x"): X, ("n1", "y"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n2", "x"): Y, ("n3", "x"): Y},
    ),
    # The flattened ReLU is the ReLU's storage seen as 2 x 60: kept once for both.
    "a view is its input's storage": (
        [FIRST, (ReLU(), ()), (Flatten(), ()), (Linear(60, 2), ("weight", "bias"))],
        {("n0", "x"): X, ("n1", "y"): Y},
        {("n0", "x"): X, ("n3", "x"): Y},
    ),
    # A linear layer with a frozen weight keeps nothing in torch either.
    "a frozen linear layer keeps nothing": (
        [FIRST, (Flatten(), ()), (Linear(60, 2), ("bias",))],
        {("n0", "x"): X},
        {("n0", "x"): X},
    ),
    # A float mask of 120 elements in torch, one bit each under ideal; dropout at p = 0 or off is a view.
    "dropout keeps its mask": (
        [FIRST, (Dropout(0.2), ()), (Dropout(0.0), ()), (Dropout(0.5, active=False), ())],
        {("n0", "x"): X, ("n1", "noise"): Y},
        {("n0", "x"): X, ("n1", "mask"): BITS},
    ),
    # A convolution's one backward call keeps the input whatever is demanded; the bias's gradient reads nothing, the
    # input's only the weight. So of a chain whose biases train ideal keeps the ReLUs' bits alone.
    "biases alone need only masks": (
        [
            (Conv2d(3, 4, 1, bias=True), ("bias",)),
            (ReLU(inplace=True), ()),
            (Conv2d(4, 4, 1, bias=True), ("bias",)),
            (ReLU(inplace=True), ()),
            (Conv2d(4, 4, 1, bias=True), ("bias",)),
        ],
        {("n0", "x"): X, ("n1", "y"): Y, ("n3", "y"): Y},
        {("n1", "mask"): BITS, ("n3", "mask"): BITS},
    ),
    # A frozen convolution below what trains gets no gradient at all.
    "below what trains nothing is kept": (
        [(Conv2d(3, 4, 1), ()), (ReLU6(inplace=True), ()), NEXT],
        {("n2", "x"): Y},
        {("n2", "x"): Y},
    ),
    # Batch statistics: the input and mean and inverse deviation of 4 channels, 16 bytes each.
    "batch statistics": (
        [FIRST, (BatchNorm(4), NORM)],
        {("n0", "x"): X, ("n1", "x"): Y, ("n1", "mean"): 16, ("n1", "invstd"): 16},
        {("n0", "x"): X, ("n1", "x"): Y, ("n1", "mean"): 16, ("n1", "invstd"): 16},
    ),
    # Frozen statistics: torch keeps the input all the same; dx = g * a reads constants, the shift nothing.
    "frozen statistics with a shift that trains": (
        [FIRST, (BatchNorm(4, statistics="frozen"), ("bias",))],
        {("n0", "x"): X, ("n1", "x"): Y},
        {("n0", "x"): X},
    ),
    # The scale's gradient reads the input.
    "frozen statistics with a scale that trains": (
        [FIRST, (BatchNorm(4, statistics="frozen"), NORM)],
        {("n0", "x"): X, ("n1", "x"): Y},
        {("n0", "x"): X, ("n1", "x"): Y},
    ),
    # In-place h-swish keeps a clone, in ideal too: its derivative reads the input, which the result does not tell.
    "hardswish": (
        [FIRST, (Hardswish(inplace=True), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
    ),
    # MobileTL's rule goes by the sign of the input. It is the sign of h-swish's output, on every machine.
    "a signed hardswish's mask is read off its output": (
        [FIRST, (Hardswish(signed=True), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n2", "x"): Y},
    ),
    # The sign of GELU's output is another one on other machines.
    "a signed gelu's mask is stored beside its output": (
        [FIRST, (GELU(signed=True), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n1", "mask"): BITS, ("n2", "x"): Y},
    ),
    # Between the bounds the gradient passes; what is cut is at a bound.
    "a hardtanh's mask is read off its output": (
        [FIRST, (Hardtanh(), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n2", "x"): Y},
    ),
    # In bfloat16 0.1 is rounded up, so the output at that bound is above the bound.
    "a hardtanh's mask is stored where a bound is rounded": (
        [FIRST, (Hardtanh(0.1, 1.0), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n1", "mask"): BITS, ("n2", "x"): Y},
    ),
    # The gradient passes at the bounds, too, where the output may be that of an input beyond.
    "a clamp's mask is stored beside its output": (
        [FIRST, (Hardtanh(0.0, 6.0, clamp=True), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n1", "mask"): BITS, ("n2", "x"): Y},
    ),
    # -1 and 1 have positive outputs both.
    "a slope below 0": (
        [FIRST, (LeakyReLU(-0.5), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n1", "mask"): BITS, ("n2", "x"): Y},
    ),
    "an elu that is below 0 nowhere": (
        [FIRST, (ELU(-0.5), ()), NEXT],
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
        {("n0", "x"): X, ("n1", "x"): Y, ("n2", "x"): Y},
    ),
    # dx = g * y * (1 - y) reads the output, which is the next convolution's input.
    "sigmoid": ([FIRST, (Sigmoid(), ()), NEXT], {("n0", "x"): X, ("n1", "y"): Y}, {("n0", "x"): X, ("n1", "y"): Y}),
    # 5x3 pooled by 2 gives 2x1: torch keeps the input and 2 * 4 * 2 indices of 8 bytes; which of 4 won takes 2 bits
    # of each of 16 windows, 4 bytes.
    "max pooling": (
        [FIRST, (MaxPool2d(2), ())],
        {("n0", "x"): X, ("n1", "x"): Y, ("n1", "indices"): 128},
        {("n0", "x"): X, ("n1", "winner"): 4},
    ),
    # Only the shape of the input matters, but torch keeps the tensor.
    "average pooling": ([FIRST, (AvgPool2d(2), ())], {("n0", "x"): X, ("n1", "x"): Y}, {("n0", "x"): X}),
    # 2 images of 2 classes: 16 bytes of log-probabilities, 16 of int64 targets, and torch's 4 of total weight.
    "the loss": (
        [(Flatten(), ()), (Linear(45, 2), ("weight", "bias")), (CrossEntropy(), ())],
        {("n1", "x"): X, ("loss", "log_probabilities"): 16, ("loss", "targets"): 16, ("loss", "total_weight"): 4},
        {("n1", "x"): X, ("loss", "log_probabilities"): 16, ("loss", "targets"): 16},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_kept_by_hand(name):
    steps, torch_keeps, ideal_keeps = CASES[name]
    graph = chain(*steps)
    assert kept(graph, "torch") == torch_keeps
    assert kept(graph, "ideal") == ideal_keeps


@pytest.mark.parametrize("name", CASES)
def test_kept_by_hand_under_torch_is_what_a_real_run_keeps(name):
    steps, torch_keeps, _ = CASES[name]
    assert sum(torch_keeps.values()) == run_for_real(chain(*steps))


def test_readers_say_who_reads_a_kept_tensor_and_for_which_gradient():
    graph = chain(FIRST, (ReLU(), ()), NEXT)
    first, second = CONVENTIONS["torch"].kept(graph)
    assert [(read.node, read.operand, read.gradients) for read in first.readers] == [(0, "x", ("weight",))]
    assert [(read.node, read.operand, read.gradients) for read in second.readers] == [
        (1, "y", ("x",)),
        (2, "x", ("weight",)),
    ]


@pytest.mark.parametrize("name, strategy", NETWORKS_AND_STRATEGIES)
def test_ideal_keeps_at_most_what_torch_keeps(name, strategy):
    torchs = costmodel.estimate(name, strategy, convention="torch")
    ideal = costmodel.estimate(name, strategy, convention="ideal")
    assert ideal.saved_bytes <= torchs.saved_bytes
    assert (ideal.saved_bytes == 0) == (torchs.saved_bytes == 0) == (strategy == "inference")


@pytest.mark.parametrize("convention", ["torch", "ideal"])
@pytest.mark.parametrize("name, strategy", [("mobilenet_v3_small", "full"), ("efficientnet_b0", "blocks:3")])
def test_rows_blocks_and_layers_add_up_to_the_totals(name, strategy, convention):
    estimate = costmodel.estimate(name, strategy, convention=convention)
    assert sum(row.saved_bytes for row in estimate.rows) == estimate.saved_bytes
    totals = {
        "saved": estimate.saved_bytes,
        "parameters": estimate.parameters,
        "trainable_parameters": estimate.trainable_parameters,
        "forward_flops": estimate.flops["forward"],
        "backward_flops": estimate.flops["backward"],
    }
    for parts in (estimate.blocks, estimate.layers):
        assert {key: sum(part[key] for part in parts) for key in totals} == totals


def test_saved_bytes_are_affine_in_the_batch():
    for convention in ("torch", "ideal"):
        one, two, three, ten = (
            costmodel.estimate("mobilenet_v3_small", "bias", batch, 64, convention).saved_bytes
            # Multiples of 8, so that packed bits fill whole bytes.
            for batch in (8, 16, 24, 80)
        )
        assert three - two == two - one
        assert ten == one + 9 * (two - one)


def test_an_unknown_convention_is_named_with_its_neighbour():
    message = r"^unknown convention 'trch'; did you mean 'torch'\? \(allowed: .*ideal.*torch.*\)$"
    with pytest.raises(CostmodelError, match=message):
        costmodel.estimate("mobilenet_v2", convention="trch")
