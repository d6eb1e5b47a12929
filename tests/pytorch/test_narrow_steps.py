"""Whole steps in 16 bits: the allocator's peak is what the rules say, or at least that, where an estimate says so."""

import pytest
import torch
from real import NETWORKS, seldom

import costmodel
from costmodel.pytorch import measure, realize
from costmodel.step.certainty import NOT_MODELLED, RULE

STEP = (2, 97)
STRATEGIES = (("full", "torch"), ("bias", "torch"), ("last", "torch"), ("blocks:3", "torch"), ("mobiletl:3", "lean"))
CASES = [
    (name, strategy, convention, dtype)
    for name in (*NETWORKS, "proxyless_mobile_tinytl")
    for strategy, convention in STRATEGIES
    for dtype in ("bfloat16", "float16")
]
OFTEN = [("mcunet_5fps", "full", "torch", "bfloat16"), ("mobilenet_v3_small", "mobiletl:3", "lean", "bfloat16")]


@pytest.mark.parametrize("name, strategy, convention, dtype", [*OFTEN, *seldom(*(c for c in CASES if c not in OFTEN))])
def test_a_peak_is_exact_or_marked(name, strategy, convention, dtype):
    target = f"cpu,threads={torch.get_num_threads()}"
    found = costmodel.estimate(name, strategy, *STEP, convention, dtype=dtype, target=target)
    real = measure(realize(name, strategy, convention=convention), *STEP, dtype=dtype, target=target)
    assert (found.saved_bytes, found.left_bytes) == (real.saved_bytes, real.left_bytes)
    assert found.certainty.step_peak in (RULE, NOT_MODELLED)
    if found.certainty.step_peak == RULE:
        assert found.step_peak_bytes == real.step_peak_bytes
    else:
        assert found.step_peak_bytes <= real.step_peak_bytes and "is not modelled for" in found.notes[-1]
