"""Mixed precision: estimates under autocast against real steps under torch.autocast."""

import pytest
import torch
from costs import assert_costs_are_equal
from mixed import CASES, UNDESCRIBED, mixed
from real import seldom

import costmodel
from costmodel.frontends.modules.dry.step import dry_step
from costmodel.graph.dry import Setting
from costmodel.graph.inputs import images
from costmodel.pytorch import measure, realize
from costmodel.pytorch.validate import validate
from costmodel.step.certainty import CHECKED, DRY, NOT_MODELLED
from costmodel.strategies import usual

NETWORKS = (
    "mcunet_5fps", "mobilenet_v3_small", "mobilenet_v2", "efficientnet_b0", "mobilenet_v4_conv_small", "mnasnet_b1",
    "mobilenet_v3_large", "efficientnet_lite0", "proxyless_mobile", "proxyless_mobile_tinytl",
)  # fmt: skip
CHECKPOINTED = ("full,checkpoint=blocks", "bias,checkpoint=blocks", "blocks:3,checkpoint=blocks")
PAIRS = ((2, 97), (3, 65))
STRATEGIES = (*usual(costmodel.load("mcunet_5fps").graph), *CHECKPOINTED)
#: By default every third strategy once, on the smallest network, and what is special about the others once.
OFTEN = [("mcunet_5fps", strategy, (3, 65)) for strategy in STRATEGIES[::3]]
OFTEN += [("mobilenet_v3_small", "full", (2, 97)), ("proxyless_mobile_tinytl", "tinytl-lb", (2, 65))]
ALL = [(name, strategy, pair) for name in NETWORKS for strategy in STRATEGIES for pair in PAIRS]


def hold(module, network, strategy, batch, resolution, target="", convention="torch", **asked):
    """Hold an estimate against a real step of a module."""
    predicted, alone = (
        costmodel.estimate(
            network, strategy, batch, resolution, convention, target=f"{device},threads=1{target}", **asked
        )
        for device in ("cpu", "none")
    )
    real = measure(module, batch, resolution, target=f"cpu,threads=1{target}", **asked)
    assert_costs_are_equal(predicted, alone, real)
    if predicted.certainty.step_peak != NOT_MODELLED:
        assert predicted.step_peak_bytes == real.step_peak_bytes
    return predicted


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, strategy, pair", [*OFTEN, *seldom(*(case for case in ALL if case not in OFTEN))])
def test_a_shipped_network_equals_a_real_step(name, strategy, pair):
    network = costmodel.load(name)
    hold(realize(network, strategy), network, strategy, *pair, amp="bfloat16")


@pytest.mark.parametrize(
    "strategy, target",
    [("bias", ",channels_last"), *seldom(*((one, form) for one in STRATEGIES for form in ("", ",channels_last")))],
)
def test_in_float16_and_channels_last(strategy, target):
    network = costmodel.load("mcunet_5fps")
    hold(realize(network, strategy), network, strategy, 3, 65, target, amp="float16")


def test_micro_steps_and_an_optimizer_with_state():
    """Gradients are added to those that are there as soon as they are cast back."""
    for strategy in ("full", "blocks:3,checkpoint=blocks"):
        network = costmodel.load("mcunet_5fps")
        hold(realize(network, strategy), network, strategy, 2, 65, amp="bfloat16", accumulate=2, optimizer="adam")


def test_validate_runs_under_autocast():
    checks = validate(costmodel.load("mcunet_5fps"), "full", 2, 65, amp="bfloat16")
    assert all(check.holds for check in checks)
    assert [check.error for check in checks if not check.bound] == [0] * 7


@pytest.mark.one_in(6)
@pytest.mark.parametrize("batch, resolution", [(3, 10), *seldom((1, 9), (2, 15))])
@pytest.mark.parametrize("frozen", [False, *seldom(True)])
@pytest.mark.parametrize("case", CASES)
def test_a_traced_module_equals_a_real_step(case, frozen, batch, resolution):
    module = mixed(case, frozen)
    network = costmodel.load(module, resolution=resolution)
    found = hold(module, network, "as_is", batch, resolution, amp="bfloat16")
    whole = costmodel.estimate(network, "as_is", batch, resolution)
    assert found.certainty.saved == whole.certainty.saved  # the graph and a dry step agree as they do in float32
    assert found.certainty.saved == CHECKED or (case, batch) == ("shared linear", 1)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("case", UNDESCRIBED)
def test_what_the_graph_does_not_describe_is_the_dry_steps(case, frozen):
    module = mixed(case, frozen)
    found = hold(module, costmodel.load(module, resolution=10), "as_is", 3, 10, amp="bfloat16")
    assert found.certainty.saved == DRY and "under autocast" in found.notes[0]
    with pytest.raises(costmodel.CostmodelError, match="which the layer graph does not describe"):
        costmodel.estimate(module, "as_is", 3, 10, amp="bfloat16", check=False)


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", *seldom(
    "torchvision:resnet18", "torchvision:densenet121", "torchvision:shufflenet_v2_x0_5", "timm:mobilenetv4_conv_small",
    "timm:ghostnet_100", "timm:repvit_m0_9", "timm:convnext_atto", "timm:mobilevit_xxs", "timm:poolformer_s12",
    "timm:edgenext_xx_small", "timm:nfnet_l0", "timm:resnetv2_50",
)])  # fmt: skip
def test_a_librarys_network_equals_a_real_step(name):
    network = costmodel.load(name, resolution=97)
    found = hold(network.module, network, "as_is", 2, 97, amp="bfloat16")
    assert found.certainty.saved == CHECKED


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:deit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224",
                                  "timm:levit_128s", "timm:xcit_nano_12_p16_224"])  # fmt: skip
def test_a_transformer_equals_a_real_step(name):
    network = costmodel.load(name)
    found = hold(network.module, network, "as_is", 2, 224, amp="bfloat16")
    assert found.certainty.saved == CHECKED


def test_a_network_that_leaves_autocast_is_the_dry_steps():
    class Careful(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8, 5)

        def forward(self, x):
            with torch.autocast("cpu", enabled=False):
                y = self.conv(x)
            return self.fc(y.mean((2, 3)))

    found = hold(Careful(), costmodel.load(Careful(), resolution=10), "as_is", 3, 10, amp="bfloat16")
    assert found.certainty.saved == DRY


def test_a_region_within_a_region_is_one_of_its_own():
    """A dry step in a loop's own region lets go of its casts, which would else be held until the loop's region ends."""
    module = mixed("sum with a float32 map", False)
    alone = dry_step(module, images(10), 3, Setting(None, None, True), amp="bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        inside = dry_step(module, images(10), 3, Setting(None, None, True), amp="bfloat16")
    assert inside.levels == alone.levels


def test_the_modules_gradients_are_float32():
    module = realize("mcunet_5fps", "full")
    with torch.autocast("cpu", torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(module(torch.randn(2, 3, 64, 64)), torch.zeros(2, dtype=torch.int64))
    loss.backward()
    assert {p.grad.dtype for p in module.parameters()} == {torch.float32}
