"""Specs: the networks that the grammar describes, and one message with the place for each error."""

import re

import pytest

import costmodel
from costmodel.errors import CostmodelError
from costmodel.ops.noise import StochasticDepth
from specs import BLOCKS, NODES, changed

# -- the grammar -------------------------------------------------------------------------------------------


def test_a_spec_of_blocks_with_plain_names(spec_file):
    network = costmodel.load(spec_file(BLOCKS))
    assert (network.name, network.resolution, network.channels) == ("tiny", 32, 3)
    assert network.graph.blocks == ("blocks.0", "blocks.1")
    assert network.graph.classifier == "classifier"
    assert [f"{node.name}: {node.op.kind}({', '.join(node.inputs)})" for node in network.graph.nodes] == [
        "stem.conv: conv2d(input)",
        "stem.norm: batch_norm(stem.conv)",
        "stem.act: relu(stem.norm)",
        "blocks.0.expand.conv: conv2d(stem.act)",
        "blocks.0.expand.norm: batch_norm(blocks.0.expand.conv)",
        "blocks.0.expand.activation: relu(blocks.0.expand.norm)",
        "blocks.0.depthwise.conv: conv2d(blocks.0.expand.activation)",
        "blocks.0.depthwise.norm: batch_norm(blocks.0.depthwise.conv)",
        "blocks.0.depthwise.activation: relu(blocks.0.depthwise.norm)",
        "blocks.0.se.pool: adaptive_avg_pool2d(blocks.0.depthwise.activation)",
        "blocks.0.se.reduce: conv2d(blocks.0.se.pool)",
        "blocks.0.se.activation: relu(blocks.0.se.reduce)",
        "blocks.0.se.expand: conv2d(blocks.0.se.activation)",
        "blocks.0.se.gate: hardsigmoid(blocks.0.se.expand)",
        "blocks.0.se.scale: mul(blocks.0.se.gate, blocks.0.depthwise.activation)",
        "blocks.0.project.conv: conv2d(blocks.0.se.scale)",
        "blocks.0.project.norm: batch_norm(blocks.0.project.conv)",
        "blocks.1.expand.conv: conv2d(blocks.0.project.norm)",
        "blocks.1.expand.norm: batch_norm(blocks.1.expand.conv)",
        "blocks.1.expand.activation: relu(blocks.1.expand.norm)",
        "blocks.1.depthwise.conv: conv2d(blocks.1.expand.activation)",
        "blocks.1.depthwise.norm: batch_norm(blocks.1.depthwise.conv)",
        "blocks.1.depthwise.activation: relu(blocks.1.depthwise.norm)",
        "blocks.1.se.pool: adaptive_avg_pool2d(blocks.1.depthwise.activation)",
        "blocks.1.se.reduce: conv2d(blocks.1.se.pool)",
        "blocks.1.se.activation: relu(blocks.1.se.reduce)",
        "blocks.1.se.expand: conv2d(blocks.1.se.activation)",
        "blocks.1.se.gate: hardsigmoid(blocks.1.se.expand)",
        "blocks.1.se.scale: mul(blocks.1.se.gate, blocks.1.depthwise.activation)",
        "blocks.1.project.conv: conv2d(blocks.1.se.scale)",
        "blocks.1.project.norm: batch_norm(blocks.1.project.conv)",
        "blocks.1.add: add(blocks.1.project.norm, blocks.0.project.norm)",
        "pool: adaptive_avg_pool2d(blocks.1.add)",
        "flatten: flatten(pool)",
        "classifier: linear(flatten)",
    ]


def test_parameters_of_a_spec_of_blocks_by_hand(spec_file):
    stem = 3 * 8 * 9 + 2 * 8

    def block(inputs, expanded, out):
        squeezed = 8  # a quarter of the expanded channels, to a multiple of 8
        squeeze_excite = expanded * squeezed + squeezed + squeezed * expanded + expanded
        convolutions = inputs * expanded + expanded * 9 + expanded * out
        return convolutions + 2 * expanded + 2 * expanded + 2 * out + squeeze_excite

    by_hand = stem + block(8, 16, 16) + block(16, 32, 16) + 16 * 10 + 10
    assert costmodel.estimate(spec_file(BLOCKS)).parameters == by_hand


def test_a_spec_of_nodes(spec_file):
    network = costmodel.load(spec_file(NODES))
    assert str(network) == (
        "tiny at 3x8x8\n"
        "conv = Conv2d(in_channels=3, out_channels=8, kernel=(3, 3), stride=(1, 1), padding=(0, 0), "
        "dilation=(1, 1), groups=1, bias=False, standardise=False, fixed=False)(input)\n"
        "pool = Mean(axes=(2, 3), keepdim=False)(conv)\n"
        "fc = Linear(in_features=8, out_features=4, bias=True, strided=False)(pool)"
    )
    assert network.graph.blocks == ()
    assert network.graph.classifier == "fc"  # without `classifier` the last linear layer


def test_nodes_may_name_blocks_classifier_and_owners(spec_file):
    text = """\
network: tiny
resolution: 8
classes: 4
blocks: [b.0, b.1]
classifier: head
nodes:
  - {name: b.0.conv, op: conv2d, out_channels: 3, kernel: 1}
  - {name: b.1.conv, op: conv2d, out_channels: 3, kernel: 1}
  - {name: b.1.bn.norm@b.1.bn, op: batch_norm}
  - {name: b.1.bn.act, op: relu}
  - {name: b.1.add, op: add, inputs: [b.1.bn.act, b.0.conv]}
  - {name: pool, op: mean}
  - {name: head.0, op: linear, out_features: 5}
  - {name: head.1, op: linear, out_features: classes}
"""
    graph = costmodel.load(spec_file(text)).graph
    assert graph.blocks == ("b.0", "b.1") and graph.classifier == "head"
    assert ("b.1.bn", "weight") in graph.parameters
    assert costmodel.estimate(spec_file(text), "last").trainable_parameters == 3 * 5 + 5 + 5 * 4 + 4


def test_classes_and_width_belong_to_the_call_or_the_spec(spec_file):
    def widths(network):
        return [node.op.out_channels for node in network.graph.nodes if node.op.kind == "conv2d"]

    path = spec_file(BLOCKS)
    # Stem 8, expansion to twice the input, squeeze-and-excite and projection to 16.
    assert widths(costmodel.load(path)) == [8, 16, 16, 8, 16, 16, 32, 32, 8, 32, 16]
    # Twice the width: twice everything, but a quarter of 64 is the first to squeeze to more than 8.
    assert widths(costmodel.load(path, width=2)) == [16, 32, 32, 8, 32, 32, 64, 64, 16, 64, 32]
    in_spec = spec_file(changed(BLOCKS, "classes: 10\n", "classes: 7\nwidth: 2\n"))
    assert widths(costmodel.load(in_spec)) == widths(costmodel.load(path, width=2))
    assert costmodel.load(in_spec).graph.nodes[-1].op.out_features == 7
    assert costmodel.load(in_spec, classes=3).graph.nodes[-1].op.out_features == 3


@pytest.mark.parametrize(
    "channels, scaled",
    # To the nearest multiple of 8, halves up, at least 8, and up again where that loses more than a tenth.
    [(1, 8), (8, 8), (11.9, 16), (12, 16), (19, 24), (20, 24), (24, 24), (44.8, 48), (75, 72), (84, 88), (179.2, 176)],
)
def test_rounding_of_scaled_widths(channels, scaled):
    from costmodel.frontends.spec.grammar import divisible

    assert divisible(channels, 8) == scaled


def test_stochastic_depth_rises_with_the_blocks(spec_file):
    text = changed(BLOCKS, "repeat: 2", "repeat: 5").replace("classes: 10", "classes: 10\nstochastic_depth: 0.2", 1)
    nodes = costmodel.load(spec_file(text)).graph.nodes
    # Block i of 5 drops with 0.2 * i / 5; the first has no sum.
    assert [n.op.p for n in nodes if isinstance(n.op, StochasticDepth)] == [0.2 * i / 5 for i in range(1, 5)]


def test_own_names_for_modules(spec_file):
    own = (
        "{first: 3, block: body.$k, expand: [p$i.c, p$i.n, p$i.a], depthwise: [p$i.c, p$i.n, p$i.a], "
        "project: [p$i.c, p$i.n], squeeze_excite: [s.p, s.r, s.a, s.e, s.g, s.m], add: sum}"
    )
    graph = costmodel.load(spec_file(changed(BLOCKS, "classes: 10\n", f"classes: 10\nmodules: {own}\n"))).graph
    assert graph.blocks == ("body.3", "body.4")
    names = [node.name for node in graph.nodes]
    assert "body.3.p0.c" in names and "body.3.s.m" in names and names[-4] == "body.4.sum"


# -- bad input ---------------------------------------------------------------------------------------------


def test_a_network_whose_cost_is_beyond_64_bits_is_no_number(spec_file):
    said_of = changed(BLOCKS, "classes: 10", f"classes: {2**63 - 1}")
    with pytest.raises(CostmodelError, match="^tiny, batch 8, resolution 32: the cost exceeds 64 bits$"):
        costmodel.estimate(spec_file(said_of))
    for size in ({"batch": 2**40}, {"resolution": 2**40}, {"batch": 2**63 - 1, "strategy": "inference"}):
        with pytest.raises(CostmodelError, match="the cost exceeds 64 bits$"):
            costmodel.estimate("mobilenet_v2", **size)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, [8], 10**30, float("nan")])
@pytest.mark.parametrize("name", ["batch", "resolution"])
def test_bad_batch_or_resolution(name, value):
    with pytest.raises(CostmodelError, match=re.escape(f"{name} is {value!r}; allowed: an integer ")):
        costmodel.estimate("mobilenet_v2", **{name: value})


def test_none_is_a_bad_batch():
    with pytest.raises(CostmodelError, match="^batch is None; allowed: an integer "):
        costmodel.estimate("mobilenet_v2", batch=None)


@pytest.mark.parametrize(
    "options",
    [{"strategy": None}, {"strategy": ["full"]}, {"convention": None}, {"convention": []}, {"optimizer": ["sgd"]}],
    ids=str,
)
def test_a_name_that_is_no_text(options):
    with pytest.raises(CostmodelError, match=f"unknown {next(iter(options))} "):
        costmodel.estimate("mobilenet_v2", **options)


@pytest.mark.parametrize(
    "network, message",
    [
        ("mobilenet_v3", r"unknown network 'mobilenet_v3'; did you mean 'mobilenet_v2'\? \(allowed: a path to a "),
        ("", r"unknown network '' \(allowed: a path to a .yaml file, a path to an .onnx file, efficientnet_b0, "),
        ("nowhere.yaml", "cannot read 'nowhere.yaml': No such file or directory"),
        ("/", "cannot read '/': it is a folder"),
        ("a\0b.yaml", "cannot read "),
        (5, "network is int; allowed: a name, a path"),
        (None, "network is NoneType; allowed: a name, a path"),
    ],
)
def test_bad_networks(network, message):
    with pytest.raises(CostmodelError, match=f"^{message}"):
        costmodel.load(network)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "10", 10**30])
def test_bad_classes(value):
    with pytest.raises(CostmodelError, match="classes is .*; allowed: "):
        costmodel.load("mobilenet_v2", classes=value)


@pytest.mark.parametrize("value", [0, -1, True, "1", [1], float("nan"), float("inf"), 1001])
def test_bad_widths(value):
    with pytest.raises(CostmodelError, match="width is .*; allowed: "):
        costmodel.load("mobilenet_v2", width=value)


def test_a_built_network_takes_neither_classes_nor_width():
    network = costmodel.load("mobilenet_v2")
    for options in ({"classes": 3}, {"width": 0.5}):
        with pytest.raises(CostmodelError, match="^classes and width belong to a spec"):
            costmodel.load(network, **options)


def test_a_map_that_vanishes_names_the_layer(spec_file):
    path = spec_file(changed(NODES, "kernel: 3", "kernel: 3, stride: 2"))
    place, reason = "tiny, batch 8, resolution 2: node 'conv' .conv2d.", "no output: the kernel 3x3 does not fit into"
    with pytest.raises(CostmodelError, match=f"^{place}: {reason} the input 8x3x2x2$"):
        costmodel.estimate(path, resolution=2)
