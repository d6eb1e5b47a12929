"""Translates torch's functions into ops: one entry per function, under torch's name for it.

An entry takes the tracer and the call's arguments, and returns the call's result. It appends nodes through
`tracer.emit(op, inputs, output)`, and runs torch functions through `tracer.run`. Tensors carry shapes and strides, but
no data.
"""

from __future__ import annotations

from typing import Any

import torch

from ...graph.op import OPS
from ...ops.activation import Activation
from ..registry import Entry, ops_that_name, registrar

FUNCTIONS: dict[str, Entry] = {}
function = registrar(FUNCTIONS)  # called with names of functions and methods, without a trailing "_"


def two(value: Any) -> tuple[int, ...]:
    """A size for each of two axes; one int, or a list of one, stands for both."""
    values = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    return values * 2 if len(values) == 1 else values


def contiguous_like(x: Any) -> Any:
    """A new contiguous tensor without data, in a tensor's shape and data type."""
    return torch.empty(x.shape, dtype=x.dtype, device="meta")


def as_entries_take_them(args: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The arguments of a call: first what torch calls `input` and entries call x, and no `out` that is None."""
    first = (named["input"],) if "input" in named else ()
    left_out = {"input", *(["out"] if named.get("out", 0) is None else [])}
    return (*first, *args), {name: value for name, value in named.items() if name not in left_out}


# Layers with parameters.


@function("conv2d")
def conv2d(t, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    out, per_group, kh, kw = weight.shape
    stride, dilation = two(stride), two(dilation)
    if padding == "valid":
        padding = 0
    elif padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, (kh, kw))]
        if any(p % 2 for p in total):
            raise t.error("padding='same' of an even kernel")
        padding = [p // 2 for p in total]
    padding = two(padding)
    y = t.run(t.torch.conv2d, x, weight, bias, stride, padding, dilation, groups)
    if not t.holders.are_one_layers(weight=weight, bias=bias):
        op = OPS["convolve"](stride, padding, dilation, groups, bias is not None)
        return t.emit(op, [x, *t.as_values(weight, bias)], y)
    op = OPS["conv2d"](per_group * groups, out, (kh, kw), stride, padding, dilation, groups, bias is not None)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("conv1d")
def conv1d(t, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if not t.holders.are_one_layers(weight=weight, bias=bias) or isinstance(padding, str):
        raise t.error("a convolution of one axis by a weight that is computed, or with padding by name,")
    one = (int(v[0]) if isinstance(v, (tuple, list)) else int(v) for v in (stride, padding, dilation))
    op = OPS["conv1d"](weight.shape[1] * groups, weight.shape[0], weight.shape[2], *one, groups, bias is not None)
    y = t.run(t.torch.conv1d, x, weight, bias, stride, padding, dilation, groups)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("conv_transpose2d")
def conv_transpose2d(t, x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    if not t.holders.are_one_layers(weight=weight, bias=bias):
        raise t.error("a transposed convolution by a weight that is computed")
    inputs, per_group, *kernel = weight.shape
    sizes = (two(stride), two(padding), two(dilation), groups, bias is not None, two(output_padding))
    y = t.run(t.torch.conv_transpose2d, x, weight, bias, stride, padding, output_padding, groups, dilation)
    op = OPS["conv_transpose2d"](inputs, per_group * groups, tuple(kernel), *sizes)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("linear")
def linear(t, x, weight, bias=None):
    y = t.run(t.torch.nn.functional.linear, x, weight, bias)
    strided = x.dim() > 2 and not t.shares(t.run(t.torch.Tensor.reshape, x, (-1, x.shape[-1])), x)
    if not t.holders.are_one_layers(weight=weight, bias=bias):
        return t.emit(OPS["linear_by"](bias is not None, strided), [x, *t.as_values(weight, bias)], y)
    op = OPS["linear"](weight.shape[1], weight.shape[0], bias is not None, strided)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("embedding")
def embedding(t, at, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    if max_norm is not None or scale_grad_by_freq or sparse or at.dtype is not t.torch.int64:
        raise t.error("an embedding with a norm, scaled or sparse gradients, or of other numbers than int64,")
    if not t.holders.are_one_layers(weight=weight):
        raise t.error("an embedding by a weight that is computed")
    y = t.run(t.torch.nn.functional.embedding, at, weight)
    return t.emit(OPS["embedding"](*weight.shape), [at], y, weight=weight)


@function("batch_norm")
def batch_norm(t, x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5, *_):
    if running_mean is None:
        op = OPS["standardise"](weight is not None, eps, bias is not None)
        return t.emit(op, [x, *t.as_values(weight, bias)], t.like(x))
    if (weight is None) != (bias is None):
        raise t.error("a batch norm with running statistics and a shift, but without a scale,")
    statistics = "batch" if training else "frozen"
    kind = "sync_batch_norm" if isinstance(t.module, t.torch.nn.SyncBatchNorm) else "batch_norm"
    op = OPS[kind](x.shape[1], statistics, eps, momentum, max(x.dim() - 2, 1), weight is not None)
    return t.emit(op, [x], t.like(x), running_mean=running_mean, weight=weight, bias=bias)


@function("instance_norm")
def instance_norm(
    t, x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5, *_
):
    """torch takes each channel of each image as a channel of one image, and repeats the layer's scales and shifts."""
    if running_mean is not None or not use_input_stats:
        raise t.error("an instance norm with running statistics")
    n, c = x.shape[:2]
    rows = FUNCTIONS["contiguous"](t.named("contiguous"), x)
    rows = FUNCTIONS["view"](t.named("view"), rows, (1, n * c, *x.shape[2:]))
    both = [FUNCTIONS["repeat"](t.named("repeat"), one, n) for one in (weight, bias)] if weight is not None else []
    y = t.emit(OPS["standardise"](bool(both), eps, bool(both)), [rows, *both], t.like(rows))
    return FUNCTIONS["view"](t.named("view"), y, x.shape)


@function("group_norm")
def group_norm(t, x, num_groups, weight=None, bias=None, eps=1e-5, *_):
    y = t.run(t.torch.nn.functional.group_norm, x, num_groups, weight, bias)
    if not (x.is_contiguous() or x.dim() == 4 and x.is_contiguous(memory_format=t.torch.channels_last)):
        x = FUNCTIONS["contiguous"](t.named("contiguous"), x)  # unlike the other norms, it saves the copy
    op = OPS["group_norm"](num_groups, x.shape[1], eps, 0, weight is not None, bias is not None)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("layer_norm")
def layer_norm(t, x, normalized_shape, weight=None, bias=None, eps=1e-5, *_):
    op = OPS["layer_norm"](tuple(normalized_shape), eps, weight is not None, bias is not None)
    y = t.run(t.torch.nn.functional.layer_norm, x, normalized_shape, weight, bias)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("rms_norm")
def rms_norm(t, x, normalized_shape, weight=None, eps=None):
    size = tuple(normalized_shape)
    x = FUNCTIONS["contiguous"](t.named("contiguous"), x)
    op = OPS["rms_norm"](size, eps, weight is not None)
    return t.emit(op, [x], t.like(x), weight=weight)


@function("_weight_norm")
def weight_norm(t, v, g, dim=0):
    if dim != 0:
        raise t.error("a weight norm for each element of another axis than the first")
    y = t.torch.empty(v.shape, dtype=v.dtype, device="meta")
    return t.emit(OPS["weight_norm"](), t.as_values(v, g), y)


@function("prelu")
def prelu(t, x, weight):
    return t.emit(OPS["prelu"](weight.numel()), [x], t.like(x), weight=weight)


# Activations.


def plain(cls: type[Activation]) -> Entry:
    """The entry of an activation whose only option is `inplace`, or that has none."""

    def entry(t, x, inplace=False):
        return t.emit(cls(inplace=inplace), [x], x if inplace else t.like(x))

    def alone(t, x):
        return t.emit(cls(), [x], t.like(x))

    return entry if "inplace" in cls.__dataclass_fields__ else alone


for _cls in ops_that_name("torch_name"):
    FUNCTIONS[_cls.kind] = plain(_cls)
FUNCTIONS["log_sigmoid"] = FUNCTIONS["logsigmoid"]


@function("gelu")
def gelu(t, x, approximate="none"):
    return t.emit(OPS["gelu"](approximate), [x], t.like(x))


@function("hardtanh")
def hardtanh(t, x, min_val=-1.0, max_val=1.0, inplace=False):
    low, high = float(min_val), float(max_val)
    op = OPS["relu6"](inplace) if (low, high) == (0, 6) else OPS["hardtanh"](low, high, inplace)
    return t.emit(op, [x], x if inplace else t.like(x))


@function("clamp", "clip")
def clamp(t, x, min=None, max=None, inplace=False):
    if any(isinstance(bound, t.torch.Tensor) for bound in (min, max)):
        raise t.error("clamp by tensors")
    low, high = (float(bound) if bound is not None else other for bound, other in ((min, -1e38), (max, 1e38)))
    return t.emit(OPS["hardtanh"](low, high, inplace, clamp=True), [x], x if inplace else t.like(x))


@function("clamp_min")
def clamp_min(t, x, min, inplace=False):
    return clamp(t, x, min, None, inplace)


@function("leaky_relu")
def leaky_relu(t, x, negative_slope=0.01, inplace=False):
    return t.emit(OPS["leaky_relu"](float(negative_slope), inplace), [x], x if inplace else t.like(x))


@function("elu", "celu")
def elu(t, x, alpha=1.0, inplace=False):
    return t.emit(OPS[t.name.rstrip("_")](float(alpha), inplace), [x], x if inplace else t.like(x))


@function("softplus")
def softplus(t, x, beta=1, threshold=20):
    return t.emit(OPS["softplus"](float(beta), float(threshold)), [x], t.like(x))


@function("hardshrink", "softshrink")
def shrink(t, x, lambd=0.5):
    return t.emit(OPS[t.name](float(lambd)), [x], t.like(x))


@function("threshold")
def threshold(t, x, threshold, value, inplace=False):
    return t.emit(OPS["threshold"](float(threshold), float(value), inplace), [x], x if inplace else t.like(x))


FUNCTIONS["_threshold"] = FUNCTIONS["threshold"]


@function("glu")
def glu(t, x, dim=-1):
    y = t.run(t.torch.nn.functional.glu, x, dim)
    return t.emit(OPS["glu"](dim % x.dim()), [x], t.torch.empty(y.shape, dtype=y.dtype, device="meta"))


def keep_dtype(t, x, dtype) -> None:
    """Raise CostmodelError for a call that asks for another data type than its input's."""
    if dtype not in (None, x.dtype):
        raise t.error(f"{t.name} in another data type ({dtype})")


@function("softmax")
def softmax(t, x, dim=-1, _stacklevel=3, dtype=None):
    keep_dtype(t, x, dtype)
    return t.emit(OPS["softmax"](dim), [x], contiguous_like(x))


@function("log_softmax")
def log_softmax(t, x, dim=-1, _stacklevel=3, dtype=None):
    keep_dtype(t, x, dtype)
    return t.emit(OPS["log_softmax"](dim), [x], contiguous_like(x))


# Noise.


@function("dropout")
def dropout(t, x, p=0.5, training=True, inplace=False):
    if not training or p == 0:
        return x
    return t.emit(OPS["dropout"](float(p), inplace), [x], x if inplace else t.like(x))


@function("randn_like", "rand_like")
def random(t, x, **named):
    """Of what depends on the images; like a constant, a constant is made."""
    y = t.call(x, **named)
    if (y.dtype, y.stride()) != (x.dtype, t.like(x).stride()):
        raise t.error(f"{t.name} in another data type or memory format")
    return t.emit(OPS["random"](t.name == "rand_like"), [x], y)


@function("dropout1d", "dropout2d", "dropout3d", "feature_dropout")
def feature_dropout(t, x, p=0.5, training=True, inplace=False):
    if not training or p == 0:
        return x
    if x.dim() < 3:
        raise t.error(f"{t.name} of a tensor without axes beside batch and channels")
    return t.emit(OPS["feature_dropout"](float(p), inplace, axes=x.dim() - 2), [x], x if inplace else t.like(x))
