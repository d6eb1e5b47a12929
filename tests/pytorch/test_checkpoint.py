"""Blocks that run again in the backward pass: the estimate equals torch.utils.checkpoint, to the byte."""

import copy

import pytest
import references
import torch
from hypothesis import reject
from hypothesis import strategies as st
from networks import assert_estimate_equals_a_real_run, loaded, on_random_networks
from opcases import EXAMPLES, demands, inputs_of, layer_of, name_of
from real import rotated, seldom
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import costmodel
from costmodel.errors import CostmodelError
from costmodel.graph.checkpointing import reruns
from costmodel.pytorch import measure, realize
from costmodel.pytorch.validate import validate
from costmodel.strategies import apply

AGAIN = ",checkpoint=blocks"
NETWORKS = ("mobilenet_v3_small", "proxyless_mobile_tinytl", "mcunet_5fps")
STRATEGIES = ("full", "norm+last", "bias", "mobiletl:3", "tinytl-lb", "blocks:3,prefix_slices=2")


def assert_holds(network, strategy, batch, resolution, convention, **request):
    for check in validate(network, strategy, batch, resolution, convention, **request):
        assert check.error == 0, check


class Gated(nn.Module):
    """A block that ends in a product with a gate, which lean layers can make again."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.norm(self.conv(x))
        return y * y.mean((2, 3), keepdim=True)


@pytest.mark.parametrize("strategy", ["full", "blocks:1"])
def test_how_a_blocks_result_is_made_again_is_not_handed_on(strategy):
    """It would hold the block's maps, which the second run makes, until the backward pass."""
    blocks = nn.Sequential(Gated(), Gated())
    head = (nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    network = costmodel.load(nn.Sequential(nn.Conv2d(3, 8, 3), blocks, *head), resolution=24, blocks_are="1.*")
    assert_holds(network, strategy + AGAIN, 2, 24, "lean")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("convention", ["lean", *seldom("torch")])
@pytest.mark.parametrize("name, strategy", rotated(NETWORKS, lambda name: STRATEGIES, 1))
def test_a_step_costs_what_is_estimated(name, strategy, convention):
    assert_holds(costmodel.load(name), strategy + AGAIN, 2, 65, convention)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("batch, slices", [(3, 2), (5, 2), (5, 4), (7, 3)])
def test_a_last_slice_that_is_smaller(batch, slices):
    """2 + 1 images, 3 + 2, 2 + 2 + 1 (three of four slices), 3 + 3 + 1: the result is there from the second on."""
    assert_holds(costmodel.load("mcunet_5fps"), f"blocks:3,prefix_slices={slices}", batch, 129, "lean")


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("batch, resolution", [(1, 97), (3, 129)])
@pytest.mark.parametrize("name", references.NAMES)
def test_more_steps(name, batch, resolution, strategy, convention):
    try:
        costmodel.estimate(name, strategy, batch, resolution)
    except CostmodelError as error:
        pytest.skip(str(error))  # batch statistics of one value
    assert_holds(costmodel.load(name), strategy + AGAIN, batch, resolution, convention)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("request_", [{"optimizer": "adam"}, {"accumulate": 2}], ids=str)
def test_optimizers_and_accumulation(request_):
    assert_holds(costmodel.load("mobilenet_v2"), "blocks:5" + AGAIN, 2, 65, "torch", **request_)


class Checkpointed(nn.Module):
    """A block of somebody's own module, run by torch.utils.checkpoint as its documentation says."""

    def __init__(self, block, **options):
        super().__init__()
        self.block, self.options = block, options

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=False, **self.options)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0", *seldom("mobilenet_v2")])
def test_torchvisions_module_with_torchs_checkpoint(name):
    """`preserve_rng_state` is on where a block draws random numbers, as stochastic depth in EfficientNet does."""
    graph = apply("full" + AGAIN, costmodel.load(name).graph)
    is_random = {rerun.scope: rerun.is_random for rerun in reruns(graph)}
    module = references.configure(references.load_reference(name), "full")
    for path in references.reference_blocks(module):
        holder, _, last = path.rpartition(".")
        setattr(
            module.get_submodule(holder),
            last,
            Checkpointed(module.get_submodule(path), preserve_rng_state=is_random[path]),
        )
    threads = torch.get_num_threads()
    measured = measure(module, 2, 65, target=f"cpu,threads={threads}")
    estimate = costmodel.estimate(name, "full" + AGAIN, 2, 65, target=f"cpu,threads={threads}")
    alone = costmodel.estimate(name, "full" + AGAIN, 2, 65, target=f"none,threads={threads}")
    assert estimate.saved_bytes == measured.saved_bytes
    assert estimate.step_peak_bytes == measured.step_peak_bytes
    assert alone.step_peak_bytes == measured.tensor_peak_bytes
    assert estimate.flops["forward"] == measured.forward_flops
    assert estimate.flops["backward"] == measured.backward_flops


@pytest.mark.parametrize("name", ["torchvision:resnet18", *seldom("timm:mobilenetv4_conv_small", "timm:regnetx_002")])
def test_a_traced_module(name):
    checks = validate(costmodel.load(name), "blocks:3" + AGAIN, 2, 65, target="cpu")
    assert [c for c in checks if c.error and c.quantity != "step_peak_bytes"] == []


def test_what_is_kept_by_hand():
    """MobileNetV2, batch 2 at 64: 17 inputs of blocks, the stem, the head and the loss.

    In the stem and the head, batch norms keep their inputs, which convolutions made, and mean and deviation, 4 bytes
    each per channel; the outputs of in-place ReLU6 are kept as the next convolution's input, or pooled.
    """
    estimate = costmodel.estimate("mobilenet_v2", "full" + AGAIN, 2, 64)
    sides = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 4, 4, 4, 4, 2, 2, 2]
    channels = [32, 16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160]
    inputs = sum(4 * 2 * c * side * side for c, side in zip(channels, sides))
    stem = 4 * 2 * (3 * 64 * 64 + 32 * 32 * 32) + 8 * 32  # the images, the convolution's output, its statistics
    # In place ReLU6 keeps a clone of what it overwrites; the first block's input is its output.
    stem += 4 * 2 * 32 * 32 * 32
    head = 4 * 2 * (320 * 4 + 2 * 1280 * 4) + 8 * 1280 + 4 * 2 * 1280 + 4 * 2 * 1280
    rest = estimate.saved_bytes - inputs - stem - head
    assert 0 <= rest < 4 * 2 * 1280 + 4 * 2 * 1000 + 100  # dropout's noise, the loss's probabilities and targets
    assert [row.tensor for row in estimate.rows].count("block's input") == 17


def test_the_second_run_stops_where_the_last_tensor_is_saved():
    """A sum saves nothing, so it is not made again."""
    graph = apply("full" + AGAIN, costmodel.load("mobilenet_v2").graph)
    residual = reruns(graph)[2]
    assert graph.nodes[residual.run[-1]].op.kind == "add"
    assert list(residual.again) == list(residual.run[:-1])
    lean = costmodel.estimate("mobilenet_v2", "bias" + AGAIN, 2, 64, convention="lean")
    # The projection's function, which does the norm's work, saves its weight after it has run.
    rerun = reruns(lean.graph)[2]
    assert lean.graph.nodes[rerun.last].op.kind == "folded_norm" and rerun.whole
    estimate = costmodel.estimate("mobilenet_v2", "full" + AGAIN, 2, 64)
    blocks = sum(2 * estimate.work[i].forward_macs for s in reruns(graph) for i in s.run)
    assert estimate.flops["recomputed"] == blocks
    assert estimate.flops["backward"] == sum(
        estimate.flops[k] for k in ("backward_input", "backward_weight", "recomputed")
    )


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0"])
def test_gradients_and_running_statistics_are_those_of_a_plain_step(name):
    plain = realize(name, "full")
    again = realize(name, "full" + AGAIN)
    again.load_state_dict(plain.state_dict())
    images, targets = torch.randn(2, 3, 65, 65), torch.tensor([1, 2])
    for module in (plain, again):
        torch.manual_seed(0)  # dropout and stochastic depth draw alike, in the second run too
        cross_entropy(module(images), targets).backward()
    for (key, one), (_, other) in zip(plain.named_parameters(), again.named_parameters()):
        assert torch.equal(one.grad, other.grad), key
    for (key, one), (_, other) in zip(plain.state_dict().items(), again.state_dict().items()):
        assert torch.equal(one, other), key


def test_a_copy_trains_by_itself():
    module = realize("mcunet_5fps", "full" + AGAIN)
    other = copy.deepcopy(module)
    cross_entropy(other(torch.randn(2, 3, 65, 65)), torch.tensor([1, 2])).backward()
    assert all(p.grad is None for p in module.parameters())
    assert all(p.grad is not None for p in other.parameters())


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is not torch.ops.aten.detach.default:
            self.ops.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("op, shapes", EXAMPLES, ids=name_of)
def test_every_op_saves_before_or_after_it_computes_as_it_says(op, shapes):
    """In a re-run of a single op, an op that saves its result runs to its end; another one stops before its output."""
    for wants, trains in demands(op):
        trained = op.trained(trains)
        layer = layer_of(trained)
        if isinstance(layer, nn.Module):
            for name, parameter in layer.named_parameters():
                parameter.requires_grad_(name in trains)
        runs = []

        def run(*xs):
            with Seen() as seen:
                runs.append(seen.ops)
                return layer(*(x.clone() for x in xs))

        xs = [x.requires_grad_(name in wants) for name, x in zip(op.inputs, inputs_of(op, shapes))]
        y = checkpoint(run, *xs, use_reentrant=False)
        demanded = [*(n for n in trained.inputs if n in wants and n not in trained.shape_only), *trains]
        needs = trained.torch_needs()
        saves = {o for g in (needs if trained.stock.joint else demanded) for o in needs[g]} if demanded else set()
        saves -= set(trained.stock.unseen)
        if y.requires_grad:
            y.sum().backward()
        assert len(runs) == 1 + bool(saves), (wants, trains)
        if saves:
            assert (len(runs[1]) == len(runs[0])) == trained.saves_late(saves), (wants, trains, runs)


CHECKPOINTED = st.sampled_from(["full", "norm+last", "bias", "blocks:1", "blocks:all"])


def assert_random_network_equals_a_real_run(spec, strategy, batch):
    network = loaded(spec)
    try:
        costmodel.estimate(network, strategy.replace("all", str(len(network.graph.blocks))) + AGAIN, 2)
    except CostmodelError as error:
        reasons = "cannot be checkpointed", "no block has a backward pass", "batch statistics of one value"
        assert any(reason in str(error) for reason in reasons)
        reject()
    assert_estimate_equals_a_real_run(spec, strategy + AGAIN, batch)


test_blocks, test_nodes, test_many_of_blocks, test_many_of_nodes = on_random_networks(
    assert_random_network_equals_a_real_run, CHECKPOINTED
)


@pytest.mark.parametrize("strategy, message", [
    ("last,checkpoint=blocks", "no block has a backward pass in which it could run again"),
    ("full,checkpoint=layers", "checkpoint is 'layers'; allowed: blocks"),
])  # fmt: skip
def test_what_does_not_fit_is_said(strategy, message):
    with pytest.raises(CostmodelError, match=message):
        costmodel.estimate("mobilenet_v2", strategy)


def test_a_block_that_overwrites_its_input_is_refused():
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.conv = nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x):
            return self.conv(self.act(x))

    module = nn.Sequential(nn.Conv2d(3, 8, 3), PreActivation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    network = costmodel.load(module, blocks_are="PreActivation")
    with pytest.raises(CostmodelError, match="block '1' cannot be checkpointed: 1.act overwrites its input"):
        costmodel.estimate(network, "full" + AGAIN, 2, 16)
