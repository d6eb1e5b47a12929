"""Layers that keep one map per convolution, norm and activation: the norm's input. The others are made again.

A norm's function does the activation after it too. What reads the result keeps the norm's input and statistics instead,
and makes the result again in its backward pass, slice by slice of the batch, by the kernel that made it first: equal to
the last bit. The recipe travels on the tensor, as its attribute `recipe`; where that is lost (a hook returned another
tensor), a layer keeps what it is given, as a stock layer does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ..bits import dense
from ..modules import FrozenStatistics, StochasticDepth, recorded
from .casting import convolved, like, lowered
from .gradients import gradients
from .makers import BACKWARD, Maker, Norm, activated_, cut, derived, group_norm, scaled, slices
from .once import once_differentiable
from .recipes import Link, Remade, Sum, dropped, recipe_of, source_of
from .standardised import LeanStandardisedConv2d
from .weights import Standardised

aten = torch.ops.aten


class _NormAct(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, module, source, made):
        """source: how x is made again, if it is dropped. made: a list into which the recipe of the result goes."""
        norm, y, *statistics = module.normalised(x, weight, bias)
        y = activated_(norm.of, y)
        remade = Remade(norm, (x if source is None else None, weight, bias, *statistics), Link(), source)
        ctx.remade, ctx.owns = remade.empty, module.owns_gradient
        ctx.save_for_backward(*remade.tensors)
        made.append(remade)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        maker = ctx.remade.filled(ctx.saved_tensors).norm_maker(is_last=True)
        want_x, want_scale, want_shift, *_ = ctx.needs_input_grad
        sums, gz = ctx.remade.link.take(g), g
        if sums is None and not (maker.norm.groups or maker.norm.of or ctx.owns):
            sums = ()  # the stock kernel makes all
        elif sums is None:
            gz = g if ctx.owns and dense(g) else torch.empty_like(maker.x) if want_x else None
            sums = () if maker.at_once else maker.no_sums()
            for part in slices(maker.x):
                own = derived(maker, cut(g, part), part, None if gz is None else cut(gz, part))
                if sums:
                    maker.add_sums(own, part, sums)
                else:
                    gz = own
                del own
        if sums:
            gx = maker.gradient_(gz, *sums) if want_x else None
            scale, shift = sums
        else:
            maker.vectors = ()
            gx, scale, shift = maker.stock(gz, maker.x, [want_x, want_scale, want_shift])
        scale = like(maker.weight, scale) if want_scale else None
        shift = like(maker.weight, shift) if want_shift else None
        return gx, scale, shift, None, None, None


class _Remade(nn.Module):
    """A norm with the activation after it, which keeps its input alone.

    of: the activation's kind, "" for none. owns_gradient: whether it may overwrite the gradient of its output.
    """

    def __init__(self, *args: Any, of: str = "", owns_gradient: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.of, self.owns_gradient = of, owns_gradient

    def forward(self, x: Tensor) -> Tensor:
        if not recorded(x, self.weight, self.bias):
            y = super().forward(x)
            return activated_(self.of, y)
        made: list[Remade] = []
        y = _NormAct.apply(x, self.weight, self.bias, self, source_of(x), made)
        return made[0].on(y)

    def normalised(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, ...]:
        """What its backward pass reads of it, its result, and the two statistics."""
        raise NotImplementedError


class RemadeNorm2d(_Remade, nn.BatchNorm2d):
    """A batch norm of images with the activation after it, which keeps its input alone."""

    @property
    def takes_batch(self) -> bool:
        """Whether it uses the batch's statistics."""
        return self.training or self.running_mean is None

    def average_factor(self) -> float:
        """The weight of this batch in the running statistics; it is counted."""
        if not self.training or not self.track_running_stats:
            return 0.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        return self.momentum or 0.0

    def normalised(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, ...]:
        norm, statistics = Norm(self.of, self.takes_batch, self.eps), (self.running_mean, self.running_var)
        if norm.batch:
            factor = self.average_factor()
            return norm, *aten.native_batch_norm(x, weight, bias, *statistics, True, factor, self.eps)
        return norm, aten.native_batch_norm(x, weight, bias, *statistics, False, 0.0, self.eps)[0], *statistics


class FrozenRemadeNorm2d(FrozenStatistics, RemadeNorm2d):
    """The same with frozen statistics."""


class RemadeGroupNorm(_Remade, nn.GroupNorm):
    """A group norm with the activation after it, which keeps its input alone."""

    def normalised(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, ...]:
        norm = Norm(self.of, False, self.eps, self.num_groups)
        return norm, *group_norm(x, weight, bias, norm)


class Passed(nn.Module):
    """An activation that returns its input, since the norm before it does its work."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class _Conv(Function):
    @staticmethod
    def forward(ctx, y, weight, bias, module, remade):
        options = (module.stride, module.padding, module.dilation, module.groups)
        ctx.options, ctx.finishes, ctx.remade = options, module.finishes, remade.empty
        ctx.save_for_backward(weight, *remade.tensors)
        ctx.biased, ctx.standardises = bias is not None, module.standardises
        used = like(y, Standardised.of(weight).weight) if ctx.standardises else weight
        return convolved(y, used, bias, options)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        raw, *tensors = ctx.saved_tensors
        standardised = Standardised.of(raw) if ctx.standardises else None
        remade, finishes = ctx.remade, ctx.finishes
        maker = remade.filled(tensors).maker()
        weight = like(maker.x, standardised.weight if standardised else raw)
        wanted = ctx.needs_input_grad[:3]
        parts = slices(maker.x)
        several = len(parts) > 1
        gy = torch.empty_like(maker.x) if several else None
        sums: Any = None
        gate: Any = None
        if finishes == "norm":
            assert isinstance(maker, Maker)
            sums = () if maker.at_once else maker.no_sums()
        elif finishes == "gate":
            gate = torch.empty_like(maker.gate)
        apart = finishes == "gate" or remade.norm is None
        weights: list[Tensor | None] = [None, None]
        if weight.dtype is not raw.dtype:
            weights = [torch.zeros_like(raw), raw.new_zeros(len(raw)) if wanted[2] else None]
        for part in parts:
            z, y = maker.zy(part, finishes == "norm")
            read = y if maker.gate is None else scaled(y, cut(maker.gate, part), apart)
            made, *more = gradients(cut(g, part), read, weight, ctx.options, wanted, ctx.biased)
            if weights[0] is None:
                weights = more
            else:
                _add(weights, more)
            del more
            out = None if gy is None or not several else gy[part]
            if finishes == "norm" and isinstance(maker, Maker):
                read = y if z is None else z
                del y, z
                made = BACKWARD[maker.norm.of](made, read, out)
                del read
                if sums:
                    maker.add_sums(made, part, sums)
            elif finishes == "gate":
                gate[part] = torch.mul(made, y, out=read).sum((2, 3), keepdim=True)
                torch.mul(made, cut(maker.gate, part), out=made if out is None else out)
                del y, read
            else:
                del y, z, read
                if out is not None:
                    out.copy_(made)
            if not several:
                gy = made
            del made, out
        if standardised and weights[0] is not None:
            weights[0] = standardised.gradient_(raw, weights[0])
        if finishes:
            remade.link.leave(sums if finishes == "norm" else gate, gy)
        return gy, weights[0], weights[1], None, None


def _add(totals: list[Tensor | None], more: list[Tensor | None]) -> None:
    """Add gradients to those before. In a function of its own, so that no name holds the last of them afterwards."""
    for total, one in zip(totals, more):
        if total is not None:
            total.add_(one)


class RemakingConv2d(nn.Conv2d):
    """A convolution that keeps what its input is made again from.

    finishes: "norm" if it does a part of the backward pass of the norm that makes its input, "gate" of the product.
    drops: its output is made again by the first that reads it in the backward pass.
    """

    standardises = False

    def __init__(self, *args: Any, finishes: str = "", drops: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.finishes, self.drops = finishes, drops

    def forward(self, x: Tensor) -> Tensor:
        remade = recipe_of(x)
        if remade is None or not recorded(x) or not self.weight.requires_grad or lowered(x) is not x:
            return super().forward(x)  # of a map that autocast casts the cast is kept
        y = _Conv.apply(x, self.weight, self.bias, self, remade)
        return dropped(y, self, remade) if self.drops else y


class RemakingDepth(StochasticDepth):
    """Stochastic depth of single images after a norm, whose result is made again."""

    def forward(self, x: Tensor) -> Tensor:
        remade = recipe_of(x)
        if self.is_off or not isinstance(remade, Remade) or not recorded(x):
            return super().forward(x)
        noise = self.noise_for(x)
        return remade.times(noise).on(x * noise)


class RemakingAdd:
    """The sum of two maps of one shape, which is made again from those of which they are made."""

    def __init__(self, inplace: bool) -> None:
        self.inplace = inplace

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        recipes = [recipe_of(a), recipe_of(b)]
        kept = [recipe or Remade(None, (x,), Link()) for recipe, x in zip(recipes, (a, b))]
        y = a.add_(b) if self.inplace else a + b
        can = any(recipes) and (recipes[0] or not self.inplace) and a.shape == b.shape
        return Sum(kept).on(y) if can and recorded(y) else y


class RemakingStandardisedConv2d(RemakingConv2d, LeanStandardisedConv2d):
    """The same with a standardised weight, which is made again, too."""

    standardises = True


class _Gate(Function):
    @staticmethod
    def forward(ctx, y, gate, module, remade, made):
        product = remade.times(gate)
        ctx.owns, ctx.remade = module.owns_gradient, product.empty
        ctx.save_for_backward(*product.tensors)
        made.append(product)
        return y * gate

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        remade = ctx.remade.filled(ctx.saved_tensors)
        gate, done = remade.roots[-1], remade.link.take(g)
        if done is not None:
            return g, done, None, None, None
        want_y, want_gate, *_ = ctx.needs_input_grad
        of_gate = None
        if want_gate:
            maker, of_gate = remade.maker(), torch.empty_like(gate)
            for part in slices(maker.x):
                _, y = maker.zy(part, False)
                of_gate[part] = scaled(y, cut(g, part), remade.norm is None).sum((2, 3), keepdim=True)
                del y
        gy = (g.mul_(gate) if ctx.owns and dense(g) else g * gate) if want_y else None
        return gy, of_gate, None, None, None


class RemakingMul:
    """The product of a map (N, C, H, W), which is made again, and a gate (N, C, 1, 1).

    first: whether the map is the first factor. owns_gradient: as of RemadeNorm2d. kept: the map is not made again, but
    kept, and what reads the product makes that again.
    """

    def __init__(self, first: bool, owns_gradient: bool, kept: bool = False) -> None:
        self.first, self.owns_gradient, self.kept = first, owns_gradient, kept

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        y, gate = (a, b) if self.first else (b, a)
        remade = Remade(None, (y,), Link()) if self.kept else recipe_of(y)
        if not isinstance(remade, Remade) or not recorded(y, gate) or gate.shape != (*y.shape[:2], 1, 1):
            return a * b
        made: list[Remade] = []
        product = _Gate.apply(y, gate, self, remade, made)
        return made[0].on(product)
