"""Layers that keep one map per convolution, norm and activation: the norm's input. The others are made again.

A norm's function does the activation after it too. What reads the result keeps the norm's input and statistics instead,
and makes the result again in its backward pass, slice by slice of the batch, by the kernel that made it first: equal to
the last bit. The recipe travels on the tensor, as its attribute `remade`; where that is lost (a hook returned another
tensor), a layer keeps what it is given, as a stock layer does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ...ops.remade import SLICE_BYTES
from ..bits import dense
from ..modules import recorded

aten = torch.ops.aten


class Derivative(NamedTuple):
    """An activation: in place; and its derivative times a gradient, written into `out`, from y or z = norm(x)."""

    activate: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    reads: str


def _same(g: Tensor, y: Tensor, out: Tensor) -> Tensor:
    return out if out is g else out.copy_(g)


ACTIVATIONS = {
    "": Derivative(lambda z: z, _same, "y"),
    "relu": Derivative(aten.relu_, lambda g, y, out: aten.threshold_backward.grad_input(g, y, 0, grad_input=out), "y"),
    "relu6": Derivative(
        aten.relu6_, lambda g, y, out: aten.hardtanh_backward.grad_input(g, y, 0, 6, grad_input=out), "y"
    ),
    "hardswish": Derivative(aten.hardswish_, lambda g, z, out: out.copy_(aten.hardswish_backward(g, z)), "z"),
    "silu": Derivative(aten.silu_, lambda g, z, out: aten.silu_backward.grad_input(g, z, grad_input=out), "z"),
}


def slices(x: Tensor) -> list[slice]:
    """How a map (N, ...) is cut along the batch: into equal slices of at most SLICE_BYTES, or of one image."""
    most = max(1, SLICE_BYTES // (x[:1].numel() * x.element_size()))
    step = -(-len(x) // -(-len(x) // most))
    return [slice(i, i + step) for i in range(0, len(x), step)]


class Link:
    """What a reader's backward pass has already made of the backward pass of the layer before it.

    sums: of a norm, the gradients of scale and shift. gate: the gradient of a gate (N, C, 1, 1).
    """

    def __init__(self) -> None:
        self.sums: tuple[Tensor, Tensor] | None = None
        self.gate: Tensor | None = None

    def take_sums(self) -> tuple[Tensor, Tensor] | None:
        """The sums, which nobody else takes."""
        sums, self.sums = self.sums, None
        return sums

    def take_gate(self) -> Tensor | None:
        """The gate's gradient, which nobody else takes."""
        gate, self.gate = self.gate, None
        return gate


class Norm(NamedTuple):
    """What of a norm's module its backward pass reads, beside tensors. of: the activation's kind."""

    of: str
    batch: bool  # the batch's statistics
    eps: float

    @property
    def activation(self) -> Derivative:
        return ACTIVATIONS[self.of]


class Remade(NamedTuple):
    """How a tensor is made again, from `roots`. gated: it is the norm's result times a gate (N, C, 1, 1).

    roots: the norm's input, scale, shift and statistics, and the gate.
    """

    norm: Norm
    roots: tuple[Tensor, ...]
    link: Link
    gated: bool = False

    def on(self, y: Tensor) -> Tensor:
        """The tensor that is so made, with its recipe."""
        y.remade = self, y._version
        return y


def recipe_of(y: Tensor) -> Remade | None:
    """How a tensor is made again; None if that is not known, or if somebody has written into the tensor since."""
    remade, version = getattr(y, "remade", (None, 0))
    return remade if version == y._version else None


def wide(t: Tensor) -> Tensor:
    """A tensor in at least 32 bits, in which kernels compute with parameters of 16, too."""
    return t.float() if t.element_size() < 4 else t


class Maker:
    """Makes slices of a norm's result again. roots: as of Remade."""

    def __init__(self, norm: Norm, roots: tuple[Tensor, ...]) -> None:
        self.norm = norm
        self.x, self.weight, self.bias, self.mean, self.spread = roots[:5]
        self.gate = roots[5] if len(roots) > 5 else None
        if norm.batch:  # the kernel computes weight / sqrt(1 + 0): so its own arithmetic makes scale and shift of these
            self.mean, self.spread, self.shift = wide(self.mean), wide(self.spread), wide(self.bias)
            self.scale, self.one = self.spread * self.weight, torch.ones_like(self.spread)

    def z(self, part: slice) -> Tensor:
        """The norm's output, in a slice of the batch."""
        x = _cut(self.x, part)
        if self.norm.batch:
            return aten.native_batch_norm(x, self.scale, self.shift, self.mean, self.one, False, 0.0, 0.0)[0]
        given = (self.weight, self.bias, self.mean, self.spread)
        return aten.native_batch_norm(x, *given, False, 0.0, self.norm.eps)[0]

    def zy(self, part: slice, both: bool) -> tuple[Tensor | None, Tensor]:
        """The norm's output and the activation's, in a slice. both: whether the norm's is wanted, too."""
        z = self.z(part)
        if not (both and self.norm.activation.reads == "z"):
            return None, self.norm.activation.activate(z)
        y = torch.empty_like(z).copy_(z)
        return z, self.norm.activation.activate(y)

    def no_sums(self) -> tuple[Tensor, Tensor]:
        """Gradients of scale and shift to which slices are added."""
        like = wide(self.weight)
        return torch.zeros_like(like), torch.zeros_like(like)

    def add_sums(self, gz: Tensor, part: slice, sums: tuple[Tensor, Tensor]) -> None:
        """Add a slice's gradients of scale and shift to those before. gz: the gradient of the norm's output."""
        stored = (None, None) if self.norm.batch else (self.mean, self.spread)
        kept = (self.mean, self.spread) if self.norm.batch else (None, None)
        how = (*stored, *kept, self.norm.batch, self.norm.eps, [False, True, True])
        weight = wide(self.weight) if self.norm.batch else self.weight
        found = aten.native_batch_norm_backward(gz, _cut(self.x, part), weight, *how)
        for total, one in zip(sums, found[1:]):
            total.add_(one)

    def gradient_(self, gz: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The gradient of the norm's input, written over that of its output. scale, shift: their gradients."""
        if not self.norm.batch:
            zero = torch.zeros_like(self.weight)
            given = (self.weight, zero, zero, self.spread)
            none = gz.new_empty(0)
            aten.native_batch_norm.out(gz, *given, False, 0.0, self.norm.eps, out=gz, save_mean=none, save_invstd=none)
            return gz
        if gz.element_size() < 4:  # in place, each of two steps would round
            del self.scale, self.one, self.shift
            how = (None, None, self.mean, self.spread, True, self.norm.eps, [True, False, False])
            return aten.native_batch_norm_backward(gz, self.x, wide(self.weight), *how)[0]
        n = self.x.numel() // self.x.shape[1]
        k = (self.scale * self.spread).mul_(scale).mul_(-1 / n)
        c = (self.scale * shift).mul_(-1 / n).addcmul_(k, self.mean, value=-1)
        zero, none = torch.zeros_like(c), gz.new_empty(0)
        k = k[:, None, None]
        for part in slices(gz):
            g, x = _cut(gz, part), _cut(self.x, part)
            given = (self.scale, c, zero, self.one)
            aten.native_batch_norm.out(g, *given, False, 0.0, 0.0, out=g, save_mean=none, save_invstd=none)
            g.addcmul_(x, k)
        return gz


def _cut(x: Tensor, part: slice) -> Tensor:
    """A slice of the batch; the tensor itself if that is all of it."""
    return x if part.start == 0 and part.stop >= len(x) else x[part]


class _NormAct(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, module, made):
        """made: a list into which the recipe of the result goes."""
        norm = Norm(module.of, module.takes_batch, module.eps)
        if norm.batch:
            given = (module.running_mean, module.running_var, True, module.average_factor(), module.eps)
            y, *statistics = aten.native_batch_norm(x, weight, bias, *given)
        else:
            statistics = [module.running_mean, module.running_var]
            y = aten.native_batch_norm(x, weight, bias, *statistics, False, 0.0, module.eps)[0]
        y = norm.activation.activate(y)
        roots = (x, weight, bias, *statistics)
        ctx.norm, ctx.owns, ctx.link = norm, module.owns_gradient, Link()
        ctx.save_for_backward(*roots)
        made.append(Remade(norm, roots, ctx.link))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        maker = Maker(ctx.norm, ctx.saved_tensors)
        want_x, want_scale, want_shift, *_ = ctx.needs_input_grad
        sums = ctx.link.take_sums()
        if sums is None:
            gz = g if ctx.owns and dense(g) else torch.empty_like(maker.x) if want_x else None
            sums = maker.no_sums()
            for part in slices(maker.x):
                own = derived(maker, _cut(g, part), part, None if gz is None else _cut(gz, part))
                maker.add_sums(own, part, sums)
                del own
        else:
            gz = g
        gx = maker.gradient_(gz, *sums) if want_x else None
        scale, shift = (total.to(maker.weight.dtype) for total in sums)
        return gx, scale if want_scale else None, shift if want_shift else None, None, None


def derived(maker: Maker, g: Tensor, part: slice, out: Tensor | None) -> Tensor:
    """A slice of the gradient of a norm's output, which goes into `out`. g: the gradient of the activation's."""
    activation, read = maker.norm.activation, None
    if maker.norm.of:
        read = maker.z(part) if activation.reads == "z" else activation.activate(maker.z(part))
    return activation.backward(g, read, torch.empty_like(g) if out is None else out)


class RemadeNorm2d(nn.BatchNorm2d):
    """A batch norm with the activation after it, which keeps its input alone.

    of: the activation's kind, "" for none. frozen: it uses its running statistics, in training mode too. owns_gradient:
    whether it may overwrite the gradient of its output.
    """

    def __init__(
        self, *args: Any, of: str = "", frozen: bool = False, owns_gradient: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.of, self.frozen, self.owns_gradient = of, frozen, owns_gradient
        if frozen:
            self.eval()

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(mode and not self.frozen)

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

    def forward(self, x: Tensor) -> Tensor:
        if not recorded(x, self.weight, self.bias):
            y = super().forward(x)
            return ACTIVATIONS[self.of].activate(y)
        made: list[Remade] = []
        y = _NormAct.apply(x, self.weight, self.bias, self, made)
        return made[0].on(y)


class Passed(nn.Module):
    """An activation that returns its input, since the norm before it does its work."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class _Conv(Function):
    @staticmethod
    def forward(ctx, y, weight, bias, module, remade):
        options = (module.stride, module.padding, module.dilation, module.groups)
        ctx.options, ctx.finishes, ctx.remade = options, module.finishes, remade._replace(roots=())
        ctx.save_for_backward(weight, *remade.roots)
        ctx.biased = bias is not None
        return F.conv2d(y, weight, bias, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        weight, *roots = ctx.saved_tensors
        remade, finishes = ctx.remade, ctx.finishes
        maker = Maker(remade.norm, tuple(roots))
        want_y, want_weight, want_bias, *_ = ctx.needs_input_grad
        stride, padding, dilation, groups = ctx.options
        sizes = [weight.shape[0]] if ctx.biased else [0]
        how = (sizes, stride, padding, dilation, False, [0, 0], groups, [want_y, want_weight, want_bias])
        parts = slices(maker.x)
        several = len(parts) > 1
        gy = torch.empty_like(maker.x) if several else None
        sums: Any = None
        gate: Any = None
        if finishes == "norm":
            sums = maker.no_sums()
        elif finishes == "gate":
            gate = torch.empty_like(maker.gate)
        weights: list[Tensor | None] = [None, None]
        for part in parts:
            z, y = maker.zy(part, finishes == "norm")
            scaled = y if maker.gate is None else _scaled(y, _cut(maker.gate, part), finishes == "gate")
            made, *more = aten.convolution_backward(_cut(g, part), scaled, weight, *how)
            if weights[0] is None:
                weights = more
            else:
                for total, one in zip(weights, more):
                    if total is not None:
                        total.add_(one)
            del more
            out = made if gy is None else gy[part]
            if finishes == "norm":
                read = y if z is None else z
                del y, z, scaled
                maker.norm.activation.backward(made, read, out)
                del read
                maker.add_sums(out, part, sums)
            elif finishes == "gate":
                gate[part] = torch.mul(made, y, out=scaled).sum((2, 3), keepdim=True)
                torch.mul(made, _cut(maker.gate, part), out=out)
                del y, scaled
            else:
                del y, z, scaled
                if several:
                    out.copy_(made)
            if not several:
                gy = made
            del made, out
        remade.link.sums = sums if sums is not None else remade.link.sums
        remade.link.gate = gate
        return gy, weights[0], weights[1], None, None


def _scaled(y: Tensor, gate: Tensor, apart: bool) -> Tensor:
    """y times a gate, in y's memory unless both are wanted."""
    return y * gate if apart else y.mul_(gate)


class RemakingConv2d(nn.Conv2d):
    """A convolution that keeps what its input is made again from.

    finishes: "norm" if it does a part of the backward pass of the norm that makes its input, "gate" of the product.
    """

    def __init__(self, *args: Any, finishes: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.finishes = finishes

    def forward(self, x: Tensor) -> Tensor:
        remade = recipe_of(x)
        if remade is None or not recorded(x) or not self.weight.requires_grad:
            return super().forward(x)
        return _Conv.apply(x, self.weight, self.bias, self, remade)


class _Gate(Function):
    @staticmethod
    def forward(ctx, y, gate, module, remade, made):
        ctx.owns, ctx.remade, ctx.link = module.owns_gradient, remade._replace(roots=()), Link()
        ctx.save_for_backward(*remade.roots, gate)
        made.append(Remade(remade.norm, (*remade.roots, gate), ctx.link, gated=True))
        return y * gate

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        roots = ctx.saved_tensors
        gate, done = roots[-1], ctx.link.take_gate()
        if done is not None:
            return g, done, None, None, None
        want_y, want_gate, *_ = ctx.needs_input_grad
        of_gate = None
        if want_gate:
            maker, of_gate = Maker(ctx.remade.norm, roots[:-1]), torch.empty_like(gate)
            for part in slices(maker.x):
                _, y = maker.zy(part, False)
                of_gate[part] = y.mul_(_cut(g, part)).sum((2, 3), keepdim=True)
                del y
        gy = (g.mul_(gate) if ctx.owns and dense(g) else g * gate) if want_y else None
        return gy, of_gate, None, None, None


class RemakingMul:
    """The product of a map (N, C, H, W), which is made again, and a gate (N, C, 1, 1).

    first: whether the map is the first factor. owns_gradient: as of RemadeNorm2d.
    """

    def __init__(self, first: bool, owns_gradient: bool) -> None:
        self.first, self.owns_gradient = first, owns_gradient

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        y, gate = (a, b) if self.first else (b, a)
        remade = recipe_of(y)
        if remade is None or not recorded(y, gate):
            return a * b
        made: list[Remade] = []
        product = _Gate.apply(y, gate, self, remade, made)
        return made[0].on(product)
