"""Operators of ONNX files: the op that each is read as, what it keeps, and that a realised module computes the same."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxfiles import FLOAT, around, integers, model, node, number, tensor
from real import saved_bytes
from torch.nn.functional import cross_entropy

import costmodel
from costmodel.frontends.onnxfiles import volumes
from costmodel.frontends.onnxfiles.layers import OPERATORS
from costmodel.frontends.onnxfiles.masks import RELATIONS, TURNED
from costmodel.pytorch import measure, realize

GROUPED = [node("Reshape", "x to_groups", "grouped"), node("InstanceNormalization", "grouped ones zeros", "n"),
           node("Shape", "x", "sizes"), node("Reshape", "n sizes", "back"), node("Mul", "back gamma", "scaled"),
           node("Add", "scaled beta", "y")]  # fmt: skip
ERF = [node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "b one", "c"), node("Mul", "x c", "d"),
       node("Mul", "d half", "y")]  # fmt: skip
SHUFFLE = [node("Shape", "x", "s"), node("Slice", "s zero one_i", "n"), node("Slice", "s two three", "h"),
           node("Concat", "n groups h h", "to", axis=0), node("Reshape", "x to", "a"),
           node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]), node("Reshape", "b s", "y")]  # fmt: skip
#: (nodes from x to y with 8 channels, tensors, the kinds of op that they are read as[, opset, else 17]).
BODIES = {
    "relu": ([node("Relu", "x", "y")], [], "relu"),
    "relu6": ([node("Clip", "x low high", "y")], [number("low", 0), number("high", 6)], "relu6"),
    "relu6 of old": ([node("Clip", "x", "y", min=0.0, max=6.0)], [], "relu6", 9),
    "clip": ([node("Clip", "x low", "y")], [number("low", -1)], "hardtanh"),
    "hard sigmoid": ([node("HardSigmoid", "x", "y", alpha=1 / 6)], [], "hardsigmoid"),
    "hard swish": ([node("HardSwish", "x", "y")], [], "hardswish"),
    "hard swish of old": ([node("HardSigmoid", "x", "s", alpha=1 / 6), node("Mul", "x s", "y")], [], "hardswish", 9),
    "silu": ([node("Sigmoid", "x", "s"), node("Mul", "x s", "y")], [], "silu"),
    "gate": ([node("Tanh", "x", "t"), node("Sigmoid", "x", "s"), node("Mul", "t s", "y")], [], "tanh sigmoid mul"),
    "mish": ([node("Mish", "x", "y")], [], "mish", 18),
    "mish of old": ([node("Softplus", "x", "a"), node("Tanh", "a", "b"), node("Mul", "x b", "y")], [], "mish"),
    "gelu": ([node("Gelu", "x", "y")], [], "gelu", 20),
    "gelu of old": (ERF, [number("root", 2**0.5), number("one", 1), number("half", 0.5)], "gelu"),
    "leaky": ([node("LeakyRelu", "x", "y", alpha=0.2)], [], "leaky_relu"),
    "prelu": ([node("PRelu", "x act.weight", "y")], [tensor("act.weight", 8, 1, 1)], "prelu"),
    "elu": ([node("Elu", "x", "y")], [], "elu"),
    "attention": ([node("Attention", "x x x", "y", is_causal=1)], [], "attention", 23),
    "masked attention": (
        [helper.make_node("Constant", [], ["mask"], value=tensor("", 8, 8)),
         node("Attention", "x x x mask", "y", scale=0.25)], [], "constant attention", 23),
    "softmax": ([node("Softmax", "x", "y", axis=1)], [], "softmax"),
    "residual": ([node("Relu", "x", "r"), node("Add", "x r", "y")], [], "relu add"),
    "difference": ([node("Relu", "x", "r"), node("Sub", "x r", "y")], [], "relu sub"),
    "quotient": ([node("Sigmoid", "x", "r"), node("Div", "x r", "y")], [], "sigmoid div"),
    "numbers": ([node("Sub", "one x", "a"), node("Mul", "a two", "b"), node("Div", "b two", "c"),
                 node("Pow", "c two", "y")],
                [number("one", 1), number("two", 2)], "rsub_number mul_number mul_number pow_number"),
    "scale": ([node("Mul", "x block.gamma", "y")], [tensor("block.gamma", 8, 1, 1)], "parameter mul"),
    "constant": ([helper.make_node("Constant", [], ["c"], value=tensor("", 8, 1, 1)), node("Add", "x c", "y")], [],
                 "constant add"),
    "max": ([node("MaxPool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], [], "max_pool2d"),
    "same max": ([node("MaxPool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")], [],
                 "pad_same max_pool2d"),
    "mean": ([node("AveragePool", "x", "y", kernel_shape=[2, 2], strides=[2, 2])], [], "avg_pool2d"),
    "squeeze and excite": ([node("ReduceMean", "x", "m", axes=[2, 3]), node("Conv", "m se.weight", "c"),
                            node("Sigmoid", "c", "s"), node("Mul", "s x", "y")], [tensor("se.weight", 8, 8, 1, 1)],
                           "mean conv2d sigmoid mul"),
    "mean of new": ([node("ReduceMean", "x axes", "m"), node("Mul", "m x", "y")], [integers("axes", -2, -1)],
                    "mean mul", 18),
    "grouped": ([node("Conv", "x dw.weight", "y", group=8, dilations=[2, 2], strides=[2, 1], pads=[2, 2, 2, 2])],
                [tensor("dw.weight", 8, 1, 3, 3)], "conv2d"),
    "same": ([node("Conv", "x dw.weight", "y", strides=[2, 2], auto_pad="SAME_UPPER")],
             [tensor("dw.weight", 8, 8, 3, 3)], "pad_same conv2d"),
    "uneven": ([node("Conv", "x dw.weight", "y", pads=[0, 0, 1, 1])], [tensor("dw.weight", 8, 8, 3, 3)], "pad conv2d"),
    "layer norm": ([node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
                    node("LayerNormalization", "t ln.weight ln.bias", "l"),
                    node("Transpose", "l", "y", perm=[0, 3, 1, 2])],
                   [tensor("ln.weight", 8), tensor("ln.bias", 8)],
                   "permute layer_norm permute"),
    "group norm": ([node("GroupNormalization", "x gn.weight gn.bias", "y", num_groups=2)],
                   [tensor("gn.weight", 8), tensor("gn.bias", 8)], "group_norm", 21),
    "group norm of old": (GROUPED, [integers("to_groups", 0, 2, -1), number("ones", [1, 1]), number("zeros", [0, 0]),
                                    tensor("gamma", 8, 1, 1), tensor("beta", 8, 1, 1)], "group_norm"),
    "shuffle": (SHUFFLE, [integers("zero", 0), integers("one_i", 1), integers("two", 2), integers("three", 3),
                          integers("groups", 2, 4)], "reshape permute reshape"),
    "product": ([node("Reshape", "x to", "a"), node("Transpose", "a", "t", perm=[0, 2, 1]), node("MatMul", "a t", "p"),
                 node("MatMul", "p a", "q"), node("Shape", "x", "s"), node("Reshape", "q s", "y")],
                [integers("to", 0, 8, -1)], "reshape permute matmul matmul reshape"),
    "linear": ([node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("MatMul", "t lin.weight", "m"),
                node("Add", "m lin.bias", "b"), node("Transpose", "b", "y", perm=[0, 3, 1, 2])],
               [tensor("lin.weight", 8, 8), tensor("lin.bias", 8)], "permute linear permute"),
    "halves": ([node("Split", "x", "a b", axis=1), node("Relu", "a", "r"), node("Concat", "r b", "y", axis=1)], [],
               "slice slice relu cat"),
    "thirds": ([node("Split", "x sizes", "a b c", axis=1), node("Concat", "c b a", "y", axis=1)],
               [integers("sizes", 2, 2, 4)], "slice slice slice cat"),
    "slice": ([node("Slice", "x start end axes steps", "y")], [integers("start", 1, 0), integers("end", 2**62, -1),
              integers("axes", 2, 3), integers("steps", 2, 1)], "slice slice"),
    "element": ([node("Gather", "x at", "g", axis=2), node("Unsqueeze", "g two", "y")],
                [integers("two", 2), numpy_helper.from_array(np.array(3), "at")], "slice reshape"),
    "squeeze": ([node("GlobalAveragePool", "x", "p"), node("Squeeze", "p axes", "s"), node("Unsqueeze", "s axes", "y")],
                [integers("axes", 2, 3)], "adaptive_avg_pool2d flatten reshape"),
    "expand": ([node("GlobalAveragePool", "x", "p"), node("Expand", "p to", "e"), node("Add", "e x", "y")],
               [integers("to", 1, 8, 8, 8)], "adaptive_avg_pool2d expand add"),
    "pad": ([node("Pad", "x pads", "y")], [integers("pads", 0, 0, 1, 2, 0, 0, 3, 0)], "pad"),
    "reflect": ([node("Pad", "x pads", "y", mode="reflect")], [integers("pads", 0, 0, 1, 1, 0, 0, 1, 1)], "pad"),
    "nearest": ([node("Resize", "x _ scales", "y", coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
                [number("scales", [1, 1, 2, 2])], "interpolate"),
    "bilinear": ([node("Resize", "x _ scales", "y", mode="linear")], [number("scales", [1, 1, 2, 2])], "upsample"),
    "sizes": ([node("Resize", "x _ _ sizes", "y", mode="linear")], [integers("sizes", 2, 8, 5, 7)], "interpolate"),
    "elementwise": ([node("Abs", "x", "a"), node("Sin", "a", "s"), node("Cos", "s", "c"), node("Reciprocal", "c", "r"),
                     node("Abs", "r", "p"), node("Log", "p", "y")], [], "abs sin cos reciprocal abs log"),
    "extremes": ([node("Sigmoid", "x", "s"), node("Max", "x s", "m"), node("Min", "m x", "y")], [],
                 "sigmoid maximum minimum"),
    "largest": ([node("ReduceMax", "x", "m", axes=[1], keepdims=1), node("Mul", "x m", "y")], [], "amax mul"),
    "max of all places": ([node("GlobalMaxPool", "x", "m"), node("Mul", "x m", "y")], [], "adaptive_max_pool2d mul"),
    "dilated pooling": ([node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[1, 1], dilations=[2, 2])], [],
                        "max_pool2d"),
    "activations": ([node("Selu", "x", "a"), node("Celu", "a", "b", alpha=0.5),
                     node("LogSoftmax", "b", "y", axis=1)], [], "selu celu log_softmax"),
    "transposed": ([node("ConvTranspose", "x up.weight up.bias", "y", strides=[2, 2], pads=[1, 1, 1, 1],
                         output_padding=[1, 1])], [tensor("up.weight", 8, 8, 3, 3), tensor("up.bias", 8)],
                   "conv_transpose2d"),
    "nothing": ([node("Identity", "x", "i"), node("Cast", "i", "c", to=FLOAT), node("Dropout", "c", "d"),
                 node("Relu", "d", "y")], [], "dropout relu"),
    "gate by a number": ([node("Greater", "x zero", "m"), node("Cast", "m", "c", to=FLOAT), node("Mul", "x c", "y")],
                         [number("zero", 0)], "compare_number mask_as_numbers mul"),
    "masks": ([node("Less", "zero x", "a"), node("LessOrEqual", "x one", "b"), node("And", "a b", "c"),
               node("Not", "c", "d"), node("Where", "d x zero", "y")], [number("zero", 0), number("one", 1)],
              "compare_number compare_number combine_masks not_mask where_number"),
    "where": ([node("Sigmoid", "x", "s"), node("Equal", "x s", "m"), node("Where", "m x s", "y")], [],
              "sigmoid compare where"),
    "where of a constant mask": ([node("Where", "mask x zero", "y")],
                                 [numpy_helper.from_array(np.eye(8, dtype=bool), "mask"), number("zero", 0)],
                                 "constant where_number"),
    "volumes": ([node("Reshape", "x to_volume", "v"), node("Conv", "v c.weight c.bias", "a", pads=[1, 0, 1, 1, 0, 1]),
                 node("MaxPool", "a", "b", kernel_shape=[1, 2, 2], strides=[1, 2, 2]),
                 node("AveragePool", "b", "c", kernel_shape=[2, 1, 1], strides=[2, 1, 1]),
                 node("Reshape", "c to_map", "y")],
                [integers("to_volume", 0, 2, 4, 8, 8), integers("to_map", 0, 8, 4, 4), tensor("c.bias", 4),
                 tensor("c.weight", 4, 2, 3, 1, 3)], "reshape conv3d max_pool3d avg_pool3d reshape"),
    "at indices": ([node("ArgMax", "x", "m", axis=1), node("GatherElements", "x m", "a", axis=1),
                    node("ArgMin", "x", "n", axis=2), node("GatherElements", "x n", "b", axis=2),
                    node("Add", "x a", "c"), node("Add", "c b", "y")], [], "argmax gather argmax gather add add"),
    "shrinks": ([node("Shrink", "x", "a", lambd=0.2), node("Shrink", "a", "b", lambd=0.1, bias=0.1),
                 node("ThresholdedRelu", "b", "y", alpha=0.3)], [], "hardshrink softshrink threshold"),
    "steps": ([node("Floor", "x", "a"), node("Sign", "a", "b"), node("Ceil", "b", "c"), node("Round", "c", "y")], [],
              "floor sign ceil round"),
    "unused": ([node("Relu", "x", "y"), node("Erf", "x", "z")], [], "relu"),
}  # fmt: skip


def step_of(module, batch, resolution):
    images, targets = torch.randn(batch, 3, resolution, resolution), torch.zeros(batch, dtype=torch.int64)
    return lambda: cross_entropy(module(images), targets)


@pytest.mark.parametrize("body", BODIES)
def test_operators_are_read_priced_and_run(body, onnx_file):
    nodes, tensors, kinds, opset = (*BODIES[body], 17)[:4]
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"the installed onnx does not know opset {opset}")
    made = around(nodes, tensors, opset=opset)
    path = onnx_file(made)
    network = costmodel.load(path)
    ends = ["conv2d", "adaptive_avg_pool2d", "flatten", "linear"]
    assert [n.op.kind for n in network.graph.nodes] == [ends[0], *kinds.split(), *ends[1:]]
    for strategy in ("full", "last"):
        estimate = costmodel.estimate(network, strategy, 2, target="none")
        module = realize(network, strategy)
        assert estimate.saved_bytes == saved_bytes(step_of(module, 2, 8), module)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        found = realize(network, "inference")(images)
    (expected,) = ReferenceEvaluator(made).run(None, {"images": images.numpy()})
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-4)


def test_inputs_and_outputs_that_are_left_out(onnx_file):
    body = [node("Dropout", "x", "d _"), node("Clip", "d _ high", "y"), node("Erf", "x", "_")]
    graph = costmodel.load(onnx_file(around(body, [number("high", 6)]))).graph
    assert [n.op.kind for n in graph.nodes[1:3]] == ["dropout", "hardtanh"]


def test_a_constant_of_as_many_channels_as_the_reader_has_images(onnx_file):
    thirteen = [tensor("stem.weight", 13, 3, 3, 3), tensor("fc.weight", 5, 13)]
    scaled = helper.make_node("Constant", [], ["c"], value=tensor("", 13, 1, 1))
    nodes = [node("Conv", "images stem.weight", "x"), scaled, node("Mul", "x c", "y"), node("ReduceMean", "y", "m",
             axes=[2, 3], keepdims=0), node("Gemm", "m fc.weight", "logits", transB=1)]  # fmt: skip
    estimate = costmodel.estimate(onnx_file(model(nodes, thirteen)), batch=2)
    assert estimate.flops["forward"] == 2 * (2 * 13 * 36 * 27 + 2 * 13 * 5)


@pytest.mark.parametrize("body", ["silu", "squeeze and excite", "product", "scale", "halves"])
def test_the_peak_is_that_of_values_which_go_after_their_last_reader(body, onnx_file):
    nodes, tensors, _, opset = (*BODIES[body], 17)[:4]
    network = costmodel.load(onnx_file(around(nodes, tensors, opset=opset)))
    measured = measure(realize(network, "full"), 2, 8)
    assert costmodel.estimate(network, "full", 2, target="none").step_peak_bytes == measured.tensor_peak_bytes


def test_noise_that_an_exporter_wrote_out_is_stochastic_depth(onnx_file):
    body = [node("Shape", "x", "s"), node("Slice", "s zero one", "n"), node("Concat", "n one one one", "to", axis=0),
            node("ConstantOfShape", "to", "like"), node("RandomUniformLike", "like", "r"), node("Less", "r keep", "l"),
            node("Cast", "l", "m", to=FLOAT), node("Div", "m keep", "d"), node("Mul", "x d", "y")]  # fmt: skip
    tensors = [integers("zero", 0), integers("one", 1), number("keep", 0.8)]
    noise = costmodel.load(onnx_file(around(body, tensors))).graph.nodes[1].op
    assert (noise.kind, noise.p, noise.mode) == ("stochastic_depth", 0.2, "row")


def test_a_relation_turned_twice_is_the_same():
    a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 2.0])
    assert set(RELATIONS.values()) == set(TURNED)
    for relation, turned in TURNED.items():
        assert TURNED[turned] == relation
        assert getattr(torch, relation)(a, b).equal(getattr(torch, turned)(b, a))


@pytest.mark.parametrize("size", [3, 4])
def test_a_local_response_norm(size, onnx_file):
    made = around([node("LRN", "x", "y", size=size, alpha=0.5, beta=0.6, bias=2.0)])
    network = costmodel.load(onnx_file(made))
    kinds = [n.op.kind for n in network.graph.nodes]
    assert kinds[1:-3] == "mul reshape pad avg_pool3d reshape mul_number add_number pow_number div".split()
    images = torch.randn(8, 3, 8, 8)  # onnx's reference takes the batch for the channels, of which there are 8
    with torch.no_grad():
        found = realize(network, "inference")(images)
    (expected,) = ReferenceEvaluator(made).run(None, {"images": images.numpy()})
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-4)


def test_operators_of_volumes_take_images_too():
    assert {entry.__module__ for entry in (OPERATORS["Conv"], OPERATORS["MaxPool"])} == {volumes.__name__}
    assert volumes.of_images.__module__ != volumes.__name__
