"""What a GPU does, held against what is priced. It runs where there is one; README.md says what it fills."""

import json

import pytest
import torch
from real import seldom

import costmodel
from costmodel.pytorch import measure, realize
from costmodel.pytorch.probe import document, probe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

CASES = [
    (network, strategy, convention, target)
    for network in ("mobilenet_v2", "mobilenet_v3_small", "mcunet_5fps", "efficientnet_b0")
    for strategy, convention in (("full", "torch"), ("blocks:3", "torch"), ("bias", "torch"), ("mobiletl:3", "lean"))
    for target in ("cuda", "cuda,channels_last")
]


@pytest.mark.parametrize("network, strategy, convention, target", [*CASES[:2], *seldom(*CASES[2:])])
def test_a_probed_step_is_exact(network, strategy, convention, target, tmp_path):
    asked = dict(strategy=strategy, convention=convention, batch=8, resolution=96)
    bare = costmodel.estimate(network, target=target, **asked)
    probes = list(probe(bare))
    assert [(one.call.node.name, one.missed) for one in probes if one.missed] == []
    path = tmp_path / "kernels.json"
    path.write_text(json.dumps(document(bare, probes)))
    found = costmodel.estimate(network, target=str(path), **asked)
    real = measure(realize(network, strategy, convention=convention), batch=8, resolution=96, target=target)
    told = (found.saved_bytes, found.step_peak_bytes, found.left_bytes)
    assert told == (real.saved_bytes, real.step_peak_bytes, real.left_bytes)
