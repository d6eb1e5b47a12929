"""Translates torch's pooling functions into ops, and other functions of windows."""

from __future__ import annotations

from ...graph.op import OPS
from .functions import FUNCTIONS, function, two


@function("adaptive_max_pool2d")
def adaptive_max_pool2d(t, x, output_size, return_indices=False):
    if return_indices:
        raise t.error("adaptive_max_pool2d with return_indices")
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    output = tuple(size if want is None else want for want, size in zip(given, x.shape[2:]))
    y = t.run(t.torch.nn.functional.adaptive_max_pool2d, x, output)
    return t.emit(OPS["adaptive_max_pool2d"](output), [x], y)


@function("avg_pool1d")
def avg_pool1d(t, x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """torch runs it as a pooling of one row."""
    one = [v[0] if isinstance(v, (tuple, list)) else v for v in (kernel_size, stride or kernel_size, padding)]
    kernel, stride, padding = ((1, one[0]), (1, one[1]), (0, one[2]))
    rows = FUNCTIONS["unsqueeze"](t.named("unsqueeze"), x, -2)
    y = avg_pool2d(t, rows, kernel, stride, padding, ceil_mode, count_include_pad)
    return FUNCTIONS["squeeze"](t.named("squeeze"), y, -2)


@function("adaptive_avg_pool2d")
def adaptive_avg_pool2d(t, x, output_size):
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    output = tuple(size if want is None else want for want, size in zip(given, x.shape[2:]))
    y = t.run(t.torch.nn.functional.adaptive_avg_pool2d, x, output)
    return t.emit(OPS["adaptive_avg_pool2d"](output), [x], y)


@function("avg_pool2d")
def avg_pool2d(
    t, x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    y = t.run(t.torch.nn.functional.avg_pool2d, x, kernel_size, stride, padding, ceil_mode)
    more = (ceil_mode, count_include_pad, divisor_override or 0)
    op = OPS["avg_pool2d"](two(kernel_size), two(stride or kernel_size), two(padding), *more)
    return t.emit(op, [x], y)


@function("max_pool2d")
def max_pool2d(t, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    if return_indices:
        raise t.error("max_pool2d with return_indices")
    y = t.run(t.torch.max_pool2d, x, kernel_size, stride or kernel_size, padding, dilation, ceil_mode)
    windows = (two(kernel_size), two(stride or kernel_size), two(padding), ceil_mode, two(dilation))
    return t.emit(OPS["max_pool2d"](*windows), [x], y)


@function("unfold")
def unfold(t, x, *args, **named):
    """torch.nn.functional.unfold makes columns, the tensor's own method a view."""
    if t.function is t.torch.nn.functional.unfold:
        return _columns(t, x, *args, **named)
    return _windows(t, x, *args, **named)


def _columns(t, x, kernel_size, dilation=1, padding=0, stride=1):
    y = t.run(t.torch.nn.functional.unfold, x, kernel_size, dilation, padding, stride)
    return t.emit(OPS["unfold"](two(kernel_size), two(stride), two(padding), two(dilation)), [x], y)


def _windows(t, x, dimension, size, step):
    y = t.run(t.torch.Tensor.unfold, x, dimension, size, step)
    return t.emit(OPS["windows"](dimension % x.dim(), size, step), [x], y)


@function("fold")
def fold(t, x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    y = t.run(t.torch.nn.functional.fold, x, output_size, kernel_size, dilation, padding, stride)
    sizes = (two(kernel_size), two(stride), two(padding), two(dilation), two(output_size))
    return t.emit(OPS["fold"](*sizes), [x], y)
