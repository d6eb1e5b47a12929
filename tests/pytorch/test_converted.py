"""Batch norms across processes: SyncBatchNorm stays stock, and a realised module's own norms are not converted."""

import pytest
import torch
from torch import nn

import costmodel
from costmodel.pytorch import measure, realize
from costmodel.pytorch.converted import NotConverted, is_own


def module():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip


def converted(net):
    return nn.SyncBatchNorm.convert_sync_batchnorm(net)


def test_a_synchronised_norm_has_no_lean_form():
    """It is priced as in one process, where it is a batch norm, and stays what it is."""
    network = costmodel.load(converted(module()), resolution=16)
    lean, stock = (realize(network, "full", convention) for convention in ("lean", "torch"))
    parts = [one.get_submodule(path) for one in (lean, stock) for path in ("1", "4")]
    assert [type(part) for part in parts] == [nn.SyncBatchNorm] * 4
    assert type(lean.get_submodule("2")) is nn.Hardswish
    found = costmodel.estimate(network, "full", 2, 16, "lean", target="none")
    assert found.saved_bytes == measure(lean, 2, 16).saved_bytes
    plain = costmodel.estimate(costmodel.load(module(), resolution=16), "full,recompute=none", 2, 16, "lean")
    assert found.saved_bytes == plain.saved_bytes
    frozen = realize(network, "bias", "torch")  # which has nothing to synchronise
    assert not any(isinstance(part, nn.SyncBatchNorm) for part in frozen.modules())


@pytest.mark.parametrize("strategy, convention", [("full", "lean"), ("mobiletl:3", "lean"), ("mobiletl:3", "torch")])
def test_own_norms_that_are_converted_are_seen(strategy, convention):
    network = realize("mobilenet_v3_small", strategy, convention)
    network(torch.randn(2, 3, 64, 64))
    network = converted(network)
    with pytest.raises(RuntimeError, match="is a SyncBatchNorm now, and was a"):
        network(torch.randn(2, 3, 64, 64))


def test_which_norms_are_own():
    assert is_own(realize("mobilenet_v3_small", "bias").get_submodule("features.0.1"))
    assert not is_own(nn.BatchNorm2d(8)) and not is_own(nn.GroupNorm(2, 8))
    assert NotConverted(module()).norms == []


def test_stock_norms_may_be_converted():
    network = converted(realize("mobilenet_v3_small", "full"))
    network(torch.randn(2, 3, 64, 64))
