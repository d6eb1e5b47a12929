"""Whole networks of lean layers: the cost of a step, that it trains like a stock step, and its savings."""

import copy
from functools import partial
from itertools import product

import pytest
import references
import torch
import torchvision.ops
from costs import assert_costs_are_equal
from real import NETWORKS as BATCH_NORM_NETWORKS
from real import configured, rotated, saved_by_a_step, seldom
from timm.layers import SqueezeExcite
from torch import nn
from torch.nn.functional import cross_entropy

from costmodel import estimate
from costmodel.pytorch import measure, realize
from costmodel.step.certainty import NOT_MODELLED
from specs import ONE_BLOCK

NETWORKS = (*BATCH_NORM_NETWORKS, "proxyless_mobile_tinytl")
STRATEGIES = ("bias", "blocks:3", "mobiletl:3", "tinytl-l", "tinytl-lb", "last", "full", "norm+last")
PRODUCT = tuple(product(NETWORKS, STRATEGIES))
#: One strategy for each network, the first of them twice.
ROTATED = tuple((name, STRATEGIES[i % len(STRATEGIES)]) for i, name in enumerate(NETWORKS))
#: A strategy with a frozen prefix to cut, for each network.
SLICED = tuple((name, ("last", "blocks:3", "mobiletl:3")[i % 3]) for i, name in enumerate(NETWORKS))


# -- what a step costs ---------------------------------------------------------------------------------------------


def check(name, strategy, batch, resolution, layout=""):
    """Compare the estimate of a lean step with a real one. layout: "" or ",channels_last"."""
    target = f"cpu,threads=1{layout}"
    of = partial(estimate, name, strategy, batch, resolution, "lean")
    predicted, tensors = of(target=target), of(target="none,threads=1")
    measured = measure(realize(name, strategy, "lean"), batch, resolution, target=target)
    assert_costs_are_equal(predicted, tensors, measured)
    assert predicted.step_peak_bytes <= measured.step_peak_bytes
    assert predicted.step_peak_bytes == measured.step_peak_bytes or predicted.certainty.step_peak == NOT_MODELLED


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, strategy", ROTATED)
def test_estimate_equals_a_real_step(name, strategy):
    check(name, strategy, 2, 65)


@pytest.mark.slow
@pytest.mark.parametrize("batch, resolution", [(2, 65), (3, 97), (8, 65)])
@pytest.mark.parametrize("name, strategy", PRODUCT)
def test_estimate_equals_a_real_step_at_more_sizes(name, strategy, batch, resolution):
    check(name, strategy, batch, resolution)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name, strategy", [SLICED[1], SLICED[-1], *seldom(SLICED[0], *SLICED[2:-1])])
def test_estimate_equals_a_real_step_with_a_sliced_prefix(name, strategy):
    check(name, f"{strategy},prefix_slices=3", 5, 65)  # slices of 2, 2 and 1 images


@pytest.mark.one_in(3)
@pytest.mark.parametrize("strategy", [*STRATEGIES[::2], "blocks:3,prefix_slices=2", *seldom(*STRATEGIES[1::2])])
def test_estimate_equals_a_real_step_in_channels_last(strategy):
    check("mobilenet_v3_small", strategy, 2, 65, ",channels_last")


@pytest.mark.slow
@pytest.mark.parametrize("name, strategy", PRODUCT)
def test_estimate_equals_a_real_step_of_every_network_in_channels_last(name, strategy):
    check(name, strategy, 2, 65, ",channels_last")


def test_slices_divide_the_peak_at_no_cost():
    whole, sliced = (estimate("mobilenet_v2", f"last,prefix_slices={n}", 8, 224, "lean", target="none") for n in (1, 8))
    assert (sliced.saved_bytes, sliced.flops) == (whole.saved_bytes, whole.flops)
    assert sliced.step_peak_bytes < whole.step_peak_bytes / 6


# -- between ideal and torch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch, resolution", [(2, 65), *seldom((8, 224))])
@pytest.mark.parametrize("name, strategy", rotated(NETWORKS, lambda name: STRATEGIES, 3))
def test_lean_saves_no_less_than_ideal_and_no_more_than_torch(name, strategy, batch, resolution):
    ideal, lean, stock = (
        estimate(name, strategy, batch, resolution, convention).saved_bytes for convention in ("ideal", "lean", "torch")
    )
    assert ideal <= lean <= stock


@pytest.mark.parametrize("name, strategy", rotated(
    BATCH_NORM_NETWORKS, lambda name: ("bias", "mobiletl:3", "mobiletl:5"), 1,
))  # fmt: skip
def test_a_real_step_saves_what_is_ideal_within_five_percent(name, strategy):
    strategy = f"{strategy},recompute=none"
    saved = saved_by_a_step(realize(name, strategy, "lean"), 2, 65)
    ideal = estimate(name, strategy, 2, 65, "ideal").saved_bytes
    assert ideal <= saved <= 1.05 * ideal


# -- it trains as stock modules do ---------------------------------------------------------------------------------

#: Rounding differs if a frozen norm is folded into its convolution, if a shift's gradient is summed or a scale is
#: multiplied in another order, or if another kernel makes a gradient. In float64 such gradients agree far better than
#: any wrong one could. They would agree even better without torch's hard sigmoid, which divides by 6 to float32's
#: precision, 3e-8, even in float64.
EXACT = (
    "full", "full,recompute=none", "norm+last", "norm+last,recompute=none", "bias", "blocks:2", "last", "tinytl-lb",
    "mobiletl:2,act=exact",
)  # fmt: skip
TOLERANCE = 1e-7


def drawn(module):
    """The module with norms that change their input: freshly initialised norms would be like none at all."""
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return module


def stock_and_lean(name, strategy):
    """Both modules of a strategy, with the same drawn weights and statistics."""
    stock, lean = (realize(name, strategy, convention) for convention in ("torch", "lean"))
    checkpoint = copy.deepcopy(drawn(stock).state_dict())
    for module in (stock, lean):  # both: loading standardises a standardised weight
        module.load_state_dict(checkpoint)
    return stock, lean


def a_step(module, images, targets=(3, 5), seed=1):
    """The gradients by name (None if there is none) and the statistics, after a forward and a backward pass."""
    torch.manual_seed(seed)  # dropout and stochastic depth draw alike
    cross_entropy(module(images), torch.tensor(targets)).backward()
    return {key: p.grad for key, p in module.named_parameters()}, dict(module.named_buffers())


def assert_same_step(one, other, tolerance):
    """Gradients and statistics are bitwise the same (tolerance 0) or nearly. Zero gradients may be noise of others."""
    scale = max(gradient.abs().max().item() for gradient in other[0].values() if gradient is not None)
    for mine, theirs, size in zip(one, other, (scale, 1)):
        assert {key for key, tensor in mine.items() if tensor is None} == {
            key for key, tensor in theirs.items() if tensor is None
        }
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            if tensor is not None:
                torch.testing.assert_close(
                    tensor, theirs[key], rtol=tolerance, atol=size * tolerance, msg=lambda text: f"{key}: {text}"
                )


def check_gradients(name, strategy):
    stock, lean = (module.double() for module in stock_and_lean(name, strategy))
    images = torch.randn(2, 3, 65, 65, dtype=torch.float64)
    other = copy.deepcopy(stock)
    expected, found = (a_step(module, images) for module in (stock, lean))
    rounded = a_step(other, images * (1 + torch.finfo(images.dtype).eps * torch.randn_like(images)))
    assert_same_step(found, expected, max(TOLERANCE, distance(rounded, expected)))


def distance(one, other):
    """How far the gradients of two steps are apart, by the largest of them: 1e-4 where drawn norms amplify rounding."""
    pairs = [(one[0][key], gradient) for key, gradient in other[0].items() if gradient is not None]
    return max((a - b).abs().max().item() for a, b in pairs) / max(b.abs().max().item() for _, b in pairs)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, strategy", rotated(
    ["mobilenet_v3_small", "mobilenet_v4_conv_small"], lambda name: EXACT, 4,
))  # fmt: skip
def test_gradients_and_statistics_are_the_stock_modules(name, strategy):
    check_gradients(name, strategy)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", EXACT)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_statistics_of_every_network_are_the_stock_modules(name, strategy):
    check_gradients(name, strategy)


@pytest.mark.parametrize("strategy", ["bias", "blocks:2", "mobiletl:2"])
def test_gradients_in_channels_last(strategy):
    one, other = (realize("mobilenet_v2", strategy, "lean").double() for _ in range(2))
    other.load_state_dict(drawn(one).state_dict())
    other.to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 65, 65, dtype=torch.float64)
    plain = a_step(one, images)
    assert_same_step(a_step(other, images.contiguous(memory_format=torch.channels_last)), plain, TOLERANCE)


@pytest.mark.parametrize("strategy", ["last", "mobiletl:2"])
def test_gradients_do_not_depend_on_slices(strategy):
    one = drawn(realize("mobilenet_v2", strategy, "lean")).double()
    other = realize("mobilenet_v2", f"{strategy},prefix_slices=3", "lean").double()
    other.load_state_dict(one.state_dict())
    for module in (*one.modules(), *other.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.eval()  # in torch 2.4 slices draw other masks than the whole batch
    images = torch.randn(5, 3, 65, 65, dtype=torch.float64)
    whole, sliced = (a_step(module, images, (3, 5, 8, 0, 3)) for module in (one, other))
    assert_same_step(sliced, whole, TOLERANCE)


# -- MobileTL's rule, written once more on the reference implementations ---------------------------------------------


class Signed(torch.autograd.Function):
    """An activation whose gradient passes where its input is not negative."""

    @staticmethod
    def forward(ctx, x, activation):
        ctx.save_for_backward(x >= 0)
        return activation(x)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0], None


class SignedActivation(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.inner = type(activation)()  # out of place

    def forward(self, x):
        return Signed.apply(x, self.inner)


ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
SQUEEZE_EXCITE = (torchvision.ops.SqueezeExcitation, SqueezeExcite)


def sign_activations(part):
    """Replace the activations in a module, except those of squeeze-and-excite."""
    for name, child in part.named_children():
        if isinstance(child, ACTIVATIONS):
            setattr(part, name, SignedActivation(child))
        elif not isinstance(child, SQUEEZE_EXCITE):
            sign_activations(child)


def mobiletl_reference(name, blocks):
    """The reference implementation of a network with MobileTL's rule in its last blocks."""
    module = copy.deepcopy(configured(name, f"blocks:{blocks}"))
    for path in references.reference_blocks(module)[-blocks:]:
        block = module.get_submodule(path)
        *inner, _ = (part for part in block.modules() if isinstance(part, nn.BatchNorm2d))
        for norm in inner:
            norm.eval().weight.requires_grad_(False)
        sign_activations(block)
    return module


def check_mobiletl(name, blocks):
    reference = drawn(mobiletl_reference(name, blocks))
    lean = realize(name, f"mobiletl:{blocks}", "lean")
    lean.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 65, 65, dtype=torch.float64)
    theirs, mine = (a_step(module.double(), images) for module in (reference, lean))
    assert_same_step(mine, theirs, TOLERANCE)


@pytest.mark.parametrize(
    "name", [*BATCH_NORM_NETWORKS[::3], *seldom(*BATCH_NORM_NETWORKS[1::3], *BATCH_NORM_NETWORKS[2::3])]
)
def test_mobiletl_has_the_gradients_of_its_rule(name):
    check_mobiletl(name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [1, 5, 10])
@pytest.mark.parametrize("name", BATCH_NORM_NETWORKS)
def test_mobiletl_has_the_gradients_of_its_rule_in_more_blocks(name, blocks):
    check_mobiletl(name, blocks)


def test_mobiletl_has_not_the_exact_gradients():
    exact, signed = (
        drawn(realize("mobilenet_v3_small", f"mobiletl:2,act={act}", "lean")) for act in ("exact", "signed")
    )
    signed.load_state_dict(exact.state_dict())
    images = torch.randn(2, 3, 65, 65)
    (true, _), (approximate, _) = (a_step(module, images) for module in (exact, signed))
    last = "features.11.block.3.0.weight"  # no signed activation stands between it and the loss
    assert torch.equal(true[last], approximate[last])
    first = "features.10.block.0.0.weight"
    assert not torch.allclose(true[first], approximate[first], rtol=0.01)


# -- what is frozen stays, copies and checkpoints ---------------------------------------------------------------------


def tensors(module):
    return {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}


def train_a_little(module, steps=2, resolution=65):
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    for seed in range(steps):
        optimizer.zero_grad()
        a_step(module, torch.randn(2, 3, resolution, resolution), seed=seed)
        optimizer.step()


def moving_statistics(module):
    """Names of the statistics that a step moves: of norms in train mode."""
    norms = {path: part for path, part in module.named_modules() if isinstance(part, nn.BatchNorm2d) and part.training}
    return {f"{path}.{name}" for path, part in norms.items() for name, _ in part.named_buffers()}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name, strategy", rotated(
    ["mobilenet_v3_small", "proxyless_mobile_tinytl"],
    lambda name: ("bias", "blocks:2", "mobiletl:2", "last", "tinytl-l", "norm+last"), 3,
))  # fmt: skip
def test_a_step_changes_what_trains_and_nothing_else(name, strategy):
    stock, module = stock_and_lean(name, strategy)
    flags = {key: p.requires_grad for key, p in module.named_parameters()}
    assert flags == {key: p.requires_grad for key, p in stock.named_parameters()}
    moving = moving_statistics(module)
    assert moving == moving_statistics(stock)
    before = tensors(module)
    train_a_little(module.eval().train())  # the round trip loses no frozen statistics
    after = tensors(module)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    trained = {key for key, trains in flags.items() if trains}
    assert changed <= trained | moving
    # A bias far from the loss, or before a norm with the batch's statistics, has a gradient that may round away.
    assert changed >= {key for key in trained if key.endswith(".weight")} | moving


@pytest.mark.parametrize("strategy", ["bias", "mobiletl:3", "tinytl-lb", "full"])
def test_train_and_eval_lose_nothing(strategy):
    module = realize("mobilenet_v3_small", strategy, "lean")
    modes = {path: part.training for path, part in module.named_modules()}
    saved = saved_by_a_step(module, 2, 65)
    module.eval().train()
    assert {path: part.training for path, part in module.named_modules()} == modes
    expected = estimate("mobilenet_v3_small", strategy, 2, 65, "lean").saved_bytes
    assert saved_by_a_step(module, 2, 65) == saved == expected


@pytest.mark.parametrize("strategy", ["bias", "blocks:2,prefix_slices=2", "mobiletl:2", "tinytl-lb"])
def test_a_copy_trains_alike_and_apart(strategy):
    module = drawn(realize("mobilenet_v2", strategy, "lean"))
    before, twin = tensors(module), copy.deepcopy(module)
    images = torch.randn(2, 3, 65, 65)
    assert_same_step(a_step(copy.deepcopy(twin), images), a_step(twin, images), 0)
    train_a_little(twin)
    assert all(torch.equal(tensor, before[key]) for key, tensor in tensors(module).items())
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("name, strategy", rotated(
    ["mobilenet_v3_small", "mobilenet_v4_conv_small", "proxyless_mobile_tinytl"],
    lambda name: ("bias", "last", "mobiletl:2", "tinytl-lb", "full"), 2,
))  # fmt: skip
def test_a_checkpoint_of_the_stock_module_loads(name, strategy):
    stock, lean = (realize(name, strategy, convention) for convention in ("torch", "lean"))
    checkpoint = tensors(drawn(stock))
    assert not checkpoint.keys() ^ lean.state_dict().keys()
    for module in (stock, lean):
        module.load_state_dict(checkpoint)
    images = torch.randn(2, 3, 65, 65)
    with torch.no_grad():
        mine, theirs = (module.eval()(images) for module in (lean, stock))
    if strategy == "full":
        assert torch.equal(mine, theirs)
    else:
        torch.testing.assert_close(mine, theirs)  # a norm folded into its convolution rounds otherwise


@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "proxyless_mobile_tinytl"])
def test_loading_and_saving_again_changes_nothing(name, convention):
    checkpoint = tensors(drawn(realize(name, "full")))
    module = realize(name, "mobiletl:2", convention)
    module.load_state_dict(checkpoint)
    assert [key for key, tensor in tensors(module).items() if not torch.equal(tensor, checkpoint[key])] == []


@pytest.mark.parametrize("strategy", ["bias", "mobiletl:1", "full"])
@pytest.mark.parametrize("activation", ["gelu", "gelu, approximate: tanh", "silu", "leaky_relu", "hardtanh"])
def test_a_block_with_another_activation(activation, strategy, spec_file):
    spec = ONE_BLOCK.replace("relu6, inplace: true", activation).replace("channels: 96", "channels: 3")
    check(spec_file(spec), strategy, 2, 33)
