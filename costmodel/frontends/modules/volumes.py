"""Translates torch's functions of volumes (N, C, D, H, W) into ops."""

from __future__ import annotations

from typing import Any

from ...graph.op import OPS
from .functions import function
from .reductions import mean


def three(value: Any) -> tuple[int, ...]:
    """A size for each of three axes; one int, or a list of one, stands for all."""
    values = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    return values * 3 if len(values) == 1 else values


def of_batches(t, x) -> None:
    """Raise CostmodelError for a volume without a batch."""
    if x.dim() != 5:
        raise t.error(f"{t.name} of a tensor of {x.dim()} axes")


@function("conv3d")
def conv3d(t, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    of_batches(t, x)
    if not t.holders.are_one_layers(weight=weight, bias=bias) or isinstance(padding, str):
        raise t.error("a convolution of volumes by a weight that is computed, or with padding by name,")
    sizes = three(stride), three(padding), three(dilation)
    outputs, per_group, *kernel = weight.shape
    op = OPS["conv3d"](per_group * groups, outputs, tuple(kernel), *sizes, groups, bias is not None)
    y = t.run(t.torch.conv3d, x, weight, bias, *sizes, groups)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("avg_pool3d")
def avg_pool3d(
    t, x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    of_batches(t, x)
    windows = (three(kernel_size), three(stride or kernel_size), three(padding), bool(ceil_mode))
    y = t.run(t.torch.nn.functional.avg_pool3d, x, *windows)
    return t.emit(OPS["avg_pool3d"](*windows, count_include_pad, divisor_override or 0), [x], y)


@function("max_pool3d")
def max_pool3d(t, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    of_batches(t, x)
    if return_indices or three(dilation) != (1, 1, 1):
        raise t.error("max_pool3d with return_indices or dilation")
    windows = (three(kernel_size), three(stride or kernel_size), three(padding))
    y = t.run(t.torch.max_pool3d, x, *windows, 1, ceil_mode)
    return t.emit(OPS["max_pool3d"](*windows, bool(ceil_mode)), [x], y)


@function("adaptive_avg_pool3d")
def adaptive_avg_pool3d(t, x, output_size):
    """For a single element torch takes a mean."""
    of_batches(t, x)
    if three(output_size) != (1, 1, 1):
        raise t.error("adaptive_avg_pool3d to other than one element")
    return mean(t.named("mean"), x, (2, 3, 4), True)
