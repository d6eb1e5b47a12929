"""Translates ONNX's operators into ops: one entry per operator, under ONNX's name for it.

An entry takes the reader and the node's inputs (None for one that is left out), appends nodes through
`reader.emit(kind, fields, inputs)`, and returns the node's output or a list of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import CostmodelError
from ..registry import Entry, ops_that_name, registrar
from .strides import contiguous, like, viewed
from .tensors import as_decimal

OPERATORS: dict[str, Entry] = {}
operator = registrar(OPERATORS)


def refuse(condition: Any, what: str) -> None:
    """Raise CostmodelError "... is not supported" if the condition holds."""
    if condition:
        raise CostmodelError(f"{what} is not supported")


def is_stored(value: Any) -> bool:
    """Whether a value is a stored tensor, not one that the graph computes."""
    return hasattr(value, "load")


def kept(x: Any) -> Callable[[Sequence[int]], tuple[int, ...]]:
    """A function from an output's shape to its strides, for ops that keep the memory order of x."""
    return lambda shape: like(shape, x.strides) if len(shape) == len(x.shape) else contiguous(shape)


# Layers with parameters.


@operator("Conv")
def conv(r, x, weight, bias=None):
    refuse(len(weight.shape) != 4, f"a convolution of {len(weight.shape) - 2} axes")
    out, per_group, *kernel = weight.shape
    stride, dilation = r.attribute("strides", [1, 1]), r.attribute("dilations", [1, 1])
    groups = r.attribute("group", 1)
    x, padding = padded(r, x, kernel, stride, dilation)
    fields = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if is_stored(bias) and not bias.own and not bias.load().any():
        bias = None  # zeros that the exporter added because its pattern needs a bias
    if not is_stored(weight):
        refuse(bias is not None, "a convolution with a bias by a weight that is computed")
        return r.emit("convolve", fields, [x, weight])
    fields.update(in_channels=per_group * groups, out_channels=out, kernel=kernel, bias=bias is not None)
    refuse(bias is not None and not is_stored(bias), "a convolution with a bias that is computed")
    return r.emit("conv2d", fields, [x], kept(x), weight=weight, bias=bias)


@operator("ConvTranspose")
def conv_transpose(r, x, weight, bias=None):
    refuse(len(weight.shape) != 4, f"a transposed convolution of {len(weight.shape) - 2} axes")
    computed = not is_stored(weight) or bias is not None and not is_stored(bias)
    refuse(computed, "a transposed convolution by a weight that is computed")
    refuse(r.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"), "a transposed convolution with auto_pad")
    refuse(r.attribute("output_shape", None) is not None, "a transposed convolution with output_shape")
    x, pads, groups = r.live(x), list(r.attribute("pads", [0] * 4)), r.attribute("group", 1)
    refuse(pads[:2] != pads[2:], "a transposed convolution with uneven padding")
    inputs, per_group, *kernel = weight.shape
    fields = {
        "in_channels": inputs,
        "out_channels": per_group * groups,
        "kernel": kernel,
        "stride": r.attribute("strides", [1, 1]),
        "padding": pads[:2],
        "more": r.attribute("output_padding", [0, 0]),
        "dilation": r.attribute("dilations", [1, 1]),
        "groups": groups,
        "bias": bias is not None,
    }
    return r.emit("conv_transpose2d", fields, [x], kept(x), weight=weight, bias=bias)


def padded(
    r, x, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], fill: float = 0.0, pad: bool = True
) -> tuple[Any, list[int]]:
    """The input, and the padding that the op itself does. Padding that differs between sides becomes a node before it.

    fill: the value of the padding. pad: whether such a node is allowed. Raises CostmodelError.
    """
    how, pads = r.attribute("auto_pad", "NOTSET"), r.attribute("pads", [0, 0, 0, 0])
    reach = [d * (k - 1) for d, k in zip(dilation, kernel)]
    if how == "VALID":
        return x, [0, 0]
    if how in ("SAME_UPPER", "SAME_LOWER"):
        if list(stride) == [1, 1] and not any(n % 2 for n in reach):
            return x, [n // 2 for n in reach]
        refuse(how == "SAME_LOWER" or not pad, f"auto_pad {how} with kernel {kernel} and strides {stride}")
        fields = {"kernel": kernel, "stride": stride, "dilation": dilation, "value": fill}
        return r.emit("pad_same", fields, [x]), [0, 0]
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return x, [top, left]
    refuse(not pad, f"padding {pads}, which is not the same on both sides,")
    return r.emit("pad", {"pads": [left, right, top, bottom], "value": fill}, [x]), [0, 0]


@operator("Gemm")
def gemm(r, x, weight, bias=None):
    scaled = [r.attribute(name, 1.0) for name in ("alpha", "beta")] != [1.0, 1.0]
    refuse(scaled or r.attribute("transA", 0), "Gemm with alpha, beta or transA")
    if not r.attribute("transB", 0):
        weight = transposed(r, weight)
    return linear(r, x, weight, bias)


def transposed(r, x):
    """The transpose of a matrix."""
    return x.transposed((1, 0)) if is_stored(x) else r.emit("permute", {"axes": [1, 0]}, [x])


def linear(r, x, weight, bias=None):
    """x times the transposed weight (out, in), plus the bias."""
    if not is_stored(weight):
        y = r.emit("matmul", {}, [x, transposed(r, weight)])
        return y if bias is None else r.emit("add", {}, [y, bias])
    out, features = weight.shape
    fields = {"in_features": features, "out_features": out, "bias": bias is not None}
    refuse(bias is not None and not is_stored(bias), "a linear layer with a bias that is computed")
    return r.emit("linear", fields, [x], weight=weight, bias=bias)


@operator("MatMul")
def matmul(r, a, b):
    if is_stored(b) and len(b.shape) == 2:
        bias = next(map(r.stored, r.next_operands("Add") or ()), None)
        if bias is not None and bias.shape == b.shape[1:] and r.follow(("Add", None)):
            return linear(r, a, b.transposed((1, 0)), bias)
        return linear(r, a, b.transposed((1, 0)))
    a, b = r.live(a), r.live(b)
    if max(len(a.shape), len(b.shape)) > 2:
        a, b = folded(r, a, b), folded(r, b, a)
    return r.emit("matmul", {}, [a, b])


def folded(r, x, other):
    """An operand of matmul, copied if need be: torch.matmul views operands as (batch, L, K) or else copies them."""
    batch = np.broadcast_shapes(x.shape[:-2], other.shape[:-2])
    refuse(batch != x.shape[:-2], f"a product of {x.shape} and {other.shape}, which are broadcast,")
    if viewed(x.shape, x.strides, (int(np.prod(batch)), *x.shape[-2:])) is None:
        return r.emit("copy", {}, [x])
    return x


@operator("BatchNormalization")
def batch_norm(r, x, scale, shift, mean, variance):
    tensors = {"weight": scale, "bias": shift}
    statistics = {"running_mean": mean, "running_var": variance}
    refuse(not all(map(is_stored, (*tensors.values(), *statistics.values()))), "a norm whose tensors are computed")
    momentum = round(1 - as_decimal(r.attribute("momentum", 0.9)), 6)  # torch's momentum is the new value's weight
    fields = {"eps": as_decimal(r.attribute("epsilon", 1e-5)), "momentum": momentum}
    evaluates = not r.attribute("training_mode", 0)
    return r.emit("batch_norm", fields, [x], kept(x), statistics, evaluates, **tensors)


@operator("LayerNormalization")
def layer_norm(r, x, scale, shift=None):
    x = r.live(x)
    size = x.shape[r.attribute("axis", -1) % len(x.shape) :]
    fields = {"size": size, "eps": as_decimal(r.attribute("epsilon", 1e-5)), "bias": shift is not None}
    return r.emit("layer_norm", fields, [x], weight=scale, bias=shift)


@operator("GroupNormalization")
def group_norm(r, x, scale, shift):
    fields = {"groups": r.attribute("num_groups"), "eps": as_decimal(r.attribute("epsilon", 1e-5))}
    return r.emit("group_norm", fields, [x], weight=scale, bias=shift)


@operator("InstanceNormalization")
def instance_norm(r, x, scale, shift):
    fields = {"groups": scale.size, "eps": as_decimal(r.attribute("epsilon", 1e-5))}
    return r.emit("group_norm", fields, [x], weight=scale, bias=shift)


@operator("PRelu")
def prelu(r, x, slope):
    slope = r.parameter(slope)
    refuse(slope is None, "PRelu with a slope that is computed")
    return r.emit("prelu", {"channels": slope.size}, [x], kept(x), weight=slope)


# Activations. One that torch's exporter writes as several nodes is read as a single op.


def activation(r, x, kind: str, **fields: Any) -> Any:
    return r.emit(kind, fields, [x], kept(r.live(x)))


def plain(kind: str) -> Entry:
    """The entry of an operator that equals an op without fields."""

    def entry(r, x):
        return activation(r, x, kind)

    return entry


for _cls in ops_that_name("onnx_name"):
    OPERATORS[_cls.onnx_name] = plain(_cls.kind)


@operator("Sigmoid")
def sigmoid(r, x):
    return activation(r, x, "silu" if r.follow(("Mul", r.node.input[0])) else "sigmoid")


@operator("Swish")
def swish(r, x):
    refuse(r.attribute("alpha", 1.0) != 1.0, "Swish with alpha")
    return activation(r, x, "silu")


@operator("HardSigmoid")
def hardsigmoid(r, x):
    alpha, beta = r.attribute("alpha", 0.2), r.attribute("beta", 0.5)
    refuse(abs(alpha - 1 / 6) > 1e-6 or beta != 0.5, f"HardSigmoid with alpha {alpha:.4g} and beta {beta:.4g}")
    return activation(r, x, "hardswish" if r.follow(("Mul", r.node.input[0])) else "hardsigmoid")


@operator("Softplus")
def softplus(r, x):
    return activation(r, x, "mish" if r.follow(("Tanh", None), ("Mul", r.node.input[0])) else "softplus")


@operator("Gelu")
def gelu(r, x):
    return activation(r, x, "gelu", approximate=r.attribute("approximate", "none"))


@operator("Clip")
def clip(r, x, low=None, high=None):
    bounds = []
    for name, given, none in (("min", low, -1e38), ("max", high, 1e38)):  # inputs since opset 11, before attributes
        if given is None:
            bounds.append(as_decimal(r.attribute(name, none)))
        else:
            bounds.append(as_decimal(r.array(given, name).reshape(())[()]))
    if bounds == [0.0, 6.0]:
        return activation(r, x, "relu6")
    return activation(r, x, "hardtanh", low=bounds[0], high=bounds[1], clamp=True)


@operator("LeakyRelu")
def leaky_relu(r, x):
    return activation(r, x, "leaky_relu", slope=as_decimal(r.attribute("alpha", 0.01)))


@operator("Elu", "Celu")
def elu(r, x):
    return activation(r, x, r.node.op_type.lower(), alpha=as_decimal(r.attribute("alpha", 1.0)))


@operator("Shrink")
def shrink(r, x):
    bound, bias = as_decimal(r.attribute("lambd", 0.5)), as_decimal(r.attribute("bias", 0.0))
    refuse(bias not in (0, bound), f"Shrink with lambd {bound} and bias {bias}")
    return activation(r, x, "softshrink" if bias else "hardshrink", bound=bound)


@operator("ThresholdedRelu")
def threshold(r, x):
    return activation(r, x, "threshold", bound=as_decimal(r.attribute("alpha", 1.0)), number=0.0)


@operator("Softmax", "LogSoftmax")
def softmax(r, x):
    x = r.live(x)
    axis = r.attribute("axis", -1 if r.opset >= 13 else 1) % len(x.shape)
    refuse(r.opset < 13 and axis != len(x.shape) - 1, f"{r.node.op_type} of several axes, as before opset 13,")
    return r.emit("softmax" if r.node.op_type == "Softmax" else "log_softmax", {"axis": axis}, [x])


@operator("Dropout")
def dropout(r, x, ratio=None, training=None):
    p = as_decimal(r.attribute("ratio", 0.5)) if ratio is None else r.number(ratio)
    refuse(p is None, "Dropout with a ratio that is computed")
    if p == 0:
        return x
    evaluates = r.opset >= 12 and (training is None or not bool(r.array(training, "training_mode")))
    return r.emit("dropout", {"p": p}, [x], kept(r.live(x)), evaluates=evaluates)


@operator("Identity")
def identity(r, x):
    return x


# Pooling.


def pool(kind: str, fill: float) -> Entry:
    def entry(r, x):
        kernel = r.attribute("kernel_shape")
        refuse(len(kernel) != 2, f"pooling of {len(kernel)} axes")
        stride, dilation = r.attribute("strides", [1, 1]), r.attribute("dilations", [1, 1])
        refuse(kind == "avg_pool2d" and list(dilation) != [1, 1], f"an average pooling with dilations {dilation}")
        include = bool(r.attribute("count_include_pad", 0))
        x, padding = padded(r, r.live(x), kernel, stride, dilation, fill, kind == "max_pool2d" or include)
        fields = {"kernel": kernel, "stride": stride, "padding": padding, "ceil": bool(r.attribute("ceil_mode", 0))}
        if kind == "avg_pool2d":
            fields["count_include_pad"] = include or padding == [0, 0]
        else:
            fields["dilation"] = dilation
        return r.emit(kind, fields, [x], kept(x))

    return entry


OPERATORS["MaxPool"] = pool("max_pool2d", float("-inf"))
OPERATORS["AveragePool"] = pool("avg_pool2d", 0.0)


@operator("GlobalAveragePool")
def global_average_pool(r, x):
    return r.emit("adaptive_avg_pool2d", {}, [x])


@operator("GlobalMaxPool")
def global_max_pool(r, x):
    return r.emit("adaptive_max_pool2d", {}, [x])


#: Operators that reduce axes -> their ops.
REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin"}


@operator(*REDUCTIONS)
def reduced(r, x, axes=None):
    x, axes = r.live(x), r.integers("axes", axes)
    axes = sorted(a % len(x.shape) for a in axes or range(len(x.shape)))
    refuse(0 in axes, f"{r.node.op_type} over the batch")
    return r.emit(REDUCTIONS[r.node.op_type], {"axes": axes, "keepdim": bool(r.attribute("keepdims", 1))}, [x])
