"""ONNX files: the networks that they are read as, predictions for these, and what is refused."""

import json
import warnings

import numpy as np
import onnx
import pytest
import torch
import torchvision
from commandline import CliRunner
from onnx import TensorProto, helper, numpy_helper
from onnxfiles import FLOAT, HEAD, STEM, around, integers, model, node, number, tensor
from real import seldom

import costmodel
from costmodel.cli import main
from costmodel.errors import CostmodelError
from costmodel.frontends.spec.export import to_yaml
from costmodel.pytorch import realize

NORM = [tensor(f"norm.{name}", 8) for name in ("weight", "bias", "running_mean", "running_var")]
NORM_READS = "x norm.weight norm.bias norm.running_mean norm.running_var"
TINY = around([node("BatchNormalization", NORM_READS, "normed", epsilon=1e-5), node("Relu", "normed", "y")], NORM)


# -- figures by hand ---------------------------------------------------------------------------------------


def test_a_small_network_by_hand(onnx_file):
    network = costmodel.load(onnx_file(TINY))
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
        + map_bytes
        + 4 * (8 + 8)  # the norm's input, mean and invstd
        + map_bytes  # the activation's output
        + 4 * 2 * 8  # the linear layer's input
        + 4 * 2 * 5
        + 8 * 2
        + 4  # the loss: log-probabilities, targets, the weight that it divided by
    )
    assert estimate.flops["forward"] == 2 * (2 * 8 * 64 * 27) + 2 * (2 * 8 * 5)
    assert costmodel.estimate(network, "last", 2).trainable_parameters == 45


def test_a_file_without_norms_says_that_its_figures_may_be_understated(onnx_file, tmp_path):
    assert costmodel.load(onnx_file(TINY), strict=True).notes == ()
    path = onnx_file(around([node("Relu", "x", "y")]))
    network = costmodel.load(path)
    (note,) = network.notes
    assert note.startswith("No norm follows any of 1 convolutions") and "TrainingMode.TRAINING" in note
    assert network.at(16).notes == network.notes == costmodel.estimate(network).notes
    with pytest.raises(CostmodelError, match="net: No norm follows any of 1 convolutions"):
        costmodel.load(path, strict=True)

    def run(*arguments):
        return CliRunner().invoke(main, [arguments[0], path, *arguments[1:]])

    for command in (["report"], ["compare", "--strategy", "last"], ["fit", "--budget", "1GB"], ["sweep"],
                    ["plan", "--budget", "1GB"], ["pareto", "--strategy", "full,last"]):  # fmt: skip
        told = run(*command)
        assert told.exit_code == 0 and told.stdout.count(note) == 1 and told.stderr == ""
        told = run(*command, "--format", "csv")
        assert note not in told.stdout and told.stderr == f"Note: {note}\n"
    assert json.loads(run("report", "--format", "json").stdout)["notes"] == [note]
    for command in (["report"], ["fit", "--budget", "1GB"], ["export"], ["validate"]):
        refused = run(*command, "--strict")
        assert refused.exit_code == 2 and note in refused.stderr and refused.stdout == ""


def test_a_norm_that_the_file_evaluates_trains_unless_as_is(onnx_file):
    network = costmodel.load(onnx_file(TINY))
    assert network.graph.nodes[1].op.statistics == "batch"
    assert costmodel.estimate(network, "as_is").graph.nodes[1].op.statistics == "frozen"
    body = [node("BatchNormalization", NORM_READS, "y mean var", training_mode=1)]
    assert costmodel.load(onnx_file(around(body, NORM))).graph.as_is is None


def test_another_resolution_and_a_batch_that_the_file_fixes(onnx_file):
    flat = around([node("Reshape", "x shape", "y")], [integers("shape", 2, 8, 8, 8)], images=(2, 3, 8, 8))
    network = costmodel.load(onnx_file(flat))
    assert costmodel.estimate(network, batch=7).flops["forward"] == 7 * (2 * 8 * 64 * 27 + 2 * 8 * 5)
    with pytest.raises(CostmodelError, match=r"node 'y' \(Reshape\): .*\[2, 8, 8, 8\] .*made for 3x8x8 images"):
        costmodel.estimate(network, resolution=9)
    assert costmodel.estimate(costmodel.load(onnx_file(TINY)), batch=1, resolution=16).flops["forward"] == (
        2 * 8 * 256 * 27 + 2 * 8 * 5
    )
    opened = around([node("Relu", "x", "y")], images=("N", 3, "H", "W"))
    assert costmodel.load(onnx_file(opened)).resolution == 224


@pytest.mark.parametrize(
    "batch, wanted", [("N", (-1, 512)), ("N", (0, 512)), (2, (-1, 512)), (2, (2, -1)), (2, (0, 512)), (2, (2, 512))]
)
def test_a_reshape_keeps_the_batch_in_its_first_axis(batch, wanted, onnx_file):
    stem = node("Conv", "images stem.weight stem.bias", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    nodes = [stem, node("Reshape", "x shape", "flat"), node("Gemm", "flat w", "logits")]
    tensors = [*STEM, integers("shape", *wanted), tensor("w", 512, 5)]
    estimate = costmodel.estimate(onnx_file(model(nodes, tensors, images=(batch, 3, 8, 8))), batch=3)
    assert estimate.graph.nodes[1].op.kind == "flatten"
    assert estimate.flops["forward"] == 3 * (2 * 8 * 64 * 27 + 2 * 512 * 5)


# -- names, parameters, blocks -----------------------------------------------------------------------------


def test_a_layer_is_told_by_all_that_it_reads(onnx_file):
    convs = [node("Conv", "x a.weight zeros", "one", pads=[1, 1, 1, 1]), node("Conv", "one b.weight zeros", "two"),
             node("Conv", "two b.weight zeros", "y")]  # fmt: skip
    tensors = [tensor("a.weight", 8, 8, 3, 3), tensor("b.weight", 8, 8, 1, 1), number("zeros", [0] * 8)]
    estimate = costmodel.estimate(onnx_file(around(convs, tensors)))
    assert [(n.name, n.owner) for n in estimate.graph.nodes[1:4]] == [("a", "a"), ("b", "b"), ("b_1", "b")]
    # Zero biases of two layers, stored once, become two parameters; a layer that is called twice stays one layer.
    assert estimate.parameters == (8 * 27 + 8) + (8 * 8 * 9 + 8) + (8 * 8 + 8) + (5 * 8 + 5)


def test_an_identity_gives_an_initialiser_its_own_name_back(onnx_file):
    body = [node("Identity", "a.weight", "b.weight"), node("Conv", "x a.weight", "one"),
            node("Conv", "one b.weight", "y")]  # fmt: skip
    graph = costmodel.load(onnx_file(around(body, [tensor("a.weight", 8, 8, 1, 1)]))).graph
    assert [n.owner for n in graph.nodes[1:3]] == ["a", "b"]


def test_paths_of_torchs_exporters(onnx_file):
    older = node("Relu", "x", "a", name="/features/features.2/conv/conv.0/conv.0.2/Relu")
    newer = node("Relu", "a", "y", name="node_relu_1")
    for key, value in (
        ("name_scopes", ["", "blocks", "blocks.0", "blocks.0.act", "relu_1"]),
        ("class_hierarchy", ["Net", "Sequential", "timm.InvertedResidual", "torch.nn.ReLU", "aten"]),
    ):
        newer.metadata_props.add(key=f"pkg.torch.onnx.{key}", value=str(value))
    graph = costmodel.load(onnx_file(around([older, newer]))).graph
    assert [n.name for n in graph.nodes[1:3]] == ["features.2.conv.0.2", "blocks.0.act"]
    assert graph.blocks == ("blocks.0",)


def residual_blocks():
    """Two blocks, each with a depthwise and a 1x1 convolution, around a lone convolution; tensors' names tell paths."""
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


def test_blocks_are_found_by_what_they_hold_or_named(onnx_file):
    path = onnx_file(residual_blocks())
    network = costmodel.load(path)
    assert network.graph.blocks == ("features.1", "features.3")
    assert network.graph.nodes[-4].name == "features.3.y"  # a node without a path stands where what it reads was made
    assert costmodel.load(path, blocks_are="features.?").graph.blocks == ("features.1", "features.2", "features.3")
    trained = costmodel.estimate(network, "blocks:1").trainable_parameters
    assert trained == 8 * 9 + 8 * 8 + 45
    with pytest.raises(CostmodelError, match="no module is called 'layers'; allowed: a path pattern"):
        costmodel.load(path, blocks_are="layers")


def test_what_is_exported_as_yaml_reads_back(onnx_file, tmp_path):
    network = costmodel.load(onnx_file(residual_blocks()))
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
            module.train(),
            (torch.randn(2, 3, 64, 64),),
            str(path),
            dynamo=False,
            input_names=["x"],
            training=torch.onnx.TrainingMode.TRAINING,
            do_constant_folding=False,
            dynamic_axes={"x": {0: "N"}},
        )
    return str(path), module


@pytest.fixture(scope="module")
def loaded(exported):
    """The networks of the file and of the module."""
    return [costmodel.load(one) for one in exported]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("strategy", ["full", "bias", "mobiletl:5", *seldom("last", "norm+last", "blocks:5")])
@pytest.mark.parametrize("convention", ["torch", "lean", *seldom("ideal")])
def test_what_torch_exports_costs_what_the_module_does(loaded, strategy, convention):
    one, other = (costmodel.estimate(n, strategy, 2, 64, convention, target="none") for n in loaded)
    assert one.graph.blocks == other.graph.blocks and one.graph.classifier == other.graph.classifier
    assert (one.saved_bytes, one.flops) == (other.saved_bytes, other.flops)
    assert (one.parameters, one.trainable_parameters) == (other.parameters, other.trainable_parameters)
    assert one.memory_bytes["buffers"] == other.memory_bytes["buffers"]


def test_frames_tell_a_module_from_its_file(exported):
    path, module = exported
    one, other = (costmodel.estimate(n, "inference", 2, 64, target="none") for n in (path, module))
    # During the first expansion's norm its input and output are alive, 96 channels at 32x32 each. In Python the block's
    # call frame also holds the block's input, 16 channels; in a file nothing reads that any more.
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


def test_validate_holds_for_a_file(onnx_file):
    path = onnx_file(residual_blocks())
    result = run("validate", path, "--strategy", "full", "--strategy", "blocks:1", "--format", "json")
    assert result.exit_code == 0, result.output


# -- weights beside the file -------------------------------------------------------------------------------


def test_weights_beside_the_file_are_not_needed_for_a_prediction(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save_model(
        onnx.ModelProto.FromString(TINY.SerializeToString()),
        str(path),
        save_as_external_data=True,
        location="net.data",
        size_threshold=0,
    )
    module = realize(str(path), "inference")
    weight = next(numpy_helper.to_array(t) for t in TINY.graph.initializer if t.name == "stem.weight")
    assert np.array_equal(module.stem.weight.detach().numpy(), weight)
    (tmp_path / "net.data").unlink()
    assert costmodel.estimate(str(path)).parameters == 285
    with pytest.raises(CostmodelError, match="net.onnx: the numbers of 'stem.weight' cannot be read"):
        realize(str(path), "inference")


# -- unknown operators -------------------------------------------------------------------------------------


def test_an_unknown_operator_names_itself_and_its_node(onnx_file):
    body = [node("Erf", "x", "y", name="strange")]
    with pytest.raises(CostmodelError, match=r"net.onnx: node 'strange' \(Erf\): unknown operator Erf; .*known: Abs"):
        costmodel.load(onnx_file(around(body)))


@pytest.mark.parametrize("operator", ["DepthToSpace", "own.ops::Strange"])
def test_an_unknown_operator_that_is_let_through_is_a_lower_bound(operator, onnx_file):
    domain, _, name = operator.rpartition("::")
    body = [node("Relu", "x", "r"), node(name, "r", "y", domain=domain, **({} if domain else {"blocksize": 2}))]
    made = around(body, channels=2)
    if domain:
        with pytest.raises(CostmodelError, match="the file does not say which shape its output has"):
            costmodel.load(onnx_file(made), allow_unknown=True)
        made.graph.value_info.append(helper.make_tensor_value_info("y", FLOAT, ("N", 2, 16, 16)))
    network = costmodel.load(onnx_file(made), allow_unknown=True)
    unknown = network.graph.nodes[2].op
    assert (unknown.of, unknown.size) == (operator, (0, 2, 16, 16))
    assert costmodel.estimate(network).to_dict()["unknown_ops"] == ["y"]
    with pytest.raises(CostmodelError, match="which can be priced as nothing but not be run"):
        realize(network)


def test_functions_of_the_files_own_are_opened(onnx_file):
    double = helper.make_function(
        "own.ops", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    made = around([node("Double", "x", "y", domain="own.ops")], functions=[double])
    assert [n.op.kind for n in costmodel.load(onnx_file(made)).graph.nodes][:2] == ["conv2d", "add"]


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


def test_classes_and_width_belong_to_a_spec(onnx_file):
    with pytest.raises(CostmodelError, match="classes and width belong to a spec; .*net.onnx is already built"):
        costmodel.load(onnx_file(TINY), classes=3)


def test_without_the_package_one_message_names_it(onnx_file, monkeypatch):
    path = onnx_file(TINY)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(CostmodelError, match=r"is read by onnx: pip install onnx"):
        costmodel.load(path)


def test_a_report_of_a_file(onnx_file):
    result = run("report", onnx_file(TINY), "--format", "json")
    assert result.exit_code == 0 and '"network": "net"' in result.stdout
