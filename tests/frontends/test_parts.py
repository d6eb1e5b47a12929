"""What the frontends of modules and specs are made of: families' blocks, records of a run, builders, naming."""

import pytest
import torch
from torch import nn

from costmodel.errors import CostmodelError
from costmodel.files.document import parse
from costmodel.frontends.block_paths import block_paths, blocks_among, classifier_path
from costmodel.frontends.draft import head_of
from costmodel.frontends.modules import installed
from costmodel.frontends.modules.recorder import Holders, tensors_in
from costmodel.frontends.modules.shapes import passes_over
from costmodel.frontends.spec.blocks import block_naming, place
from costmodel.frontends.spec.builder import Builder, split
from costmodel.graph.graph import Node
from costmodel.ops.activation import ReLU, Sigmoid
from costmodel.ops.conv import Conv2d
from costmodel.ops.linear import Linear
from costmodel.ops.pool import AdaptiveAvgPool2d
from costmodel.ops.resize import Interpolate


def test_blocks_are_the_outermost_modules_of_a_known_class():
    modules = [
        ("stem", "Conv2d"),
        ("layers.0", "BasicBlock"),
        ("layers.0.inner", "BasicBlock"),
        ("layers.1", "MyBlock"),
    ]
    assert blocks_among(modules, False) == ["layers.0"]
    assert blocks_among(modules[-1:], False) == ["layers.1"]  # its name says so, where no class is known
    assert blocks_among(modules, False, "MyBlock") == ["layers.1"]
    assert blocks_among(modules, False, "layers.*") == ["layers.0", "layers.1"]
    with pytest.raises(CostmodelError, match="no module is called 'Stage'; allowed: a path pattern, or one of BasicBl"):
        blocks_among(modules, False, "Stage")
    stages = [("blocks.0", "Sequential"), ("blocks.0.0", "Conv"), ("blocks.0.1", "Conv"), ("blocks.1", "Sequential")]
    assert blocks_among(stages, True) == ["blocks.0.0", "blocks.0.1"]


def test_blocks_and_classifier_of_a_module():
    class BasicBlock(nn.Module):
        pass

    module = nn.Sequential(BasicBlock(), nn.Linear(3, 2))
    module.classifier = module[1]
    assert block_paths(module) == ["0"] and classifier_path(module, []) == "1"
    del module.classifier
    assert classifier_path(module, []) == ""


def test_the_installed_torch_is_asked():
    for asked in (
        installed.attention_lies_as_queries,
        installed.attention_shares_keys,
        installed.open_slices_are_nodes,
    ):
        assert isinstance(asked(), bool) and asked() is asked()
    assert passes_over(slice(None, 4), 4) and not passes_over(slice(1, 4), 4) and not passes_over(slice(0, 4, 2), 4)
    assert passes_over(slice(None), 4) != installed.open_slices_are_nodes()


def test_who_holds_a_tensor():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    holders = Holders(module)
    assert holders.tensors[id(module[1].running_mean)] == ("1", ".", "running_mean")
    assert holders.are_one_layers(weight=module[0].weight, bias=module[0].bias)
    assert not holders.are_one_layers(weight=module[0].weight, bias=module[1].bias)
    assert not holders.are_one_layers(bias=module[0].weight)
    one, two = torch.zeros(1), torch.ones(1)
    assert [*tensors_in([one, {"a": (two, 3)}, "text"])] == [one, two]


def test_a_builder_fills_in_what_shapes_tell():
    builder = Builder((3, 8, 8))
    builder.conv(["conv", "norm", "act"], 8, 3, 2, norm={"op": "batch_norm"}, activation={"op": "relu"})
    builder.add("again@norm", "batch_norm")
    assert [node.op.kind for node in builder.nodes] == ["conv2d", "batch_norm", "relu", "batch_norm"]
    assert builder.shape == (2, 8, 4, 4) and builder.nodes[-1].owner == "norm"
    assert builder.nodes[0].op.padding == (1, 1) and builder.nodes[1].op.channels == 8
    for arguments, message in (
        (("conv", "relu"), "two nodes are called 'conv'"), (("a..b", "relu"), "allowed: names joined by single dots"),
        (("sum", "add"), r"node 'sum' \(add\): 1 inputs; add takes 2"),
    ):  # fmt: skip
        with pytest.raises(CostmodelError, match=message):
            builder.add(*arguments)
    with pytest.raises(CostmodelError, match="unknown input 'cnv'; did you mean 'conv'"):
        builder.add("sum", "relu", {}, ["cnv"])


def test_an_op_and_its_fields():
    assert split({"op": "relu6", "inplace": True}) == ("relu6", {"inplace": True})
    with pytest.raises(CostmodelError, match="'op' is missing"):
        split({"inplace": True})


def test_module_paths_of_an_implementation():
    document = parse('{block: "blocks.$stage.$index", first_stage: 1, conv: ["conv$j", "norm$j@bn$i"]}', "naming")
    naming = block_naming(document, document)
    assert naming.scope(5, 2, 0) == "blocks.3.0"
    assert naming.names("blocks.3.0", "conv", 1) == ["blocks.3.0.conv2", "blocks.3.0.norm2@blocks.3.0.bn1"]
    assert place("a", "b@c") == "a.b@a.c"
    wrong = parse('{block: "blocks.$nothing"}', "naming")
    with pytest.raises(CostmodelError, match="a block's with"):
        block_naming(wrong, wrong)


@pytest.mark.parametrize("kinds, head", [
    (["conv2d", "relu", "conv2d", "interpolate", "sigmoid"], 2),  # segmentation: what makes the result's maps
    (["conv2d", "adaptive_avg_pool2d"], None),  # features
    (["linear", "conv2d"], 1),  # as in a generator, or after a squeeze-and-excite
    (["linear", "conv2d", "adaptive_avg_pool2d"], 0),
    (["relu"], None),
])  # fmt: skip
def test_the_layer_that_counts_as_the_classifier(kinds, head):
    made = {"conv2d": Conv2d(3, 3, 1), "relu": ReLU(), "interpolate": Interpolate(8), "sigmoid": Sigmoid(),
            "adaptive_avg_pool2d": AdaptiveAvgPool2d(), "linear": Linear(3, 3)}  # fmt: skip
    nodes = [Node(str(i), made[kind], (str(i - 1),)) for i, kind in enumerate(kinds)]
    assert head_of(nodes) is (None if head is None else nodes[head])
