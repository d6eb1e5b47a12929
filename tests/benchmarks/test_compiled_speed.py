"""How fast a step is that torch.compile has compiled with its usual backend, beside stock and lean modules.

It needs a C++ compiler, and compiles each network for some minutes. Ratios are printed (`-s`) and recorded as
properties (`--junit-xml`): processor time of the fastest step, in turns.
"""

import warnings

import pytest
import torch
from pace import turns
from references import load_reference
from torch._dynamo.exc import BackendCompilerFailed
from torch.nn.functional import cross_entropy

from costmodel.pytorch import realize

BATCH, RESOLUTION = 8, 224


def step_of(module):
    """A call that runs one training step: forward, backward, gradients freed."""
    images, targets = torch.randn(BATCH, 3, RESOLUTION, RESOLUTION), torch.zeros(BATCH, dtype=torch.int64)

    def step():
        cross_entropy(module(images), targets).backward()
        module.zero_grad(set_to_none=True)

    return step


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"])
def test_a_compiled_step_beside_the_stock_one(name, record_property):
    stock = load_reference(name).train()
    compiled, lean = step_of(torch.compile(stock)), step_of(realize(name, "full", "lean"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        try:
            compiled()
        except BackendCompilerFailed as error:
            pytest.skip(f"nothing compiles here: {error}")
        found = turns(step_of(stock), compiled, lean, rounds=9)
    of_stock, *others = (min(processor) for processor, _ in found)
    for key, seconds in zip(("compiled", "lean"), others):
        record_property(f"{key}_over_stock", seconds / of_stock)
        print(f"\n{name}: {key} takes {seconds / of_stock:.3f} of the stock step's {of_stock:.3f} s", end="")
