"""Peaks of traced modules at the allocator: predicted, and measured in a step of the original module.

Both the tensors alone and what kernels allocate inside must agree to the byte; where a kernel has no rule, what is said
must be the least.
"""

import copy

import pytest
import torch
from modules import SLOW, STRATEGIES, Net, configure, step_of
from real import seldom
from torch import nn

import costmodel
from costmodel.errors import CostmodelError
from costmodel.frontends.modules.dry.flops import FlopCounter
from costmodel.frontends.modules.trace import trace
from costmodel.graph.inputs import images
from costmodel.pytorch import measure, realize
from costmodel.pytorch.allocations import trace as allocations
from costmodel.pytorch.validate import Check, validate
from costmodel.step.certainty import NOT_MODELLED

#: Network: (batch, resolution) pairs. One for every kind of block, and networks that mix memory formats.
FAST = {
    "torchvision:mobilenet_v3_small": [(1, 65)],
    "timm:mobilenetv4_conv_small_050": [(3, 49)],
    "timm:tf_efficientnet_lite0": [(2, 49)],
    "timm:mixnet_s": [(2, 65)],
    "timm:ghostnet_050": [(2, 65)],
    "torchvision:resnet18": [(2, 65)],
    "timm:efficientvit_b0": [(3, 65)],
    "torchvision:convnext_tiny": [(2, 33)],
}
PAIRS = [(3, 97), (2, 65), (1, 129)]


def hold_peaks(name, pairs, strategies=STRATEGIES):
    network, threads = costmodel.load(name, classes=10).unchecked(), torch.get_num_threads()
    module = network.module
    for batch, resolution in pairs:
        for strategy in strategies:
            try:
                whole, alone = (
                    costmodel.estimate(network, strategy, batch, resolution, target=f"{device},threads={threads}")
                    for device in ("cpu", "none")
                )
            except CostmodelError as error:
                assert batch == 1 and "batch statistics of one value per channel" in str(error)
                continue
            configure(module, strategy, whole.graph).zero_grad(set_to_none=True)
            step = step_of(module, batch, resolution)
            with FlopCounter() as counter:
                step().backward()
            module.zero_grad(set_to_none=True)

            def run():
                loss = step()
                loss.backward()
                return loss

            measured = allocations(run, counter.ops)
            case = (strategy, batch, resolution)
            assert alone.step_peak_bytes == measured.tensor_peak, case
            assert whole.step_peak_bytes <= measured.peak, case
            assert whole.step_peak_bytes == measured.peak or whole.certainty.step_peak == NOT_MODELLED, case


@pytest.mark.one_in(4)
@pytest.mark.parametrize("strategies", [STRATEGIES[::2], *seldom((STRATEGIES[1::2],))])
@pytest.mark.parametrize("name", FAST)
def test_peaks_of_modules(name, strategies):
    hold_peaks(name, FAST[name], strategies)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_more_peaks_of_modules(name):
    batch, resolution = SLOW[name]
    hold_peaks(name, [(batch, resolution)] if resolution == 224 else PAIRS)


# -- memory formats ----------------------------------------------------------------------------------------


def nhwc(body):
    """A body between two permutations, on maps whose channels are innermost in memory."""
    return lambda net, x: body(net, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


BODIES = {
    "a norm of a permuted map": nhwc(lambda net, x: net.parts[0](x)),
    "a linear layer of a permuted map": nhwc(lambda net, x: net.parts[1](net.parts[0](x))),
    "a convolution of channels_last": lambda net, x: net.parts[2](nhwc(lambda net, x: net.parts[0](x))(net, x)),
    "a depthwise one": lambda net, x: net.parts[3](nhwc(lambda net, x: net.parts[0](x))(net, x)),
    "a batch norm of channels_last": lambda net, x: net.parts[4](nhwc(lambda net, x: net.parts[0](x))(net, x)),
    "a residual": lambda net, x: net.parts[3](nhwc(lambda net, x: net.parts[0](x))(net, x)) + x,
    "convolutions of slices": lambda net, x: torch.cat([net.parts[5](part) for part in x.chunk(2, 1)], 1),
    "a fixed blur": lambda net, x: nn.functional.conv2d(x, net.blur, groups=8),
    "quotients": lambda net, x: x / (x.mean((2, 3), keepdim=True) + 2),
    "differences": lambda net, x: x.sigmoid() - x.mean((2, 3), keepdim=True),
    "numbers": lambda net, x: (x * 0.5).sigmoid() * 3,
}


@pytest.mark.one_in(5)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("batch", [1, 2])
def test_peaks_where_formats_mix(body, batch):
    parts = (nn.LayerNorm(8), nn.Linear(8, 8), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 7, padding=3, groups=8),
             nn.BatchNorm2d(8), nn.Conv2d(4, 4, 3, padding=1, groups=4))  # fmt: skip
    module = Net(*parts, body=BODIES[body])
    assert_holds(validate(trace(module, images(33)), "as_is", batch, 33))


@pytest.mark.parametrize("size", [4, 14, 15, 16])
def test_patches_of_a_vision_transformer(size):
    """A kernel as wide as its stride. From 15 pixels on (AVX2: 14) the weight's gradient is made another way."""
    module = nn.Sequential(nn.Conv2d(3, 24, size, size), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5))
    assert_holds(validate(trace(module, images(8 * size)), "full", 2, 8 * size))


def assert_holds(checks):
    """All checks except the numbers of parameters, since some parameters are unused."""
    assert [check for check in checks if not check.holds and "parameters" not in check.quantity] == []


# -- what was found on the way -----------------------------------------------------------------------------


def one_key_for_both_heads(net, x):
    heads, key = x.unflatten(1, (2, 4)).flatten(3), x[:, None, :4].flatten(3)
    return (heads.mT @ key).repeat(1, 4, 1, 1)


def test_a_single_image_is_traced_by_itself():
    """A product with one key for all heads expands the key; for a single image torch makes this a view, not a copy."""
    network = trace(Net(body=one_key_for_both_heads), images(12))
    kinds = [{node.op.kind for node in network.at(12, batch).graph.nodes} for batch in (1, 2)]
    assert "copy" not in kinds[0] and "copy" in kinds[1]
    for batch in (1, 2):
        assert_holds(validate(network, "as_is", batch, 12))
    hold_peaks("timm:mobilenetv4_hybrid_medium", [(1, 129)], ["bias"])


def test_a_copy_of_a_realised_module_has_parameters_of_its_own():
    class Scaled(Net):
        def __init__(self):
            super().__init__(body=lambda net, x: x * net.scale.view(1, -1, 1, 1))
            self.scale = nn.Parameter(torch.ones(8))

    module = realize(trace(Scaled(), images(12)), "full")
    other = copy.deepcopy(module)
    batch = torch.randn(2, 3, 12, 12)
    before = module(batch)
    with torch.no_grad():
        other.scale.zero_()
    assert torch.equal(module(batch), before) and not torch.equal(other(batch), before)


def test_validate_runs_unknown_ops_as_they_are_and_calls_it_a_lower_bound():
    network = trace(Net(body=lambda net, x: torch.erfinv(x.sigmoid()).sigmoid()), images(12), allow_unknown=True)
    checks = validate(network, "as_is", 2, 12)
    assert_holds(checks)
    assert all(check.bound for check in checks) and any(check.error < 0 for check in checks)
    with pytest.raises(CostmodelError, match=r"full: unknown ops \(unknown\); they run in the module itself alone"):
        validate(network, "full", 2, 12)
    assert not Check("saved_bytes", 3, 2, bound=True).holds and Check("saved_bytes", 1, 2, bound=True).holds


def test_numbers_that_autograd_keeps_are_no_error_of_measure():
    module = Net(body=BODIES["numbers"])
    assert (
        measure(module, 2, 12).saved_bytes == costmodel.estimate(trace(module, images(12)), "as_is", 2, 12).saved_bytes
    )


@pytest.mark.parametrize("body", [
    lambda net, x: net.parts[0](x.contiguous(memory_format=torch.channels_last)),
    lambda net, x: net.parts[0](x.to(memory_format=torch.channels_last).contiguous()),
])  # fmt: skip
def test_copies_in_another_memory_format_are_traced_as_such(body):
    assert_holds(validate(trace(Net(nn.Conv2d(8, 8, 3, padding=1), body=body), images(33)), "as_is", 2, 33))
