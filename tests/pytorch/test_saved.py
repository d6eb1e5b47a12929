"""What the measurement of saved bytes sees, on functions of which it is known; and the flat form of a graph."""

import pytest
import torch
from torch import nn

import costmodel
from costmodel import CostmodelError
from costmodel.frontends.modules.dry.kept import numbers_kept
from costmodel.pytorch.devices import DEVICES
from costmodel.pytorch.flat import flat, refuse_hooks
from costmodel.pytorch.saved import kept_after


def saved(module, forward):
    """Bytes of what autograd keeps after one forward pass, by address."""
    return kept_after(module, forward, DEVICES["cpu"])[0].saved


def test_parameters_do_not_count_and_a_storage_counts_once():
    layer, x = nn.Linear(3, 4), torch.randn(5, 3)
    assert [*saved(layer, lambda: layer(x)).values()] == [4 * 15]
    y = torch.randn(5, requires_grad=True)
    assert [*saved(layer, lambda: (y.sin() + y[:3].cos().sum()).sum()).values()] == [20]


def test_numbers_of_products_count_eight_bytes():
    x = torch.randn(5, requires_grad=True)
    assert [number.item() for number in numbers_kept((x * 0.5).sum())] == [0.5]
    assert [*saved(nn.Identity(), lambda: (x * 0.5).sum()).values()] == [8]


def test_a_flat_module_computes_what_its_source_does_and_shares_its_weights():
    source = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    graph = costmodel.load(source).graph
    module, x = flat(graph, graph.nodes, source), torch.randn(2, 3, 8, 8)
    assert torch.equal(module(x), source(x))
    assert [*module.state_dict()] == [*source.state_dict()]
    assert module.get_submodule("0").weight.data_ptr() == source[0].weight.data_ptr()


def test_a_module_with_hooks_is_refused():
    source = nn.Sequential(nn.ReLU())
    refuse_hooks(source)
    source[0].register_forward_hook(lambda *_: None)
    with pytest.raises(CostmodelError, match="hook"):
        refuse_hooks(source)
