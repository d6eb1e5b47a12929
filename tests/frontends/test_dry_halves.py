"""Dry steps in 16 bits, by autocast and by the network's own numbers: they equal real steps."""

import pytest
import torch
from functionals import ZEROS, Wide
from real import seldom
from torch import nn
from torch.nn import functional as F

import costmodel
from costmodel.pytorch import measure

HALVES = [{"amp": "bfloat16"}, {"dtype": "bfloat16"}, *seldom({"amp": "float16"}, {"dtype": "float16"})]
BATCH, IMAGES = 3, (3, 9, 9)


def hold(module, inputs=IMAGES, **more):
    """A step of the module as it is priced equals a real one."""
    found = costmodel.estimate(module, "as_is", BATCH, inputs=inputs, target="none", **more)
    real = measure(module, BATCH, inputs=inputs, **more)
    levels = (found.saved_bytes, found.step_peak_bytes, found.flops["forward"], found.flops["backward"])
    assert levels == (real.saved_bytes, real.tensor_peak_bytes, real.forward_flops, real.backward_flops)
    return found


NORMS = {
    "batch norm": nn.BatchNorm2d(16, affine=False),
    "batch norm without statistics": nn.BatchNorm2d(16, track_running_stats=False),
    "batch norm without anything": nn.BatchNorm2d(16, affine=False, track_running_stats=False),
    "instance norm": nn.InstanceNorm2d(16, track_running_stats=True),
    "group norm": nn.GroupNorm(2, 16, affine=False),
    "layer norm": nn.LayerNorm((9, 9), elementwise_affine=False),
    "layer norm without a shift": nn.LayerNorm((9, 9), bias=False),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("numbers", HALVES)
@pytest.mark.parametrize("name", NORMS)
def test_norms_that_lack_a_scale_or_statistics(name, numbers):
    hold(Wide(NORMS[name]), **numbers)


def test_the_statistics_of_a_norm_are_as_its_running_statistics():
    """Mean and deviation of 16 channels as float32; and what a norm with a scale keeps, but for that."""
    assert Wide(NORMS["batch norm"]).function.running_mean.dtype == torch.float32
    with_scale = hold(Wide(nn.BatchNorm2d(16)), amp="bfloat16").saved_bytes
    without = hold(Wide(nn.BatchNorm2d(16, affine=False, track_running_stats=False)), amp="bfloat16").saved_bytes
    tracked = hold(Wide(NORMS["batch norm"]), amp="bfloat16").saved_bytes
    assert tracked == with_scale == without + 2 * 16 * (4 - 2)


@pytest.mark.parametrize("numbers", [{}, *HALVES])
@pytest.mark.parametrize("groups", [1, *seldom(2, 16)])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_transposed_convolution_of_which_the_bias_trains(axes, groups, numbers):
    """oneDNN makes the weight's gradient beside the bias's."""
    first, layer = getattr(nn, f"Conv{axes}d"), getattr(nn, f"ConvTranspose{axes}d")
    net = nn.Sequential(first(3, 16, 1), layer(16, 48, 3, groups=groups), nn.Flatten(2), Mean(), nn.Linear(48, 4))
    for part in net[:2]:
        part.weight.requires_grad_(False)
    hold(net, (3, *[5] * axes), **numbers)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(2)


AT = torch.zeros(BATCH, 16, 9, 9, dtype=torch.int64)
#: Functions whose gradient is added or written at indices: in 16 bits, kernels do so in 32.
AT_INDICES = {
    "gather": lambda x: x.gather(1, AT),
    "gather one": lambda x: x.gather(1, x.argmax(1, keepdim=True)).expand(x.shape),
    "topk": lambda x: x.topk(3, 1)[0].mean(1, keepdim=True).expand(x.shape),
    "sort": lambda x: x.sort(1)[0],
    "kthvalue": lambda x: x.kthvalue(2, 1, True)[0].expand(x.shape),
    "median": lambda x: x.median(1, True)[0].expand(x.shape),
    "cummax": lambda x: x.cummax(1)[0],
    "take_along_dim": lambda x: torch.take_along_dim(x, ZEROS, 1) * x,
    "index_select": lambda x: x.index_select(1, torch.zeros(16, dtype=torch.int64)),
    "scatter": lambda x: x.scatter(1, ZEROS, x[:, :1] * 2),
    "scatter_add": lambda x: x.scatter_add(1, ZEROS, x[:, :1] * 2),
    "scatter_reduce": lambda x: x.scatter_reduce(1, AT, x, "amax"),
    "index_add": lambda x: x.index_add(1, torch.tensor([0, 2, 5]), x[:, :3] * 2),
    "embedding": lambda x: x * F.embedding(AT[:, 0], x.mean((0, 2, 3))[:, None].expand(16, 16)).permute(0, 3, 1, 2),
    "the largest of all": lambda x: x.detach() + x.max(),
}


@pytest.mark.one_in(5)
@pytest.mark.parametrize("numbers", HALVES)
@pytest.mark.parametrize("name", AT_INDICES)
def test_gradients_at_indices(name, numbers):
    hold(Wide(AT_INDICES[name]), **numbers)


#: Functions whose operands autocast brings into one data type first.
CAST = {
    "cat": lambda x: torch.cat([x[:, :8], x[:, 8:].float()], 1),
    "stack": lambda x: torch.stack([x, x.float()], 1).mean(1),
    "max_unpool": lambda x: F.max_unpool2d(*F.max_pool2d(x[:, :, :8, :8], 2, return_indices=True), 2),
    "products": lambda x: torch.bmm(x.float().flatten(2), x.float().flatten(2).mT).mean(2)[:, :, None, None] * x,
    "a loss": lambda x: F.mse_loss(x, torch.zeros(x.shape)) * x,
}


@pytest.mark.parametrize("name", CAST)
def test_casts_of_operands_are_tensors(name):
    hold(Wide(CAST[name]), amp="bfloat16")


class Each(nn.Module):
    """Layers that torch.vmap calls for each row."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return torch.vmap(self.layers)(x)


def runs_under_hooks():
    """Whether torch.vmap takes saved-tensor hooks, by which it is seen what is kept."""
    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
            torch.vmap(lambda x: x * x)(torch.ones(2, requires_grad=True))
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not runs_under_hooks(), reason="this torch.vmap takes no saved-tensor hooks")
@pytest.mark.parametrize("amp", [None, "bfloat16"])
def test_a_layer_in_vmap(amp):
    """Its bias is added to the product in a tensor of its own: of 32 bits, as autocast casts the product's operands."""
    hold(Each(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)), (6,), amp=amp)
    module = Each(nn.Linear(6, 640)).requires_grad_(False)
    found = costmodel.estimate(module, "inference", BATCH, inputs=(6,), target="none", amp=amp)
    assert found.step_peak_bytes == measure(module, BATCH, inputs=(6,), amp=amp).tensor_peak_bytes
