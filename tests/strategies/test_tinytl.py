"""TinyTL: lite residual branches, weight standardisation, upsampling, and the strategies made of them."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from real import NETWORKS, seldom

from costmodel import estimate, load
from costmodel.errors import CostmodelError
from costmodel.graph.op import build
from costmodel.ops.conv import Conv2d
from costmodel.ops.norm import GroupNorm
from costmodel.pytorch import library, measure, realize
from costmodel.pytorch.modules import standardised
from costmodel.pytorch.validate import validate
from costmodel.strategies import apply
from costmodel.strategies._lite_residual import in_branch, insert, notes

OWN = "proxyless_mobile_tinytl"  # the network that has branches of its own
STRATEGIES = ("tinytl-l", "tinytl-lb")
#: Quantities of a step that must equal a real run to the byte. test_peaks checks the peak with kernels' scratch memory.
EXACT = {
    "saved_bytes", "tensor_peak_bytes", "left_bytes", "parameters", "trainable_parameters", "forward_flops",
    "backward_flops",
}  # fmt: skip


def branches(network, strategy="tinytl-l"):
    """The nodes of each lite residual branch by the block's number."""
    graph = apply(strategy, load(network).graph)
    found = {}
    for node in graph.nodes:
        if in_branch(node) or node.name.endswith(("lite_upsample", "lite_sum")):
            found.setdefault(graph.block_of(node), []).append(node)
    return found


# -- the rewriting -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NETWORKS, OWN])
def test_every_block_but_the_first_has_a_branch(name):
    assert list(branches(name)) == list(range(1, len(load(name).graph.blocks)))
    kinds = ["avg_pool2d", "conv2d", None, "relu", "conv2d", None, "upsample", "add"]
    for nodes in branches(name).values():
        norm = nodes[2].op.kind
        assert [node.op.kind for node in nodes] == [kind or norm for kind in kinds]
        assert norm == ("group_norm" if name == OWN else "batch_norm")
        first, second = nodes[1].op, nodes[4].op
        assert (first.in_channels, first.groups, second.kernel) == (first.out_channels, 2, (1, 1))


def test_kernels_follow_the_authors_rule():
    """128 is halved along the strides and by the pooling: 4 pixels are left in the last four blocks, so 3x3."""
    kernels = [nodes[1].op.kernel[0] for nodes in branches(OWN).values()]
    assert kernels == [5] * (len(kernels) - 4) + [3] * 4


def test_the_branch_joins_before_the_shortcut_and_strides_as_its_block():
    nodes = {node.name: node for node in apply("tinytl-l", load("mobilenet_v2").graph).nodes}
    assert nodes["features.3.lite_residual.pooling"].inputs == ("features.2.lite_sum",)
    assert nodes["features.3.lite_sum"].inputs == ("features.3.conv.3", "features.3.lite_upsample")
    assert nodes["features.3.add"].inputs == ("features.3.lite_sum", "features.2.lite_sum")
    assert nodes["features.2.lite_residual.conv1"].op.stride == (2, 2)
    assert nodes["features.3.lite_residual.conv1"].op.stride == (1, 1)


def test_small_images_have_global_pooling_and_1x1_convolutions():
    """16 pixels at the first block are 2 from features.8 on, 1 when pooled: the authors' fallback, which is shown."""
    found = branches("mobilenet_v2", "tinytl-l,resolution=32")
    last = found[16]
    assert [node.op.kind for node in last] == [
        "adaptive_avg_pool2d",
        "conv2d",
        "batch_norm",
        "relu",
        "conv2d",
        "batch_norm",
        "add",
    ]
    assert last[1].op.kernel == (1, 1)
    assert found[1][0].op.kind == "avg_pool2d"
    (note,) = notes(apply("tinytl-l,resolution=32", load("mobilenet_v2").graph))
    assert note.startswith("10 lite residual branches, from features.8 on, pool to one pixel")
    estimate("mobilenet_v2", "tinytl-l,resolution=32", resolution=32)
    with pytest.raises(
        CostmodelError, match="lite_residual.pooling' .avg_pool2d.: no output: the window 2x2.*resolution=R"
    ):
        estimate("mobilenet_v2", "tinytl-l", resolution=32)


@pytest.mark.parametrize(
    "text, message",
    [
        ("tinytl-l,resolution=0", "resolution is '0'; allowed: a resolution of images from 1 to 65536"),
        ("tinytl-l,resolution=x", "resolution is 'x'; allowed: a resolution of images from 1 to 65536"),
        ("tinytl-lb:3", "tinytl-lb takes no number of blocks"),
    ],
)
def test_bad_options(text, message):
    with pytest.raises(CostmodelError, match=message):
        apply(text, load("mobilenet_v2").graph)


def test_networks_without_blocks_and_with_branches_are_refused():
    graph = load("mobilenet_v2").graph
    with pytest.raises(CostmodelError, match="'tinytl-l': the network has no blocks; lite residual branches stand"):
        apply("tinytl-l", replace(graph, blocks=()))
    with pytest.raises(CostmodelError, match="has its own lite residual branches; allowed: no option 'resolution'"):
        apply("tinytl-l,resolution=96", load(OWN).graph)
    with pytest.raises(CostmodelError, match="block 'features.2.conv.1.0' is a single layer; a branch beside it"):
        insert(replace(graph, blocks=("features.1", "features.2.conv.1.0")))


# -- what trains ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v3_small", OWN])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_trains(name, strategy):
    graph = apply(strategy, load(name).graph)
    for node in graph.nodes:
        everything = frozenset(node.op.params())
        if node.name.startswith("classifier"):
            assert node.trains == everything
        elif in_branch(node):
            last = strategy == "tinytl-lb" and node.name.endswith(".final_bn")
            assert node.trains == (everything - {"bias"} if last else everything)
            assert getattr(node.op, "statistics", "batch") == "batch"
        else:
            assert node.trains == (everything & {"bias"} if strategy == "tinytl-lb" else frozenset())
            assert getattr(node.op, "statistics", "frozen") == "frozen"


# -- against real runs ---------------------------------------------------------------------------------------------


OFTEN = [("mobilenet_v3_small", "tinytl-lb"), ("mcunet_5fps", "tinytl-l"), (OWN, "tinytl-l"), (OWN, "tinytl-lb")]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name, strategy", OFTEN + seldom(*product([*NETWORKS, OWN], STRATEGIES)))
def test_a_real_step_agrees(name, strategy):
    checks = validate(load(name), strategy, 2, 64)
    assert {c.quantity for c in checks} >= EXACT
    assert [(c.quantity, c.predicted, c.measured) for c in checks if c.quantity in EXACT and c.error] == []


@pytest.mark.one_in(2)
@pytest.mark.parametrize("strategy", [
    "full", "mobiletl:3", *seldom("norm+last", "bias", "last", "blocks:3", "inference"),
])  # fmt: skip
def test_a_real_step_of_tinytls_network_agrees(strategy):
    checks = validate(load(OWN), strategy, 2, 64)
    assert [(c.quantity, c.predicted, c.measured) for c in checks if c.quantity in EXACT and c.error] == []


def test_the_fallback_runs_and_agrees():
    checks = validate(load("mobilenet_v2"), "tinytl-lb,resolution=32", 4, 32)
    assert [(c.quantity, c.predicted, c.measured) for c in checks if c.quantity in EXACT and c.error] == []


# -- weight standardisation ----------------------------------------------------------------------------------------


def test_standardised_weights_have_mean_0_and_deviation_1():
    weight = standardised(torch.randn(6, 4, 3, 3) * 5 + 2).flatten(1)
    assert torch.allclose(weight.mean(1), torch.zeros(6), atol=1e-6)
    assert torch.allclose(weight.std(1), torch.ones(6), atol=1e-4)


def test_a_frozen_weight_is_standardised_once_and_again_when_it_is_loaded():
    op = Conv2d(4, 6, 3, standardise=True)
    trained, frozen = (op.trained(names).module(library) for names in ({"weight"}, set()))
    frozen.load_state_dict(trained.state_dict())
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(frozen(x), trained(x))
    # The weight itself stays what was loaded: saving and loading it again changes nothing.
    assert torch.equal(frozen.weight, trained.weight) and frozen.state_dict().keys() == trained.state_dict().keys()


def test_what_standardisation_saves():
    """A full fine-tune keeps each weight twice more, centred and standardised, and two numbers per channel."""
    network = load(OWN)
    standard = estimate(network, "full", convention="torch")
    plain = replace(network, graph=network.graph.map(lambda n: replace(n, op=_plain(n.op))))
    convs = [node.op for node in network.graph.nodes if node.op.kind == "conv2d"]
    weights = sum(op.macs_per_output * op.out_channels for op in convs)
    channels = sum(op.out_channels for op in convs)
    more = standard.saved_bytes - estimate(plain, "full", convention="torch").saved_bytes
    assert more == 4 * (2 * weights + 2 * channels)
    assert round(more / 1e6, 1) == 36.8  # as a real run shows
    frozen = estimate(network, "bias", convention="torch").saved_bytes
    assert frozen == estimate(plain, "bias", convention="torch").saved_bytes


def _plain(op):
    return replace(op, standardise=False) if isinstance(op, Conv2d) else op


def test_the_peak_may_lie_in_the_gradient_of_a_standardised_weight(spec_file):
    """A weight far larger than any map: the gradient of its standardisation is where the step is highest."""
    path = spec_file(
        "network: tiny\nresolution: 3\nclasses: 2\nnodes:\n"
        "  - {name: widen, op: conv2d, out_channels: 64, kernel: 1, standardise: true}\n"
        "  - {name: conv, op: conv2d, out_channels: 64, kernel: 3, padding: 1, standardise: true}\n"
        "  - {name: pool, op: mean}\n  - {name: fc, op: linear, out_features: classes}\nblocks: []\nclassifier: fc\n"
    )
    predicted = estimate(path, "full", 1, target="none")
    assert predicted.peak_at == {"phase": "backward", "node": "conv"}
    assert predicted.step_peak_bytes == measure(realize(path, "full"), 1, 3).tensor_peak_bytes


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"fixed": True}, "fixed belongs to standardise"),
        ({"standardise": True, "groups": 4, "kernel": 1}, "more than one weight per output channel"),
    ],
)
def test_standardise_is_checked(fields, message):
    with pytest.raises(CostmodelError, match=message):
        build("conv2d", {"in_channels": 4, "out_channels": 4, "kernel": 3, **fields})


# -- upsampling and group norms ------------------------------------------------------------------------------------


def test_upsample_takes_the_size_of_its_second_input_and_gives_it_no_gradient():
    op = build("upsample", {})
    assert op.shape((2, 8, 3, 4), (2, 4, 7, 9)) == (2, 8, 7, 9)
    assert (op.inputs, op.shape_only, dict(op.needs())) == (("x", "like"), ("like",), {"x": ()})
    assert build("upsample", {"scale": 2}).shape((2, 8, 3, 4)) == (2, 8, 6, 8)
    with pytest.raises(CostmodelError, match="scale is -1"):
        build("upsample", {"scale": -1})


def test_group_norm_counts_its_groups_by_their_channels():
    assert GroupNorm(per_group=8, channels=24) == GroupNorm(3, 24)
    for fields, message in (
        ({"per_group": 5}, "per_group 5 does not divide channels 24"),
        ({"per_group": 8, "groups": 2}, "one of the two"),
        ({}, "groups is 0"),
    ):
        with pytest.raises(CostmodelError, match=message):
            GroupNorm(channels=24, **fields)
