"""Side networks, low-rank branches and adaptors: what is inserted, and that it runs and saves as is said."""

import pytest
import torch
from real import seldom
from torch.nn.functional import cross_entropy

import costmodel
from costmodel.errors import CostmodelError
from costmodel.graph.graph import Node
from costmodel.graph.paths import within
from costmodel.ops.conv import Conv2d
from costmodel.pytorch import realize
from costmodel.pytorch.validate import validate
from costmodel.sizes.size import numel
from costmodel.strategies import apply
from costmodel.strategies._branches import beside, run_in_turn
from costmodel.strategies.da3 import with_adaptors
from costmodel.strategies.lora import branch_of, with_branches
from costmodel.strategies.repnet import with_side_modules

STRATEGIES = ("repnet", "repnet,bias=1", "lora:4", "lora:8,fa=1", "da3", "da3,pool=1,reduction=2")
CASES = [("mcunet_5fps", strategy, (2, 97), "lean") for strategy in STRATEGIES[::2]]
CASES += seldom(*(
    (name, strategy, size, convention)
    for name in ("mobilenet_v2", "mobilenet_v3_small", "proxyless_mobile")
    for strategy in STRATEGIES
    for size in ((3, 97), (8, 128))
    for convention in ("torch", "lean")
))  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name, strategy, size, convention", CASES)
def test_a_network_with_branches_runs_and_saves_as_is_said(name, strategy, size, convention):
    for check in validate(costmodel.load(name), strategy, *size, convention, target="cpu"):
        assert check.error == 0, check


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_trains_has_a_gradient_and_nothing_else_moves(strategy):
    module = realize("mcunet_5fps", strategy, "lean")
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    cross_entropy(module(torch.randn(2, 3, 96, 96)), torch.zeros(2, dtype=torch.int64)).backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    own = ("repnet", "da3")
    assert all(
        name.split(".")[0] in own for name, old in before.items() if not torch.equal(old, module.get_buffer(name))
    )


def test_rep_nets_modules_have_the_authors_parameters():
    """936, 14,224, 23,440, 88,032, 60,480 and 228,352 on ProxylessNAS-Mobile, at blocks 1, 5, 9, 13, 17 and 21."""
    graph = with_side_modules(costmodel.load("proxyless_mobile").graph)
    sizes = [0] * 6
    for node in graph.nodes:
        for k in range(6):
            if within(node.name, f"repnet.{k}"):
                sizes[k] += sum(map(numel, node.op.params().values()))
    assert sizes == [936, 14_224, 23_440, 88_032, 60_480, 228_352]
    joined = [node.inputs[0].split(".")[1] for node in graph.nodes if node.name.startswith("repnet_sum")]
    assert joined == ["1", "5", "9", "13", "17", "21"]
    images = next(node for node in graph.nodes if node.name == "repnet.0.shrink")
    assert images.inputs == ("input",)


@pytest.mark.parametrize("strategy", ["repnet", "lora:4", "lora:4,fa=1"])
def test_before_it_trains_the_network_is_as_it_was(strategy):
    """The last norm's scale of a side module, and B of a branch, start at 0."""
    torch.manual_seed(0)
    module, plain = realize("mcunet_5fps", strategy).eval(), realize("mcunet_5fps", "full").eval()
    assert not plain.load_state_dict(module.state_dict(), strict=False).missing_keys
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(module(x), plain(x))


def test_lora_saves_nothing_and_lora_fa_does():
    """Of a pointwise convolution's input of C channels and HW pixels LoRA keeps all, LoRA-FA R channels."""
    asked = dict(batch=2, convention="ideal")
    own = costmodel.estimate("mcunet_5fps", "lora:8,recompute=none", **asked)
    frozen = costmodel.estimate("mcunet_5fps", "lora:8,fa=1,recompute=none", **asked)
    inputs = ranks = 0
    pointwise = [node for node in own.graph.nodes if node.name.endswith("_lora_down")]
    for i, node in enumerate(own.graph.nodes):
        if node in pointwise:
            inputs += 4 * numel(own.shapes[own.graph.reads[i][0]])
            ranks += 4 * numel(own.shapes[i + 1])
    assert len(pointwise) == 27 and frozen.saved_bytes < own.saved_bytes - inputs + 20 * ranks
    assert any("fa=1 freezes them" in note for note in own.notes)
    assert any("A is frozen" in note for note in frozen.notes)


def test_branches_are_beside_pointwise_convolutions_alone():
    graph = costmodel.load("mcunet_5fps").graph
    assert branch_of(Conv2d(8, 8, 3, padding=1), 4) is None and branch_of(Conv2d(8, 8, 1, groups=8), 4) is None
    down, up = branch_of(Conv2d(8, 16, 1, stride=2), 4)
    assert (down.in_channels, down.out_channels, down.stride) == (8, 4, (2, 2))
    assert (up.in_channels, up.out_channels, up.stride) == (4, 16, (1, 1))
    assert len(with_branches(graph, 4)) == len(graph) + 3 * 27
    assert len(with_adaptors(graph, 2, 4)) == len(graph) + 9 * len(graph.blocks)
    assert "da3" in run_in_turn(graph, "da3").containers
    more = Node("more", Conv2d(16, 16, 1), (graph.nodes[0].name,))
    assert beside(graph, [graph.nodes[0].name], [], [more]).nodes[2].inputs == ("more",)
    trained = {node.owner for node in apply("lora:4,fa=1", graph).nodes if node.trains}
    assert all(name.endswith("_lora_up") or name.startswith("classifier") for name in trained)


@pytest.mark.parametrize("strategy, message", [
    ("lora", "found no rank; allowed: an integer >= 1, as in lora:8"), ("lora:0", "found rank '0'"),
    ("lora:8,fa=2", "fa is '2'; allowed: 0 or 1"), ("repnet,bias=yes", "bias is 'yes'; allowed: 0 or 1"),
    ("da3,pool=0", "pool is '0'; allowed: an integer >= 1"), ("repnet:3", "repnet takes no number of blocks"),
])  # fmt: skip
def test_a_bad_option_is_one_message(strategy, message):
    with pytest.raises(CostmodelError, match=message):
        costmodel.estimate("mcunet_5fps", strategy, 2)
