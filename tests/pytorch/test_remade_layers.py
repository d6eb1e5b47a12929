"""Layers that make a norm's result again: equal to stock layers, whatever the norm's state, and when disturbed."""

import copy

import pytest
import torch
from torch import nn

from costmodel.ops import remade as sizes
from costmodel.pytorch.lean import FrozenRemadeNorm2d, Passed, RemadeNorm2d, RemakingConv2d, RemakingMul
from costmodel.pytorch.lean.makers import slices
from costmodel.pytorch.lean.recipes import recipe_of

STOCK = {"relu": nn.ReLU(), "relu6": nn.ReLU6(), "hardswish": nn.Hardswish(), "silu": nn.SiLU(), "": nn.Identity()}


def pair(of="relu6", groups=1, finishes="norm", frozen=False, **norm):
    """(stock, lean): a norm of 8 channels, an activation and a convolution, with equal weights."""
    conv = dict(kernel_size=3, padding=1, groups=groups, bias=True)
    stock = nn.Sequential(nn.BatchNorm2d(8, **norm), copy.deepcopy(STOCK[of]), nn.Conv2d(8, 8, **conv))
    cls = FrozenRemadeNorm2d if frozen else RemadeNorm2d
    layers = cls(8, of=of, owns_gradient=True, **norm), Passed()
    lean = nn.Sequential(*layers, RemakingConv2d(8, 8, finishes=finishes, **conv))
    nn.init.uniform_(stock[0].weight, -1, 1.5)
    nn.init.uniform_(stock[0].bias, -1, 1)
    stock[0].weight.data[0] = 0
    lean.load_state_dict(stock.state_dict())
    stock[0].train(not frozen)
    return stock.double(), lean.double()


def images(dtype=torch.float64, mean=0.0):
    return (torch.randn(5, 8, 7, 6, dtype=torch.float64) + mean).to(dtype).requires_grad_()


def step(module, x):
    """Output and gradients of input and parameters."""
    out = module(x)
    out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape))
    return out.detach(), [x.grad, *(p.grad for p in module.parameters())]


def hold(stock, lean, x, close=1e-12):
    mine, theirs = (step(module, x.detach().clone().requires_grad_()) for module in (lean, stock))
    assert torch.equal(mine[0], theirs[0])
    for one, other in zip(mine[1], theirs[1], strict=True):
        torch.testing.assert_close(one, other, rtol=close, atol=close * max(1.0, other.abs().max().item()))
    for one, other in zip(lean.buffers(), stock.buffers(), strict=True):
        assert torch.equal(one, other)


#: SLICE_BYTES and AT_ONCE_BYTES: an image at a time, all in one slice, and all in one call.
CUTS = [(1, 0), (4 << 20, 0), (4 << 20, 1 << 20)]


@pytest.fixture(params=CUTS, ids=str)
def cut(request, monkeypatch):
    monkeypatch.setattr(sizes, "SLICE_BYTES", request.param[0])
    monkeypatch.setattr(sizes, "AT_ONCE_BYTES", request.param[1])


@pytest.mark.parametrize("finishes", ["norm", ""])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("of", STOCK)
def test_a_unit_is_its_stock_layers(of, frozen, finishes, cut):
    for groups in (1, 8):
        hold(*pair(of, groups, finishes, frozen), images())


@pytest.mark.parametrize("norm", [dict(momentum=None), dict(momentum=0.3), dict(track_running_stats=False)])
def test_running_statistics_move_as_in_stock_layers(norm):
    stock, lean = pair(**norm)
    for _ in range(3):
        hold(stock, lean, images())
        stock.zero_grad(set_to_none=True), lean.zero_grad(set_to_none=True)
    x = images()
    assert torch.equal(lean.eval()(x), stock.eval()(x))


@pytest.mark.parametrize("mean", [0.0, 100.0, 1000.0])
def test_rounding_is_no_worse_than_that_of_stock_layers(mean, cut):
    """In float32 against float64, also where the mean is far above the deviation: the gradient of the input."""
    stock, lean = pair("silu")
    x = images(mean=mean).detach().float()
    exact = step(copy.deepcopy(stock), x.double().requires_grad_())[1]
    found = [step(module.float(), x.clone().requires_grad_())[1] for module in (stock, lean)]
    theirs, mine = ([(one.double() - other).norm() / other.norm() for one, other in zip(f, exact)] for f in found)
    assert mine[0] <= 2 * theirs[0] + 1e-6


def gated(finishes="", kept=False):
    """(stock, lean): a norm, h-swish, a gate of the average, and a convolution. kept: the map in the product is."""

    class Gated(nn.Module):
        def __init__(self, norm, act, conv, product):
            super().__init__()
            self.norm, self.act, self.conv, self.product = norm, act, conv, product
            self.fc = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            y = self.act(self.norm(x))
            return self.conv(self.product(y, self.fc(y.mean((2, 3), keepdim=True)).sigmoid()))

    stock = Gated(nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 4, 1), torch.mul)
    conv = RemakingConv2d(8, 4, 1, finishes=finishes)
    remade = RemadeNorm2d(8, of="hardswish", owns_gradient=True), Passed()
    lean = Gated(*(copy.deepcopy((stock.norm, stock.act)) if kept else remade), conv, RemakingMul(True, True, kept))
    lean.load_state_dict(stock.state_dict())
    return stock.double(), lean.double()


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("finishes", ["gate", ""])
def test_a_gate_between(finishes, kept, cut):
    stock, lean = gated(finishes, kept)
    hold(stock, lean, images())
    # Stock: x, z, y and y times the gate; else x alone, or without the product.
    assert [len(saved(module, images())) for module in (stock, lean)] == [4, 3 if kept else 1]


def saved(module, x):
    """Shapes of the maps that a step keeps, each storage once."""
    kept = {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = tuple(t.shape)
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        module(x)
    return [shape for shape in kept.values() if len(shape) == 4 and shape[2:] == x.shape[2:]]


def test_one_map_is_kept():
    stock, lean = pair()
    assert len(saved(stock, images())) == 3 and len(saved(lean, images())) == 1


@pytest.mark.parametrize("hook", [lambda m, a, y: y.mul_(2), lambda m, a, y: y + 1], ids=["writes", "replaces"])
def test_a_hook_that_changes_a_result_is_heard(hook):
    """Then the convolution keeps what it is given."""
    stock, lean = pair(finishes="")
    for module in (stock, lean):
        module[1].register_forward_hook(hook)
    hold(stock, lean, images())
    assert len(saved(lean, images())) == 2


@pytest.mark.parametrize("finishes", ["norm", ""])
def test_a_further_reader_is_heard_or_refused(finishes):
    """A loss on an inner result, which no graph has seen: the convolution must not have done a part of its gradient."""
    stock, lean = pair(finishes=finishes)
    found = []
    for module in (stock, lean):
        inner = []
        module[1].register_forward_hook(lambda m, a, y, inner=inner: inner.append(y))
        x = images() if not found else found[0].detach().clone().requires_grad_()
        loss = module(x).square().sum() + inner[0].pow(3).sum()
        if module is lean and finishes:
            with pytest.raises(RuntimeError, match="recompute=none"):
                loss.backward()
        else:
            loss.backward()
            found.append(x)
    if not finishes:
        torch.testing.assert_close(found[0].grad, found[1].grad, rtol=1e-12, atol=1e-12)


def test_nothing_is_recorded_without_gradients():
    stock, lean = pair()
    with torch.no_grad():
        x = images()
        assert torch.equal(lean(x), stock(x)) and not hasattr(lean[0](x), "remade")
    assert recipe_of(torch.ones(1)) is None


def test_slices_of_a_batch(monkeypatch):
    """As many images in each as fit, spread evenly; one at least."""
    monkeypatch.setattr(sizes, "SLICE_BYTES", 4 * 3 * 8)  # three images of eight numbers
    assert slices(torch.zeros(3, 8)) == [slice(0, 3)]
    assert [(part.start, part.stop) for part in slices(torch.zeros(4, 8))] == [(0, 2), (2, 4)]
    assert [(part.start, part.stop) for part in slices(torch.zeros(2, 99))] == [(0, 1), (1, 2)]
