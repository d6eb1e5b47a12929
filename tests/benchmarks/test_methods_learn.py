"""What each method reaches on the digits task beside what it keeps: the table of docs/methods.md (print it with -s)."""

import pytest
import torch
from digits import SPEC, fit, transfer, transferred

from costmodel import estimate
from costmodel.pytorch import realize

METHODS = (
    "full", "blocks:3", "mobiletl:3", "blocks:3+quantised", "blocks:3+quantised,bits=2", "blocks:3+backrazor",
    "backrazor", "gradfilter:6", "sparse,bias=8,weights=14:.5/16:1/17:.25", "tinytl-lb", "repnet", "lora:4",
    "lora:4,fa=1", "da3", "bias", "last",
)  # fmt: skip
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("specs") / "digits.yaml"
    path.write_text(SPEC)
    return str(path)


@pytest.fixture(scope="module")
def pretrained(network):
    """The state dict of the network, trained on the digits 0 to 4."""
    torch.manual_seed(0)
    module = realize(network, "full")
    fit(module, 0)
    return module.state_dict()


@pytest.mark.parametrize("strategy", METHODS)
def test_a_method_learns_new_digits(network, pretrained, strategy, record_property):
    found = sorted(transfer(strategy, transferred(strategy, network, pretrained, seed)) for seed in SEEDS)
    saved = estimate(network, strategy, 32, convention="lean").saved_bytes
    record_property("accuracies", found)
    print(f"\n| `{strategy}` | {saved:,} | {found[0]:.3f} to {found[-1]:.3f} |")
    assert found[0] > 1 / 5  # chance
