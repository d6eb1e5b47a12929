"""Layers that keep their input in a few bits a number (costmodel/ops/forms/quantised.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from ....ops.forms.quantised import CHUNK, GROUP
from ...modules import FrozenStatistics, recorded
from ..like import Like
from ..norms import channel_sums
from ..once import once_differentiable
from ..remade import RemadeNorm2d
from .restored import Form, FormedConv2d, FormedLinear, like_input, rows_of

aten = torch.ops.aten


class Quantised(Form):
    """Each number is rounded up or down at random, so that its mean is right."""

    def __init__(self, *args: Any, bits: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bits = bits

    def keep(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = rows_of(x)
        count, numbers = rows.shape
        in_a_byte = 8 // self.bits
        codes = torch.empty(count, -(-numbers // in_a_byte), dtype=torch.uint8, device=x.device)
        lows, steps = (torch.empty(count, -(-numbers // GROUP), device=x.device) for _ in range(2))
        for row, code, low, step in zip(rows, codes, lows, steps):
            for i in range(0, numbers, CHUNK):
                part, first = row[i : i + CHUNK], i // GROUP
                groups = slice(first, first + -(-len(part) // GROUP))
                self.round(part, code[i // in_a_byte :], low[groups], step[groups])
        return codes, lows, steps

    def round(self, part: Tensor, code: Tensor, low: Tensor, step: Tensor) -> None:
        """Write the codes of some groups of numbers, each group's lowest number, and its step."""
        highest = 2**self.bits - 1
        work = part.new_empty(len(low) * GROUP, dtype=torch.float32)
        work[: len(part)] = part
        work[len(part) :] = part[-1]
        groups = work.view(-1, GROUP)
        torch.amin(groups, 1, out=low)
        torch.amax(groups, 1, out=step)
        step.sub_(low).div_(highest)
        groups.sub_(low[:, None]).div_(step.clamp(min=torch.finfo(step.dtype).tiny)[:, None])
        work.add_(torch.rand_like(work)).floor_().clamp_(max=highest)
        whole = work.to(torch.uint8)
        if self.bits < 8:
            whole = whole.view(-1, 8 // self.bits).bitwise_left_shift_(self.shifts(part)).sum(1, dtype=torch.uint8)
        used = code[: -(-len(part) * self.bits // 8)]
        used.copy_(whole[: len(used)])

    def shifts(self, x: Tensor) -> Tensor:
        """Where each number of a byte begins in it."""
        return torch.arange(0, 8, self.bits, dtype=torch.uint8, device=x.device)

    def restore(self, form: Sequence[Tensor], x: Like) -> Tensor:
        made = like_input(x)
        for row, code, low, step in zip(rows_of(made), *form):
            for i in range(0, len(row), CHUNK):
                part = row[i : i + CHUNK]
                own = code[i * self.bits // 8 : -(-(i + len(part)) * self.bits // 8)]
                if self.bits < 8:
                    own = (own[:, None] >> self.shifts(row)).bitwise_and_(2**self.bits - 1).view(-1)
                part.copy_(own[: len(part)])
                del own
                first, groups = i // GROUP, len(part) // GROUP
                last = first + groups
                part[: groups * GROUP].view(-1, GROUP).mul_(step[first:last, None]).add_(low[first:last, None])
                if len(part) % GROUP:
                    part[groups * GROUP :].mul_(step[last]).add_(low[last])
        return made


class QuantisedConv2d(Quantised, FormedConv2d):
    """A convolution that keeps its input rounded to a few bits."""


class QuantisedLinear(Quantised, FormedLinear):
    """A linear layer that keeps its input rounded to a few bits."""


class _QuantisedNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, layer):
        norm, y, *statistics = layer.normalised(x, weight, bias)
        ctx.layer, ctx.x, ctx.norm = layer, Like(x), norm
        want_x, want_scale, *_ = ctx.needs_input_grad
        form = layer.keep(x) if want_scale or want_x and norm.batch else ()
        if want_x or want_scale:
            ctx.save_for_backward(weight, *statistics, *form)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        saved = ctx.saved_tensors
        if not saved:
            return None, None, channel_sums(g, g.dtype), None
        weight, first, second, *form = saved
        x = ctx.layer.restore(form, ctx.x) if form else ctx.x.tensor()
        known = (None, None, first, second) if ctx.norm.batch else (first, second, None, None)
        wanted = list(ctx.needs_input_grad[:3])
        return *aten.native_batch_norm_backward(g, x, weight, *known, ctx.norm.batch, ctx.norm.eps, wanted), None


class QuantisedBatchNorm2d(Quantised, RemadeNorm2d):
    """A batch norm of images that keeps its input rounded to a few bits."""

    def forward(self, x: Tensor) -> Tensor:
        if not recorded(x, self.weight, self.bias):
            return nn.BatchNorm2d.forward(self, x)
        return _QuantisedNorm.apply(x, self.weight, self.bias, self)


class FrozenQuantisedBatchNorm2d(FrozenStatistics, QuantisedBatchNorm2d):
    """The same with frozen statistics."""


class _Activate(Function):
    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer, ctx.x = layer, Like(x)
        y = FORWARD[layer.kind](x, *layer.how)
        ctx.save_for_backward(*layer.keep(x))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        form = ctx.saved_tensors  # held until the end: a second run's form lives as long
        x = ctx.layer.restore(form, ctx.x)
        return BACKWARD[ctx.layer.kind](g, x, **dict(zip(("approximate",), ctx.layer.how))), None


FORWARD = {"hardswish": F.hardswish, "silu": F.silu, "gelu": lambda x, how: F.gelu(x, approximate=how)}
BACKWARD = {"hardswish": aten.hardswish_backward, "silu": aten.silu_backward, "gelu": aten.gelu_backward}


class QuantisedActivation(Quantised, nn.Module):
    """An activation that keeps its input rounded to a few bits. kind: hardswish, silu or gelu."""

    def __init__(self, kind: str, approximate: str, bits: int) -> None:
        super().__init__(bits=bits)
        self.kind, self.how = kind, (approximate,) if kind == "gelu" else ()

    def forward(self, x: Tensor) -> Tensor:
        return _Activate.apply(x, self) if recorded(x) else FORWARD[self.kind](x, *self.how)
