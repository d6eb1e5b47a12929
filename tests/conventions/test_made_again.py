"""Which values are made again, on graphs of a few layers: what decides is who reads them."""

import pytest

import costmodel
from costmodel.conventions import ideal, lean
from costmodel.conventions._alike import has_shape_of, keeps_size
from costmodel.conventions._dropped import to_drop
from costmodel.conventions._made_again import without_derived
from costmodel.conventions._units import with_units
from costmodel.graph.dropping import level_of, nodes_dropped
from costmodel.graph.recompute import MAPS, MIXED, NOTHING, WITHIN_PARTS, chain_of, flattened
from costmodel.ops.conv import Conv2d
from costmodel.strategies import apply, parts

HEAD = """
  - {name: pool, op: adaptive_avg_pool2d}
  - {name: flatten, op: flatten}
  - {name: fc, op: linear, out_features: classes}
"""


@pytest.fixture
def graph(spec_file):
    """A graph of two convolutions with a norm between, and what a text puts in place of READ."""

    def make(between="act", middle="", strategy="full"):
        nodes = f"""
network: few
resolution: 8
classes: 5
classifier: fc
nodes:
  - {{name: a, op: conv2d, out_channels: 4, kernel: 3, padding: 1}}
  - {{name: norm, op: batch_norm}}
  - {{name: act, op: relu6}}
{middle}
  - {{name: b, op: conv2d, out_channels: 4, kernel: 3, padding: 1, inputs: [{between}]}}
"""
        return apply(strategy, costmodel.load(spec_file(nodes + HEAD)).graph)

    return make


def made_again(graph):
    return {name for name, _ in lean.lower(graph).remade}


def test_a_map_that_a_convolution_reads_is_made_again(graph):
    lowered = lean.lower(graph())
    assert lowered.remade == (("norm", ("a",)),)
    kinds = {node.name: node.op.kind for node in lowered.nodes}
    assert (kinds["norm"], kinds["act"], kinds["b"]) == ("remade_norm", "passed_activation", "remaking_conv2d")
    # Of 8 x 8 maps with 4 channels: the images, a, the norm's statistics, and b's output is read by pooling alone.
    kept = {(one.operand, one.value) for one in costmodel.conventions.find("lean").kept(lowered)}
    assert {(operand, value) for operand, value in kept if operand in ("x", "y") and value in (0, 1, 2, 3)} == {
        ("x", 0),
        ("x", 1),
    }


@pytest.mark.parametrize(
    "between, middle",
    [
        ("square", "  - {name: square, op: mul, inputs: [act, act]}"),  # a product of maps keeps its factors
        ("most", "  - {name: most, op: sigmoid, inputs: [act]}\n  - {name: beside, op: mul, inputs: [act, most]}"),
        ("sum", "  - {name: gelu, op: gelu, inputs: [act]}\n  - {name: sum, op: add, inputs: [act, gelu]}"),
    ],
)
def test_what_something_else_keeps_is_kept(graph, between, middle):
    if "beside" in middle:
        between = "beside"
    assert "norm" not in made_again(graph(between, middle))


def test_sums_and_pools_keep_nothing_of_it(graph):
    lowered = lean.lower(graph("sum", "  - {name: sum, op: add, inputs: [act, a]}"))
    assert lowered.nodes[1].op.kind == "remade_norm"  # its own mask is not kept


def test_nothing_is_made_again_if_the_strategy_says_so(graph):
    plain = lean.lower(graph(strategy=f"full,recompute={NOTHING}"))
    assert plain.remade == () and plain.nodes[1].op.kind == "batch_norm"
    assert with_units(graph(), plain).remade == (("norm", ("a",)),)


def test_the_ideal_makes_sums_again_too(graph):
    found = without_derived(graph("sum", "  - {name: sum, op: add, inputs: [act, a]}"))
    assert found.remade == (("sum", ("a",)),)
    assert without_derived(graph(strategy="last")).remade == ()
    assert ideal.lower(graph(strategy=f"full,recompute={NOTHING}")).remade == ()


BLOCK = """
network: one_block
resolution: 8
classes: 5
classifier: fc
nodes:
  - {{name: expand, op: conv2d, out_channels: 8, kernel: 1}}
  - {{name: norm1, op: batch_norm}}
  - {{name: act1, op: hardswish}}
  - {{name: depthwise, op: conv2d, out_channels: 8, kernel: 3, padding: 1, stride: {stride}, groups: 8}}
  - {{name: norm2, op: batch_norm}}
  - {{name: act2, op: relu6}}
{middle}
  - {{name: project, op: conv2d, out_channels: 4, kernel: 1, inputs: [{last}]}}
"""


def block(spec_file, stride, middle="", last="act2", strategy="full,recompute=mixed"):
    network = costmodel.load(spec_file(BLOCK.format(stride=stride, middle=middle, last=last) + HEAD))
    return network, lean.lower(apply(strategy, network.graph))


@pytest.mark.parametrize("stride, dropped, again", [(1, "depthwise", 9 * 64), (2, "expand", 3 * 64)])
def test_the_smaller_of_the_two_wide_maps_of_a_block_is_kept(spec_file, stride, dropped, again):
    """Of 2 images of 8 x 8: at stride 1 the depthwise convolution runs again, at stride 2 the expansion."""
    network, lowered = block(spec_file, stride)
    assert lowered.dropped == {dropped}
    once, twice = (
        costmodel.estimate(network, f"full,recompute={how}", 2, convention="lean") for how in ("maps", "mixed")
    )
    assert once.saved_bytes - twice.saved_bytes == 2 * 8 * 64 * 4  # one map of 8 channels at 8 x 8
    assert twice.flops["recomputed"] == 2 * 2 * 8 * again  # 2 FLOPs a multiply-add, 2 images, 8 channels
    assert once.flops["recomputed"] == 0
    assert twice.flops["elementwise_recomputed"] > once.flops["elementwise_recomputed"] or dropped == "expand"


RESIDUAL = """
network: residual
resolution: 8
classes: 5
classifier: fc
nodes:
  - {{name: stem, op: conv2d, out_channels: 8, kernel: 3, padding: 1}}
  - {{name: norm0, op: batch_norm}}
  - {{name: a, op: conv2d, out_channels: 16, kernel: 1}}
  - {{name: norm1, op: batch_norm}}
  - {{name: b, op: conv2d, out_channels: {channels}, kernel: 3, padding: {padding}}}
  - {{name: norm2, op: batch_norm}}
  - {{name: sum, op: add, inputs: [norm2, norm0]}}
  - {{name: c, op: conv2d, out_channels: 8, kernel: 1}}
"""


def residual(spec_file, channels=8, padding=1, more=""):
    return costmodel.load(spec_file(RESIDUAL.format(channels=channels, padding=padding) + more + HEAD))


def test_a_sum_is_made_again_of_the_two_norms(spec_file):
    """Its map (2 x 8 x 8 x 8 numbers) is not kept; two norms and a sum are done again: 5 operations an element."""
    network = residual(spec_file)
    lowered = lean.lower(apply("full", network.graph))
    assert ("sum", ("norm2", "norm0")) in lowered.remade
    number = {node.name: i for i, node in enumerate(lowered.nodes)}
    assert lowered.roots[number["sum"] + 1] == (number["b"] + 1, number["stem"] + 1)
    assert lowered.nodes[number["norm2"]].op.kind == "remade_norm"
    work = lowered.nodes[number["c"]].op.work_again((2, 8, 8, 8), (2, 8, 8, 8))
    assert work == 5 * 2 * 8 * 8 * 8


def test_a_sum_of_maps_that_may_differ_is_kept(spec_file):
    """One channel is added to all, or one pixel: no layers tell that the two maps have the same shape."""
    lowered = lean.lower(apply("full", residual(spec_file, channels=1).graph))
    assert "sum" not in dict(lowered.remade) and "norm2" not in dict(lowered.remade)
    pooled = RESIDUAL.format(channels=8, padding=1).replace("inputs: [norm2, norm0]", "inputs: [pooled, norm0]")
    pooled = pooled.replace(
        "  - {name: sum", "  - {name: pooled, op: adaptive_avg_pool2d, inputs: [norm2]}\n  - {name: sum"
    )
    lowered = lean.lower(apply("full", costmodel.load(spec_file(pooled + HEAD)).graph))
    assert "sum" not in dict(lowered.remade)


@pytest.mark.parametrize(
    "op, keeps",
    [
        (dict(kernel=3, padding=1), True),
        (dict(kernel=1), True),
        (dict(kernel=3, padding=2, dilation=2), True),
        (dict(kernel=3), False),
        (dict(kernel=3, padding=1, stride=2), False),
        (dict(kernel=(3, 1), padding=(1, 0)), True),
    ],
)
def test_convolutions_that_keep_the_size(op, keeps):
    conv = Conv2d(4, 4, **op)
    assert keeps_size(conv) == keeps
    assert (conv.shape((1, 4, 9, 7))[2:] == (9, 7)) == keeps


def test_what_a_map_has_the_shape_of(spec_file):
    graph = residual(spec_file).graph
    number = {node.name: i + 1 for i, node in enumerate(graph.nodes)}

    def alike(v, other):
        return has_shape_of(graph, number[v], other and number[other])

    assert alike("norm2", "norm0") and alike("norm2", "b")
    assert not alike("norm1", "norm0")  # twice the channels
    assert not alike("norm0", "norm2")  # no layers lead to it
    assert alike("norm0", "stem") and not alike("norm0", 0)


def test_the_values_that_are_kept_for_another_one():
    sources = {2: (1,), 4: (3,), 5: (4, 2)}
    assert flattened(sources) == {2: (1,), 4: (3,), 5: (3, 1)}
    assert list(chain_of(sources, 5)) == [5, 4, 3, 2, 1]


def test_a_part_may_have_a_level_of_its_own():
    network = costmodel.load("mobilenet_v3_small")
    letters = {"features.3": "x", "features.4": "k", "features.5": "T"}
    code = "".join(letters.get(part.name, "t") for part in parts(network.graph))
    planned = apply(f"plan:{code}", network.graph)
    levels = {name: level_of(planned, run.start) for name, run in planned.parts}
    assert (levels["features.3"], levels["features.4"], levels["features.2"]) == (MIXED, NOTHING, WITHIN_PARTS)
    lowered = lean.lower(planned)
    assert [lowered.nodes[i].name for i in nodes_dropped(lowered)] == ["features.3.block.1.0"]
    within = {name.split(".")[1] for name, _ in lowered.remade if name.startswith("features.")}
    assert "4" not in within and "2" in within
    everywhere = apply(f"plan:{code},recompute=none", network.graph)
    assert {level_of(everywhere, run.start) for _, run in everywhere.parts} == {NOTHING}
    assert level_of(apply("full", network.graph), 0) == MAPS


def test_which_convolutions_may_be_dropped(spec_file):
    network, _ = block(spec_file, 1)
    names = [node.name for node in network.graph.nodes]

    def chosen(strategy):
        return [names[i] for i in to_drop(apply(strategy, network.graph))]

    assert chosen("full,recompute=mixed") == ["depthwise"]
    assert chosen("full") == chosen("last,recompute=mixed") == []


def test_a_wide_map_that_something_else_keeps_is_kept(spec_file):
    square = (
        "  - {name: square, op: mul, inputs: [depthwise, depthwise]}\n  - {name: both, op: add, inputs: [act2, square]}"
    )
    for middle, last in (("", "act2"), (square, "both")):
        assert bool(block(spec_file, 1, middle, last)[1].dropped) == (not middle)
    assert not block(spec_file, 1, strategy="bias,recompute=mixed")[1].dropped  # no weight trains
    assert not block(spec_file, 1, strategy="full")[1].dropped


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "proxyless_mobile"])
def test_exact_blocks_keep_no_more_than_mobiletl_with_statistics(name):
    """`blocks:K` keeps at most what `mobiletl:K,recompute=none` keeps, and 8 bytes a channel of its norms."""
    network = costmodel.load(name)
    for k in range(1, len(network.graph.blocks) + 1):
        exact, masked = (
            costmodel.estimate(network, strategy, batch=2, convention="lean")
            for strategy in (f"blocks:{k}", f"mobiletl:{k},recompute={NOTHING}")
        )
        channels = sum(
            node.op.channels for node, trains in zip(exact.graph.nodes, exact.graph.demanded)
            if trains and getattr(node.op, "statistics", "") == "batch"
        )  # fmt: skip
        assert exact.saved_bytes <= masked.saved_bytes + 8 * channels


def test_conventions_are_in_order():
    for strategy in ("full", "blocks:3", "mobiletl:3", "bias", "norm+last", "full,checkpoint=blocks"):
        for how in ("maps", "mixed", NOTHING):
            saved = [
                costmodel.estimate("mobilenet_v3_small", f"{strategy},recompute={how}", 2, convention=name).saved_bytes
                for name in ("ideal", "lean", "torch")
            ]
            assert saved == sorted(saved), (strategy, how)
