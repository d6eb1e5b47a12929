"""How fast a lean training step is beside the stock step of the same trained blocks, in the same memory format.

Where a machine is busy a ratio still swings by a tenth. Seconds and ratios are recorded as properties of the tests
(`--junit-xml`) and printed (`-s`).
"""

from statistics import median

import pytest
import torch
from pace import turns
from torch.nn.functional import cross_entropy

from costmodel.pytorch import realize
from costmodel.pytorch.lean.stretch import InStretch

BATCH = 8
NETWORKS = ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "proxyless_mobile_tinytl")
#: torch's own group norm may end the process here (tests/pytorch/test_recompute_groups.py).
CRASHES = {("proxyless_mobile_tinytl", "bias", "channels_last")}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def step_of(module, images, targets):
    """A call that runs one training step: forward, backward, gradients freed."""

    def step():
        cross_entropy(module(images), targets).backward()
        module.zero_grad(set_to_none=True)

    return step


def ratio(name, strategy, layout, resolution, rounds, record):
    """Lean over stock processor seconds, of the fastest steps; the median by the clock is recorded beside it."""
    images = torch.randn(BATCH, 3, resolution, resolution).contiguous(memory_format=LAYOUTS[layout])
    targets = torch.zeros(BATCH, dtype=torch.int64)
    modules = [
        realize(name, strategy, convention).to(memory_format=LAYOUTS[layout]) for convention in ("torch", "lean")
    ]
    stock, lean = turns(*(step_of(module, images, targets) for module in modules), rounds=rounds)
    seconds = {f"{name}_processor": min(processor) for name, (processor, _) in (("stock", stock), ("lean", lean))}
    seconds |= {f"{name}_wall": median(wall) for name, (_, wall) in (("stock", stock), ("lean", lean))}
    ratios = [seconds[f"lean_{clock}"] / seconds[f"stock_{clock}"] for clock in ("processor", "wall")]
    for key, value in seconds.items():
        record(f"{key}_seconds", value)
    case = f"{name} {strategy} {layout} {resolution}"
    stock_wall = seconds["stock_wall"]
    print(f"\n{case}: fastest processor time {ratios[0]:.3f}, median wall {ratios[1]:.3f} of {stock_wall:.4f} s")
    return ratios[0]


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["torch", "lean"], ids=["of_stock", "of_own"])
@pytest.mark.parametrize("name", NETWORKS[:3])
def test_page_faults(name, convention, record_property):
    """Of a step of `full`, contiguous at 224: processor time of the user and of the system, and page faults.

    Run each alone: what other steps leave to the allocator in the same process changes it.
    """
    resource = pytest.importorskip("resource")
    images, targets = torch.randn(BATCH, 3, 224, 224), torch.zeros(BATCH, dtype=torch.int64)
    step, spent = step_of(realize(name, "full", convention), images, targets), []
    for _ in range(12):
        before = resource.getrusage(resource.RUSAGE_SELF)
        step()
        after = resource.getrusage(resource.RUSAGE_SELF)
        spent.append([getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime", "ru_minflt")])
    user, system, faults = (median(column) for column in zip(*spent[4:]))
    record_property("page_faults", faults)
    print(f"\n{name} {convention}: user {1000 * user:.0f} ms, system {1000 * system:.0f} ms, {faults:,.0f} page faults")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NETWORKS[:2])
def test_a_lean_bias_step_is_no_slower(name, layout, record_property):
    # Seen: 0.64 to 1.01. The limit is above 1 only because of the noise of a busy machine.
    assert ratio(name, "bias", layout, 224, 4, record_property) <= 1.15


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [128, 224])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("strategy", ["full", "full,recompute=mixed", "bias", "blocks:5", "mobiletl:5"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_lean_step_beside_the_stock_one(name, strategy, layout, resolution, record_property):
    # Recorded, not held: at 128 the Python of the lean autograd functions shows, 9 ms in a `bias` step of V3-Large.
    if (name, strategy, layout) in CRASHES:
        pytest.skip("torch ends the process")
    ratio(name, strategy, layout, resolution, 12, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [128, 224])
@pytest.mark.parametrize("strategy", ["blocks:5", "mobiletl:5"])
@pytest.mark.parametrize("name", NETWORKS[:3])
def test_frozen_blocks_in_channels_last_beside_contiguous_ones(name, strategy, resolution, record_property):
    """Lean over stock processor seconds, with frozen blocks as all others lie, and as lean modules have them."""
    images, targets = torch.randn(BATCH, 3, resolution, resolution), torch.zeros(BATCH, dtype=torch.int64)
    modules = [realize(name, strategy, convention) for convention in ("torch", "lean", "lean")]
    for layer in modules[1].modules():
        if isinstance(layer, InStretch):
            layer._first = ()  # then it is in no stretch
    seconds = [min(processor) for processor, _ in turns(*(step_of(one, images, targets) for one in modules), rounds=10)]
    ratios = [one / seconds[0] for one in seconds[1:]]
    record_property("contiguous_ratio", ratios[0])
    record_property("channels_last_ratio", ratios[1])
    print(f"\n{name} {strategy} {resolution}: contiguous {ratios[0]:.3f}, in channels_last {ratios[1]:.3f}")
