"""Lean layers that keep one bit per element: activations whose derivative takes two values, and dropout."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ..bits import (
    INTEGERS,
    above_0,
    between_0_and_6,
    dense,
    format_of,
    has_nan,
    masked,
    not_negative,
    pack,
    positive,
    within_3,
)
from ..modules import recorded
from .once import once_differentiable

aten = torch.ops.aten

FORWARD = {  # out of place, in place
    "relu": (aten.relu, aten.relu_),
    "relu6": (aten.relu6, aten.relu6_),
    "hardsigmoid": (aten.hardsigmoid, aten.hardsigmoid_),
    "hardswish": (aten.hardswish, aten.hardswish_),
    "silu": (aten.silu, aten.silu_),
    "gelu": (aten.gelu, aten.gelu_),
}


class _Activate(Function):
    @staticmethod
    def forward(ctx, x, module):
        ctx.module, ctx.format = module, format_of(x)
        if module.inplace:
            ctx.mark_dirty(x)
        packed = module.packed(x, ctx.format) if module.reads == "x" else None  # before x may be overwritten
        y = module.activated(x)
        if module.keep == "mask" and module.reads == "y":
            packed = module.packed(y, ctx.format)
        ctx.save_for_backward(y if packed is None else packed)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (kept,), module = ctx.saved_tensors, ctx.module
        own = module.owns_gradient and dense(g)
        if module.keep == "mask":
            gx = masked(g, kept, ctx.format, own)
            return gx.mul_(1 / 6) if module.kind == "hardsigmoid" else gx, None
        into = {"grad_input": g} if own else {}
        threshold_backward = aten.threshold_backward.grad_input if own else aten.threshold_backward
        if module.passes is above_0:
            return threshold_backward(g, kept, 0, **into), None
        there_is_nan = has_nan(kept)  # NaN's sign and torch's gradient there depend on the machine and the position
        if module.passes is between_0_and_6:
            hardtanh_backward = aten.hardtanh_backward.grad_input if own else aten.hardtanh_backward
            gx = hardtanh_backward(g, kept, 0, 6, **into)
        else:  # as an integer of the same bits, a float with its sign bit set is below 0
            integer = INTEGERS[g.element_size()]
            into = {name: t.view(integer) for name, t in into.items()}
            gx = threshold_backward(g.view(integer), kept.view(integer), -1, **into).view(g.dtype)
        return gx.masked_fill_(kept.isnan(), 0) if there_is_nan else gx, None


class MaskedActivation(nn.Module):
    """An activation whose derivative, exact or in MobileTL's approximation, takes two values.

    kind: relu, relu6 or hardsigmoid, with the exact derivative; or, with signed=True, relu, relu6, hardswish, silu or
    gelu, which pass the gradient if the input is not negative. keep: "mask" keeps one bit per element; "y" keeps the
    output, which costs nothing if another layer keeps it anyway. owns_gradient: see ShiftNorm2d. Raises ValueError.

    The gradient passes under these conditions on the input x, whichever tensor is kept:

    - relu, and relu6 with signed=True: x > 0, or x is NaN (so does stock ReLU);
    - relu6: 0 < x < 6; hardsigmoid: -3 < x < 3; neither passes for NaN (stock ReLU6 blocks NaN in its vector loop and
      passes it in the few elements left over);
    - hardswish, silu and gelu, signed: x is +0.0 or above; -0.0 counts as negative, and NaN does not pass.

    The mask of a smooth activation is packed from x. The output can be kept instead if it has the sign of the input on
    every instruction set, also for very large and for subnormal numbers. This holds for hardswish and silu, not for
    gelu (AVX2 and oneDNN give +0.0 far below 0). Only for -inf do they return NaN, which the rule for NaN covers.
    ReLU's masks are read off the output, like stock ReLU's: where subnormal numbers are flushed to zero, they count as
    zeros here too. (In bfloat16, torch's loops over single elements flush them in the backward pass only; there a
    packed mask passes them.)
    """

    def __init__(
        self,
        kind: str,
        signed: bool = False,
        keep: str = "mask",
        inplace: bool = False,
        approximate: str = "none",
        owns_gradient: bool = False,
    ) -> None:
        super().__init__()
        exact, smooth = ("relu", "relu6", "hardsigmoid"), ("relu", "relu6", "hardswish", "silu", "gelu")
        if kind not in (smooth if signed else exact) or keep not in ("mask", "y"):
            raise ValueError(f"no mask is known for kind={kind!r}, signed={signed}, keep={keep!r}")
        if kind in ("hardsigmoid", "gelu") and keep == "y":
            raise ValueError(f"{kind}'s output does not tell its mask")
        self.kind, self.signed, self.keep, self.inplace, self.owns_gradient = kind, signed, keep, inplace, owns_gradient
        self.reads = "y" if keep == "y" or kind in ("relu", "relu6") else "x"
        self.options = {"approximate": approximate} if kind == "gelu" else {}

    def forward(self, x: Tensor) -> Tensor:
        return _Activate.apply(x, self) if recorded(x) else self.activated(x)

    def activated(self, x: Tensor) -> Tensor:
        return FORWARD[self.kind][self.inplace](x, **self.options)

    @property
    def passes(self) -> Callable:
        """The condition on an element's bits under which its gradient passes, as a function of the dtype."""
        if self.kind == "hardsigmoid":
            return within_3
        if self.kind == "relu6" and not self.signed:
            return between_0_and_6
        return above_0 if self.kind in ("relu", "relu6") else not_negative

    def packed(self, read: Tensor, order: torch.memory_format) -> Tensor:
        return pack(read.contiguous(memory_format=order), self.passes(read.dtype))

    def extra_repr(self) -> str:
        return f"{self.kind}, signed={self.signed}, keep={self.keep}, inplace={self.inplace}"


class _Drop(Function):
    @staticmethod
    def forward(ctx, x, p, inplace):
        ctx.format, ctx.scale = format_of(x), 1 / (1 - p) if p < 1 else 1.0
        if inplace:
            ctx.mark_dirty(x)
        drawn = torch.empty(x.shape, dtype=torch.int8, device=x.device, memory_format=ctx.format).bernoulli_(1 - p)
        packed = pack(drawn, positive)
        del drawn
        ctx.save_for_backward(packed)
        y = masked(x, packed, ctx.format, overwrite=inplace).mul_(ctx.scale)
        return x.copy_(y) if inplace and y is not x else y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (kept,) = ctx.saved_tensors
        return masked(g, kept, ctx.format).mul_(ctx.scale), None, None


class PackedDropout(nn.Dropout):
    """Dropout that keeps one bit per element. It draws the same random numbers as stock dropout."""

    def forward(self, x: Tensor) -> Tensor:
        return _Drop.apply(x, self.p, self.inplace) if self.training and self.p > 0 else x
