"""The graph: what it refuses, how it prints, and what it says about its values."""

import re

import pytest

import costmodel
from costmodel.errors import CostmodelError
from costmodel.graph.cycles import why_not_yet
from costmodel.graph.graph import Graph, Node
from costmodel.graph.paths import within
from costmodel.ops.activation import ReLU, ReLU6
from costmodel.ops.arithmetic import Add
from costmodel.ops.class_loss import CrossEntropy
from costmodel.ops.conv import Conv2d
from costmodel.ops.given import Targets
from costmodel.ops.linear import Linear
from costmodel.ops.noise import Dropout
from costmodel.ops.norm import BatchNorm
from costmodel.ops.pool import AdaptiveAvgPool2d
from costmodel.ops.view import Flatten


def node(name, op=ReLU(), inputs=("input",), trains=(), owner=None):
    return Node(name, op, tuple(inputs), frozenset(trains), owner)


def small(trains=("weight",)):
    """A stem, two blocks (one with a sum), a head and a classifier."""
    return Graph(
        (
            node("stem.conv", Conv2d(3, 4, 3), trains=trains),
            node("b.1.conv", Conv2d(4, 4, 1), ["stem.conv"]),
            node("b.1.norm", BatchNorm(4), ["b.1.conv"], ["bias"]),
            node("b.1.add", Add(), ["b.1.norm", "stem.conv"]),
            node("b.10", Conv2d(4, 4, 1), ["b.1.add"]),
            node("pool", AdaptiveAvgPool2d(), ["b.10"]),
            node("flat", Flatten(), ["pool"]),
            node("fc.drop", Dropout(0.0), ["flat"]),
            node("fc.linear", Linear(4, 2), ["fc.drop"]),
            node("loss.targets", Targets(), ["fc.linear"]),
            node("loss", CrossEntropy(), ["fc.linear", "loss.targets"]),
        ),
        blocks=("b.1", "b.10"),
        classifier="fc",
        loss="loss",
    )


@pytest.mark.parametrize(
    "nodes, options, message",
    [
        ([], {}, "the graph has no nodes"),
        ([node("a"), node("a", inputs=["a"])], {}, "two nodes are called 'a'"),
        ([node("input")], {}, "two nodes are called 'input'"),
        (
            [node("relu", inputs=["inptu"])],
            {},
            "node 'relu': unknown input 'inptu'; did you mean 'input'? (allowed: input)",
        ),
        (
            [node("stem"), node("relu", inputs=["stm"])],
            {},
            "node 'relu': unknown input 'stm'; did you mean 'stem'? (allowed: input, stem)",
        ),
        ([node("a", inputs=["a"])], {}, "node 'a' reads 'a', which makes a cycle: a <- a"),
        (
            [node("a", inputs=["c"]), node("b", inputs=["a"]), node("c", inputs=["b"])],
            {},
            "node 'a' reads 'c', which makes a cycle: a <- c <- b <- a",
        ),
        (
            [node("b", inputs=["a"]), node("a")],
            {},
            "node 'b' reads 'a', which stands after it; nodes are listed in order of execution",
        ),
        ([node("a"), node("b"), node("c", inputs=["a"])], {}, "no node reads 'b', and it is not the result"),
        ([node("sum", Add())], {}, "node 'sum' has 1 inputs; add takes 2"),
        ([node("a", inputs=["input", "input"])], {}, "node 'a' has 2 inputs; relu takes 1"),
        ([node("a", trains=["weight"])], {}, "node 'a' has no parameter weight to train"),
        ([node("conv", Conv2d(3, 4, 1), trains=["weight", "bias"])], {}, "node 'conv' has no parameter bias to train"),
        ([node("b1.a")], {"blocks": ("b",)}, "no node stands in 'b', which is named as a block or the classifier"),
        (
            [node("b1.a")],
            {"classifier": "head"},
            "no node stands in 'head', which is named as a block or the classifier",
        ),
    ],
)
def test_refused_on_construction(nodes, options, message):
    with pytest.raises(CostmodelError, match=f"^{re.escape(message)}$"):
        Graph(tuple(nodes), **options)


def test_prints_a_line_per_node():
    assert str(small()).splitlines()[2:5] == [
        "b.1.norm = BatchNorm(channels=4, statistics='batch', eps=1e-05, momentum=0.1, dims=2, affine=True)(b.1.conv)"
        "  trains bias",
        "b.1.add = Add(inplace=False)(b.1.norm, stem.conv)",
        "b.10 = Conv2d(in_channels=4, out_channels=4, kernel=(1, 1), stride=(1, 1), padding=(0, 0), "
        "dilation=(1, 1), groups=1, bias=False, standardise=False, fixed=False)(b.1.add)",
    ]
    assert len(small()) == len(str(small()).splitlines()) == 11


def test_is_immutable():
    graph = small()
    with pytest.raises(AttributeError):
        graph.nodes = ()
    with pytest.raises(AttributeError):
        graph.nodes[0].trains = frozenset()
    assert graph.map(lambda n: n) is not graph


def test_views_are_their_inputs_again():
    # Values: 0 images, 1 stem, 2 conv, 3 norm, 4 add, 5 b.10, 6 pool; the flattened pool and a dropout that drops
    # nothing are the pool's value; 9 linear, 10 targets, 11 loss.
    assert small().content == (0, 1, 2, 3, 4, 5, 6, 6, 6, 9, 10, 11)


def test_reads_by_number():
    assert small().reads == ((0,), (1,), (2,), (3, 1), (4,), (5,), (6,), (7,), (8,), (9,), (9, 10))


def test_gradients_are_demanded_only_above_what_trains():
    demanded = dict(zip((n.name for n in small(trains=()).nodes), small(trains=()).demanded))
    assert demanded["stem.conv"] == demanded["b.1.conv"] == ()
    assert demanded["b.1.norm"] == ("bias",)  # nothing below it trains: no input gradient
    assert demanded["b.1.add"] == ("a",)  # the shortcut leads to nothing that trains
    assert demanded["b.10"] == ("x",)  # frozen itself, it passes the gradient on
    assert demanded["loss"] == ("x",)
    # With a stem that trains, each input gradient above it is demanded; the images' never is.
    assert small().demanded[0] == ("weight",)
    assert small().demanded[3] == ("a", "b")


def test_nothing_is_demanded_where_nothing_trains():
    graph = small(trains=()).map(lambda n: node(n.name, n.op, n.inputs))
    assert set(graph.demanded) == {()}
    assert set(graph.wants_gradient) == {False}


def test_parts_are_stem_blocks_head_classifier_loss():
    assert small().parts == (
        ("stem", range(0, 1)),
        ("b.1", range(1, 4)),
        ("b.10", range(4, 5)),
        ("head", range(5, 7)),
        ("classifier", range(7, 9)),
        ("loss", range(9, 11)),
    )


def test_parts_without_blocks_are_one_body():
    graph = Graph((node("a"), node("b", inputs=["a"])))
    assert graph.parts == (("body", range(0, 2)),)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v4_conv_small", "mnasnet_b1"])
def test_parts_of_a_network_cover_each_node_once(name):
    graph = costmodel.estimate(name).graph
    names = [part for part, _ in graph.parts]
    assert names == ["stem", *graph.blocks, "head", "classifier", "loss"]
    assert [i for _, run in graph.parts for i in run] == list(range(len(graph)))


def test_a_scope_holds_whole_path_parts():
    assert within("b.1.conv", "b.1") and within("b.1", "b.1")
    assert not within("b.10", "b.1")
    assert [small().block_of(n) for n in small().nodes] == [None, 0, 0, 0, 1, *[None] * 6]


def test_frames_are_the_called_modules_around_a_node():
    graph = Graph((node("blocks.0.conv.0"),), containers=frozenset({"blocks"}))
    assert graph.frames(graph.nodes[0]) == ("blocks.0", "blocks.0.conv")
    assert graph.nodes[0].scope == "blocks.0.conv"
    assert small().frames(small().nodes[5]) == ()


def test_a_shared_parameter_is_one():
    twice = Graph(
        (
            node("first", Conv2d(3, 3, 1), owner="conv"),
            node("second", Conv2d(3, 3, 1), ["first"], ["weight"], owner="conv"),
        )
    )
    assert twice.parameters == {("conv", "weight"): ((3, 3, 1, 1), True)}


def test_buffers_are_the_norms_statistics():
    sizes = {key: (extra.shape, extra.bits or 32) for key, extra in small().buffers.items()}
    assert sizes == {
        ("b.1.norm", "running_mean"): ((4,), 32),
        ("b.1.norm", "running_var"): ((4,), 32),
        ("b.1.norm", "num_batches_tracked"): ((), 64),
    }


def test_the_loss_tells_a_graph_that_trains():
    assert small().has_loss
    assert not Graph((node("a", ReLU6()),)).has_loss


def test_why_a_value_is_not_there_yet():
    reads = {"a": ("b",), "b": ("input",), "c": ("a",)}
    assert why_not_yet("b", "c", {**reads, "a": ("b",)}) == "which makes a cycle: b <- c <- a <- b"
    assert why_not_yet("a", "c", {"c": ("input",)}).startswith("which stands after it")
