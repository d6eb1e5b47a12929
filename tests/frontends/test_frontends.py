"""Code that frontends share: the table of frontends, drafts, shapes as text, and entries that follow from ops."""

from dataclasses import fields

import pytest

from costmodel.errors import CostmodelError
from costmodel.frontends import FRONTENDS, load
from costmodel.frontends.draft import BATCH, Draft, Names, graph_of, head_of, nodes_of
from costmodel.frontends.modules.functions import FUNCTIONS
from costmodel.frontends.modules.trace import INPLACE, LAYERS
from costmodel.frontends.onnxfiles.layers import OPERATORS
from costmodel.frontends.patterns import expand_pattern, reshape_pattern
from costmodel.frontends.registry import ops_that_name, registrar
from costmodel.graph.op import OPS


def test_an_unknown_name_is_told_every_way_in():
    with pytest.raises(CostmodelError) as error:
        load("no such network")
    ways = [way for row in FRONTENDS for way in row.ways()]
    assert {"mobilenet_v2", "timm:NAME", "a path to an .onnx file"} <= set(ways)
    assert all(way in str(error.value) for way in ways)


@pytest.mark.parametrize("name", ["mobilenet_v2", "net.onnx", "dir/net.onnx", "net.yaml", "dir/net", "timm:levit_128s"])
def test_a_name_is_taken_by_one_frontend(name):
    row = next(row for row in FRONTENDS if row.matches(name))
    folder = "onnxfiles" if name.endswith(".onnx") else "modules" if ":" in name else "spec"
    assert row.load.__module__ == f"costmodel.frontends.{folder}"


def test_names_are_given_out_once():
    names = Names(("loss",))
    assert [names.unique(base) for base in ("a", "a", "a_1", "a", "loss")] == ["a", "a_1", "a_1_1", "a_2", "loss_1"]
    assert not names.take("a") and names.take("b")
    assert names.numbered("c") == "c_1"


def test_drafts_become_a_graph_of_what_the_result_needs():
    conv = OPS["conv2d"](3, 8, 1)
    stem = Draft(conv, (None,), "b.0.conv", frozenset({"weight"}), died=1)
    unread = Draft(OPS["relu"](), (stem,), "b.0.relu")
    pool = Draft(OPS["adaptive_avg_pool2d"](), (stem,), "a.pool")
    flat = Draft(OPS["flatten"](), (pool,), "flatten")
    fc = Draft(OPS["linear"](8, 5), (flat,), "fc", frozenset({"weight"}))
    nodes = nodes_of([stem, unread, pool, flat, fc], fc)
    assert [node.name for node in nodes] == ["b.0.conv", "a.pool", "flatten", "fc"]
    assert [node.until for node in nodes] == ["b.0.conv", "fc", "fc", ""]  # of the stem: up to what is left out
    assert nodes[0].inputs == ("input",) and nodes[1].owner == "a.pool"
    graph = graph_of(nodes, ["a", "b.0", "elsewhere"], head_of(nodes).name, called=["a"])
    assert graph.blocks == ("b.0", "a") and graph.classifier == "fc"  # in order of execution
    assert graph.containers == {"b", "b.0"}
    assert graph_of(nodes, [], "elsewhere").classifier == ""


@pytest.mark.parametrize(
    "x, y, pattern",
    [
        ((BATCH, 8, 4, 4), (BATCH, 128), "x0 x1*x2*x3"),
        ((BATCH, 8, 4, 4), (BATCH, 2, 4, 4, 4), "x0 x1/4 4 x2 x3"),
        ((BATCH * 4, 16, 8), (BATCH, 4, 16, 8), "x0/4 4 x1 x2"),
        ((BATCH, 8, 1, 1), (BATCH, 8), "x0 x1*x2*x3"),
        ((BATCH, 8), (BATCH, 8, 1), "x0 x1 1"),
    ],
)
def test_patterns_of_reshapes(x, y, pattern):
    assert reshape_pattern(x, y, BATCH) == pattern
    assert OPS["reshape"](pattern).shape(x) == y


def test_patterns_of_expansions():
    assert expand_pattern((1, 1, 8), (BATCH, 5, 8), BATCH) == "n 5 x2"


def test_entries_stand_under_each_of_their_names():
    table = {}

    @registrar(table)("one", "two")
    def entry():
        pass

    assert table == {"one": entry, "two": entry}


def test_what_overwrites_and_what_takes_parameters_follows_from_the_ops():
    known = {name: OPS[name] for name in FUNCTIONS if name in OPS}
    overwrite = {name for name, cls in known.items() if "inplace" in {field.name for field in fields(cls)}}
    assert overwrite == INPLACE & known.keys()
    assert {name for name, cls in known.items() if cls.examples and cls.examples[0][0].params()} == LAYERS
    assert {"conv2d", "linear", "batch_norm", "prelu"} <= LAYERS


def test_plain_activations_are_entries_by_what_their_class_says():
    assert {"relu", "sigmoid", "mish"} <= {cls.kind for cls in ops_that_name("torch_name")} <= FUNCTIONS.keys()
    assert {"Relu", "HardSwish"} <= {cls.onnx_name for cls in ops_that_name("onnx_name")} <= OPERATORS.keys()


def test_an_op_that_strides_has_a_stride():
    assert {cls.grid for cls in OPS.values()} == {"same", "strided", "none"}
    assert all(hasattr(cls.examples[0][0], "stride") for cls in OPS.values() if cls.grid == "strided" and cls.examples)
