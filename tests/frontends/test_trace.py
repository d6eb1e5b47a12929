"""Traced modules: predictions equal the cost of a real step of the original module."""

import copy

import pytest
import torch
import torchvision
from modules import SLOW, STRATEGIES, Net, configure, step_of
from real import saved_bytes, seldom
from torch import nn
from torch.nn import functional

import costmodel
from costmodel.errors import CostmodelError
from costmodel.frontends.modules.dry.flops import FlopCounter
from costmodel.frontends.modules.trace import trace
from costmodel.frontends.spec.export import to_yaml
from costmodel.graph.inputs import images
from costmodel.pytorch import measure, realize
from costmodel.pytorch.allocations import trace as allocations

#: Network: batch, resolution.
FAST = {
    "torchvision:mobilenet_v2": (2, 65),
    "torchvision:mobilenet_v3_small": (3, 49),
    "torchvision:efficientnet_b0": (2, 33),
    "torchvision:shufflenet_v2_x0_5": (2, 65),
    "torchvision:resnet18": (2, 65),
    "timm:mobilenetv3_small_050": (2, 65),
    "timm:mobilenetv4_conv_small": (3, 65),
    "timm:tf_efficientnet_lite0": (2, 49),
    "timm:tinynet_e": (2, 65),
    "timm:lcnet_050": (3, 33),
    "timm:mixnet_s": (2, 65),
    "timm:ghostnet_050": (2, 65),
    "timm:convnext_atto": (2, 65),
}
#: Those of FAST whose kinds of blocks the others have too.
LIKE_OTHERS = ("torchvision:efficientnet_b0", "timm:mobilenetv3_small_050", "timm:tf_efficientnet_lite0",
               "timm:lcnet_050", "timm:ghostnet_050", "timm:mixnet_s")  # fmt: skip


def hold_against_itself(name, batch, resolution):
    """Every strategy's saved bytes, FLOPs and trained parameters against a step of the module; peaks of two."""
    network = costmodel.load(name, classes=10)
    module = network.module
    for strategy in STRATEGIES:
        estimate = costmodel.estimate(network, strategy, batch, resolution, target="none", check=False)
        configure(module, strategy, estimate.graph).zero_grad(set_to_none=True)
        step = step_of(module, batch, resolution)
        assert estimate.saved_bytes == saved_bytes(step, module), strategy
        with FlopCounter() as counter:
            loss = step()
            counter.phase = "backward"
            loss.backward()
        del loss
        assert (estimate.flops["forward"], estimate.flops["backward"]) == (
            counter.flops["forward"],
            counter.flops["backward"],
        ), strategy
        assert estimate.trainable_parameters == sum(p.numel() for p in module.parameters() if p.requires_grad), strategy
        if strategy in ("full", "blocks:3"):
            module.zero_grad(set_to_none=True)

            def whole():
                loss = step()
                loss.backward()
                return loss

            assert estimate.step_peak_bytes == allocations(whole, counter.ops).tensor_peak, strategy
    assert estimate.parameters == sum(p.numel() for p in module.parameters())


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", [*(name for name in FAST if name not in LIKE_OTHERS), *seldom(*LIKE_OTHERS)])
def test_a_network_costs_what_is_predicted(name):
    hold_against_itself(name, *FAST[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_every_family_costs_what_is_predicted(name):
    hold_against_itself(name, *SLOW[name])


def test_a_trace_is_the_spec_of_the_same_network():
    for name, spec in (
        ("torchvision:mobilenet_v2", "mobilenet_v2"),
        ("timm:mobilenetv4_conv_small", "mobilenet_v4_conv_small"),
    ):
        traced, written = costmodel.load(name), costmodel.load(spec)
        assert traced.graph.blocks == written.graph.blocks
        assert traced.graph.classifier == written.graph.classifier
        assert traced.resolution == written.resolution
        for strategy in STRATEGIES:
            one, other = (costmodel.estimate(n, strategy, check=False).to_dict() for n in (traced, written))
            assert one["memory_bytes"] == other["memory_bytes"]
            assert one["flops"] == other["flops"]


def test_tracing_leaves_the_module_as_it_is():
    module = torchvision.models.mobilenet_v2().eval()
    module.features[3].train()
    module.features[0].requires_grad_(False)
    before = copy.deepcopy(module)
    state = torch.random.get_rng_state()
    trace(module, images(224))
    assert torch.equal(state, torch.random.get_rng_state())
    for part, other in zip(module.modules(), before.modules()):
        assert part.training == other.training and vars(part).keys() == vars(other).keys()
    for (name, tensor), (_, other) in zip(
        module.state_dict(keep_vars=True).items(), before.state_dict(keep_vars=True).items()
    ):
        assert torch.equal(tensor, other) and tensor.requires_grad == other.requires_grad, name


BODIES = {
    "relu_method": lambda net, x: x.relu(),
    "in place sum": lambda net, x: x.add_(1.0).clamp_(0, 6),
    "sum in place": lambda net, x: functional.relu(x.sigmoid() + x, inplace=True),
    "blur": lambda net, x: functional.conv2d(functional.pad(x, (1, 1, 1, 1), "reflect"), net.blur, groups=8),
    "numbers": lambda net, x: 1 - (x * 0.5 + 3) / 6,
    "hard sigmoid": lambda net, x: x * functional.relu6(x + 3) / 6,
    "views": lambda net, x: x.reshape(x.shape[0], -1).view(x.shape[0], 8, x.shape[2], -1),
    "shuffle": lambda net, x: x.view(len(x), 2, 4, *x.shape[2:]).transpose(1, 2).flatten(1, 2),
    "chunks": lambda net, x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "slices": lambda net, x: x[:, :, 1:-1, ::2].sigmoid(),
    "slices of whole axes": lambda net, x: x.sigmoid()[:, :8, 0:, :99][:, :, -10:][..., 2:],
    "a slice that is all": lambda net, x: x.sigmoid()[:][:, None, ..., 1:][:, 0],
    "picked of a slice": lambda net, x: x.sigmoid()[:, net.order, :, 1:],
    "split": lambda net, x: torch.cat([part.tanh() for part in x.split([2, 6], dim=1)], dim=1),
    "stack": lambda net, x: torch.stack([x, x.sigmoid()], dim=1).mean(1),
    "padding": lambda net, x: functional.pad(x, (1, 2, 0, 1)).sigmoid(),
    "upsampling": lambda net, x: functional.interpolate(x, scale_factor=2, mode="nearest").sigmoid(),
    "product": lambda net, x: (x.flatten(2).mT @ x.flatten(2)).softmax(-1).unsqueeze(1).expand(-1, 8, -1, -1),
    "division": lambda net, x: x / (x.sigmoid() + 1),
    "roots": lambda net, x: (x.square() + 1).sqrt() * (x * x + 1).rsqrt() + (x - 9).exp(),
    "norms": lambda net, x: functional.normalize(x, dim=1) + x / (x.norm(2, (2, 3), keepdim=True) + 1),
    "statistics": lambda net, x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1),
    "sums": lambda net, x: x.sigmoid() * x.sum((2, 3), keepdim=True).tanh(),
    "an affine map": lambda net, x: torch.addcmul(net.stem.bias.view(8, 1, 1), net.scale, x),
    "rolled": lambda net, x: x.roll((1, -1), (2, 3)).sigmoid(),
    "picked": lambda net, x: x.sigmoid()[:, net.order],
    "standardised": lambda net, x: functional.conv2d(
        x,
        functional.batch_norm(net.stem.weight.view(1, 8, -1), None, None, training=True).view(8, 3, 3, 3)[:, :2],
        net.stem.bias,
        groups=4,
    ),
    "a table that is learned": lambda net, x: x * net.fc(net.blur.view(9, 8)).sigmoid().mean(1)[:8].view(8, 1, 1),
    "a constant": lambda net, x: x * torch.arange(8.0).mul(0.1).sin().view(8, 1, 1),
    "one axis": lambda net, x: x * net.parts[0](x.mean((2, 3)).unsqueeze(1)).sigmoid().transpose(1, 2).unsqueeze(-1),
    "vectors": lambda net, x: x * net.parts[1](x.mean((2, 3))).sigmoid()[..., None, None],
    "two dropouts": lambda net, x: functional.dropout(functional.dropout(x, 0.1), 0.5, inplace=True),
}


@pytest.mark.one_in(6)
@pytest.mark.parametrize("body", BODIES)
def test_functions_and_methods_are_understood(body):
    module = Net(nn.Conv1d(1, 1, 3, padding=1), nn.BatchNorm1d(8), body=BODIES[body])
    network = trace(module, images(12))
    estimate = costmodel.estimate(network, "as_is", 2, 12, target="none")
    runs = [module] if body == "a constant" else [module, realize(network, "as_is")]
    for run in runs:
        measured = measure(run, 2, 12)
        assert estimate.saved_bytes == measured.saved_bytes
        assert estimate.flops["forward"] == measured.forward_flops
        assert estimate.flops["backward"] == measured.backward_flops
        assert estimate.step_peak_bytes == measured.tensor_peak_bytes


def test_a_network_for_grey_and_for_coloured_images_says_for_which_its_figures_are():
    class Grey(Net):
        def forward(self, x):
            return super().forward(x.expand(-1, 3, -1, -1))

    (note,) = trace(Grey(), images(12)).notes
    assert note == "The network runs on images of 3 and of 1 channels; the figures are for 3."
    assert trace(Grey(), images(12)).at(16).notes == (note,) and costmodel.estimate(Grey(), "as_is", 2, 12).notes == (
        note,
    )
    assert trace(Net(), images(12)).notes == ()
    with pytest.raises(CostmodelError, match="3 and of 1 channels"):
        costmodel.load(Grey(), resolution=12, strict=True)


def test_the_convolution_that_was_made_first_may_not_be_the_one_that_sees_the_images():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Conv2d(16, 4, 1), nn.Conv2d(3, 16, 1)

        def forward(self, x):
            return self.second(self.first(x)).mean((2, 3))

    assert costmodel.estimate(Late(), "full", 2, 8).input_shape == (3, 8, 8)


def test_parameters_that_no_node_uses_are_counted():
    module = Net()
    module.spare = nn.Linear(10, 10)
    network = trace(module, images(12))
    estimate = costmodel.estimate(network, "full", 2, 12)
    used = 8 * 3 * 9 + 8 + 8 * 5 + 5
    assert estimate.trainable_parameters == used
    assert estimate.parameters == used + 8 + 110 == measure(realize(network), 2, 12).parameters  # `scale` is unused too


def test_a_layer_that_is_used_a_hundred_times_has_one_weight_and_does_a_hundred_times_the_work():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(27, 27)

        def forward(self, x):
            x = x.flatten(1)
            for _ in range(100):
                x = self.fc(x)
            return x

    estimate = costmodel.estimate(trace(Shared(), images(3)), "as_is", batch=2, check=False)
    assert estimate.parameters == estimate.trainable_parameters == 27 * 27 + 27
    assert estimate.flops["forward"] == 100 * 2 * 2 * 27 * 27
    assert estimate.flops["backward_weight"] == 100 * 2 * 2 * 27 * 27
    # Each call keeps its input, 2 x 27 numbers, and the loss its logarithms of probabilities and the targets.
    measured = measure(Shared(), 2, 3)
    assert estimate.saved_bytes == measured.saved_bytes == 100 * 2 * 27 * 4 + 2 * 27 * 4 + 2 * 8 + 4
    assert estimate.flops["forward"] == measured.forward_flops
    assert estimate.flops["backward"] == measured.backward_flops == 100 * 2 * 2 * 27 * 27 + 99 * 2 * 2 * 27 * 27


def test_as_is_takes_the_modules_own_flags_and_modes():
    module = torchvision.models.mobilenet_v2(num_classes=5)
    module.features[:10].requires_grad_(False).eval()
    estimate = costmodel.estimate(module, "as_is", 2, 65, target="none")
    measured = measure(module, 2, 65)
    assert estimate.saved_bytes == measured.saved_bytes
    assert estimate.step_peak_bytes == measured.tensor_peak_bytes
    assert estimate.trainable_parameters == measured.trainable_parameters
    with pytest.raises(CostmodelError, match="the network has none, as one from a spec"):
        costmodel.estimate("mobilenet_v2", "as_is")


@pytest.mark.parametrize(
    "name", ["torchvision:mobilenet_v3_small", *seldom("timm:mobilenetv4_conv_small", "timm:convnext_atto")]
)
@pytest.mark.parametrize("convention", ["torch", "lean"])
def test_a_realised_module_has_the_originals_weights_outputs_and_keys(name, convention):
    network = costmodel.load(name, classes=7).at(64)
    module = network.module.eval()
    again = realize(network, "inference", convention)
    assert list(again.state_dict()) == list(module.state_dict())
    for (key, tensor), other in zip(again.state_dict().items(), module.state_dict().values()):
        assert tensor.data_ptr() == other.data_ptr(), key
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = module(images), again(images)
    # Folding a norm into the convolution before it rounds otherwise; nothing else does.
    off = 0 if convention == "torch" else 1e-4
    torch.testing.assert_close(found, expected, rtol=off, atol=off)
    trained = realize(network, "last", convention)
    assert not module.training and all(p.requires_grad for p in module.parameters())
    classifier = module.get_submodule(network.graph.classifier)
    assert sum(p.requires_grad for p in trained.parameters()) == len(list(classifier.parameters()))
    again.load_state_dict(module.state_dict())
    module.load_state_dict(trained.state_dict())


def test_a_realised_module_costs_what_is_predicted():
    network = costmodel.load("timm:mobilenetv3_small_050", classes=7).at(64)
    for strategy, convention in (("full", "torch"), ("blocks:3", "torch"), ("bias", "lean"), ("mobiletl:3", "lean")):
        estimate = costmodel.estimate(network, strategy, 2, 64, convention, target="none", check=False)
        measured = measure(realize(network, strategy, convention), 2, 64)
        assert estimate.saved_bytes == measured.saved_bytes, strategy
        assert estimate.step_peak_bytes == measured.tensor_peak_bytes, strategy
        assert estimate.parameters == measured.parameters


def test_a_copy_of_a_realised_module_computes_with_its_own_parameters():
    module = realize("timm:convnext_atto", "full")  # its layer scales are parameters by themselves
    measured = measure(module, 2, 64)  # runs a copy, and refuses what autograd does not know of
    assert measured.saved_bytes == costmodel.estimate("timm:convnext_atto", "full", 2, 64, target="none").saved_bytes


# -- export ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "timm:convnext_atto",
                                  *seldom("timm:mixnet_s", "timm:mobilenetv4_hybrid_medium")])  # fmt: skip
def test_what_is_exported_reads_back_as_the_same_network(name, tmp_path):
    network = costmodel.load(name, classes=10).at(64)
    path = tmp_path / "net.yaml"
    path.write_text(to_yaml(network))
    again = costmodel.load(str(path))
    assert again.graph.nodes == network.graph.nodes
    for strategy in ("full", "bias", "blocks:2"):
        one, other = (costmodel.estimate(n, strategy, 2, check=False) for n in (network, again))
        assert one.to_dict() == other.to_dict()
    realize(again, "full")(torch.randn(2, 3, 64, 64))
    assert costmodel.load(str(path), classes=3).graph.nodes[-1].op.out_features == 3
