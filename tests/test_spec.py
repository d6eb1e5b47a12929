"""Specs: what the grammar says, and that whatever is wrong with one is said in one message with its place."""

import subprocess
import sys

import pytest

import costmodel
from costmodel.errors import CostmodelError
from costmodel.ops.noise import StochasticDepth

BLOCKS = """\
network: tiny
resolution: 32
classes: 10
squeeze_excite: {gate: {op: hardsigmoid}}
stem:
  - {conv: 8, kernel: 3, stride: 2, at: [stem.conv, stem.norm, stem.act]}
stages:
  - {expand: 2, out: 16, stride: 2, repeat: 2, squeeze_excite: true}
tail:
  - {op: adaptive_avg_pool2d, at: pool}
  - {op: flatten, at: flatten}
  - {op: linear, out_features: classes, at: classifier}
"""
NODES = """\
network: tiny
resolution: 8
classes: 4
nodes:
  - {name: conv, op: conv2d, out_channels: 8, kernel: 3}
  - {name: pool, op: mean}
  - {name: fc, op: linear, out_features: classes}
"""


def changed(text, old, new):
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    return text.replace(old, new)


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

IN_BLOCKS = [
    # (what stands in the spec, what instead, where, what was found, what is allowed)
    ("classes: 10", "clases: 10", "unknown key 'clases'", "did you mean 'classes'?", "(allowed: activation, "),
    ("out: 16", "ot: 16", "line 8, stages[0]", "unknown key 'ot'; did you mean 'out'?", "(allowed: activation, "),
    ("op: flatten,", "op: flaten,", "line 11, tail[1]", "unknown op 'flaten'; did you mean 'flatten'?", "(allowed: "),
    ("op: flatten,", "op: flatten, axis: 1,", "line 11, tail[1]", "unknown key of flatten 'axis'", "(allowed: none)"),
    (
        "gate: {op: hardsigmoid}",
        "gate: {op: hardsigmod}",
        "line 8, stages[0]",
        "unknown op 'hardsigmod'; did you mean 'hardsigmoid'?",
        "(allowed: ",
    ),
    ("{gate: {op: hardsigmoid}}", "{gate: {}}", "gate", "'op' is missing", ""),
    ("classes: 10", "classes: 10\nactivation: {inplace: true}", "activation", "'op' is missing", ""),
    ("classes: 10", "classes: 10\nnorm: {op: [batch_norm]}", "norm", "['batch_norm']", "allowed: "),
    ("{gate: {op: hardsigmoid}}", "{of: middle}", "squeeze_excite.of", "unknown value 'middle'", "expanded, input"),
    ("{gate: {op: hardsigmoid}}", "{ratio: -1}", "squeeze_excite.ratio", "-1", "allowed: "),
    (
        "expand: 2",
        "kind: inverted",
        "line 8, stages[0].kind",
        "'inverted'; did you mean 'inverted_residual'?",
        "(allowed: conv, inverted_residual, universal)",
    ),
    ("expand: 2", "expand: 0", "line 8, stages[0].expand", "found 0", "allowed: "),
    ("expand: 2", "expand: -3", "line 8, stages[0].expand", "found -3", "allowed: "),
    ("expand: 2", "expand: .nan", "line 8, stages[0].expand", "found nan", "a number"),
    ("expand: 2", "expand: two", "line 8, stages[0].expand", "found 'two'", "a number"),
    ("expand: 2", "expand: 2, expanded: 16", "line 8, stages[0]", "expanded", "allowed: "),
    ("out: 16", "out: 16, kernel: 0", "line 8, stages[0].kernel", "found 0", "an integer >= 1"),
    ("stride: 2, repeat", "stride: 0, repeat", "line 8, stages[0].stride", "found 0", "an integer >= 1"),
    ("repeat: 2", "repeat: 1000000000", "stages", "1000000000 blocks", "at most 10000"),
    ("kernel: 3", "kernel: [3, 3, 3]", "line 6, stem[0]", "[3, 3, 3]", "an integer or a list of two"),
    ("kernel: 3", "kernel: [a, b]", "line 6, stem[0]", "'a'", "allowed: an integer"),
    ("kernel: 3", "kernel: true", "line 6, stem[0].kernel", "found True", "an integer"),
    ("resolution: 32", "resolution: big", "resolution", "found 'big'", "an integer"),
    ("resolution: 32", "resolution: 32.5", "resolution", "found 32.5", "an integer"),
    ("resolution: 32", "resolution: true", "resolution", "found True", "an integer"),
    ("resolution: 32", "resolution:", "resolution", "found None", "an integer"),
    ("resolution: 32", "resolution: -1", "resolution", "found -1", "an integer >= 1"),
    ("resolution: 32\n", "", "line 1", "'resolution' is missing", ""),
    ("out: 16, ", "", "line 8, stages[0]", "'out' is missing", ""),
    (", at: flatten", "", "line 11, tail[1]", "'at' is missing", ""),
    ("at: flatten", "at: pool", "line 11, tail[1]", "two nodes are called 'pool'", ""),
    ("at: flatten", "at: ''", "line 11, tail[1]", "''", "allowed: "),
    ("at: flatten", "at: a..b", "line 11, tail[1]", "'a..b'", "allowed: "),
    ("classes: 10", "classes: 0", "classes", "found 0", "an integer >= 1"),
    ("classes: 10", "classes: 10\nclasses: 11", "line 4", "the key 'classes' stands twice", ""),
    (
        "classes: 10",
        "classes: 10\nmodules: plan",
        "modules",
        "unknown naming 'plan'; did you mean 'plain'?",
        "(allowed: mit_han_lab, ",
    ),
    ("classes: 10", "classes: 10\nclassifier: head", "line 1", "no node stands in 'head'", ""),
    ("classes: 10", "classes: 10\nwidth: 0", "width", "width is 0", "allowed: a number > 0, at most 1000"),
    ("classes: 10", "classes: 10\nstochastic_depth: 2", "stochastic_depth", "2", "allowed: "),
    (
        "classes: 10",
        "classes: 10\nactivation: {op: relu, inplace: 'yes'}",
        "line 7, stem[0]",
        "inplace is 'yes'",
        "true or false",
    ),
    (
        "classes: 10",
        "classes: 10\nactivation: {op: gelu, approximate: fast}",
        "line 7, stem[0]",
        "approximate is 'fast'",
        "none, tanh",
    ),
    ("squeeze_excite: {gate: {op: hardsigmoid}}\n", "", "line 1", "a stage has squeeze_excite", "the network must say"),
    ("out_features: classes", "out_features: clases", "line 12, tail[2]", "out_features is 'clases'", "an integer"),
    (
        "out_features: classes",
        "out_features: 9, in_features: 3",
        "line 12, tail[2]",
        "the input has 16 features",
        "the layer takes 3",
    ),
    (
        "op: adaptive_avg_pool2d,",
        "op: avg_pool2d, kernel: 9,",
        "line 10, tail[0]",
        "no output: the window 9x9",
        "does not fit into 2x16x8x8",
    ),
    ("resolution: 32", f"resolution: {10**30}", "line 2, resolution", str(10**30), "64 bits"),
    ("conv: 8", f"conv: {2**63 - 1}", "line 8, stages[0]", str(2 * (2**63 - 1)), "an integer of at most 64 bits"),
]
IN_NODES = [
    (
        "op: mean",
        "op: mean, inputs: [cnv]",
        "line 6, nodes[1]",
        "unknown input 'cnv'; did you mean 'conv'?",
        "(allowed: conv, input)",
    ),
    ("op: mean", "op: mean, inputs: [fc]", "nodes[1]", "'fc'", "cycle"),
    ("op: mean", "op: mean, inputs: [pool]", "nodes[1]", "'pool'", "cycle"),
    ("op: mean", "op: mean, inputs: conv", "line 6, nodes[1].inputs", "found 'conv'", "a list"),
    ("op: mean", "op: mean, inputs: [1]", "line 6, nodes[1].inputs", "found [1]", "names of nodes"),
    ("op: mean", "op: mean, inputs: [input]", "line 1", "no node reads 'conv'", "not the result"),
    ("op: mean", "op: add, inputs: [conv]", "line 6, nodes[1]", "1 inputs", "add takes 2"),
    ("op: mean", "op: add, inputs: [conv, input]", "line 6, nodes[1]", "2x8x6x6 and 2x3x8x8", "do not broadcast"),
    ("op: mean", "op: mean, axes: [-1]", "line 6, nodes[1]", "axes is (-1,)", "allowed: each >= 0"),
    ("name: pool, ", "", "line 6, nodes[1]", "'name' is missing", ""),
    (", op: mean", "", "line 6, nodes[1]", "'op' is missing", ""),
    ("op: mean", "op: 3", "line 6, nodes[1].op", "found 3", "a text"),
    ("out_channels: 8, ", "", "line 5, nodes[0]", "conv2d lacks 'out_channels'", ""),
    (
        "out_channels: 8",
        "out_channels: 8, in_channels: 4",
        "line 5, nodes[0]",
        "the input has 3 channels",
        "the convolution takes 4",
    ),
    ("kernel: 3", "kernel: 9", "line 5, nodes[0]", "no output: the kernel 9x9", "does not fit into the input 2x3x8x8"),
    ("kernel: 3", "kernel: 3, groups: 2", "line 5, nodes[0]", "groups 2 does not divide in_channels 3", ""),
    ("classes: 4", "classes: 4\nblocks: [b]", "line 1", "no node stands in 'b'", ""),
    ("classes: 4", "classes: 4\nwidth: 0.5", "line 1", "a list of nodes has no width multiplier", "allowed: width 1"),
    (
        "classes: 4",
        "classes: 4\nstem: [{conv: 3, at: [a]}]",
        "line 1",
        "'nodes' stands beside 'stem'",
        "allowed: one of the two",
    ),
    (
        "{name: pool, ",
        "{name: again@conv, op: conv2d, out_channels: 8, kernel: 1}\n  - {name: pool, ",
        "conv",
        "(8, 8, 1, 1)",
        "(8, 3, 3, 3)",
    ),
]
NOT_SPECS = [
    (b"", "", "found nothing", "a mapping"),
    (b"# only a comment\n", "", "found nothing", "a mapping"),
    (b"- a\n- b\n", "", "found a list", "a mapping"),
    (b"hello\n", "", "found a single value", "a mapping"),
    (b"\x00\x01\xff\xfe", "", "cannot read", "UTF-8 text"),
    (b"\x00\x01\x02", "", "not valid YAML", ""),
    (b"network: [a\n", "line 2", "not valid YAML", ""),
    (b"network:\n\t- a\n", "line 2", "not valid YAML", ""),
    (
        b"network: !!python/object/apply:os.system [echo]\n",
        "line 1, network",
        "python/object/apply:os.system",
        "allowed: plain values",
    ),
    (b"network: !mine x\n", "line 1, network", "'!mine'", "allowed: plain values"),
    (b"network: !!int abc\n", "line 1, network", "'abc' is no int", ""),
    (b"network: !!bool abc\n", "line 1, network", "'abc' is no bool", ""),
    (b"network: !!timestamp abc\n", "line 1, network", "'abc' is no timestamp", ""),
    (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "line 1", "anchors and aliases", "not allowed"),
    (b"network: " + b"[" * 5000 + b"]" * 5000, "line 1", "nested deeper", "20 levels"),
    (b"network: " + b"{a: " * 2000 + b"1" + b"}" * 2000, "line 1", "nested deeper", "20 levels"),
    (b"resolution: " + b"9" * 5000, "line 1, resolution", "9" * 40, ""),  # Python may not read so many digits
    (b"#" + b"x" * 1_000_000, "", "1000001 characters", "at most 1000000"),
    (b"resolution: 8\nclasses: 2\nnetwork: nothing\n", "line 1", "the network has no layers", "'nodes'"),
]


def said(path, *parts):
    """The file's name and all parts stand in the one line that loading and estimating it raises."""
    with pytest.raises(CostmodelError) as caught:
        costmodel.estimate(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    missing = [part for part in ("tiny.yaml", *parts) if part not in message]
    assert not missing, message


@pytest.mark.parametrize("old, new, where, found, allowed", IN_BLOCKS)
def test_bad_specs_of_blocks(spec_file, old, new, where, found, allowed):
    said(spec_file(changed(BLOCKS, old, new)), where, found, allowed)


@pytest.mark.parametrize("old, new, where, found, allowed", IN_NODES)
def test_bad_specs_of_nodes(spec_file, old, new, where, found, allowed):
    said(spec_file(changed(NODES, old, new)), where, found, allowed)


@pytest.mark.parametrize("content, where, found, allowed", NOT_SPECS, ids=range(len(NOT_SPECS)))
def test_files_that_are_no_specs(spec_file, content, where, found, allowed):
    said(spec_file(content), where, found, allowed)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_a_megabyte_of_nesting_is_an_error_and_no_crash(spec_file, opening):
    # In a process of its own: a parser that recurses without bound takes the whole process down.
    text = "network: " if opening in "[{a: " else ""
    path = spec_file(text + opening * (900_000 // len(opening)))
    code = "import sys, costmodel\ntry: costmodel.load(sys.argv[1])\nexcept costmodel.CostmodelError as e: print(e)"
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=20)
    assert run.returncode == 0, run.stderr
    assert "nested deeper than 20 levels" in run.stdout


def test_a_network_whose_cost_is_beyond_64_bits_is_no_number(spec_file):
    said_of = changed(BLOCKS, "classes: 10", f"classes: {2**63 - 1}")
    with pytest.raises(CostmodelError, match="^tiny, batch 8, resolution 32: the cost exceeds 64 bits$"):
        costmodel.estimate(spec_file(said_of))
    for size in ({"batch": 2**40}, {"resolution": 2**40}, {"batch": 2**63 - 1, "strategy": "inference"}):
        with pytest.raises(CostmodelError, match="the cost exceeds 64 bits$"):
            costmodel.estimate("mobilenet_v2", **size)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "8", 10**30, float("nan")])
@pytest.mark.parametrize("name", ["batch", "resolution"])
def test_bad_batch_or_resolution(name, value):
    with pytest.raises(CostmodelError, match=f"^{name} is {value!r}; allowed: an integer ".replace("+", r"\+")):
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
        ("/", "cannot read '/': Is a directory"),
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
