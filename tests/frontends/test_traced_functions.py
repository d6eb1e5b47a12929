"""Functions in the middle of a network: the layer graph equals a dry step and a real step, and is realised."""

import pytest
import torch
from real import seldom
from strange import Base, of
from torch import nn
from torch.nn import functional

import costmodel
from costmodel import CostmodelError
from costmodel.frontends.modules import arithmetic, einsum, pools, products, reductions
from costmodel.frontends.modules.functions import FUNCTIONS
from costmodel.pytorch import measure, realize
from costmodel.step.certainty import CHECKED, NOT_MODELLED

most = functional.adaptive_max_pool2d


class DroppedRows(nn.Dropout1d):
    """A dropout of channels on maps that are flat."""

    def forward(self, x):
        return super().forward(x.flatten(2)).view_as(x)


def written(at, value):
    """A function that writes a function of a map into a part of it."""

    def call(x):
        y = x * 2
        y[at] = value(x)
        return y.exp()

    return call


def by_row(x):
    return x.transpose(1, 2).contiguous()


def around(x):
    y = torch.zeros_like(x)
    y[:, :4] = x[:, :4]
    return y.sin()


class Summed(nn.Module):
    """A map and a parameter in an einsum."""

    def __init__(self, equation, shape):
        super().__init__()
        self.equation, self.table = equation, nn.Parameter(torch.randn(shape))

    def forward(self, x):
        y = torch.einsum(self.equation, x, self.table)
        return y if y.dim() == 4 else y[:, :, None, None]


CASES = {
    "abs": torch.abs,
    "log": lambda x: (x.abs() + 1).log(),
    "log1p": lambda x: torch.log1p(x.abs()),
    "expm1": torch.expm1,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "reciprocal": lambda x: (x.exp() + 1).reciprocal(),
    "a number over a map": lambda x: 3 / (x.exp() + 1),
    "selu": functional.selu,
    "selu in place": lambda x: functional.selu(x, inplace=True),
    "celu": lambda x: functional.celu(x, 0.7),
    "softplus": lambda x: functional.softplus(x, 2.0, 5.0),
    "logsigmoid": functional.logsigmoid,
    "softmax of a map that lies otherwise": lambda x: (x.mT.softmax(1).flatten(2) * 2).view_as(x),
    "log_softmax": lambda x: functional.log_softmax(x, 1),
    "maximum": lambda x: torch.maximum(x, x.sigmoid()),
    "minimum of a smaller one": lambda x: torch.minimum(x, x.mean((2, 3), keepdim=True)),
    "max of two": lambda x: torch.max(x, x * 0.5),
    "max along an axis": lambda x: x * x.max(1, keepdim=True)[0],
    "min along an axis": lambda x: x * torch.min(x, dim=2, keepdim=True).values,
    "amax": lambda x: x * x.amax((2, 3), keepdim=True),
    "amin": lambda x: x + x.amin(1, keepdim=True),
    "std": lambda x: x / (x.std((2, 3), keepdim=True) + 1),
    "cumsum": lambda x: x.cumsum(1),
    "flip": lambda x: x.flip(3) + x,
    "pixel shuffle": lambda x: functional.pixel_unshuffle(functional.pixel_shuffle(x, 2), 2),
    "tile": lambda x: x.tile((2, 1)),
    "repeat_interleave": lambda x: x.repeat_interleave(2, dim=2),
    "dropout of channels": nn.Dropout2d(0.3),
    "dropout of rows": DroppedRows(),
    "adaptive max pooling": lambda x: most(x, 3),
    "a transposed convolution": nn.ConvTranspose2d(8, 8, 2, 2),
    "one of groups": nn.ConvTranspose2d(8, 8, 3, 2, 1, 1, groups=2),
    "dilated max pooling": lambda x: functional.max_pool2d(x, 2, 1, dilation=3),
    "average pooling by a divisor": lambda x: functional.avg_pool2d(x, 2, divisor_override=3),
    "bilinear with corners": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
    "bicubic with corners": lambda x: functional.interpolate(x, (7, 13), mode="bicubic", align_corners=True),
    "pooling of an axis": lambda x: functional.avg_pool1d(x.flatten(2), 2, 2)[..., None],
    "CBAM's channels": lambda x: x * (most(x, 1) + functional.adaptive_avg_pool2d(x, 1)).sigmoid(),
    "CBAM's places": lambda x: x * torch.cat([x.max(1, True)[0], x.mean(1, True)], 1).sum(1, keepdim=True).sigmoid(),
    "einsum of batches": lambda x: torch.einsum("bchw,bdhw->bcd", x, x.sigmoid()).mean(2)[:, :, None, None] * x,
    "einsum with places": Summed("bchw,hkc->bkhw", (10, 8, 8)),
    "einsum of rows": Summed("bchw, wk -> bchk", (10, 3)),
    "einsum of letters in order": Summed("Bchw,wkch->Bk", (10, 8, 8, 10)),
    "einsum with a sum": lambda x: torch.einsum("bchw,bcwk->bck", x, x.mT.exp()).mean(2)[:, :, None, None] * x,
    "a written part": written((slice(None), slice(2, None), ..., slice(1, 9, 3)), lambda x: x[:, 2:, :, 1:9:3].sin()),
    "a written channel": written((slice(None), -1), lambda x: x.mean(1)),
    "written rows": written((slice(None), slice(None), 3), lambda x: x.mean(2)),
    "a broadcast part": written((slice(None), slice(0, 4)), lambda x: x.mean((1, 3), keepdim=True)),
    "written all": written((slice(None), slice(0, None)), lambda x: x.sin()),
    "a number": written((slice(None), 0), lambda x: 3),
    "zeros around a part": around,
    "pieces in another order": lambda x: sum(by_row(p).exp().mean(1) for p in x.chunk(2, 2))[:, :, None],
    "a product by token": lambda x: (
        (x.unflatten(1, (2, 4)).mT @ x.unflatten(1, (2, 4)).exp()).transpose(1, 2).flatten(1, 2)
    ),
    "unfold": lambda x: functional.unfold(x, 3, padding=1).unflatten(1, (8, -1)).mean(2).view_as(x),
    "unfold of few windows": lambda x: functional.unfold(x.exp(), 2, stride=4).unflatten(1, (8, -1)).exp(),
    "fold": lambda x: functional.fold(x.flatten(2).repeat(1, 9, 1), x.shape[2:], 3, padding=1).exp(),
    "fold of few windows": lambda x: functional.fold(
        x.flatten(2).repeat(1, 4, 1)[..., :9].exp(), 10, 2, stride=4
    ).exp(),
    "windows": lambda x: x.unfold(2, 3, 2).unfold(3, 4, 1).reshape(len(x), 8, -1, 4).exp(),
    "instance norm": nn.InstanceNorm2d(8),
    "instance norm with scales": nn.InstanceNorm2d(8, affine=True),
}


@pytest.mark.parametrize("strategy", ["full", *seldom("inference", "last")])
@pytest.mark.parametrize("name", CASES)
def test_what_is_predicted_is_what_happens(name, strategy):
    made = CASES[name]
    module = Base(made) if isinstance(made, nn.Module) else of(made)()
    found = costmodel.estimate(module, strategy, 4, 10, target="cpu,threads=1")
    assert found.certainty.saved == CHECKED, found.notes
    if strategy != "full":
        return
    real = measure(module, 4, 10, target="cpu,threads=1")
    mine = (found.saved_bytes, found.flops["forward"], found.flops["backward"])
    assert mine == (real.saved_bytes, real.forward_flops, real.backward_flops)
    alone = costmodel.estimate(module, strategy, 4, 10, target="none")
    assert alone.step_peak_bytes == real.tensor_peak_bytes
    assert found.step_peak_bytes == real.step_peak_bytes or (
        found.certainty.step_peak == NOT_MODELLED and found.step_peak_bytes < real.step_peak_bytes
    )
    if made is not around:  # its zeros are a constant that each step makes
        realize(costmodel.load(module, resolution=10), strategy)  # proves itself


@pytest.mark.parametrize("equation", ["bchw,bcij", "bchw,bchw->bchw", "...hw,bchw->bc", "bchw,bchh->bc", "bchw,b->c"])
def test_other_einsums_are_refused(equation):
    with pytest.raises(CostmodelError, match=r"einsum '.*', (other than|which sums)|ends in .*einsum"):
        costmodel.load(of(lambda x: torch.einsum(equation, x, x))())


def test_indices_of_extremes_are_not_followed():
    with pytest.raises(CostmodelError, match="the indices of max is not supported|ends in"):
        costmodel.load(of(lambda x: x * x.max(1, keepdim=True)[1])(), resolution=10)


def test_every_function_is_found_by_torchs_name():
    for module in (arithmetic, einsum, pools, products, reductions):
        assert any(entry.__module__ == module.__name__ for entry in FUNCTIONS.values())
