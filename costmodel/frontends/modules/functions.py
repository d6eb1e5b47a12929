"""Translates torch's functions into ops: one entry per function, under torch's name for it.

An entry takes the tracer and the call's arguments, and returns the call's result. It appends nodes through
`tracer.emit(op, inputs, output)`, and runs torch functions through `tracer.run`. Tensors carry shapes and strides, but
no data.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ...graph.op import OPS
from ...ops.activation import Activation
from ..registry import Entry, ops_that_name, registrar
from . import installed

FUNCTIONS: dict[str, Entry] = {}
function = registrar(FUNCTIONS)  # called with names of functions and methods, without a trailing "_"


def two(value: Any) -> tuple[int, ...]:
    """A size for each of two axes; one int, or a list of one, stands for both."""
    values = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    return values * 2 if len(values) == 1 else values


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
    if not t.are_one_layers(weight=weight, bias=bias):
        op = OPS["convolve"](stride, padding, dilation, groups, bias is not None)
        return t.emit(op, [x, *t.as_values(weight, bias)], y)
    op = OPS["conv2d"](per_group * groups, out, (kh, kw), stride, padding, dilation, groups, bias is not None)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("conv1d")
def conv1d(t, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if not t.are_one_layers(weight=weight, bias=bias) or isinstance(padding, str):
        raise t.error("a convolution of one axis by a weight that is computed, or with padding by name,")
    one = (int(v[0]) if isinstance(v, (tuple, list)) else int(v) for v in (stride, padding, dilation))
    op = OPS["conv1d"](weight.shape[1] * groups, weight.shape[0], weight.shape[2], *one, groups, bias is not None)
    y = t.run(t.torch.conv1d, x, weight, bias, stride, padding, dilation, groups)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("linear")
def linear(t, x, weight, bias=None):
    y = t.run(t.torch.nn.functional.linear, x, weight, bias)
    strided = x.dim() > 2 and not t.shares(t.run(t.torch.Tensor.reshape, x, (-1, x.shape[-1])), x)
    if not t.are_one_layers(weight=weight, bias=bias):
        return t.emit(OPS["linear_by"](bias is not None, strided), [x, *t.as_values(weight, bias)], y)
    op = OPS["linear"](weight.shape[1], weight.shape[0], bias is not None, strided)
    return t.emit(op, [x], y, weight=weight, bias=bias)


@function("batch_norm")
def batch_norm(t, x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5, *_):
    if running_mean is None:
        op = OPS["standardise"](weight is not None, eps, bias is not None)
        return t.emit(op, [x, *t.as_values(weight, bias)], t.like(x))
    if (weight is None) != (bias is None):
        raise t.error("a batch norm with running statistics and a shift, but without a scale,")
    statistics = "batch" if training else "frozen"
    op = OPS["batch_norm"](x.shape[1], statistics, eps, momentum, max(x.dim() - 2, 1), weight is not None)
    return t.emit(op, [x], t.like(x), running_mean=running_mean, weight=weight, bias=bias)


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
    op = OPS["rms_norm"](size, 1.1920928955078125e-07 if eps is None else eps, weight is not None)
    return t.emit(op, [x], t.like(x), weight=weight)


@function("prelu")
def prelu(t, x, weight):
    return t.emit(OPS["prelu"](weight.numel()), [x], t.like(x), weight=weight)


# Activations.


def plain(cls: type[Activation]) -> Entry:
    """The entry of an activation whose only option is `inplace`."""

    def entry(t, x, inplace=False):
        return t.emit(cls(inplace=inplace), [x], x if inplace else t.like(x))

    return entry


for _cls in ops_that_name("torch_name"):
    FUNCTIONS[_cls.kind] = plain(_cls)


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
    low, high = (float(bound) if bound is not None else other for bound, other in ((min, -1e38), (max, 1e38)))
    return t.emit(OPS["hardtanh"](low, high, inplace, clamp=True), [x], x if inplace else t.like(x))


@function("clamp_min")
def clamp_min(t, x, min, inplace=False):
    return clamp(t, x, min, None, inplace)


@function("leaky_relu")
def leaky_relu(t, x, negative_slope=0.01, inplace=False):
    return t.emit(OPS["leaky_relu"](float(negative_slope), inplace), [x], x if inplace else t.like(x))


@function("elu")
def elu(t, x, alpha=1.0, inplace=False):
    return t.emit(OPS["elu"](float(alpha), inplace), [x], x if inplace else t.like(x))


@function("softplus")
def softplus(t, x, beta=1, threshold=20):
    if (beta, threshold) != (1, 20):
        raise t.error("softplus with its own beta or threshold")
    return t.emit(OPS["softplus"](), [x], t.like(x))


@function("softmax")
def softmax(t, x, dim=-1, _stacklevel=3, dtype=None):
    keep_dtype(t, x, dtype)
    return t.emit(OPS["softmax"](dim), [x], t.like(x))


# Noise.


@function("dropout")
def dropout(t, x, p=0.5, training=True, inplace=False):
    if not training or p == 0:
        return x
    return t.emit(OPS["dropout"](float(p), inplace), [x], x if inplace else t.like(x))


# Pooling.


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
    if divisor_override is not None:
        raise t.error("avg_pool2d with divisor_override")
    y = t.run(t.torch.nn.functional.avg_pool2d, x, kernel_size, stride, padding, ceil_mode)
    op = OPS["avg_pool2d"](two(kernel_size), two(stride or kernel_size), two(padding), ceil_mode, count_include_pad)
    return t.emit(op, [x], y)


@function("max_pool2d")
def max_pool2d(t, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    if two(dilation) != (1, 1) or return_indices:
        raise t.error("max_pool2d with dilation or return_indices")
    y = t.run(t.torch.max_pool2d, x, kernel_size, stride or kernel_size, padding, 1, ceil_mode)
    return t.emit(OPS["max_pool2d"](two(kernel_size), two(stride or kernel_size), two(padding), ceil_mode), [x], y)


@function("mean")
def mean(t, x, dim=None, keepdim=False, dtype=None):
    keep_dtype(t, x, dtype)
    axes = axes_of(t, x, dim)
    return t.emit(OPS["mean"](axes, keepdim), [x], t.run(t.torch.mean, x, axes, keepdim))


def keep_dtype(t, x, dtype) -> None:
    """Raise CostmodelError for a call that asks for another data type than its input's."""
    if dtype not in (None, x.dtype):
        raise t.error(f"{t.name} in another data type ({dtype})")


def axes_of(t, x, dim) -> tuple[int, ...]:
    """The axes of a reduction, counted from 0, in order. Raises CostmodelError if the batch is among them."""
    axes = tuple(sorted(d % x.dim() for d in ((dim,) if isinstance(dim, int) else dim or range(x.dim()))))
    if 0 in axes and x.shape[0] == t.batch:
        raise t.error(f"{t.name} over the batch")
    return axes


@function("sum")
def sum_(t, x, dim=None, keepdim=False, dtype=None):
    keep_dtype(t, x, dtype)
    axes = axes_of(t, x, dim)
    return t.emit(OPS["sum"](axes, keepdim), [x], t.run(t.torch.sum, x, axes, keepdim))


@function("norm", "linalg_vector_norm", "vector_norm")
def norm(t, x, p="fro", dim=None, keepdim=False, dtype=None, ord=2):
    keep_dtype(t, x, dtype)
    if p not in ("fro", 2) or ord != 2:
        raise t.error("a norm that is not Euclidean")
    axes = axes_of(t, x, dim)
    return t.emit(OPS["vector_norm"](axes, keepdim), [x], t.run(t.torch.sum, x, axes, keepdim))


@function("var")
def variance(t, x, dim=None, unbiased=True, keepdim=False, correction=None):
    axes = axes_of(t, x, dim)
    correction = int(unbiased) if correction is None else correction
    return t.emit(OPS["var"](axes, correction, keepdim), [x], t.run(t.torch.sum, x, axes, keepdim))


# Arithmetic.


def _binary(kind: str) -> Entry:
    def entry(t, a, b, alpha=1, inplace=False):
        if alpha != 1:
            raise t.error(f"{kind} with alpha")
        if not isinstance(a, t.torch.Tensor) or not isinstance(b, t.torch.Tensor):
            return _with_number(t, kind, a, b, inplace)
        y = a if inplace else t.run(getattr(t.torch, kind), a, b)
        return t.emit(OPS[kind](inplace), [a, b], y)

    return entry


def _with_number(t, kind: str, a, b, inplace: bool):
    if not isinstance(a, t.torch.Tensor):
        a, b = b, a
        if kind == "div":
            raise t.error("a number divided by a tensor")
        if kind == "sub":
            return t.emit(OPS["rsub_number"](float(b)), [a], t.like(a))
    number = float(b)
    if kind in ("add", "sub"):
        op = OPS["add_number"](number if kind == "add" else -number, inplace)
    else:
        op = OPS["mul_number"](number, kind == "div", inplace)
    return t.emit(op, [a], a if inplace else t.like(a))


for _kind in ("add", "mul", "sub", "div"):
    FUNCTIONS[_kind] = _binary(_kind)
FUNCTIONS["multiply"], FUNCTIONS["truediv"] = FUNCTIONS["mul"], FUNCTIONS["div"]


@function("__radd__", "__rmul__")
def _swapped(t, a, b):  # torch calls these only for a number on the left; a tensor's own operator comes first
    raise t.error("an operator of a number and a tensor")


@function("__rsub__", "rsub")
def rsub(t, a, b):
    return FUNCTIONS["sub"](t, b, a)


@function("sqrt", "rsqrt", "exp", "neg")
def elementwise(t, x):
    return t.emit(OPS[t.name](), [x], t.like(x))


@function("square")
def square(t, x):
    return power(t, x, 2)


@function("addcmul")
def addcmul(t, a, b, c, value=1):
    if value != 1:
        raise t.error("addcmul with a value")
    return t.emit(OPS["addcmul"](), [a, b, c], t.run(t.torch.addcmul, a, b, c))


@function("pow")
def power(t, x, exponent):
    if isinstance(exponent, t.torch.Tensor) or not isinstance(x, t.torch.Tensor):
        raise t.error("a power that is a tensor")
    return t.emit(OPS["pow_number"](float(exponent)), [x], t.like(x))


@function("matmul", "bmm", "__matmul__")
def matmul(t, a, b):
    # The strides of matmul's own result on the meta device may differ from a real run's.
    y = t.torch.empty(t.run(t.torch.matmul, a, b).shape, device="meta")
    a, b = (_as_batch(t, operand, y) if max(a.dim(), b.dim()) > 2 else operand for operand in (a, b))
    return t.emit(OPS["matmul"](), [a, b], y)


def _as_batch(t, x, y):
    """An operand of matmul, copied if need be: torch.matmul views operands as (batch, L, K) or else copies them."""
    batch = y.shape[:-2]
    expanded = t.run(t.torch.Tensor.expand, x, (*batch, *x.shape[-2:]))
    folded = t.run(t.torch.Tensor.reshape, expanded, (prod(batch), *x.shape[-2:]))
    if t.shares(folded, x):
        return x
    if tuple(expanded.shape) != tuple(x.shape):
        x = FUNCTIONS["expand"](t.named("broadcast_to"), x, expanded.shape)
    return t.emit(OPS["copy"](), [x], t.torch.empty(x.shape, device="meta"))


@function("scaled_dot_product_attention")
def attention(t, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    if attn_mask is not None or is_causal or enable_gqa:
        raise t.error("attention with a mask or grouped queries")
    if query.dim() == 3 and installed.attention_takes_batches_of_one_head():
        heads = [FUNCTIONS["unsqueeze"](t.named("unsqueeze"), x, 0) for x in (query, key, value)]
        return FUNCTIONS["squeeze"](t.named("squeeze"), attention(t, *heads, None, dropout_p, scale=scale), 0)
    one = key.shape[:-2] == value.shape[:-2] and query.shape[-1] == value.shape[-1]
    shared = query.shape[0] == key.shape[0] and key.shape[1] == 1 and installed.attention_shares_keys()
    fits = query.dim() == 4 and one and (shared or query.shape[:-2] == key.shape[:-2])
    if not fits or dropout_p or any(x.stride(-1) != 1 for x in t.without_data([query, key, value])):
        return attention_by_parts(t, query, key, value, dropout_p, scale)
    by_token = not installed.attention_lies_as_queries()
    n, heads, tokens, features = query.shape
    y = t.torch.empty(n, tokens, heads, features, device="meta").transpose(1, 2) if by_token else t.like(query)
    return t.emit(OPS["attention"](by_token), [query, key, value], y)


def attention_by_parts(t, query, key, value, dropout_p, scale):
    """Attention by torch's "math" implementation, for inputs that its kernel refuses, as one key for several heads."""
    root = float((query.shape[-1] ** -0.5 if scale is None else scale) ** 0.5)
    query = t.emit(OPS["mul_number"](root, bare=True), [query], t.like(query))
    key = FUNCTIONS["transpose"](t.named("transpose"), key, -2, -1)
    key = t.emit(OPS["mul_number"](root, bare=True), [key], t.like(key))
    weights = FUNCTIONS["softmax"](t, FUNCTIONS["matmul"](t, query, key))
    return FUNCTIONS["matmul"](t, FUNCTIONS["dropout"](t, weights, dropout_p), value)
