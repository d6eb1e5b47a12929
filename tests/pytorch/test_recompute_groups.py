"""`recompute=maps` behind group norms, and with standardised weights: exact, and predicted to the byte."""

import copy

import pytest
import torch
from real import seldom
from test_recompute import MAPS, gradients, hold, hold_gradients
from torch import nn

import costmodel
from costmodel.ops import remade
from costmodel.pytorch import realize

TINYTL = "proxyless_mobile_tinytl"
STRATEGIES = ("full", "blocks:3", "mobiletl:3", "tinytl-l", "full,checkpoint=blocks")
#: In channels_last, torch's own group norm ends the process in these, behind a frozen stem (test_lean_networks.py).
CONTIGUOUS = ("bias", "norm+last", "tinytl-lb", "bias,checkpoint=blocks")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("batch, resolution", [(3, 97), *seldom((2, 65), (5, 130))])
def test_the_shipped_network(batch, resolution, memory_format):
    more = CONTIGUOUS if memory_format == "contiguous" else ()
    for strategy in (*STRATEGIES, *more):
        hold(TINYTL, f"{strategy},{MAPS}", batch, resolution, memory_format)


def test_units_within_parts():
    hold(TINYTL, "full,recompute=parts", 3, 97)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_gradients_are_exact(memory_format, monkeypatch):
    for cut in (60_000, remade.SLICE_BYTES):
        monkeypatch.setattr(remade, "SLICE_BYTES", cut)
        for strategy in ("full", "tinytl-l", "blocks:3", "full,checkpoint=blocks"):
            assert hold_gradients(TINYTL, f"{strategy},{MAPS}", 3, 64, memory_format)


def test_between_ideal_and_torch():
    for strategy in (*STRATEGIES, *CONTIGUOUS):
        for recompute in ("maps", "none"):
            ideal, lean, stock = (
                costmodel.estimate(TINYTL, f"{strategy},recompute={recompute}", 8, 97, convention).saved_bytes
                for convention in ("ideal", "lean", "torch")
            )
            assert ideal <= lean <= stock
            if recompute == "maps":
                assert lean - ideal == 4  # the loss, which stock modules keep the sum of


class Maps(nn.Module):
    """A convolution, then a norm, an activation and a convolution, a norm alone and two that read it.

    norm_groups: of the norms; 0 for batch norms.
    """

    def __init__(self, act, norm_groups, kernel, groups):
        super().__init__()
        self.a, self.act = nn.Conv2d(3, 16, 3, padding=1), act
        self.b = nn.Conv2d(16, 16, kernel, 2, kernel // 2, groups=groups)
        self.c, self.d, self.fc = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Linear(8, 5)
        self.norm, self.alone = (nn.GroupNorm(norm_groups, 16) if norm_groups else nn.BatchNorm2d(16) for _ in range(2))

    def forward(self, x):
        y = self.alone(self.b(self.act(self.norm(self.a(x)))))
        return self.fc((self.c(y) + self.d(y)).mean((2, 3)))


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU6(inplace=True), nn.Hardswish(), nn.SiLU(), nn.Identity()], ids=str)
def test_biased_convolutions_and_norms_behind_frozen_ones(act, memory_format, monkeypatch):
    for norm_groups, kernel, groups in ((1, 1, 1), (4, 3, 16), (16, 3, 1), (0, 3, 1)):
        network = costmodel.load(Maps(act, norm_groups, kernel, groups), resolution=17)
        for cut in (20_000, remade.SLICE_BYTES):
            monkeypatch.setattr(remade, "SLICE_BYTES", cut)
            for strategy, batch, resolution in (("full", 3, 17), ("norm+last", 3, 40), ("full", 5, 9), ("full", 2, 3)):
                if strategy == "full" or memory_format == "contiguous":
                    hold(network, strategy, batch, resolution, memory_format)


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU6(inplace=True), nn.Hardswish(), nn.SiLU(), nn.Identity()], ids=str)
def test_a_modules_gradients(act):
    torch.manual_seed(0)
    module = Maps(act, 4, 3, 16).double()
    network = costmodel.load(module, resolution=17)
    lean = realize(network, "full", "lean").double()
    lean.load_state_dict(module.state_dict())
    images, labels = torch.randn(3, 3, 17, 17, dtype=torch.float64), torch.arange(3)
    (out, expected, _), (found_out, found, _) = (
        gradients(one, images, labels) for one in (copy.deepcopy(module), lean)
    )
    assert torch.equal(out, found_out)
    for path, gradient in expected.items():
        torch.testing.assert_close(found[path], gradient, rtol=1e-12, atol=1e-12 * gradient.abs().max().item())
