"""Whole steps in bfloat16 and float16, against real ones; and what is said of their calls, against a probe."""

import pytest
import torch
from real import NETWORKS, seldom

import costmodel
from costmodel.pytorch import measure, realize
from costmodel.pytorch.probe import probe
from costmodel.step.certainty import NOT_MODELLED, RULE
from costmodel.step.scratch import scratch_of
from costmodel.targets.machine import AVX512_BF16, here_isa

STEP = (2, 97)
STRATEGIES = ("full", "bias", "last", "blocks:3", "mobiletl:3")
has_kernels = pytest.mark.skipif(here_isa() != AVX512_BF16, reason="this machine has other kernels of 16 bits")


def here(threads, flat=""):
    return f"cpu,isa={AVX512_BF16},threads={threads}{flat}"


@pytest.fixture
def threads(request):
    """Sets torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


CASES = [
    ("mobilenet_v2", "full", "torch", "bfloat16", "", 1),
    ("mobilenet_v3_small", "mobiletl:3,recompute=none", "lean", "bfloat16", "", 2),
    *seldom(
        ("mnasnet_b1", "blocks:3", "torch", "bfloat16", ",channels_last", 1),
        ("mcunet_5fps", "full", "torch", "float16", "", 1),
        ("mcunet_5fps", "bias", "torch", "float16", ",channels_last", 1), *(
        (name, f"{strategy},recompute=none", convention, "bfloat16", flat, number)
        for name in ("efficientnet_b0", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v4_conv_small", "mcunet_5fps")
        for strategy in STRATEGIES
        for convention in ("torch", "lean")
        for flat in ("", ",channels_last")
        for number in (1, 2)
        if not (flat and strategy == "bias" and convention == "torch")  # a bias summed in place has no rule
    ), *(
        ("mobilenet_v3_small", f"{strategy},recompute=none", convention, "float16", "", 1)
        for strategy in STRATEGIES for convention in ("torch", "lean")
    )),
]  # fmt: skip


@has_kernels
@pytest.mark.parametrize("name, strategy, convention, dtype, flat, threads", CASES, indirect=["threads"])
def test_a_step_of_16_bits_is_exact_by_rule(name, strategy, convention, dtype, flat, threads):
    target = here(threads, flat)
    found = costmodel.estimate(name, strategy, *STEP, convention=convention, dtype=dtype, target=target)
    real = measure(realize(name, strategy, convention=convention), *STEP, target=target, dtype=dtype)
    assert found.certainty.step_peak == RULE
    assert found.step_peak_bytes == real.step_peak_bytes
    assert found.saved_bytes == real.saved_bytes


@has_kernels
@pytest.mark.parametrize("threads", [1], indirect=True)
@pytest.mark.parametrize("name, dtype", [
    ("mobilenet_v3_small", "bfloat16"), *seldom(("efficientnet_b0", "bfloat16"), ("mobilenet_v3_small", "float16")),
])  # fmt: skip
def test_what_is_probed_is_what_is_modelled_in_16_bits(name, dtype, threads):
    for one in probe(costmodel.estimate(name, "full", *STEP, dtype=dtype, target=here(threads))):
        call = one.call
        rule = scratch_of(call.node.op, call.setting, call.y, *call.xs)
        assert not one.missed, (call.node.name, one.missed)
        assert one.forward == rule.forward, call.key
        assert one.backward == (rule.backward if call.setting.demanded else 0), call.key


def test_another_instruction_set_is_not_modelled():
    found = costmodel.estimate("mobilenet_v2", dtype="bfloat16", target="cpu,isa=avx512,threads=1")
    assert found.certainty.step_peak == NOT_MODELLED
    full = [costmodel.estimate("mobilenet_v2", target=f"cpu,isa={isa},threads=1") for isa in ("avx512", AVX512_BF16)]
    assert full[0].step_peak_bytes == full[1].step_peak_bytes


ANYWHERE = [
    (name, strategy, convention, dtype)
    for name in (*NETWORKS, "proxyless_mobile_tinytl")
    for strategy, convention in (*((one, "torch") for one in STRATEGIES[:-1]), ("mobiletl:3", "lean"))
    for dtype in ("bfloat16", "float16")
]
OFTEN = [("mcunet_5fps", "full", "torch", "bfloat16"), ("mobilenet_v3_small", "mobiletl:3", "lean", "bfloat16")]


@pytest.mark.parametrize(
    "name, strategy, convention, dtype", [*OFTEN, *seldom(*(case for case in ANYWHERE if case not in OFTEN))]
)
def test_a_peak_is_exact_or_marked(name, strategy, convention, dtype):
    """On any machine: a figure is what the rules say, or at least that, where an estimate says so."""
    target = f"cpu,threads={torch.get_num_threads()}"
    found = costmodel.estimate(name, strategy, *STEP, convention, dtype=dtype, target=target)
    real = measure(realize(name, strategy, convention=convention), *STEP, dtype=dtype, target=target)
    assert (found.saved_bytes, found.left_bytes) == (real.saved_bytes, real.left_bytes)
    assert found.certainty.step_peak in (RULE, NOT_MODELLED)
    if found.certainty.step_peak == RULE:
        assert found.step_peak_bytes == real.step_peak_bytes
    else:
        assert found.step_peak_bytes <= real.step_peak_bytes and "is not modelled for" in found.notes[-1]
