"""How fast a step is that torch.compile has compiled with its usual backend, beside stock and lean modules.

It needs a C++ compiler, and compiles each network for minutes. Ratios are printed (`-s`) and recorded as
properties (`--junit-xml`): processor time of the fastest step, in turns.
"""

import warnings

import pytest
import torch
from pace import turns
from references import load_reference
from test_lean_speed import BATCH, step_of
from torch._dynamo.exc import BackendCompilerFailed

from costmodel.pytorch import realize


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"])
def test_a_compiled_step_beside_the_stock_one(name, record_property):
    batch = torch.randn(BATCH, 3, 224, 224), torch.zeros(BATCH, dtype=torch.int64)
    own = load_reference(name).train()
    stock, compiled, lean = (step_of(m, *batch) for m in (own, torch.compile(own), realize(name, "full", "lean")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        try:
            compiled()
        except BackendCompilerFailed as error:
            pytest.skip(f"nothing compiles here: {error}")
        found = turns(stock, compiled, lean, rounds=9)
    of_stock, *others = (min(processor) for processor, _ in found)
    for key, seconds in zip(("compiled", "lean"), others):
        record_property(f"{key}_over_stock", seconds / of_stock)
        print(f"\n{name}: {key} takes {seconds / of_stock:.3f} of the stock step's {of_stock:.3f} s", end="")
