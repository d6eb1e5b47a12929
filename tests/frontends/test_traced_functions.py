"""Functions in the middle of a network: the layer graph equals a dry step and a real step, and is realised."""

import pytest
import torch
from real import seldom
from strange import Base, of
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

import costmodel
from costmodel import CostmodelError
from costmodel.frontends.modules import arithmetic, einsum, masks, pools, products, reductions, volumes, writes
from costmodel.frontends.modules.functions import FUNCTIONS
from costmodel.frontends.modules.not_followed import ASKED_BY_PYTHON, NotFollowed
from costmodel.pytorch import measure, realize
from costmodel.step.certainty import CHECKED, NOT_MODELLED

most = functional.adaptive_max_pool2d


class DroppedRows(nn.Dropout1d):
    """A dropout of channels on maps that are flat."""

    def forward(self, x):
        return super().forward(x.flatten(2)).view_as(x)


class Blinded(nn.Module):
    """Fills every other channel with a number."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", (torch.arange(8) % 2 > 0).view(8, 1, 1))

    def forward(self, x):
        return x.masked_fill(self.mask, 0.5)


class Chunked(nn.Module):
    """A norm of parts of the batch by themselves."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        return torch.cat([self.norm(one) for one in x.chunk(2)])


def of_two_views(x):
    one, other = torch.cat([x, 0.9 * x]).chunk(2)
    both = torch.cat([x, x.flip(0)])
    return one * other.sigmoid() + both[: len(x)] + both[len(x) :] + x[:1] + x[1::2].mean(0) + x.roll(1, 0)


def written(x):
    """Parts are set to numbers, or to parts of another map."""
    y, swapped = 2 * x, 0 * x
    y[:, 0] = 0
    y[..., 1:3, -2:] = 0.5
    y[:, 2, :, 0] = x[:, 1, :, -1]
    swapped[:, :4] = x[:, 4:]
    swapped[:, 4:] = x[:, :4]
    return y + swapped


def by_row(x):
    return x.transpose(1, 2).contiguous()


def putting(at, value):
    """A function that writes a function of a map into a part of it."""

    def call(x):
        y = x * 2
        y[at] = value(x)
        return y.exp()

    return call


class AtIndices(nn.Module):
    """Reads and adds at the indices of a buffer."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.register_buffer("order", torch.arange(7, -1, -1))

    def forward(self, x):
        return self.function(x, self.order)


def spread_of_the_batch(x):
    return torch.cat([x[:, 1:], x.std(0).mean().expand(len(x), 1, *x.shape[2:])], 1)


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
    "shrinks": lambda x: functional.softshrink(functional.hardshrink(x, 0.2), 0.1) + functional.tanhshrink(x),
    "threshold": lambda x: functional.threshold(x, 0.1, 0.2) + functional.threshold(2 * x, 0.1, 0.0, inplace=True),
    "glu": lambda x: functional.glu(torch.cat([x, x.sin()], 1), 1),
    "softmin and softsign": lambda x: functional.softmin(x, 1) * functional.softsign(x),
    "pooling of powers": nn.LPPool2d(2, 2),
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
    "times a mask": lambda x: x * (x > 0),
    "a mask in place": lambda x: (2 * x).mul_(x >= 0),
    "times a mask of places": lambda x: (x.mean(1, keepdim=True) > 0) * x,
    "a mask as numbers": lambda x: x * (x > 0).float() * (x <= 1).to(x.dtype) * (x != 0).type_as(x),
    "where": lambda x: torch.where(x > x.mean((2, 3), keepdim=True), x, 0.1 * x),
    "where of smaller ones": lambda x: torch.where(x > 0, x.mean((2, 3), keepdim=True), x.mean(1, keepdim=True)),
    "where of a number": lambda x: torch.where(x > 0, x, 0.0) + torch.where(x < 0, 1.0, x),
    "where as a method": lambda x: x.where(x.abs() < 1, x.sign()),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0),
    "masked_fill in place": lambda x: (2 * x).masked_fill_(x.mean(1, keepdim=True) < 0, -1),
    "masked_fill by a constant": Blinded(),
    "logic": lambda x: x * ((x > 0) & (x < 1) | ~(x > -1)) * torch.logical_xor(x > 2, x > 3),
    "no numbers": lambda x: x.masked_fill(x.isnan(), 0) + torch.where((2 * x).isfinite(), x, 0 * x),
    "a norm of two axes": lambda x: x / (torch.norm(x, dim=(2, 3), keepdim=True) + 1),
    "out=None": lambda x: torch.mul(x, torch.amax(x, 1, True, out=None), out=None) + torch.cat([x], 1, out=None),
    "steps": lambda x: x + torch.sign(x) + x.floor() + x.ceil() + x.round() + x.trunc(),
    "a straight way through": lambda x: x + (torch.round(x) - x).detach(),
    "noise": lambda x: x + 0.1 * torch.randn_like(x),
    "noise that drops": lambda x: x * (torch.rand_like(x) < 0.5),
    "a norm of chunks": Chunked(),
    "two views of the images": of_two_views,
    "the spread of a batch": spread_of_the_batch,
    "stacked batches": lambda x: torch.stack([x, 2 * x]).amax(0) - x.mean(0, keepdim=True),
    "itself twice": lambda x: torch.cat([x, x], 1)[:, 4:12],
    "channel shuffle": nn.ChannelShuffle(4),
    "local response norm": nn.LocalResponseNorm(5),
    "weight norm": weight_norm(nn.Conv2d(8, 8, 3)),
    "weight norm of a linear layer": nn.Sequential(
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), weight_norm(nn.Linear(8, 8)), nn.Unflatten(1, (8, 1, 1))
    ),
    "volumes": nn.Sequential(
        nn.Unflatten(1, (2, 4)),
        nn.Conv3d(2, 4, 3, (2, 1, 1), 1),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.MaxPool3d((1, 3, 3), 1),
        nn.AvgPool3d((1, 2, 2)),
        nn.Flatten(1, 2),
    ),
    "a mean of volumes": nn.Sequential(nn.Unflatten(1, (8, 1)), nn.AdaptiveAvgPool3d(1), nn.Flatten(2, 3)),
    "written parts": written,
    "gather": lambda x: x * x.gather(1, x.argmax(1, keepdim=True)) + x.gather(2, x.argmin(2, keepdim=True)),
    "gather at a buffer": AtIndices(lambda x, at: x.gather(1, at[None, :, None, None].expand_as(x))),
    "index_add": AtIndices(lambda x, at: x.index_add(1, at, 2 * x)),
    "index_add in place": AtIndices(lambda x, at: (3 * x).index_add_(1, at, x)),
    "scatter_add": lambda x: x.scatter_add(1, x.argmax(1, keepdim=True), x.mean(1, keepdim=True)),
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
    "a written part": putting((slice(None), slice(2, None), ..., slice(1, 9, 3)), lambda x: x[:, 2:, :, 1:9:3].sin()),
    "a written channel": putting((slice(None), -1), lambda x: x.mean(1)),
    "written rows": putting((slice(None), slice(None), 3), lambda x: x.mean(2)),
    "a broadcast part": putting((slice(None), slice(0, 4)), lambda x: x.mean((1, 3), keepdim=True)),
    "written all": putting((slice(None), slice(0, None)), lambda x: x.sin()),
    "a number": putting((slice(None), 0), lambda x: 3),
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


@pytest.mark.one_in(6)
@pytest.mark.parametrize("strategy", ["full", *seldom("inference", "last")])
@pytest.mark.parametrize("name", CASES)
def test_what_is_predicted_is_what_happens(name, strategy):
    made = CASES[name]
    module = Base(made) if isinstance(made, nn.Module) else of(made)()
    network = costmodel.load(module, resolution=10)
    found = costmodel.estimate(network, strategy, 4, 10, target="cpu,threads=1")
    assert found.certainty.saved == CHECKED, found.notes
    if strategy != "full":
        return
    real = measure(module, 4, 10, target="cpu,threads=1")
    mine = (found.saved_bytes, found.flops["forward"], found.flops["backward"])
    assert mine == (real.saved_bytes, real.forward_flops, real.backward_flops)
    alone = costmodel.estimate(network, strategy, 4, 10, target="none,threads=1")
    assert alone.step_peak_bytes == real.tensor_peak_bytes
    assert found.step_peak_bytes == real.step_peak_bytes or (
        found.certainty.step_peak == NOT_MODELLED and found.step_peak_bytes < real.step_peak_bytes
    )
    realize(network, strategy)  # proves itself


@pytest.mark.parametrize("equation", ["bchw,bcij", "bchw,bchw->bchw", "...hw,bchw->bc", "bchw,bchh->bc", "bchw,b->c"])
def test_other_einsums_are_refused(equation):
    with pytest.raises(CostmodelError, match=r"einsum '.*', (other than|which sums)|ends in .*einsum"):
        costmodel.load(of(lambda x: torch.einsum(equation, x, x))())


#: Uses of a map and of indices, by what Python passes them through.
USES = {
    "an operator": lambda x, at: x * at,
    "an operator of a number": lambda x, at: x * (8 - at),
    "a comparison": lambda x, at: (at == 3).nonzero(),
    "a method": lambda x, at: at.flatten(),
    "an argument": lambda x, at: x.gather(1, at),
    "a list": lambda x, at: torch.cat([x, at], 1),
    "an index": lambda x, at: x[at],
    "one of several": lambda x, at: x[:, at],
    "a written place": lambda x, at: torch.zeros_like(x).scatter_(1, at, 1.0),
    "a function in Python": lambda x, at: functional.one_hot(at),
    "control flow": lambda x, at: x if at else 2 * x,
    "a loop": lambda x, at: [x[i] for i in at],
    "an element": lambda x, at: at[0],
    "a number": lambda x, at: x * int(at),
}


@pytest.mark.parametrize("use", USES)
def test_indices_of_extremes_are_not_followed(use):
    with pytest.raises(CostmodelError, match=r"^to use the indices of max .those of argmax can be. is not supported"):
        costmodel.load(of(lambda x: USES[use](x, x.max(1, keepdim=True)[1]))(), resolution=10)


def test_python_asks_nothing_that_a_stand_in_would_answer_by_itself():
    assert all(vars(NotFollowed)[name] is NotFollowed._refuse for name in ASKED_BY_PYTHON)


def test_hard_choices_are_left_to_the_dry_step():
    module = of(lambda x: functional.gumbel_softmax(x, hard=True))()
    found, real = costmodel.estimate(module, "as_is", 4, 10, target="none"), measure(module, 4, 10)
    assert "to use the indices of max (those of argmax can be) is not supported" in found.notes[0]
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


def test_every_function_is_found_by_torchs_name():
    for module in (arithmetic, einsum, masks, pools, products, reductions, volumes, writes):
        assert any(entry.__module__ == module.__name__ for entry in FUNCTIONS.values())


def test_parts_of_any_batch():
    module = Base(Chunked())
    grid = costmodel.sweep(module, "full", [2, 3, 5, 6], 10, target="none")
    found = dict(zip(grid.batch.tolist(), grid.saved_bytes.tolist()))
    for batch in (1, 2, 3):
        one, real = costmodel.estimate(module, "full", batch, 10, target="none"), measure(module, batch, 10)
        assert one.certainty.saved == CHECKED
        assert (one.saved_bytes, one.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
        assert found.get(batch, one.saved_bytes) == one.saved_bytes


class Selective(nn.Module):
    """A residual block that keeps the larger elements of its branch."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.norm(self.conv(x))
        return x + y * (y > 0) + torch.where(y < 1, y, 0.0)


def test_a_plan_of_blocks_with_masks():
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), Selective(), Selective(), Selective(), *head)
    network = costmodel.load(module, resolution=24, blocks_are="Selective")
    for convention in ("torch", "lean"):
        found = costmodel.plan(network, "500kB", batch=4, resolution=24, convention=convention)
        again = costmodel.estimate(network, found.strategy, 4, 24, convention)
        assert found.estimate.peak_bytes == again.peak_bytes <= 500_000
