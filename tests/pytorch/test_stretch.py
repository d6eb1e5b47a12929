"""Frozen blocks in channels_last inside a contiguous network: real steps, real modules."""

import copy
import pickle

import pytest
import torch
from costs import assert_costs_are_equal
from real import NETWORKS, rotated, seldom
from torch import nn
from torch.nn.functional import cross_entropy

import costmodel
from costmodel import estimate
from costmodel.pytorch import measure, realize
from costmodel.pytorch.lean.stretch import InStretch
from costmodel.targets.machine import OLDER, UNKNOWN, here_isa

pytestmark = pytest.mark.skipif(here_isa() in (OLDER, UNKNOWN), reason="this processor's kernels are not modelled")


@pytest.fixture(params=[1, *seldom(2, 4)], ids="threads={}".format)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def hold(network, strategy, batch, resolution, threads):
    """A real step is as said, to the byte, and nothing about it is unknown."""
    target = f"cpu,threads={threads}"
    predicted = estimate(network, strategy, batch, resolution, "lean", target=target)
    tensors = estimate(network, strategy, batch, resolution, "lean", target=f"none,threads={threads}")
    measured = measure(realize(network, strategy, "lean"), batch, resolution, target=target)
    assert any(getattr(node.op, "stretch", "") for node in predicted.graph.nodes)
    assert_costs_are_equal(predicted, tensors, measured)
    assert (predicted.step_peak_bytes, predicted.certainty.step_peak) == (measured.step_peak_bytes, "rule")


#: Small images leave maps of a few pixels, and of one.
SIZES = [(2, 16), (1, 32), (3, 65), (2, 97)]


@pytest.mark.parametrize("batch, resolution", SIZES)
@pytest.mark.parametrize("name, strategy", rotated(
    NETWORKS, lambda name: ["last", "blocks:2,recompute=none", "mobiletl:3,prefix_slices=2"], 1,
))  # fmt: skip
@pytest.mark.one_in(4)
def test_a_real_step_is_as_said(name, strategy, batch, resolution, threads):
    if strategy != "last" and resolution < 65:
        strategy = "inference"  # norms of one value per channel do not train
    hold(name, strategy, batch, resolution, threads)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:mobilenetv3_large_100", "timm:efficientnet_b3", "timm:mobilenetv4_conv_medium",
                                  "torchvision:mobilenet_v2", "torchvision:efficientnet_b4"])  # fmt: skip
def test_so_is_one_of_a_traced_network(name, threads):
    hold(costmodel.load(name), "blocks:2", 2, 97, threads)


def few(channels=16):
    """A module of two blocks of an inverted residual kind."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            norm = nn.BatchNorm2d
            self.expand = nn.Sequential(nn.Conv2d(channels, 48, 1, bias=False), norm(48), nn.ReLU6(inplace=True))
            self.deep = nn.Sequential(nn.Conv2d(48, 48, 3, 1, 1, groups=48, bias=False), norm(48), nn.ReLU6(True))
            self.project = nn.Sequential(nn.Conv2d(48, channels, 1, bias=False), norm(channels))

        def forward(self, x):
            return x + self.project(self.deep(self.expand(x)))

    stem = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6(inplace=True))
    blocks = nn.Sequential(Block(), Block())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))
    return nn.Sequential(stem, blocks, head)


@pytest.fixture
def pair():
    """A module, and its lean one with the first of its blocks frozen: they share parameters."""
    torch.manual_seed(0)
    module = few()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    network = costmodel.load(module, resolution=16, blocks_are="1.*")
    return network, realize(network, "blocks:1", "lean")


def formats(module, images):
    """Whether the result of each layer is in channels_last, by its path."""
    found, hooks = {}, []
    for path, child in module.named_modules():
        if path and not list(child.children()):
            hooks.append(child.register_forward_hook(lambda _, __, y, path=path: found.update({path: flat(y)})))
    module(images)
    for hook in hooks:
        hook.remove()
    return found


def flat(x):
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_maps_are_in_channels_last_inside_and_nowhere_else(pair):
    found = formats(pair[1], IMAGES)
    inside = {path for path, is_flat in found.items() if is_flat}
    assert inside >= {"0.0", "0.1", "1.0.expand.0", "1.0.deep.0", "1.0.project.0"}
    assert not {path for path in inside if path.startswith(("1.1", "2"))}
    assert "1.0.add" not in inside  # the sum at its end


def test_in_channels_last_the_whole_network_is(pair):
    module = pair[1].to(memory_format=torch.channels_last)
    found = formats(module, IMAGES.contiguous(memory_format=torch.channels_last))
    assert all(is_flat for path, is_flat in found.items() if path.startswith("1."))


@pytest.mark.parametrize("how", ["float64", "autocast", "images with a gradient"])
def test_elsewhere_it_does_what_others_do(how, pair):
    module, images = pair[1], IMAGES
    if how == "float64":
        module, images = module.double(), images.double()
    if how == "images with a gradient":
        images = images.clone().requires_grad_()
    with torch.autocast("cpu", enabled=how == "autocast"):
        found = formats(module, images)
    assert not any(found.values())


def test_results_and_gradients_are_those_of_stock(pair):
    network, module = pair
    stock = realize(network, "blocks:1")
    results = []
    for one in (stock, module):
        y = one(IMAGES)
        cross_entropy(y, torch.tensor([0, 1, 2])).backward()
        results.append((y, {path: p.grad.clone() for path, p in one.named_parameters() if p.grad is not None}))
    (y, gradients), (mine, found) = results
    torch.testing.assert_close(mine, y)
    assert gradients.keys() == found.keys()
    for path, gradient in gradients.items():
        torch.testing.assert_close(found[path], gradient, rtol=1e-4, atol=1e-5)
        assert found[path].stride() == gradient.stride()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))],
                         ids=["deepcopy", "pickle"])  # fmt: skip
def test_a_copy_looks_at_its_own_first_convolution(copied, pair):
    twin = copied(pair[1])
    inside = [layer for layer in twin.modules() if isinstance(layer, InStretch) and layer._first]
    assert inside and {id(layer._first[0]) for layer in inside} == {id(twin.get_submodule("0.0"))}
    assert torch.equal(twin(IMAGES), pair[1](IMAGES))
    twin.to(memory_format=torch.channels_last)
    assert formats(pair[1], IMAGES)["1.0.deep.0"] and not formats(pair[1], IMAGES)["1.1.deep.0"]


def test_state_dicts_do_not_know_of_it(pair):
    network, module = pair
    assert module.state_dict().keys() == realize(network, "full").state_dict().keys()


@pytest.mark.parametrize("path", ["0.1.bias", "1.0.deep.1.bias", "1.0.project.1.bias"])
def test_what_is_made_to_train_inside_gets_its_gradient(path, pair):
    """What trains inside is recorded, and what reads it does what others do; above it all is as in stock."""
    network, module = pair
    stock, found = realize(network, "blocks:1"), []
    for one in (stock, module):
        one.get_parameter(path).requires_grad_()
        cross_entropy(one(IMAGES), torch.tensor([0, 1, 2])).backward()
        found.append({name: p.grad for name, p in one.named_parameters() if p.grad is not None})
    expected, mine = found
    assert path in mine and expected.keys() == mine.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-3, atol=1e-5)
        assert mine[name].stride() == gradient.stride()


def test_no_images_give_no_results(pair):
    assert realize(pair[0], "last", "lean")(IMAGES[:0]).shape == (0, 5)


def test_a_sliced_prefix_of_a_module_holds_nothing_for_longer():
    """The average of the head's maps, which the module's own frame holds until the classifier has run."""
    hold(costmodel.load("torchvision:mobilenet_v2"), "last,prefix_slices=2", 2, 33, torch.get_num_threads())


def test_a_folded_bias_of_a_single_pixel():
    """The shift is made of the scale, and of the mean less the bias: more than an output of one pixel."""
    norm = nn.BatchNorm2d
    stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), norm(32), nn.ReLU6(inplace=True))
    block = nn.Sequential(nn.Conv2d(32, 96, 1), norm(96), nn.ReLU6(inplace=True), nn.Conv2d(96, 32, 1), norm(32))
    module = nn.Sequential(stem, block, nn.Sequential(nn.Flatten(), nn.Linear(32, 5)))
    network = costmodel.load(module, resolution=2, blocks_are="1")
    target = f"cpu,threads={torch.get_num_threads()}"
    predicted = estimate(network, "inference", 1, 2, "lean", target=target)
    measured = measure(realize(network, "inference", "lean"), 1, 2, target=target)
    # The weight times the scale, the scale, the mean less the bias, the shift; and the map that is read.
    assert predicted.step_peak_bytes == measured.step_peak_bytes == 4 * (32 * 96 + 3 * 96 + 32)
