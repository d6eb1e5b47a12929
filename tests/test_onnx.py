"""ONNX files: what they are read as, what is predicted of them, and what is refused."""

import warnings

import numpy as np
import onnx
import pytest
import references  # noqa: F401  first of all: it lets torchvision import beside a CPU build of torch
import torch
import torchvision
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from real import saved_bytes
from torch.nn.functional import cross_entropy

import costmodel
from costmodel.cli import main
from costmodel.errors import CostmodelError
from costmodel.frontends.export import to_yaml
from costmodel.pytorch import measure, realize

FLOAT = TensorProto.FLOAT
RANDOM = np.random.default_rng(0)


def tensor(name, *shape):
    return numpy_helper.from_array(RANDOM.random(shape, np.float32) + 0.1, name)


def integers(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def number(name, value):
    return numpy_helper.from_array(np.array(value, np.float32), name)


def node(operator, reads, makes, name=None, **attributes):
    """A node; reads, makes: names with blanks between, "_" for an input that is left out."""
    inputs = ["" if read == "_" else read for read in reads.split()]
    return helper.make_node(operator, inputs, makes.split(), name=name or makes.split()[0], **attributes)


def model(nodes, tensors, images=("N", 3, 8, 8), opset=17, kind=FLOAT, outputs=("logits",), more=(), **rest):
    inputs = [helper.make_tensor_value_info("images", kind, images), *more]
    made = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "net", inputs, made, tensors)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("own.ops", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **rest)


@pytest.fixture
def write(tmp_path):
    """Writes a model into a file and returns its path."""

    def written(what, name="net.onnx"):
        path = tmp_path / name
        path.write_bytes(what if isinstance(what, bytes) else what.SerializeToString())
        return str(path)

    return written


STEM = [tensor("stem.weight", 8, 3, 3, 3), tensor("stem.bias", 8)]
HEAD = [tensor("fc.weight", 5, 8), tensor("fc.bias", 5)]


def around(body, tensors=(), channels=8, **rest):
    """A stem of 8 channels, nodes that take `x` to `y` of so many, a mean and a linear layer of 5 classes."""
    stem = node("Conv", "images stem.weight stem.bias", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    tail = [node("GlobalAveragePool", "y", "pooled"), node("Flatten", "pooled", "flat"),
            node("Gemm", "flat fc.weight fc.bias", "logits", transB=1)]  # fmt: skip
    head = HEAD if channels == 8 else [tensor("fc.weight", 5, channels), tensor("fc.bias", 5)]
    return model([stem, *body, *tail], [*STEM, *head, *tensors], **rest)


NORM = [tensor(f"norm.{name}", 8) for name in ("weight", "bias", "running_mean", "running_var")]
NORM_READS = "x norm.weight norm.bias norm.running_mean norm.running_var"
TINY = around([node("BatchNormalization", NORM_READS, "normed", epsilon=1e-5), node("Relu", "normed", "y")], NORM)


def step_of(module, batch, resolution):
    images, targets = torch.randn(batch, 3, resolution, resolution), torch.zeros(batch, dtype=torch.int64)
    return lambda: cross_entropy(module(images), targets)


# -- figures by hand ---------------------------------------------------------------------------------------


def test_a_small_network_by_hand(write):
    network = costmodel.load(write(TINY))
    assert (network.name, network.resolution, network.channels) == ("net", 8, 3)
    assert [n.name for n in network.graph.nodes] == ["stem", "norm", "y", "pooled", "flat", "fc"]
    assert [n.until for n in network.graph.nodes] == ["norm", "y", "pooled", "flat", "fc", ""]  # the last readers
    assert network.graph.classifier == "fc" and network.graph.blocks == ()
    norm = network.graph.nodes[1].op
    assert (norm.eps, norm.momentum) == (1e-5, 0.1)  # ONNX counts the momentum from the other end
    estimate = costmodel.estimate(network, batch=2)
    assert estimate.parameters == (8 * 3 * 9 + 8) + (8 + 8) + (5 * 8 + 5)
    assert estimate.memory_bytes["buffers"] == 4 * (8 + 8) + 8  # running statistics, and the count of batches
    map_bytes = 4 * 2 * 8 * 8 * 8
    assert estimate.saved_bytes == (
        4 * 2 * 3 * 8 * 8  # the images, for the convolution's weight
        + map_bytes + 4 * (8 + 8)  # the norm's input, mean and invstd
        + map_bytes  # the activation's output
        + 4 * 2 * 8  # the linear layer's input
        + 4 * 2 * 5 + 8 * 2 + 4  # the loss: log-probabilities, targets, the weight that it divided by
    )  # fmt: skip
    assert estimate.flops["forward"] == 2 * (2 * 8 * 64 * 27) + 2 * (2 * 8 * 5)
    assert costmodel.estimate(network, "last", 2).trainable_parameters == 45


def test_a_norm_that_the_file_evaluates_trains_unless_as_is(write):
    network = costmodel.load(write(TINY))
    assert network.graph.nodes[1].op.statistics == "batch"
    assert costmodel.estimate(network, "as_is").graph.nodes[1].op.statistics == "frozen"
    body = [node("BatchNormalization", NORM_READS, "y mean var", training_mode=1)]
    assert costmodel.load(write(around(body, NORM))).graph.as_is is None


def test_another_resolution_and_a_batch_that_the_file_fixes(write):
    flat = around([node("Reshape", "x shape", "y")], [integers("shape", 2, 8, 8, 8)], images=(2, 3, 8, 8))
    network = costmodel.load(write(flat))
    assert costmodel.estimate(network, batch=7).flops["forward"] == 7 * (2 * 8 * 64 * 27 + 2 * 8 * 5)
    with pytest.raises(CostmodelError, match=r"node 'y' \(Reshape\): .*\[2, 8, 8, 8\] .*made for 8x8 images"):
        costmodel.estimate(network, resolution=9)
    assert costmodel.estimate(costmodel.load(write(TINY)), batch=1, resolution=16).flops["forward"] == (
        2 * 8 * 256 * 27 + 2 * 8 * 5)  # fmt: skip
    opened = around([node("Relu", "x", "y")], images=("N", 3, "H", "W"))
    assert costmodel.load(write(opened)).resolution == 224


@pytest.mark.parametrize(
    "batch, wanted", [("N", (-1, 512)), ("N", (0, 512)), (2, (-1, 512)), (2, (2, -1)), (2, (0, 512)), (2, (2, 512))]
)
def test_a_reshape_keeps_the_batch_in_its_first_axis(batch, wanted, write):
    stem = node("Conv", "images stem.weight stem.bias", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    nodes = [stem, node("Reshape", "x shape", "flat"), node("Gemm", "flat w", "logits")]
    tensors = [*STEM, integers("shape", *wanted), tensor("w", 512, 5)]
    estimate = costmodel.estimate(write(model(nodes, tensors, images=(batch, 3, 8, 8))), batch=3)
    assert estimate.graph.nodes[1].op.kind == "flatten"
    assert estimate.flops["forward"] == 3 * (2 * 8 * 64 * 27 + 2 * 512 * 5)


# -- operators ---------------------------------------------------------------------------------------------

GROUPED = [node("Reshape", "x to_groups", "grouped"), node("InstanceNormalization", "grouped ones zeros", "n"),
           node("Shape", "x", "sizes"), node("Reshape", "n sizes", "back"), node("Mul", "back gamma", "scaled"),
           node("Add", "scaled beta", "y")]  # fmt: skip
ERF = [node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "b one", "c"), node("Mul", "x c", "d"),
       node("Mul", "d half", "y")]  # fmt: skip
SHUFFLE = [node("Shape", "x", "s"), node("Slice", "s zero one_i", "n"), node("Slice", "s two three", "h"),
           node("Concat", "n groups h h", "to", axis=0), node("Reshape", "x to", "a"),
           node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]), node("Reshape", "b s", "y")]  # fmt: skip
#: Nodes from x to y of 8 channels, tensors, the kinds of op that they are read as; opset where it is not 17.
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
                    node("LayerNormalization", "t ln.weight ln.bias", "l"), node("Transpose", "l", "y", perm=[0, 3, 1, 2])],
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
    "nothing": ([node("Identity", "x", "i"), node("Cast", "i", "c", to=FLOAT), node("Dropout", "c", "d"),
                 node("Relu", "d", "y")], [], "dropout relu"),
    "unused": ([node("Relu", "x", "y"), node("Erf", "x", "z")], [], "relu"),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_operators_are_read_priced_and_run(body, write):
    nodes, tensors, kinds, opset = (*BODIES[body], 17)[:4]
    made = around(nodes, tensors, opset=opset)
    path = write(made)
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


@pytest.mark.parametrize("body", ["silu", "squeeze and excite", "product", "scale", "halves"])
def test_the_peak_is_that_of_values_which_go_after_their_last_reader(body, write):
    nodes, tensors, _, opset = (*BODIES[body], 17)[:4]
    network = costmodel.load(write(around(nodes, tensors, opset=opset)))
    measured = measure(realize(network, "full"), 2, 8)
    assert costmodel.estimate(network, "full", 2, target="none").step_peak_bytes == measured.tensor_peak_bytes


def test_noise_that_an_exporter_wrote_out_is_stochastic_depth(write):
    body = [node("Shape", "x", "s"), node("Slice", "s zero one", "n"), node("Concat", "n one one one", "to", axis=0),
            node("ConstantOfShape", "to", "like"), node("RandomUniformLike", "like", "r"), node("Less", "r keep", "l"),
            node("Cast", "l", "m", to=FLOAT), node("Div", "m keep", "d"), node("Mul", "x d", "y")]  # fmt: skip
    tensors = [integers("zero", 0), integers("one", 1), number("keep", 0.8)]
    noise = costmodel.load(write(around(body, tensors))).graph.nodes[1].op
    assert (noise.kind, noise.p, noise.mode) == ("stochastic_depth", 0.2, "row")


# -- names, parameters, blocks -----------------------------------------------------------------------------


def test_a_layer_is_told_by_all_that_it_reads(write):
    convs = [node("Conv", "x a.weight zeros", "one", pads=[1, 1, 1, 1]), node("Conv", "one b.weight zeros", "two"),
             node("Conv", "two b.weight zeros", "y")]  # fmt: skip
    tensors = [tensor("a.weight", 8, 8, 3, 3), tensor("b.weight", 8, 8, 1, 1), number("zeros", [0] * 8)]
    estimate = costmodel.estimate(write(around(convs, tensors)))
    assert [(n.name, n.owner) for n in estimate.graph.nodes[1:4]] == [("a", "a"), ("b", "b"), ("b_1", "b")]
    # Two layers' zero biases that are stored once are two; the layer that is called twice is one.
    assert estimate.parameters == (8 * 27 + 8) + (8 * 8 * 9 + 8) + (8 * 8 + 8) + (5 * 8 + 5)


def test_an_identity_gives_an_initialiser_its_own_name_back(write):
    body = [node("Identity", "a.weight", "b.weight"), node("Conv", "x a.weight", "one"),
            node("Conv", "one b.weight", "y")]  # fmt: skip
    graph = costmodel.load(write(around(body, [tensor("a.weight", 8, 8, 1, 1)]))).graph
    assert [n.owner for n in graph.nodes[1:3]] == ["a", "b"]


def test_paths_of_torchs_exporters(write):
    older = node("Relu", "x", "a", name="/features/features.2/conv/conv.0/conv.0.2/Relu")
    newer = node("Relu", "a", "y", name="node_relu_1")
    for key, value in (("name_scopes", ["", "blocks", "blocks.0", "blocks.0.act", "relu_1"]),
                       ("class_hierarchy", ["Net", "Sequential", "timm.InvertedResidual", "torch.nn.ReLU", "aten"])):
        newer.metadata_props.add(key=f"pkg.torch.onnx.{key}", value=str(value))
    graph = costmodel.load(write(around([older, newer]))).graph
    assert [n.name for n in graph.nodes[1:3]] == ["features.2.conv.0.2", "blocks.0.act"]
    assert graph.blocks == ("blocks.0",)


def residual_blocks():
    """Two blocks of a depthwise and a 1x1 convolution, by tensors' names, around a lone convolution."""
    nodes, tensors, last = [], [], "x"
    for block, parts in (("features.1", ("dw", "pw")), ("features.2", ("pw",)), ("features.3", ("dw", "pw"))):
        for part in parts:
            shape = (8, 1, 3, 3) if part == "dw" else (8, 8, 1, 1)
            tensors.append(tensor(f"{block}.{part}.weight", *shape))
            pads = [1, 1, 1, 1] if part == "dw" else [0, 0, 0, 0]
            made = f"out_{len(tensors)}"
            nodes.append(node("Conv", f"{last} {block}.{part}.weight", made, group=8 // shape[1], pads=pads))
            last = made
    return around([*nodes, node("Relu", last, "y")], tensors)


def test_blocks_are_found_by_what_they_hold_or_named(write):
    path = write(residual_blocks())
    network = costmodel.load(path)
    assert network.graph.blocks == ("features.1", "features.3")
    assert network.graph.nodes[-4].name == "features.3.y"  # a node without a path stands where what it reads was made
    assert costmodel.load(path, blocks_are="features.?").graph.blocks == ("features.1", "features.2", "features.3")
    trained = costmodel.estimate(network, "blocks:1").trainable_parameters
    assert trained == 8 * 9 + 8 * 8 + 45
    with pytest.raises(CostmodelError, match="no module is called 'layers'; allowed: a path pattern"):
        costmodel.load(path, blocks_are="layers")


def test_what_is_exported_as_yaml_reads_back(write, tmp_path):
    network = costmodel.load(write(residual_blocks()))
    (tmp_path / "net.yaml").write_text(to_yaml(network))
    again = costmodel.load(str(tmp_path / "net.yaml"))
    assert again.graph.nodes == network.graph.nodes
    one, other = (costmodel.estimate(n, "blocks:1", 2).to_dict() for n in (network, again))
    assert one["memory_bytes"] == other["memory_bytes"]


# -- torch's exporter --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """MobileNetV2 as torch's older exporter writes it in training mode, and the module."""
    module = torchvision.models.mobilenet_v2(num_classes=10)
    path = tmp_path_factory.mktemp("exported") / "mobilenet_v2.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.train(), (torch.randn(2, 3, 64, 64),), str(path), dynamo=False, input_names=["x"],
            training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False, dynamic_axes={"x": {0: "N"}},
        )  # fmt: skip
    return str(path), module


@pytest.mark.parametrize("strategy", ["full", "last", "norm+last", "bias", "blocks:5", "mobiletl:5"])
@pytest.mark.parametrize("convention", ["torch", "lean", "ideal"])
def test_what_torch_exports_costs_what_the_module_does(exported, strategy, convention):
    path, module = exported
    one, other = (costmodel.estimate(n, strategy, 2, 64, convention, target="none") for n in (path, module))
    assert one.graph.blocks == other.graph.blocks and one.graph.classifier == other.graph.classifier
    assert (one.saved_bytes, one.flops) == (other.saved_bytes, other.flops)
    assert (one.parameters, one.trainable_parameters) == (other.parameters, other.trainable_parameters)
    assert one.memory_bytes["buffers"] == other.memory_bytes["buffers"]


def test_frames_tell_a_module_from_its_file(exported):
    path, module = exported
    one, other = (costmodel.estimate(n, "inference", 2, 64, target="none") for n in (path, module))
    # The first expansion's norm has its input and its output, 96 channels at 32x32. In Python the block's frame holds
    # what came in, 16 channels; in a file nothing reads that any more.
    assert one.step_peak_bytes == 2 * (4 * 2 * 96 * 32 * 32)
    assert other.step_peak_bytes == one.step_peak_bytes + 4 * 2 * 16 * 32 * 32


def test_a_realised_file_has_its_weights_outputs_and_keys(exported):
    path, module = exported
    again = realize(path, "inference")
    expected = module.state_dict()
    found = again.state_dict()
    assert set(found) == set(expected)
    counts = [key for key in expected if key.endswith("num_batches_tracked")]  # the file has none
    assert all(torch.equal(found[key], expected[key]) for key in expected if key not in counts)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(images), module.eval()(images))
    lean = realize(path, "last", "lean")  # folds norms into convolutions, after the weights have come
    with torch.no_grad():
        torch.testing.assert_close(lean.eval()(images), module(images), rtol=1e-4, atol=1e-4)


def test_validate_holds_for_a_file(write):
    path = write(residual_blocks())
    result = run("validate", path, "--strategy", "full", "--strategy", "blocks:1", "--format", "json")
    assert result.exit_code == 0, result.output


# -- weights beside the file -------------------------------------------------------------------------------


def test_weights_beside_the_file_are_not_needed_for_a_prediction(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save_model(onnx.ModelProto.FromString(TINY.SerializeToString()), str(path), save_as_external_data=True,
                    location="net.data", size_threshold=0)  # fmt: skip
    module = realize(str(path), "inference")
    weight = next(numpy_helper.to_array(t) for t in TINY.graph.initializer if t.name == "stem.weight")
    assert np.array_equal(module.stem.weight.detach().numpy(), weight)
    (tmp_path / "net.data").unlink()
    assert costmodel.estimate(str(path)).parameters == 285
    with pytest.raises(CostmodelError, match="net.onnx: the numbers of 'stem.weight' cannot be read"):
        realize(str(path), "inference")


# -- unknown operators -------------------------------------------------------------------------------------


def test_an_unknown_operator_names_itself_and_its_node(write):
    body = [node("Erf", "x", "y", name="strange")]
    with pytest.raises(CostmodelError, match=r"net.onnx: node 'strange' \(Erf\): unknown operator Erf; .*known: Add"):
        costmodel.load(write(around(body)))


@pytest.mark.parametrize("operator", ["DepthToSpace", "own.ops::Strange"])
def test_an_unknown_operator_that_is_let_through_is_a_lower_bound(operator, write):
    domain, _, name = operator.rpartition("::")
    body = [node("Relu", "x", "r"), node(name, "r", "y", domain=domain, **({} if domain else {"blocksize": 2}))]
    made = around(body, channels=2)
    if domain:
        with pytest.raises(CostmodelError, match="the file does not say which shape its output has"):
            costmodel.load(write(made), allow_unknown=True)
        made.graph.value_info.append(helper.make_tensor_value_info("y", FLOAT, ("N", 2, 16, 16)))
    network = costmodel.load(write(made), allow_unknown=True)
    unknown = network.graph.nodes[2].op
    assert (unknown.of, unknown.size) == (operator, (0, 2, 16, 16))
    assert costmodel.estimate(network).to_dict()["unknown_ops"] == ["y"]
    with pytest.raises(CostmodelError, match="which can be priced as nothing but not be run"):
        realize(network)


def test_functions_of_the_files_own_are_opened(write):
    double = helper.make_function("own.ops", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
                                  [helper.make_opsetid("", 17)])  # fmt: skip
    made = around([node("Double", "x", "y", domain="own.ops")], functions=[double])
    assert [n.op.kind for n in costmodel.load(write(made)).graph.nodes][:2] == ["conv2d", "add"]


# -- what is refused ---------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def info(name, kind=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


RELU = [node("Relu", "x", "y")]
BRANCH = helper.make_graph([node("Relu", "x", "b")], "branch", [], [info("b")])
QUANTISED = [node("QuantizeLinear", "x scale", "q"), node("DequantizeLinear", "q scale", "y")]
HALF = numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float16), "half.weight")
BAD = {
    "not there": (None, "cannot read 'net.onnx': No such file or directory"),
    "empty": (b"", "it is no ONNX model"),
    "text": (b"network: tiny\nresolution: 32\n", "it is no ONNX model"),
    "truncated": (TINY.SerializeToString()[:-400], "it is no ONNX model, or not all of one"),
    "three axes": (around(RELU, images=("N", 8, 8)), "the input is ?x8x8; allowed: images (N, channels,"),
    "no shape": (around(RELU, images=None), "the input is of no known shape"),
    "channels last": (around(RELU, images=(1, 224, 224, 3)), "the input is 1x224x224x3; channels stand last?"),
    "no square": (around(RELU, images=("N", 3, 8, 9)), "allowed: square images"),
    "two inputs": (around(RELU, more=[info("z", FLOAT, (1,))]), "has 2 inputs (images, z); allowed: one"),
    "two outputs": (around(RELU, outputs=("logits", "x")), "has 2 outputs (logits, x); allowed: one"),
    "float16": (around(RELU, kind=TensorProto.FLOAT16), "the input is float16; allowed: float32"),
    "half weights": (around([node("Conv", "x half.weight", "y")], [HALF]), "'half.weight' is float16 8x8x1x1"),
    "old": (around(RELU, opset=6), "opset 6; allowed: 7 or later"),
    "quantised": (around(QUANTISED, [number("scale", 0.1)]), "node 'q' (QuantizeLinear): a quantised network"),
    "branch": (around([node("Greater", "n n", "c"), node("If", "c", "y", then_branch=BRANCH, else_branch=BRANCH)],
                      [number("n", 1)]), "node 'y' (If): If decides at run time what is computed"),
    "unknown": (around([node("Erf", "x", "y")]), "node 'y' (Erf): unknown operator Erf"),
    "unread": (around([node("Relu", "nowhere", "y")]), "(Relu): reads 'nowhere', which nothing before it makes"),
    "too many": (around([node("Relu", "x x", "y")]), "node 'y' (Relu): TypeError"),
    "second output": (around([node("MaxPool", "x", "p i", kernel_shape=[1, 1]), node("Cast", "i", "y", to=FLOAT)]),
                      "node 'p' (MaxPool): the output 'i' is read; allowed: the first alone"),
    "does not fit": (around([node("Conv", "x big.weight", "y")], [tensor("big.weight", 8, 4, 1, 1)]),
                     "node 'y' (Conv): the input has 8 channels, the convolution takes 4"),
    "computed shape": (around([node("Cast", "x", "c", to=TensorProto.INT64), node("Reshape", "x c", "y")]),
                       "node 'c' (Cast): a change of data type"),
    "gemm": (around([node("Gemm", "x fc.weight", "y", alpha=2.0)]), "Gemm with alpha, beta or transA is not supported"),
    "constant": (model([node("Relu", "fc.bias", "logits")], HEAD), "the output 'logits' does not depend on the images"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_one_message_and_exit_code_2(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = BAD[what]
    if content is not None:
        (tmp_path / "net.onnx").write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    result = run("report", "net.onnx")
    assert result.exit_code == 2 and result.stdout == "", result.output
    assert message in result.stderr and "Traceback" not in result.stderr


def test_classes_and_width_belong_to_a_spec(write):
    with pytest.raises(CostmodelError, match="classes and width belong to a spec; .*net.onnx is already built"):
        costmodel.load(write(TINY), classes=3)


def test_without_the_package_one_message_names_the_extra(write, monkeypatch):
    path = write(TINY)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(CostmodelError, match=r"is read by onnx: pip install 'costmodel\[onnx\]'"):
        costmodel.load(path)


def test_a_report_of_a_file(write):
    result = run("report", write(TINY), "--format", "json")
    assert result.exit_code == 0 and '"network": "net"' in result.stdout
