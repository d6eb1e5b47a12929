"""Modules that a trace refuses, with helpful messages, and the names by which networks are requested."""

import re
import sys

import pytest
import timm
import torch
from modules import Net
from torch import nn

import costmodel
from costmodel.errors import CostmodelError
from costmodel.frontends.modules.recorder import MOST_QUOTED, shortened
from costmodel.frontends.modules.refused import refuse_what_no_trace_takes
from costmodel.frontends.modules.trace import trace
from costmodel.graph.inputs import images
from costmodel.pytorch import realize


def refused(body, *parts):
    with pytest.raises(CostmodelError) as caught:
        trace(Net(*parts, body=body), images(12))
    return str(caught.value)


def test_an_unknown_op_names_itself_its_module_and_its_line():
    message = refused(lambda net, x: torch.erfinv(x))
    assert "unknown op 'erfinv'" in message and "the network itself (Net)" in message
    assert "test_trace_refusals.py:" in message and "torch.erfinv(x)" in message


def test_an_unknown_op_that_is_let_through_is_listed_as_a_lower_bound():
    network = trace(Net(body=lambda net, x: torch.erfinv(x.sigmoid())), images(12), allow_unknown=True)
    assert [node.op.of for node in network.graph.nodes if node.op.kind == "unknown"] == ["erfinv"]
    assert costmodel.estimate(network).to_dict()["unknown_ops"] == ["unknown"]
    assert "unknown_ops" not in costmodel.estimate("mobilenet_v2").to_dict()
    with pytest.raises(CostmodelError, match="'erfinv', which can be priced as nothing but not be run"):
        realize(network)


def test_control_flow_on_data_is_refused_with_its_line():
    message = refused(lambda net, x: x.relu() if x.mean((1, 2, 3))[0] > 0 else x)
    assert "test_trace_refusals.py:" in message and "> 0" in message
    message = refused(lambda net, x: x * x.mean((1, 2, 3))[0].item())
    assert "item asks for a tensor's data: what runs next may depend on it" in message
    assert "test_trace_refusals.py:" in message


def checks_its_numbers(net, x):
    assert not torch.isnan(x).any()
    return x


def sends_to_experts(net, x):
    at = (x.mean((1, 2, 3)) > 0).nonzero().flatten()
    return x.index_add(0, at, x[at])


@pytest.mark.parametrize(
    "body, asks, fails", [(checks_its_numbers, "any", "isnan"), (sends_to_experts, "nonzero", "nonzero")]
)
def test_control_flow_on_data_is_told_of_both_runs(body, asks, fails):
    with pytest.raises(CostmodelError) as caught:
        costmodel.estimate(Net(body=body), "as_is", 2, 12)
    trace, _, dry = str(caught.value).partition("; a dry step on 3x12x12 fails: ")
    assert trace.startswith(f"Net: {asks} asks for a tensor's data: what runs next may depend on it") and fails in trace
    assert re.fullmatch(r".*test_trace_refusals.py, line \d+: what runs next depends on data", dry)


def test_a_quoted_line_is_shortened():
    wide = lambda net, x: torch.erfinv(x.sigmoid()) * 1.0 + 1.0 + 1.0 + 1.0 + 1.0 + 1.0 + 1.0 + 1.0 + 1.0 + 1.0 + 1.0  # noqa: E731
    quoted = refused(wide).partition("test_trace_refusals.py:")[2].partition("); allow_unknown")[0]
    line = quoted.partition(": ")[2]
    assert line.startswith("wide = lambda net, x: torch.erfinv(x.sigmoid())") and line.endswith("…")
    assert len(line) == MOST_QUOTED and shortened("x" * MOST_QUOTED) == "x" * MOST_QUOTED


def test_a_wrong_argument_is_named_without_the_entry():
    message = refused(lambda net, x: torch.amax(x, 1, True, out=torch.empty(3)))
    assert message.startswith("amax with these arguments (got an unexpected keyword argument 'out') is not supported")


def test_tensor_subclasses_and_scripts_are_refused():
    class Special(torch.Tensor):
        pass

    net = Net()
    net.stem.register_buffer("table", torch.zeros(3).as_subclass(Special))
    with pytest.raises(CostmodelError, match="buffer 'stem.table' is a Special; allowed: plain torch.Tensor"):
        trace(net, images(12))
    with pytest.raises(CostmodelError, match="compiled by TorchScript"):
        refuse_what_no_trace_takes(torch.jit.script(nn.Sequential(nn.ReLU())))


def test_several_outputs_of_which_none_is_the_main_one_are_refused():
    with pytest.raises(CostmodelError, match="returns a tuple of 2 tensors; allowed: one tensor, or several of which"):
        trace(nn.Sequential(Net(), Pair()), images(12))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def hooked(register):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    getattr(module[0], register)(lambda *_: None)
    return module


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_realize_refuses_hooks_that_it_would_not_run(register):
    wrong = r"^0 \(Conv2d\) has forward (pre )?hooks, which a realised module would not run"
    with pytest.raises(CostmodelError, match=wrong):
        realize(hooked(register), "full")


def test_backward_hooks_are_refused():
    with pytest.raises(CostmodelError, match=r"^0 \(Conv2d\) has backward hooks: remove them"):
        costmodel.estimate(hooked("register_full_backward_hook"))


# -- names -------------------------------------------------------------------------------------------------


def test_a_factory_makes_a_network(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(
        "from torch import nn\n\n\ndef build(num_classes=4):\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(),"
        " nn.LazyLinear(num_classes) if num_classes == 9 else nn.Linear(4 * 222 * 222, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    network = costmodel.load("own_models:build", classes=6)
    assert network.graph.nodes[-1].op.out_features == 6 and network.graph.classifier == "2"
    with pytest.raises(CostmodelError, match="own_models has no 'bild'; did you mean 'build'"):
        costmodel.load("own_models:bild")
    with pytest.raises(CostmodelError, match="'2.weight' has no shape yet"):
        costmodel.load("own_models:build", classes=9)
    sys.modules.pop("own_models")


def test_a_wrong_name_gives_the_nearest():
    with pytest.raises(CostmodelError, match="unknown timm network 'mobilenetv4_conv_smal'; did you mean 'mobilenetv4"):
        costmodel.load("timm:mobilenetv4_conv_smal")
    with pytest.raises(CostmodelError, match="unknown torchvision network 'mobilnet_v2'; did you mean 'mobilenet_v2"):
        costmodel.load("torchvision:mobilnet_v2")
    with pytest.raises(CostmodelError, match="cannot import 'no_such_package'"):
        costmodel.load("no_such_package:build")


def test_blocks_can_be_named():
    module = timm.create_model("mobilenetv4_conv_small", num_classes=5)
    found = costmodel.load(module, blocks_are="UniversalInvertedResidual").graph.blocks
    assert 0 < len(found) < len(costmodel.load(module).graph.blocks)
    assert costmodel.load(module, blocks_are="blocks.?").graph.blocks == tuple(f"blocks.{i}" for i in range(5))
    with pytest.raises(CostmodelError, match="no module is called 'Nothing'"):
        costmodel.load(module, blocks_are="Nothing")
