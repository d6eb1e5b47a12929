"""What the reader of ONNX files is made of: strides as torch has them, stored tensors, names."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnxfiles import around, integers, node, tensor

from costmodel.errors import CostmodelError
from costmodel.frontends.draft import Names
from costmodel.frontends.onnxfiles import (
    arithmetic,
    attention,
    drafts,
    names,
    reader,
    recorder,
    shapes,
    strides,
    tensors,
)
from costmodel.frontends.onnxfiles.layers import OPERATORS
from costmodel.graph.graph import Node
from costmodel.graph.op import build


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_a_reshape_is_a_view_where_it_is_one_to_torch(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    x = torch.zeros(shape).permute(data.draw(st.permutations(range(len(shape)))))
    factors = [f for size in shape for f in ((2, 2) if size == 4 else (size,))]
    to, cut = [1], data.draw(st.sets(st.integers(0, len(factors))))
    for i, factor in enumerate(data.draw(st.permutations(factors))):
        to = [*to, factor] if i in cut else [*to[:-1], to[-1] * factor]
    try:
        expected = x.view(to).stride()
    except RuntimeError:
        expected = None
    assert strides.viewed(tuple(x.shape), x.stride(), to) == expected
    assert strides.contiguous(shape) == torch.zeros(shape).stride()
    mine, torchs = strides.like(x.shape, x.stride()), torch.empty_like(x).stride()
    assert all(a == b for a, b, size in zip(mine, torchs, x.shape) if size > 1)


def test_a_stored_tensor_loads_nothing_until_it_is_asked():
    loaded = []
    one = tensors.Stored("fc.weight", (2, 3), "float16", lambda: loaded.append(1) or np.ones((2, 3), np.float16), True)
    other = one.transposed((1, 0)).as_float().called("other.weight")
    assert (other.name, other.shape, other.dtype, other.own, other.size, loaded) == (
        "other.weight", (3, 2), "float32", True, 6, [])  # fmt: skip
    assert other.load().shape == (3, 2) and other.load().dtype == np.float32 and loaded
    assert tensors.as_decimal(np.float32(1e-5)) == 1e-5
    assert tensors.constant(helper.make_node("Constant", [], ["c"], value_ints=[3, 4])).load().tolist() == [3, 4]
    assert tensors.attributes_of(helper.make_node("Pad", [], ["y"], mode="edge", to=[1, 2])) == {
        "mode": "edge", "to": [1, 2]}  # fmt: skip


def test_a_single_number_without_a_modules_name_is_a_constant():
    some = tensor("a.weight", 2), tensor("number", 1), tensor("prelu.weight", 1), integers("axes", 1, 2)
    found = [tensors.initialiser(one, lambda _: None).own for one in some]
    assert found == [True, False, True, False]


def test_where_an_exporter_puts_a_node():
    assert names.cleaned("/features/features.0/conv one/") == "features.features.0.conv_one"
    assert names.place(helper.make_node("Relu", ["x"], ["y"], name="/body/body.0/act/Relu")) == ("body.0.act", True, {})
    assert names.place(helper.make_node("Relu", ["x"], ["y"], name="relu_3")) == ("relu_3", False, {})


def test_drafts_are_named_each_otherwise():
    def draft(kind, path, named, *inputs):
        return drafts.Placed(build(kind, {}), [*inputs], "", path=path, named=named)

    first = draft("relu", "body.act", True, None)
    some = [first, draft("tanh", "body.act", True, first), draft("sigmoid", "", False, first)]
    names.name_all(some)
    assert [one.name for one in some] == ["body.act.relu", "body.act.tanh", "body.act.sigmoid"]


def test_blocks_by_what_they_hold():
    def conv(name, kernel):
        fields = {"in_channels": 8, "out_channels": 8, "kernel": kernel}
        return Node(name, build("conv2d", fields), ("input",))

    some = [conv("features.0.conv", 3), conv("features.1.a", 1), conv("features.1.b", 3), conv("features.2.fc1", 1),
            conv("features.2.fc2", 1)]  # fmt: skip
    assert names.blocks_of(some, {}, "") == ["features.1"]
    assert names.blocks_of(some, {"features.2": "timm.layers.Block"}, "") == ["features.2"]


@pytest.mark.parametrize("wanted, allowzero, shape", [
    ([0, -1], 0, (13, 96)), ([13, 8, 12], 0, (13, 8, 12)), ([-1], 0, (1248,)), ([0, -1], 1, None), ([5, 5], 0, None),
])  # fmt: skip
def test_the_numbers_of_a_reshape(wanted, allowzero, shape):
    r = SimpleNamespace(attribute=lambda name, default: allowzero)
    if shape is None:
        with pytest.raises(CostmodelError, match="the input 13x8x12 cannot take the shape"):
            shapes.resolved(r, (13, 8, 12), wanted)
    else:
        assert shapes.resolved(r, (13, 8, 12), wanted) == shape


def test_a_number_beside_a_value_is_an_op_of_its_own():
    emitted = []
    r = SimpleNamespace(emit=lambda kind, fields, inputs, how: emitted.append((kind, fields["number"])))
    x = SimpleNamespace(shape=(2,), strides=(1,))
    for kind, first in (("add", True), ("sub", True), ("sub", False), ("mul", False)):
        arithmetic.with_number(r, kind, x, 3.0, first)
    assert emitted == [("add_number", 3.0), ("add_number", -3.0), ("rsub_number", 3.0), ("mul_number", 3.0)]
    assert {"Add", "Sub", "Mul", "Div", "Reshape", "Conv"} <= OPERATORS.keys()


def test_a_recorder_knows_the_images_and_what_is_stored():
    graph = around([node("Relu", "x", "y")]).graph
    made = recorder.Recorder(graph, 17, lambda t: None, (3, 8, 8), None)
    assert made.values["images"].shape == (13, 3, 8, 8)
    assert {name for name, value in made.values.items() if isinstance(value, tensors.Stored)} == {
        "stem.weight", "stem.bias", "fc.weight", "fc.bias"}  # fmt: skip


def test_nodes_that_the_result_does_not_read_fall_away():
    nodes = [node("Relu", "x", "a"), node("Tanh", "x", "unread"), node("Add", "a x", "y")]
    assert [one.op_type for one in reader._needed(nodes, "y")] == ["Relu", "Add"]


@pytest.mark.parametrize("given_to, message", [
    ({"shapes": [(2, 3, 4)] * 3}, "other than four axes"),
    ({"shapes": [(1, 8, 5, 4), (1, 2, 5, 4), (1, 2, 5, 4)]}, "grouped queries"),
    ({"is_causal": 1, "mask": True}, "causal and has a mask"),
    ({"softcap": 30.0}, "caps its weights"),
])  # fmt: skip
def test_attention_that_no_op_expresses(given_to, message):
    shapes, mask = given_to.pop("shapes", [(1, 2, 5, 4)] * 3), given_to.pop("mask", None)
    r = SimpleNamespace(live=lambda x: x, attribute=lambda name, usual=None: given_to.get(name, usual))
    with pytest.raises(CostmodelError, match=message):
        attention.attention(r, *(SimpleNamespace(shape=shape) for shape in shapes), mask)


def test_numbers_go_on_where_they_were():
    """So that 100,000 nodes of one kind are named in linear time."""
    names = Names(("relu", "relu_2"))
    assert [names.unique("relu") for _ in range(3)] == ["relu_1", "relu_3", "relu_4"]
    assert names.last == {"relu": 4}
