"""Small ONNX files that name large things: constants, padding, functions, files beside them."""

import os

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxfiles import around, integers, node, number, tensor

import costmodel
from costmodel.errors import CostmodelError
from costmodel.frontends.onnxfiles import constants
from costmodel.frontends.onnxfiles.constants import MOST, QUICK, SLOW, Constants, inferred
from costmodel.frontends.onnxfiles.functions import MOST_NODES
from costmodel.frontends.onnxfiles.tensors import Stored
from costmodel.pytorch import realize


def whole(name, value):
    """One int64."""
    return numpy_helper.from_array(np.array(value, np.int64), name)


RELU = node("Relu", "x", "y")
OPSETS = [helper.make_opsetid("", 17)]


def added(*shape):
    """A model that adds a constant of zeros to a map."""
    return around([node("ConstantOfShape", "shape", "zeros"), node("Add", "x zeros", "y")], [integers("shape", *shape)])


def test_a_large_constant_is_counted_and_not_made(onnx_file):
    """8 maps of 2048x2048 are 2^25 numbers: a buffer of 128 MiB, which nothing allocates."""
    made = added(8, 2048, 2048)
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, ("N", 3, 2048, 2048)))
    network = costmodel.load(onnx_file(made))
    (constant,) = [n for n in network.graph.nodes if n.op.kind == "constant"]
    assert constant.op.size == (8, 2048, 2048)
    assert costmodel.estimate(network, batch=1).memory_bytes["buffers"] == 4 * 8 * 2048 * 2048
    with pytest.raises(
        CostmodelError, match=r"numbers of the constant 'zeros', 8x2048x2048, are read; allowed: at most"
    ):
        realize(network)


def test_a_small_constant_is_made(onnx_file):
    network = costmodel.load(onnx_file(added(8, 8, 8)))
    assert float(realize(network).zeros.abs().sum()) == 0


@pytest.mark.parametrize("shape", [(10**12,), (2**40, 2**40), (1, 8, 10**6, 10**6)], ids=str)
def test_a_constant_of_any_size_is_one_message(shape, onnx_file):
    with pytest.raises(CostmodelError, match="net.onnx: node 'y'"):
        costmodel.load(onnx_file(added(*shape)))


LARGE = integers("large", 10**6, 10**6)
MADE_LARGE = {
    "repeated": ([node("Tile", "one repeats", "c")], [integers("one", 1), integers("repeats", 10**12)]),
    "a range": ([node("Range", "a b c1", "c")], [number("a", 0), number("b", 1e12), number("c1", 1e-3)]),
    "expanded": ([node("Expand", "one large", "c")], [number("one", 1), LARGE]),
    "padded": ([node("Pad", "n pads", "c")], [integers("n", 1, 2), integers("pads", 10**12, 10**12)]),
    "a product": ([node("Unsqueeze", "n first", "rows"), node("Unsqueeze", "n last", "columns"),
                   node("Expand", "rows wide", "w"), node("Expand", "columns high", "h"), node("MatMul", "h w", "c")],
                  [integers("n", 1), integers("first", 0), integers("last", 1), integers("wide", 1, 10**6),
                   integers("high", 10**6, 1)]),
    "resized": ([node("Resize", "map _ scales", "c")], [tensor("map", 1, 1, 2, 2), number("scales.x", 1),
                numpy_helper.from_array(np.array([1, 1, 1e6, 1e6], np.float32), "scales")]),
}  # fmt: skip


@pytest.mark.parametrize("how", MADE_LARGE)
def test_nothing_of_this_size_is_made(how, onnx_file):
    """Each ends with an error, or with a network in which the constant has its size."""
    body, tensors = MADE_LARGE[how]
    rest = [node("ReduceMax", "c", "most", keepdims=0), node("Cast", "most", "m", to=1), node("Mul", "x m", "y")]
    path = onnx_file(around([*body, *rest], tensors))
    try:
        network = costmodel.load(path)
        assert any(n.op.kind in ("mul", "scale") for n in network.graph.nodes)
    except CostmodelError as error:
        assert "net.onnx" in str(error)


def test_many_constants_are_made_up_to_a_sum(monkeypatch):
    """The second of two constants of 100 numbers is only described if 150 may be made."""
    monkeypatch.setattr(constants, "MOST_OF_ALL", 150)
    made = Constants(OPSETS)
    shape = {"shape": Stored.of(np.array([100]), "shape")}
    first, second = (made.of(node("ConstantOfShape", "shape", name), shape)[0] for name in ("a", "b"))
    assert (first.made, second.made) == (True, False)
    assert first.shape == second.shape == (100,) and first.dtype == second.dtype == "float32"
    assert not first.load().any()
    (doubled,) = made.of(node("Add", "b b", "c"), {"b": second})  # what is computed from it is described too
    assert not doubled.made and doubled.shape == (100,)
    with pytest.raises(CostmodelError, match="the size of a constant is not known"):
        made.of(node("NonZero", "b", "d"), {"b": second})


def test_operators_are_in_one_list_alone():
    assert not (QUICK & SLOW) and not (QUICK | SLOW) & constants.PRODUCTS
    assert constants.OF_NO_KNOWN_SHAPE.keys() <= QUICK | SLOW


def test_what_onnx_infers_of_a_node():
    x, shape = Stored("x", (2, 3), "float32", lambda: None, True), Stored.of(np.array([4, 2, 3]), "shape")
    (said,) = inferred(node("Expand", "x shape", "y"), OPSETS, {"x": x, "shape": shape})
    assert (said.dtype, said.shape) == ("float32", (4, 2, 3))
    (said,) = inferred(node("NonZero", "x", "y"), OPSETS, {"x": x})
    assert said.sizes == (2, None) and said.shape is None


# -- functions ---------------------------------------------------------------------------------------------


def function(name, *calls):
    """A function that passes its input through other functions and operators, one after the other."""
    nodes = [helper.make_node(operator, [f"v{i}"], [f"v{i + 1}"], domain="" if operator == "Relu" else "own.ops")
             for i, operator in enumerate(calls)]  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own.ops", 1)]
    return helper.make_function("own.ops", name, ["v0"], [f"v{len(calls)}"], nodes, imports)


def test_functions_that_make_many_nodes_are_refused_before_they_are_opened(onnx_file):
    bomb = [function(f"F{i}", *[f"F{i + 1}"] * 10) for i in range(12)] + [function("F12", "Relu")]
    with pytest.raises(
        CostmodelError, match=f"its functions make 1,000,000,000,004 nodes; allowed: at most {MOST_NODES:,}"
    ):
        path = onnx_file(around([node("F0", "x", "y", domain="own.ops")], functions=bomb))
        costmodel.load(path)


def test_functions_that_call_each_other_are_refused(onnx_file):
    circle = [function("A", "B"), function("B", "Relu", "A")]
    with pytest.raises(CostmodelError, match="functions that call each other: [AB] -> [AB] -> [AB]; allowed: none"):
        costmodel.load(onnx_file(around([node("A", "x", "y", domain="own.ops")], functions=circle)))


# -- numbers beside the file -------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_numbers_in_a_pipe_beside_the_file_are_not_waited_for(onnx_file, tmp_path):
    made = around([RELU])
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    network = costmodel.load(onnx_file(made))
    os.mkfifo(tmp_path / "weights.bin")
    with pytest.raises(CostmodelError, match="weights.bin': it is a named pipe; allowed: a regular file"):
        realize(network)


def test_the_most_numbers_are_below_what_a_small_device_has():
    assert 8 * MOST == 32 * 2**20  # of 8 bytes each


SMALL = {
    "a range of 2^62 numbers": ([node("Range", "a b d", "c")], [whole("a", 0), whole("b", 2**62), whole("d", 1)]),
    "a range in steps of zero": ([node("Range", "a b d", "c")], [whole("a", 0), whole("b", 3), whole("d", 0)]),
    "texts": ([node("Cast", "n", "s", to=TensorProto.STRING), node("Cast", "s", "c", to=TensorProto.INT64)],
              [integers("n", 1, 2)]),
    "divided by zero": ([node("Div", "n m", "c")], [integers("n", 1, 2), integers("m", 0, 1)]),
    "divided by zero, the rest": ([node("Mod", "n m", "c")], [integers("n", 1, 2), integers("m", 0, 1)]),
}  # fmt: skip


@pytest.mark.parametrize("what", SMALL)
def test_what_takes_no_constant_of_this_kind(what, onnx_file):
    body, tensors = SMALL[what]
    rest = [node("Cast", "c", "f", to=1), node("ReduceMax", "f", "m", keepdims=0), node("Mul", "x m", "y")]
    try:
        costmodel.load(onnx_file(around([*body, *rest], tensors)))
    except CostmodelError as error:
        assert "net.onnx: node" in str(error)
    else:
        assert what == "a range of 2^62 numbers"


def test_a_split_names_all_its_parts(onnx_file):
    made = around([node("Split", "x", "y", axis=1, num_outputs=2**28)], opset=18)
    with pytest.raises(CostmodelError, match="a split into 268435456 parts of which 1 have names is not supported"):
        costmodel.load(onnx_file(made))


def test_what_is_read_counts_like_what_is_made(monkeypatch):
    monkeypatch.setattr(constants, "MOST_OF_ALL", 250)
    made, x = Constants(OPSETS), Stored.of(np.ones(100, np.float32), "x")
    sums = [made.of(node("ReduceSum", "x", "s", keepdims=0), {"x": x})[0] for _ in range(3)]
    assert [one.made for one in sums] == [True, True, False]
