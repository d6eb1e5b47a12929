"""A realised network is the reference implementation, and a measured step of it costs what was estimated."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from costs import assert_costs_are_equal
from real import NETWORKS, NETWORKS_AND_STRATEGIES, configured, rotated, saved_by_a_step, strategies
from torch import nn
from torch.nn.functional import cross_entropy

import costmodel
from costmodel.devices.file import device_of
from costmodel.devices.pace import Pace
from costmodel.devices.written import device_text
from costmodel.errors import CostmodelError
from costmodel.pytorch import measure as measure_on
from costmodel.pytorch import realize
from costmodel.targets import parse

# One thread, as everywhere in these tests; what is saved does not depend on it.
measure = partial(measure_on, target="cpu,threads=1")


def assert_estimate_is_what_a_real_step_costs(name, strategy, batch, resolution):
    estimate = costmodel.estimate(name, strategy, batch, resolution)
    tensors = costmodel.estimate(name, strategy, batch, resolution, target="none")
    assert_costs_are_equal(estimate, tensors, measure(realize(name, strategy), batch, resolution))


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, strategy", rotated(NETWORKS, strategies, 1))
def test_estimate_equals_a_real_step(name, strategy):
    assert_estimate_is_what_a_real_step_costs(name, strategy, 2, 65)


@pytest.mark.slow
@pytest.mark.parametrize("batch, resolution", [(3, 97), (2, 129), (4, 224)])
@pytest.mark.parametrize("name, strategy", NETWORKS_AND_STRATEGIES)
def test_estimate_equals_a_real_step_at_more_sizes(name, strategy, batch, resolution):
    assert_estimate_is_what_a_real_step_costs(name, strategy, batch, resolution)


# -- realize: the reference implementation itself ----------------------------------------------------------


def with_the_same_weights(name, strategy):
    """The reference's module and the realised one, with the same drawn weights and statistics."""
    reference = copy.deepcopy(configured(name, strategy))
    for norm in (m for m in reference.modules() if isinstance(m, nn.BatchNorm2d)):
        # Freshly initialised norms would be like none at all, so a test could not see them.
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    realised = realize(name, strategy)
    realised.load_state_dict(reference.state_dict())
    return reference, realised


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_equal_the_references_bit_for_bit(name):
    reference, realised = with_the_same_weights(name, "inference")
    images = torch.randn(2, 3, 97, 97)
    with torch.no_grad():
        assert torch.equal(realised(images), reference(images))


@pytest.mark.parametrize("name, strategy", rotated(NETWORKS, lambda name: ("full", "bias", "blocks:2"), 1))
def test_gradients_and_statistics_equal_the_references_bit_for_bit(name, strategy):
    modules = with_the_same_weights(name, strategy)
    images = torch.randn(2, 3, 65, 65)
    for module in modules:
        torch.manual_seed(1)  # dropout and stochastic depth draw alike
        cross_entropy(module(images), torch.tensor([3, 5])).backward()
    (gradients, buffers), theirs = [
        ({key: p.grad for key, p in module.named_parameters()}, dict(module.named_buffers())) for module in modules
    ]
    for mine, other in zip((gradients, buffers), theirs):
        assert mine.keys() == other.keys()
        for key, tensor in mine.items():
            same = tensor is other[key] if tensor is None else torch.equal(tensor, other[key])
            assert same, key


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", NETWORKS)
def test_realised_modules_have_the_references_flags_and_modes(name):
    for strategy in ("full", "norm+last", "bias", "blocks:2", "last", "inference"):
        reference, realised = configured(name, strategy), realize(name, strategy)
        assert {k: p.requires_grad for k, p in realised.named_parameters()} == {
            k: p.requires_grad for k, p in reference.named_parameters()
        }
        modes = {k: m.training for k, m in reference.named_modules() if isinstance(m, nn.BatchNorm2d)}
        assert {k: m.training for k, m in realised.named_modules() if isinstance(m, nn.BatchNorm2d)} == modes


def test_train_keeps_frozen_statistics_frozen():
    # Stock modules lose them: 28,670,036 bytes are saved after .train(), and the running statistics move.
    module = realize("mobilenet_v2", "bias")
    assert saved_by_a_step(module, 2, 96) == 28_533_588
    module.eval().train()
    before = {key: buffer.clone() for key, buffer in module.named_buffers()}
    assert saved_by_a_step(module, 2, 96) == 28_533_588
    assert len(before) == 3 * 52
    assert all(torch.equal(before[key], buffer) for key, buffer in module.named_buffers())
    assert module.classifier.training and module.get_submodule("classifier.0").training


def test_train_moves_the_statistics_of_the_trained_part_alone():
    module = realize("mobilenet_v2", "blocks:2").train()
    before = {key: buffer.clone() for key, buffer in module.named_buffers()}
    module(torch.randn(2, 3, 64, 64))
    moved = {key for key, buffer in module.named_buffers() if not torch.equal(before[key], buffer)}
    assert moved == {key for key in before if key.startswith(("features.16.", "features.17.", "features.18."))}


def test_stock_modules_lose_their_frozen_statistics_in_train():
    assert saved_by_a_step(configured("mobilenet_v2", "bias"), 2, 96) == 28_533_588
    assert saved_by_a_step(configured("mobilenet_v2", "bias").train(), 2, 96) == 28_670_036


def test_realize_leaves_the_network_as_it_was_and_shares_nothing():
    network = costmodel.load("mobilenet_v3_small")
    before = str(network)
    one, two = realize(network, "bias"), realize(network, "full")
    assert str(network) == before
    assert not {id(p) for p in one.parameters()} & {id(p) for p in two.parameters()}
    assert all(p.requires_grad for p in two.parameters())


@pytest.mark.parametrize("op, saved", [("add", 0), ("mul", 4 * 2 * 3 * 8 * 8)])
def test_a_value_joined_with_itself_is_realised(spec_file, op, saved):
    # x + x keeps nothing, x * x keeps x once; the convolution keeps the images, of the same size.
    text = f"""\
network: twice
resolution: 8
classes: 2
nodes:
  - {{name: conv, op: conv2d, out_channels: 3, kernel: 1}}
  - {{name: join, op: {op}, inputs: [conv, conv]}}
  - {{name: pool, op: mean}}
  - {{name: fc, op: linear, out_features: classes}}
"""
    path = spec_file(text)
    # The linear layer keeps 2 x 3 means; the loss 2 x 2 log-probabilities, 2 targets of 8 bytes, a total weight of 4.
    expected = 4 * 2 * 3 * 8 * 8 + saved + 4 * 2 * 3 + 4 * 2 * 2 + 8 * 2 + 4
    assert costmodel.estimate(path, "full", 2).saved_bytes == expected
    assert measure(realize(path, "full"), 2, 8).saved_bytes == expected


def test_realize_refuses_a_convention_that_only_counts():
    with pytest.raises(CostmodelError, match="^convention 'ideal' only counts, no module follows it; allowed: .*torch"):
        realize("mobilenet_v2", "full", "ideal")
    with pytest.raises(CostmodelError, match="unknown convention 'trch'; did you mean 'torch'"):
        realize("mobilenet_v2", "full", "trch")


# -- measure -----------------------------------------------------------------------------------------------


def state(module):
    return copy.deepcopy(
        (
            module.state_dict(),
            {key: (p.requires_grad, p.grad) for key, p in module.named_parameters()},
            {key: m.training for key, m in module.named_modules()},
        )
    )


def test_measure_leaves_the_module_untouched():
    module = realize("mobilenet_v3_small", "blocks:1")
    tensors, flags, modes = state(module)
    measure(module, 2, 64)
    tensors_after, flags_after, modes_after = state(module)
    assert all(torch.equal(tensors[key], tensors_after[key]) for key in tensors)
    assert (flags, modes) == (flags_after, modes_after)


def test_measure_leaves_torchs_random_numbers_untouched():
    module = realize("mcunet_5fps", "last")
    before = torch.random.get_rng_state()
    measure(module, 2, 64)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_measure_is_the_same_from_run_to_run():
    module = realize("efficientnet_b0", "full")
    first, second = (measure(module, 2, 64) for _ in range(2))
    assert {**vars(first), "seconds": 0} == {**vars(second), "seconds": 0}
    assert first.seconds > 0


def test_measure_takes_any_module():
    # 2 * 3 * 4 * 4 images of 4 bytes are kept by the convolution, 2 * 3 * 4 * 4 of its output by the ReLU and again
    # by the linear layer, one storage; the loss keeps 2 * 5 log-probabilities, 2 targets of 8 bytes and 4 bytes.
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    measured = measure(module, batch=2, resolution=4)
    assert measured.saved_bytes == 384 + 384 + 40 + 16 + 4
    assert measured.parameters == measured.trainable_parameters == (9 + 3) + (240 + 5)
    # 2 images of 16 positions by 3 x 3 weights, and 48 x 5 of the linear layer, at 2 FLOPs.
    assert measured.forward_flops == 2 * (2 * 16 * 9 + 2 * 48 * 5)
    # The images need no gradient: one gradient of the convolution (weight), two of the linear layer (input, weight).
    assert measured.backward_flops == 2 * (2 * 16 * 9 + 2 * 2 * 48 * 5)


def test_measure_fails_where_autograd_does_not_know_of_a_kept_tensor():
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.hidden = x * 2  # not through save_for_backward
            return x + 1

        @staticmethod
        def backward(ctx, gradient):
            return gradient * ctx.hidden

    class Layer(nn.Module):
        def forward(self, x):
            return Hidden.apply(x)

    module = nn.Sequential(nn.Conv2d(3, 3, 1), Layer(), nn.Flatten(), nn.Linear(48, 5))
    with pytest.raises(CostmodelError, match="are still allocated"):
        measure(module, batch=2, resolution=4)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "8.0", [8]])
def test_measure_refuses_a_bad_size(value):
    module = realize("mcunet_5fps", "last")
    for name in ("batch", "resolution"):
        with pytest.raises(CostmodelError, match=f"^{name} is .*{str(value).strip('[]')}.*; allowed: an integer "):
            measure(module, **{"batch": 2, "resolution": 64, name: value})


def test_realize_picks_the_memory_format_that_peaks_lower():
    # Contiguous, oneDNN copies the maps of a forward pass into blocks: 93.1 MB; in channels_last it takes them as they
    # are. A lean module's frozen blocks peak alike in both.
    assert realize("mobilenet_v2", "last", memory_format="best").memory_format is torch.channels_last
    lean = realize("mobilenet_v2", "mobiletl:1", "lean", memory_format="best")
    assert lean.memory_format is torch.channels_last
    assert lean.get_submodule("features.18.0").weight.is_contiguous(memory_format=torch.channels_last)
    assert realize("mobilenet_v2", "full", "lean").memory_format is torch.contiguous_format
    # A device that knows the time of both formats decides by time, among those that fit into its memory.
    usual = parse("cpu,threads=1").text
    flat = f"{usual},channels_last"
    for quick, slow, memory, convention, expected in (
        (usual, flat, 2**30, "lean", torch.contiguous_format), (flat, usual, 2**30, "lean", torch.channels_last),
        (usual, flat, 93 * 10**6, "torch", torch.channels_last),
    ):  # fmt: skip
        paces = [Pace(1e10, rate, mape=0.1, target=target) for target, rate in ((quick, 9e9), (slow, 1e9))]
        paces = [replace(pace, error="e", framework="f", source="s", factors={"sum": 1.0}) for pace in paces]
        own = device_of(device_text("own", memory, 1, paces), "own.yaml", "own")
        found = realize("mobilenet_v2", "last", convention, memory_format="best", device=own)
        assert found.memory_format is expected
    with pytest.raises(CostmodelError, match="unknown memory format 'nhwc' .allowed: best, channels_last, contiguous."):
        realize("mobilenet_v2", "full", "lean", memory_format="nhwc")
